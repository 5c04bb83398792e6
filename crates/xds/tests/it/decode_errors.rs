//! What is refused, and in which words: the place, what is wrong, what was expected.

use model::ResourceKind;
use prost::Name;
use proto::envoy::config::cluster::v3 as cluster;
use proto::envoy::config::cluster::v3::cluster::common_lb_config::ConsistentHashingLbConfig;
use proto::envoy::config::cluster::v3::cluster::{
    CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig,
};
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::endpoint::v3 as endpoint;
use proto::envoy::config::listener::v3 as listener;
use proto::envoy::config::route::v3 as route;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::r#type::matcher::v3::RegexMatcher;
use proto::google::protobuf::{Any, Duration, UInt32Value, UInt64Value};
use xds::{decode, type_url};

fn pack<M: Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

fn check(kind: ResourceKind, any: &Any, expected: &str) {
    let error = decode::resource(kind, any).expect_err(expected);
    assert_eq!(error.to_string(), expected);
}

fn a_cluster(change: impl FnOnce(&mut cluster::Cluster)) -> Any {
    let mut wire = cluster::Cluster {
        name: "c".into(),
        load_assignment: Some(endpoint::ClusterLoadAssignment::default()),
        ..Default::default()
    };
    change(&mut wire);
    pack(&wire)
}

fn a_route(change: impl FnOnce(&mut route::Route)) -> route::RouteConfiguration {
    let mut one = route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(route::route::Action::DirectResponse(route::DirectResponseAction {
            status: 200,
            ..Default::default()
        })),
        ..Default::default()
    };
    change(&mut one);
    let host = route::VirtualHost { domains: vec!["*".into()], routes: vec![one], ..Default::default() };
    route::RouteConfiguration { name: "r".into(), virtual_hosts: vec![host], ..Default::default() }
}

/// A listener whose second chain has these HTTP filters and routes.
fn a_listener(filters: Vec<hcm::HttpFilter>, table: route::RouteConfiguration) -> Any {
    let http = hcm::HttpConnectionManager {
        http_filters: filters,
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(table)),
        ..Default::default()
    };
    let chain = |config: Any| listener::FilterChain {
        filters: vec![listener::Filter {
            name: "f".into(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
        }],
        ..Default::default()
    };
    let tcp = proto::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy {
        cluster_specifier: Some(
            proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier::Cluster("c".into()),
        ),
        ..Default::default()
    };
    pack(&listener::Listener {
        name: "l".into(),
        address: Some(core::Address {
            address: Some(core::address::Address::Pipe(core::Pipe { path: "/p".into(), mode: 0 })),
        }),
        filter_chains: vec![chain(pack(&tcp)), chain(pack(&http))],
        ..Default::default()
    })
}

fn filter(url: &str, is_optional: bool) -> hcm::HttpFilter {
    let any = Any { type_url: format!("type.googleapis.com/{url}"), value: Vec::new() };
    hcm::HttpFilter {
        is_optional,
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any)),
        ..Default::default()
    }
}

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";

#[test]
fn envelopes() {
    let kind = ResourceKind::Cluster;
    let url = type_url(kind);
    let wrong = Any { type_url: type_url(ResourceKind::Route).into(), value: Vec::new() };
    check(
        kind,
        &wrong,
        ": type_url: is `type.googleapis.com/envoy.config.route.v3.RouteConfiguration`; expected \
         `type.googleapis.com/envoy.config.cluster.v3.Cluster`",
    );
    let broken = Any { type_url: url.into(), value: vec![0xff] };
    let error = decode::resource(kind, &broken).expect_err("broken");
    assert_eq!((error.path.as_str(), error.expected.as_str()), ("value", "a protobuf message of its type"));
    check(kind, &Any { type_url: url.into(), value: Vec::new() }, ": name: is missing; expected a name");
}

#[test]
fn clusters() {
    let unsupported = "is set, but this proxy does not support it; expected";
    for (any, expected) in [
        (
            a_cluster(|c| c.lb_policy = 99),
            "c: lb_policy: is 99; expected ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH, MAGLEV, or CLUSTER_PROVIDED"
                .into(),
        ),
        (
            a_cluster(|c| {
                c.lb_policy = LbPolicy::RingHash as i32;
                let config =
                    RingHashLbConfig { maximum_ring_size: Some(UInt64Value { value: 9 }), ..Default::default() };
                c.lb_config = Some(LbConfig::RingHashLbConfig(config));
            }),
            "c: ring_hash_lb_config.maximum_ring_size: is 9; expected 1024, which is the least size, to 8388608".into(),
        ),
        (
            a_cluster(|c| {
                c.lb_policy = LbPolicy::RingHash as i32;
                c.lb_config =
                    Some(LbConfig::RingHashLbConfig(RingHashLbConfig { hash_function: 1, ..Default::default() }));
            }),
            format!("c: ring_hash_lb_config.hash_function: {unsupported} XX_HASH"),
        ),
        (
            a_cluster(|c| {
                c.lb_policy = LbPolicy::Maglev as i32;
                let config = MaglevLbConfig { table_size: Some(UInt64Value { value: 65536 }) };
                c.lb_config = Some(LbConfig::MaglevLbConfig(config));
            }),
            "c: maglev_lb_config.table_size: is 65536; expected a prime number up to 5000011".into(),
        ),
        (
            a_cluster(|c| {
                c.lb_policy = LbPolicy::LeastRequest as i32;
                let active_request_bias = Some(core::RuntimeDouble { default_value: -0.5, ..Default::default() });
                let config = LeastRequestLbConfig { active_request_bias, ..Default::default() };
                c.lb_config = Some(LbConfig::LeastRequestLbConfig(config));
            }),
            "c: least_request_lb_config.active_request_bias.default_value: is -0.5; expected a number from 0 on".into(),
        ),
        (
            a_cluster(|c| {
                let bounded = ConsistentHashingLbConfig {
                    hash_balance_factor: Some(UInt32Value { value: 150 }),
                    ..Default::default()
                };
                c.common_lb_config =
                    Some(CommonLbConfig { consistent_hashing_lb_config: Some(bounded), ..Default::default() });
            }),
            format!(
                "c: common_lb_config.consistent_hashing_lb_config.hash_balance_factor: {unsupported} the field to be absent"
            ),
        ),
        (
            a_cluster(|c| {
                let policy = endpoint::cluster_load_assignment::Policy {
                    overprovisioning_factor: Some(UInt32Value { value: 0 }),
                    ..Default::default()
                };
                c.load_assignment =
                    Some(endpoint::ClusterLoadAssignment { policy: Some(policy), ..Default::default() });
            }),
            "c: load_assignment.policy.overprovisioning_factor: is 0; expected 1 or more".into(),
        ),
        (
            a_cluster(|c| {
                let enforcing_success_rate = Some(UInt32Value { value: 101 });
                let detection = cluster::OutlierDetection { enforcing_success_rate, ..Default::default() };
                c.outlier_detection = Some(detection);
            }),
            "c: outlier_detection.enforcing_success_rate: is 101; expected a percentage from 0 to 100".into(),
        ),
        (
            a_cluster(|c| {
                let time = |seconds| Some(Duration { seconds, nanos: 0 });
                let (base_ejection_time, max_ejection_time) = (time(60), time(30));
                let detection =
                    cluster::OutlierDetection { base_ejection_time, max_ejection_time, ..Default::default() };
                c.outlier_detection = Some(detection);
            }),
            "c: outlier_detection.max_ejection_time: is shorter than `base_ejection_time`; expected at least as much"
                .into(),
        ),
        (
            a_cluster(|c| c.health_checks = vec![core::HealthCheck::default()]),
            "c: health_checks[0].unhealthy_threshold: is missing; expected a value".into(),
        ),
        (
            a_cluster(|c| {
                let healthy_panic_threshold = Some(proto::envoy::r#type::v3::Percent { value: 120.0 });
                c.common_lb_config =
                    Some(cluster::cluster::CommonLbConfig { healthy_panic_threshold, ..Default::default() });
            }),
            "c: common_lb_config.healthy_panic_threshold: is 120; expected a percentage from 0 to 100".into(),
        ),
        (
            a_cluster(|c| {
                let limit = cluster::circuit_breakers::Thresholds {
                    max_connection_pools: Some(UInt32Value { value: 10 }),
                    ..Default::default()
                };
                c.circuit_breakers = Some(cluster::CircuitBreakers { thresholds: vec![limit], ..Default::default() });
            }),
            format!(
                "c: circuit_breakers.thresholds[0].max_connection_pools: {unsupported} 4294967295, which is no limit"
            ),
        ),
        (
            a_cluster(|c| c.connect_timeout = Some(Duration { seconds: -1, nanos: 0 })),
            "c: connect_timeout: is -1 s and 0 ns; expected a duration of zero or more, with less than a second of \
             nanoseconds"
                .into(),
        ),
        (
            a_cluster(|c| {
                c.cluster_discovery_type = Some(cluster::cluster::ClusterDiscoveryType::Type(
                    cluster::cluster::DiscoveryType::LogicalDns as i32,
                ));
                c.load_assignment = None;
            }),
            "c: load_assignment: is missing; expected a value".into(),
        ),
        (
            a_cluster(|c| {
                c.typed_extension_protocol_options.insert("x".into(), Any::default());
            }),
            "c: typed_extension_protocol_options[\"x\"]: is no extension that this proxy knows; expected \
             `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`"
                .into(),
        ),
    ] {
        check(ResourceKind::Cluster, &any, &expected);
    }
}

/// What a foreign control plane may say in a form that ours does not write.
#[test]
fn limits_in_other_words() {
    use model::limits::{RetryBudget, TcpKeepalive};
    use proto::envoy::extensions::load_balancing_policies as policies;
    let number = |value| Some(UInt32Value { value });
    let limits = |thresholds: Vec<cluster::circuit_breakers::Thresholds>| {
        let any = a_cluster(|c| {
            c.circuit_breakers = Some(cluster::CircuitBreakers { thresholds, ..Default::default() });
        });
        *decode::cluster(&any).expect("a cluster").circuit_breakers.expect("limits")
    };
    let thresholds = cluster::circuit_breakers::Thresholds::default;
    let high = cluster::circuit_breakers::Thresholds { priority: 1, max_retries: number(9), ..thresholds() };
    assert_eq!(limits(vec![high]), model::CircuitBreakers::default(), "another priority is not ours");
    let budget = cluster::circuit_breakers::Thresholds { retry_budget: Some(Default::default()), ..thresholds() };
    assert_eq!(limits(vec![budget, thresholds()]).retry_budget, Some(RetryBudget::default()), "the first counts");

    let keepalive = |keepalive_probes, keepalive_time| {
        let tcp_keepalive = Some(core::TcpKeepalive { keepalive_probes, keepalive_time, keepalive_interval: None });
        let options = cluster::UpstreamConnectionOptions { tcp_keepalive, ..Default::default() };
        let any = a_cluster(|c| c.upstream_connection_options = Some(options));
        decode::cluster(&any).expect("a cluster").connections.and_then(|options| options.tcp_keepalive)
    };
    let probes = Some(TcpKeepalive { probes: Some(3), ..TcpKeepalive::default() });
    assert_eq!((keepalive(number(3), None), keepalive(number(3), number(0))), (probes, None), "zero switches it off");

    let slow_start_config = Some(policies::common::v3::SlowStartConfig {
        slow_start_window: Some(Duration { seconds: 60, nanos: 0 }),
        aggression: Some(core::RuntimeDouble { default_value: -1.0, runtime_key: "a".into() }),
        ..Default::default()
    });
    let policy = policies::round_robin::v3::RoundRobin { slow_start_config, ..Default::default() };
    let any = a_cluster(|c| {
        let typed_config = Some(pack(&policy));
        let config = core::TypedExtensionConfig { name: "p".into(), typed_config };
        let policy = cluster::load_balancing_policy::Policy { typed_extension_config: Some(config) };
        c.load_balancing_policy = Some(cluster::LoadBalancingPolicy { policies: vec![policy] });
    });
    let found = decode::cluster(&any).expect("a cluster").slow_start;
    assert_eq!(found.as_deref(), Some(&model::SlowStart::new(std::time::Duration::from_secs(60))));
}

#[test]
fn routes_in_listeners() {
    let at = "l: filter_chains[1].filters[0].typed_config";
    let good = || vec![filter(ROUTER, false)];
    let regex = a_route(|it| {
        it.r#match = Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::SafeRegex(RegexMatcher {
                regex: "(".into(),
                ..Default::default()
            })),
            ..Default::default()
        });
    });
    let mut twice = a_route(|_| {});
    twice.virtual_hosts.push(twice.virtual_hosts[0].clone());
    let operator = a_route(|it| {
        it.request_headers_to_add.push(core::HeaderValueOption {
            header: Some(core::HeaderValue { key: "x".into(), value: "%REQ(a)%".into(), ..Default::default() }),
            ..Default::default()
        });
    });
    for (any, expected) in [
        (
            a_listener(
                vec![
                    filter("envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", false),
                    filter(ROUTER, false),
                ],
                a_route(|_| {}),
            ),
            format!(
                "{at}.http_filters[0].typed_config: is of type `type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor`; \
                 expected a filter that this proxy has, or `is_optional`"
            ),
        ),
        (
            a_listener(vec![], a_route(|_| {})),
            format!("{at}.http_filters: has no router; expected the router at the end"),
        ),
        (
            a_listener(good(), twice),
            format!("{at}.route_config.virtual_hosts[1].domains: has `*` a second time; expected each domain once"),
        ),
        (
            a_listener(good(), operator),
            format!(
                "{at}.route_config.virtual_hosts[0].routes[0].request_headers_to_add[0].header.value: has a command \
                 operator; expected a literal value, with `%%` for a percent sign"
            ),
        ),
    ] {
        check(ResourceKind::Listener, &any, &expected);
    }
    let error = decode::listener(&a_listener(good(), regex)).expect_err("no pattern");
    assert_eq!(
        (error.path.as_str(), error.expected.as_str()),
        (
            "filter_chains[1].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].match.safe_regex.regex",
            "a pattern in RE2's syntax"
        )
    );
}

#[test]
fn optional_filters_may_be_dropped() {
    let any = a_listener(vec![filter("a.b.C", true), filter(ROUTER, false)], a_route(|_| {}));
    assert!(decode::listener(&any).is_ok());
}

/// A typed policy of a cluster, as `model::Cluster` has it.
fn typed(policies: &[(&str, Vec<u8>)]) -> (model::cluster::Balancing, model::cluster::Localities) {
    let policy = |(name, value): &(&str, Vec<u8>)| cluster::load_balancing_policy::Policy {
        typed_extension_config: Some(core::TypedExtensionConfig {
            name: "x".into(),
            typed_config: Some(Any { type_url: format!("type.googleapis.com/{name}"), value: value.clone() }),
        }),
    };
    let any = a_cluster(|c| {
        let policies = policies.iter().map(policy).collect();
        c.load_balancing_policy = Some(cluster::LoadBalancingPolicy { policies });
    });
    let cluster = decode::cluster(&any).expect("a cluster");
    (cluster.balancing, cluster.localities)
}

#[test]
fn typed_policies() {
    use model::cluster::{Balancing, Localities};
    use prost::Message;
    use proto::envoy::extensions::load_balancing_policies as lb;
    let of = |name: &'static str, value: Vec<u8>| typed(&[("another.Policy", vec![1]), (name, value)]);
    let weighted = lb::common::v3::locality_lb_config::LocalityWeightedLbConfig {};
    let ring = lb::ring_hash::v3::RingHash {
        minimum_ring_size: Some(UInt64Value { value: 7 }),
        locality_weighted_lb_config: Some(weighted),
        ..Default::default()
    };
    let localities = lb::common::v3::LocalityLbConfig {
        locality_config_specifier: Some(
            lb::common::v3::locality_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(weighted),
        ),
    };
    let random = lb::random::v3::Random { locality_lb_config: Some(localities) };
    let biased = lb::least_request::v3::LeastRequest {
        active_request_bias: Some(core::RuntimeDouble { default_value: 0.5, ..Default::default() }),
        ..Default::default()
    };
    for (found, expected) in [
        (
            of("envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash", ring.encode_to_vec()),
            (Balancing::RingHash { min_size: 7, max_size: 8_388_608 }, Localities::Weighted),
        ),
        (
            of("envoy.extensions.load_balancing_policies.maglev.v3.Maglev", Vec::new()),
            (Balancing::Maglev { table_size: 65_537 }, Localities::Alike),
        ),
        (
            of("envoy.extensions.load_balancing_policies.random.v3.Random", random.encode_to_vec()),
            (Balancing::Random, Localities::Weighted),
        ),
        (
            of("envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest", biased.encode_to_vec()),
            (Balancing::BiasedLeastRequest { choices: 2, bias: 0.5 }, Localities::Alike),
        ),
        (of("halcyon.balancing.v1.PeakEwma", Vec::new()), (Balancing::PeakEwma(Default::default()), Localities::Alike)),
    ] {
        assert_eq!(found, expected);
    }
}

/// What a typed policy says of zones; the newer field on the own zone counts before the older one.
#[test]
#[allow(deprecated)]
fn zones_of_typed_policies() {
    use lb::common::v3::locality_lb_config::zone_aware_lb_config::ForceLocalZone;
    use lb::common::v3::locality_lb_config::{LocalityConfigSpecifier, ZoneAwareLbConfig};
    use model::cluster::{Balancing, Localities, ZoneRouting};
    use prost::Message;
    use proto::envoy::extensions::load_balancing_policies as lb;
    use proto::google::protobuf::UInt32Value;
    let usual = ZoneRouting::default();
    let newer = |min_size: Option<u32>| Some(ForceLocalZone { min_size: min_size.map(|value| UInt32Value { value }) });
    for (zones, expected) in [
        (ZoneAwareLbConfig::default(), usual),
        (
            ZoneAwareLbConfig { force_locality_direct_routing: true, ..Default::default() },
            ZoneRouting { own_takes_all_from: Some(1), ..usual },
        ),
        (
            ZoneAwareLbConfig {
                force_locality_direct_routing: true,
                force_local_zone: newer(Some(4)),
                ..Default::default()
            },
            ZoneRouting { own_takes_all_from: Some(4), ..usual },
        ),
        (
            ZoneAwareLbConfig { force_local_zone: newer(None), locality_basis: 1, ..Default::default() },
            ZoneRouting { own_takes_all_from: Some(1), by_weight: true, ..usual },
        ),
    ] {
        let specifier = Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zones));
        let localities = Some(lb::common::v3::LocalityLbConfig { locality_config_specifier: specifier });
        let policy = lb::round_robin::v3::RoundRobin { locality_lb_config: localities, ..Default::default() };
        let name = "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin";
        assert_eq!(typed(&[(name, policy.encode_to_vec())]), (Balancing::RoundRobin, Localities::Zones(expected)));
    }
}

#[test]
fn hash_keys_by_address_only() {
    let text = |value: &str| proto::google::protobuf::Value {
        kind: Some(proto::google::protobuf::value::Kind::StringValue(value.into())),
    };
    let fields = proto::google::protobuf::Struct { fields: [("hash_key".to_owned(), text("a"))].into() };
    let socket = core::SocketAddress {
        address: "127.0.0.1".into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(80)),
        ..Default::default()
    };
    let one = endpoint::LbEndpoint {
        metadata: Some(core::Metadata {
            filter_metadata: [("envoy.lb".to_owned(), fields)].into(),
            ..Default::default()
        }),
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint::Endpoint {
            address: Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) }),
            ..Default::default()
        })),
        ..Default::default()
    };
    let group = endpoint::LocalityLbEndpoints { lb_endpoints: vec![one], ..Default::default() };
    let set =
        endpoint::ClusterLoadAssignment { cluster_name: "e".into(), endpoints: vec![group], ..Default::default() };
    check(
        ResourceKind::Endpoints,
        &pack(&set),
        "e: endpoints[0].lb_endpoints[0].metadata[\"envoy.lb\"].hash_key: is set, but this proxy does not support it; expected none: \
         the address is what is hashed",
    );
}

#[test]
fn defaults_are_envoys() {
    let any = a_cluster(|_| {});
    let cluster = decode::cluster(&any).expect("a cluster");
    assert_eq!(cluster.connect_timeout.as_secs(), 5);
    assert_eq!(cluster.idle_timeout.map(|it| it.as_secs()), Some(3600));
    // 1024 of most, but 3 retries.
    assert_eq!(cluster.circuit_breakers.as_deref(), Some(&model::CircuitBreakers::default()));
    assert_eq!((cluster.panic_percent, &cluster.outlier_detection, &cluster.connections), (50, &None, &None));
    let any = a_cluster(|c| c.outlier_detection = Some(cluster::OutlierDetection::default()));
    let found = decode::cluster(&any).expect("a cluster").outlier_detection;
    assert_eq!(found.as_deref(), Some(&model::OutlierDetection::default()));
    let forward = |timeout| {
        let table = a_route(|it| {
            it.action = Some(route::route::Action::Route(route::RouteAction {
                cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster("c".into())),
                timeout,
                retry_policy: Some(route::RetryPolicy { retry_on: "5xx".into(), ..Default::default() }),
                ..Default::default()
            }));
        });
        match decode::route(&pack(&table)).expect("a table").hosts.remove(0).routes.remove(0).action {
            model::route::Action::Forward(forward) => *forward,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(forward(None).timeout.map(|it| it.as_secs()), Some(15));
    assert_eq!(forward(Some(Duration { seconds: 0, nanos: 0 })).timeout, None);
    let retry = forward(None).retry.expect("a policy");
    assert_eq!((retry.attempts, retry.base_interval.as_millis(), retry.max_interval.as_millis()), (1, 25, 250));
}

#[test]
fn rules_of_rate_limits() {
    use proto::envoy::extensions::rate_limit_descriptors::expr::v3::Descriptor as Expression;
    use proto::envoy::extensions::rate_limit_descriptors::expr::v3::descriptor::ExprSpecifier;
    use route::rate_limit::action::{ActionSpecifier, GenericKey, HeaderValueMatch, MaskedRemoteAddress, MetaData};
    use route::rate_limit::{Action, HitsAddend, Override};
    let unsupported = "is set, but this proxy does not support it; expected the field to be absent";
    let acting = |action: ActionSpecifier| route::RateLimit {
        actions: vec![Action { action_specifier: Some(action) }],
        ..Default::default()
    };
    let number = |value| Some(UInt32Value { value });
    for (rule, expected) in [
        (route::RateLimit { stage: number(11), ..Default::default() }, "stage: is 11; expected at most 10".to_owned()),
        (route::RateLimit { limit: Some(Override::default()), ..Default::default() }, format!("limit: {unsupported}")),
        (
            route::RateLimit { hits_addend: Some(HitsAddend::default()), ..Default::default() },
            format!("hits_addend: {unsupported}"),
        ),
        (
            route::RateLimit { apply_on_stream_done: true, ..Default::default() },
            format!("apply_on_stream_done: {unsupported}"),
        ),
        (
            acting(ActionSpecifier::Metadata(MetaData::default())),
            "actions[0].metadata.metadata_key: is missing; expected a value".to_owned(),
        ),
        (
            acting(ActionSpecifier::Metadata(MetaData { source: 1, ..Default::default() })),
            "actions[0].metadata.source: is not DYNAMIC; expected DYNAMIC, which filters of the request write"
                .to_owned(),
        ),
        (
            acting(ActionSpecifier::RemoteAddressMatch(Default::default())),
            "actions[0].remote_address_match: is set, but this proxy does not support it; expected source_cluster, \
             destination_cluster, request_headers, query_parameters, remote_address, masked_remote_address, \
             generic_key, header_value_match, query_parameter_value_match, metadata or extension"
                .to_owned(),
        ),
        (
            acting(ActionSpecifier::Extension(core::TypedExtensionConfig {
                name: "envoy.rate_limit_descriptors.expr".into(),
                typed_config: Some(pack(&Expression {
                    descriptor_key: "k".into(),
                    expr_specifier: Some(ExprSpecifier::Text("request.id".into())),
                    ..Default::default()
                })),
            })),
            "actions[0].extension.typed_config.text: is `request.id`; expected `connection.uri_san_peer_certificate`, \
             `re.extract(connection.uri_san_peer_certificate, '^spiffe://[^/]+/ns/([^/]+)/.*$', '\\\\1')`, \
             `request.url_path`, `xds.route_name`"
                .to_owned(),
        ),
        (
            acting(ActionSpecifier::GenericKey(GenericKey::default())),
            "actions[0].generic_key.descriptor_value: is missing; expected a text".to_owned(),
        ),
        (
            acting(ActionSpecifier::HeaderValueMatch(HeaderValueMatch::default())),
            "actions[0].header_value_match.headers: is empty; expected one or more".to_owned(),
        ),
        (
            acting(ActionSpecifier::MaskedRemoteAddress(MaskedRemoteAddress {
                v4_prefix_mask_len: number(33),
                ..Default::default()
            })),
            "actions[0].masked_remote_address.v4_prefix_mask_len: is 33; expected at most 32".to_owned(),
        ),
    ] {
        let action = route::RouteAction {
            cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster("c".into())),
            rate_limits: vec![rule],
            ..Default::default()
        };
        let table = a_route(|one| one.action = Some(route::route::Action::Route(action)));
        let expected = format!("r: virtual_hosts[0].routes[0].route.rate_limits[0].{expected}");
        check(ResourceKind::Route, &pack(&table), &expected);
    }
}

#[test]
fn filters_of_rate_limits() {
    use proto::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
    use proto::envoy::extensions::filters::http::ratelimit::v3::RateLimit;
    use proto::envoy::r#type::v3::TokenBucket;
    let bucket = |seconds, nanos, per_fill| {
        let fill_interval = Some(Duration { seconds, nanos });
        Some(TokenBucket { max_tokens: 1, tokens_per_fill: Some(UInt32Value { value: per_fill }), fill_interval })
    };
    let local = |change: &dyn Fn(&mut LocalRateLimit)| {
        let mut limits = LocalRateLimit { stat_prefix: "x".into(), ..Default::default() };
        change(&mut limits);
        pack(&limits)
    };
    let global = |change: &dyn Fn(&mut RateLimit)| {
        let mut limits = RateLimit { domain: "d".into(), ..Default::default() };
        change(&mut limits);
        pack(&limits)
    };
    for (config, expected) in [
        (local(&|l| l.stat_prefix.clear()), "stat_prefix: is missing; expected a prefix"),
        (
            local(&|l| l.token_bucket = bucket(0, 49_000_000, 1)),
            "token_bucket.fill_interval: is 49ms; expected at least 50 ms",
        ),
        (local(&|l| l.token_bucket = bucket(1, 0, 0)), "token_bucket.tokens_per_fill: is 0; expected one or more"),
        (
            local(&|l| l.rate_limits = vec![route::RateLimit { disable_key: "k".into(), ..Default::default() }]),
            "rate_limits[0].disable_key: is set, but this proxy does not support it; expected the field to be absent",
        ),
        (
            local(&|l| l.local_cluster_rate_limit = Some(Default::default())),
            "local_cluster_rate_limit: is set, but this proxy does not support it; expected the field to be absent",
        ),
        (global(&|g| g.domain.clear()), "domain: is missing; expected a text"),
        (global(&|_| ()), "rate_limit_service: is missing; expected a value"),
        (
            global(&|g| g.request_type = "x".into()),
            "request_type: is \"x\"; expected `internal`, `external`, `both` or none",
        ),
    ] {
        let one = hcm::HttpFilter {
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
            ..Default::default()
        };
        let listener = a_listener(vec![one, filter(ROUTER, false)], a_route(|_| ()));
        let error = decode::resource(ResourceKind::Listener, &listener).expect_err(expected).to_string();
        let place = "l: filter_chains[1].filters[0].typed_config.http_filters[0].typed_config.";
        assert_eq!(error.strip_prefix(place), Some(expected), "{error}");
    }
}
