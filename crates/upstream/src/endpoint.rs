//! One endpoint at run time: what discovery says of it, and what was counted on it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use model::endpoint::Health;
use model::{Address, Locality, WorkloadRef};
use tokio::time::Instant;

use crate::dynamic::Target;
use crate::outlier::Monitor;

use crate::ewma::Estimate;

/// Names an endpoint for the life of the process, however often its weight or health changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(u64);

impl EndpointId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Relaxed))
    }
}

/// An endpoint as of one update of its cluster. Its id and its counts live on from update to update while its
/// address stays.
#[derive(Debug)]
pub struct Endpoint {
    model: model::Endpoint,
    place: Place,
    live: Arc<Live>,
}

/// Where an endpoint stands in its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) priority: u32,
    pub(crate) locality: Arc<Locality>,
    /// The DNS name that it was resolved from.
    pub(crate) host: Option<Arc<str>>,
}

/// What outlives updates. Counters are shared by all workers, and touched a few times per request.
#[derive(Debug)]
pub(crate) struct Live {
    id: EndpointId,
    pub(crate) active: AtomicU32,
    pub(crate) connections: AtomicU32,
    pub(crate) requests: AtomicU64,
    pub(crate) successes: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) connections_made: AtomicU64,
    pub(crate) connect_failures: AtomicU64,
    /// What we found of its health ourselves: a set of [`Flag`]s.
    flags: AtomicU8,
    /// What outlier detection counts, where a cluster has any.
    monitor: OnceLock<Arc<Monitor>>,
    /// When it came, or last became healthy: slow start begins there.
    since: Mutex<Instant>,
    /// Kept only where the cluster chooses by it.
    pub(crate) estimate: Estimate,
}

/// Something that we found of an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    /// It fails active health checks, or has not passed any yet.
    FailsChecks = 1,
    /// It is ejected by outlier detection.
    Ejected = 2,
    /// No active health check has told anything of it yet.
    Unchecked = 4,
}

impl Live {
    fn new() -> Self {
        Self {
            id: EndpointId::next(),
            active: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            successes: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            connections_made: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            flags: AtomicU8::new(0),
            monitor: OnceLock::new(),
            since: Mutex::new(Instant::now()),
            estimate: Estimate::default(),
        }
    }

    /// Sets or clears a flag. Says whether that changed anything.
    pub(crate) fn flag(&self, flag: Flag, set: bool) -> bool {
        let bit = flag as u8;
        let before = if set { self.flags.fetch_or(bit, Relaxed) } else { self.flags.fetch_and(!bit, Relaxed) };
        (before & bit != 0) != set
    }

    pub(crate) fn has(&self, flag: Flag) -> bool {
        self.flags.load(Relaxed) & flag as u8 != 0
    }

    /// What outlier detection counts on it, from now on.
    pub(crate) fn watch(&self) -> &Arc<Monitor> {
        self.monitor.get_or_init(Arc::default)
    }

    /// What outlier detection counts on it.
    pub(crate) fn monitor(&self) -> Option<&Monitor> {
        self.monitor.get().map(|monitor| &**monitor)
    }

    /// It became healthy just now.
    pub(crate) fn recovered(&self, now: Instant) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// How long it has been there, or healthy.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.since.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Endpoint {
    /// Takes over `previous`, whole if nothing was said anew, else its id and counts.
    pub(crate) fn new(model: model::Endpoint, place: Place, previous: Option<&Arc<Self>>) -> Arc<Self> {
        match previous {
            Some(same) if same.model == model && same.place == place => same.clone(),
            Some(changed) => Arc::new(Self { model, place, live: changed.live.clone() }),
            None => Arc::new(Self { model, place, live: Arc::new(Live::new()) }),
        }
    }

    /// The address that the downstream dialled, as an endpoint of an `ORIGINAL_DST` cluster.
    pub(crate) fn original_destination(addr: SocketAddr) -> Arc<Self> {
        let place = Place { priority: 0, locality: Arc::default(), host: None };
        Self::new(model::Endpoint::plain(addr), place, None)
    }

    /// A host that a request named.
    pub(crate) fn named(target: &Target) -> Arc<Self> {
        let place = Place { priority: 0, locality: Arc::default(), host: Some(target.host.clone()) };
        Self::new(model::Endpoint::plain(target.address), place, None)
    }

    /// Its name within the process.
    pub fn id(&self) -> EndpointId {
        self.live.id
    }

    /// Where it is dialled.
    pub fn address(&self) -> &Address {
        &self.model.address
    }

    /// The DNS name that it was resolved from.
    pub fn host(&self) -> Option<&str> {
        self.place.host.as_deref()
    }

    /// Who it is, for telemetry.
    pub fn workload(&self) -> Option<&Arc<WorkloadRef>> {
        self.model.workload.as_ref()
    }

    /// It takes the mesh's mutual TLS.
    pub fn mesh_tls(&self) -> bool {
        self.model.mesh_tls
    }

    /// What discovery says of its health, unless we found it unhealthy ourselves.
    pub fn health(&self) -> Health {
        let failed = self.live.has(Flag::FailsChecks) || self.live.has(Flag::Ejected);
        match self.model.health {
            Health::Draining => Health::Draining,
            _ if failed => Health::Unhealthy,
            said => said,
        }
    }

    /// What discovery says of its health.
    pub fn discovered_health(&self) -> Health {
        self.model.health
    }

    /// Does it fail active health checks?
    pub fn fails_health_check(&self) -> bool {
        self.live.has(Flag::FailsChecks)
    }

    /// Has no active health check told anything of it yet?
    pub fn awaits_health_check(&self) -> bool {
        self.live.has(Flag::Unchecked)
    }

    /// Is it ejected by outlier detection?
    pub fn is_ejected(&self) -> bool {
        self.live.has(Flag::Ejected)
    }

    /// Its success rate in the last interval of outlier detection, in percent, if there was enough to count.
    pub fn success_rate(&self) -> Option<f64> {
        self.live.monitor()?.success_rate()
    }

    /// Its share among its neighbours.
    pub fn weight(&self) -> u32 {
        self.model.weight
    }

    /// Its priority; zero comes first.
    pub fn priority(&self) -> u32 {
        self.place.priority
    }

    /// Where it runs.
    pub fn locality(&self) -> &Locality {
        &self.place.locality
    }

    pub(crate) fn place(&self) -> &Arc<Locality> {
        &self.place.locality
    }

    /// Requests (and raw connections) on it at this moment, of all workers.
    pub fn active(&self) -> u32 {
        self.live.active.load(Relaxed)
    }

    /// What was counted on it.
    pub fn counts(&self) -> Counts {
        let live = &self.live;
        Counts {
            connections_active: live.connections.load(Relaxed),
            connections_total: live.connections_made.load(Relaxed),
            connect_failures: live.connect_failures.load(Relaxed),
            requests_active: live.active.load(Relaxed),
            requests_total: live.requests.load(Relaxed),
            requests_success: live.successes.load(Relaxed),
            requests_error: live.errors.load(Relaxed),
        }
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }
}

/// The counts of one endpoint, by the names of Envoy's `/clusters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// `cx_active`
    pub connections_active: u32,
    /// `cx_total`
    pub connections_total: u64,
    /// `cx_connect_fail`
    pub connect_failures: u64,
    /// `rq_active`
    pub requests_active: u32,
    /// `rq_total`
    pub requests_total: u64,
    /// `rq_success`: answered, and not with 5xx.
    pub requests_success: u64,
    /// `rq_error`: answered with 5xx, or not at all.
    pub requests_error: u64,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.model.address.fmt(f)
    }
}
