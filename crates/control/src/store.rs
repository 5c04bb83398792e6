//! The store: every resource, workload and address, durable before it is visible, and the world made of them.
//!
//! One thread owns it. A set that is applied together becomes visible together, at the next version, or nothing of it is
//! stored. Readers get immutable versions from a channel and never wait. It does not know who changes it, nor proxies.

mod disk;
mod draft;
mod error;
mod owner;
mod row;
#[cfg(test)]
mod tests;

use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use api::source::Batch;
use api::{Problem, Resource, ResourceKey};
use base::Clock;
use rpds::RedBlackTreeMapSync;
use telemetry::Shard;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};
use translate::{Change, FetchedBundles, KeySets, MeshSettings, MeshTrust, World};

use crate::audit::Author;
use crate::ratelimit::CountRow;
use crate::registry::Registered;
use crate::v1::{Applied, AuditEntry};

pub use error::StoreError;

pub(crate) use disk::{Changes, Disk, Table, replace_file};
pub(crate) use row::{LeafRow, TokenRow, TokenState, UserRow, UserTokenRow, from_millis, millis};

/// Everything at one version.
#[derive(Debug)]
pub(crate) struct Versioned {
    /// Grows by one with every change, over restarts too.
    pub version: u64,
    /// Everything, indexed for translation.
    pub world: Arc<World>,
    /// Every resource, by key.
    pub resources: Catalog,
    /// How many workloads are registered.
    pub workloads: usize,
    /// Names that lead nowhere.
    pub problems: Arc<Vec<Problem>>,
    /// What sources had to say, and stored documents that cannot be read any more.
    pub source_problems: Arc<Vec<Problem>>,
}

/// Every resource, by key. A copy costs nothing, and shares with its origin all that is not changed in it.
pub(crate) type Catalog = RedBlackTreeMapSync<ResourceKey, Arc<Stored>>;

/// A version, and what is different in it from the one before.
#[derive(Debug)]
pub(crate) struct Step {
    pub versioned: Arc<Versioned>,
    pub change: Change,
}

/// A resource in the store.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Its time and generation are filled in.
    pub resource: Arc<Resource>,
    /// When it came first.
    pub created: SystemTime,
    /// Counts its changes, from 1.
    pub generation: u64,
    /// Who holds it.
    pub holder: Holder,
}

/// Who holds a resource: only that side may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Holder {
    /// It was applied.
    Api,
    /// It stands in a file of the watched directory.
    Files,
}

impl Holder {
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Files => "files",
        }
    }
}

/// A set that is to be applied together.
#[derive(Debug, Default)]
pub(crate) struct Set {
    /// The resources, checked one by one.
    pub resources: Vec<Arc<Resource>>,
    /// Warnings that checking them gave.
    pub warnings: Vec<Problem>,
    /// Store nothing.
    pub dry_run: bool,
    /// Refuse on warnings too.
    pub strict: bool,
    /// Who applies it.
    pub by: Author,
}

/// What a set did.
#[derive(Debug)]
pub(crate) struct Done {
    /// The version at which it is visible.
    pub version: u64,
    /// In the order of the set.
    pub results: Vec<Applied>,
    /// Warnings.
    pub problems: Vec<Problem>,
    /// Everything as it is with the set, also if it was only a question.
    pub world: Arc<World>,
}

/// Why a set did nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// Something is wrong with it.
    #[error("the set is refused, and nothing of it is stored")]
    Refused(Vec<Problem>),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A workload comes or goes.
#[derive(Debug, Clone)]
pub(crate) enum WorkloadChange {
    /// It is there, or different.
    Put(Arc<Registered>),
    /// It is gone.
    Remove {
        /// Its namespace.
        namespace: String,
        /// Its name.
        instance: String,
    },
}

/// What the owner is asked to do.
enum Command {
    Apply(Set, Reply<Result<Done, ChangeError>>),
    Delete {
        keys: Vec<ResourceKey>,
        dry_run: bool,
        by: Author,
        reply: Reply<Result<Done, ChangeError>>,
    },
    Batch(Batch),
    Workloads(Vec<WorkloadChange>, Reply<Result<u64, StoreError>>),
    KeySets(KeySets, Reply<Result<(), StoreError>>),
    Bundles(FetchedBundles, Reply<Result<(), StoreError>>),
    /// Rows that are in no version, and what the audit log says of them.
    Keep {
        rows: Changes,
        entries: Vec<AuditEntry>,
        reply: Reply<Result<(), StoreError>>,
    },
    Trust(Arc<MeshTrust>, Reply<Result<u64, StoreError>>),
    Note(Box<AuditEntry>, Reply<()>),
    AuditHead(Reply<String>),
    Stop(Reply<()>),
}

type Reply<T> = oneshot::Sender<T>;

/// What the store starts with.
pub(crate) struct Start<'a> {
    /// Settings of the mesh.
    pub settings: MeshSettings,
    /// Whom the mesh trusts.
    pub trust: Arc<MeshTrust>,
    /// Is a directory of files watched? If not, what came from one before is gone.
    pub has_files: bool,
    /// For creation times.
    pub clock: Clock,
    /// Where to count.
    pub shard: &'a Shard,
}

/// What is there for others when the store opens.
pub(crate) struct Kept {
    /// Workloads that were registered when the last control plane ended.
    pub workloads: Vec<Arc<Registered>>,
    /// Join tokens.
    pub tokens: Vec<TokenRow>,
    /// Users.
    pub users: Vec<UserRow>,
    /// Users' tokens.
    pub user_tokens: Vec<UserTokenRow>,
    /// Certificates that were issued.
    pub leaves: Vec<LeafRow>,
    /// Counts of rate limits.
    pub counts: Vec<(String, CountRow)>,
    /// What is revoked.
    pub revoked: Option<Vec<u8>>,
    /// Every version from the first of this run on.
    pub steps: UnboundedReceiver<Step>,
}

/// A handle on the store. Cheap to clone; the thread ends when the last is gone, or by [`Store::stop`].
#[derive(Clone)]
pub(crate) struct Store {
    commands: mpsc::Sender<Command>,
    versions: watch::Receiver<Arc<Versioned>>,
}

impl Store {
    /// Reads the file and makes the version that it holds visible.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(disk: Disk, start: Start<'_>) -> Result<(Self, Kept), StoreError> {
        let (mut owner, versions, kept) = owner::Owner::load(disk, start)?;
        let (commands, orders) = mpsc::channel();
        let thread = std::thread::Builder::new().name("store".to_owned());
        thread
            .spawn(move || owner.run(&orders))
            .map_err(|source| StoreError::Io { path: "a thread for the store".into(), source })?;
        Ok((Self { commands, versions }, kept))
    }

    /// The newest version.
    pub fn now(&self) -> Arc<Versioned> {
        self.versions.borrow().clone()
    }

    /// Every version from now on, the newest only for who is slow.
    pub fn watch(&self) -> watch::Receiver<Arc<Versioned>> {
        self.versions.clone()
    }

    /// Applies a set: all of it or nothing.
    pub async fn apply(&self, set: Set) -> Result<Done, ChangeError> {
        self.ask(|reply| Command::Apply(set, reply)).await.unwrap_or(Err(StoreError::Stopped.into()))
    }

    /// Deletes a set: all of it or nothing. What is not there is said, and no fault.
    pub async fn delete(&self, keys: Vec<ResourceKey>, dry_run: bool, by: Author) -> Result<Done, ChangeError> {
        let done = self.ask(|reply| Command::Delete { keys, dry_run, by, reply }).await;
        done.unwrap_or(Err(StoreError::Stopped.into()))
    }

    /// Takes a batch of the watched directory. Does not wait.
    pub fn deliver(&self, batch: Batch) {
        // A store that has stopped needs no files.
        let _ = self.commands.send(Command::Batch(batch));
    }

    /// Workloads come and go. Gives the version at which that is visible.
    pub async fn workloads(&self, changes: Vec<WorkloadChange>) -> Result<u64, StoreError> {
        self.ask(|reply| Command::Workloads(changes, reply)).await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Completes when everything that was asked for before is done.
    pub async fn settled(&self) -> Result<u64, StoreError> {
        self.workloads(Vec::new()).await
    }

    /// Writes rows that are not of the mesh (users, tokens), with what the audit log says of it. The change is asked for
    /// when this is called, and is durable when it completes.
    pub fn keep(
        &self,
        rows: Changes,
        entries: Vec<AuditEntry>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let done = self.ask(|reply| Command::Keep { rows, entries, reply });
        async move { done.await.unwrap_or(Err(StoreError::Stopped)) }
    }

    /// Keeps and forgets certificates that were issued, in the same way. They are no changes by anybody: the audit log
    /// says nothing of them.
    pub fn leaves(
        &self,
        put: Vec<LeafRow>,
        remove: Vec<String>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let mut rows = Changes::default();
        for leaf in put {
            rows.put(Table::Leaves, leaf.serial.clone(), serde_json::to_vec(&leaf).unwrap_or_default());
        }
        remove.into_iter().for_each(|serial| rows.remove(Table::Leaves, serial));
        self.keep(rows, Vec::new())
    }

    /// Writes into the audit log what changed nothing.
    pub async fn note(&self, entry: AuditEntry) {
        // A store that has stopped has no callers any more.
        let _ = self.ask(|reply| Command::Note(Box::new(entry), reply)).await;
    }

    /// The end of the audit log, as it was written last.
    pub async fn audit_head(&self) -> Result<String, StoreError> {
        self.ask(Command::AuditHead).await.map_err(|_| StoreError::Stopped)
    }

    /// Other key sets were fetched.
    pub async fn key_sets(&self, sets: KeySets) -> Result<(), StoreError> {
        self.ask(|reply| Command::KeySets(sets, reply)).await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Other bundles of federated trust domains were fetched.
    pub async fn bundles(&self, bundles: FetchedBundles) -> Result<(), StoreError> {
        self.ask(|reply| Command::Bundles(bundles, reply)).await.unwrap_or(Err(StoreError::Stopped))
    }

    /// The mesh trusts others from now on. Gives the version at which that is visible. What is trusted is kept elsewhere.
    pub async fn trust(&self, trust: Arc<MeshTrust>) -> Result<u64, StoreError> {
        self.ask(|reply| Command::Trust(trust, reply)).await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Closes the file.
    pub async fn stop(&self) {
        let _ = self.ask(Command::Stop).await;
    }

    fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        // A store that has stopped drops the reply, which the receiver sees.
        let _ = self.commands.send(command(reply));
        answer
    }
}
