//! Limits to concurrency, how connections are kept, and when a priority panics.

use model::CircuitBreakers;
use model::cluster::PANIC_PERCENT;
use model::limits::{RetryBudget, TcpKeepalive};
use proto::envoy::config::cluster::v3 as wire;
use proto::envoy::config::cluster::v3::UpstreamConnectionOptions;
use proto::envoy::config::cluster::v3::circuit_breakers::{Thresholds, thresholds};
use proto::envoy::config::core::v3 as core;
use proto::envoy::r#type::v3::Percent;
use proto::google::protobuf::UInt32Value;

use crate::decode::{At, Decoded, duration, percent, take};

/// The limits of the default priority; where nothing is said of them, Envoy's.
pub(super) fn circuit_breakers(
    value: Option<wire::CircuitBreakers>,
    at: &At<'_>,
) -> Decoded<Option<Box<CircuitBreakers>>> {
    let value = value.unwrap_or_default();
    at.refuse("per_host_thresholds", &value.per_host_thresholds)?;
    let at = at.field("thresholds");
    // The first of a priority counts; no route can ask for another priority.
    let default = |t: &(usize, Thresholds)| t.1.priority == core::RoutingPriority::Default as i32;
    let limits = match value.thresholds.into_iter().enumerate().find(default) {
        Some((index, found)) => thresholds(found, &at.index(index))?,
        None => CircuitBreakers::default(),
    };
    Ok((!limits.is_unlimited()).then(|| Box::new(limits)))
}

fn thresholds(value: Thresholds, at: &At<'_>) -> Decoded<CircuitBreakers> {
    // Whether what is left is shown in statistics.
    take!(value, at, Thresholds {
        used { max_connections, max_pending_requests, max_requests, max_retries, retry_budget, max_connection_pools }
        harmless { priority, track_remaining }
        refused {}
    });
    if max_connection_pools.is_some_and(|limit| limit.value != u32::MAX) {
        return Err(at.field("max_connection_pools").unsupported("4294967295, which is no limit"));
    }
    let or = |limit: Option<UInt32Value>, default| limit.map_or(default, |limit| limit.value);
    let envoys = CircuitBreakers::default();
    Ok(CircuitBreakers {
        max_connections: or(max_connections, envoys.max_connections),
        max_pending_requests: or(max_pending_requests, envoys.max_pending_requests),
        max_requests: or(max_requests, envoys.max_requests),
        max_retries: or(max_retries, envoys.max_retries),
        retry_budget: retry_budget.map(|budget| read_budget(budget, &at.field("retry_budget"))).transpose()?,
    })
}

fn read_budget(value: thresholds::RetryBudget, at: &At<'_>) -> Decoded<RetryBudget> {
    let envoys = RetryBudget::default();
    Ok(RetryBudget {
        percent: value.budget_percent.map_or(Ok(envoys.percent), |p| percent(p, &at.field("budget_percent")))?,
        min_concurrency: value.min_retry_concurrency.map_or(envoys.min_concurrency, |n| n.value),
        interval: value.budget_interval.map_or(Ok(envoys.interval), |t| duration(t, &at.field("budget_interval")))?,
    })
}

/// Envoy rounds it to a whole number.
pub(super) fn panic_percent(value: Option<Percent>, at: &At<'_>) -> Decoded<u8> {
    value.map_or(Ok(PANIC_PERCENT), |value| percent(value, at).map(|p| p.round() as u8))
}

/// Probes on silent connections. Envoy's way to switch them off is a zero.
pub(super) fn tcp_keepalive(value: Option<UpstreamConnectionOptions>) -> Option<TcpKeepalive> {
    // The interface's name is not asked for by anybody, and one address is dialled, not a race of several.
    let UpstreamConnectionOptions {
        tcp_keepalive,
        set_local_interface_name_on_upstream_connections: _,
        happy_eyeballs_config: _,
    } = value?;
    let probes = tcp_keepalive?;
    let core::TcpKeepalive { keepalive_probes, keepalive_time, keepalive_interval } = probes;
    let number = |value: Option<UInt32Value>| value.map(|value| value.value);
    let all = [number(keepalive_probes), number(keepalive_time), number(keepalive_interval)];
    let [probes, time, interval] = all;
    (!all.contains(&Some(0))).then_some(TcpKeepalive { probes, time, interval })
}
