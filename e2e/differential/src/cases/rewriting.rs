//! What routes make of paths and hosts, and what they answer themselves.

use crate::bootstrap::routes;
use crate::case::{Group, case, get, post};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![rewrites(), redirects(), direct_responses(), header_changes()]
}

fn rewrites() -> Group {
    let file = routes(
        "
- {match: {prefix: /prefix/}, route: {cluster: one, prefix_rewrite: /new/}}
- {match: {prefix: /strip}, route: {cluster: one, prefix_rewrite: /}}
- {match: {path_separated_prefix: /segment}, route: {cluster: one, prefix_rewrite: /other}}
- {match: {path: /exact}, route: {cluster: one, prefix_rewrite: /another}}
- {match: {safe_regex: {regex: '/match/.*'}}, route: {cluster: one, prefix_rewrite: /whole}}
- {match: {prefix: /regex/}, route: {cluster: one, regex_rewrite: {pattern: {regex: '^/regex/([^/]+)/(.*)$'}, substitution: '/\\2/\\1'}}}
- {match: {prefix: /all/}, route: {cluster: one, regex_rewrite: {pattern: {regex: 'a'}, substitution: 'b'}}}
- {match: {prefix: /host}, route: {cluster: one, host_rewrite_literal: new.example}}
- {match: {prefix: /auto}, route: {cluster: one, auto_host_rewrite: true}}
- {match: {prefix: /case, case_sensitive: false}, route: {cluster: one, prefix_rewrite: /lower}}
",
    );
    Group::new(
        "rewrites",
        file.text(),
        vec![
            case("prefix", get("/prefix/a?b=c")),
            case("prefix alone", get("/prefix/")),
            case("prefix away", get("/strip/a")),
            case("prefix away with what follows", get("/stripped")),
            case("prefix away, nothing left", get("/strip")),
            case("segments", get("/segment/a?b")),
            case("segments alone", get("/segment?b")),
            case("exact", get("/exact?b=c")),
            case("what a regex matched", get("/match/this?b=c")),
            case("regex", get("/regex/a/b/c?d=e")),
            case("regex that does not fit", get("/regex/a?d=e")),
            case("regex, everywhere", get("/all/aaa?a=a")),
            case("host", get("/host")),
            case("host by HTTP/2", get("/host").h2()),
            case("host of the endpoint", get("/auto")),
            case("prefix in any case", get("/CaSe/x")),
            case(
                "the path that was asked for cannot be made up",
                get("/prefix/a").header("x-envoy-original-path", "/x"),
            ),
        ],
    )
}

fn redirects() -> Group {
    let file = routes(
        "
- {match: {path: /host}, redirect: {host_redirect: new.example}}
- {match: {path: /port}, redirect: {port_redirect: 8443}}
- {match: {path: /host-port}, redirect: {host_redirect: new.example, port_redirect: 81}}
- {match: {path: /https}, redirect: {https_redirect: true}}
- {match: {path: /scheme}, redirect: {scheme_redirect: https}}
- {match: {path: /path}, redirect: {path_redirect: /new}}
- {match: {path: /path-query}, redirect: {path_redirect: '/new?a=b'}}
- {match: {prefix: /prefix/}, redirect: {prefix_rewrite: /new/}}
- {match: {path: /strip}, redirect: {path_redirect: /new, strip_query: true}}
- {match: {path: /302}, redirect: {path_redirect: /new, response_code: FOUND}}
- {match: {path: /303}, redirect: {path_redirect: /new, response_code: SEE_OTHER}}
- {match: {path: /307}, redirect: {path_redirect: /new, response_code: TEMPORARY_REDIRECT}}
- {match: {path: /308}, redirect: {path_redirect: /new, response_code: PERMANENT_REDIRECT}}
- {match: {path: /all}, redirect: {host_redirect: new.example, https_redirect: true, path_redirect: /new, response_code: FOUND}}
- match: {path: /headers}
  redirect: {path_redirect: /new}
  response_headers_to_add: [{header: {key: x-more, value: 'yes'}}]
",
    );
    Group::new(
        "redirects",
        file.text(),
        vec![
            case("host", get("/host?a=b")),
            case("host, ours had a port", get("/host").host("a.example:80")),
            case("port", get("/port")),
            case("port, ours had one", get("/port").host("a.example:90")),
            case("host and port", get("/host-port")),
            case("to https", get("/https?a=b")),
            case("to https from the usual port", get("/https").host("a.example:80")),
            case("to https from another port", get("/https").host("a.example:8080")),
            case("scheme", get("/scheme")),
            case("path", get("/path?a=b")),
            case("path with a query of its own", get("/path-query?c=d")),
            case("prefix", get("/prefix/a/b?c=d")),
            case("without query", get("/strip?a=b")),
            case("302", get("/302")),
            case("303", get("/303")),
            case("307", post("/307", "body")),
            case("308", get("/308")),
            case("all at once", get("/all").host("a.example:80")),
            case("with headers", get("/headers")),
            case("by HTTP/2", get("/all").h2()),
            case("of a HEAD", get("/path").method("HEAD")),
        ],
    )
}

fn direct_responses() -> Group {
    let file = routes(
        "
- {match: {path: /empty}, direct_response: {status: 204}}
- {match: {path: /text}, direct_response: {status: 503, body: {inline_string: 'not now'}}}
- {match: {path: /redirecting}, direct_response: {status: 301}}
- match: {path: /typed}
  direct_response: {status: 200, body: {inline_string: '{}'}}
  response_headers_to_add: [{header: {key: content-type, value: application/json}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
",
    );
    Group::new(
        "direct responses",
        file.text(),
        vec![
            case("without a body", get("/empty")),
            case("with a body", get("/text")),
            case("with a body, asked by HEAD", get("/text").method("HEAD")),
            case("with a body, by HTTP/2", get("/text").h2()),
            case("to a POST", post("/text", "a body that nobody reads")),
            case("without a place to go", get("/redirecting")),
            case("another type", get("/typed")),
            case("to gRPC", post("/text", "").h2().header("content-type", "application/grpc")),
            case("not found, to gRPC", post("/nothing", "").h2().header("content-type", "application/grpc+proto")),
        ],
    )
}

fn header_changes() -> Group {
    let file = crate::bootstrap::http(
        "
- name: every
  domains: ['*']
  request_headers_to_add:
  - {header: {key: x-level, value: host}}
  - {header: {key: x-host, value: host}, append_action: ADD_IF_ABSENT}
  request_headers_to_remove: [x-gone-host]
  response_headers_to_add:
  - {header: {key: x-level, value: host}}
  response_headers_to_remove: [x-away-host]
  routes:
  - match: {prefix: /actions}
    route: {cluster: one}
    request_headers_to_add:
    - {header: {key: x-append, value: ours}, append_action: APPEND_IF_EXISTS_OR_ADD}
    - {header: {key: x-absent, value: ours}, append_action: ADD_IF_ABSENT}
    - {header: {key: x-over, value: ours}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
    - {header: {key: x-old-over, value: ours}, append: false}
    - {header: {key: x-empty, value: ''}}
    - {header: {key: x-kept-empty, value: ''}, keep_empty_value: true}
    - {header: {key: x-percent, value: '100%%'}}
    response_headers_to_add:
    - {header: {key: x-append, value: ours}, append_action: APPEND_IF_EXISTS_OR_ADD}
    - {header: {key: x-absent, value: ours}, append_action: ADD_IF_ABSENT}
    - {header: {key: x-over, value: ours}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - match: {prefix: /levels}
    route:
      weighted_clusters:
        clusters:
        - name: one
          weight: 1
          request_headers_to_add: [{header: {key: x-level, value: cluster}}]
          request_headers_to_remove: [x-gone-cluster]
          response_headers_to_add: [{header: {key: x-level, value: cluster}}]
          response_headers_to_remove: [x-away-cluster]
    request_headers_to_add: [{header: {key: x-level, value: route}}]
    request_headers_to_remove: [x-gone-route]
    response_headers_to_add: [{header: {key: x-level, value: route}}]
    response_headers_to_remove: [x-away-route]
  - match: {prefix: /direct}
    direct_response: {status: 200}
    response_headers_to_add: [{header: {key: x-level, value: route}}]
  - match: {prefix: /both}
    route: {cluster: one}
    request_headers_to_add: [{header: {key: x-both, value: ours}}]
    request_headers_to_remove: [x-both]
  - match: {prefix: /}
    route: {cluster: one}
",
    );
    let all = "header=x-append:theirs;header=x-absent:theirs;header=x-over:theirs;header=x-over:again";
    let with = |path: &str| {
        ["x-append", "x-absent", "x-over", "x-old-over", "x-empty", "x-kept-empty"]
            .iter()
            .fold(get(path), |request, name| request.header(name, "theirs"))
    };
    Group::new(
        "header changes",
        file.text(),
        vec![
            case("actions, with none there", get("/actions")),
            case("actions, with all there", with("/actions").asks(all)),
            case("actions, by HTTP/2", with("/actions").asks(all).h2()),
            case("levels", get("/levels").header("x-level", "client").asks("header=x-level:origin")),
            case(
                "removals at all levels",
                get("/levels")
                    .header("x-gone-host", "1")
                    .header("X-Gone-Route", "1")
                    .header("x-gone-cluster", "1")
                    .asks("header=x-away-host:1;header=X-Away-Route:1;header=x-away-cluster:1;header=x-stays:1"),
            ),
            case("of a direct response", get("/direct")),
            case("of what was not found", get("/levels").host("")),
            case("added and removed", get("/both").header("x-both", "theirs")),
            case("if absent, at the host", get("/x").header("x-host", "client")),
            case("names keep their order", get("/x").header("b", "1").header("a", "2").header("b", "3")),
            case("written in capitals", get("/x").header("X-CAPITALS", "Value").asks("header=X-Answer:Yes")),
            case("hop by hop", get("/x").header("connection", "x-hop, keep-alive").header("x-hop", "1").header("keep-alive", "5")),
            case("te", get("/x").header("te", "trailers")),
            case("te, another", get("/x").header("te", "gzip")),
            case("proxy authorisation", get("/x").header("proxy-authorization", "Basic x").header("proxy-connection", "keep-alive")),
            case("cookies by HTTP/2", get("/x").header("cookie", "a=1").header("cookie", "b=2").h2()),
            case("an empty value", get("/x").header("x-nothing", "")),
            case("not ASCII", get("/x").header("x-latin", "gr\u{fc}n")),
            case("headers that only Envoy may set", get("/x").header("x-envoy-internal", "true").header("x-envoy-external-address", "1.2.3.4").header("x-envoy-decorator-operation", "x").header("x-envoy-downstream-service-node", "n").header("x-envoy-peer-metadata", "m")),
            case("answers that only Envoy may give", get("/x").asks("header=x-envoy-upstream-healthchecked-cluster:x;header=x-envoy-overloaded:true;header=x-envoy-immediate-health-check-fail:x;header=x-envoy-upstream-service-time:7;header=connection:x-y;header=keep-alive:3")),
            case("a server behind it", get("/x").asks("header=server:apache;header=date:Mon")),
        ],
    )
}
