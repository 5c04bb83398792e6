//! How an endpoint of a cluster is chosen.

use model::cluster::{Balancing, Localities, PeakEwma};
use model::{Cluster, SlowStart};
use prost::Message;
use proto::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig, SlowStartConfig,
};
use proto::envoy::config::cluster::v3::{LoadBalancingPolicy, load_balancing_policy::Policy};
use proto::envoy::config::core::v3::{RuntimeDouble, TypedExtensionConfig};
use proto::envoy::extensions::load_balancing_policies::common::v3::{LocalityLbConfig, locality_lb_config};
use proto::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use proto::envoy::r#type::v3::Percent;
use proto::google::protobuf::{Any, UInt64Value};
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

/// The typed form, where the older has no word: our own policy, and for who does not know it Istio's default.
pub(super) fn typed(cluster: &Cluster) -> Option<LoadBalancingPolicy> {
    let Balancing::PeakEwma(settings) = &cluster.balancing else { return None };
    if cluster.discovery.is_by_itself() {
        return None;
    }
    use locality_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
    let is_weighted = cluster.localities == Localities::Weighted;
    let others = LeastRequest {
        locality_lb_config: is_weighted.then_some(LocalityLbConfig {
            locality_config_specifier: Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
                LocalityWeightedLbConfig {},
            )),
        }),
        ..LeastRequest::default()
    };
    let policy = |name: &str, any| Policy {
        typed_extension_config: Some(TypedExtensionConfig { name: name.to_owned(), typed_config: Some(any) }),
    };
    let policies = vec![
        policy("halcyon.load_balancing_policies.peak_ewma", peak_ewma(settings, is_weighted)),
        policy("envoy.load_balancing_policies.least_request", pack(&others)),
    ];
    Some(LoadBalancingPolicy { policies })
}

fn least_request(
    choices: u32,
    bias: Option<f64>,
    slow_start_config: Option<SlowStartConfig>,
) -> (LbPolicy, Option<LbConfig>) {
    let config = LeastRequestLbConfig {
        choice_count: number(choices),
        slow_start_config,
        active_request_bias: bias.map(|default_value| RuntimeDouble {
            default_value,
            runtime_key: "upstream.least_request.active_request_bias".to_owned(),
        }),
    };
    (LbPolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(config)))
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
