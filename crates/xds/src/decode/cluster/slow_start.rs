//! How the share of a new endpoint grows, in both of the forms in which xDS says it.

use std::time::Duration;

use model::SlowStart;
use proto::envoy::config::cluster::v3::LoadBalancingPolicy;
use proto::envoy::config::cluster::v3::cluster::{LbConfig, SlowStartConfig};
use proto::envoy::config::core::v3::RuntimeDouble;
use proto::envoy::extensions::load_balancing_policies::common::v3 as common;
use proto::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use proto::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;

use crate::decode::{At, Decoded, duration, percent, type_name, unpack};

/// What the policy says of it; the typed one counts before the older, as for the policy itself.
pub(super) fn slow_start(
    config: Option<&LbConfig>,
    typed: Option<&LoadBalancingPolicy>,
    at: &At<'_>,
) -> Decoded<Option<SlowStart>> {
    if let Some(typed) = typed {
        return typed_policy(typed, &at.field("load_balancing_policy"));
    }
    let (found, name) = match config {
        Some(LbConfig::RoundRobinLbConfig(config)) => (config.slow_start_config.clone(), "round_robin_lb_config"),
        Some(LbConfig::LeastRequestLbConfig(config)) => (config.slow_start_config.clone(), "least_request_lb_config"),
        _ => return Ok(None),
    };
    let at = at.field(name);
    found.map_or(Ok(None), |found| read(found, &at.field("slow_start_config")))
}

fn typed_policy(typed: &LoadBalancingPolicy, at: &At<'_>) -> Decoded<Option<SlowStart>> {
    let at = at.field("policies");
    for (index, policy) in typed.policies.iter().enumerate() {
        let at = at.index(index);
        let at = at.field("typed_extension_config");
        let at = at.field("typed_config");
        let Some(any) = policy.typed_extension_config.as_ref().and_then(|config| config.typed_config.as_ref()) else {
            continue;
        };
        let found: Option<common::SlowStartConfig> = match type_name(&any.type_url) {
            "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin" => {
                unpack::<RoundRobin>(any, &at)?.slow_start_config
            }
            "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest" => {
                unpack::<LeastRequest>(any, &at)?.slow_start_config
            }
            _ => continue,
        };
        let Some(common::SlowStartConfig { slow_start_window, aggression, min_weight_percent }) = found else {
            return Ok(None);
        };
        let older = SlowStartConfig { slow_start_window, aggression, min_weight_percent };
        return read(older, &at.field("slow_start_config"));
    }
    Ok(None)
}

fn read(value: SlowStartConfig, at: &At<'_>) -> Decoded<Option<SlowStart>> {
    let window = value.slow_start_window.map_or(Ok(Duration::ZERO), |v| duration(v, &at.field("slow_start_window")))?;
    let default = SlowStart::new(window);
    // As in Envoy, a curve that makes no sense is a straight line. There are no runtime keys here.
    let curve = |value: RuntimeDouble| Some(value.default_value).filter(|a| *a > 0.0 && a.is_finite());
    let aggression = value.aggression.and_then(curve).unwrap_or(default.aggression);
    let least = value.min_weight_percent.map(|value| percent(value, &at.field("min_weight_percent"))).transpose()?;
    let min_weight_percent = least.unwrap_or(default.min_weight_percent);
    Ok((!window.is_zero()).then_some(SlowStart { window, aggression, min_weight_percent }))
}
