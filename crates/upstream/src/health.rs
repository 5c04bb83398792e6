//! The health of endpoints as we find it ourselves, beside what discovery says: outlier detection, active health checks and
//! slow start. Off the workers, by one task for each cluster that has any of these. It sleeps until the cluster is first
//! used; only health checks begin at once.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use telemetry::{Counter, DeclareError, Desc, Family, Gauge, Shard};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until};

use crate::check::keep_checking;
use crate::cluster::{Cluster, Core};
use crate::dial::Dialer;
use crate::endpoint::{EndpointId, Flag};
use crate::outlier::{Detector, Finding, Kind, Reached};
use crate::table::EndpointTable;

/// What a worker tells, or who changes a cluster.
#[derive(Debug)]
pub(crate) enum Report {
    /// It is used, from now on.
    Used,
    /// It has other endpoints, or none of us any more.
    Changed,
    /// An endpoint has failed as often in a row as it may.
    Reached(EndpointId, Reached),
    /// An active health check of an endpoint went well or not, and what that makes it, if that is new.
    Checked(EndpointId, bool, Option<bool>),
}

/// Where reports go.
#[derive(Debug)]
pub(crate) struct Reports {
    sender: mpsc::UnboundedSender<Report>,
    /// Until somebody hears them.
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Report>>>,
    used: AtomicBool,
}

impl Reports {
    /// Those of a cluster; none if there is nothing to find.
    pub(crate) fn of(config: &model::Cluster) -> Option<Box<Self>> {
        let wanted = config.outlier_detection.is_some() || config.slow_start.is_some() || config.health_check.is_some();
        wanted.then(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            Box::new(Self { sender, receiver: Mutex::new(Some(receiver)), used: AtomicBool::new(false) })
        })
    }

    /// Tells the task, if it has not ended.
    pub(crate) fn tell(&self, report: Report) {
        if let Report::Used = report {
            self.used.store(true, Relaxed);
        }
        let _ = self.sender.send(report);
    }

    /// Has a worker used the cluster?
    pub(crate) fn was_used(&self) -> bool {
        self.used.load(Relaxed)
    }
}

/// Where clusters are watched, and their statistics counted.
#[derive(Clone)]
pub struct Watch {
    dialer: Rc<Dialer>,
    families: Rc<Families>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Watches beside the workers, inside of a `LocalSet`. Health checks dial like this.
    ///
    /// # Errors
    /// Somebody else has declared one of the statistics in another way: a mistake of the program.
    pub fn new(dialer: Dialer, shard: &Shard) -> Result<Self, DeclareError> {
        Ok(Self { dialer: Rc::new(dialer), families: Rc::new(Families::new(shard)?) })
    }
}

impl Cluster {
    /// Finds out about the health of its endpoints, if its settings ask for that, by a task that ends with the cluster.
    /// A second time does nothing.
    pub fn watch(&self, watch: &Watch) {
        let core = self.core();
        let receiver =
            core.reports.as_ref().and_then(|r| r.receiver.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(receiver) = receiver {
            spawn_local(follow(Arc::downgrade(core), receiver, watch.clone()));
        }
    }
}

async fn follow(core: Weak<Core>, mut reports: mpsc::UnboundedReceiver<Report>, watch: Watch) {
    while core.upgrade().is_some_and(|core| core.config.health_check.is_none()) {
        match reports.recv().await {
            Some(Report::Used) => break,
            Some(_) if core.upgrade().is_some_and(|core| !core.is_retired()) => {}
            _ => return,
        }
    }
    let Some(mut watched) = core.upgrade().map(|core| Watched::new(&core, watch)) else { return };
    loop {
        let due = watched.due();
        let report = tokio::select! {
            report = reports.recv() => match report {
                Some(report) => Some(report),
                None => return,
            },
            () = at(due) => None,
        };
        match core.upgrade().filter(|core| !core.is_retired()) {
            Some(core) => watched.turn(&core, report, Instant::now()),
            None => return,
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// A cluster that is used and watched.
struct Watched {
    stats: Stats,
    seen: Option<Arc<EndpointTable>>,
    outliers: Option<(Detector, Instant)>,
    /// When the shares of new endpoints are looked at again.
    grows: Option<Instant>,
    checks: HashMap<EndpointId, Check>,
    dialer: Rc<Dialer>,
}

/// The task that checks one endpoint.
struct Check(AbortHandle);

impl Drop for Check {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watched {
    fn new(core: &Arc<Core>, watch: Watch) -> Self {
        let now = Instant::now();
        let settings = core.config.outlier_detection.as_deref();
        let mut watched = Self {
            stats: Stats { families: watch.families, cluster: core.config.name.clone(), ejected: 0, healthy: 0 },
            seen: None,
            outliers: settings.map(|settings| (Detector::new(settings.clone()), now + settings.interval)),
            grows: None,
            checks: HashMap::new(),
            dialer: watch.dialer,
        };
        watched.turn(core, None, now);
        watched
    }

    /// When something is to be done though nobody reports anything.
    fn due(&self) -> Option<Instant> {
        [self.outliers.as_ref().map(|(_, next)| *next), self.grows].into_iter().flatten().min()
    }

    /// Does what a report, or the time, asks for.
    fn turn(&mut self, core: &Arc<Core>, report: Option<Report>, now: Instant) {
        self.see(core);
        let mut anew = false;
        if let Some(Report::Checked(id, good, change)) = report {
            anew |= self.checked(id, good, change, now);
        }
        if let Some((detector, next)) = &mut self.outliers {
            if let Some(Report::Reached(id, reached)) = report {
                detector.reached(id, reached, now, &mut rand::random);
            }
            if now >= *next {
                detector.sweep(now, &mut rand::random);
                *next =
                    now + core.config.outlier_detection.as_ref().map_or(Duration::MAX, |settings| settings.interval);
            }
            for finding in detector.findings() {
                self.stats.count(finding);
                anew |= self.seen.as_ref().is_some_and(|table| set_flag(table, finding));
            }
            self.stats.show(detector.ejected());
        }
        self.stats.show_healthy(self.seen.as_deref().filter(|_| core.config.health_check.is_some()));
        let grew = self.grows.is_some_and(|due| now >= due);
        if anew || grew {
            core.refresh();
            self.see(core);
        }
        if let (Some(start), Some(table)) = (&core.config.slow_start, &self.seen) {
            let new = table.endpoints().iter().any(|e| e.live().age(now) < start.window);
            self.grows = new
                .then(|| if grew { now + step(start.window) } else { self.grows.unwrap_or(now + step(start.window)) });
        }
    }

    /// A health check was made. Says whether anything changed.
    fn checked(&mut self, id: EndpointId, good: bool, change: Option<bool>, now: Instant) -> bool {
        self.stats.count_check(good);
        let endpoint = self.seen.as_ref().and_then(|table| table.endpoints().iter().find(|e| e.id() == id).cloned());
        let Some(endpoint) = endpoint else { return false };
        endpoint.live().flag(Flag::Unchecked, false);
        if good
            && !endpoint.fails_health_check()
            && let Some((detector, _)) = &mut self.outliers
        {
            detector.health_check_passed(id, now);
        }
        let Some(healthy) = change else { return false };
        if healthy {
            endpoint.live().recovered(now);
        }
        endpoint.live().flag(Flag::FailsChecks, !healthy)
    }

    /// The endpoints of now are watched.
    fn see(&mut self, core: &Arc<Core>) {
        let table = core.table();
        if self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &table)) {
            return;
        }
        if let Some((detector, _)) = &mut self.outliers {
            detector.follow(table.endpoints().iter().map(|e| (e.id(), e.live().watch().clone())));
        }
        if core.config.health_check.is_some() {
            let mut before = std::mem::take(&mut self.checks);
            for endpoint in table.endpoints() {
                let begin = || {
                    let (core, dialer) = (Arc::downgrade(core), self.dialer.clone());
                    Check(spawn_local(keep_checking(core, endpoint.clone(), dialer)).abort_handle())
                };
                let check = before.remove(&endpoint.id()).unwrap_or_else(begin);
                self.checks.insert(endpoint.id(), check);
            }
        }
        self.seen = Some(table.clone());
    }
}

/// How often the share of a new endpoint is raised.
fn step(window: Duration) -> Duration {
    (window / 100).clamp(Duration::from_millis(100), Duration::from_secs(1))
}

/// Lets the endpoint know. Says whether anything changed.
fn set_flag(table: &EndpointTable, finding: Finding) -> bool {
    let (id, out) = match finding {
        Finding::Ejected(id, _) => (id, true),
        Finding::Returned(id) => (id, false),
        Finding::Detected(_) | Finding::Overflow => return false,
    };
    let endpoint = table.endpoints().iter().find(|endpoint| endpoint.id() == id);
    endpoint.is_some_and(|endpoint| endpoint.live().flag(Flag::Ejected, out))
}

/// The statistics of outlier detection, by Envoy's names.
struct Families {
    active: Family<Gauge>,
    enforced: Family<Counter>,
    overflow: Family<Counter>,
    by_kind: Vec<(Kind, Family<Counter>, Family<Counter>)>,
    checks: Family<Counter>,
    passed: Family<Counter>,
    failed: Family<Counter>,
    healthy: Family<Gauge>,
}

impl Families {
    fn new(shard: &Shard) -> Result<Self, DeclareError> {
        let desc = |name: &str, help: &str| {
            Desc::new(&format!("envoy_cluster_outlier_detection_ejections_{name}"), help).labels(&["cluster_name"])
        };
        let check = |name: &str, help: &str| {
            Desc::new(&format!("envoy_cluster_health_check_{name}"), help).labels(&["cluster_name"])
        };
        let mut by_kind = Vec::new();
        for kind in Kind::ALL {
            let (detected, enforced) = (format!("detected_{}", kind.name()), format!("enforced_{}", kind.name()));
            by_kind.push((
                kind,
                shard.counters(desc(&detected, "Outliers found in this way."))?,
                shard.counters(desc(&enforced, "Endpoints left out for this."))?,
            ));
        }
        Ok(Self {
            active: shard.gauges(desc("active", "Endpoints that are left out."))?,
            enforced: shard.counters(desc("enforced_total", "Endpoints that were left out."))?,
            overflow: shard.counters(desc("overflow", "Outliers not left out, since too many are."))?,
            by_kind,
            checks: shard.counters(check("attempt", "Health checks."))?,
            passed: shard.counters(check("success", "Health checks that went well."))?,
            failed: shard.counters(check("failure", "Health checks that did not."))?,
            healthy: shard.gauges(check("healthy", "Endpoints that pass health checks."))?,
        })
    }
}

/// Those of one cluster.
struct Stats {
    families: Rc<Families>,
    cluster: Arc<str>,
    /// Our parts of the gauges, which a cluster of the same name may share for a while.
    ejected: i64,
    healthy: i64,
}

impl Stats {
    fn count(&self, finding: Finding) {
        let of = |kind: Kind| self.families.by_kind.iter().find(move |(of, ..)| *of == kind);
        let add = |family: &Family<Counter>| family.with(&[&self.cluster]).inc();
        match finding {
            Finding::Detected(kind) => of(kind).iter().for_each(|(_, detected, _)| add(detected)),
            Finding::Ejected(_, kind) => {
                add(&self.families.enforced);
                of(kind).iter().for_each(|(.., enforced)| add(enforced));
            }
            Finding::Overflow => add(&self.families.overflow),
            Finding::Returned(_) => {}
        }
    }

    fn show(&mut self, ejected: usize) {
        let change = ejected as i64 - self.ejected;
        if change != 0 {
            self.families.active.with(&[&self.cluster]).add(change);
            self.ejected += change;
        }
    }

    fn count_check(&self, good: bool) {
        let families = &self.families;
        for family in [&families.checks, if good { &families.passed } else { &families.failed }] {
            family.with(&[&self.cluster]).inc();
        }
    }

    fn show_healthy(&mut self, checked: Option<&EndpointTable>) {
        let passing = checked.map_or(0, |t| t.endpoints().iter().filter(|e| !e.fails_health_check()).count());
        let change = passing as i64 - self.healthy;
        if change != 0 {
            self.families.healthy.with(&[&self.cluster]).add(change);
            self.healthy += change;
        }
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        self.show(0);
        self.show_healthy(None);
    }
}
