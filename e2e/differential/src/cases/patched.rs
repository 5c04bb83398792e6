//! What people use EnvoyFilters for most, as the control plane applies it.

use crate::bootstrap::{access_log, indent, routes};
use crate::case::{Case, Group, Step, case, get, once, post};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![filters(), merges(), limits()]
}

/// An EnvoyFilter with these patches.
fn envoy_filter(patches: &[String]) -> String {
    let items: String = patches.iter().map(|patch| format!("{}\n", indent(patch, 2))).collect();
    format!(
        "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: f, namespace: istio-system}}\nspec:\n  configPatches:\n{items}"
    )
}

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// A patch of the HTTP filters, before the router.
fn before_router(name: &str, kind: &str, more: &str) -> String {
    format!(
        "- applyTo: HTTP_FILTER
  match: {{context: GATEWAY, listener: {{filterChain: {{filter: {{name: {MANAGER}, subFilter: {{name: envoy.filters.http.router}}}}}}}}}}
  patch:
    operation: INSERT_BEFORE
    value: {{name: {name}, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.{kind}{more}}}}}"
    )
}

/// A patch of the HTTP connection manager.
fn manager(more: &str) -> String {
    format!(
        "- applyTo: NETWORK_FILTER
  match: {{context: GATEWAY, listener: {{filterChain: {{filter: {{name: {MANAGER}}}}}}}}}
  patch:
    operation: MERGE
    value:
      name: {MANAGER}
      typed_config:
        '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
{}",
        indent(more, 8)
    )
}

fn other(place: &str, rule: &str, operation: &str, value: &str) -> String {
    format!(
        "- applyTo: {place}\n  match: {{context: GATEWAY{rule}}}\n  patch: {{operation: {operation}, value: {value}}}"
    )
}

const ROUTES: &str = "
- {name: slow, match: {prefix: /slow}, route: {cluster: one}}
- {name: rest, match: {prefix: /}, route: {cluster: one}}
";

fn filters() -> Group {
    let mutation = ", mutations: {request_mutations: [{append: {header: {key: x-by, value: filter}}}, {remove: x-secret}], response_mutations: [{append: {header: {key: x-seen, value: 'yes'}}}]}";
    let patches = [
        before_router("buffer", "buffer.v3.Buffer", ", max_request_bytes: 100"),
        before_router("headers", "header_mutation.v3.HeaderMutation", mutation),
        before_router("web", "grpc_web.v3.GrpcWeb", ""),
    ];
    Group::new(
        "EnvoyFilters, HTTP filters",
        routes(ROUTES).text(),
        vec![
            case("headers are changed", get("/").header("x-secret", "1").header("x-by", "me")),
            case("a body", post("/", "hello")),
            case("too long a body", post("/", &"x".repeat(200))),
            case("by HTTP/2", get("/").h2()),
        ],
    )
    .patched(envoy_filter(&patches))
}

fn merges() -> Group {
    let patches = [
        manager("stream_idle_timeout: 0.5s\ncommon_http_protocol_options: {idle_timeout: 30s}\nserver_name: patched"),
        manager(&access_log()),
        other(
            "VIRTUAL_HOST",
            ", routeConfiguration: {vhost: {name: every}}",
            "MERGE",
            "{response_headers_to_add: [{header: {key: x-host, value: every}}]}",
        ),
        other(
            "HTTP_ROUTE",
            ", routeConfiguration: {vhost: {name: every, route: {name: rest}}}",
            "MERGE",
            "{route: {timeout: 0.3s}, request_headers_to_add: [{header: {key: x-route, value: rest}}]}",
        ),
        other(
            "HTTP_ROUTE",
            ", routeConfiguration: {vhost: {name: every}}",
            "INSERT_FIRST",
            "{name: own, match: {prefix: /own}, direct_response: {status: 418, body: {inline_string: own}}}",
        ),
        other(
            "HTTP_ROUTE",
            ", routeConfiguration: {vhost: {name: every}}",
            "INSERT_FIRST",
            "{name: added, match: {prefix: /added}, route: {cluster: added}}",
        ),
        other(
            "CLUSTER",
            "",
            "ADD",
            "{name: added, connect_timeout: 1s, load_assignment: {cluster_name: added, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $B2}}}}]}]}}",
        ),
    ];
    Group::new(
        "EnvoyFilters, merges",
        routes(ROUTES).text(),
        vec![
            case("headers, and a line in each log", get("/")),
            case("the route's time", get("/").asks("delay=2000")).about(300),
            case("the stream's time", get("/slow").asks("delay=2000")).about(500),
            case("a route of its own", get("/own")),
            case("a cluster of its own", get("/added")),
        ],
    )
    .patched(envoy_filter(&patches))
}

fn limits() -> Group {
    let limit = ", stat_prefix: own, token_bucket: {max_tokens: 2, tokens_per_fill: 2, fill_interval: 600s}, filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}, response_headers_to_add: [{append_action: OVERWRITE_IF_EXISTS_OR_ADD, header: {key: x-local-rate-limit, value: 'true'}}]";
    let patches = [before_router("envoy.filters.http.local_ratelimit", "local_ratelimit.v3.LocalRateLimit", limit)];
    let steps: Vec<Step> = (0..4).map(|_| once(get("/"))).collect();
    Group::new("EnvoyFilters, local rate limit", routes(ROUTES).text(), vec![Case::of("two, then no more", steps)])
        .patched(envoy_filter(&patches))
}
