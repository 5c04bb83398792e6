//! What is refused, and in which words: the place, what is wrong, what was expected.

use model::ResourceKind;
use prost::Name;
use proto::envoy::config::cluster::v3 as cluster;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::endpoint::v3 as endpoint;
use proto::envoy::config::listener::v3 as listener;
use proto::envoy::config::route::v3 as route;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::r#type::matcher::v3::RegexMatcher;
use proto::google::protobuf::{Any, Duration, UInt32Value};
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
            a_cluster(|c| c.lb_policy = 2),
            format!("c: lb_policy: {unsupported} ROUND_ROBIN, LEAST_REQUEST, RANDOM, or CLUSTER_PROVIDED"),
        ),
        (
            a_cluster(|c| c.lb_policy = 99),
            "c: lb_policy: is 99; expected ROUND_ROBIN, LEAST_REQUEST, RANDOM, or CLUSTER_PROVIDED".into(),
        ),
        (
            a_cluster(|c| c.outlier_detection = Some(cluster::OutlierDetection::default())),
            format!("c: outlier_detection: {unsupported} the field to be absent"),
        ),
        (
            a_cluster(|c| {
                let limit = cluster::circuit_breakers::Thresholds {
                    max_requests: Some(UInt32Value { value: 10 }),
                    ..Default::default()
                };
                c.circuit_breakers = Some(cluster::CircuitBreakers { thresholds: vec![limit], ..Default::default() });
            }),
            format!("c: circuit_breakers.thresholds[0].max_requests: {unsupported} 4294967295, which is no limit"),
        ),
        (
            a_cluster(|c| c.connect_timeout = Some(Duration { seconds: -1, nanos: 0 })),
            "c: connect_timeout: is -1 s and 0 ns; expected a duration of zero or more, with less than a second of \
             nanoseconds"
                .into(),
        ),
        (a_cluster(|c| c.load_assignment = None), "c: load_assignment: is missing; expected a value".into()),
        (
            a_cluster(|c| {
                c.typed_extension_protocol_options.insert("x".into(), Any::default());
            }),
            "c: typed_extension_protocol_options[\"x\"]: is of type ``; expected \
             `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`"
                .into(),
        ),
    ] {
        check(ResourceKind::Cluster, &any, &expected);
    }
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
                vec![filter("envoy.extensions.filters.http.lua.v3.Lua", false), filter(ROUTER, false)],
                a_route(|_| {}),
            ),
            format!(
                "{at}.http_filters[0].typed_config: is of type `type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua`; \
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

#[test]
fn defaults_are_envoys() {
    let any = a_cluster(|_| {});
    let cluster = decode::cluster(&any).expect("a cluster");
    assert_eq!(cluster.connect_timeout.as_secs(), 5);
    assert_eq!(cluster.idle_timeout.map(|it| it.as_secs()), Some(3600));
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
