//! What an edge does: addresses, paths, hosts, headers of its own.

use crate::bootstrap::{Bootstrap, routes};
use crate::case::{Group, case, get, raw};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![addresses(), hops(), paths(), rejecting(), forwarding(), limits(), identity(), plain()]
}

const ROUTES: &str = "
- {match: {prefix: /a}, route: {cluster: one}}
- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: other}}}
";

fn file() -> Bootstrap {
    routes(ROUTES)
}

/// Without anything set: an inner proxy.
fn plain() -> Group {
    let all = |path: &str| {
        get(path)
            .header("x-forwarded-for", "1.2.3.4, 5.6.7.8")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "front.example")
            .header("x-forwarded-port", "444")
            .header("x-request-id", "own")
    };
    Group::new(
        "inner",
        file().text(),
        vec![
            case("nothing there", get("/a")),
            case("everything there", all("/a")),
            case("everything there, by HTTP/2", all("/a").h2()),
            case("a proto that is none", get("/a").header("x-forwarded-proto", "ftp")),
            case("the client's certificate", get("/a").header("x-forwarded-client-cert", "By=x")),
            case("absolute form", raw("GET http://b.example/a HTTP/1.1\r\nhost: a.example\r\n{id}\r\n\r\n")),
            case("absolute form, https", raw("GET https://b.example/a HTTP/1.1\r\nhost: a.example\r\n{id}\r\n\r\n")),
            case(
                "absolute form without a path",
                raw("GET http://b.example HTTP/1.1\r\nhost: a.example\r\n{id}\r\n\r\n"),
            ),
            case("dots stay", get("/a/../b")),
            case("slashes stay", get("//a")),
            case("user agent", get("/a").header("user-agent", "test")),
        ],
    )
}

fn addresses() -> Group {
    Group::new(
        "addresses",
        file().filter("use_remote_address: true").text(),
        vec![
            case("nothing there", get("/a")),
            case("forwarded for", get("/a").header("x-forwarded-for", "1.2.3.4")),
            case("proto is ours to say", get("/a").header("x-forwarded-proto", "https")),
            case(
                "internal is ours to say",
                get("/a").header("x-envoy-internal", "true").header("x-envoy-external-address", "9.9.9.9"),
            ),
            case("an id of their own", get("/a").header("x-request-id", "own")),
            case("the client's certificate", get("/a").header("x-forwarded-client-cert", "By=x")),
        ],
    )
}

fn hops() -> Group {
    Group::new(
        "trusted hops",
        file()
            .filter("xff_num_trusted_hops: 1\nskip_xff_append: true\nuse_remote_address: true\nvia: halcyon\npreserve_external_request_id: true\nalways_set_request_id_in_response: true\nappend_x_forwarded_port: true")
            .text(),
        vec![
            case("nothing there", get("/a")),
            case("one", get("/a").header("x-forwarded-for", "1.2.3.4")),
            case("two", get("/a").header("x-forwarded-for", "1.2.3.4, 5.6.7.8").header("x-forwarded-proto", "https")),
            case("no address", get("/a").header("x-forwarded-for", "nonsense")),
            case("an id of their own", get("/a").header("x-request-id", "own")),
            case("via there already", get("/a").header("via", "1.1 front").asks("header=via:1.1 back")),
            case("a port there already", get("/a").header("x-forwarded-port", "1")),
        ],
    )
}

fn paths() -> Group {
    Group::new(
        "normal paths",
        file()
            .filter(
                "normalize_path: true\nmerge_slashes: true\nstrip_any_host_port: true\nstrip_trailing_host_dot: true",
            )
            .text(),
        vec![
            case("dots", get("/x/../a/./b")),
            case("dots above the root", get("/../../a")),
            case("dots, encoded", get("/x/%2e%2e/a")),
            case("dots with parameters", get("/x/..;/a")),
            case("a dot with parameters", get("/x/.;y=1/a")),
            case("dots, encoded, with parameters", get("/x/%2e%2e;y/a")),
            case("dots with an encoded parameter", get("/x/..%3b/a")),
            case("dots with parameters at the end", get("/a/x/..;")),
            case("parameters before dots", get("/x;y/../a")),
            case("parameters elsewhere", get("/x;y/a;z=1/b;")),
            case("slashes", get("//a///b//?c=//")),
            case("backslashes", get("/a\\b")),
            case("letters, encoded", get("/%61/b")),
            case("a slash, encoded", get("/a%2fb")),
            case("a bad escape", get("/a%zz")),
            case("a zero byte, encoded", get("/a%00b")),
            case("dots in the query", get("/a?b=../c")),
            case("a port is stripped", get("/a").host("a.example:81")),
            case("a dot is stripped", get("/a").host("a.example.:81")),
            case("no path but a query", get("/?a")),
            case("by HTTP/2", get("/x/..//a").h2()),
        ],
    )
}

fn rejecting() -> Group {
    Group::new(
        "rejecting",
        file()
            .filter("path_with_escaped_slashes_action: REJECT_REQUEST\ncommon_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST, max_headers_count: 10}\nserver_header_transformation: PASS_THROUGH\nstrip_matching_host_port: true")
            .second("SECOND", "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT\ncommon_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}\nserver_name: ours\nserver_header_transformation: APPEND_IF_ABSENT\ngenerate_request_id: false")
            .second("THIRD", "path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD\nserver_name: ours")
            .text(),
        vec![
            case("escaped slash", get("/a%2Fb")),
            case("escaped backslash", get("/a%5cb")),
            case("escaped slash in the query", get("/a?b=%2f")),
            case("underscore", get("/a").header("x_y", "1")),
            case("underscore by HTTP/2", get("/a").header("x_y", "1").h2()),
            case("the server's name passes", get("/a").asks("header=server:origin")),
            case("no name at all", get("/a")),
            case("another port stays", get("/a").host("a.example:1")),
            case("too many headers", (0..12).fold(get("/a"), |request, n| request.header(&format!("x-{n}"), "1"))),
            case("too many headers by HTTP/2", (0..12).fold(get("/a"), |request, n| request.header(&format!("x-{n}"), "1")).h2()),
            case("escaped slash redirected", get("/a%2Fb?c=%2f").to("SECOND")),
            case("underscore dropped", get("/a").header("x_y", "1").to("SECOND")),
            case("underscore dropped by HTTP/2", get("/a").header("x_y", "1").to("SECOND").h2()),
            case("a name if there is none", get("/a").to("SECOND")),
            case("the name stays", get("/a").to("SECOND").asks("header=server:origin")),
            case("no id", get("/a").to("SECOND")),
            case("escaped slash forwarded", get("/a%2Fb%5Cc").to("THIRD")),
            case("a name of ours", get("/a").to("THIRD").asks("header=server:origin")),
        ],
    )
}

fn forwarding() -> Group {
    Group::new(
        "HTTP/1.0",
        file().filter("http_protocol_options: {accept_http_10: true, default_host_for_http_10: old.example}").text(),
        vec![
            case("without host", raw("GET /a HTTP/1.0\r\n{id}\r\n\r\n")),
            case("with host", raw("GET /a HTTP/1.0\r\nhost: b.example\r\n{id}\r\n\r\n")),
            case("kept alive", raw("GET /a HTTP/1.0\r\nhost: b.example\r\nconnection: keep-alive\r\n{id}\r\n\r\n")),
            case("an answer in chunks", raw("GET /a HTTP/1.0\r\nhost: b.example\r\nx-do: chunked\r\n{id}\r\n\r\n")),
            case("a body", raw("POST /a HTTP/1.0\r\nhost: b.example\r\ncontent-length: 5\r\n{id}\r\n\r\nhello")),
        ],
    )
}

fn limits() -> Group {
    let long = |count: usize| "x".repeat(count);
    Group::new(
        "limits",
        file()
            .filter("max_request_headers_kb: 4\ncommon_http_protocol_options: {max_requests_per_connection: 1, idle_timeout: 0.3s}\nrequest_headers_timeout: 0.3s\nrequest_timeout: 0.4s\ndelayed_close_timeout: 0.1s")
            .second("SECOND", "common_http_protocol_options: {max_connection_duration: 0.3s, max_stream_duration: 0.15s}\nstream_idle_timeout: 0.5s\ndelayed_close_timeout: 0.1s\ndrain_timeout: 0.1s")
            .text(),
        vec![
            case("a large head", get("/a").header("x-large", &long(3000))),
            case("too large a head", get("/a").header("x-large", &long(6000))),
            case("too large a head by HTTP/2", get("/a").header("x-large", &long(6000)).h2()),
            case("too long a path", get(&format!("/a{}", long(6000)))),
            case("one request", raw("GET /a HTTP/1.1\r\nhost: a\r\n{id}\r\n\r\n")),
            case("one request of two", raw("GET /a HTTP/1.1\r\nhost: a\r\n{id}\r\n\r\nGET /a HTTP/1.1\r\nhost: a\r\n{id}\r\n\r\n")),
            case("a head that never ends", raw("GET /a HTTP/1.1\r\nhost: a\r\n{id}\r\n")).about(300),
            case("a body that never ends", raw("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n{id}\r\n\r\nhe")).about(400),
            case("nothing at all", raw("")).about(300),
            case("the longest stream", get("/a").to("SECOND").asks("hang")).about(150),
            case("the longest stream by HTTP/2", get("/a").to("SECOND").asks("hang").h2()).about(150),
            case("the longest connection", raw("GET /a HTTP/1.1\r\nhost: a\r\n{id}\r\n\r\n").to("SECOND")),
        ],
    )
}

/// Requests one after the other on one connection.
fn identity() -> Group {
    let two = "GET /a HTTP/1.1\r\nhost: a\r\n{id}\r\n\r\n";
    Group::new(
        "connections",
        file().filter("delayed_close_timeout: 0.1s").text(),
        vec![
            case("two requests at once", raw(two.repeat(2)).answers(2)),
            case("the client closes", raw("GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{id}\r\n\r\n")),
            case(
                "the client closes, a list",
                raw("GET /a HTTP/1.1\r\nhost: a\r\nconnection: x, Close\r\n{id}\r\n\r\n"),
            ),
            case("the origin closes", raw("GET /a HTTP/1.1\r\nhost: a\r\nx-do: toend\r\n{id}\r\n\r\n")),
            case("an answer before the body", raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n{id}\r\n\r\nhe")),
            case("a line before the request", raw(format!("\r\n{two}"))),
            case(
                "more after a body",
                raw("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n{id}\r\n\r\nhello there\r\n\r\n").answers(2),
            ),
        ],
    )
}
