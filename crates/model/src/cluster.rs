//! A cluster: one set of upstream endpoints and how they are reached.

use std::sync::Arc;
use std::time::Duration;

use crate::limits::ConnectionOptions;
use crate::tls::UpstreamTls;
use crate::{CircuitBreakers, DestinationService, EndpointSet, HealthCheck, OutlierDetection, SlowStart};

/// A cluster (xDS `Cluster`).
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name, such as `outbound|9080|v1|reviews.default.svc.cluster.local`.
    pub name: Arc<str>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// How one endpoint is chosen.
    pub balancing: Balancing,
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
    /// The service behind it, for telemetry.
    pub service: Option<DestinationService>,
}

/// Envoy's default of [`Cluster::panic_percent`].
pub const PANIC_PERCENT: u8 = 50;

impl Cluster {
    /// A cluster with Envoy's defaults: round robin, HTTP/1.1, plain text, 5 s to connect; but without limits to
    /// concurrency.
    pub fn new(name: impl Into<Arc<str>>, discovery: Discovery) -> Self {
        Self {
            name: name.into(),
            discovery,
            balancing: Balancing::RoundRobin,
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
            service: None,
        }
    }
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
}

/// How one endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balancing {
    /// In turn, by weight.
    RoundRobin,
    /// The least busy of some drawn at random (Envoy's default is two).
    LeastRequest {
        /// How many are drawn.
        choices: u32,
    },
    /// By chance.
    Random,
    /// As the cluster's discovery says: for [`Discovery::OriginalDestination`].
    Provided,
}

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
