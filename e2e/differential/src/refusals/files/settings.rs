//! Filters and routes.

use super::{Wrong, good, refused, replaced, with_route, wrong};
use crate::bootstrap::http;

const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.http";
const BUFFER: &str = "buffer.v3.Buffer";
const LIMIT: &str = "local_ratelimit.v3.LocalRateLimit";
const FAULT: &str = "fault.v3.HTTPFault";
const MUTATION: &str = "header_mutation.v3.HeaderMutation";

const NO_ROUTER: &str = "A list of HTTP filters ends with the router; Envoy takes an empty one";
pub const BAD_RANGE: &str = "A range of addresses with more bits than an address has is refused";
const BAD_PORT: &str = "A redirect to a port above 65535 is refused";

fn with_filter(name: &str, kind: &str, more: &str) -> String {
    good().http_filters(&filter(name, kind, more)).text()
}

fn filter(name: &str, kind: &str, more: &str) -> String {
    format!("- {{name: {name}, typed_config: {{'@type': {FILTERS}.{kind}{more}}}}}\n")
}

pub fn http_filters() -> Vec<Wrong> {
    let limit = |bucket: &str| with_filter("l", LIMIT, &format!(", stat_prefix: l, token_bucket: {bucket}"));
    let fault = |what: &str| with_filter("f", FAULT, &format!(", {what}"));
    let share = "percentage: {numerator: 1}";
    vec![
        wrong("filters: a router before another", with_filter("first", "router.v3.Router", "")),
        wrong("filters: without settings", good().http_filters("- {name: x}").text()),
        wrong("filters: without a name", with_filter("''", BUFFER, ", max_request_bytes: 1")),
        wrong("filters: buffer of nothing", with_filter("b", BUFFER, ", max_request_bytes: 0")),
        wrong("filters: buffer without a bound", with_filter("b", BUFFER, "")),
        wrong("filters: a bucket that fills at once", limit("{max_tokens: 1, fill_interval: 0.001s}")),
        wrong("filters: a bucket without an interval", limit("{max_tokens: 1}")),
        wrong(
            "filters: a limit without a prefix",
            with_filter("l", LIMIT, ", token_bucket: {max_tokens: 1, fill_interval: 1s}"),
        ),
        wrong(
            "filters: a global limit without a domain",
            with_filter(
                "g",
                "ratelimit.v3.RateLimit",
                ", rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: one}}}",
            ),
        ),
        wrong(
            "filters: a global limit by an older interface",
            with_filter(
                "g",
                "ratelimit.v3.RateLimit",
                ", domain: a, rate_limit_service: {transport_api_version: V2, grpc_service: {envoy_grpc: {cluster_name: one}}}",
            ),
        ),
        wrong("filters: a global limit without a service", with_filter("g", "ratelimit.v3.RateLimit", ", domain: a")),
        wrong("filters: an abort with status 99", fault(&format!("abort: {{http_status: 99, {share}}}"))),
        wrong("filters: an abort with status 600", fault(&format!("abort: {{http_status: 600, {share}}}"))),
        wrong("filters: an abort with nothing", fault(&format!("abort: {{{share}}}"))),
        wrong("filters: a delay of nothing", fault(&format!("delay: {{fixed_delay: 0s, {share}}}"))),
        wrong("filters: a delay without a length", fault(&format!("delay: {{{share}}}"))),
        wrong("filters: a compressor without a library", with_filter("c", "compressor.v3.Compressor", "")),
        wrong(
            "filters: gzip that looks back too far",
            with_filter(
                "c",
                "compressor.v3.Compressor",
                ", compressor_library: {name: z, typed_config: {'@type': type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip, window_bits: 99}}",
            ),
        ),
        wrong(
            "filters: a mutation without an action",
            with_filter("h", MUTATION, ", mutations: {request_mutations: [{}]}"),
        ),
        wrong(
            "filters: a mutation of no header",
            with_filter("h", MUTATION, ", mutations: {request_mutations: [{append: {header: {key: '', value: a}}}]}"),
        ),
        wrong("filters: geoip without a provider", with_filter("g", "geoip.v3.Geoip", "")),
        wrong(
            "filters: adaptive concurrency without a window",
            with_filter("a", "adaptive_concurrency.v3.AdaptiveConcurrency", ", gradient_controller_config: {}"),
        ),
        wrong(
            "filters: settings of a route that say nothing",
            with_route(&format!(
                "- {{match: {{prefix: /}}, route: {{cluster: one}}, typed_per_filter_config: {{b: {{'@type': {FILTERS}.buffer.v3.BufferPerRoute}}}}}}"
            )),
        ),
        wrong("filters: an access log of an unknown operator", replaced(&good(), "%RESPONSE_CODE%", "%NO_SUCH%")),
        wrong(
            "filters: an access log with an open operator",
            replaced(&good(), "%CONNECTION_TERMINATION_DETAILS%", "%PROTOCOL"),
        ),
        wrong("filters: an access log without a file", replaced(&good(), "path: $LOG", "path: ''")),
    ]
}

pub fn manager() -> Vec<Wrong> {
    let with = |more: &str| good().filter(more).text();
    let after = filter("b", BUFFER, ", max_request_bytes: 1");
    vec![
        refused("http: no router", NO_ROUTER, with_router(|_| Vec::new())),
        wrong("http: a filter after the router", with_router(|router| vec![router.to_owned(), after.clone()])),
        wrong("http: no prefix for statistics", replaced(&good(), "stat_prefix: http", "stat_prefix: ''")),
        wrong("http: no routes", without_table("")),
        wrong("http: routes by discovery, but no place", without_table("rds: {route_config_name: a}")),
        wrong("http: heads of no bytes", with("max_request_headers_kb: 0")),
        wrong("http: heads of 10 MB", with("max_request_headers_kb: 10000")),
        wrong("http: no headers at all", with("common_http_protocol_options: {max_headers_count: 0}")),
        wrong("http: a window of a byte", with("http2_protocol_options: {initial_stream_window_size: 1}")),
        wrong("http: a window of 4 GiB", with("http2_protocol_options: {initial_stream_window_size: 4294967295}")),
        wrong("http: no streams", with("http2_protocol_options: {max_concurrent_streams: 0}")),
        wrong("http: a negative idle time", with("stream_idle_timeout: -1s")),
        wrong("http: a bad name for the server", with("server_name: \"a\\nb\"")),
        wrong(
            "http: an upgrade twice",
            with("upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: WebSocket}]"),
        ),
        refused(
            "http: a bad range of inner addresses",
            BAD_RANGE,
            with("internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 33}]}"),
        ),
        wrong(
            "http: inner addresses that are none",
            with("internal_address_config: {cidr_ranges: [{address_prefix: inside, prefix_len: 8}]}"),
        ),
        wrong("http: via with a line feed", with("via: \"a\\nb\"")),
        wrong("http: two ways to strip ports", with("strip_matching_host_port: true\nstrip_any_host_port: true")),
        wrong("http: more than all traces", with("tracing: {random_sampling: {value: 101}}")),
    ]
}

/// The file with something else in the place of its router, each as an item of the list of filters.
fn with_router(instead: impl Fn(&str) -> Vec<String>) -> String {
    let text = good().text();
    let head = text.find("- name: router").unwrap_or_default();
    let end = head + text[head..].find("route_config:").unwrap_or_default();
    let start = text[..head].rfind('\n').unwrap_or_default();
    let further_in = " ".repeat(head - start - 1);
    let items = instead(text[head..end].trim_end());
    let items: String = items.iter().map(|item| format!("\n{further_in}{}", item.trim_end())).collect();
    let rest = text[..end].rfind('\n').unwrap_or_default();
    format!("{}{items}{}", &text[..start], &text[rest..])
}

/// The file with something else in the place of its routes.
fn without_table(instead: &str) -> String {
    let text = good().text();
    let start = text.find("route_config:").unwrap_or_default();
    let end = text.find("  clusters:").unwrap_or_default();
    format!("{}{instead}\n{}", &text[..start], &text[end..])
}

pub fn hosts() -> Vec<Wrong> {
    let host = |(name, domains): &(&str, &str)| {
        format!(
            "- {{name: {name}, domains: [{domains}], routes: [{{match: {{prefix: /}}, route: {{cluster: one}}}}]}}\n"
        )
    };
    let hosts = |list: &[(&str, &str)]| http(&list.iter().map(host).collect::<String>()).text();
    vec![
        wrong("hosts: without a name", hosts(&[("''", "'*'")])),
        wrong("hosts: without domains", hosts(&[("a", "")])),
        wrong("hosts: a domain with a line feed", hosts(&[("a", "\"a\\nb\"")])),
        wrong("hosts: a domain twice", hosts(&[("a", "a.example"), ("b", "a.example")])),
        wrong("hosts: a domain twice, in other letters", hosts(&[("a", "a.example"), ("b", "A.Example")])),
        wrong("hosts: every domain twice", hosts(&[("a", "'*'"), ("b", "'*'")])),
    ]
}

pub fn matches() -> Vec<Wrong> {
    let matched = |rule: &str| with_route(&format!("- {{match: {{{rule}}}, route: {{cluster: one}}}}"));
    vec![
        wrong("matches: none", with_route("- {route: {cluster: one}}")),
        wrong("matches: empty", matched("")),
        wrong("matches: a bad pattern", matched("safe_regex: {regex: '/(a'}")),
        wrong("matches: an empty pattern", matched("safe_regex: {regex: ''}")),
        wrong("matches: a pattern that looks back", matched("safe_regex: {regex: '/(a)\\1'}")),
        wrong("matches: a prefix that ends with a slash", matched("path_separated_prefix: /a/")),
        wrong("matches: a prefix with a query", matched("path_separated_prefix: '/a?b'")),
        wrong("matches: a prefix without a slash", matched("path_separated_prefix: a")),
        wrong("matches: a header without a name", matched("prefix: /, headers: [{present_match: true}]")),
        wrong(
            "matches: a header with a line feed",
            matched("prefix: /, headers: [{name: \"a\\nb\", present_match: true}]"),
        ),
        wrong(
            "matches: a header by a bad pattern",
            matched("prefix: /, headers: [{name: a, string_match: {safe_regex: {regex: '['}}}]"),
        ),
        wrong("matches: a header by nothing", matched("prefix: /, headers: [{name: a, string_match: {}}]")),
        wrong(
            "matches: a header by an empty prefix",
            matched("prefix: /, headers: [{name: a, string_match: {prefix: ''}}]"),
        ),
        wrong("matches: a parameter without a name", matched("prefix: /, query_parameters: [{present_match: true}]")),
        wrong("matches: a share without a value", matched("prefix: /, runtime_fraction: {runtime_key: a}")),
        wrong(
            "matches: a share of an unknown kind",
            matched("prefix: /, runtime_fraction: {default_value: {numerator: 1, denominator: 9}}"),
        ),
    ]
}

fn action(more: &str) -> String {
    with_route(&format!("- {{match: {{prefix: /}}, route: {{cluster: one{more}}}}}"))
}

pub fn forwarding() -> Vec<Wrong> {
    let weighted = |list: &str| {
        with_route(&format!("- {{match: {{prefix: /}}, route: {{weighted_clusters: {{clusters: [{list}]}}}}}}"))
    };
    let retry = |more: &str| action(&format!(", retry_policy: {{retry_on: 5xx, {more}}}"));
    vec![
        wrong("actions: none", with_route("- {match: {prefix: /}}")),
        wrong("actions: to no cluster", with_route("- {match: {prefix: /}, route: {}}")),
        wrong("actions: to a cluster without a name", with_route("- {match: {prefix: /}, route: {cluster: ''}}")),
        wrong(
            "actions: to a cluster that is not there",
            with_route("- {match: {prefix: /}, route: {cluster: nobody}}"),
        ),
        wrong(
            "actions: a share to a cluster that is not there",
            weighted("{name: one, weight: 1}, {name: nobody, weight: 1}"),
        ),
        wrong(
            "actions: a copy to a cluster that is not there",
            action(", request_mirror_policies: [{cluster: nobody}]"),
        ),
        wrong("actions: a copy to nobody", action(", request_mirror_policies: [{cluster: ''}]")),
        wrong("actions: weights of 0", weighted("{name: one, weight: 0}, {name: two, weight: 0}")),
        wrong("actions: no weighted clusters", weighted("")),
        wrong("actions: a weight for nobody", weighted("{weight: 1}")),
        wrong(
            "actions: weights above all bounds",
            weighted("{name: one, weight: 4294967295}, {name: two, weight: 4294967295}"),
        ),
        wrong("actions: a negative timeout", action(", timeout: -1s")),
        wrong(
            "actions: two ways to rewrite a path",
            action(", prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}, substitution: b}"),
        ),
        wrong(
            "actions: a rewrite by a bad pattern",
            action(", regex_rewrite: {pattern: {regex: '('}, substitution: b}"),
        ),
        wrong("actions: a rewrite without a pattern", action(", regex_rewrite: {substitution: b}")),
        wrong("actions: a prefix with a line feed", action(", prefix_rewrite: \"/a\\nb\"")),
        wrong("actions: a host with a line feed", action(", host_rewrite_literal: \"a\\nb\"")),
        wrong("actions: a back-off of nothing", retry("retry_back_off: {base_interval: 0s}")),
        wrong("actions: a back-off that shrinks", retry("retry_back_off: {base_interval: 1s, max_interval: 0.5s}")),
        wrong("actions: a back-off without a base", retry("retry_back_off: {max_interval: 1s}")),
        wrong("actions: a retry on a header without a name", retry("retriable_headers: [{present_match: true}]")),
        wrong("actions: a hash of a header without a name", action(", hash_policy: [{header: {header_name: ''}}]")),
        wrong("actions: a hash of nothing", action(", hash_policy: [{}]")),
        wrong("actions: a hash of a cookie without a name", action(", hash_policy: [{cookie: {ttl: 1s}}]")),
    ]
}

pub fn answers() -> Vec<Wrong> {
    let answer = |what: &str| with_route(&format!("- {{match: {{prefix: /}}, {what}}}"));
    let beside = |more: &str| answer(&format!("route: {{cluster: one}}, {more}"));
    let header = |key: &str, value: &str| {
        beside(&format!("request_headers_to_add: [{{header: {{key: {key}, value: {value}}}}}]"))
    };
    vec![
        wrong("answers: status 99", answer("direct_response: {status: 99}")),
        wrong("answers: status 600", answer("direct_response: {status: 600}")),
        wrong("answers: no status", answer("direct_response: {}")),
        wrong(
            "answers: a file that is not there",
            answer("direct_response: {status: 200, body: {filename: /no/such/file}}"),
        ),
        wrong("redirects: an unknown kind", answer("redirect: {host_redirect: a, response_code: 9}")),
        refused("redirects: a port above all", BAD_PORT, answer("redirect: {port_redirect: 70000}")),
        wrong("redirects: a line feed", answer("redirect: {host_redirect: \"a\\nb\"}")),
        wrong("headers: without a name", header("''", "a")),
        wrong("headers: a value with a line feed", header("a", "\"b\\nc\"")),
        wrong("headers: a name with a line feed", header("\"a\\nb\"", "c")),
        wrong("headers: none", beside("request_headers_to_add: [{}]")),
        wrong("headers: a pseudo-header is added", header("':path'", "/a")),
        wrong("headers: the host is removed", beside("request_headers_to_remove: [host]")),
        wrong("headers: a pseudo-header is removed", beside("request_headers_to_remove: [':path']")),
        wrong("headers: an unknown operator", header("a", "'%NO_SUCH%'")),
        wrong("headers: an open operator", header("a", "'%PROTOCOL'")),
    ]
}
