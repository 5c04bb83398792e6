//! Bootstrap files in, what the proxy runs or why it does not out.

use envoyfile::parse;
use xds::decode::Control;

/// A file with a listener whose HTTP filter has these further lines, and a cluster.
fn file(http: &str) -> String {
    format!(
        r#"
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 8080}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: origin}}}}]}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          {http}
  clusters:
  - {{name: origin, connect_timeout: 0.25s, load_assignment: {{cluster_name: origin, endpoints: []}}}}
"#
    )
}

fn error(text: &str) -> String {
    parse("envoy.yaml", text).expect_err("it is refused").to_string()
}

#[test]
fn static_resources() {
    let read = parse("envoy.yaml", &file("")).unwrap();
    let names: Vec<String> = read.resources.iter().map(|r| format!("{} {}", r.kind(), r.name())).collect();
    assert_eq!(names, ["CDS origin", "LDS in"]);
    assert_eq!((read.control, read.admin), (None, None));
}

#[test]
fn json_and_either_spelling_of_fields() {
    let text = r#"{"node": {"id": "a", "metadata": {"n": 1, "l": ["x"]}}, "admin": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 9901}}}}"#;
    let read = parse("envoy.json", text).unwrap();
    assert_eq!(read.local_cluster, None);
    assert_eq!(read.admin, Some("127.0.0.1:9901".parse().unwrap()));
    let metadata = envoyfile::json_of(read.node.metadata.as_ref().unwrap());
    assert_eq!(serde_json::Value::Object(metadata), serde_json::json!({ "n": 1.0, "l": ["x"] }));
}

#[test]
fn the_cluster_of_the_proxy_itself() {
    let read = |manager: &str| parse("envoy.yaml", &format!("cluster_manager: {manager}"));
    assert_eq!(read("{local_cluster_name: mine}").unwrap().local_cluster.as_deref(), Some("mine"));
    assert_eq!(read("{enable_deferred_cluster_creation: true}").unwrap().local_cluster, None);
    assert!(error("cluster_manager: {upstream_bind_config: {}}").contains("cluster_manager.upstream_bind_config"));
}

#[test]
fn control_planes() {
    let ads = |kind: &str| {
        format!(
            "dynamic_resources: {{lds_config: {{ads: {{}}}}, cds_config: {{ads: {{}}}}, ads_config: {{api_type: {kind}, \
             transport_api_version: V3, grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]}}}}\n\
             static_resources: {{clusters: [{{name: xds, load_assignment: {{cluster_name: xds}}}}]}}"
        )
    };
    let control = |text: &str| parse("envoy.yaml", text).map(|read| read.control).map_err(|e| e.to_string());
    let found = |delta| Ok(Some(Control { cluster: "xds".to_owned(), delta }));
    assert_eq!(control(&ads("GRPC")), found(false));
    assert_eq!(control(&ads("DELTA_GRPC")), found(true));
    for (text, expected) in [
        (ads("REST"), "dynamic_resources.ads_config.api_type: is no stream of gRPC; expected GRPC or DELTA_GRPC"),
        (
            "dynamic_resources: {cds_config: {ads: {}}}".into(),
            "dynamic_resources.cds_config: asks for the aggregated stream",
        ),
        (
            "dynamic_resources: {lds_config: {path_config_source: {path: /lds.yaml}}}".into(),
            "dynamic_resources.lds_config.path_config_source: is set, but this proxy does not support it",
        ),
    ] {
        let error = control(&text).unwrap_err();
        assert!(error.starts_with(&format!("envoy.yaml: {expected}")), "{error}");
    }
}

#[test]
fn what_has_no_effect_is_told() {
    let read = parse(
        "envoy.yaml",
        "layered_runtime: {layers: [{name: a, static_layer: {b.c: 1}}, {name: d, admin_layer: {}}]}",
    );
    assert_eq!(read.unwrap().without_effect, [r#"layered_runtime.layers[0].static_layer["b.c"]"#]);
}

/// How many connections there may be, in the ways that Envoy has for it.
#[test]
fn limits_to_connections() {
    let limits = |text: &str| {
        let read = parse("envoy.yaml", text).map_err(|e| e.to_string())?;
        assert_eq!(read.without_effect, Vec::<String>::new());
        let limits = read.resources.into_iter().find_map(|resource| match resource {
            xds::Resource::Limits(limits) => Some(limits),
            _ => None,
        });
        Ok(limits.map(|it| {
            (it.common, it.by_listener.iter().map(|(name, most)| format!("{name} {most}")).collect::<Vec<_>>())
        }))
    };
    let monitor = |most: &str| {
        format!(
            "overload_manager: {{refresh_interval: 1s, resource_monitors: [{{name: envoy.resource_monitors.global_downstream_max_connections, \
             typed_config: {{'@type': type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, \
             max_active_downstream_connections: {most}}}}}]}}\n"
        )
    };
    let layers = "layered_runtime: {layers: [{name: a, static_layer: {overload.global_downstream_max_connections: 7, envoy.resource_limits.listener.in.connection_limit: '3'}}, \
                  {name: b, static_layer: {envoy.resource_limits.listener.in.connection_limit: 4}}]}\n";
    let found = |common, by_listener: &[&str]| {
        Ok::<_, String>(Some((common, by_listener.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())))
    };
    assert_eq!(limits("{}"), Ok(None));
    assert_eq!(limits(layers), found(Some(7), &["in 4"]), "a later layer counts more");
    assert_eq!(limits(&monitor("100")), found(Some(100), &[]));
    assert_eq!(limits(&(monitor("100") + layers)), found(Some(100), &["in 4"]), "the monitor counts more");
    for (text, expected) in [
        (monitor("0"), "overload_manager.resource_monitors[0].typed_config.max_active_downstream_connections: is 0"),
        (
            monitor("1").replace(
                "]}",
                "], actions: [{name: envoy.overload_actions.shrink_heap, triggers: [{name: a, threshold: {value: 0.5}}]}]}",
            ),
            "overload_manager.actions: is set, but this proxy does not support it",
        ),
        (
            "overload_manager: {resource_monitors: [{name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig}}]}".into(),
            "overload_manager.resource_monitors[0].typed_config: is of type",
        ),
        (
            "layered_runtime: {layers: [{name: a, static_layer: {overload.global_downstream_max_connections: many}}]}".into(),
            "layered_runtime.layers[0].static_layer[\"overload.global_downstream_max_connections\"]: is no number of connections",
        ),
    ] {
        let error = limits(&text).unwrap_err();
        assert!(error.starts_with(&format!("envoy.yaml: {expected}")), "{error}");
    }
}

#[test]
fn refused_with_the_path() {
    let filter = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
    for (text, expected) in [
        (file("bogus: 1"), format!("{filter}: unrecognized field name 'bogus'")),
        (
            file("").replace("http.router.v3.Router", "http.nothing.v3.Nothing"),
            format!(
                "{filter}.http_filters[0].typed_config: is of type `envoy.extensions.filters.http.nothing.v3.Nothing`, which is no"
            ),
        ),
        (
            file("").replace("http.router.v3.Router", "http.ext_proc.v3.ExternalProcessor"),
            format!(
                "{filter}.http_filters[0].typed_config: is of type `type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor`"
            ),
        ),
        ("stats_sinks: [{name: a}]".into(), "stats_sinks: is set, but this proxy does not support it".into()),
        ("admin: {address: {pipe: {path: /tmp/x}}}".into(), "admin.address: is no IP address".into()),
        (
            "static_resources: {clusters: [{}]}".into(),
            "static_resources.clusters[0].name: is empty; expected at least 1 character".into(),
        ),
        ("- a".into(), "is no mapping".into()),
        ("a: [".into(), "".into()),
    ] {
        let error = error(&text);
        assert!(error.starts_with(&format!("envoy.yaml: {expected}")) && !error.contains('\n'), "{error}\n{expected}");
    }
}
