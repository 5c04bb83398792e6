//! Patches as people write them, and what proxies get.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::http_proxy::{HttpFilter, RouteSource};
use model::route::Action;
use model::{Config, FilterChain, HttpProxy, Listener, Locality, NetworkFilter};
use translate::workload::reference;
use translate::{Capture, InboundPort, Inputs, Node, Role, World};

use super::{Patcher, check, check_live};

const SERVICES: &str = "
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: s, namespace: a}, spec: {hosts: [s.a], location: MESH_INTERNAL,
  resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}, {number: 90, name: tcp, protocol: TCP}], endpoints: [{address: 10.0.0.9}]}}
---
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g, namespace: a}, spec: {selector: {istio: ingressgateway},
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v, namespace: a}, spec: {hosts: [s.a], gateways: [g, mesh], http: [
  {name: to-s, route: [{destination: {host: s.a, port: {number: 80}}}]}]}}
";

/// An EnvoyFilter of the root namespace with one patch.
fn filter(patch: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {{name: f, namespace: istio-system}}, spec: \
         {{configPatches: [{patch}]}}}}"
    )
}

fn world(documents: &str) -> World {
    let parsed = api::parse("test.yaml", documents);
    assert!(!parsed.has_errors(), "{:?}", parsed.problems);
    World::new(Inputs { resources: parsed.resources, ..Inputs::default() })
}

fn with(patch: &str) -> World {
    world(&format!("{SERVICES}\n---\n{}", filter(patch)))
}

fn node(app: &str, role: Role) -> Node {
    let labels = BTreeMap::from([(
        if app == "gw" { "istio" } else { "app" }.to_owned(),
        if app == "gw" { "ingressgateway" } else { app }.to_owned(),
    )]);
    Node {
        id: app.into(),
        role,
        namespace: "a".to_owned(),
        identity: None,
        address: IpAddr::from([127, 64, 0, 1]),
        locality: Locality::default(),
        workload: reference(app, "a", &labels, "local"),
        labels,
        ours: true,
        on_demand: false,
    }
}

fn sidecar(app: &str) -> Node {
    let address = IpAddr::from([127, 64, 0, 1]);
    node(
        app,
        Role::Sidecar {
            ports: vec![InboundPort { target: 9080, bind: SocketAddr::new(address, 19080) }],
            capture: Capture::Redirect { netns: "w".into(), outbound: vec![SocketAddr::new(address, 15001)] },
        },
    )
}

fn gateway() -> Node {
    let edge = Default::default();
    node("gw", Role::Gateway { bind: IpAddr::from([127, 0, 0, 1]), ports: BTreeMap::from([(80, 8080)]), edge })
}

fn made(world: &World, node: &Node) -> Config {
    Patcher::default().translate(world, node)
}

/// What a configuration has of HTTP: `listener/chain: filters`.
fn http(config: &Config) -> Vec<(String, &HttpProxy)> {
    let of_chain = |listener: &Listener, chain: &FilterChain| format!("{}/{}", listener.name, chain.name);
    let chains = config.listeners.values().flat_map(|l| l.chains.iter().chain(&l.default_chain).map(move |c| (l, c)));
    let http = chains.filter_map(|(listener, chain)| match &chain.filter {
        NetworkFilter::Http(http) => Some((of_chain(listener, chain), &**http)),
        NetworkFilter::Tcp(_) => None,
    });
    http.collect()
}

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// The listeners and chains whose idle time a patch of the connection manager sets.
#[test]
fn where_a_patch_holds() {
    let patch = |matches: &str| {
        let value = "{typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
                     common_http_protocol_options: {idle_timeout: 77s}}}";
        format!("{{applyTo: NETWORK_FILTER, match: {{{matches}}}, patch: {{operation: MERGE, value: {value}}}}}")
    };
    let chain = |more: &str| format!("listener: {{{more} filterChain: {{filter: {{name: {MANAGER}}}}}}}");
    let all_inbound = "inbound_127.64.0.1_9080/mesh-http inbound_127.64.0.1_9080/http";
    let all_outbound = "0.0.0.0_80/declared 0.0.0.0_80/found";
    let both = format!("{all_outbound} {all_inbound}");
    for (matches, node, expected) in [
        (chain(""), sidecar("x"), both.as_str()),
        (format!("context: ANY, {}", chain("")), sidecar("x"), &both),
        (format!("context: SIDECAR_INBOUND, {}", chain("")), sidecar("x"), all_inbound),
        (format!("context: SIDECAR_OUTBOUND, {}", chain("")), sidecar("x"), all_outbound),
        (format!("context: GATEWAY, {}", chain("")), sidecar("x"), ""),
        (format!("context: GATEWAY, {}", chain("")), gateway(), "127.0.0.1_8080/http.80"),
        (chain("portNumber: 9080,"), sidecar("x"), all_inbound),
        (chain("portNumber: 80,"), sidecar("x"), all_outbound),
        (chain("portNumber: 80,"), gateway(), "127.0.0.1_8080/http.80"),
        (chain("portNumber: 8080,"), gateway(), "127.0.0.1_8080/http.80"),
        (chain("portNumber: 81,"), gateway(), ""),
        (chain("name: virtualInbound,"), sidecar("x"), all_inbound),
        (chain("name: 0.0.0.0_80,"), sidecar("x"), all_outbound),
        (chain("name: elsewhere,"), sidecar("x"), ""),
        (
            "listener: {filterChain: {name: found, filter: {name: envoy.http_connection_manager}}}".into(),
            sidecar("x"),
            "0.0.0.0_80/found",
        ),
        (
            format!("listener: {{filterChain: {{transportProtocol: tls, filter: {{name: {MANAGER}}}}}}}"),
            sidecar("x"),
            "inbound_127.64.0.1_9080/mesh-http",
        ),
        (
            format!("listener: {{filterChain: {{destinationPort: 9080, filter: {{name: {MANAGER}}}}}}}"),
            sidecar("x"),
            all_inbound,
        ),
        (format!("proxy: {{proxyVersion: '^1\\.30.*'}}, {}", chain("name: 0.0.0.0_80,")), sidecar("x"), all_outbound),
        (format!("proxy: {{proxyVersion: '^1\\.9.*'}}, {}", chain("")), sidecar("x"), ""),
        (format!("proxy: {{metadata: {{a: b}}}}, {}", chain("")), sidecar("x"), ""),
    ] {
        let config = made(&with(&patch(&matches)), &node);
        let set = http(&config).into_iter().filter(|(_, http)| http.idle_timeout == Some(Duration::from_secs(77)));
        let set: Vec<String> = set.map(|(name, _)| name).collect();
        assert_eq!(set.join(" "), expected, "{matches}");
    }
}

#[test]
fn http_filters_go_where_the_patch_says() {
    let fault = "{name: mine, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, max_active_faults: 7}}";
    let fault = fault.replace(", max_active_faults: 7", "");
    for (operation, anchor, expected) in [
        ("INSERT_FIRST", "", Some(0)),
        ("INSERT_BEFORE", "", Some(0)),
        ("INSERT_BEFORE", "envoy.filters.http.cors", Some(1)),
        ("INSERT_AFTER", "envoy.filters.http.fault", Some(1)),
        ("INSERT_BEFORE", "envoy.filters.http.router", Some(2)),
        ("INSERT_BEFORE", "envoy.router", Some(2)),
        ("INSERT_BEFORE", "envoy.filters.http.elsewhere", None),
        // After the router nothing may stand, so this is left out.
        ("ADD", "", None),
    ] {
        let sub = if anchor.is_empty() { String::new() } else { format!(", subFilter: {{name: {anchor}}}") };
        let patch = format!(
            "{{applyTo: HTTP_FILTER, match: {{context: SIDECAR_OUTBOUND, listener: {{filterChain: {{filter: {{name: {MANAGER}{sub}}}}}}}}}, \
             patch: {{operation: {operation}, value: {fault}}}}}"
        );
        let config = made(&with(&patch), &sidecar("x"));
        let (_, proxy) = http(&config).into_iter().find(|(name, _)| name.starts_with("0.0.0.0_80")).unwrap();
        // Ours is the one of the two that stands elsewhere than first and is followed by CORS.
        assert_eq!(proxy.filters.len(), if expected.is_some() { 3 } else { 2 }, "{operation} {anchor}");
        let cors = proxy.filters.iter().position(|it| matches!(it, HttpFilter::Cors)).unwrap();
        let expected_cors = match expected {
            Some(2) | None => 1,
            Some(_) => 2,
        };
        assert_eq!(cors, expected_cors, "{operation} {anchor}");
    }
    let remove = format!(
        "{{applyTo: HTTP_FILTER, match: {{context: SIDECAR_OUTBOUND, listener: {{filterChain: {{filter: {{name: {MANAGER}, subFilter: {{name: envoy.filters.http.fault}}}}}}}}}}, \
         patch: {{operation: REMOVE}}}}"
    );
    let config = made(&with(&remove), &sidecar("x"));
    assert!(
        http(&config)
            .iter()
            .filter(|(name, _)| name.starts_with("0.0.0.0_80"))
            .all(|(_, proxy)| proxy.filters.len() == 1)
    );
}

#[test]
fn clusters_are_merged_added_and_removed() {
    let merge = |matches: &str| {
        format!(
            "{{applyTo: CLUSTER, match: {{{matches}}}, patch: {{operation: MERGE, value: {{connect_timeout: 7s}}}}}}"
        )
    };
    for (matches, expected) in [
        ("cluster: {service: s.a}", "outbound|80||s.a outbound|90||s.a"),
        ("cluster: {service: s.a, portNumber: 90}", "outbound|90||s.a"),
        ("cluster: {name: 'outbound|80||s.a'}", "outbound|80||s.a"),
        ("cluster: {subset: v1}", ""),
        ("context: SIDECAR_INBOUND", "inbound|9080||"),
        ("context: GATEWAY", ""),
    ] {
        let config = made(&with(&merge(matches)), &sidecar("x"));
        let set = config.clusters.values().filter(|cluster| cluster.connect_timeout == Duration::from_secs(7));
        let set: Vec<&str> = set.map(|cluster| &*cluster.name).collect();
        assert_eq!(set.join(" "), expected, "{matches}");
    }
    let add = "{applyTo: CLUSTER, match: {context: GATEWAY}, patch: {operation: ADD, value: {name: limits, type: STRICT_DNS, connect_timeout: 1s, \
               load_assignment: {cluster_name: limits, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: limits.a, port_value: 8081}}}}]}]}}}}";
    assert!(made(&with(add), &gateway()).clusters.contains_key("limits"));
    assert!(!made(&with(add), &sidecar("x")).clusters.contains_key("limits"));
    let remove = "{applyTo: CLUSTER, match: {cluster: {service: s.a, portNumber: 90}}, patch: {operation: REMOVE}}";
    let config = made(&with(remove), &sidecar("x"));
    assert!(config.clusters.contains_key("outbound|80||s.a") && !config.clusters.contains_key("outbound|90||s.a"));
}

#[test]
fn routes_and_hosts_are_changed() {
    let names = |config: &Config| -> Vec<String> {
        let inline = http(config).into_iter().filter_map(|(_, http)| match &http.routes {
            RouteSource::Inline(table) => Some(table.clone()),
            RouteSource::Rds(_) => None,
        });
        let tables = config.routes.values().cloned().chain(inline);
        let mut all: Vec<String> = tables
            .flat_map(|table| {
                let of_host = |host: &model::VirtualHost| {
                    host.routes
                        .iter()
                        .map(|route| {
                            let timeout = match &route.action {
                                Action::Forward(to) => {
                                    to.timeout.map(|it| format!(" {}s", it.as_secs())).unwrap_or_default()
                                }
                                _ => " -".to_owned(),
                            };
                            format!("{}/{}/{}{timeout}", table.name, host.name, route.name)
                        })
                        .collect::<Vec<_>>()
                };
                table.hosts.iter().flat_map(of_host).collect::<Vec<_>>()
            })
            .collect();
        all.sort();
        all.dedup();
        all
    };
    let plain = names(&made(&world(SERVICES), &gateway()));
    assert_eq!(plain, ["http.80/s.a:80/to-s"]);
    let route = "{name: new, match: {prefix: /new}, direct_response: {status: 204}}";
    for (patch, node, expected) in [
        (
            "{applyTo: HTTP_ROUTE, match: {routeConfiguration: {vhost: {route: {name: to-s}}}}, patch: {operation: MERGE, value: {route: {timeout: 7s}}}}".to_owned(),
            gateway(),
            vec!["http.80/s.a:80/to-s 7s"],
        ),
        (
            format!("{{applyTo: HTTP_ROUTE, match: {{routeConfiguration: {{portNumber: 80, vhost: {{name: 's.a:80'}}}}}}, patch: {{operation: INSERT_FIRST, value: {route}}}}}"),
            gateway(),
            vec!["http.80/s.a:80/new -", "http.80/s.a:80/to-s"],
        ),
        (
            format!("{{applyTo: HTTP_ROUTE, match: {{routeConfiguration: {{vhost: {{name: elsewhere}}}}}}, patch: {{operation: INSERT_FIRST, value: {route}}}}}"),
            gateway(),
            vec!["http.80/s.a:80/to-s"],
        ),
        (
            format!("{{applyTo: VIRTUAL_HOST, match: {{routeConfiguration: {{name: http.80}}}}, patch: {{operation: ADD, value: {{name: own, domains: [own], routes: [{route}]}}}}}}"),
            gateway(),
            vec!["http.80/own/new -", "http.80/s.a:80/to-s"],
        ),
        (
            "{applyTo: HTTP_ROUTE, match: {context: SIDECAR_INBOUND, routeConfiguration: {vhost: {name: 'inbound|http|9080'}}}, patch: {operation: MERGE, value: {route: {timeout: 7s}}}}".to_owned(),
            Node { labels: BTreeMap::new(), ..sidecar("x") },
            vec!["inbound|9080||/inbound|http|9080/default 7s"],
        ),
    ] {
        let all = names(&made(&with(&patch), &node));
        let inbound = expected[0].starts_with("inbound");
        let of_side: Vec<&str> = all.iter().map(String::as_str).filter(|name| name.starts_with("inbound") == inbound).collect();
        assert_eq!(of_side, expected, "{patch}");
    }
}

#[test]
fn filters_are_for_whom_they_select() {
    let patch = "{applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 7s}}}";
    let of = |namespace: &str, selector: &str, priority: i32, seconds: u32, name: &str| {
        let patch = patch.replace("7s", &format!("{seconds}s"));
        format!(
            "\n---\n{{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {{name: {name}, namespace: {namespace}}}, \
             spec: {{{selector} priority: {priority}, configPatches: [{patch}]}}}}"
        )
    };
    let selects = "workloadSelector: {labels: {app: x}},";
    for (documents, expected) in [
        (of("a", "", 0, 7, "f"), 7),
        (of("b", "", 0, 7, "f"), 10),
        (of("istio-system", selects, 0, 7, "f"), 7),
        (of("a", &selects.replace('x', "y"), 0, 7, "f"), 10),
        // The own namespace's come last, and of one namespace those of the highest number.
        (of("a", "", 0, 7, "f") + &of("istio-system", "", 9, 8, "g"), 7),
        (of("a", "", 0, 7, "f") + &of("a", "", -1, 8, "g"), 7),
    ] {
        let world = world(&format!("{SERVICES}{documents}"));
        let config = made(&world, &sidecar("x"));
        assert_eq!(config.clusters["outbound|80||s.a"].connect_timeout.as_secs(), expected, "{documents}");
        // A proxy's scope stands for it.
        let scope = world.scope(&sidecar("x"));
        let common = Patcher::default().common(&world, &scope);
        assert_eq!(common.config.clusters["outbound|80||s.a"].connect_timeout.as_secs(), expected, "{documents}");
    }
}

#[test]
fn what_is_not_taken_is_said() {
    let unknown = "{name: own, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor, message_timeout: 1s}}";
    let script = "{name: own, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, default_source_code: {inline_string: 'function ('}}}";
    let manager = |sub: &str| format!("listener: {{filterChain: {{filter: {{name: {MANAGER}{sub}}}}}}}");
    for (patch, expected) in [
        (
            format!("{{applyTo: HTTP_FILTER, match: {{{}}}, patch: {{operation: INSERT_FIRST, value: {unknown}}}}}", manager("")),
            "warning HAL0001 spec.configPatches[0].patch.value: the patch is left out: filter_chains[0].filters[0].typed_config.http_filters[0]",
        ),
        (
            format!("{{applyTo: HTTP_FILTER, match: {{{}}}, patch: {{operation: INSERT_FIRST, value: {script}}}}}", manager("")),
            "warning HAL0001 spec.configPatches[0].patch.value: the patch is left out: filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.default_source_code.inline_string is no Lua, line 1: ",
        ),
        (
            format!("{{applyTo: HTTP_FILTER, match: {{{}}}, patch: {{operation: REMOVE}}}}", manager(", subFilter: {name: istio.stats}")),
            "warning HAL0007 spec.configPatches[0].match.listener: no filter called `istio.stats` stands in our chains",
        ),
        (
            "{applyTo: CLUSTER, patch: {operation: MERGE, value: {conect_timeout: 1s}}}".to_owned(),
            "error IST0106 spec.configPatches[0].patch.value: the value does not fit Envoy's schema: unrecognized field name 'conect_timeout'; expected a field that Envoy's schema has here",
        ),
        (
            "{applyTo: CLUSTER, patch: {operation: MERGE, value: {upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}}}}}".to_owned(),
            "warning HAL0001 spec.configPatches[0].patch.value: the patch is left out: upstream_bind_config",
        ),
        ("{applyTo: BOOTSTRAP, patch: {operation: MERGE, value: {admin: {}}}}".to_owned(), "warning HAL0001 spec.configPatches[0].applyTo: this is not enforced"),
        (
            "{applyTo: CLUSTER, match: {proxy: {proxyVersion: '^1\\.9.*'}}, patch: {operation: MERGE, value: {connect_timeout: 1s}}}".to_owned(),
            "warning HAL0001 spec.configPatches[0].match.proxy.proxyVersion: this is not enforced",
        ),
        ("{applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 1s}}}".to_owned(), ""),
    ] {
        let problems = check(&with(&patch));
        let said: Vec<String> =
            problems.iter().map(|p| format!("{} {} {}: {}", p.level, p.code, p.path, p.message)).collect();
        match expected {
            "" => assert_eq!(said, [""; 0], "{patch}"),
            expected => assert!(said.len() == 1 && said[0].starts_with(expected), "{patch}\n{said:#?}\n{expected}"),
        }
    }
    let elsewhere = "{applyTo: CLUSTER, match: {cluster: {service: nobody.a}}, patch: {operation: MERGE, value: {connect_timeout: 1s}}}";
    assert_eq!(check(&with(elsewhere)), []);
    assert_eq!(check_live(&with(elsewhere), &[]), []);
    let live = check_live(&with(elsewhere), &[sidecar("x"), gateway()]);
    assert_eq!(live.len(), 1);
    assert!(live[0].message.contains("nothing at the 2 connected proxies"), "{:?}", live[0]);
    let here = elsewhere.replace("nobody.a", "s.a");
    assert_eq!(check_live(&with(&here), &[sidecar("x"), gateway()]), []);
}

/// What `explain` tells of patches: those that change what the request meets, in order, and why the others do not.
#[test]
fn explained() {
    let timeout = |rule: &str| {
        format!("{{applyTo: CLUSTER, match: {{{rule}}}, patch: {{operation: MERGE, value: {{connect_timeout: 3s}}}}}}")
    };
    let filter_of = |kind: &str, more: &str| {
        format!(
            "{{applyTo: HTTP_FILTER, match: {{context: SIDECAR_OUTBOUND, listener: {{filterChain: {{filter: {{name: {MANAGER}}}}}}}}}, patch: \
             {{operation: INSERT_BEFORE, value: {{name: own, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.{kind}{more}}}}}}}}}"
        )
    };
    let patches = [
        timeout("cluster: {service: s.a, portNumber: 80}"),
        timeout("cluster: {service: s.a, portNumber: 90}"),
        timeout("cluster: {service: nobody.a}"),
        timeout("proxy: {proxyVersion: '^1\\.9.*'}"),
        timeout("proxy: {metadata: {a: b}}"),
        timeout("context: GATEWAY"),
        filter_of("buffer.v3.Buffer", ", max_request_bytes: 9"),
        filter_of("ext_proc.v3.ExternalProcessor", ", message_timeout: 1s"),
        "{applyTo: BOOTSTRAP, patch: {operation: MERGE, value: {admin: {}}}}".to_owned(),
        "{applyTo: HTTP_ROUTE, match: {context: SIDECAR_OUTBOUND}, patch: {operation: MERGE, value: {request_headers_to_remove: [x-a]}}}".to_owned(),
    ];
    let others = "
{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: others, namespace: a}, spec: {workloadSelector: {labels: {app: other}},
  configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 1s}}}]}}
---
{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: far, namespace: b}, spec: {
  configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 1s}}}]}}
";
    let world = world(&format!("{SERVICES}\n---\n{}\n---{others}", filter(&patches.join(", "))));
    let question = translate::explain::Question {
        host: "s.a".to_owned(),
        port: 80,
        authority: None,
        server_name: None,
        method: http::Method::GET,
        path: "/".to_owned(),
        headers: http::HeaderMap::new(),
    };
    let of = |node: &Node| crate::explain::answer(&world, node, &question).steps.pop().expect("there are steps");
    insta::assert_json_snapshot!("explained", of(&sidecar("x")));
    assert_eq!(of(&gateway()).stage, "patches");
    let without = self::world(SERVICES);
    let steps = crate::explain::answer(&without, &sidecar("x"), &question).steps;
    assert!(steps.iter().all(|step| step.stage != "patches"), "{steps:?}");
}

/// Limits to how many requests are taken have no kind of their own in Istio: people write them so.
#[test]
fn limits_that_a_proxy_keeps() {
    let bucket = "{max_tokens: 9, tokens_per_fill: 9, fill_interval: 60s}";
    let patches = format!(
        "{{applyTo: HTTP_FILTER, match: {{context: SIDECAR_INBOUND, listener: {{filterChain: {{filter: {{name: {MANAGER}}}}}}}}}, \
         patch: {{operation: INSERT_BEFORE, value: {{name: envoy.filters.http.local_ratelimit, typed_config: {{ \
           '@type': type.googleapis.com/udpa.type.v1.TypedStruct, \
           type_url: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, \
           value: {{stat_prefix: mine}}}}}}}}}}, \
         {{applyTo: HTTP_ROUTE, match: {{context: SIDECAR_INBOUND, routeConfiguration: {{vhost: {{name: 'inbound|http|9080', \
           route: {{action: ANY}}}}}}}}, \
         patch: {{operation: MERGE, value: {{route: {{rate_limits: [{{actions: [{{remote_address: {{}}}}]}}]}}, \
           typed_per_filter_config: {{envoy.filters.http.local_ratelimit: {{ \
             '@type': type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, \
             stat_prefix: mine, token_bucket: {bucket}, enable_x_ratelimit_headers: DRAFT_VERSION_03}}}}}}}}}}"
    );
    let world = with(&patches);
    assert_eq!(check(&world), [], "all of it is understood");
    let config = made(&world, &sidecar("x"));
    let inbound: Vec<_> = http(&config).into_iter().filter(|(name, _)| name.starts_with("inbound")).collect();
    assert_eq!(inbound.len(), 2);
    for (name, proxy) in inbound {
        assert!(matches!(&proxy.filters[0], HttpFilter::LocalRateLimit(own) if &*own.stat_prefix == "mine"), "{name}");
        let RouteSource::Inline(table) = &proxy.routes else { panic!("{name}") };
        let rules = table.hosts[0].routes[0].filters.as_deref().expect("rules of the route");
        let limits = rules.local_rate_limit.as_ref().expect("limits of the route");
        assert_eq!((limits.fill.as_ref().map(|fill| fill.max), limits.tells_limits), (Some(9), true), "{name}");
        assert_eq!(rules.rate_limits.len(), 1, "{name}");
    }
}

#[test]
fn limits_that_move_with_the_latency() {
    let patch = format!(
        "{{applyTo: HTTP_FILTER, match: {{context: SIDECAR_INBOUND, listener: {{filterChain: {{filter: {{name: {MANAGER}}}}}}}}}, \
         patch: {{operation: INSERT_BEFORE, value: {{name: envoy.filters.http.adaptive_concurrency, typed_config: {{ \
           '@type': type.googleapis.com/envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency, \
           gradient_controller_config: {{sample_aggregate_percentile: {{value: 90}}, \
             concurrency_limit_params: {{concurrency_update_interval: 0.1s}}, \
             min_rtt_calc_params: {{interval: 60s, request_count: 50, jitter: {{value: 10}}}}}}, \
           enabled: {{default_value: true, runtime_key: adaptive_concurrency.enabled}}}}}}}}}}"
    );
    let world = with(&patch);
    assert_eq!(check(&world), [], "all of it is understood");
    let config = made(&world, &sidecar("x"));
    let inbound: Vec<_> = http(&config).into_iter().filter(|(name, _)| name.starts_with("inbound")).collect();
    assert_eq!(inbound.len(), 2);
    for (name, proxy) in inbound {
        let [HttpFilter::AdaptiveConcurrency(limit)] = &proxy.filters[..] else {
            panic!("{name}: {:?}", proxy.filters)
        };
        assert_eq!((limit.percentile, limit.min, limit.max), (90.0, 3, 1000), "{name}");
    }
}

#[test]
fn limits_that_a_service_keeps() {
    let patches = format!(
        "{{applyTo: HTTP_FILTER, match: {{context: GATEWAY, listener: {{filterChain: {{filter: {{name: {MANAGER}, \
           subFilter: {{name: envoy.filters.http.router}}}}}}}}}}, \
         patch: {{operation: INSERT_BEFORE, value: {{name: envoy.ratelimit, typed_config: {{ \
           '@type': type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit, domain: d, failure_mode_deny: true, \
           rate_limit_service: {{grpc_service: {{envoy_grpc: {{cluster_name: limits}}}}, transport_api_version: V3}}, timeout: 10s}}}}}}}}, \
         {{applyTo: VIRTUAL_HOST, match: {{context: GATEWAY, routeConfiguration: {{vhost: {{name: '', route: {{action: ANY}}}}}}}}, \
         patch: {{operation: MERGE, value: {{rate_limits: [{{actions: [{{request_headers: {{header_name: ':path', \
           descriptor_key: PATH}}}}]}}]}}}}}}"
    );
    let world = with(&patches);
    assert_eq!(check(&world), [], "all of it is understood");
    let config = made(&world, &gateway());
    let (_, proxy) = http(&config).pop().expect("the gateway serves HTTP");
    let Some(HttpFilter::GlobalRateLimit(limits)) = proxy.filters.last() else { panic!("{:?}", proxy.filters) };
    assert_eq!(
        (&*limits.domain, &*limits.service.cluster, limits.timeout),
        ("d", "limits", Some(Duration::from_secs(10)))
    );
    let hosts: Vec<_> = config.routes.values().flat_map(|table| &table.hosts).collect();
    assert!(!hosts.is_empty());
    for host in hosts {
        assert_eq!(host.filters.as_deref().map(|rules| rules.rate_limits.len()), Some(1), "{}", host.name);
    }
}
