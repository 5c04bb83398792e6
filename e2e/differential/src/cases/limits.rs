//! Rate limits: those that a proxy keeps, and those of a service. How much at once, by the latency.

use crate::bootstrap::{HTTP2, cluster, http, indent};
use crate::case::{Case, Compare, Group, Request, case, get, once, post};

/// The groups.
pub fn groups() -> Vec<Group> {
    let mut groups = vec![local(), by_descriptor(), global()];
    groups.extend(concurrency());
    groups
}

const LOCAL: &str = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
const ON: &str = "filter_enabled: {default_value: {numerator: 100}}";
const ENFORCED: &str =
    "filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}";

/// Limits that do not fill up while the tests run.
fn bucket(max: u32) -> String {
    format!("token_bucket: {{max_tokens: {max}, fill_interval: 100000s}}")
}

/// A route that brings its own limits.
fn route(path: &str, limits: &str) -> String {
    format!(
        "- match: {{prefix: /{path}}}\n  route: {{cluster: one}}\n  typed_per_filter_config:\n    envoy.filters.http.local_ratelimit: {{'@type': {LOCAL}, stat_prefix: {path}, {limits}}}\n"
    )
}

fn every(routes: &str) -> String {
    format!("- name: every\n  domains: ['*']\n  routes:\n{}", indent(routes, 2))
}

fn filter(limits: &str) -> String {
    format!(
        "- name: envoy.filters.http.local_ratelimit\n  typed_config: {{'@type': {LOCAL}, stat_prefix: own{limits}}}"
    )
}

fn local() -> Group {
    let headers = "[{header: {key: x-many, value: 'yes'}}]";
    let mut routes: String = [
        ("one", format!("{}, {ENFORCED}", bucket(1))),
        ("two", format!("{}, {ENFORCED}", bucket(2))),
        ("unset", bucket(1)),
        ("counted", format!("{}, {ON}, request_headers_to_add_when_not_enforced: {headers}", bucket(1))),
        ("status", format!("{}, {ENFORCED}, status: {{code: ServiceUnavailable}}", bucket(1))),
        ("good", format!("{}, {ENFORCED}, status: {{code: OK}}", bucket(1))),
        ("headers", format!("{}, {ENFORCED}, response_headers_to_add: {headers}", bucket(1))),
        ("told", format!("{}, {ENFORCED}, enable_x_ratelimit_headers: DRAFT_VERSION_03", bucket(2))),
        ("grpc", format!("{}, {ENFORCED}", bucket(1))),
        ("exhausted", format!("{}, {ENFORCED}, rate_limited_as_resource_exhausted: true", bucket(1))),
        ("each", format!("{}, {ENFORCED}, local_rate_limit_per_downstream_connection: true", bucket(1))),
    ]
    .iter()
    .map(|(path, limits)| route(path, limits))
    .collect();
    routes += "- match: {prefix: /answer}\n  direct_response: {status: 200}\n  typed_per_filter_config:\n    envoy.filters.http.local_ratelimit: {'@type': ";
    routes += &format!("{LOCAL}, stat_prefix: answer, {}, {ENFORCED}}}\n", bucket(1));
    routes += "- match: {prefix: /}\n  route: {cluster: one}\n";
    let twice = |name: &'static str, request: Request| case(name, request).times(2);
    // Without a body: how much of one is read before an answer differs.
    let grpc = |path: &str| post(path, "").h2().header("content-type", "application/grpc");
    Group::new(
        "local rate limit",
        http(&every(&routes)).http_filters(&filter("")).text(),
        vec![
            twice("one", get("/one")),
            case("two", get("/two")).times(3),
            twice("no limit", get("/")),
            twice("not enabled", get("/unset")),
            twice("not enforced", get("/counted")),
            twice("another status", get("/status")),
            twice("a status that is no error", get("/good")),
            twice("headers", get("/headers")),
            case("what is left", get("/told")).times(3),
            Case::of("gRPC", vec![once(get("/grpc")), once(grpc("/grpc"))]),
            Case::of("gRPC, exhausted", vec![once(get("/exhausted")), once(grpc("/exhausted"))]),
            twice("each connection", get("/each")),
            twice("an answer of the route", get("/answer")),
            case("many at once", get("/two/more")).together(5).compare(Compare::Statuses),
        ],
    )
}

fn by_descriptor() -> Group {
    let entry = |key: &str, value: &str| format!("{{key: {key}, value: '{value}'}}");
    let descriptor = |entries: &[(&str, &str)], max: u32| {
        let entries: Vec<String> = entries.iter().map(|(key, value)| entry(key, value)).collect();
        format!("{{entries: [{}], {}}}", entries.join(", "), bucket(max))
    };
    let user = "actions: [{request_headers: {header_name: x-user, descriptor_key: user}}]";
    let anna = descriptor(&[("user", "anna")], 1);
    let with = |rules: &str, descriptors: &[String]| {
        format!("{}, {ENFORCED}, rate_limits: [{{{rules}}}], descriptors: [{}]", bucket(99), descriptors.join(", "))
    };
    let two = "actions: [{generic_key: {descriptor_value: all}}, {request_headers: {header_name: x-user, descriptor_key: user, skip_if_absent: true}}]";
    let routes: String = [
        ("user", with(user, std::slice::from_ref(&anna))),
        ("any", with(user, &[descriptor(&[("user", "")], 1)])),
        ("vip", with(user, &[descriptor(&[("user", "")], 1), descriptor(&[("user", "vip")], 2)])),
        ("pair", with(two, &[descriptor(&[("generic_key", "all"), ("user", "anna")], 1), descriptor(&[("generic_key", "all")], 2)])),
        ("path", with("actions: [{request_headers: {header_name: ':path', descriptor_key: path}}]", &[descriptor(&[("path", "/path?a")], 1)])),
        ("query", with("actions: [{query_parameters: {query_parameter_name: id, descriptor_key: id}}]", &[descriptor(&[("id", "a b")], 1)])),
        ("hits", with(&format!("{user}, hits_addend: {{number: 2}}"), &[descriptor(&[("user", "anna")], 3)])),
        ("told", format!("{}, enable_x_ratelimit_headers: DRAFT_VERSION_03", with(user, std::slice::from_ref(&anna)))),
        ("apart", format!("token_bucket: {{max_tokens: 1, fill_interval: 100000s}}, {ENFORCED}, always_consume_default_token_bucket: false, rate_limits: [{{{user}}}], descriptors: [{}]", descriptor(&[("user", "anna")], 3))),
        ("few", format!("{}, max_dynamic_descriptors: 1", with(user, &[descriptor(&[("user", "")], 1)]))),
    ]
    .iter()
    .map(|(path, limits)| route(path, limits))
    .collect();
    let old = format!(
        "- match: {{prefix: /old}}\n  route: {{cluster: one, rate_limits: [{{{user}}}, {{stage: 1, actions: [{{generic_key: {{descriptor_value: x}}}}]}}]}}\n  typed_per_filter_config:\n    envoy.filters.http.local_ratelimit: {{'@type': {LOCAL}, stat_prefix: old, {}, {ENFORCED}, descriptors: [{anna}, {}]}}\n",
        bucket(99),
        descriptor(&[("generic_key", "x")], 1)
    );
    let of = |path: &str, user: &str| once(get(path).header("x-user", user));
    Group::new(
        "local rate limit by descriptor",
        http(&every(&(routes + &old))).http_filters(&filter("")).text(),
        vec![
            Case::of("a value", vec![of("/user", "anna").times(2), of("/user", "bert").times(2), once(get("/user"))]),
            Case::of("any value", vec![of("/any", "anna").times(2), of("/any", "bert").times(2)]),
            Case::of("any value and one", vec![of("/vip", "vip").times(3), of("/vip", "bert").times(2)]),
            Case::of(
                "two entries",
                vec![of("/pair", "anna").times(2), of("/pair", "bert").times(3), once(get("/pair")).times(3)],
            ),
            case("the path", get("/path?a")).times(2),
            Case::of(
                "a query parameter",
                vec![once(get("/query?id=a%20b")).times(2), once(get("/query?x=1")).times(2)],
            ),
            Case::of("several hits", vec![of("/hits", "anna").times(2)]),
            Case::of("what is left", vec![of("/told", "anna").times(2), of("/told", "bert")]),
            Case::of("not the general one", vec![of("/apart", "anna").times(4), of("/apart", "bert").times(2)]),
            Case::of("few values", vec![of("/few", "anna"), of("/few", "bert"), of("/few", "anna")]),
            Case::of("the route's rules", vec![of("/old", "anna").times(2), of("/old", "bert").times(2)]),
        ],
    )
}

const GLOBAL: &str = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit";
const PER_ROUTE: &str = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute";

fn global() -> Group {
    let service = |cluster: &str| {
        format!(
            "rate_limit_service: {{transport_api_version: V3, grpc_service: {{envoy_grpc: {{cluster_name: {cluster}}}}}}}"
        )
    };
    let filter = |more: &str| {
        format!("- name: envoy.filters.http.ratelimit\n  typed_config: {{'@type': {GLOBAL}, domain: shop, {more}}}")
    };
    let header = "{request_headers: {header_name: x-user, descriptor_key: user}}";
    let user = format!("{{actions: [{header}]}}");
    let all = "{actions: [{source_cluster: {}}, {destination_cluster: {}}, {generic_key: {descriptor_value: a}}, {generic_key: {descriptor_key: own, descriptor_value: 'b%c'}}, {header_value_match: {descriptor_value: m, headers: [{name: x-user, present_match: true}]}}, {query_parameter_value_match: {descriptor_value: q, query_parameters: [{name: id, present_match: true}]}}, {masked_remote_address: {v4_prefix_mask_len: 8}}]}";
    let plain = |path: &str, rules: &str| {
        format!("- match: {{prefix: /{path}}}\n  route: {{cluster: one, rate_limits: [{rules}]}}\n")
    };
    let says = |path: &str, rules: &str, more: &str| {
        format!(
            "{}  typed_per_filter_config:\n    envoy.filters.http.ratelimit: {{'@type': {PER_ROUTE}, {more}}}\n",
            plain(path, rules)
        )
    };
    let mut routes = plain("user", &user);
    routes += &plain("all", all);
    routes += &plain("two", &format!("{user}, {{actions: [{{generic_key: {{descriptor_value: second}}}}]}}"));
    routes += &plain(
        "skip",
        "{actions: [{generic_key: {descriptor_value: a}}, {request_headers: {header_name: x-user, descriptor_key: user, skip_if_absent: true}}]}",
    );
    routes += &plain(
        "empty",
        "{actions: [{request_headers: {header_name: x-user, descriptor_key: user, skip_if_absent: true}}]}",
    );
    routes += &plain("stage", "{stage: 1, actions: [{generic_key: {descriptor_value: a}}]}");
    routes += &plain(
        "without",
        "{actions: [{header_value_match: {expect_match: false, descriptor_value: none, headers: [{name: x-user, present_match: true}]}}]}",
    );
    routes += "- match: {prefix: /none}\n  route: {cluster: one}\n";
    routes += "- match: {prefix: /include}\n  route: {cluster: one, include_vh_rate_limits: true, rate_limits: [{actions: [{generic_key: {descriptor_value: own}}]}]}\n";
    routes += "- match: {prefix: /answer}\n  direct_response: {status: 200}\n";
    routes += &says("more", &user, "vh_rate_limits: INCLUDE");
    routes += &says("ignore", "", "vh_rate_limits: IGNORE");
    routes += &says(
        "other",
        &user,
        "domain: other, rate_limits: [{actions: [{generic_key: {descriptor_value: theirs}}], hits_addend: {number: 3}}]",
    );
    let host = format!(
        "- name: every\n  domains: ['*']\n  rate_limits: [{{actions: [{{generic_key: {{descriptor_value: host}}}}]}}]\n  routes:\n{}",
        indent(&routes, 2)
    );
    let file = |more: &str| http(&host).http_filters(&filter(more));
    let listener = |port: &str, more: &str| {
        let manager = file(more).manager("");
        format!(
            "- name: {port}\n  address: {{socket_address: {{address: 127.0.0.1, port_value: ${port}}}}}\n  filter_chains:\n  - filters:\n{}\n",
            indent(&manager, 4)
        )
    };
    let limits = format!("{}\n", cluster("limits", &["B1"], HTTP2));
    let gone = format!("{}\n", cluster("gone", &["DEAD"], HTTP2));
    let of = |path: &str, user: &str| get(path).header("x-user", user);
    // As above.
    let grpc = |user: &str| post("/user", "").h2().header("content-type", "application/grpc").header("x-user", user);
    let deny = format!(
        "failure_mode_deny: true, timeout: 0.3s, rate_limited_as_resource_exhausted: true, disable_x_envoy_ratelimited_header: true, rate_limited_status: {{code: Forbidden}}, response_headers_to_add: [{{header: {{key: x-many, value: 'yes'}}}}], {}",
        service("limits")
    );
    Group::new(
        "global rate limit",
        file(&format!("enable_x_ratelimit_headers: DRAFT_VERSION_03, timeout: 0.4s, {}", service("limits")))
            .clusters(&(limits + &gone))
            .listeners(&listener("SECOND", &deny))
            .listeners(&listener(
                "THIRD",
                &format!("failure_mode_deny: true, status_on_error: {{code: BadGateway}}, {}", service("gone")),
            ))
            .text(),
        vec![
            case("one", of("/user", "anna")),
            case("no header", get("/user")),
            case("too many", of("/user", "over")),
            case("too many, with a body", of("/user", "raw")),
            case("too many, by gRPC", grpc("over")),
            case("too many, with a body by gRPC", grpc("raw")),
            case("what is left", of("/user", "told")),
            case("all kinds of entries", of("/all?id=7", "anna")),
            case("one kind is missing", get("/all?id=7")),
            case("two descriptors", of("/two", "anna")),
            case("one of two descriptors", get("/two")),
            case("left out", get("/skip")),
            case("nothing left", get("/empty")),
            case("another stage", get("/stage")),
            case("a header that is not there", get("/without")),
            case("a header that is there", of("/without", "x")),
            case("the virtual host's", get("/none")),
            case("both", get("/include")),
            case("both, by the filter", of("/more", "anna")),
            case("ignored", get("/ignore")),
            case("of the filter", of("/other", "anna")),
            case("an answer of the route", get("/answer")),
            case("no answer", of("/user", "hang")).about(400),
            case("an error", of("/user", "fail")),
            case("denied: one", of("/user", "anna").to("SECOND")),
            case("denied: too many", of("/user", "over").to("SECOND")),
            case("denied: too many, by gRPC", grpc("over").to("SECOND")),
            case("denied: no answer", of("/user", "hang").to("SECOND")).about(300),
            case("denied: an error", of("/user", "fail").to("SECOND")),
            case("denied: an error, by gRPC", grpc("fail").to("SECOND")),
            case("denied: nobody there", of("/user", "anna").to("THIRD")),
        ],
    )
}

const CONCURRENCY: &str =
    "type.googleapis.com/envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency";

/// A limit over a baseline that nothing takes as long as, and more of the filter's fields.
fn at_once(update: &str, limit: &str, min: u32, more: &str) -> String {
    format!(
        "- name: envoy.filters.http.adaptive_concurrency\n  typed_config:\n    '@type': {CONCURRENCY}\n    gradient_controller_config:\n      concurrency_limit_params: {{concurrency_update_interval: {update}{limit}}}\n      min_rtt_calc_params: {{fixed_value: 100s, min_concurrency: {min}}}\n{}",
        indent(more, 4)
    )
}

fn concurrency() -> Vec<Group> {
    let never = "100000s";
    let routes = "- match: {prefix: /here}\n  direct_response: {status: 200, body: {inline_string: here}}\n- match: {prefix: /}\n  route: {cluster: one}\n";
    let group =
        |name, filter: String, cases| Group::new(name, http(&every(routes)).http_filters(&filter).text(), cases);
    let held = || get("/held").asks("delay=4000");
    // A proxy needs a moment to see that the client before is gone.
    let taken = |name: &'static str, request: Request| Case::of(name, vec![once(request).after(200).during(held())]);
    let slow = || get("/").asks("delay=700");
    let off = "enabled: {default_value: false, runtime_key: x}";
    vec![
        group(
            "concurrency limit",
            at_once(never, "", 1, ""),
            vec![
                case("one after the other", get("/")).times(3),
                taken("one too many", get("/")),
                taken("by HTTP/2", get("/").h2()),
                taken("gRPC", post("/", "").h2().header("content-type", "application/grpc")),
                taken("an answer of the route", get("/here")),
                Case::of("answers of the route", vec![once(get("/here")).after(200).times(3)]),
                Case::of("a client that is gone", vec![once(get("/")).during(held()), once(get("/")).after(300)]),
                case("many at once", slow()).together(5).compare(Compare::Statuses),
            ],
        ),
        group(
            "concurrency limit of two",
            at_once(never, "", 2, "concurrency_limit_exceeded_status: {code: TooManyRequests}"),
            vec![
                taken("one is none too many", get("/")),
                Case::of("many at once", vec![once(slow()).after(200).together(5)]).compare(Compare::Statuses),
            ],
        ),
        group(
            "concurrency limit with a status that is no error",
            at_once(never, "", 1, "concurrency_limit_exceeded_status: {code: OK}"),
            vec![taken("one too many", get("/"))],
        ),
        group("concurrency limit that is off", at_once(never, "", 1, off), vec![taken("one too many", get("/"))]),
        group(
            "concurrency limit that moves",
            at_once("0.2s", ", max_concurrency_limit: 4", 1, ""),
            vec![
                // 1 * 2 + 1.41, then 3 * 2 + 2.45, of which there are 4 at most.
                Case::of("up", vec![once(get("/")), once(slow()).after(600).together(6)]).compare(Compare::Statuses),
                Case::of("no further", vec![once(slow()).after(900).together(6)]).compare(Compare::Statuses),
            ],
        ),
    ]
}
