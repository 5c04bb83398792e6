//! The task that feeds the rules with events and time, and keeps the store in step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use telemetry::{Desc, Gauge, Shard};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Registered;
use super::rules::{Departure, Registry};
use crate::store::{Store, WorkloadChange};

/// Where proxies come and go. Cheap to clone; the task ends when the last is gone.
#[derive(Clone)]
pub struct Desk {
    events: mpsc::UnboundedSender<Event>,
    notices: Arc<Mutex<Vec<String>>>,
}

enum Event {
    Joined(u64, Arc<Registered>, oneshot::Sender<()>),
    Ready(u64, bool),
    Left(u64, Departure),
}

/// What the registry counts.
#[derive(Clone)]
pub struct Metrics {
    workloads: Gauge,
}

impl Metrics {
    /// Declares them.
    pub fn new(shard: &Shard) -> Result<Self, telemetry::DeclareError> {
        let workloads = shard.gauges(Desc::new("halcyon_registered_workloads", "Workloads in the registry."))?;
        Ok(Self { workloads: workloads.with(&[]) })
    }
}

/// After the store refused a change (a full disk), the next try.
const RETRY: Duration = Duration::from_secs(1);

impl Desk {
    /// Opens the desk, with the workloads of the last run.
    pub fn open(store: Store, kept: Vec<Arc<Registered>>, metrics: Metrics) -> Self {
        let (events, incoming) = mpsc::unbounded_channel();
        let notices = Arc::new(Mutex::new(Vec::new()));
        let registry = Registry::restored(kept, Instant::now());
        tokio::spawn(work(registry, store, incoming, notices.clone(), metrics));
        Self { events, notices }
    }

    /// A proxy is there. It counts from this call on; the future completes when the store shows it.
    pub fn joined(&self, stream: u64, registered: Registered) -> impl Future<Output = ()> + Send + 'static {
        let (shown, seen) = oneshot::channel();
        // The task lives as long as a desk.
        let _ = self.events.send(Event::Joined(stream, Arc::new(registered), shown));
        async move { drop(seen.await) }
    }

    /// A proxy says whether its program is ready.
    pub fn ready(&self, stream: u64, ready: bool) {
        let _ = self.events.send(Event::Ready(stream, ready));
    }

    /// A proxy's stream ended.
    pub fn left(&self, stream: u64, how: Departure) {
        let _ = self.events.send(Event::Left(stream, how));
    }

    /// What people should know of names claimed twice.
    pub fn notices(&self) -> Vec<String> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn work(
    mut registry: Registry,
    store: Store,
    mut incoming: mpsc::UnboundedReceiver<Event>,
    notices: Arc<Mutex<Vec<String>>>,
    metrics: Metrics,
) {
    // What the store has not taken yet, the newest word on each workload.
    let mut pending: BTreeMap<String, WorkloadChange> = BTreeMap::new();
    let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
    let mut retry: Option<Instant> = None;
    loop {
        metrics.workloads.set(registry.len() as i64);
        let wake = registry.next_expiry().into_iter().chain(retry).min();
        tokio::select! {
            event = incoming.recv() => {
                let Some(event) = event else { return };
                let mut next = Some(event);
                // All that came together is one change of the store.
                while let Some(event) = next {
                    note(&mut pending, take(&mut registry, event, &mut waiting));
                    next = incoming.try_recv().ok();
                }
                tell_notices(&notices, registry.notices());
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                note(&mut pending, registry.expire(Instant::now()));
            }
        }
        if pending.is_empty() {
            continue;
        }
        retry = match store.workloads(pending.values().cloned().collect()).await {
            Ok(_) => {
                pending.clear();
                for shown in waiting.drain(..) {
                    // A stream that waits no longer is no fault.
                    let _ = shown.send(());
                }
                None
            }
            Err(error) => {
                tracing::error!("workloads: {error}; trying again in {RETRY:?}");
                Some(Instant::now() + RETRY)
            }
        };
    }
}

fn take(registry: &mut Registry, event: Event, waiting: &mut Vec<oneshot::Sender<()>>) -> Vec<WorkloadChange> {
    match event {
        Event::Joined(stream, registered, shown) => {
            waiting.push(shown);
            vec![registry.joined(stream, registered)]
        }
        Event::Ready(stream, ready) => registry.ready(stream, ready).into_iter().collect(),
        Event::Left(stream, how) => registry.left(stream, how, Instant::now()),
    }
}

fn note(pending: &mut BTreeMap<String, WorkloadChange>, changes: Vec<WorkloadChange>) {
    for change in changes {
        let key = match &change {
            WorkloadChange::Put(registered) => registered.key(),
            WorkloadChange::Remove { namespace, instance } => format!("{namespace}/{instance}"),
        };
        match &change {
            WorkloadChange::Put(registered) => {
                let what = if registered.ready { "is there" } else { "is there, but not ready" };
                tracing::info!("workload {key} {what} ({})", registered.node);
            }
            WorkloadChange::Remove { .. } => tracing::info!("workload {key} is gone"),
        }
        pending.insert(key, change);
    }
}

fn tell_notices(shown: &Mutex<Vec<String>>, notices: Vec<String>) {
    let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
    for new in notices.iter().filter(|notice| !shown.contains(notice)) {
        tracing::warn!("{new}");
    }
    *shown = notices;
}

#[cfg(test)]
mod tests {
    use base::Clock;
    use telemetry::Registry as Counters;

    use super::super::rules::tests::workload;
    use super::super::rules::{GRACE, RESTORE};
    use super::*;
    use crate::store::{Disk, Start};

    #[tokio::test(start_paused = true)]
    async fn the_store_follows() {
        let dir = tempfile::tempdir().unwrap();
        let shard = Counters::new().shard();
        let start = Start {
            settings: Default::default(),
            trust: Arc::default(),
            has_files: false,
            clock: Clock::system(),
            shard: &shard,
        };
        let (store, _) = Store::open(Disk::open(dir.path()).unwrap(), start).unwrap();
        store.workloads(vec![WorkloadChange::Put(workload("old", "old"))]).await.unwrap();
        let began = Instant::now();
        let desk = Desk::open(store.clone(), vec![workload("old", "old")], Metrics::new(&shard).unwrap());
        let mut versions = store.watch();
        let mut until = async |count| drop(versions.wait_for(|v| v.workloads == count).await.unwrap());
        desk.joined(1, Registered::clone(&workload("a", "a"))).await;
        desk.joined(2, Registered::clone(&workload("b", "b"))).await;
        assert_eq!(store.now().workloads, 3);
        desk.left(1, Departure::Clean);
        until(2).await;
        assert!(began.elapsed() < GRACE, "at once");
        let broke = Instant::now();
        desk.left(2, Departure::Broken);
        until(1).await;
        assert!(broke.elapsed() >= GRACE);
        until(0).await;
        assert!(began.elapsed() >= RESTORE);
    }
}
