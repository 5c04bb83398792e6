//! The exchange of the authority while the mesh runs: when each step is taken, and who is waited for.
//!
//! What a step does is `ca`'s. Here it is decided that one is due: the successor signs when every connected proxy has
//! acknowledged the bundle with its root, and the old root goes when nobody may use a leaf of it any more. Proxies renew
//! by themselves when the first root of their bundle is not the one above their certificate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base::Backoff;
use ca::{Import, Leaf, Phase};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::audit::Author;
use crate::authority::{Issuer, StepError};
use crate::push::{Holding, Proxies};
use crate::v1::AuditEntry;

/// How long after a start the proxies may take to be back, before who is not there counts as away.
const BACK: Duration = Duration::from_secs(20);
/// How often it is looked at while a rotation is under way, and while none is.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(3600));

/// How long after a fault it is looked at again, at first and at most: each try has its entries in the audit log.
const AFTER_FAULT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// Exchanges the authority. Cheap to clone.
#[derive(Clone)]
pub struct Rotation(Arc<Inner>);

struct Inner {
    issuer: Issuer,
    proxies: Proxies,
    started: Instant,
    /// Somebody took a step: the next may be due.
    stepped: Notify,
    /// How long a root is told to other trust domains before it signs, and since when it is.
    known_before: Duration,
    prepared: Mutex<Option<Instant>>,
}

/// Who is waited for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Proxies without the new roots, and why, while a successor is prepared.
    pub without_roots: Vec<(String, String)>,
    /// Leaves of other roots than the active one that somebody may still use, with the connected proxies that do.
    pub old_leaves: Vec<(Leaf, Vec<String>)>,
    /// Connected proxies with a certificate that is not known here.
    pub unknown: Vec<String>,
}

/// Why a rotation is not begun or not finished.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The step does not come next, or cannot be taken.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The control plane does not know yet who is there.
    #[error("the control plane started {0} s ago, and proxies may not be back yet: that is known after {limit} s", limit = BACK.as_secs())]
    TooEarly(u64),
    /// Somebody would be locked out.
    #[error("{0} of the connected proxies would be locked out: {1}")]
    LockedOut(usize, String),
}

impl Rotation {
    /// Nothing happens before [`Rotation::follow`]. A root is told for `known_before` at least before it signs by itself.
    pub fn new(issuer: Issuer, proxies: Proxies, known_before: Duration) -> Self {
        let (started, stepped, prepared) = (Instant::now(), Notify::new(), Mutex::default());
        Self(Arc::new(Inner { issuer, proxies, started, stepped, known_before, prepared }))
    }

    /// Begins one, with an operator's authority or with a new root of our own.
    ///
    /// # Errors
    /// [`RotateError::Step`].
    pub async fn start(&self, import: Option<Import>, by: &Author) -> Result<(), RotateError> {
        let action = if import.is_some() { "ca import" } else { "ca rotate" };
        let entry = AuditEntry::new(by, action, AUTHORITY, "prepared");
        let step = self.0.issuer.step(entry, |authority, now| authority.prepare(import, now)).await;
        // A step that could not be told to the proxies was taken.
        self.0.stepped.notify_one();
        step?;
        tracing::info!("a rotation of the root begins: proxies are sent the new bundle");
        Ok(())
    }

    /// Takes a rotation back that was only prepared.
    ///
    /// # Errors
    /// [`RotateError::Step`].
    pub async fn cancel(&self, by: &Author) -> Result<(), RotateError> {
        let entry = AuditEntry::new(by, "ca rotate", AUTHORITY, "cancelled");
        let step = self.0.issuer.step(entry, |authority, _| authority.cancel()).await;
        self.0.stepped.notify_one();
        step?;
        tracing::info!("the rotation of the root is cancelled");
        Ok(())
    }

    /// Takes the step that is waited for now. Unless forced only if no connected proxy is locked out by it.
    ///
    /// # Errors
    /// [`RotateError`].
    pub async fn hasten(&self, force: bool, by: &Author) -> Result<(), RotateError> {
        let phase = self.0.issuer.authority().phase();
        let late = self.locked_out(phase);
        let since = self.0.started.elapsed();
        if !force && phase != Phase::Idle {
            if since < BACK {
                return Err(RotateError::TooEarly(since.as_secs()));
            }
            if !late.is_empty() {
                return Err(RotateError::LockedOut(late.len(), late.join(", ")));
            }
        }
        let step = match phase {
            Phase::Prepared => self.activate(by, force).await,
            Phase::Idle | Phase::Retiring => self.finish(by, force).await,
        };
        self.0.stepped.notify_one();
        Ok(step?)
    }

    /// The connected proxies for which the next step comes too early.
    fn locked_out(&self, phase: Phase) -> Vec<String> {
        let Waiting { without_roots, old_leaves, unknown } = self.waiting();
        match phase {
            Phase::Idle => Vec::new(),
            Phase::Prepared => without_roots.into_iter().map(|(node, _)| node).collect(),
            Phase::Retiring => old_leaves.into_iter().flat_map(|(_, nodes)| nodes).chain(unknown).collect(),
        }
    }

    /// Who is waited for.
    pub fn waiting(&self) -> Waiting {
        let authority = self.0.issuer.authority();
        let holdings = self.0.proxies.holdings(&self.0.issuer.mesh_trust());
        let (root, now) = (authority.root(), self.0.issuer.now());
        let mut waiting = Waiting::default();
        if authority.phase() == Phase::Prepared {
            let late = holdings.iter().filter_map(|held| Some((held.node.clone(), held.lacks.clone()?)));
            waiting.without_roots = late.collect();
        }
        if authority.phase() == Phase::Retiring {
            let revoked = self.0.issuer.revoked_serials();
            self.0.issuer.leaves(|ledger| {
                let (users, unknown) = users(ledger, &holdings);
                waiting.unknown = unknown;
                // Who is connected shows what it uses; a leaf that was replaced is in use only by who is away.
                // Nobody renews what is revoked, and nobody is to be locked out by its end.
                let old = ledger.of_other_roots(&root, now).filter(|leaf| !revoked.contains(&leaf.serial));
                waiting.old_leaves =
                    old.map(|leaf| (leaf.clone(), users.get(&leaf.serial).cloned().unwrap_or_default())).collect();
            });
        }
        waiting
    }

    /// Takes the steps that become due, for as long as the control plane runs.
    pub async fn follow(self) {
        let mut faults = Backoff::new(AFTER_FAULT.0, AFTER_FAULT.1);
        loop {
            let looked = self.look().await;
            let pause = match (&looked, self.0.issuer.authority().phase()) {
                (Err(error), _) => {
                    let pause = faults.next_delay();
                    tracing::error!("rotation of the root: {error}; it is tried again in {} s", pause.as_secs());
                    pause
                }
                (Ok(()), Phase::Idle) => BETWEEN.1,
                (Ok(()), Phase::Prepared | Phase::Retiring) => BETWEEN.0,
            };
            if looked.is_ok() {
                faults.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.0.stepped.notified() => {}
            }
        }
    }

    async fn look(&self) -> Result<(), RotateError> {
        let (issuer, itself) = (&self.0.issuer, Author::new("control plane", ""));
        issuer.renew_lists().await?;
        issuer.publish().await?;
        let is_known = self.0.started.elapsed() >= BACK;
        let phase = issuer.authority().phase();
        let is_told = self.is_told(phase);
        match phase {
            Phase::Idle => {
                issuer.forget_leaves().await.map_err(StepError::from)?;
                self.renew_root(issuer.now(), &itself).await?;
            }
            Phase::Prepared if is_known && is_told && self.waiting().without_roots.is_empty() => {
                self.activate(&itself, false).await?
            }
            Phase::Retiring if is_known && self.waiting().is_over() => self.finish(&itself, false).await?,
            Phase::Prepared | Phase::Retiring => {}
        }
        Ok(())
    }

    /// Have other trust domains had the time to look for the next root?
    fn is_told(&self, phase: Phase) -> bool {
        let mut prepared = self.0.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        match phase {
            Phase::Prepared => prepared.get_or_insert_with(Instant::now).elapsed() >= self.0.known_before,
            Phase::Idle | Phase::Retiring => {
                *prepared = None;
                false
            }
        }
    }

    /// A root of our own is exchanged in the last fifth of its life; an operator's is the operator's to exchange.
    async fn renew_root(&self, now: SystemTime, by: &Author) -> Result<(), RotateError> {
        let authority = self.0.issuer.authority();
        if !authority.is_due_for_rotation(now) {
            return Ok(());
        }
        if authority.is_self_signed() {
            tracing::info!("the last fifth of the root's life has begun: it is exchanged");
            return self.start(None, by).await;
        }
        let end = crate::timestamp(authority.not_after());
        tracing::warn!(
            "the authority's certificate ends at {end}: import its successor with `halcyon ca import`, or let one be made \
             with `halcyon ca rotate`"
        );
        Ok(())
    }

    async fn activate(&self, by: &Author, force: bool) -> Result<(), StepError> {
        self.0
            .issuer
            .step(AuditEntry::new(by, "ca rotate", subject(force), "activated"), ca::Authority::activate)
            .await?;
        tracing::info!("the new root is in use: proxies renew their certificates");
        Ok(())
    }

    async fn finish(&self, by: &Author, force: bool) -> Result<(), StepError> {
        let entry = AuditEntry::new(by, "ca rotate", subject(force), "finished");
        self.0.issuer.step(entry, |authority, _| authority.finish()).await?;
        tracing::info!("the rotation of the root is over: the old one is not trusted any more");
        Ok(())
    }
}

/// What the audit log says is changed.
const AUTHORITY: &str = "certificate authority";

fn subject(force: bool) -> String {
    if force { format!("{AUTHORITY}, by force") } else { AUTHORITY.to_owned() }
}

impl Waiting {
    fn is_over(&self) -> bool {
        self.old_leaves.is_empty() && self.unknown.is_empty()
    }
}

/// The connected proxies by the serial number of the leaf that each uses now, and those whose leaf is not known.
fn users(ledger: &ca::Ledger, holdings: &[Holding]) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let (mut users, mut unknown): (BTreeMap<String, Vec<String>>, _) = (BTreeMap::new(), Vec::new());
    for held in holdings {
        let Some(serial) = &held.serial else { continue };
        match ledger.newest(serial) {
            Some(leaf) => users.entry(leaf.serial.clone()).or_default().push(held.node.clone()),
            None => unknown.push(held.node.clone()),
        }
    }
    (users, unknown)
}
