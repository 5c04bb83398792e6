//! Active health checks: what endpoints are asked, how often, and what their answers mean.

use std::time::Duration;

use crate::{HeaderChanges, StringMatch};

/// An active health check of every endpoint of a cluster (xDS `HealthCheck`).
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// How long one check may take.
    pub timeout: Duration,
    /// Time between checks.
    pub interval: Duration,
    /// Up to so much is waited before the first check, by chance.
    pub initial_jitter: Duration,
    /// Up to so much is added to each wait, by chance.
    pub interval_jitter: Duration,
    /// Up to so many percent of the interval are added to each wait, by chance.
    pub interval_jitter_percent: u32,
    /// Failed checks in a row that make an endpoint unhealthy.
    pub unhealthy_threshold: u32,
    /// Good checks in a row that make it healthy again; the first of all suffices alone.
    pub healthy_threshold: u32,
    /// Time between checks while the cluster has not been used.
    pub no_traffic_interval: Duration,
    /// The same, for endpoints that are healthy.
    pub no_traffic_healthy_interval: Option<Duration>,
    /// Time between checks of an unhealthy endpoint.
    pub unhealthy_interval: Option<Duration>,
    /// The first of these after it became so.
    pub unhealthy_edge_interval: Option<Duration>,
    /// The first interval after it became healthy.
    pub healthy_edge_interval: Option<Duration>,
    /// A connection serves for more than one check.
    pub reuse_connection: bool,
    /// What is asked.
    pub probe: Probe,
}

impl HealthCheck {
    /// A check with Envoy's defaults for what need not be said.
    pub fn new(timeout: Duration, interval: Duration, thresholds: (u32, u32), probe: Probe) -> Self {
        Self {
            timeout,
            interval,
            initial_jitter: Duration::ZERO,
            interval_jitter: Duration::ZERO,
            interval_jitter_percent: 0,
            unhealthy_threshold: thresholds.0,
            healthy_threshold: thresholds.1,
            no_traffic_interval: Duration::from_secs(60),
            no_traffic_healthy_interval: None,
            unhealthy_interval: None,
            unhealthy_edge_interval: None,
            healthy_edge_interval: None,
            reuse_connection: true,
            probe,
        }
    }
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// A request whose answer has an expected status.
    Http(Box<HttpProbe>),
    /// A connection, on which something may be said and expected.
    Tcp {
        /// What is sent; empty: nothing.
        send: Vec<u8>,
        /// What has to come, one after the other, with anything between.
        receive: Vec<Vec<u8>>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service that is asked about; empty: the server.
        service: String,
        /// The authority; empty: the cluster's name.
        authority: String,
    },
}

/// An HTTP health check.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpProbe {
    /// The host; empty: the cluster's name.
    pub host: String,
    /// The path.
    pub path: String,
    /// The method.
    pub method: http::Method,
    /// Changes of the request's headers.
    pub headers: HeaderChanges,
    /// Statuses that are good, each from its first up to before its second; none: 200 only.
    pub expected: Vec<(u16, u16)>,
    /// Statuses that are bad, but not at once.
    pub retriable: Vec<(u16, u16)>,
    /// HTTP/2 is spoken.
    pub http2: bool,
    /// What the answer's `x-envoy-upstream-healthchecked-cluster` has to be.
    pub service: Option<StringMatch>,
}

impl HttpProbe {
    /// A GET of `path`.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            host: String::new(),
            path: path.into(),
            method: http::Method::GET,
            headers: HeaderChanges::default(),
            expected: Vec::new(),
            retriable: Vec::new(),
            http2: false,
            service: None,
        }
    }

    /// Is an answer with this status good?
    pub fn is_expected(&self, status: u16) -> bool {
        if self.expected.is_empty() { status == 200 } else { within(&self.expected, status) }
    }

    /// Does a bad answer with this status count as one failure, and not make the endpoint unhealthy at once?
    pub fn is_retriable(&self, status: u16) -> bool {
        within(&self.retriable, status)
    }
}

fn within(ranges: &[(u16, u16)], status: u16) -> bool {
    ranges.iter().any(|(from, to)| (*from..*to).contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let probe = HttpProbe { expected: vec![(200, 204)], retriable: vec![(500, 503)], ..HttpProbe::get("/") };
        assert_eq!([200, 203, 204, 500].map(|s| probe.is_expected(s)), [true, true, false, false]);
        assert_eq!([500, 502, 503].map(|s| probe.is_retriable(s)), [true, true, false]);
        assert_eq!([200, 201].map(|s| HttpProbe::get("/").is_expected(s)), [true, false]);
    }
}
