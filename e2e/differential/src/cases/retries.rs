//! Retries and time limits.

use crate::bootstrap::{HTTP2, cluster, http, indent};
use crate::case::{Case, Compare, Group, Request, case, get, once, post};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![conditions(), wishes(), timeouts()]
}

const FAST: &str = "retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}";

fn with_routes(list: &[(&str, &str)]) -> String {
    let mut text = String::from("- name: every\n  domains: ['*']\n  routes:\n");
    for (path, route) in list {
        text += &indent(&format!("- match: {{prefix: /{path}/}}\n  route: {{{route}}}"), 2);
        text += "\n";
    }
    text
}

fn conditions() -> Group {
    let kinds = [
        ("5xx", "one", "retry_on: 5xx"),
        ("gateway-error", "one", "retry_on: gateway-error"),
        ("retriable-4xx", "one", "retry_on: retriable-4xx"),
        ("reset", "one", "retry_on: reset"),
        ("reset-before", "one", "retry_on: reset-before-request"),
        ("connect-failure", "dead", "retry_on: connect-failure"),
        ("shut", "shut", "retry_on: 'connect-failure,reset'"),
        ("refused-stream", "h2", "retry_on: refused-stream"),
        ("refused-other", "h2", "retry_on: connect-failure"),
        ("codes", "one", "retry_on: retriable-status-codes, retriable_status_codes: [418]"),
        ("headers", "one", "retry_on: retriable-headers, retriable_headers: [{name: x-again, present_match: true}]"),
        (
            "request-headers",
            "one",
            "retry_on: 5xx, retriable_request_headers: [{name: x-may, string_match: {exact: 'yes'}}]",
        ),
        ("cancelled", "h2", "retry_on: cancelled"),
        ("unavailable", "h2", "retry_on: unavailable"),
        ("internal", "h2", "retry_on: 'internal,deadline-exceeded,resource-exhausted'"),
        ("none", "one", "retry_on: '', num_retries: 3"),
        ("three", "one", "retry_on: 5xx, num_retries: 3"),
        ("zero", "one", "retry_on: 5xx, num_retries: 0"),
        (
            "others",
            "all",
            "retry_on: 5xx, num_retries: 2, host_selection_retry_max_attempts: 20, retry_host_predicate: [{name: p, typed_config: {'@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]",
        ),
        ("try-timeout", "one", "retry_on: 5xx, num_retries: 1, per_try_timeout: 0.2s"),
        ("try-idle", "one", "retry_on: 'reset,5xx', num_retries: 1, per_try_idle_timeout: 0.2s"),
    ];
    let routes: Vec<(&str, String)> = kinds
        .iter()
        .map(|(name, cluster, policy)| (*name, format!("cluster: {cluster}, retry_policy: {{{policy}, {FAST}}}")))
        .chain([("hedge", format!("cluster: one, hedge_policy: {{hedge_on_per_try_timeout: true}}, retry_policy: {{retry_on: 5xx, num_retries: 1, per_try_timeout: 0.2s, {FAST}}}"))])
        .chain([("kept", "cluster: kept".to_owned()), ("back-off", "cluster: one, retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s, max_interval: 0.002s}, rate_limited_retry_back_off: {reset_headers: [{name: retry-after, format: SECONDS}]}}".to_owned())])
        .collect();
    let routes: Vec<(&str, &str)> = routes.iter().map(|(name, route)| (*name, route.as_str())).collect();
    let asks = |path: &str, what: &str| get(&format!("/{path}/")).asks(what);
    let grpc = |path: &str, status: &str| {
        let what = format!(
            "try1?header=content-type:application/grpc;header=grpc-status:{status};body=|header=content-type:application/grpc;trailer=grpc-status:0"
        );
        post(&format!("/{path}/"), "x").h2().header("content-type", "application/grpc").asks(&what)
    };
    Group::new(
        "retries",
        http(&with_routes(&routes)).clusters(&cluster("kept", &["B1"], "")).text(),
        vec![
            case("5xx: 500", asks("5xx", "try1?status=500")),
            case("5xx: once by default", asks("5xx", "status=503")),
            case("5xx: 404 is none", asks("5xx", "status=404")),
            case("5xx: no answer", asks("5xx", "try1?close")),
            case("5xx: never an answer", asks("5xx", "close")),
            Case::of(
                "a connection that was used before",
                vec![once(get("/kept/")), once(asks("kept", "try1?close")).after(100)],
            ),
            case("5xx: with a body", post("/5xx/", "hello").asks("try1?status=503")),
            case("5xx: by HTTP/2", asks("5xx", "try1?status=503").h2()),
            case("5xx: broken off in the body", asks("5xx", "try1?partial")),
            case("gateway-error: 502", asks("gateway-error", "try1?status=502")),
            case("gateway-error: 500 is none", asks("gateway-error", "try1?status=500")),
            case("retriable-4xx: 409", asks("retriable-4xx", "try1?status=409")),
            case("retriable-4xx: 404 is none", asks("retriable-4xx", "try1?status=404")),
            case("reset", asks("reset", "try1?close")),
            case("reset: 503 is none", asks("reset", "try1?status=503")),
            case("reset-before-request: too late", asks("reset-before", "try1?close")),
            case("connect-failure", get("/connect-failure/")),
            case("a connection that ends at once", get("/shut/")),
            case("refused-stream", asks("refused-stream", "try1?h2reset=7")),
            case("refused-stream: another reset", asks("refused-stream", "try1?h2reset=2")),
            case("refused-stream: not asked for", asks("refused-other", "try1?h2reset=7")),
            case("status codes", asks("codes", "try1?status=418")),
            case("status codes: another", asks("codes", "try1?status=503")),
            case("headers", asks("headers", "try1?header=x-again:1")),
            case("headers: without", asks("headers", "try1?status=503")),
            case("request headers", asks("request-headers", "try1?status=503").header("x-may", "yes")),
            case("request headers: without", asks("request-headers", "try1?status=503")),
            case("cancelled", grpc("cancelled", "1")),
            case("unavailable", grpc("unavailable", "14")),
            case("unavailable: another", grpc("unavailable", "13")),
            case("internal", grpc("internal", "13")),
            case("deadline-exceeded", grpc("internal", "4")),
            case("no condition", asks("none", "try1?status=503")),
            case("three", asks("three", "status=503")),
            case("three, the third is good", asks("three", "try1?status=503|try2?status=500|")),
            case("zero", asks("zero", "status=503")),
            case("each try elsewhere", asks("others", "status=503")).compare(Compare::AnyBackend),
            case("per try", asks("try-timeout", "try1?delay=1500")).about(200),
            case("per try, both", asks("try-timeout", "delay=1500")).about(400),
            case("per try, idle", asks("try-idle", "try1?stall")),
            case("per try, idle before the head", asks("try-idle", "try1?hang")).about(200),
            case("hedged: the second is quicker", asks("hedge", "try1?delay=3000")).about(200),
            case("hedged: the first is quicker", asks("hedge", "try1?delay=700|try2?delay=3000")).about(700),
            case("hedged: the second is bad", asks("hedge", "try1?delay=700|try2?status=503")).about(700),
            case("hedged: the second ends without an answer", asks("hedge", "try1?delay=700|try2?close")).about(700),
            case("hedged: the second is not to be repeated", asks("hedge", "try1?delay=3000|try2?status=404"))
                .about(200),
            case("hedged: the first is bad", asks("hedge", "try1?status=503")),
            case("hedged: the first is bad, later", asks("hedge", "try1?delay=500;status=503|try2?delay=1000"))
                .about(1200),
            case("hedged: both are bad", asks("hedge", "delay=400;status=503")).about(600),
            case("the answer says when", asks("back-off", "try1?status=503;header=retry-after:1")).about(1000),
        ],
    )
}

/// What a client may ask for by headers.
fn wishes() -> Group {
    let list = [
        ("plain", "cluster: one"),
        ("h2", "cluster: h2"),
        (
            "policy",
            "cluster: one, retry_policy: {retry_on: gateway-error, num_retries: 1, retry_back_off: {base_interval: 0.001s}}",
        ),
    ];
    let asks = |what: &str| get("/plain/").asks(what);
    let trusted = ("x-envoy-retry-on", "5xx");
    let one = |request: Request| request.header(trusted.0, trusted.1);
    let cases = |outside: bool| -> Vec<Case> {
        let name = |inside: &'static str, edge: &'static str| if outside { edge } else { inside };
        vec![
            case(name("retry-on", "from outside: retry-on"), one(asks("try1?status=503"))),
            case(
                name("retry-on with a number", "from outside: number"),
                one(asks("status=503")).header("x-envoy-max-retries", "3"),
            ),
            case(
                name("timeout", "from outside: timeout"),
                asks("delay=400").header("x-envoy-upstream-rq-timeout-ms", "200"),
            ),
        ]
    };
    let mut all = cases(false);
    all.extend(cases(true).into_iter().map(|case| Case {
        steps: case.steps.into_iter().map(|step| once(step.request.to("SECOND"))).collect(),
        ..case
    }));
    all.extend(vec![
        case("retry-on beside a policy", get("/policy/").asks("try1?status=500").header("x-envoy-retry-on", "5xx")),
        case("number beside a policy", get("/policy/").asks("status=503").header("x-envoy-max-retries", "2")),
        case(
            "retry-on with codes",
            asks("try1?status=418")
                .header("x-envoy-retry-on", "retriable-status-codes")
                .header("x-envoy-retriable-status-codes", "418,419"),
        ),
        case(
            "retry-on with header names",
            asks("try1?header=x-again:1")
                .header("x-envoy-retry-on", "retriable-headers")
                .header("x-envoy-retriable-header-names", "x-again"),
        ),
        case(
            "retry-grpc-on",
            post("/h2/", "")
                .h2()
                .header("x-envoy-retry-grpc-on", "unavailable")
                .header("content-type", "application/grpc")
                .asks("try1?header=grpc-status:14;body=|body=;header=grpc-status:0"),
        ),
        case("an unknown condition", asks("try1?status=503").header("x-envoy-retry-on", "whenever")),
        case("a number that is none", one(asks("status=503")).header("x-envoy-max-retries", "many")),
        case("per try", one(asks("try1?delay=1500")).header("x-envoy-upstream-rq-per-try-timeout-ms", "200"))
            .about(200),
        case(
            "a different answer to a timeout",
            asks("delay=1500")
                .header("x-envoy-upstream-rq-timeout-ms", "200")
                .header("x-envoy-upstream-rq-timeout-alt-response", "1"),
        )
        .about(200),
        case("hedging", asks("").header("x-envoy-hedge-on-per-try-timeout", "true")),
        case("a timeout that is none", asks("").header("x-envoy-upstream-rq-timeout-ms", "soon")),
        case("expected timeout is not the client's to say", asks("").header("x-envoy-expected-rq-timeout-ms", "17")),
        case("attempt count is not the client's to say", asks("").header("x-envoy-attempt-count", "17")),
    ]);
    let inside = "internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}\nuse_remote_address: true";
    Group::new(
        "wishes",
        http(&with_routes(&list)).second("SECOND", "use_remote_address: true").filter(inside).text(),
        all,
    )
}

fn timeouts() -> Group {
    let list = [
        ("route", "cluster: one, timeout: 0.3s"),
        ("never", "cluster: one, timeout: 0s"),
        ("idle", "cluster: one, timeout: 0s, idle_timeout: 0.3s"),
        ("h2idle", "cluster: h2, timeout: 0s, idle_timeout: 0.3s"),
        ("grpc", "cluster: h2, timeout: 0s, max_stream_duration: {grpc_timeout_header_max: 1s}"),
        ("grpc-short", "cluster: h2, timeout: 0s, max_stream_duration: {grpc_timeout_header_max: 0.3s}"),
        (
            "grpc-offset",
            "cluster: h2, timeout: 0s, max_stream_duration: {grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 0.2s}",
        ),
        ("stream", "cluster: one, timeout: 0s, max_stream_duration: {max_stream_duration: 0.3s}"),
        ("lost", "cluster: lost, timeout: 5s"),
        (
            "retried",
            "cluster: one, timeout: 0.4s, retry_policy: {retry_on: 5xx, num_retries: 9, per_try_timeout: 0.15s, retry_back_off: {base_interval: 0.001s}}",
        ),
    ];
    let asks = |path: &str, what: &str| get(&format!("/{path}/")).asks(what);
    let grpc = |path: &str, what: &str| {
        post(&format!("/{path}/"), "x").h2().header("content-type", "application/grpc").asks(what)
    };
    let lost = "- name: lost
  connect_timeout: 0.3s
  load_assignment: {cluster_name: lost, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 192.0.2.1, port_value: 9}}}}]}]}";
    Group::new(
        "timeouts",
        http(&with_routes(&list))
            .clusters(&format!("{lost}\n{}", cluster("spare", &["B1"], HTTP2)))
            .filter("stream_idle_timeout: 2s")
            .text(),
        vec![
            case("route", asks("route", "delay=1500")).about(300),
            case("route, by HTTP/2", asks("route", "delay=1500").h2()).about(300),
            case("route, in the body", asks("route", "stall;bytes=100")).about(300),
            case("route, in the body by HTTP/2", asks("route", "stall;bytes=100").h2()).about(300),
            case("route, in time", asks("route", "")),
            case("none", asks("never", "delay=600")).about(600),
            case("idle before the head", asks("idle", "hang")).about(300),
            case("idle in the body", asks("idle", "stall;bytes=100")).about(300),
            case("idle in the body, from HTTP/2", asks("h2idle", "stall;bytes=100").h2()).about(300),
            case("grpc-timeout", grpc("grpc", "delay=1500").header("grpc-timeout", "300m")).about(300),
            case("grpc-timeout above the longest", grpc("grpc-short", "delay=1500").header("grpc-timeout", "20S"))
                .about(300),
            case("grpc-timeout with an offset", grpc("grpc-offset", "delay=1500").header("grpc-timeout", "500m"))
                .about(300),
            case(
                "grpc-timeout that is none",
                grpc("grpc", "body=;header=grpc-status:0").header("grpc-timeout", "soon"),
            ),
            case("no grpc-timeout", grpc("grpc", "body=;header=grpc-status:0")),
            case("stream", asks("stream", "hang")).about(300),
            case("stream, in the body", asks("stream", "stall;bytes=100")).about(300),
            case("of all tries", asks("retried", "hang")).about(400),
        ],
    )
}
