//! Limits of a cluster: how much at once, and how its connections are kept.

use std::time::Duration;

/// How much at once (xDS `CircuitBreakers`, of the default priority). Workers share the counts.
#[derive(Debug, Clone, PartialEq)]
pub struct CircuitBreakers {
    /// Connections, those being made among them.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests under way.
    pub max_requests: u32,
    /// Further tries under way, unless there is a budget for them.
    pub max_retries: u32,
    /// Bounds further tries by the requests under way.
    pub retry_budget: Option<RetryBudget>,
}

impl CircuitBreakers {
    /// The value of a limit that does not limit.
    pub const UNLIMITED: u32 = u32::MAX;

    /// No limits: Istio's default.
    pub fn unlimited() -> Self {
        let none = Self::UNLIMITED;
        Self {
            max_connections: none,
            max_pending_requests: none,
            max_requests: none,
            max_retries: none,
            retry_budget: None,
        }
    }

    /// Does nothing limit anything?
    pub fn is_unlimited(&self) -> bool {
        *self == Self::unlimited()
    }
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
        }
    }
}

/// Further tries relative to what is under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Share of the requests that count, in percent: of those under way and waiting, unless an interval is said.
    pub percent: f64,
    /// So many are always allowed.
    pub min_concurrency: u32,
    /// The share is one of the requests that began within this time, in place of those under way; zero: it is not.
    pub interval: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20.0, min_concurrency: 3, interval: Duration::ZERO }
    }
}

/// What few clusters say of their connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionOptions {
    /// Probes on silent TCP connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// An HTTP connection takes no more requests after this, and ends with those on it.
    pub max_duration: Option<Duration>,
    /// Requests at once on one HTTP/2 connection, if the other side allows more.
    pub max_concurrent_streams: Option<u32>,
    /// Pings on HTTP/2 connections.
    pub http2_keepalive: Option<Http2Keepalive>,
    /// HTTP/1.1: trailers pass, in requests and responses; otherwise they are dropped.
    pub http1_trailers: bool,
    /// A PROXY header of this version goes before everything else, TLS too, and tells who the downstream is. Such
    /// connections are kept for the downstream connection that they were made for.
    pub proxy_header: Option<ProxyVersion>,
}

/// A version of the PROXY protocol's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// Probes on silent TCP connections. What is not said is as the operating system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpKeepalive {
    /// Probes without an answer that end the connection.
    pub probes: Option<u32>,
    /// Silence before the first probe, in seconds.
    pub time: Option<u32>,
    /// Time between probes, in seconds.
    pub interval: Option<u32>,
}

/// Pings on HTTP/2 connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Keepalive {
    /// Time between pings.
    pub interval: Duration,
    /// How long the answer may take before the connection is given up.
    pub timeout: Duration,
}
