//! HTTP/1 and HTTP/2 on either side, gRPC, upgrades, and the filters.

use crate::bootstrap::{HTTP2, cluster, routes};
use crate::case::{Compare, Group, case, get, post};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![protocols(), grpc(), upgrades(), cors(), faults()]
}

const SAME: &str = "
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    use_downstream_protocol_config: {http2_protocol_options: {}}
";

fn protocols() -> Group {
    let file = routes(
        "
- {match: {prefix: /h2}, route: {cluster: h2}}
- {match: {prefix: /same}, route: {cluster: same}}
- {match: {prefix: /dead2}, route: {cluster: dead2}}
- {match: {prefix: /dead}, route: {cluster: dead}}
- {match: {prefix: /shut}, route: {cluster: shut}}
- {match: {prefix: /}, route: {cluster: one}}
",
    );
    let more = [cluster("same", &["B1"], SAME), cluster("dead2", &["DEAD"], HTTP2)];
    Group::new(
        "protocols",
        file.clusters(&more.join("\n")).text(),
        vec![
            case("1 to 1 with a body", post("/", "hello")),
            case(
                "1 to 1 in chunks with trailers",
                post("/", "hello").header("te", "trailers").trailer("x-after", "yes").asks("trailer=x-end:1"),
            ),
            case("1 to 2", post("/h2", "hello").asks("header=x-a:b")),
            case("1 to 2 with trailers", post("/h2", "hello").trailer("x-after", "yes").asks("trailer=x-end:1")),
            case("2 to 1", post("/", "hello").h2()),
            case("2 to 1 with trailers", post("/", "hello").h2().trailer("x-after", "yes").asks("trailer=x-end:1")),
            case("2 to 2", post("/h2", "hello").h2()),
            case("2 to 2 with trailers", post("/h2", "hello").h2().trailer("x-after", "yes").asks("trailer=x-end:1")),
            case("as downstream, 1", get("/same")),
            case("as downstream, 2", get("/same").h2()),
            case("HEAD", get("/").method("HEAD").asks("bytes=100")),
            case("HEAD, 2 to 1", get("/").method("HEAD").asks("bytes=100").h2()),
            case("HEAD, 1 to 2", get("/h2").method("HEAD").asks("bytes=100;header=content-length:100")),
            case("204", get("/").asks("status=204")),
            case("304", get("/").asks("status=304;header=etag:x")),
            case("304 to HTTP/2", get("/").asks("status=304;header=etag:x").h2()),
            case("a status without a name", get("/").asks("status=299")),
            case("an unknown method", get("/").method("PURGE")),
            case("DELETE without a body", get("/").method("DELETE")),
            case("POST without a length", get("/").method("POST")),
            case("POST without a length by HTTP/2", get("/").method("POST").h2()),
            case("GET with a body", post("/", "hello").method("GET")),
            case("a long body", post("/", &"x".repeat(100_000)).asks("bytes=200000")),
            case("a long body by HTTP/2", post("/h2", &"x".repeat(60_000)).asks("bytes=60000").h2()),
            case("an answer in chunks", get("/").asks("chunked")),
            case("an answer in chunks to HTTP/2", get("/").asks("chunked").h2()),
            case("an answer up to the end", get("/").asks("toend")),
            case("an empty answer", get("/").asks("bytes=0")),
            case("a hint before", get("/").asks("interim=103")),
            case("a hint before, to HTTP/2", get("/").asks("interim=103").h2()),
            case("100-continue", post("/", "hello").header("expect", "100-continue")),
            case("another expectation", post("/", "hello").header("expect", "miracles")),
            case("broken off", get("/").asks("partial;bytes=100")),
            case("broken off, to HTTP/2", get("/").asks("partial;bytes=100").h2()),
            case("broken off in chunks", get("/").asks("partial;chunked;bytes=100")),
            case("broken off, 2 to 2", get("/h2").asks("partial;bytes=100").h2()),
            case("broken off, 2 to 1", get("/h2").asks("partial;bytes=100")),
            case("no answer", get("/").asks("close")),
            case("no answer, to HTTP/2", get("/").asks("close").h2()),
            case("reset from HTTP/2", get("/h2").asks("h2reset=2")),
            case("refused by HTTP/2", get("/h2").asks("h2reset=7")),
            case("nobody listens", get("/dead")),
            case("nobody listens, from HTTP/2", get("/dead").h2()),
            case("nobody listens, to HTTP/2", get("/dead2")),
            case("closed at once", get("/shut")),
            case("what is no HTTP", get("/").asks("raw=hello~~")),
            case("a bad status", get("/").asks("raw=HTTP/1.1 abc OK~content-length: 0~~")),
            case("a status of two digits", get("/").asks("raw=HTTP/1.1 99 OK~content-length: 0~~")),
            case("an HTTP/1.0 answer", get("/").asks("raw=HTTP/1.0 200 OK~~hello")),
            case("two lengths", get("/").asks("raw=HTTP/1.1 200 OK~content-length: 5~content-length: 6~~hello")),
            case(
                "length and chunks",
                get("/").asks("raw=HTTP/1.1 200 OK~content-length: 5~transfer-encoding: chunked~~0~~"),
            ),
            case("a bad chunk", get("/").asks("raw=HTTP/1.1 200 OK~transfer-encoding: chunked~~zz~~")),
            case("a bad header", get("/").asks("raw=HTTP/1.1 200 OK~bad header: x~content-length: 0~~")),
            case("more than its length", get("/").asks("raw=HTTP/1.1 200 OK~content-length: 2~~hello")),
            case(
                "an upgrade that nobody asked for",
                get("/").asks("raw=HTTP/1.1 101 Switching~upgrade: x~connection: upgrade~~"),
            ),
        ],
    )
}

fn grpc() -> Group {
    let file = routes(
        "
- {match: {prefix: /dead}, route: {cluster: dead}}
- {match: {prefix: /slow}, route: {cluster: h2, timeout: 0.3s}}
- {match: {prefix: /h2}, route: {cluster: h2}}
- {match: {prefix: /elsewhere}, redirect: {path_redirect: /new}}
",
    );
    let call = |path: &str, what: &str| {
        post(path, "\0\0\0\0\0").h2().header("content-type", "application/grpc").header("te", "trailers").asks(what)
    };
    let good = "header=content-type:application/grpc;trailer=grpc-status:0;trailer=grpc-message:fine";
    Group::new(
        "gRPC",
        file.text(),
        vec![
            case("a good call", call("/h2", good)),
            case("an error in trailers", call("/h2", "header=content-type:application/grpc;trailer=grpc-status:5")),
            case(
                "an error without a body",
                call("/h2", "header=content-type:application/grpc;header=grpc-status:5;header=grpc-message:no;body="),
            ),
            case("503 from the origin", call("/h2", "status=503")),
            case("nobody listens", get("/dead").h2().header("content-type", "application/grpc")),
            case("too slow", call("/slow", "delay=1500")).about(300),
            case("reset", call("/h2", "h2reset=8")),
            case("no route", call("/x", "")),
            case("a redirect", call("/elsewhere", "")),
            case("nobody listens, by HTTP/1.1", post("/dead", "").header("content-type", "application/grpc")),
            case(
                "nobody listens, to another type",
                post("/dead", "").h2().header("content-type", "application/grpc-web"),
            ),
        ],
    )
}

fn upgrades() -> Group {
    let file = routes(
        "
- {match: {connect_matcher: {}}, route: {cluster: one}}
- {match: {prefix: /h2}, route: {cluster: h2}}
- {match: {prefix: /}, route: {cluster: one}}
",
    );
    let asks = |protocol: &str| {
        get("/chat")
            .header("connection", "Upgrade")
            .header("upgrade", protocol)
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    Group::new(
        "upgrades",
        file.filter("upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: other, enabled: false}]\nhttp2_protocol_options: {allow_connect: true}").text(),
        vec![
            case("WebSocket", asks("websocket").asks("switch=websocket").tunnel("hello")),
            case("WebSocket in capitals", asks("WebSocket").asks("switch=WebSocket").tunnel("hello")),
            case("WebSocket, but the origin will not", asks("websocket").asks("status=403").tunnel("hello")),
            case("an upgrade that is not let through", asks("h2c").asks("switch=h2c").tunnel("hello")),
            case("an upgrade that is switched off", asks("other").asks("switch=other").tunnel("hello")),
            case("an upgrade without connection", get("/chat").header("upgrade", "websocket").asks("status=200")),
            case("CONNECT that is not let through", get("a.example:443").method("CONNECT").host("a.example:443").tunnel("hello")),
        ],
    )
}

fn cors() -> Group {
    let policy = "'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy";
    let file = routes(&format!(
        "
- match: {{prefix: /full}}
  route: {{cluster: one}}
  typed_per_filter_config:
    envoy.filters.http.cors: {{{policy}, allow_origin_string_match: [{{exact: 'https://good.example'}}], allow_methods: 'GET, PUT', allow_headers: x-a, expose_headers: x-b, max_age: '60', allow_credentials: true}}
- match: {{prefix: /any}}
  route: {{cluster: one}}
  typed_per_filter_config:
    envoy.filters.http.cors: {{{policy}, allow_origin_string_match: [{{safe_regex: {{regex: '.*'}}}}], allow_methods: GET}}
- match: {{prefix: /off}}
  route: {{cluster: one}}
  typed_per_filter_config:
    envoy.filters.http.cors: {{{policy}, allow_origin_string_match: [{{safe_regex: {{regex: '.*'}}}}], filter_enabled: {{default_value: {{numerator: 0}}}}}}
- match: {{prefix: /strict}}
  route: {{cluster: one}}
  typed_per_filter_config:
    envoy.filters.http.cors: {{{policy}, allow_origin_string_match: [{{exact: 'https://good.example'}}], forward_not_matching_preflights: false, allow_private_network_access: true}}
- match: {{prefix: /}}
  route: {{cluster: one}}
"
    ));
    let filter = "- {name: envoy.filters.http.cors, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}";
    let good = |path: &str| get(path).header("origin", "https://good.example");
    let ask = |path: &str| good(path).method("OPTIONS").header("access-control-request-method", "PUT");
    Group::new(
        "CORS",
        file.http_filters(filter).text(),
        vec![
            case("a good origin", good("/full")),
            case("another origin", get("/full").header("origin", "https://bad.example")),
            case("no origin", get("/full")),
            case("a good preflight", ask("/full").header("access-control-request-headers", "x-a")),
            case("a good preflight by HTTP/2", ask("/full").h2()),
            case(
                "another's preflight",
                get("/full")
                    .method("OPTIONS")
                    .header("origin", "https://bad.example")
                    .header("access-control-request-method", "PUT"),
            ),
            case(
                "another's preflight is not forwarded",
                get("/strict")
                    .method("OPTIONS")
                    .header("origin", "https://bad.example")
                    .header("access-control-request-method", "PUT"),
            ),
            case("private network", ask("/strict").header("access-control-request-private-network", "true")),
            case("OPTIONS without a method", good("/full").method("OPTIONS")),
            case("any origin", get("/any").header("origin", "null")),
            case("switched off", ask("/off")),
            case("no policy", ask("/none")),
            case(
                "the origin's own headers",
                good("/full").asks("header=access-control-allow-origin:*;header=access-control-expose-headers:x-c"),
            ),
        ],
    )
}

fn faults() -> Group {
    let fault = "'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    let route = |name: &str, what: &str| {
        format!(
            "- match: {{prefix: /{name}}}\n  route: {{cluster: one, timeout: 0.1s}}\n  typed_per_filter_config:\n    envoy.filters.http.fault: {{{fault}, {what}}}\n"
        )
    };
    let all = [
        route("abort", "abort: {http_status: 418, percentage: {numerator: 100}}"),
        route("grpc", "abort: {grpc_status: 7, percentage: {numerator: 100}}"),
        route("delay", "delay: {fixed_delay: 0.3s, percentage: {numerator: 100}}"),
        route(
            "both",
            "delay: {fixed_delay: 0.2s, percentage: {numerator: 100}}, abort: {http_status: 503, percentage: {numerator: 100}}",
        ),
        route("never", "abort: {http_status: 418, percentage: {numerator: 0}}"),
        route("unsaid", "abort: {http_status: 418}"),
        route("half", "abort: {http_status: 418, percentage: {numerator: 500000, denominator: MILLION}}"),
        "- {match: {prefix: /}, route: {cluster: one}}\n".to_owned(),
    ];
    let filter = format!("- {{name: envoy.filters.http.fault, typed_config: {{{fault}}}}}");
    Group::new(
        "faults",
        routes(&all.concat()).http_filters(&filter).text(),
        vec![
            case("abort", get("/abort")),
            case("abort with a body", post("/abort", "hello")),
            case("abort a gRPC call", post("/abort", "").h2().header("content-type", "application/grpc")),
            case("abort with a gRPC status", post("/grpc", "").h2().header("content-type", "application/grpc")),
            case("abort with a gRPC status, no gRPC", get("/grpc")),
            case("delay", get("/delay")).about(300),
            case("delay, then abort", get("/both")).about(200),
            case("never", get("/never")),
            case("no share said", get("/unsaid")),
            case("half", get("/half")).times(300).compare(Compare::Spread),
            case("none", get("/none")),
        ],
    )
}
