//! How an endpoint is chosen, in both of the forms in which xDS says it.

use std::time::Duration;

use model::cluster::{Balancing, Localities, PeakEwma, ZoneRouting};
use proto::envoy::config::cluster::v3::LoadBalancingPolicy;
use proto::envoy::config::cluster::v3::cluster::{LbConfig, LbPolicy, LeastRequestLbConfig, OriginalDstLbConfig};
use proto::envoy::config::core::v3::RuntimeDouble;
use proto::envoy::extensions::load_balancing_policies::common::v3::{LocalityLbConfig, locality_lb_config};
use proto::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use proto::envoy::extensions::load_balancing_policies::random::v3::Random;
use proto::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use proto::envoy::r#type::v3::Percent;
use proto::google::protobuf::{Any, UInt32Value, UInt64Value};
use proto::halcyon::balancing::v1 as wire;

use super::hashing;
use crate::decode::{At, Decoded, parse, percent, required, take, type_name, unpack};

/// The typed policy counts before the older enumeration, as in Envoy, and brings what it has to do with localities.
pub(super) fn balancing(
    policy: i32,
    config: Option<LbConfig>,
    typed: Option<LoadBalancingPolicy>,
    at: &At<'_>,
) -> Decoded<(Balancing, Option<Localities>)> {
    match typed {
        Some(typed) => {
            let (balancing, localities) = typed_policy(typed, &at.field("load_balancing_policy"))?;
            // Our own policy knows of shares only; what else there is stands with the cluster.
            let says = !matches!((&balancing, localities), (Balancing::PeakEwma(_), Localities::Alike));
            Ok((balancing, says.then_some(localities)))
        }
        None => Ok((enumerated(policy, config, at)?, None)),
    }
}

fn enumerated(policy: i32, config: Option<LbConfig>, at: &At<'_>) -> Decoded<Balancing> {
    let at_policy = at.field("lb_policy");
    Ok(match LbPolicy::try_from(policy) {
        Ok(LbPolicy::RoundRobin) => Balancing::RoundRobin,
        Ok(LbPolicy::Random) => Balancing::Random,
        Ok(LbPolicy::RingHash) => hashing::ring(config, at)?,
        Ok(LbPolicy::Maglev) => hashing::maglev(config, at)?,
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

const POLICIES: &str = "ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH, MAGLEV, or CLUSTER_PROVIDED";

/// Envoy's default number of endpoints to draw.
const CHOICES: u32 = 2;

fn least_request(value: LeastRequestLbConfig, at: &At<'_>) -> Decoded<Balancing> {
    // Slow start is read apart.
    take!(value, at, LeastRequestLbConfig {
        used { choice_count, active_request_bias }
        harmless { slow_start_config }
        refused {}
    });
    drawn(choice_count, active_request_bias, at)
}

fn drawn(count: Option<UInt32Value>, bias: Option<RuntimeDouble>, at: &At<'_>) -> Decoded<Balancing> {
    let choices = match count.map_or(CHOICES, |count| count.value) {
        choices @ 2.. => choices,
        few => return Err(at.field("choice_count").error(format!("is {few}"), "2 or more")),
    };
    // There is no runtime here: the default counts.
    match bias.map_or(1.0, |bias| bias.default_value) {
        1.0 => Ok(Balancing::LeastRequest { choices }),
        bias if bias >= 0.0 && bias.is_finite() => Ok(Balancing::BiasedLeastRequest { choices, bias }),
        bias => {
            let at = at.field("active_request_bias");
            Err(at.field("default_value").error(format!("is {bias}"), "a number from 0 on"))
        }
    }
}

/// The first policy that we know counts: the list is in order of preference.
fn typed_policy(value: LoadBalancingPolicy, at: &At<'_>) -> Decoded<(Balancing, Localities)> {
    let at = at.field("policies");
    for (index, policy) in value.policies.into_iter().enumerate() {
        let at = at.index(index);
        let at = at.field("typed_extension_config");
        let at = at.field("typed_config");
        let any = required(policy.typed_extension_config.and_then(|config| config.typed_config), &at)?;
        if let Some(found) = one_policy(&any, &at)? {
            return Ok(found);
        }
    }
    const KNOWN: &str = "round_robin, least_request, random, ring_hash, maglev or cluster_provided";
    Err(at.error("has no policy that this proxy knows", KNOWN))
}

#[allow(deprecated)]
fn one_policy(any: &Any, at: &At<'_>) -> Decoded<Option<(Balancing, Localities)>> {
    // Slow start is read apart.
    let at_localities = at.field("locality_lb_config");
    Ok(Some(match type_name(&any.type_url) {
        "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided" => {
            (Balancing::Provided, Localities::Alike)
        }
        "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash" => hashing::typed_ring(any, at)?,
        "envoy.extensions.load_balancing_policies.maglev.v3.Maglev" => hashing::typed_maglev(any, at)?,
        PEAK_EWMA => peak_ewma(any, at)?,
        "envoy.extensions.load_balancing_policies.random.v3.Random" => {
            let Random { locality_lb_config } = unpack::<Random>(any, at)?;
            (Balancing::Random, localities(locality_lb_config, &at_localities)?)
        }
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin" => {
            take!(unpack::<RoundRobin>(any, at)?, at, RoundRobin {
                used { locality_lb_config }
                harmless { slow_start_config }
                refused {}
            });
            (Balancing::RoundRobin, localities(locality_lb_config, &at_localities)?)
        }
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest" => {
            take!(unpack::<LeastRequest>(any, at)?, at, LeastRequest {
                used { choice_count, active_request_bias, locality_lb_config }
                harmless { slow_start_config }
                refused { enable_full_scan, selection_method }
            });
            (drawn(choice_count, active_request_bias, at)?, localities(locality_lb_config, &at_localities)?)
        }
        _ => return Ok(None),
    }))
}

/// Our own policy.
pub(crate) const PEAK_EWMA: &str = "halcyon.balancing.v1.PeakEwma";

fn peak_ewma(any: &Any, at: &At<'_>) -> Decoded<(Balancing, Localities)> {
    let wire = parse::<wire::PeakEwma>(&any.value, at)?;
    let time = |micros, default| if micros == 0 { default } else { Duration::from_micros(micros) };
    let defaults = PeakEwma::default();
    let settings =
        PeakEwma { decay: time(wire.decay_us, defaults.decay), initial: time(wire.initial_us, defaults.initial) };
    let localities = if wire.locality_weighted { Localities::Weighted } else { Localities::Alike };
    Ok((Balancing::PeakEwma(settings), localities))
}

#[allow(deprecated)]
fn localities(value: Option<LocalityLbConfig>, at: &At<'_>) -> Decoded<Localities> {
    use locality_lb_config::zone_aware_lb_config::LocalityBasis;
    use locality_lb_config::{LocalityConfigSpecifier as Of, ZoneAwareLbConfig};
    match value.and_then(|value| value.locality_config_specifier) {
        None => Ok(Localities::Alike),
        Some(Of::LocalityWeightedLbConfig(_)) => Ok(Localities::Weighted),
        Some(Of::ZoneAwareLbConfig(zones)) => {
            let at = at.field("zone_aware_lb_config");
            take!(zones, at, ZoneAwareLbConfig {
                used {
                    routing_enabled, min_cluster_size, fail_traffic_on_panic, force_locality_direct_routing,
                    force_local_zone, locality_basis,
                }
                harmless {}
                refused {}
            });
            let common = self::zones(routing_enabled, min_cluster_size, fail_traffic_on_panic, &at)?;
            // The newer field counts before the older one.
            let forced = force_local_zone.map(|zone| zone.min_size.map_or(1, |size| size.value));
            let by_weight = match LocalityBasis::try_from(locality_basis) {
                Ok(LocalityBasis::HealthyHostsNum) => false,
                Ok(LocalityBasis::HealthyHostsWeight) => true,
                Err(_) => {
                    let at = at.field("locality_basis");
                    return Err(at.error(format!("is {locality_basis}"), "HEALTHY_HOSTS_NUM or HEALTHY_HOSTS_WEIGHT"));
                }
            };
            Ok(Localities::Zones(ZoneRouting {
                own_takes_all_from: forced.or(force_locality_direct_routing.then_some(1)),
                by_weight,
                ..common
            }))
        }
    }
}

/// What both forms say of zones.
pub(super) fn zones(
    routing_enabled: Option<Percent>,
    min_cluster_size: Option<UInt64Value>,
    fails_in_panic: bool,
    at: &At<'_>,
) -> Decoded<ZoneRouting> {
    let default = ZoneRouting::default();
    let enabled = routing_enabled.map(|value| percent(value, &at.field("routing_enabled"))).transpose()?;
    Ok(ZoneRouting {
        min_cluster_size: min_cluster_size.map_or(default.min_cluster_size, |size| size.value),
        percent: enabled.map_or(default.percent, |value| value.round() as u8),
        fails_in_panic,
        ..default
    })
}
