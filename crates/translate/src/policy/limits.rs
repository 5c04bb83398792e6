//! What a connection pool says: limits to concurrency, and how connections are kept. Zero means no limit, as with Istio.

use std::time::Duration;

use api::istio::{ConnectionPoolSettings, RetryBudget, TcpKeepalive};
use model::limits::{self, ConnectionOptions, Http2Keepalive};
use model::{CircuitBreakers, Cluster};

/// Connections without exchanges, or without bytes, are closed after this.
pub const IDLE: Duration = Duration::from_secs(3600);

/// What a connection pool says.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Limit for making a connection.
    pub connect_timeout: Option<Duration>,
    /// A connection without exchanges is closed after this.
    pub idle_timeout: Option<Duration>,
    /// A raw connection without bytes is closed after this.
    pub tcp_idle_timeout: Option<Duration>,
    /// Exchanges per connection.
    pub max_requests_per_connection: Option<u32>,
    /// How connections are kept.
    pub connections: ConnectionOptions,
    /// How much at once.
    pub circuit_breakers: CircuitBreakers,
}

impl Pool {
    /// Reads it, the budget of retries beside it, and the mesh's keep-alive for what it leaves unsaid of its own.
    pub fn read(
        written: Option<&ConnectionPoolSettings>,
        budget: Option<&RetryBudget>,
        mesh: Option<&TcpKeepalive>,
    ) -> Self {
        let tcp = written.and_then(|p| p.tcp.as_ref());
        let http = written.and_then(|p| p.http.as_ref());
        let limit = |value: Option<u32>| value.filter(|n| *n > 0).unwrap_or(CircuitBreakers::UNLIMITED);
        let set = |value: Option<Duration>| value.filter(|d| !d.is_zero());
        let tcp_idle = tcp.and_then(|t| t.idle_timeout);
        Self {
            connect_timeout: tcp.and_then(|t| t.connect_timeout),
            idle_timeout: set(Some(http.and_then(|h| h.idle_timeout).or(tcp_idle).unwrap_or(IDLE))),
            tcp_idle_timeout: set(Some(tcp_idle.unwrap_or(IDLE))),
            max_requests_per_connection: http.and_then(|h| h.max_requests_per_connection).filter(|max| *max > 0),
            connections: ConnectionOptions {
                tcp_keepalive: joined(tcp.and_then(|t| t.tcp_keepalive.as_ref()), mesh).as_ref().and_then(keepalive),
                max_duration: set(tcp.and_then(|t| t.max_connection_duration)),
                max_concurrent_streams: http.and_then(|h| h.max_concurrent_streams).filter(|max| *max > 0),
                http2_keepalive: http.and_then(|h| h.http2_keep_alive.as_ref()).and_then(|pings| {
                    Some(Http2Keepalive { interval: set(pings.interval)?, timeout: set(pings.timeout)? })
                }),
                http1_trailers: false,
                proxy_header: None,
            },
            circuit_breakers: CircuitBreakers {
                max_connections: limit(tcp.and_then(|t| t.max_connections)),
                max_pending_requests: limit(http.and_then(|h| h.http1_max_pending_requests)),
                max_requests: limit(http.and_then(|h| h.http2_max_requests)),
                max_retries: limit(http.and_then(|h| h.max_retries)),
                retry_budget: budget.map(retry_budget),
            },
        }
    }

    /// Gives a cluster what the pool says. What concerns HTTP/2 has no effect where only HTTP/1.1 is spoken.
    pub fn apply(&self, cluster: &mut Cluster) {
        let mut connections = self.connections.clone();
        if cluster.protocol == model::cluster::UpstreamProtocol::Http1 {
            connections = ConnectionOptions { max_concurrent_streams: None, http2_keepalive: None, ..connections };
        }
        cluster.idle_timeout = self.idle_timeout;
        cluster.max_requests_per_connection = self.max_requests_per_connection;
        cluster.connections = (connections != ConnectionOptions::default()).then(|| Box::new(connections));
        let limits = &self.circuit_breakers;
        cluster.circuit_breakers = (!limits.is_unlimited()).then(|| Box::new(limits.clone()));
    }
}

/// What the first says, and of the second what the first leaves unsaid.
fn joined(own: Option<&TcpKeepalive>, mesh: Option<&TcpKeepalive>) -> Option<TcpKeepalive> {
    let (Some(own), Some(mesh)) = (own, mesh) else { return own.or(mesh).cloned() };
    Some(TcpKeepalive {
        probes: own.probes.or(mesh.probes),
        time: own.time.or(mesh.time),
        interval: own.interval.or(mesh.interval),
    })
}

/// Whole seconds; where one of them is zero, Envoy sends no probes.
fn keepalive(written: &TcpKeepalive) -> Option<limits::TcpKeepalive> {
    let seconds = |value: Option<Duration>| value.map(|d| u32::try_from(d.as_secs()).unwrap_or(u32::MAX));
    let probes = written.probes.filter(|n| *n > 0);
    let found = limits::TcpKeepalive { probes, time: seconds(written.time), interval: seconds(written.interval) };
    (![found.time, found.interval].contains(&Some(0))).then_some(found)
}

fn retry_budget(written: &RetryBudget) -> limits::RetryBudget {
    let default = limits::RetryBudget::default();
    limits::RetryBudget {
        percent: written.percent.unwrap_or(default.percent),
        min_concurrency: written.min_retry_concurrency.filter(|n| *n > 0).unwrap_or(default.min_concurrency),
        interval: written.budget_interval.unwrap_or(default.interval),
    }
}
