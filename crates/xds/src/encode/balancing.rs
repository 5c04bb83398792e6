//! How an endpoint of a cluster is chosen.

use model::cluster::{Balancing, Localities, PeakEwma, ZoneRouting};
use model::{Cluster, SlowStart};
use prost::Message;
use proto::envoy::config::cluster::v3::cluster::common_lb_config::ZoneAwareLbConfig;
use proto::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
};
use proto::envoy::config::cluster::v3::{LoadBalancingPolicy, load_balancing_policy::Policy};
use proto::envoy::config::core::v3::{RuntimeDouble, TypedExtensionConfig};
use proto::envoy::extensions::load_balancing_policies::common::v3::{
    self as common, LocalityLbConfig, locality_lb_config,
};
use proto::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use proto::envoy::extensions::load_balancing_policies::random::v3::Random;
use proto::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use proto::envoy::r#type::v3::Percent;
use proto::google::protobuf::{Any, UInt32Value, UInt64Value};
use proto::halcyon::balancing::v1 as ours;

use super::{duration, number, pack};

/// The older form. Envoy demands that clusters without endpoints to choose from, and only they, choose by themselves.
pub(super) fn balancing(cluster: &Cluster) -> (LbPolicy, Option<LbConfig>) {
    if cluster.discovery.is_by_itself() {
        return (LbPolicy::ClusterProvided, None);
    }
    let slow_start = cluster.slow_start.as_deref().map(slow_start);
    let size = |value: u64| Some(UInt64Value { value });
    match &cluster.balancing {
        Balancing::RoundRobin | Balancing::Provided => {
            let config = |config| RoundRobinLbConfig { slow_start_config: Some(config) };
            (LbPolicy::RoundRobin, slow_start.map(|found| LbConfig::RoundRobinLbConfig(config(found))))
        }
        Balancing::Random => (LbPolicy::Random, None),
        Balancing::LeastRequest { choices } => least_request(*choices, None, slow_start),
        Balancing::BiasedLeastRequest { choices, bias } => least_request(*choices, Some(*bias), slow_start),
        Balancing::RingHash { min_size, max_size } => {
            let (minimum_ring_size, maximum_ring_size) = (size(*min_size), size(*max_size));
            let config = RingHashLbConfig { minimum_ring_size, maximum_ring_size, ..RingHashLbConfig::default() };
            (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(config)))
        }
        Balancing::Maglev { table_size } => {
            (LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: size(*table_size) })))
        }
        // Said by the typed form.
        Balancing::PeakEwma(_) => (LbPolicy::LoadBalancingPolicyConfig, None),
    }
}

/// The typed form, where the older has no word: our own policy, and for who does not know it Istio's default; and what only
/// this form says of zones.
pub(super) fn typed(cluster: &Cluster) -> Option<LoadBalancingPolicy> {
    if cluster.discovery.is_by_itself() {
        return None;
    }
    let policy = |name: &str, any| Policy {
        typed_extension_config: Some(TypedExtensionConfig { name: name.to_owned(), typed_config: Some(any) }),
    };
    let policies = match &cluster.balancing {
        Balancing::PeakEwma(settings) => {
            let is_weighted = cluster.localities == Localities::Weighted;
            let others = LeastRequest { locality_lb_config: localities(cluster.localities), ..LeastRequest::default() };
            vec![
                policy("halcyon.load_balancing_policies.peak_ewma", peak_ewma(settings, is_weighted)),
                policy("envoy.load_balancing_policies.least_request", pack(&others)),
            ]
        }
        balancing if says_more_of_zones(cluster.localities) => {
            let (name, any) = usual(balancing, cluster)?;
            vec![policy(name, any)]
        }
        _ => return None,
    };
    Some(LoadBalancingPolicy { policies })
}

/// Is anything said of zones for which the older form has no word?
fn says_more_of_zones(localities: Localities) -> bool {
    matches!(localities, Localities::Zones(zones) if zones.own_takes_all_from.is_some() || zones.by_weight)
}

/// The typed form of a policy that knows zones.
fn usual(balancing: &Balancing, cluster: &Cluster) -> Option<(&'static str, Any)> {
    let locality_lb_config = localities(cluster.localities);
    let slow_start_config = cluster.slow_start.as_deref().map(slow_start).map(|older| {
        let SlowStartConfig { slow_start_window, aggression, min_weight_percent } = older;
        common::SlowStartConfig { slow_start_window, aggression, min_weight_percent }
    });
    let least = |choices: u32, bias: Option<f64>| {
        let (choice_count, active_request_bias) = (number(choices), bias.map(self::bias));
        let policy = LeastRequest {
            choice_count,
            active_request_bias,
            slow_start_config: slow_start_config.clone(),
            locality_lb_config,
            ..LeastRequest::default()
        };
        ("envoy.load_balancing_policies.least_request", pack(&policy))
    };
    Some(match balancing {
        Balancing::RoundRobin => {
            let policy = RoundRobin { slow_start_config, locality_lb_config };
            ("envoy.load_balancing_policies.round_robin", pack(&policy))
        }
        Balancing::Random => ("envoy.load_balancing_policies.random", pack(&Random { locality_lb_config })),
        Balancing::LeastRequest { choices } => least(*choices, None),
        Balancing::BiasedLeastRequest { choices, bias } => least(*choices, Some(*bias)),
        Balancing::RingHash { .. } | Balancing::Maglev { .. } | Balancing::PeakEwma(_) | Balancing::Provided => {
            return None;
        }
    })
}

/// What the typed form says of localities.
#[allow(deprecated)]
fn localities(localities: Localities) -> Option<LocalityLbConfig> {
    use locality_lb_config::zone_aware_lb_config::{ForceLocalZone, LocalityBasis};
    use locality_lb_config::{LocalityConfigSpecifier as Of, LocalityWeightedLbConfig, ZoneAwareLbConfig};
    let specifier = match localities {
        Localities::Alike => return None,
        Localities::Weighted => Of::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}),
        Localities::Zones(zones) => {
            let older = self::zones(&zones);
            let basis =
                if zones.by_weight { LocalityBasis::HealthyHostsWeight } else { LocalityBasis::HealthyHostsNum };
            let force = |size| ForceLocalZone { min_size: Some(UInt32Value { value: size }) };
            Of::ZoneAwareLbConfig(ZoneAwareLbConfig {
                routing_enabled: older.routing_enabled,
                min_cluster_size: older.min_cluster_size,
                fail_traffic_on_panic: older.fail_traffic_on_panic,
                force_locality_direct_routing: false,
                force_local_zone: zones.own_takes_all_from.map(force),
                locality_basis: basis as i32,
            })
        }
    };
    Some(LocalityLbConfig { locality_config_specifier: Some(specifier) })
}

/// What the older form says of zones.
pub(super) fn zones(zones: &ZoneRouting) -> ZoneAwareLbConfig {
    let default = ZoneRouting::default();
    let percent = (zones.percent != default.percent).then(|| Percent { value: zones.percent.into() });
    let least = (zones.min_cluster_size != default.min_cluster_size).then_some(zones.min_cluster_size);
    ZoneAwareLbConfig {
        routing_enabled: percent,
        min_cluster_size: least.map(|value| UInt64Value { value }),
        fail_traffic_on_panic: zones.fails_in_panic,
    }
}

fn least_request(
    choices: u32,
    bias: Option<f64>,
    slow_start_config: Option<SlowStartConfig>,
) -> (LbPolicy, Option<LbConfig>) {
    let config = LeastRequestLbConfig {
        choice_count: number(choices),
        slow_start_config,
        active_request_bias: bias.map(self::bias),
    };
    (LbPolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(config)))
}

fn bias(default_value: f64) -> RuntimeDouble {
    RuntimeDouble { default_value, runtime_key: "upstream.least_request.active_request_bias".to_owned() }
}

fn slow_start(start: &SlowStart) -> SlowStartConfig {
    // Envoy wants a key to go with the value; Istio writes one that nobody can set.
    let aggression = RuntimeDouble { default_value: start.aggression, runtime_key: "(".into() };
    SlowStartConfig {
        slow_start_window: Some(duration(start.window)),
        aggression: Some(aggression),
        min_weight_percent: Some(Percent { value: start.min_weight_percent }),
    }
}

fn peak_ewma(settings: &PeakEwma, locality_weighted: bool) -> Any {
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let (decay_us, initial_us) = (micros(settings.decay), micros(settings.initial));
    let value = ours::PeakEwma { decay_us, initial_us, locality_weighted }.encode_to_vec();
    Any { type_url: format!("type.googleapis.com/{}", crate::decode::PEAK_EWMA), value }
}
