//! One endpoint at run time: what discovery says of it, and what was counted on it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use model::endpoint::Health;
use model::{Address, Locality, WorkloadRef};

use crate::ewma::Estimate;

/// Names an endpoint for the life of the process, however often its weight or health changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(u64);

impl EndpointId {
    fn next() -> Self {
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
    /// Kept only where the cluster chooses by it.
    pub(crate) estimate: Estimate,
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
            estimate: Estimate::default(),
        }
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

    /// What discovery says of its health.
    pub fn health(&self) -> Health {
        self.model.health
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
