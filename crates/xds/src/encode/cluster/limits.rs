//! Limits to concurrency, and how connections are kept.

use model::CircuitBreakers;
use model::limits::{ConnectionOptions, RetryBudget};
use proto::envoy::config::cluster::v3 as wire;
use proto::envoy::config::cluster::v3::UpstreamConnectionOptions;
use proto::envoy::config::cluster::v3::circuit_breakers::{Thresholds, thresholds};
use proto::envoy::config::core::v3 as core;
use proto::envoy::r#type::v3::Percent;

use crate::encode::{duration, number};

/// Every limit is said: what is not said would be Envoy's default, which is a limit.
pub(super) fn circuit_breakers(limits: Option<&CircuitBreakers>) -> wire::CircuitBreakers {
    let unlimited = CircuitBreakers::unlimited();
    let limits = limits.unwrap_or(&unlimited);
    let thresholds = Thresholds {
        max_connections: number(limits.max_connections),
        max_pending_requests: number(limits.max_pending_requests),
        max_requests: number(limits.max_requests),
        max_retries: number(limits.max_retries),
        retry_budget: limits.retry_budget.map(retry_budget),
        ..Thresholds::default()
    };
    wire::CircuitBreakers { thresholds: vec![thresholds], ..wire::CircuitBreakers::default() }
}

fn retry_budget(budget: RetryBudget) -> thresholds::RetryBudget {
    thresholds::RetryBudget {
        budget_percent: percent(budget.percent),
        min_retry_concurrency: number(budget.min_concurrency),
        budget_interval: (!budget.interval.is_zero()).then(|| duration(budget.interval)),
    }
}

pub(super) fn percent(value: f64) -> Option<Percent> {
    Some(Percent { value })
}

pub(super) fn tcp_keepalive(options: Option<&ConnectionOptions>) -> Option<UpstreamConnectionOptions> {
    let probes = options?.tcp_keepalive?;
    let tcp_keepalive = Some(core::TcpKeepalive {
        keepalive_probes: probes.probes.and_then(number),
        keepalive_time: probes.time.and_then(number),
        keepalive_interval: probes.interval.and_then(number),
    });
    Some(UpstreamConnectionOptions { tcp_keepalive, ..UpstreamConnectionOptions::default() })
}

/// What is said of connections that speak HTTP/2.
pub(super) fn http2(options: Option<&ConnectionOptions>) -> core::Http2ProtocolOptions {
    let Some(options) = options else { return core::Http2ProtocolOptions::default() };
    core::Http2ProtocolOptions {
        max_concurrent_streams: options.max_concurrent_streams.and_then(number),
        connection_keepalive: options.http2_keepalive.map(|pings| core::KeepaliveSettings {
            interval: Some(duration(pings.interval)),
            timeout: Some(duration(pings.timeout)),
            ..core::KeepaliveSettings::default()
        }),
        ..core::Http2ProtocolOptions::default()
    }
}
