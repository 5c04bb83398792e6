//! Rules of access (RBAC): what each condition asks, what becomes of requests and of connections, and who tells whom.

use crate::bootstrap::{Bootstrap, access_log, cluster, file, indent, routes};
use crate::case::{Case, Compare, Group, Request, case, get, raw, tcp};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![permissions(), principals(), addresses(), actions(), hosts_and_methods(), identities(), connections()]
}

const RBAC: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
const PER_ROUTE: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
const NETWORK: &str = "'@type': type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC";
const ANY: &str = "{any: true}";

/// Rules with one policy.
fn rules(action: &str, name: &str, permission: &str, principal: &str) -> String {
    format!("{{action: {action}, policies: {{'{name}': {{permissions: [{permission}], principals: [{principal}]}}}}}}")
}

/// A filter in front of everything.
fn filter(settings: &str) -> String {
    format!("- {{name: rbac, typed_config: {{{RBAC}, {settings}}}}}\n")
}

/// Routes with rules of their own, one for each beginning of a path; the filter itself lets everything pass.
fn by_path(said: &[(&str, String)]) -> Bootstrap {
    let route = |(path, settings): &(&str, String)| {
        format!(
            "- {{match: {{prefix: '{path}'}}, route: {{cluster: one}}, typed_per_filter_config: {{rbac: {{{PER_ROUTE}, rbac: {{{settings}}}}}}}}}\n"
        )
    };
    let text: String = said.iter().map(route).collect();
    let more =
        "- {match: {prefix: /}, route: {cluster: one}}\n- {match: {connect_matcher: {}}, route: {cluster: one}}\n";
    routes(&(text + more)).http_filters(&filter(""))
}

fn allows(permission: &str) -> String {
    format!("rules: {}", rules("ALLOW", "p", permission, ANY))
}

fn allows_who(principal: &str) -> String {
    format!("rules: {}", rules("ALLOW", "p", ANY, principal))
}

fn permissions() -> Group {
    let header = |matcher: &str| allows(&format!("{{header: {{name: x-a, {matcher}}}}}"));
    let template = |text: &str| {
        allows(&format!(
            "{{uri_template: {{name: t, typed_config: {{'@type': type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: '{text}'}}}}}}"
        ))
    };
    let (yes, no) = ("{header: {name: x-a, present_match: true}}", "{header: {name: x-b, present_match: true}}");
    let said = [
        ("/any", allows(ANY)),
        ("/exact", header("string_match: {exact: one}")),
        ("/list", header("string_match: {exact: 'one,one'}")),
        ("/range", header("range_match: {start: 1, end: 10}")),
        ("/expression", header("string_match: {safe_regex: {regex: '[a-z]+.?'}}")),
        ("/beginning", header("string_match: {prefix: one}")),
        ("/present", header("present_match: true")),
        ("/absent", header("present_match: false")),
        ("/inverted", header("string_match: {exact: one}, invert_match: true")),
        ("/missing", header("string_match: {exact: one}, invert_match: true, treat_missing_header_as_empty: true")),
        ("/path", allows("{url_path: {path: {exact: /path/a}}}")),
        ("/prefix", allows("{url_path: {path: {prefix: /prefix/admin}}}")),
        ("/suffix", allows("{url_path: {path: {suffix: .png}}}")),
        ("/regex", allows("{url_path: {path: {safe_regex: {regex: '/regex/[a-z]+'}}}}")),
        ("/one", template("/one/*")),
        ("/named", template("/named/{id}/x")),
        ("/rest", template("/rest/**")),
        ("/image", template("/image/**.png")),
        ("/inner", template("/inner/{a=b/*}/c")),
        ("/address", allows("{destination_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}")),
        ("/elsewhere", allows("{destination_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}")),
        ("/port", allows("{destination_port: $LISTEN}")),
        ("/other-port", allows("{destination_port: 1}")),
        ("/ports", allows("{destination_port_range: {start: 1, end: 65536}}")),
        ("/below", allows("{destination_port_range: {start: 1, end: $LISTEN}}")),
        ("/name", allows("{requested_server_name: {exact: ''}}")),
        ("/not", allows(&format!("{{not_rule: {yes}}}"))),
        ("/and", allows(&format!("{{and_rules: {{rules: [{yes}, {no}]}}}}"))),
        ("/or", allows(&format!("{{or_rules: {{rules: [{yes}, {no}]}}}}"))),
        ("/said", allows("{metadata: {filter: f, path: [{key: k}], value: {present_match: true}, invert: true}}")),
    ];
    let a = |path: &str, value: &str| get(path).header("x-a", value);
    let latin = |path: &str| {
        raw([b"GET ", path.as_bytes(), b" HTTP/1.1\r\nhost: a.example\r\nx-a: one\xe9\r\n{id}\r\n\r\n"].concat())
    };
    let mut cases = vec![
        case("anything", get("/any")),
        case("a header", a("/exact", "one")),
        case("a header, another value", a("/exact", "two")),
        case("a header twice", a("/exact", "one").header("x-a", "one")),
        case("a header, then another value", a("/exact", "one").header("x-a", "two")),
        case("a header after another value", a("/exact", "two").header("x-a", "one")),
        case("a header with a list", a("/exact", "one,one")),
        case("a header that is a list, twice", a("/list", "one").header("x-a", "one")),
        case("a header in a range, twice", a("/range", "5").header("x-a", "500")),
        case("a header by expression, twice", a("/expression", "two").header("x-a", "one")),
        case("a header by expression, not UTF-8", latin("/expression")),
        case("a header by its beginning, not UTF-8", latin("/beginning")),
        case("a header with spaces", a("/exact", " one ")),
        case("a header that is not there", get("/exact")),
        case("a header that is there", a("/present", "")),
        case("a header that should not be there", a("/absent", "one")),
        case("a header that should not be there and is not", get("/absent")),
        case("inverted", a("/inverted", "two")),
        case("inverted, the value", a("/inverted", "one")),
        case("inverted, none", get("/inverted")),
        case("inverted, once so and once not", a("/inverted", "two").header("x-a", "one")),
        case("inverted, twice not", a("/inverted", "two").header("x-a", "three")),
        case("inverted, twice", a("/inverted", "one").header("x-a", "one")),
        case("inverted, none counts as empty, two", a("/missing", "two").header("x-a", "one")),
        case("inverted, none counts as empty", get("/missing")),
        case("not", get("/not")),
        case("not, but so", a("/not", "x")),
        case("and, one", a("/and", "x")),
        case("and, both", a("/and", "x").header("x-b", "x")),
        case("or, one", a("/or", "x")),
        case("or, none", get("/or")),
        case("a destination", get("/address")),
        case("another destination", get("/elsewhere")),
        case("a port", get("/port")),
        case("another port", get("/other-port")),
        case("all ports", get("/ports")),
        case("ports below", get("/below")),
        case("no server name", get("/name")),
        case("what nobody said", get("/said")),
    ];
    cases.extend(paths());
    cases.extend(
        [
            "/one/a",
            "/one/",
            "/one/a/b",
            "/one/a=b",
            "/one/a*b",
            "/one/a|b",
            "/one/a[b]",
            "/one/a^b",
            "/one/a{b}",
            "/one/%2f",
            "/one/a?b/c",
        ]
        .map(template_case),
    );
    cases.extend(["/named/7/x", "/named//x", "/named/7/x/", "/named/7/y"].map(template_case));
    cases.extend(["/rest/", "/rest", "/rest/a/b", "/rest/a//b", "/rest/a*b"].map(template_case));
    cases.extend(["/image/a/b.png", "/image/.png", "/image/a.png?x", "/image/a.gif"].map(template_case));
    cases.extend(["/inner/b/x/c", "/inner/x/x/c"].map(template_case));
    Group::new("access, what is done", by_path(&said).text(), cases)
}

fn template_case(path: &'static str) -> Case {
    case(path, get(path))
}

/// The same file by many names.
fn paths() -> Vec<Case> {
    let by = |name, path: &str| case(name, get(path));
    vec![
        by("the path", "/path/a"),
        by("the path with a query", "/path/a?b=/c"),
        by("the path with an empty query", "/path/a?"),
        by("the path in capitals", "/path/A"),
        by("the path with a slash more", "/path/a/"),
        by("the path with two slashes", "/path//a"),
        by("the path with a dot", "/path/./a"),
        by("the path with two dots", "/path/x/../a"),
        by("the path with escaped dots", "/path/x/%2e%2e/a"),
        by("the path with an escaped slash", "/path%2fa"),
        by("the path with an escaped letter", "/path/%61"),
        by("the path with a semicolon", "/path/a;x=1"),
        by("the path with a backslash", "/path\\a"),
        by("the path in a query", "/path?/path/a"),
        case(
            "the path in absolute form",
            raw("GET http://a.example/path/a HTTP/1.1\r\nhost: a.example\r\n{id}\r\n\r\n"),
        ),
        by("a beginning", "/prefix/admin/x"),
        by("a beginning, dots lead out", "/prefix/admin/../x"),
        by("a beginning, dots lead in", "/prefix/x/../admin"),
        by("an end", "/suffix/a.png"),
        by("an end within a query", "/suffix/a?b=.png"),
        by("an expression", "/regex/abc"),
        by("an expression, more", "/regex/abc/"),
        by("an expression before a query", "/regex/abc?d"),
    ]
}

fn principals() -> Group {
    let said = [
        ("/any", allows_who(ANY)),
        ("/header", allows_who("{header: {name: x-a, string_match: {exact: one}}}")),
        ("/path", allows_who("{url_path: {path: {exact: /path/a}}}")),
        ("/tls", allows_who("{authenticated: {}}")),
        ("/named", allows_who("{authenticated: {principal_name: {exact: 'spiffe://example/ns/default/sa/client'}}}")),
        ("/anybody", allows_who("{authenticated: {principal_name: {safe_regex: {regex: '.*'}}}}")),
        ("/direct", allows_who("{direct_remote_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}")),
        ("/not", allows_who("{not_id: {header: {name: x-a, present_match: true}}}")),
        (
            "/and",
            allows_who(
                "{and_ids: {ids: [{direct_remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}, {header: {name: x-a, present_match: true}}]}}",
            ),
        ),
        ("/or", allows_who("{or_ids: {ids: [{authenticated: {}}, {header: {name: x-a, present_match: true}}]}}")),
    ];
    let a = |path: &str| get(path).header("x-a", "one");
    let claims = "By=spiffe://example/x;URI=spiffe://example/ns/default/sa/client";
    Group::new(
        "access, who does it",
        by_path(&said).text(),
        vec![
            case("anybody", get("/any")),
            case("a header", a("/header")),
            case("a header, none", get("/header")),
            case("a path", get("/path/a?x")),
            case("a path, another", get("/path/b")),
            case("by TLS", get("/tls")),
            case("a name", get("/named")),
            case("a name in a header", get("/named").header("x-forwarded-client-cert", claims)),
            case("any name", get("/anybody")),
            case("an address", get("/direct")),
            case("not", get("/not")),
            case("not, but so", a("/not")),
            case("and", a("/and")),
            case("and, one", get("/and")),
            case("or", a("/or")),
            case("or, none", get("/or")),
        ],
    )
}

fn addresses() -> Group {
    let within =
        |kind: &str, block: &str| allows_who(&format!("{{{kind}: {{address_prefix: {block}, prefix_len: 32}}}}"));
    let said = [
        ("/remote", within("remote_ip", "10.0.0.1")),
        ("/direct", within("direct_remote_ip", "10.0.0.1")),
        ("/source", within("source_ip", "10.0.0.1")),
        ("/self", within("remote_ip", "127.0.0.1")),
        ("/source-self", within("source_ip", "127.0.0.1")),
    ];
    let from = |path: &str, list: &str| get(path).header("x-forwarded-for", list);
    let second = "use_remote_address: true\nxff_num_trusted_hops: 1";
    Group::new(
        "access, addresses",
        by_path(&said).second("SECOND", second).second("THIRD", "use_remote_address: true").text(),
        vec![
            case("told", from("/remote", "10.0.0.1")),
            case("told, and by whom", from("/remote", "10.0.0.1, 10.0.0.2")),
            case("told, before another", from("/remote", "10.0.0.2, 10.0.0.1")),
            case("told, the connection", from("/direct", "10.0.0.1")),
            case("told, its source", from("/source", "10.0.0.1")),
            case("not told", get("/self")),
            case("not told, its source", get("/source-self")),
            case("told and trusted", from("/remote", "10.0.0.1").to("SECOND")),
            case("told twice and trusted once", from("/remote", "10.0.0.1, 10.0.0.2").to("SECOND")),
            case("told and not trusted", from("/remote", "10.0.0.1").to("THIRD")),
            case("told and not trusted, the connection", from("/self", "10.0.0.1").to("THIRD")),
            case("nonsense", from("/remote", "10.0.0.1x")),
        ],
    )
}

fn actions() -> Group {
    let has = |name: &str| format!("{{header: {{name: {name}, present_match: true}}}}");
    let denies = |name: &str| format!("rules: {}", rules("DENY", name, &has("x-a"), ANY));
    let two = format!(
        "rules: {{action: DENY, policies: {{b: {{permissions: [{0}], principals: [{ANY}]}}, a: {{permissions: [{0}], principals: [{ANY}]}}}}}}",
        has("x-a")
    );
    let shadow = |action: &str| format!("shadow_rules: {}", rules(action, "s", &has("x-a"), ANY));
    let said = [
        ("/deny", denies("no")),
        ("/spaces", denies("no such thing")),
        ("/two", two),
        ("/log", format!("rules: {}", rules("LOG", "l", &has("x-a"), ANY))),
        ("/nobody", "rules: {action: ALLOW}".to_owned()),
        ("/everybody", "rules: {action: DENY}".to_owned()),
        ("/shadow", shadow("DENY")),
        ("/both", format!("{}, {}", denies("no"), shadow("ALLOW"))),
    ];
    let a = |path: &str| get(path).header("x-a", "1");
    let grpc = |path: &str| a(path).method("POST").header("content-type", "application/grpc");
    let off = format!(
        "- {{match: {{prefix: /off}}, route: {{cluster: one}}, typed_per_filter_config: {{rbac: {{{PER_ROUTE}}}}}}}\n- {{match: {{prefix: /own}}, route: {{cluster: one}}, typed_per_filter_config: {{rbac: {{{PER_ROUTE}, rbac: {{{}}}}}}}}}\n- {{match: {{prefix: /}}, route: {{cluster: one}}}}\n",
        allows(&has("x-b"))
    );
    let inherited = routes(&off).http_filters(&filter(&denies("of the filter")));
    let listener = inherited.manager("");
    let inherited = format!(
        "- name: SECOND\n  address: {{socket_address: {{address: 127.0.0.1, port_value: $SECOND}}}}\n  filter_chains:\n  - filters:\n{}\n",
        indent(&listener, 4)
    );
    Group::new(
        "access, actions",
        by_path(&said).listeners(&inherited).text(),
        vec![
            case("denied", a("/deny")),
            case("denied by HTTP/2", a("/deny").h2()),
            case("denied, a body", a("/deny").method("POST")),
            case("denied, HEAD", a("/deny").method("HEAD")),
            case("not denied", get("/deny")),
            case("denied, gRPC", grpc("/deny")),
            case("denied, gRPC by HTTP/2", grpc("/deny").h2()),
            case("denied, a name with spaces", a("/spaces")),
            case("denied by the first name", a("/two")),
            case("logged", a("/log")),
            case("not logged", get("/log")),
            case("no policy allows", get("/nobody")),
            case("no policy denies", get("/everybody")),
            case("a shadow", a("/shadow")),
            case("a shadow and rules", a("/both")),
            case("of the filter", a("/").to("SECOND")),
            case("of the filter, not so", get("/").to("SECOND")),
            case("off for a route", a("/off").to("SECOND")),
            case("others for a route", a("/own").to("SECOND")),
            case("others for a route, fit", a("/own").header("x-b", "1").to("SECOND")),
        ],
    )
}

/// Who says which host and which method.
fn hosts_and_methods() -> Group {
    let is = |name: &str, value: &str| {
        allows(&format!("{{header: {{name: '{name}', string_match: {{exact: '{value}', ignore_case: true}}}}}}"))
    };
    let said = [
        ("/host", is(":authority", "a.example")),
        ("/old-host", is("host", "a.example")),
        ("/method", is(":method", "GET")),
        ("/scheme", is(":scheme", "http")),
        ("/target", is(":path", "/target?a=b")),
        ("/package.Service/Read", is(":method", "POST")),
    ];
    let grpc = |request: Request| request.header("content-type", "application/grpc");
    Group::new(
        "access, hosts and methods",
        by_path(&said).text(),
        vec![
            case("a host", get("/host")),
            case("a host in capitals", get("/host").host("A.EXAMPLE")),
            case("a host with a port", get("/host").host("a.example:80")),
            case("another host", get("/host").host("b.example")),
            case(
                "another host, a header for it",
                get("/host").host("b.example").header("x-forwarded-host", "a.example"),
            ),
            case("another host by HTTP/2", get("/host").host("b.example").h2()),
            case("another authority than host", get("/host").host("b.example").header("host", "a.example").h2()),
            case("an authority and another host", get("/host").header("host", "b.example").h2()),
            case("a host, by its old name", get("/old-host")),
            case("a host in the target", raw("GET http://a.example/host HTTP/1.1\r\nhost: b.example\r\n{id}\r\n\r\n")),
            case("a method", get("/method")),
            case("another method", get("/method").method("DELETE")),
            case(
                "another method, a header for it",
                get("/method").method("POST").header("x-http-method-override", "GET"),
            ),
            case("a scheme", get("/scheme")),
            case("a scheme, a header for it", get("/scheme").header("x-forwarded-proto", "https")),
            case("a target", get("/target?a=b")),
            case("a target, another query", get("/target?a=c")),
            case("a call", grpc(get("/package.Service/Read").method("POST")).h2()),
            case("a call by GET", grpc(get("/package.Service/Read")).h2()),
            case("a call, dots", grpc(get("/package.Service/Write/../Read").method("POST")).h2()),
        ],
    )
}

fn certificate(name: &str) -> String {
    format!(
        "tls_certificates: [{{certificate_chain: {{filename: $DIR/{name}.pem}}, private_key: {{filename: $DIR/{name}.key}}}}]"
    )
}

fn secure(trust: &str) -> String {
    format!(
        "transport_socket: {{name: tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {{{}{trust}}}}}}}",
        certificate("server")
    )
}

const TRUST: &str = ", validation_context: {trusted_ca: {filename: $DIR/ca.pem}}";
const INSPECT: &str = "listener_filters: [{name: tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]";

fn identities() -> Group {
    let named = |matcher: &str| allows_who(&format!("{{authenticated: {{principal_name: {{{matcher}}}}}}}"));
    let said = [
        ("/tls", allows_who("{authenticated: {}}")),
        ("/exact", named("exact: 'spiffe://example/ns/default/sa/client'")),
        ("/namespace", named("safe_regex: {regex: '.*/ns/default/.*'}")),
        ("/other", named("exact: 'spiffe://example/ns/default/sa/other'")),
        ("/nobody", named("exact: ''")),
        ("/somebody", named("safe_regex: {regex: '.+'}")),
        ("/name", allows("{requested_server_name: {exact: a.example}}")),
    ];
    let manager = by_path(&said).manager("");
    let chain = |socket: &str| format!("- filters:\n{}\n  {socket}\n", indent(&manager, 2));
    let listener = |port: &str, socket: &str| {
        format!(
            "- name: {port}\n  address: {{socket_address: {{address: 127.0.0.1, port_value: ${port}}}}}\n  {INSPECT}\n  filter_chains:\n{}",
            indent(&chain(socket), 2)
        ) + "\n"
    };
    let text = file(&listener("LISTEN", &secure(TRUST)), &cluster("one", &["B1"], "max_requests_per_connection: 1"));
    let by = |path: &str| get(path).tls("a.example");
    let claims = "URI=spiffe://example/ns/default/sa/client";
    Group::new(
        "access, identities",
        text,
        vec![
            case("by TLS, proven", by("/tls").shows("client")),
            case("by TLS, not proven", by("/tls")),
            case("a name", by("/exact").shows("client")),
            case("a name by HTTP/2", by("/exact").shows("client").alpn(&["h2"])),
            case("a name, not proven", by("/exact")),
            case("a name, a stranger's", by("/exact").shows("stranger")),
            case("a name in a header", by("/exact").header("x-forwarded-client-cert", claims)),
            case("another name in a header", by("/other").shows("client").header("x-forwarded-client-cert", claims)),
            case("a namespace", by("/namespace").shows("client")),
            case("another name", by("/other").shows("client")),
            case("no name", by("/nobody")),
            case("no name, proven", by("/nobody").shows("client")),
            case("some name", by("/somebody")),
            case("some name, proven", by("/somebody").shows("client")),
            case("a server name", by("/name")),
            case("another server name", get("/name").tls("b.example")),
        ],
    )
}

/// A listener whose connections go on as bytes if they may.
fn raw_listener(port: &str, settings: &str, socket: &str, cluster: &str) -> String {
    format!(
        "- name: {port}\n  address: {{socket_address: {{address: 127.0.0.1, port_value: ${port}}}}}\n  {INSPECT}\n  filter_chains:\n  - filters:\n    - {{name: rbac, typed_config: {{{NETWORK}, stat_prefix: tcp, {settings}}}}}\n    - name: tcp\n      typed_config:\n        '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\n        stat_prefix: tcp\n        cluster: {cluster}\n{}\n    {socket}\n",
        indent(&access_log(), 8)
    )
}

fn connections() -> Group {
    let who = |principal: &str| format!("rules: {}", rules("ALLOW", "p", ANY, principal));
    let denies = |permission: &str| format!("rules: {}", rules("DENY", "no", permission, ANY));
    let client = "{authenticated: {principal_name: {exact: 'spiffe://example/ns/default/sa/client'}}}";
    let continuous = format!("{}, enforcement_type: CONTINUOUS", who(client));
    let not_for_a = denies("{requested_server_name: {exact: a.example}}");
    // Those who are refused would go where nobody speaks first.
    let listeners = [
        raw_listener("LISTEN", &denies("{destination_port: $LISTEN}"), "", "one"),
        raw_listener("SECOND", &who("{direct_remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}"), "", "echo"),
        raw_listener("THIRD", &who("{remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}"), "", "one"),
        raw_listener("FOURTH", &continuous, &secure(TRUST), "echo"),
        raw_listener("FIFTH", &continuous, &secure(TRUST), "one"),
        raw_listener("SIXTH", &not_for_a, &secure(""), "echo"),
        raw_listener("SEVENTH", &not_for_a, &secure(""), "one"),
        raw_listener("EIGHTH", &format!("shadow_{}", denies(ANY)), "", "echo"),
    ];
    let web = routes("- {match: {prefix: /}, route: {cluster: one}}").manager("");
    let web = format!(
        "- name: NINTH\n  address: {{socket_address: {{address: 127.0.0.1, port_value: $NINTH}}}}\n  filter_chains:\n  - filters:\n    - {{name: rbac, typed_config: {{{NETWORK}, stat_prefix: tcp, {}}}}}\n{}\n",
        denies("{destination_port: $NINTH}"),
        indent(&web, 4)
    );
    let clusters = [cluster("echo", &["ECHO"], ""), cluster("one", &["B1"], "max_requests_per_connection: 1")];
    let hello = |port: &'static str| tcp("hello").to(port);
    Group::new(
        "access, connections",
        file(&(listeners.concat() + &web), &clusters.join("\n")),
        vec![
            case("denied by port", tcp("hello")),
            case("allowed by address", hello("SECOND")),
            case("not allowed by address", hello("THIRD")),
            case("a name", hello("FOURTH").tls("a.example").shows("client")),
            case("a name, none", hello("FIFTH").tls("a.example")),
            case("a server name", hello("SEVENTH").tls("a.example")),
            case("another server name", hello("SIXTH").tls("b.example")),
            case("a shadow", hello("EIGHTH")),
            case("in front of HTTP", get("/").to("NINTH")),
            case("many at once", tcp("hello")).together(10).compare(Compare::Statuses),
        ],
    )
}
