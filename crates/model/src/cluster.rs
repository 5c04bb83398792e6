//! A cluster: one set of upstream endpoints and how they are reached.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::limits::ConnectionOptions;
use crate::tls::UpstreamTls;
use crate::{CircuitBreakers, DestinationService, DnsCache, EndpointSet, HealthCheck, OutlierDetection, SlowStart};

/// A cluster (xDS `Cluster`).
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name, such as `outbound|9080|v1|reviews.default.svc.cluster.local`.
    pub name: Arc<str>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// How one endpoint is chosen.
    pub balancing: Balancing,
    /// The endpoint that the downstream dialled comes before any choice, if it is one of these, well or not.
    pub prefers_dialled: bool,
    /// Where workloads of the mesh may be, for [`Discovery::OriginalDestination`]: one that is dialled there has a cluster of
    /// its own, to be asked for by the name of [`of_workload`].
    pub workloads: Box<[IpNet]>,
    /// What localities have to do with it.
    pub localities: Localities,
    /// Limit for making a connection, TLS included.
    pub connect_timeout: Duration,
    /// What is spoken to the endpoints.
    pub protocol: UpstreamProtocol,
    /// What lies between TCP and HTTP.
    pub transport: Transport,
    /// A connection without exchanges is closed after this (Envoy's default: one hour).
    pub idle_timeout: Option<Duration>,
    /// Exchanges after which a connection is replaced; none: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// What few clusters say of their connections; none: nothing.
    pub connections: Option<Box<ConnectionOptions>>,
    /// How much at once; none: no limits.
    pub circuit_breakers: Option<Box<CircuitBreakers>>,
    /// When an endpoint that fails is left out; none: never.
    pub outlier_detection: Option<Box<OutlierDetection>>,
    /// The active health check of every endpoint.
    pub health_check: Option<Box<HealthCheck>>,
    /// How the share of a new endpoint grows; none: it has all of it at once.
    pub slow_start: Option<Box<SlowStart>>,
    /// Below this share of available endpoints, in percent, a priority uses all of its endpoints; 0: never.
    pub panic_percent: u8,
    /// Time between two lookups of its endpoints' names (Envoy's default: five seconds).
    pub dns_refresh: Duration,
    /// The service behind it, for telemetry.
    pub service: Option<DestinationService>,
}

/// Envoy's default of [`Cluster::panic_percent`].
pub const PANIC_PERCENT: u8 = 50;

/// Envoy's default of [`Cluster::dns_refresh`].
pub const DNS_REFRESH: Duration = Duration::from_secs(5);

impl Cluster {
    /// A cluster with Envoy's defaults: round robin, HTTP/1.1, plain text, 5 s to connect; but without limits to
    /// concurrency.
    pub fn new(name: impl Into<Arc<str>>, discovery: Discovery) -> Self {
        Self {
            name: name.into(),
            discovery,
            balancing: Balancing::RoundRobin,
            prefers_dialled: false,
            workloads: Box::default(),
            localities: Localities::Alike,
            connect_timeout: Duration::from_secs(5),
            protocol: UpstreamProtocol::Http1,
            transport: Transport::Plain,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_requests_per_connection: None,
            connections: None,
            circuit_breakers: None,
            outlier_detection: None,
            health_check: None,
            slow_start: None,
            panic_percent: PANIC_PERCENT,
            dns_refresh: DNS_REFRESH,
            service: None,
        }
    }
}

/// How the names begin of clusters that are each one workload.
const WORKLOAD: &str = "workload|";

/// The name of the cluster that is the workload at this address: `workload|127.64.0.9:9080`.
pub fn of_workload(at: SocketAddr) -> Arc<str> {
    format!("{WORKLOAD}{at}").into()
}

/// The address in such a name.
pub fn workload_of(name: &str) -> Option<SocketAddr> {
    name.strip_prefix(WORKLOAD)?.parse().ok()
}

/// Where a cluster's endpoints come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Discovery {
    /// Endpoint discovery, under this name.
    Eds(Arc<str>),
    /// Given here.
    Static(EndpointSet),
    /// Given here as host names; every address of every name is an endpoint (`STRICT_DNS`).
    StrictDns(EndpointSet),
    /// Given here as one host name; connections go to the first address (`LOGICAL_DNS`).
    LogicalDns(EndpointSet),
    /// The address that the downstream dialled (`ORIGINAL_DST`).
    OriginalDestination,
    /// The host that a request names, or a TLS connection, is looked up (`envoy.clusters.dynamic_forward_proxy`). Where no
    /// port is named it is 80, or with TLS 443.
    DynamicForward(Box<DnsCache>),
}

impl Discovery {
    /// Is an endpoint known only with what is sent there, so that there is nothing to choose from?
    pub fn is_by_itself(&self) -> bool {
        matches!(self, Self::OriginalDestination | Self::DynamicForward(_))
    }
}

/// How one endpoint is chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Balancing {
    /// In turn, by weight.
    RoundRobin,
    /// The least busy of some drawn at random (Envoy's default is two).
    LeastRequest {
        /// How many are drawn.
        choices: u32,
    },
    /// Like the least busy, but where endpoints differ in weight each counts as `weight / (busy + 1) ^ bias`; a bias of
    /// one is [`Balancing::LeastRequest`].
    BiasedLeastRequest {
        /// How many are drawn where weights do not differ.
        choices: u32,
        /// Zero or more; zero is by weight alone.
        bias: f64,
    },
    /// By chance.
    Random,
    /// By a hash of the request, on a ring on which endpoints have places by their weight.
    RingHash {
        /// The least number of places.
        min_size: u64,
        /// The largest number of places.
        max_size: u64,
    },
    /// By a hash of the request, in a table of a prime number of places.
    Maglev {
        /// The number of places.
        table_size: u64,
    },
    /// The one of two drawn at random that promises the quicker answer, by what the last ones took and how many are on
    /// their way (Linkerd's peak EWMA).
    PeakEwma(PeakEwma),
    /// As the cluster's discovery says: where that [is all](Discovery::is_by_itself).
    Provided,
}

impl Balancing {
    /// Does what a request is known by decide?
    pub fn hashes(&self) -> bool {
        matches!(self, Self::RingHash { .. } | Self::Maglev { .. })
    }
}

/// Settings of the peak EWMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeakEwma {
    /// After this time an observation counts `1/e`.
    pub decay: Duration,
    /// What an endpoint is taken to need before it was observed.
    pub initial: Duration,
}

impl Default for PeakEwma {
    /// Linkerd's values.
    fn default() -> Self {
        Self { decay: Duration::from_secs(10), initial: Duration::from_millis(30) }
    }
}

/// What localities have to do with the choice of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Localities {
    /// Nothing, beyond their priority.
    Alike,
    /// They have shares, by their weights.
    Weighted,
    /// That of the proxy comes first, as far as it is there to carry what comes from there.
    Zones(ZoneRouting),
}

/// How the locality of the proxy comes first (Envoy's zone aware routing). It needs to know where the others run that are of
/// the proxy's own cluster: see [`LOCAL_CLUSTER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneRouting {
    /// With fewer healthy endpoints than this, localities are alike.
    pub min_cluster_size: u64,
    /// For so many of a hundred requests; for the others localities are alike.
    pub percent: u8,
    /// Nobody takes a request while the cluster, or the proxy's own, panics.
    pub fails_in_panic: bool,
    /// While so many endpoints of the proxy's locality are healthy, they take everything.
    pub own_takes_all_from: Option<u32>,
    /// Endpoints count by their weights.
    pub by_weight: bool,
}

impl Default for ZoneRouting {
    /// Envoy's defaults.
    fn default() -> Self {
        Self { min_cluster_size: 6, percent: 100, fails_in_panic: false, own_takes_all_from: None, by_weight: false }
    }
}

/// The name, Istio's, under which a control plane tells a proxy of the cluster that it is itself an endpoint of: the
/// workload that it stands beside, with all its instances. An Envoy bootstrap may name another one.
pub const LOCAL_CLUSTER: &str = "local_cluster";

/// What is spoken to the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge on plain text.
    Http2,
    /// What TLS agrees on by ALPN; HTTP/1.1 on plain text.
    Auto,
    /// What the downstream speaks.
    SameAsDownstream,
}

/// What lies between TCP and HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// Nothing.
    Plain,
    /// TLS to every endpoint.
    Tls(UpstreamTls),
    /// The mesh's mutual TLS to endpoints that take it, plain text to the others (Istio's auto mTLS).
    MeshTls(UpstreamTls),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_workloads() {
        for at in ["127.64.0.9:9080", "[fd00::1]:80"].map(|at| at.parse().unwrap()) {
            assert_eq!(workload_of(&of_workload(at)), Some(at));
        }
        for name in ["127.64.0.9:9080", "workload|127.64.0.9", "workload|a:80", "outbound|80||a"] {
            assert_eq!(workload_of(name), None, "{name}");
        }
    }
}
