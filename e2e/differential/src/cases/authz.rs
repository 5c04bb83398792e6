//! Services that authorize requests, over HTTP and over gRPC: what they are told, and what becomes of their answers.

use serde_json::{Value, json};

use crate::bootstrap::{Bootstrap, HTTP2, cluster, routes};
use crate::case::{Case, Group, Request, case, get, post};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![
        http_questions(),
        http_headers(),
        http_answers(),
        http_paths(),
        http_bodies(),
        http_failures(),
        grpc_questions(),
        grpc_raw(),
        grpc_bodies(),
        grpc_changes(),
        grpc_validated(),
        grpc_refusals(),
        grpc_failures(),
        grpc_routes(),
        grpc_metadata(),
    ]
}

const AUTHZ: &str = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
const PER_ROUTE: &str = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";

fn merged(mut one: Value, more: Value) -> Value {
    if let (Some(one), Value::Object(more)) = (one.as_object_mut(), more) {
        one.extend(more);
    }
    one
}

fn filter(config: Value) -> String {
    let mut config = merged(json!({"transport_api_version": "V3"}), config);
    config["@type"] = AUTHZ.into();
    format!("- {}\n", json!({"name": "envoy.filters.http.ext_authz", "typed_config": config}))
}

/// Asks the backend `b2`, which does what the client's `x-do` says.
fn over_http(service: Value, more: Value) -> String {
    let server = json!({"uri": "http://b2.example", "cluster": "two", "timeout": "1s"});
    let more = merged(json!({"allowed_headers": {"patterns": [{"prefix": "x-"}]}}), more);
    filter(merged(json!({"http_service": merged(json!({"server_uri": server}), service)}), more))
}

/// Asks a service of gRPC, which answers what the client's `x-answer` says.
fn over_grpc(service: Value, more: Value) -> String {
    let service = merged(json!({"envoy_grpc": {"cluster_name": "authz"}, "timeout": "1s"}), service);
    filter(merged(json!({"grpc_service": service}), more))
}

fn file(filters: &str) -> Bootstrap {
    with_routes(filters, "- {match: {prefix: /}, route: {cluster: one}}")
}

fn with_routes(filters: &str, table: &str) -> Bootstrap {
    routes(table).http_filters(filters).clusters(&cluster("authz", &["B2"], HTTP2))
}

fn patterns(list: &[&str]) -> Value {
    json!({"patterns": list.iter().map(|name| json!({"exact": name})).collect::<Vec<_>>()})
}

/// A request of which the deciding backend does this.
fn decided(path: &str, orders: &str) -> Request {
    get(path).asks(&format!("b2?{orders}|status=200"))
}

fn http_questions() -> Group {
    let add = json!([{"key": "x-added", "value": "1"}, {"key": "x-own", "value": "ours"}, {"key": "authorization", "value": "Basic b"}]);
    let filters = over_http(json!({"authorization_request": {"headers_to_add": add}}), json!({}));
    let passes = |name, request: Request| case(name, request);
    Group::new(
        "authorization over HTTP",
        file(&filters).text(),
        vec![
            passes("a GET", get("/p?q=1")),
            passes("a GET by HTTP/2", get("/p?q=1").h2()),
            passes("a HEAD", get("/p").method("HEAD")),
            passes("an OPTIONS", get("/p").method("OPTIONS")),
            passes("a POST", post("/p", "body")),
            passes("a POST with trailers", post("/p", "body").trailer("x-t", "1")),
            passes("own headers", get("/p").header("x-own", "mine").header("x-two", "a").header("x-two", "b")),
            passes("credentials", get("/p").header("authorization", "Bearer t").header("cookie", "a=b")),
            passes("headers that are not told", get("/p").header("accept", "a").header("user-agent", "b")),
            passes("bytes that are no text", get("/p").header("x-bytes", "caf\u{e9}")),
            passes("a path of escapes", get("/a%2fb/../c?x=%20&y")),
            passes("another host", get("/").host("other.example:8080")),
        ],
    )
}

fn http_headers() -> Group {
    let response = json!({
        "allowed_upstream_headers": patterns(&["x-up", "authorization", "cookie"]),
        "allowed_upstream_headers_to_append": patterns(&["x-append", "x-both"]),
        "allowed_client_headers": patterns(&["x-refused", "set-cookie"]),
        "allowed_client_headers_on_success": patterns(&["x-told", "set-cookie"]),
        "dynamic_metadata_from_headers": patterns(&["x-said"]),
    });
    let filters = over_http(
        json!({"authorization_response": response}),
        json!({"disallowed_headers": patterns(&["x-secret"]), "clear_route_cache": true}),
    );
    let table = "- {match: {prefix: /, headers: [{name: x-up, string_match: {exact: two}}]}, route: {cluster: two}}
- {match: {prefix: /, dynamic_metadata: [{filter: envoy.filters.http.ext_authz, path: [{key: x-said}], value: {string_match: {exact: s}}}]}, direct_response: {status: 200, body: {inline_string: said}}}
- {match: {prefix: /}, route: {cluster: one}}";
    let one = |name, orders: &str| case(name, decided("/", orders).header("x-secret", "1"));
    Group::new(
        "authorization over HTTP, headers",
        with_routes(&filters, table).text(),
        vec![
            one("to the upstream", "header=x-up:1;header=x-other:1"),
            one("to the upstream twice", "header=x-up:1;header=x-up:2"),
            one("credentials to the upstream", "header=authorization:Bearer u;header=cookie:c=d"),
            case("over the client's", decided("/", "header=x-up:1").header("x-up", "client")),
            case("twice over the client's", decided("/", "header=x-up:1;header=x-up:2").header("x-up", "client")),
            case("added to the client's", decided("/", "header=x-append:1").header("x-append", "client")),
            one("added where there is none", "header=x-append:1"),
            one("another route", "header=x-up:two"),
            one("said", "header=x-said:s"),
            one("to remove", "header=x-envoy-auth-headers-to-remove:x-secret, x-none"),
            one("to remove too much", "header=x-envoy-auth-headers-to-remove:host,:path,x-secret"),
            one("to the client", "header=x-told:1;header=x-refused:1;header=set-cookie:a=b;header=set-cookie:c=d"),
            one("refused", "status=403;header=x-refused:1;header=x-told:1;body=no"),
            one(
                "refused with cookies",
                "status=401;header=set-cookie:a=b;header=set-cookie:c=d;header=www-authenticate:Basic",
            ),
            one("sent elsewhere", "status=302;header=location:https://login.example/?a=b;body="),
        ],
    )
}

fn http_answers() -> Group {
    let one = |name, orders: &str| case(name, decided("/", orders));
    Group::new(
        "authorization over HTTP, answers",
        file(&over_http(json!({}), json!({"max_denied_response_body_bytes": 12}))).text(),
        vec![
            one("200", "status=200;body=ignored"),
            one("201", "status=201"),
            one("204", "status=204"),
            one("301", "status=301;header=location:/x;body="),
            one("400", "status=400;body=bad"),
            one("401", "status=401;header=www-authenticate:Bearer realm=\"a\";body=who"),
            one("403", "status=403;header=x-a:1;header=content-type:application/json;body={}"),
            one("403 without a body", "status=403;body=;header=content-type:text/html"),
            one("403 with a long body", "status=403;bytes=40"),
            one("403 in chunks", "status=403;body=no;chunked"),
            one("403 with trailers", "status=403;body=no;trailer=x-t:1"),
            one("404", "status=404;body=none"),
            one("429", "status=429;header=retry-after:9;body=late"),
            one("500", "status=500;body=broken"),
            one("503", "status=503;body=broken"),
            one("a header of ours", "status=403;header=server:theirs;header=date:now;body=no"),
            case("403 for a HEAD", decided("/", "status=403;body=no").method("HEAD")),
            case("403 by HTTP/2", decided("/", "status=403;header=x-a:1;body=no").h2()),
            case(
                "403 for gRPC",
                decided("/", "status=403;header=x-a:1;body=no").h2().header("content-type", "application/grpc"),
            ),
            case(
                "403 for a POST",
                Request { method: "POST", body: Some(vec![b'a'; 100_000]), ..decided("/", "status=403;body=no") },
            ),
        ],
    )
}

fn http_paths() -> Group {
    let prefixed = over_http(json!({"path_prefix": "/check"}), json!({}));
    let fixed = over_http(json!({"path_override": "/auth"}), json!({}));
    let mut group = file(&prefixed);
    group = group.listeners(&file(&fixed).listener_on("SECOND"));
    let paths = ["/", "/a/b?c=d", "/a//b?", "/%41"];
    let mut cases: Vec<Case> = paths.iter().map(|path| case(path, get(path))).collect();
    cases.extend(
        paths.iter().map(|path| case(Box::leak(format!("fixed: {path}").into_boxed_str()), get(path).to("SECOND"))),
    );
    Group::new("authorization over HTTP, paths", group.text(), cases)
}

fn http_bodies() -> Group {
    let body = |more: Value| {
        over_http(json!({}), json!({"with_request_body": merged(json!({"max_request_bytes": 10}), more)}))
    };
    let mut whole = file(&body(json!({})));
    whole = whole.listeners(&file(&body(json!({"allow_partial_message": true}))).listener_on("SECOND"));
    let lengths = [("none", 0), ("short", 4), ("as long as may be", 10), ("longer", 11), ("long", 200_000)];
    let of = |length: usize| post("/", &"x".repeat(length));
    let mut cases: Vec<Case> = lengths.iter().map(|(name, length)| case(name, of(*length))).collect();
    for (name, length) in lengths {
        let name = Box::leak(format!("in part: {name}").into_boxed_str());
        cases.push(case(name, of(length).to("SECOND")));
    }
    cases.extend([
        case("no body", get("/")),
        case("in part: no body", get("/").to("SECOND")),
        case("short, with trailers", of(4).trailer("x-t", "1")),
        case("short, by HTTP/2", of(4).h2()),
        case("longer, by HTTP/2", of(11).h2()),
        case("in part: says so itself", of(4).header("x-envoy-auth-partial-body", "mine").to("SECOND")),
        case("longer, refused", Request { body: Some(vec![b'x'; 11]), method: "POST", ..decided("/", "status=403") }),
    ]);
    Group::new("authorization over HTTP, bodies", whole.text(), cases)
}

fn http_failures() -> Group {
    let closed = over_http(json!({}), json!({"status_on_error": {"code": "BadGateway"}}));
    let open = over_http(json!({}), json!({"failure_mode_allow": true, "failure_mode_allow_header_add": true}));
    let dead = |more: Value| {
        let server = json!({"uri": "http://dead.example", "cluster": "dead", "timeout": "1s"});
        filter(merged(json!({"http_service": {"server_uri": server}}), more))
    };
    let bootstrap = file(&closed)
        .listeners(&file(&open).listener_on("SECOND"))
        .listeners(&file(&dead(json!({}))).listener_on("THIRD"))
        .listeners(&file(&dead(json!({"failure_mode_allow": true}))).listener_on("FOURTH"));
    let one = |name, orders: &str| case(name, decided("/", orders));
    let lax = |name, orders: &str| case(name, decided("/", orders).to("SECOND"));
    Group::new(
        "authorization over HTTP, failures",
        bootstrap.text(),
        vec![
            one("a mistake", "status=500"),
            one("the connection ends", "close"),
            one("no answer", "hang").about(1000),
            one("half an answer", "bytes=50;partial"),
            lax("open: a mistake", "status=500"),
            lax("open: the connection ends", "close"),
            lax("open: no answer", "hang").about(1000),
            lax("open: refused", "status=403;body=no"),
            case("open: says so itself", get("/").header("x-envoy-auth-failure-mode-allowed", "mine").to("SECOND")),
            case("nobody there", get("/").to("THIRD")),
            case("open: nobody there", get("/").to("FOURTH")),
        ],
    )
}

const ALLOWED: &str = r#"{"status": {"code": 0}}"#;

fn answered(answer: &Value) -> Request {
    get("/p?q=1").header("x-answer", &answer.to_string())
}

fn grpc_questions() -> Group {
    let filters = over_grpc(
        json!({"initial_metadata": [{"key": "x-call", "value": "1"}]}),
        json!({"disallowed_headers": patterns(&["x-secret"]), "include_tls_session": true}),
    );
    let allowed = |request: Request| request.header("x-answer", ALLOWED);
    Group::new(
        "authorization over gRPC",
        file(&filters).text(),
        vec![
            case("a GET", allowed(get("/p?q=1"))),
            case("a GET by HTTP/2", allowed(get("/p?q=1").h2())),
            case("a HEAD", allowed(get("/p").method("HEAD"))),
            case("a POST", allowed(post("/p", "body"))),
            case("a secret", allowed(get("/p").header("x-secret", "1"))),
            case("twice", allowed(get("/p").header("x-a", "1").header("x-a", "2"))),
            case("cookies", allowed(get("/p").header("cookie", "a=b").header("cookie", "c=d"))),
            case("bytes that are no text", allowed(get("/p").header("x-bytes", "caf\u{e9}"))),
            case("from a service", allowed(get("/p").header("x-envoy-downstream-service-cluster", "shop"))),
            case("another host", allowed(get("/").host("other.example:8080"))),
        ],
    )
}

fn grpc_raw() -> Group {
    let filters = over_grpc(
        json!({"envoy_grpc": {"cluster_name": "authz", "authority": "decider.example"}}),
        json!({"encode_raw_headers": true, "allowed_headers": {"patterns": [{"prefix": "x-"}, {"exact": ":path"}]}}),
    );
    let allowed = |request: Request| request.header("x-answer", ALLOWED);
    Group::new(
        "authorization over gRPC, raw",
        file(&filters).text(),
        vec![
            case("a GET", allowed(get("/p?q=1"))),
            case("twice", allowed(get("/p").header("x-a", "1").header("x-a", "2"))),
            case("bytes that are no text", allowed(get("/p").header("x-bytes", "caf\u{e9}"))),
            case("not told", allowed(get("/p").header("accept", "a"))),
        ],
    )
}

fn grpc_bodies() -> Group {
    let body = |more: Value| {
        over_grpc(json!({}), json!({"with_request_body": merged(json!({"max_request_bytes": 10}), more)}))
    };
    let bootstrap = file(&body(json!({})))
        .listeners(&file(&body(json!({"allow_partial_message": true}))).listener_on("SECOND"))
        .listeners(&file(&body(json!({"allow_partial_message": true, "pack_as_bytes": true}))).listener_on("THIRD"));
    let of = |body: &str| post("/", body).header("x-answer", ALLOWED);
    Group::new(
        "authorization over gRPC, bodies",
        bootstrap.text(),
        vec![
            case("none", get("/").header("x-answer", ALLOWED)),
            case("short", of("body")),
            case("too long", of("a longer body")),
            case("in part: short", of("body").to("SECOND")),
            case("in part: longer", of("a longer body").to("SECOND")),
            case("as bytes", of("body").to("THIRD")),
            case("as bytes: longer", of("a longer body").to("THIRD")),
        ],
    )
}

fn option(name: &str, value: &str, more: Value) -> Value {
    merged(json!({"header": {"key": name, "value": value}}), more)
}

/// The same headers with every way to add them, to a request that has some of them.
fn changes(validated: bool) -> Vec<Case> {
    let ok = |ok: Value| answered(&json!({"ok_response": ok})).header("x-a", "client").header("x-b", "client");
    let mut cases = Vec::new();
    let ways = [
        ("unsaid", json!({})),
        ("append, older", json!({"append": true})),
        ("set, older", json!({"append": false})),
        ("append", json!({"append_action": "APPEND_IF_EXISTS_OR_ADD"})),
        ("if absent", json!({"append_action": "ADD_IF_ABSENT"})),
        ("overwrite or add", json!({"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"})),
        ("overwrite", json!({"append_action": "OVERWRITE_IF_EXISTS"})),
        ("both said", json!({"append": true, "append_action": "ADD_IF_ABSENT"})),
        ("one that does not exist", json!({"append_action": 9})),
    ];
    for (name, way) in &ways {
        let both =
            [option("x-a", "1", way.clone()), option("x-new", "1", way.clone()), option("x-a", "2", way.clone())];
        let named = |what: &str| &*Box::leak(format!("{what}, {name}").into_boxed_str());
        cases.push(case(named("request"), ok(json!({"headers": both}))));
        let asks = "header=x-a:origin;header=x-b:origin";
        cases.push(case(named("response"), ok(json!({"response_headers_to_add": both})).asks(asks)));
    }
    if validated {
        cases.retain(|case| case.name.ends_with("exist") || case.name.ends_with("unsaid"));
    }
    let more = [
        ("remove", json!({"headers_to_remove": ["x-a", "X-B", "x-none"]})),
        ("remove what stays", json!({"headers_to_remove": ["host", ":path", "Host"]})),
        ("set and remove", json!({"headers": [option("x-a", "1", json!({}))], "headers_to_remove": ["x-a"]})),
        (
            "in an order",
            json!({"headers": [option("x-n", "1", json!({"append": true})), option("x-n", "2", json!({})), option("x-n", "3", json!({"append_action": "APPEND_IF_EXISTS_OR_ADD"}))]}),
        ),
        ("a path", json!({"headers": [option(":path", "/new?x=y", json!({}))]})),
        ("a host", json!({"headers": [option(":authority", "new.example", json!({}))]})),
        ("a method", json!({"headers": [option(":method", "PUT", json!({}))]})),
        (
            "a query",
            json!({"query_parameters_to_set": [{"key": "q", "value": "2"}, {"key": "n", "value": "a%20b"}], "query_parameters_to_remove": ["none"]}),
        ),
        ("a query less", json!({"query_parameters_to_remove": ["q"]})),
        ("a query with what is none", json!({"query_parameters_to_set": [{"key": "a b", "value": "c&d"}]})),
        ("a header with what is none", json!({"headers": [option("x a", "1", json!({}))]})),
        ("a value with what is none", json!({"headers": [option("x-v", "a\nb", json!({}))]})),
        ("a response with what is none", json!({"response_headers_to_add": [option("x a", "1", json!({}))]})),
        ("raw", json!({"headers": [{"header": {"key": "x-raw", "raw_value": "YQ=="}}]})),
    ];
    cases.extend(more.into_iter().map(|(name, what)| case(name, ok(what))));
    cases
}

fn grpc_changes() -> Group {
    let filters = over_grpc(json!({}), json!({}));
    Group::new("authorization over gRPC, changes", file(&filters).text(), changes(false))
}

fn grpc_validated() -> Group {
    let filters = over_grpc(json!({}), json!({"validate_mutations": true}));
    Group::new("authorization over gRPC, validated", file(&filters).text(), changes(true))
}

fn grpc_refusals() -> Group {
    let denied = |denied: Value| answered(&json!({"status": {"code": 7}, "denied_response": denied}));
    let cookies = json!([option("set-cookie", "a=b", json!({})), option("set-cookie", "c=d", json!({"append": true}))]);
    let set = json!([option("x-a", "1", json!({"append": false})), option("x-a", "2", json!({"append": true}))]);
    let kinds =
        json!([option("content-type", "application/json", json!({})), option("content-length", "99", json!({}))]);
    Group::new(
        "authorization over gRPC, refusals",
        file(&over_grpc(json!({}), json!({"max_denied_response_body_bytes": 8}))).text(),
        vec![
            case("nothing more", answered(&json!({"status": {"code": 7}}))),
            case("another code", answered(&json!({"status": {"code": 16}}))),
            case("allowed and denied", answered(&json!({"status": {"code": 0}, "denied_response": {"body": "x"}}))),
            case("denied and allowed", answered(&json!({"status": {"code": 7}, "ok_response": {"headers": []}}))),
            case("a status", denied(json!({"status": {"code": 401}, "body": "who?"}))),
            case("a body", denied(json!({"body": "no"}))),
            case("a long body", denied(json!({"body": "not so fast, dear friend"}))),
            case("cookies", denied(json!({"headers": cookies}))),
            case(
                "sent elsewhere",
                denied(
                    json!({"status": {"code": 302}, "headers": [option("location", "https://login.example", json!({}))]}),
                ),
            ),
            case("set and appended", denied(json!({"headers": set}))),
            case("headers of bodies", denied(json!({"headers": kinds, "body": "{}"}))),
            case("for a HEAD", denied(json!({"body": "no"})).method("HEAD")),
            case("by HTTP/2", denied(json!({"body": "no"})).h2()),
            case(
                "for gRPC",
                denied(json!({"body": "no", "headers": [option("x-a", "1", json!({}))]}))
                    .h2()
                    .header("content-type", "application/grpc"),
            ),
        ],
    )
}

fn grpc_failures() -> Group {
    let closed = over_grpc(json!({}), json!({"status_on_error": {"code": "ServiceUnavailable"}}));
    let open = over_grpc(json!({}), json!({"failure_mode_allow": true, "failure_mode_allow_header_add": true}));
    let bootstrap = file(&closed).listeners(&file(&open).listener_on("SECOND"));
    let answer = |text: &str| get("/").header("x-answer", text);
    let error = json!({"status": {"code": 14}, "error_response": {"status": {"code": 502}, "body": "ill", "headers": [option("x-a", "1", json!({}))]}});
    Group::new(
        "authorization over gRPC, failures",
        bootstrap.text(),
        vec![
            case("a failure", answer("fail")),
            case("no answer", answer("hang")).about(1000),
            case("says that it cannot", answered(&error)),
            case("says that it cannot, no more", answered(&json!({"status": {"code": 14}, "error_response": {}}))),
            case("open: a failure", answer("fail").to("SECOND")),
            case("open: no answer", answer("hang").to("SECOND")).about(1000),
            case("open: says that it cannot", answered(&error).to("SECOND")),
        ],
    )
}

fn grpc_routes() -> Group {
    let route = |path: &str, said: Value| {
        let mut said = said;
        said["@type"] = PER_ROUTE.into();
        let per_filter = json!({"envoy.filters.http.ext_authz": said});
        let route =
            json!({"match": {"prefix": path}, "route": {"cluster": "one"}, "typed_per_filter_config": per_filter});
        format!("- {route}\n")
    };
    let table = route("/off", json!({"disabled": true}))
        + &route("/told", json!({"check_settings": {"context_extensions": {"a": "1", "b": "2"}}}))
        + &route("/bodyless", json!({"check_settings": {"disable_request_body_buffering": true}}))
        + &route(
            "/body",
            json!({"check_settings": {"with_request_body": {"max_request_bytes": 3, "allow_partial_message": true}}}),
        )
        + "- {match: {prefix: /new}, direct_response: {status: 200, body: {inline_string: new}}}\n"
        + "- {match: {prefix: /}, route: {cluster: one}}\n";
    let more = json!({"clear_route_cache": true, "with_request_body": {"max_request_bytes": 20}});
    let allowed = |request: Request| request.header("x-answer", ALLOWED);
    let moved = json!({"ok_response": {"headers": [option(":path", "/new", json!({}))]}});
    Group::new(
        "authorization over gRPC, routes",
        with_routes(&over_grpc(json!({}), more), &table).text(),
        vec![
            case("off", get("/off")),
            case("told", allowed(get("/told"))),
            case("without a body", allowed(post("/bodyless", "body"))),
            case("with a body of its own", allowed(post("/body", "body"))),
            case("as the filter has it", allowed(post("/", "body"))),
            case("another route", get("/").header("x-answer", &moved.to_string())),
            case("no change, so no other route", allowed(get("/"))),
        ],
    )
}

fn grpc_metadata() -> Group {
    let said = |value: Value| answered(&json!({"status": {"code": 0}, "dynamic_metadata": value}));
    let older = json!({"dynamic_metadata": {"who": "new"}, "ok_response": {"dynamic_metadata": {"who": "old"}}});
    let first = over_grpc(json!({}), json!({"stat_prefix": "first"}));
    let second = over_grpc(
        json!({"initial_metadata": [{"key": "x-call", "value": "second"}]}),
        json!({"stat_prefix": "second", "metadata_context_namespaces": ["envoy.filters.http.ext_authz", "none"]}),
    );
    let second = second.replacen("envoy.filters.http.ext_authz", "second", 1);
    Group::new(
        "authorization over gRPC, metadata",
        file(&(first + &second)).text(),
        vec![
            case("a text", said(json!({"who": "anna"}))),
            case("all kinds", said(json!({"t": "a", "n": 1.5, "b": true, "l": ["x", 2], "f": {"g": null}}))),
            case("none", said(json!({}))),
            case("at the older place", answered(&older)),
            case("of who is refused", answered(&json!({"status": {"code": 7}, "dynamic_metadata": {"who": "nobody"}}))),
        ],
    )
}
