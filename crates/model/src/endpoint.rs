//! The endpoints of a cluster, by locality and priority.

use std::sync::Arc;

use crate::{Address, WorkloadRef};

/// All endpoints of one cluster (xDS `ClusterLoadAssignment`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EndpointSet {
    /// The name that clusters refer to it by.
    pub name: Arc<str>,
    /// The groups.
    pub localities: Vec<LocalityEndpoints>,
    /// How the load is spread over priorities.
    pub spread: Spread,
}

impl EndpointSet {
    /// A set with Envoy's defaults.
    pub fn new(name: impl Into<Arc<str>>, localities: Vec<LocalityEndpoints>) -> Self {
        Self { name: name.into(), localities, spread: Spread::default() }
    }

    /// Every endpoint, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.localities.iter().flat_map(|group| &group.endpoints)
    }
}

/// How the load is spread over priorities (xDS `ClusterLoadAssignment.Policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// A priority counts as whole while this many percent of its healthy share reach 100 (Envoy's default 140).
    pub overprovisioning: u32,
    /// A share is one of weights; otherwise one of endpoints.
    pub weighted: bool,
}

impl Default for Spread {
    fn default() -> Self {
        Self { overprovisioning: 140, weighted: false }
    }
}

/// Where something runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Locality {
    /// Such as `eu-central`.
    pub region: String,
    /// Such as `eu-central-1a`.
    pub zone: String,
    /// Such as a rack.
    pub sub_zone: String,
}

/// Endpoints of one locality at one priority.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LocalityEndpoints {
    /// Where they run.
    pub locality: Locality,
    /// Zero comes first; higher ones take what the lower cannot.
    pub priority: u32,
    /// The share of this locality among those of its priority, where the cluster says that localities have one; none: no
    /// share.
    pub weight: Option<u32>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Where it is dialled.
    pub address: Address,
    /// Its share among its neighbours, at least 1.
    pub weight: u32,
    /// What discovery says of its health.
    pub health: Health,
    /// It takes the mesh's mutual TLS (Istio: `tlsMode: istio`).
    pub mesh_tls: bool,
    /// Who it is, for telemetry.
    pub workload: Option<Arc<WorkloadRef>>,
}

impl Endpoint {
    /// A healthy endpoint of weight 1 without mesh TLS.
    pub fn plain(address: impl Into<Address>) -> Self {
        Self { address: address.into(), weight: 1, health: Health::Healthy, mesh_tls: false, workload: None }
    }
}

/// What discovery says of an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Takes traffic.
    Healthy,
    /// Takes no traffic.
    Unhealthy,
    /// Takes no new work while it finishes the old.
    Draining,
    /// Takes traffic only when the healthy ones do not suffice.
    Degraded,
}
