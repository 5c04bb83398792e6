//! Filters that change heads and bodies: compression, gRPC-Web, header mutation, buffers; and the headers of a proxy's own.

use crate::bootstrap::{Bootstrap, HTTP2, cluster, routes};
use crate::case::{Case, Group, Request, case, get, post};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![
        compression(),
        compression_with("compression, one preferred", "", "choose_first: true, ", preferred()),
        compression_with("compression, settings", SETTINGS, "", settings()),
        compression_with("compression, weak tags", WEAKEN, "", weak_tags()),
        grpc_web(),
        header_mutation(),
        header_mutation_reversed(),
        buffer(),
        own_headers(),
        trailers(),
    ]
}

const COMPRESSOR: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor";
const PER_ROUTE: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.compressor.v3.CompressorPerRoute";

/// A compressor by its library, with more of its fields.
fn compressor(library: &str, more: &str) -> String {
    let message = format!("{}{}", library[..1].to_uppercase(), &library[1..]);
    format!(
        "- {{name: {library}, typed_config: {{{COMPRESSOR}, {more}compressor_library: {{name: text, typed_config: {{'@type': type.googleapis.com/envoy.extensions.compression.{library}.compressor.v3.{message}}}}}}}}}\n"
    )
}

fn compressed_routes() -> Bootstrap {
    routes(&format!(
        "
- match: {{prefix: /off}}
  route: {{cluster: one}}
  typed_per_filter_config: {{gzip: {{{PER_ROUTE}, disabled: true}}}}
- match: {{prefix: /hidden}}
  route: {{cluster: one}}
  typed_per_filter_config: {{gzip: {{{PER_ROUTE}, overrides: {{response_direction_config: {{remove_accept_encoding_header: true}}}}}}}}
- {{match: {{prefix: /h2}}, route: {{cluster: h2}}}}
- {{match: {{prefix: /dead}}, route: {{cluster: dead}}}}
- {{match: {{prefix: /own}}, direct_response: {{status: 200, body: {{inline_string: '{}'}}}}}}
- {{match: {{prefix: /}}, route: {{cluster: one}}}}
",
        "a text of our own ".repeat(10)
    ))
}

/// A GET that accepts this.
fn accepts(path: &str, encodings: &str) -> Request {
    get(path).header("accept-encoding", encodings)
}

fn compression() -> Group {
    let filters = ["gzip", "brotli", "zstd"].map(|library| compressor(library, "")).concat();
    let by_wish = |name, wish: &str| case(name, accepts("/", wish).asks("bytes=1000"));
    let told = |name, what: &str| case(name, accepts("/", "gzip").asks(&format!("bytes=1000;{what}")));
    Group::new(
        "compression",
        compressed_routes().http_filters(&filters).text(),
        vec![
            by_wish("gzip", "gzip"),
            by_wish("Brotli", "br"),
            by_wish("Zstandard", "zstd"),
            by_wish("the first that is named", "br, gzip, zstd"),
            by_wish("by weight", "gzip;q=0.3, br;q=0.5, zstd;q=0.4"),
            by_wish("spaces", "gzip ; q=0.3 ,  br ; q = 0.5"),
            by_wish("anything", "*"),
            by_wish("anything but gzip", "gzip;q=0, *"),
            by_wish("anything but", "gzip;q=0, br;q=0, zstd;q=0, *"),
            by_wish("nothing", "*;q=0"),
            by_wish("identity first", "identity, gzip"),
            by_wish("identity last", "identity;q=0.1, gzip"),
            by_wish("identity is refused", "identity;q=0, gzip"),
            by_wish("an unknown one", "deflate"),
            by_wish("an unknown one and a known one", "deflate, zstd;q=0.1"),
            by_wish("capitals", "GZIP"),
            by_wish("a weight that is none", "gzip;q=x, br;q=0.1"),
            by_wish("another parameter", "gzip;level=9"),
            by_wish("an empty list", ", ,"),
            by_wish("a weight below zero", "gzip;q=-1"),
            by_wish("a weight above one", "gzip;q=7, br"),
            case("nothing said", get("/").asks("bytes=1000")),
            case("two lines", accepts("/", "deflate").header("accept-encoding", "br").asks("bytes=1000")),
            case("by HTTP/2", accepts("/", "gzip").asks("bytes=1000").h2()),
            case("from HTTP/2", accepts("/h2", "gzip").asks("bytes=1000")),
            case("2 to 2 with trailers", accepts("/h2", "br").asks("bytes=1000;trailer=x-end:1").h2()),
            case("too short", accepts("/", "gzip").asks("bytes=29")),
            case("long enough", accepts("/", "gzip").asks("bytes=30")),
            case("short, in chunks", accepts("/", "gzip").asks("bytes=5;chunked")),
            case(
                "nothing, in chunks",
                accepts("/", "gzip").asks("raw=HTTP/1.1 200 OK~transfer-encoding: chunked~~0~~"),
            ),
            case("up to the end", accepts("/", "zstd").asks("bytes=1000;toend")),
            case("a long one", accepts("/", "br").asks("bytes=300000")),
            case("a long one by HTTP/2", accepts("/h2", "zstd").asks("bytes=60000").h2()),
            case("HEAD", accepts("/", "gzip").method("HEAD").asks("bytes=1000")),
            case("204", accepts("/", "gzip").asks("status=204")),
            case("304", accepts("/", "gzip").asks("status=304;header=etag:\"a\"")),
            case("404", accepts("/", "gzip").asks("status=404;bytes=1000")),
            case(
                "a part",
                accepts("/", "gzip")
                    .header("range", "bytes=0-999")
                    .asks("status=206;bytes=1000;header=content-range:bytes 0-999/5000"),
            ),
            told("HTML", "header=content-type:text/html"),
            told("JSON with a parameter", "header=content-type:application/json; charset=utf-8"),
            told("in capitals", "header=content-type:TEXT/HTML"),
            told("a picture", "header=content-type:image/png"),
            told("a drawing", "header=content-type:image/svg+xml"),
            told("events", "header=content-type:text/event-stream"),
            told("gRPC-Web", "header=content-type:application/grpc-web+proto"),
            told("an empty type", "header=content-type:"),
            told("encoded already", "header=content-encoding:deflate"),
            told("identity", "header=content-encoding:identity"),
            told("a strong tag", "header=etag:\"abc\""),
            told("a weak tag", "header=etag:W/\"abc\""),
            told("a tag that is none", "header=etag:a"),
            told("not to be changed", "header=cache-control:max-age=60, no-transform"),
            told("not to be changed, in capitals", "header=cache-control:No-Transform"),
            told("to be kept", "header=cache-control:max-age=60"),
            told("varies by a cookie", "header=vary:Cookie"),
            told("varies already", "header=vary:Accept-Encoding"),
            told("varies already, small", "header=vary:accept-encoding"),
            told("varies by anything", "header=vary:*"),
            case("broken off", accepts("/", "gzip").asks("bytes=1000;partial;chunked")),
            case("switched off by the route", accepts("/off", "gzip").asks("bytes=1000")),
            case("switched off by the route, another", accepts("/off", "br;q=0.9, gzip").asks("bytes=1000")),
            case("hidden from the upstream", accepts("/hidden", "gzip").asks("bytes=1000")),
            case("nobody listens", accepts("/dead", "gzip")),
            case("a text of our own", accepts("/own", "gzip")),
        ],
    )
}

/// A group with gzip and Brotli; `gzip` and `brotli` are more of their fields.
fn compression_with(name: &'static str, gzip: &str, brotli: &str, cases: Vec<Case>) -> Group {
    let filters = compressor("gzip", gzip) + &compressor("brotli", brotli);
    Group::new(name, compressed_routes().http_filters(&filters).text(), cases)
}

fn preferred() -> Vec<Case> {
    let by_wish = |name, wish: &str| case(name, accepts("/", wish).asks("bytes=1000"));
    vec![
        by_wish("as welcome", "gzip, br"),
        by_wish("less welcome", "gzip, br;q=0.9"),
        by_wish("more welcome", "gzip;q=0.9, br"),
        by_wish("anything", "*"),
    ]
}

const SETTINGS: &str = "response_direction_config: {common_config: {min_content_length: 100, content_type: [text/x, TEXT/Y]}, disable_on_etag_header: true, remove_accept_encoding_header: true, uncompressible_response_codes: [404, 206]}, ";

fn settings() -> Vec<Case> {
    let told = |name, what: &str| case(name, accepts("/", "gzip").asks(what));
    vec![
        told("a type that is listed", "bytes=1000;header=content-type:text/x"),
        told("another case", "bytes=1000;header=content-type:Text/y;header=x-a:b"),
        told("a type that is not listed", "bytes=1000;header=content-type:text/html"),
        told("no type", "bytes=1000"),
        told("shorter", "bytes=99"),
        told("a tag", "bytes=1000;header=etag:W/\"a\""),
        told("a status that is listed", "bytes=1000;status=404"),
        told("a part", "bytes=1000;status=206"),
        told("another status", "bytes=1000;status=500"),
        case("the other filter, whose wish is hidden", accepts("/", "br").asks("bytes=1000")),
        case("switched off by the route", accepts("/off", "br").asks("bytes=1000")),
    ]
}

const WEAKEN: &str = "response_direction_config: {weaken_etag_on_compress: true, disable_on_etag_header: true}, ";

fn weak_tags() -> Vec<Case> {
    let told = |name, what: &str| case(name, accepts("/", "gzip").asks(&format!("bytes=1000;{what}")));
    vec![
        told("a strong tag", "header=etag:\"abc\""),
        told("a weak tag", "header=etag:W/\"abc\""),
        told("none", "header=x-a:b"),
        case("not compressed", accepts("/", "deflate").asks("bytes=1000;header=etag:\"abc\"")),
    ]
}

fn grpc_web() -> Group {
    let file = routes(
        "
- {match: {prefix: /dead}, route: {cluster: dead2}}
- {match: {prefix: /one}, route: {cluster: one}}
- {match: {prefix: /slow}, route: {cluster: h2, timeout: 0.3s}}
- {match: {prefix: /own}, direct_response: {status: 403, body: {inline_string: 'not 100% yours'}}}
- {match: {prefix: /elsewhere}, redirect: {path_redirect: /new}}
- {match: {prefix: /h2}, route: {cluster: h2}}
",
    );
    let filter = "- {name: envoy.filters.http.grpc_web, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}}";
    let call = |form: &str, path: &str, body: &str, what: &str| {
        post(path, body).header("content-type", form).header("accept", form).asks(what)
    };
    let (bytes, text) = ("application/grpc-web+proto", "application/grpc-web-text");
    let hello = "\0\0\0\0\x05hello";
    let good =
        "header=content-type:application/grpc;frames=abc,,abcdefgh;trailer=grpc-status:0;trailer=grpc-message:fine";
    let only = "header=content-type:application/grpc;header=grpc-status:5;header=grpc-message:no;body=";
    Group::new(
        "grpc-web",
        file.clusters(&cluster("dead2", &["DEAD"], HTTP2)).http_filters(filter).text(),
        vec![
            case("a call", call(bytes, "/h2", hello, good)),
            case("a call by HTTP/2", call(bytes, "/h2", hello, good).h2()),
            case("the short name", call("application/grpc-web", "/h2", hello, good)),
            case("a call in text", call(text, "/h2", "AAAAAAVoZWxsbw==", good)),
            case("a call in text by HTTP/2", call(text, "/h2", "AAAAAAVoZWxsbw==", good).h2()),
            case("the long name of text", call("application/grpc-web-text+proto", "/h2", "AAAAAAVoZWxsbw==", good)),
            case("two pieces of text", call(text, "/h2", "AAAAAAE=YQ==", good)),
            case(
                "text there, bytes back",
                post("/h2", "AAAAAAVoZWxsbw==").header("content-type", text).header("accept", bytes).asks(good),
            ),
            case(
                "bytes there, text back",
                post("/h2", hello).header("content-type", bytes).header("accept", text).asks(good),
            ),
            case("nothing said of the answer", post("/h2", "AAAAAAVoZWxsbw==").header("content-type", text).asks(good)),
            case("no text", call(text, "/h2", "????", good)),
            case("text that breaks off", call(text, "/h2", "AAAAAAVoZWxsbw=", good)),
            case("no body", call(bytes, "/h2", "", good)),
            case(
                "own encodings",
                call(bytes, "/h2", hello, good).header("grpc-accept-encoding", "gzip").header("te", "x"),
            ),
            case(
                "an error in trailers",
                call(bytes, "/h2", hello, "header=content-type:application/grpc;frames=;trailer=grpc-status:5"),
            ),
            case("an error without a body", call(bytes, "/h2", hello, only)),
            case("an error without a body, in text", call(text, "/h2", "AAAAAAVoZWxsbw==", only)),
            case("an error without a body, by HTTP/2", call(bytes, "/h2", hello, only).h2()),
            case("no trailers", call(bytes, "/h2", hello, "header=content-type:application/grpc;frames=abc")),
            case("no gRPC", call(bytes, "/h2", hello, "header=content-type:text/html;body=100% HTML")),
            case("no gRPC, 503", call(bytes, "/h2", hello, "status=503;body=not now")),
            case("no gRPC, to text", call(text, "/h2", "AAAAAAVoZWxsbw==", "status=404;body=what")),
            case("no gRPC, no body", call(bytes, "/h2", hello, "status=500;body=")),
            case(
                "gRPC-Web from the upstream",
                call(bytes, "/one", hello, "header=content-type:application/grpc-web+proto;body=x"),
            ),
            case("from HTTP/1.1", call(bytes, "/one", hello, "header=content-type:application/grpc;frames=abc")),
            case("nobody listens", call(bytes, "/dead", hello, "")),
            case("nobody listens, by HTTP/2", call(text, "/dead", "AAAAAAVoZWxsbw==", "").h2()),
            case("too slow", call(bytes, "/slow", hello, "delay=1500")).about(300),
            case("reset", call(bytes, "/h2", hello, "h2reset=8")),
            case("no route", call(bytes, "/nowhere", hello, "")),
            case("an answer of our own", call(bytes, "/own", hello, "")),
            case("a redirect", call(bytes, "/elsewhere", hello, "")),
            case("another type", call("application/json", "/h2", "{}", "header=content-type:application/json;body={}")),
            case("a parameter", call("application/grpc-web; a=b", "/h2", hello, good)),
            case("capitals", call("application/gRPC-Web", "/h2", hello, good)),
            case(
                "gRPC",
                post("/h2", hello).h2().header("content-type", "application/grpc").header("te", "trailers").asks(good),
            ),
        ],
    )
}

const MUTATION: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3";

/// Changes as fields of a message.
fn mutations(name: &str) -> String {
    let both = format!("{{append: {{header: {{key: x-order, value: {name}}}}}}}");
    format!("mutations: {{request_mutations: [{both}], response_mutations: [{both}]}}")
}

fn mutating(reversed: &str) -> Bootstrap {
    let append = |key: &str, action: &str| {
        format!("{{append: {{header: {{key: {key}, value: new}}, append_action: {action}}}}}")
    };
    let edits = [
        append("x-append", "APPEND_IF_EXISTS_OR_ADD"),
        append("x-add", "ADD_IF_ABSENT"),
        append("x-over", "OVERWRITE_IF_EXISTS_OR_ADD"),
        append("x-if", "OVERWRITE_IF_EXISTS"),
        "{remove: x-gone}".to_owned(),
        "{remove_on_match: {key_matcher: {prefix: x-many-}}}".to_owned(),
        append("x-twice", "OVERWRITE_IF_EXISTS_OR_ADD"),
        "{remove: x-twice}".to_owned(),
        "{append: {header: {key: x-empty, value: ''}}}".to_owned(),
        "{append: {header: {key: x-kept-empty, value: ''}, keep_empty_value: true}}".to_owned(),
    ]
    .join(", ");
    let response = format!(
        "{edits}, {{remove: x-envoy-upstream-service-time}}, {{append: {{header: {{key: server, value: mine}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}}}"
    );
    let own = format!(
        "- {{name: all, typed_config: {{{MUTATION}.HeaderMutation, mutations: {{request_mutations: [{edits}], response_mutations: [{response}]}}}}}}\n"
    );
    let ordered = format!(
        "- {{name: ordered, typed_config: {{{MUTATION}.HeaderMutation, {}{reversed}}}}}\n",
        mutations("filter")
    );
    let rule = |name: &str| format!("{{ordered: {{{MUTATION}.HeaderMutationPerRoute, {}}}}}", mutations(name));
    crate::bootstrap::http(&format!(
        "
- name: every
  domains: ['*']
  typed_per_filter_config: {}
  routes:
  - {{match: {{prefix: /dead}}, route: {{cluster: dead}}}}
  - match: {{prefix: /route}}
    route: {{cluster: one}}
    request_headers_to_add: [{{header: {{key: x-order, value: routes own}}}}]
    response_headers_to_add: [{{header: {{key: x-order, value: routes own}}}}]
    typed_per_filter_config: {}
  - {{match: {{prefix: /own}}, direct_response: {{status: 200, body: {{inline_string: hello}}}}}}
  - {{match: {{prefix: /plain}}, route: {{cluster: one}}}}
",
        rule("host"),
        rule("route")
    ))
    .http_filters(&(own + &ordered))
}

fn header_mutation() -> Group {
    const NAMES: [&str; 8] = ["append", "add", "over", "if", "gone", "many-a", "many-b", "twice"];
    let told = NAMES.map(|name| format!("header=x-{name}:old")).join(";");
    let with = NAMES.iter().fold(get("/plain"), |request, name| request.header(&format!("x-{name}"), "old"));
    Group::new(
        "header mutation",
        mutating("").text(),
        vec![
            case("nothing there", get("/plain")),
            case("all there", with.clone().asks(&told)),
            case("all there, by HTTP/2", with.h2().asks(&told)),
            case("by the route", get("/route")),
            case("an answer of our own", get("/own")),
            case("nobody listens", get("/dead")),
            case("no route", get("/nowhere")),
        ],
    )
}

fn header_mutation_reversed() -> Group {
    let file = mutating(", most_specific_header_mutations_wins: true").text();
    Group::new(
        "header mutation, route last",
        file,
        vec![case("by the route", get("/route")), case("by the host", get("/plain"))],
    )
}

fn buffer() -> Group {
    let rule = "'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute";
    let file = routes(&format!(
        "
- match: {{prefix: /off}}
  route: {{cluster: one}}
  typed_per_filter_config: {{buffer: {{{rule}, disabled: true}}}}
- match: {{prefix: /more}}
  route: {{cluster: one}}
  typed_per_filter_config: {{buffer: {{{rule}, buffer: {{max_request_bytes: 2000}}}}}}
- {{match: {{prefix: /h2}}, route: {{cluster: h2}}}}
- {{match: {{prefix: /own}}, direct_response: {{status: 200, body: {{inline_string: hello}}}}}}
- {{match: {{prefix: /}}, route: {{cluster: one}}}}
"
    ));
    let filter = "- {name: buffer, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1000}}";
    let long = |count: usize| "x".repeat(count);
    let chunks = |path: &str, body: &str| post(path, body).trailer("x-after", "yes");
    Group::new(
        "buffer",
        file.http_filters(filter).text(),
        vec![
            case("no body", get("/")),
            case("a body", post("/", "hello")),
            case("as long as allowed", post("/", &long(1000))),
            case("too long", post("/", &long(1001))),
            case("much too long", post("/", &long(100_000))),
            case("in chunks", chunks("/", "hello")),
            case("in chunks, too long", chunks("/", &long(1500))),
            case("by HTTP/2", post("/h2", "hello").h2()),
            case("by HTTP/2 with trailers", post("/h2", "hello").h2().trailer("x-after", "yes")),
            case("too long by HTTP/2", post("/", &long(1500)).h2()),
            case("too long, gRPC", post("/h2", &long(1500)).h2().header("content-type", "application/grpc")),
            case("switched off", post("/off", &long(1500))),
            case("more on this route", post("/more", &long(1500))),
            case("too much for this route", post("/more", &long(2500))),
            case("an answer of our own", post("/own", "hello")),
        ],
    )
}

fn own_headers() -> Group {
    let file = crate::bootstrap::http(
        "
- name: quiet
  domains: ['quiet.example']
  routes:
  - {match: {prefix: /rewritten}, route: {cluster: one, prefix_rewrite: /new, host_rewrite_literal: other.example}}
  - {match: {prefix: /}, route: {cluster: one}}
- name: both
  domains: ['*']
  include_request_attempt_count: true
  include_attempt_count_in_response: true
  routes:
  - {match: {prefix: /retry}, route: {cluster: one, retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s}}}}
  - {match: {prefix: /slow}, route: {cluster: one, timeout: 0.2s}}
  - {match: {prefix: /dead}, route: {cluster: dead}}
  - {match: {prefix: /own}, direct_response: {status: 200, body: {inline_string: hello}}}
  - {match: {prefix: /}, route: {cluster: one}}
",
    );
    let text = file.text().replace("http.router.v3.Router}", "http.router.v3.Router, suppress_envoy_headers: true}");
    let at = |request: Request| request.host("quiet.example");
    Group::new(
        "headers of our own",
        text,
        vec![
            case("nothing is told", at(get("/"))),
            case("nothing is told of a rewrite", at(get("/rewritten"))),
            case("one try", get("/")),
            case(
                "the client's own count",
                get("/").header("x-envoy-attempt-count", "9").asks("header=x-envoy-attempt-count:8"),
            ),
            case("the second try is good", get("/retry").asks("try1?status=503|status=200")),
            case("no try is good", get("/retry").asks("status=503")),
            case("too slow", get("/slow").asks("delay=1000")).about(200),
            case("nobody listens", get("/dead")),
            case("an answer of our own", get("/own")),
        ],
    )
}

const KEPT: &str = "
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {enable_trailers: true}}
";

fn trailers() -> Group {
    let file = routes(
        "
- {match: {prefix: /kept}, route: {cluster: kept}}
- {match: {prefix: /h2}, route: {cluster: h2}}
- {match: {prefix: /}, route: {cluster: one}}
",
    );
    let file = file.clusters(&cluster("kept", &["B1"], KEPT)).second("SECOND", "");
    let both = |path: &str| post(path, "hello").trailer("x-after", "yes").asks("trailer=x-end:1");
    Group::new(
        "trailers",
        file.filter("http_protocol_options: {enable_trailers: true}").text(),
        vec![
            case("kept on both sides", both("/kept")),
            case("kept downstream", both("/one")),
            case("kept upstream", both("/kept").to("SECOND")),
            case("dropped on both sides", both("/one").to("SECOND")),
            case("1 to 2", both("/h2")),
            case("1 to 2, dropped", both("/h2").to("SECOND")),
            case("2 to 1, kept", both("/kept").h2()),
            case("2 to 1, dropped", both("/one").h2()),
        ],
    )
}
