//! The thread that owns the store: takes one order after the other, and makes each change durable, then visible.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use api::source::{Batch, Change};
use api::{Problem, ResourceKey, check_set};
use base::Clock;
use rpds::RedBlackTreeMapSync;
use telemetry::{Counter, Desc, Gauge, Histogram, Shard};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use translate::vips::Vips;
use translate::{Edit, FetchedBundle, FetchedBundles, FetchedKeys, Inputs, KeySets, MeshSettings, MeshTrust, World};

use super::disk::{Changes, Disk, Table, number};
use super::draft::Draft;
use super::row;
use super::{
    Catalog, ChangeError, Command, Done, Holder, Kept, Set, Start, Step, StoreError, Versioned, WorkloadChange,
};
use crate::audit::{self, Author, Journal};
use crate::federation;
use crate::patches;
use crate::ratelimit::CountRow;
use crate::registry::Registered;
use crate::v1::AuditEntry;

const VERSION: &str = "version";
const VIPS: &str = "vips";
const KEY_SETS: &str = "key_sets";
const BUNDLES: &str = "federated_bundles";

pub struct Owner {
    disk: Disk,
    settings: MeshSettings,
    clock: Clock,
    trust: Arc<MeshTrust>,
    resources: Catalog,
    workloads: RedBlackTreeMapSync<String, Arc<Registered>>,
    world: Arc<World>,
    /// The addresses in the file.
    vips: Arc<Vips>,
    key_sets: KeySets,
    bundles: FetchedBundles,
    version: u64,
    /// Stored documents that cannot be read any more.
    unreadable: Vec<Problem>,
    /// What the watched directory had to say last.
    file_problems: Vec<Problem>,
    sender: watch::Sender<Arc<Versioned>>,
    steps: UnboundedSender<Step>,
    journal: Journal,
    metrics: Metrics,
}

struct Metrics {
    version: Gauge,
    resources: Gauge,
    commits: Counter,
    failures: Counter,
    build: Histogram,
}

impl Metrics {
    fn new(shard: &Shard) -> Result<Self, telemetry::DeclareError> {
        let commits = Desc::new("halcyon_store_commits_total", "Changes of the store, by how they ended.");
        let commits = shard.counters(commits.labels(&["result"]))?;
        let build = Desc::new("halcyon_store_build_milliseconds", "Time to index everything at a new version.");
        let gauge = |name, help| shard.gauges(Desc::new(name, help)).map(|family| family.with(&[]));
        Ok(Self {
            version: gauge("halcyon_store_version", "The store's version.")?,
            resources: gauge("halcyon_store_resources", "Resources in the store.")?,
            commits: commits.with(&["stored"]),
            failures: commits.with(&["failed"]),
            build: shard.histograms(build.unit("milliseconds"))?.with(&[]),
        })
    }
}

/// Everything as it would be, with what is wrong in it.
struct Built {
    world: Arc<World>,
    change: translate::Change,
    problems: Arc<Vec<Problem>>,
}

impl Owner {
    /// Reads the file and builds the version that it holds.
    pub fn load(mut disk: Disk, start: Start<'_>) -> Result<(Self, watch::Receiver<Arc<Versioned>>, Kept), StoreError> {
        let damaged = |what: &str| StoreError::damaged(disk.path(), what);
        let (bad_version, bad_vips) = (damaged("its version cannot be read"), damaged("its addresses cannot be read"));
        let bad_keys = damaged("its key sets cannot be read");
        let bad_bundles = damaged("its federated bundles cannot be read");
        let meta: BTreeMap<String, Vec<u8>> = disk.read(Table::Meta)?.into_iter().collect();
        let version = meta.get(VERSION).map_or(Some(0), |value| number(value)).ok_or(bad_version)?;
        let vips = match meta.get(VIPS) {
            Some(value) => serde_json::from_slice(value).map_err(|_| bad_vips)?,
            None => Vips::new(),
        };
        let had: BTreeMap<String, String> = match meta.get(KEY_SETS) {
            Some(value) => serde_json::from_slice(value).map_err(|_| bad_keys)?,
            None => BTreeMap::new(),
        };
        let key_sets =
            had.into_iter().map(|(uri, set)| (uri, FetchedKeys { set: Some(set.into()), failure: None })).collect();
        let bundles: BTreeMap<String, String> = match meta.get(BUNDLES) {
            Some(value) => serde_json::from_slice(value).map_err(|_| bad_bundles)?,
            None => BTreeMap::new(),
        };
        let bundles = bundles.into_iter().map(|(url, document)| {
            (url, FetchedBundle { had: federation::had(&document).ok().map(|(had, _)| had), failure: None })
        });
        let bundles = Arc::new(bundles.collect());
        let (mut resources, mut unreadable) = (Catalog::new_sync(), Vec::new());
        for (key, value) in disk.read(Table::Resources)? {
            match row::read(&key, &value) {
                Ok(stored) => resources.insert_mut(stored.resource.key(), Arc::new(stored)),
                Err(problems) => unreadable.extend(problems),
            }
        }
        let workloads = read_workloads(&mut disk)?;
        let folder = disk.path().with_file_name(audit::FOLDER);
        let journal = Journal::open(&folder, disk.read(Table::Audit)?, audit::head(&meta), start.shard)?;
        let (steps, received) = unbounded_channel();
        let kept = Kept {
            workloads: workloads.values().cloned().collect(),
            tokens: read_rows(&mut disk, Table::Tokens)?,
            leaves: read_rows(&mut disk, Table::Leaves)?,
            users: read_rows(&mut disk, Table::Users)?,
            user_tokens: read_rows(&mut disk, Table::UserTokens)?,
            counts: read_counts(&mut disk)?,
            revoked: meta.get(crate::authority::REVOKED).cloned(),
            steps: received,
        };
        let metrics = Metrics::new(start.shard).expect("declared once, alike");
        let (sender, receiver) = watch::channel(Arc::new(Versioned::empty()));
        let mut owner = Self {
            disk,
            settings: start.settings,
            clock: start.clock,
            trust: start.trust,
            resources,
            workloads,
            world: Arc::default(),
            vips: Arc::new(vips),
            key_sets: Arc::new(key_sets),
            bundles,
            version,
            unreadable,
            file_problems: Vec::new(),
            sender,
            steps,
            journal,
            metrics,
        };
        owner.begin(start.has_files)?;
        Ok((owner, receiver, kept))
    }

    /// Makes the first version visible.
    fn begin(&mut self, has_files: bool) -> Result<(), StoreError> {
        let mut draft = Draft::new(&self.resources, Holder::Files, self.clock.now());
        if !has_files {
            draft.keep_only(|_| false);
        }
        let built = self.build_whole(&draft.resources);
        if draft.changes.is_empty() && built.world.vips == self.vips {
            self.publish(built);
            return Ok(());
        }
        let entries = draft.entries(&Author::new("files", ""));
        self.commit(draft.changes, entries, built, |owner| owner.resources = draft.resources)
    }

    /// Takes orders until nobody can give any, or until told to stop.
    pub fn run(&mut self, orders: &mpsc::Receiver<Command>) {
        for order in orders {
            match order {
                Command::Apply(set, reply) => drop(reply.send(self.apply(set))),
                Command::Delete { keys, dry_run, by, reply } => drop(reply.send(self.delete(&keys, dry_run, &by))),
                Command::Batch(batch) => self.take_batch(batch),
                Command::Workloads(changes, reply) => drop(reply.send(self.change_workloads(changes))),
                Command::KeySets(sets, reply) => drop(reply.send(self.take_key_sets(sets))),
                Command::Bundles(bundles, reply) => drop(reply.send(self.take_bundles(bundles))),
                Command::Trust(trust, reply) => drop(reply.send(self.change_trust(trust))),
                Command::Keep { rows, entries, reply } => drop(reply.send(self.keep(rows, entries))),
                Command::Note(entry, reply) => {
                    self.journal.note(*entry, self.version, self.clock.now());
                    let _ = reply.send(());
                }
                Command::AuditHead(reply) => drop(reply.send(self.journal.head())),
                Command::Stop(reply) => {
                    if let Err(error) = self.keep(Changes::default(), Vec::new()) {
                        tracing::warn!("audit log: its end could not be stored: {error}");
                    }
                    self.disk.close();
                    // Who asked may be gone already.
                    let _ = reply.send(());
                    return;
                }
            }
        }
    }

    fn apply(&mut self, set: Set) -> Result<Done, ChangeError> {
        let doubles = check_set(&set.resources);
        if !doubles.is_empty() {
            return Err(ChangeError::Refused(doubles));
        }
        let mut draft = Draft::new(&self.resources, Holder::Api, self.clock.now());
        set.resources.iter().for_each(|resource| draft.apply(resource));
        self.finish(draft, set.warnings, set.dry_run, set.strict, &set.by)
    }

    fn delete(&mut self, keys: &[ResourceKey], dry_run: bool, by: &Author) -> Result<Done, ChangeError> {
        let mut draft = Draft::new(&self.resources, Holder::Api, self.clock.now());
        let mut seen = HashSet::new();
        keys.iter().filter(|key| seen.insert(*key)).for_each(|key| draft.delete(key));
        self.finish(draft, Vec::new(), dry_run, false, by)
    }

    /// Stores a draft, unless something is wrong with it or it is only a question.
    fn finish(
        &mut self,
        draft: Draft,
        mut warnings: Vec<Problem>,
        dry_run: bool,
        strict: bool,
        by: &Author,
    ) -> Result<Done, ChangeError> {
        if !draft.problems.is_empty() {
            warnings.extend(draft.problems);
            return Err(ChangeError::Refused(warnings));
        }
        let built = self.build(draft.edit());
        let of_set: HashSet<&ResourceKey> = draft.results.iter().map(|applied| &applied.key).collect();
        let before = self.sender.borrow().problems.clone();
        let concerns = |problem: &&Problem| {
            problem.resource.as_ref().is_some_and(|key| of_set.contains(key)) || !before.contains(problem)
        };
        warnings.extend(built.problems.iter().filter(concerns).cloned());
        // Which workloads there are changes by itself: of these only what was written now is of interest.
        let of_set = |problem: &Problem| problem.resource.as_ref().is_some_and(|key| of_set.contains(key));
        warnings.extend(translate::check_selection(&built.world).into_iter().filter(of_set));
        let refused = warnings.iter().any(|problem| problem.is_error() && of_set(problem));
        if refused || (strict && !warnings.is_empty()) {
            return Err(ChangeError::Refused(warnings));
        }
        let world = built.world.clone();
        if !dry_run && !draft.changes.is_empty() {
            let entries = draft.entries(by);
            self.commit(draft.changes, entries, built, |owner| owner.resources = draft.resources)?;
        }
        Ok(Done { version: self.version, results: draft.results, problems: warnings, world })
    }

    /// Takes what the watched directory holds. What it holds counts more than what was applied.
    fn take_batch(&mut self, batch: Batch) {
        let mut draft = Draft::new(&self.resources, Holder::Files, self.clock.now());
        if batch.is_complete {
            let named: HashSet<ResourceKey> = batch.changes.iter().map(Change::key).collect();
            draft.keep_only(|key| named.contains(key));
        }
        for change in &batch.changes {
            match change {
                Change::Applied(resource) => draft.apply(resource),
                Change::Deleted { key, .. } => draft.delete(key),
            }
        }
        let built = self.build(draft.edit());
        let problems_changed = self.file_problems != batch.problems;
        self.file_problems = batch.problems;
        if !draft.changes.is_empty() {
            let entries = draft.entries(&Author::new("files", ""));
            let stored = self.commit(draft.changes, entries, built, |owner| owner.resources = draft.resources);
            if let Err(error) = stored {
                tracing::error!("files: {error}");
                self.file_problems.push(Problem::error(format!("the watched directory could not be stored: {error}")));
                self.publish_again();
            }
        } else if problems_changed {
            self.publish_again();
        }
    }

    fn change_workloads(&mut self, changes: Vec<WorkloadChange>) -> Result<u64, StoreError> {
        let (mut workloads, mut rows) = (self.workloads.clone(), Changes::default());
        let mut before: BTreeMap<String, Option<Arc<Registered>>> = BTreeMap::new();
        for change in changes {
            match change {
                WorkloadChange::Put(registered) => {
                    let key = registered.key();
                    let old = workloads.get(&key).cloned();
                    if old.as_ref().is_none_or(|old| **old != *registered) {
                        rows.put(Table::Workloads, key.clone(), serde_json::to_vec(&*registered).unwrap_or_default());
                        workloads.insert_mut(key.clone(), registered);
                        before.entry(key).or_insert(old);
                    }
                }
                WorkloadChange::Remove { namespace, instance } => {
                    let key = format!("{namespace}/{instance}");
                    if let Some(old) = workloads.get(&key).cloned() {
                        workloads.remove_mut(&key);
                        rows.remove(Table::Workloads, key.clone());
                        before.entry(key).or_insert(Some(old));
                    }
                }
            }
        }
        if !rows.is_empty() {
            let built = self.build(workloads_edit(&before, &workloads));
            self.commit(rows, Vec::new(), built, |owner| owner.workloads = workloads)?;
        }
        Ok(self.version)
    }

    fn keep(&mut self, mut rows: Changes, entries: Vec<AuditEntry>) -> Result<(), StoreError> {
        let staged = self.journal.stage(entries, self.version, self.clock.now(), &mut rows);
        if !rows.is_empty() {
            self.disk.write(&rows)?;
        }
        self.journal.committed(staged);
        Ok(())
    }

    /// What is trusted is the authority's change, which the audit log has already.
    fn change_trust(&mut self, trust: Arc<MeshTrust>) -> Result<u64, StoreError> {
        if self.trust != trust {
            let built = self.build(Edit { trust: Some(trust.clone()), ..Edit::default() });
            self.commit(Changes::default(), Vec::new(), built, |owner| owner.trust = trust)?;
        }
        Ok(self.version)
    }

    /// Keeps those that were had: a control plane that starts again has them before it can fetch them.
    fn take_key_sets(&mut self, sets: KeySets) -> Result<(), StoreError> {
        if sets == self.key_sets {
            return Ok(());
        }
        let had: BTreeMap<&str, &str> =
            sets.iter().filter_map(|(uri, keys)| Some((uri.as_str(), &**keys.set.as_ref()?))).collect();
        let mut rows = Changes::default();
        rows.put(Table::Meta, KEY_SETS, serde_json::to_vec(&had).unwrap_or_default());
        let built = self.build(Edit { key_sets: Some(sets.clone()), ..Edit::default() });
        self.commit(rows, Vec::new(), built, |owner| owner.key_sets = sets)
    }

    /// Keeps those that were had, for the next start.
    fn take_bundles(&mut self, bundles: FetchedBundles) -> Result<(), StoreError> {
        if bundles == self.bundles {
            return Ok(());
        }
        let had: BTreeMap<&str, &str> = bundles
            .iter()
            .filter_map(|(url, fetched)| Some((url.as_str(), &*fetched.had.as_ref()?.document)))
            .collect();
        let mut rows = Changes::default();
        rows.put(Table::Meta, BUNDLES, serde_json::to_vec(&had).unwrap_or_default());
        let built = self.build(Edit { bundles: Some(bundles.clone()), ..Edit::default() });
        self.commit(rows, Vec::new(), built, |owner| owner.bundles = bundles)
    }

    /// The version that these resources make, from nothing.
    fn build_whole(&self, resources: &Catalog) -> Built {
        let started = std::time::Instant::now();
        let world = World::new(Inputs {
            settings: self.settings.clone(),
            resources: resources.values().map(|stored| stored.resource.clone()).collect(),
            workloads: self.workloads.values().filter_map(|registered| registered.workload()).map(Arc::new).collect(),
            not_ready: Arc::new(not_ready(self.workloads.values())),
            vips: (*self.vips).clone(),
            trust: self.trust.clone(),
            key_sets: self.key_sets.clone(),
            bundles: self.bundles.clone(),
        });
        let problems = Arc::new(patches::check(&world));
        self.metrics.build.observe(started.elapsed().as_secs_f64() * 1e3);
        Built { world: Arc::new(world), change: translate::Change::everything(), problems }
    }

    /// The version after this one.
    fn build(&self, edit: Edit) -> Built {
        let started = std::time::Instant::now();
        let (world, change) = self.world.next(edit);
        let problems = match change.concerns_problems() {
            true => Arc::new(patches::check(&world)),
            false => self.sender.borrow().problems.clone(),
        };
        self.metrics.build.observe(started.elapsed().as_secs_f64() * 1e3);
        Built { world: Arc::new(world), change, problems }
    }

    /// Durable first, then visible. On an error nothing is different.
    fn commit(
        &mut self,
        mut rows: Changes,
        entries: Vec<AuditEntry>,
        built: Built,
        take: impl FnOnce(&mut Self),
    ) -> Result<(), StoreError> {
        let staged = self.journal.stage(entries, self.version + 1, self.clock.now(), &mut rows);
        rows.put(Table::Meta, VERSION, (self.version + 1).to_string().into_bytes());
        if built.world.vips != self.vips {
            rows.put(Table::Meta, VIPS, serde_json::to_vec(&*built.world.vips).unwrap_or_default());
        }
        self.disk.write(&rows).inspect_err(|_| self.metrics.failures.inc())?;
        self.journal.committed(staged);
        self.metrics.commits.inc();
        self.version += 1;
        self.vips = built.world.vips.clone();
        take(self);
        self.publish(built);
        Ok(())
    }

    fn publish(&mut self, built: Built) {
        self.metrics.version.set(self.version as i64);
        self.metrics.resources.set(self.resources.size() as i64);
        self.world = built.world.clone();
        let versioned = Arc::new(Versioned {
            version: self.version,
            world: built.world,
            resources: self.resources.clone(),
            workloads: self.workloads.size(),
            problems: built.problems,
            source_problems: Arc::new(self.source_problems()),
        });
        // Whoever wants the steps and is gone needs none; they are told first, so that who sees the version finds them.
        let _ = self.steps.send(Step { versioned: versioned.clone(), change: built.change });
        self.sender.send_replace(versioned);
    }

    /// The same version with other words of the sources.
    fn publish_again(&self) {
        let now = self.sender.borrow().clone();
        self.sender.send_replace(Arc::new(Versioned {
            version: now.version,
            world: now.world.clone(),
            resources: now.resources.clone(),
            workloads: now.workloads,
            problems: now.problems.clone(),
            source_problems: Arc::new(self.source_problems()),
        }));
    }

    fn source_problems(&self) -> Vec<Problem> {
        self.unreadable.iter().chain(&self.file_problems).cloned().collect()
    }
}

/// What is different among the workloads, each as it was and as it is.
fn workloads_edit(
    before: &BTreeMap<String, Option<Arc<Registered>>>,
    now: &RedBlackTreeMapSync<String, Arc<Registered>>,
) -> Edit {
    let read = |registered: &Arc<Registered>| registered.workload().map(Arc::new);
    let pairs = before.iter().map(|(key, before)| (before.as_ref(), now.get(key)));
    let waits = |(old, new): (Option<&Arc<Registered>>, Option<&Arc<Registered>>)| {
        [old, new].into_iter().flatten().any(|registered| !registered.ready)
    };
    let is_waiting = pairs.clone().any(waits);
    Edit {
        workloads: pairs.map(|(old, new)| (old.and_then(read), new.and_then(read))).collect(),
        not_ready: is_waiting.then(|| Arc::new(not_ready(now.values()))),
        ..Edit::default()
    }
}

fn not_ready<'a>(workloads: impl Iterator<Item = &'a Arc<Registered>>) -> BTreeSet<SocketAddr> {
    workloads.filter(|registered| !registered.ready).flat_map(|registered| registered.metadata.doors()).collect()
}

impl Versioned {
    /// Nothing, before the file was read.
    fn empty() -> Self {
        Self {
            version: 0,
            world: Arc::default(),
            resources: Catalog::new_sync(),
            workloads: 0,
            problems: Arc::default(),
            source_problems: Arc::default(),
        }
    }
}

/// Users and tokens. What cannot be read is none: it opens no door.
fn read_rows<T: serde::de::DeserializeOwned>(disk: &mut Disk, table: Table) -> Result<Vec<T>, StoreError> {
    let rows = disk.read(table)?;
    Ok(rows.iter().filter_map(|(_, row)| serde_json::from_slice(row).ok()).collect())
}

fn read_counts(disk: &mut Disk) -> Result<Vec<(String, CountRow)>, StoreError> {
    let rows = disk.read(Table::Counts)?;
    Ok(rows.into_iter().filter_map(|(key, row)| Some((key, serde_json::from_slice(&row).ok()?))).collect())
}

/// Registrations that cannot be read are forgotten: their proxies come back with new ones.
fn read_workloads(disk: &mut Disk) -> Result<RedBlackTreeMapSync<String, Arc<Registered>>, StoreError> {
    let rows = disk.read(Table::Workloads)?;
    let read = rows.into_iter().filter_map(|(key, row)| Some((key, Arc::new(serde_json::from_slice(&row).ok()?))));
    Ok(read.collect())
}
