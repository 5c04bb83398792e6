//! How an endpoint is chosen, in both of the forms in which xDS says it.

use model::cluster::Balancing;
use proto::envoy::config::cluster::v3::LoadBalancingPolicy;
use proto::envoy::config::cluster::v3::cluster::{LbConfig, LbPolicy, LeastRequestLbConfig, OriginalDstLbConfig};
use proto::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use proto::envoy::extensions::load_balancing_policies::random::v3::Random;
use proto::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use proto::google::protobuf::{Any, UInt32Value};

use crate::decode::{At, Decoded, required, take, type_name, unpack};

/// The typed policy counts before the older enumeration, as in Envoy.
pub(super) fn balancing(
    policy: i32,
    config: Option<LbConfig>,
    typed: Option<LoadBalancingPolicy>,
    at: &At<'_>,
) -> Decoded<Balancing> {
    if let Some(typed) = typed {
        return typed_policy(typed, &at.field("load_balancing_policy"));
    }
    let at_policy = at.field("lb_policy");
    Ok(match LbPolicy::try_from(policy) {
        Ok(LbPolicy::RoundRobin) => Balancing::RoundRobin,
        Ok(LbPolicy::Random) => Balancing::Random,
        Ok(LbPolicy::ClusterProvided) => {
            if let Some(LbConfig::OriginalDstLbConfig(config)) = config {
                at.refuse("original_dst_lb_config", &(config != OriginalDstLbConfig::default()))?;
            }
            Balancing::Provided
        }
        Ok(LbPolicy::LeastRequest) => match config {
            Some(LbConfig::LeastRequestLbConfig(config)) => {
                least_request(config, &at.field("least_request_lb_config"))?
            }
            _ => Balancing::LeastRequest { choices: CHOICES },
        },
        Ok(_) => return Err(at_policy.unsupported(POLICIES)),
        Err(_) => return Err(at_policy.error(format!("is {policy}"), POLICIES)),
    })
}

const POLICIES: &str = "ROUND_ROBIN, LEAST_REQUEST, RANDOM, or CLUSTER_PROVIDED";

/// Envoy's default number of endpoints to draw.
const CHOICES: u32 = 2;

fn least_request(value: LeastRequestLbConfig, at: &At<'_>) -> Decoded<Balancing> {
    // Slow start is read apart.
    take!(value, at, LeastRequestLbConfig {
        used { choice_count }
        harmless { slow_start_config }
        refused { active_request_bias }
    });
    drawn(choice_count, at)
}

fn drawn(count: Option<UInt32Value>, at: &At<'_>) -> Decoded<Balancing> {
    match count.map_or(CHOICES, |count| count.value) {
        choices @ 2.. => Ok(Balancing::LeastRequest { choices }),
        few => Err(at.field("choice_count").error(format!("is {few}"), "2 or more")),
    }
}

/// The first policy that we know counts: the list is in order of preference.
fn typed_policy(value: LoadBalancingPolicy, at: &At<'_>) -> Decoded<Balancing> {
    let at = at.field("policies");
    for (index, policy) in value.policies.into_iter().enumerate() {
        let at = at.index(index);
        let at = at.field("typed_extension_config");
        let at = at.field("typed_config");
        let any = required(policy.typed_extension_config.and_then(|config| config.typed_config), &at)?;
        if let Some(balancing) = one_policy(&any, &at)? {
            return Ok(balancing);
        }
    }
    Err(at.error("has no policy that this proxy knows", "round_robin, least_request, random or cluster_provided"))
}

#[allow(deprecated)]
fn one_policy(any: &Any, at: &At<'_>) -> Decoded<Option<Balancing>> {
    // Weights of localities count wherever they are given; slow start is read apart.
    Ok(Some(match type_name(&any.type_url) {
        "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided" => Balancing::Provided,
        "envoy.extensions.load_balancing_policies.random.v3.Random" => {
            unpack::<Random>(any, at)?;
            Balancing::Random
        }
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin" => {
            take!(unpack::<RoundRobin>(any, at)?, at, RoundRobin {
                used {}
                harmless { locality_lb_config, slow_start_config }
                refused {}
            });
            Balancing::RoundRobin
        }
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest" => {
            take!(unpack::<LeastRequest>(any, at)?, at, LeastRequest {
                used { choice_count }
                harmless { locality_lb_config, slow_start_config }
                refused { active_request_bias, enable_full_scan, selection_method }
            });
            drawn(choice_count, at)?
        }
        _ => return Ok(None),
    }))
}
