//! TLS on both sides, and TCP.

use crate::bootstrap::{access_log, cluster, file, indent, routes};
use crate::case::{Compare, Group, case, get, raw, tcp};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![downstream(), upstream(), raw_tcp(), through_proxies(), named_hosts(), told(), told_by_checks()]
}

fn certificate(name: &str) -> String {
    format!(
        "tls_certificates: [{{certificate_chain: {{filename: $DIR/{name}.pem}}, private_key: {{filename: $DIR/{name}.key}}}}]"
    )
}

fn secure(common: &str, more: &str) -> String {
    format!(
        "transport_socket: {{name: tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {{{common}}}{more}}}}}"
    )
}

fn downstream() -> Group {
    let trust = "validation_context: {trusted_ca: {filename: $DIR/ca.pem}}";
    let named = "validation_context: {trusted_ca: {filename: $DIR/ca.pem}, match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: 'spiffe://example/ns/default/sa/somebody'}}]}";
    let inner = routes("- {match: {prefix: /}, route: {cluster: one}}");
    let forwarding = "forward_client_cert_details: SANITIZE_SET\nset_current_client_cert_details: {subject: true, uri: true, dns: true}\nuse_remote_address: true";
    let chain = |matches: &str, socket: &str, filter: &str| {
        format!("- filter_chain_match: {{{matches}}}\n  filters:\n{}\n  {socket}\n", indent(&inner.manager(filter), 2))
    };
    let chains = [
        chain(
            "server_names: [a.example]",
            &secure(&format!("{}, alpn_protocols: [h2, http/1.1]", certificate("server")), ""),
            "",
        ),
        chain("server_names: ['*.wild.example']", &secure(&certificate("server"), ""), "server_name: wild"),
        chain("server_names: [b.example]", &secure(&certificate("other"), ""), "server_name: other"),
        chain(
            "server_names: [need.example]",
            &secure(&format!("{}, {trust}", certificate("server")), ", require_client_certificate: true"),
            forwarding,
        ),
        chain("server_names: [may.example]", &secure(&format!("{}, {trust}", certificate("server")), ""), forwarding),
        chain(
            "server_names: [named.example]",
            &secure(&format!("{}, {named}", certificate("server")), ", require_client_certificate: true"),
            "",
        ),
        chain(
            "server_names: [old.example]",
            &secure(&format!("{}, tls_params: {{tls_maximum_protocol_version: TLSv1_2}}", certificate("server")), ""),
            "",
        ),
        chain(
            "server_names: [alpn.example], application_protocols: [h2]",
            &secure(&format!("{}, alpn_protocols: [h2]", certificate("server")), ""),
            "server_name: two",
        ),
        chain("transport_protocol: raw_buffer", "name: plain", ""),
    ];
    let listener = format!(
        "- name: listener\n  address: {{socket_address: {{address: 127.0.0.1, port_value: $LISTEN}}}}\n  listener_filters: [{{name: tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}}}]\n  filter_chains:\n{}",
        indent(&chains.concat(), 2)
    );
    let by = |name: &'static str| get("/").tls(name);
    Group::new(
        "TLS downstream",
        file(&listener, &cluster("one", &["B1"], "")),
        vec![
            case("a name", by("a.example")),
            case("a name by HTTP/2", by("a.example").h2()),
            case("a name, both offered", by("a.example").alpn(&["http/1.1", "h2"]).h2()),
            case("a name, another offered", by("a.example").alpn(&["spdy"])),
            case("a wildcard", by("x.wild.example")),
            case("another certificate", by("b.example")),
            case("an unknown name", by("c.example")),
            case("no name", by("")),
            case("plain text", get("/")),
            case("a certificate that is needed", by("need.example").shows("client")),
            case("a certificate that is needed, none", by("need.example")),
            case("a certificate that is needed, a stranger's", by("need.example").shows("stranger")),
            case("a certificate that may be", by("may.example").shows("client")),
            case("a certificate that may be, none", by("may.example").header("x-forwarded-client-cert", "By=me")),
            case("a certificate that may be, a stranger's", by("may.example").shows("stranger")),
            case("another name in the certificate", by("named.example").shows("client")),
            case("TLS 1.2", by("old.example")),
            case("a chain by ALPN", by("alpn.example").h2()),
            case("a chain by ALPN, another", by("alpn.example").alpn(&["http/1.1"])),
        ],
    )
}

fn upstream() -> Group {
    let socket = |common: &str, more: &str| {
        format!(
            "transport_socket: {{name: tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {{{common}}}{more}}}}}"
        )
    };
    let trust = |ca: &str, name: &str| {
        format!(
            "validation_context: {{trusted_ca: {{filename: $DIR/{ca}.pem}}, match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: {name}}}}}]}}"
        )
    };
    let clusters = [
        cluster("good", &["TLS"], &socket(&trust("ca", "origin.example"), ", sni: origin.example")),
        cluster("any", &["TLS"], &socket("", ", sni: origin.example")),
        cluster("wrong-name", &["TLS"], &socket(&trust("ca", "other.example"), ", sni: origin.example")),
        cluster("wrong-ca", &["TLS"], &socket(&trust("strange-ca", "origin.example"), ", sni: origin.example")),
        cluster("not-tls", &["B1"], &socket("", "")),
        cluster("plain", &["TLS"], ""),
        cluster(
            "h2",
            &["TLS"],
            &format!(
                "{}{}",
                socket(&format!("{}, alpn_protocols: [h2]", trust("ca", "origin.example")), ", sni: origin.example"),
                crate::bootstrap::HTTP2
            ),
        ),
    ];
    let names = ["good", "any", "wrong-name", "wrong-ca", "not-tls", "plain"];
    let mut text: String = names
        .iter()
        .map(|name| format!("- {{match: {{prefix: /{name}}}, route: {{cluster: {name}, timeout: 3s}}}}\n"))
        .collect();
    text += "- {match: {prefix: /over2}, route: {cluster: h2-tls}}\n";
    let more = clusters
        .join("\n")
        .replace("- name: h2\n", "- name: h2-tls\n")
        .replace("cluster_name: h2,", "cluster_name: h2-tls,");
    Group::new(
        "TLS upstream",
        routes(&text).clusters(&more).text(),
        vec![
            case("good", get("/good")),
            case("good, over HTTP/2", get("/over2")),
            case("nothing checked", get("/any")),
            case("another name", get("/wrong-name")),
            case("another authority", get("/wrong-ca")),
            case("no TLS there", get("/not-tls")),
            case("TLS where plain text is said", get("/plain")),
        ],
    )
}

/// A listener whose connections go on as bytes.
fn raw_listener(port: &str, more: &str) -> String {
    format!(
        "- name: {port}\n  address: {{socket_address: {{address: 127.0.0.1, port_value: ${port}}}}}\n  filter_chains:\n  - filters:\n    - name: tcp\n      typed_config:\n        '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\n        stat_prefix: tcp\n{}\n{}\n",
        indent(&access_log(), 8),
        indent(more, 8)
    )
}

fn raw_tcp() -> Group {
    let listeners = [
        raw_listener("LISTEN", "cluster: echo"),
        raw_listener("SECOND", "cluster: dead"),
        raw_listener("THIRD", "cluster: echo\nidle_timeout: 0.3s"),
    ];
    let clusters = [cluster("echo", &["ECHO"], ""), cluster("dead", &["DEAD"], "")];
    Group::new(
        "TCP",
        file(&listeners.concat(), &clusters.join("\n")),
        vec![
            case("there and back", tcp("hello")),
            case("the origin speaks first", tcp("")),
            case("a lot", tcp(&"x".repeat(200_000))),
            case("nobody listens", tcp("hello").to("SECOND")),
            case("several at once", tcp("hello")).together(10).compare(Compare::Statuses),
        ],
    )
}

/// Requests and connections go to the hosts that they name.
fn named_hosts() -> Group {
    let cache = "dns_cache_config: {name: named, dns_lookup_family: V4_ONLY, max_hosts: 5}";
    let named = |name: &str, cache: &str| {
        format!(
            "- name: {name}\n  connect_timeout: 1s\n  lb_policy: CLUSTER_PROVIDED\n  cluster_type: {{name: envoy.clusters.dynamic_forward_proxy, typed_config: {{'@type': type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig, {cache}}}}}\n"
        )
    };
    let filter = format!(
        "- name: named\n  typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig, {cache}}}"
    );
    let own = "dns_cache_config: {name: own, dns_lookup_family: V4_ONLY}";
    let by_sni = format!(
        "- name: FIFTH\n  address: {{socket_address: {{address: 127.0.0.1, port_value: $FIFTH}}}}\n  listener_filters: [{{name: tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}}}]\n  filter_chains:\n  - filters:\n    - name: sni\n      typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig, {own}, port_value: $TLS}}\n    - name: tcp\n      typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: own}}\n"
    );
    let table = "
- {match: {prefix: /own}, route: {cluster: own}}
- {match: {prefix: /rewritten}, route: {cluster: named, host_rewrite_literal: 'localhost:$B2'}}
- {match: {prefix: /usual}, route: {cluster: one}}
- {match: {prefix: /}, route: {cluster: named}}";
    let bootstrap =
        routes(table).http_filters(&filter).clusters(&(named("named", cache) + &named("own", own))).listeners(&by_sni);
    let to = |path: &str, host: &str| get(path).host(host);
    Group::new(
        "named hosts",
        bootstrap.text(),
        vec![
            case("with a port", to("/", "localhost:$B1")),
            case("another port", to("/", "localhost:$B2")),
            case("an address", to("/", "127.0.0.1:$B3")),
            case("by HTTP/2", to("/", "localhost:$B1").h2()),
            case("nobody listens", to("/", "localhost:$DEAD")),
            case("not found", to("/", "nobody.invalid")),
            case("not found, asked again", to("/", "nobody.invalid")),
            case("not found, gRPC", to("/", "nobody.invalid").header("content-type", "application/grpc")),
            case("of the usual kind", to("/usual", "nobody.invalid")),
            case("a host in its place", to("/rewritten", "localhost:$B1")),
            case("one too many", to("/", "localhost:$B3")).times(2),
            case("without the filter's cache", to("/own", "localhost:$B1")),
            case("by server name", to("/", "a.example").to("FIFTH").tls("localhost")),
            case("by server name, not found", to("/", "a.example").to("FIFTH").tls("nobody.invalid")),
            case("by server name, none", to("/", "a.example").to("FIFTH").tls("")),
        ],
    )
}

fn through_proxies() -> Group {
    let to = |port: &str, cluster: &str, tunnel: &str| {
        raw_listener(port, &format!("cluster: {cluster}\ntunneling_config: {{{tunnel}}}"))
    };
    let added = "headers_to_add: [{header: {key: x-added, value: one}}, {header: {key: X-Added, value: two}}]";
    let listeners = [
        to("LISTEN", "h1", &format!("hostname: 'a.example:443', {added}")),
        to("SECOND", "h2", &format!("hostname: 'a.example:443', {added}")),
        to("THIRD", "h1", &format!("hostname: 'a.example:443', use_post: true, {added}")),
        to("FOURTH", "h2", "hostname: 'a.example:443', use_post: true, post_path: '/in?to=it'"),
        to("FIFTH", "h1", "hostname: 'no.example:443'"),
        to("SIXTH", "h2", "hostname: 'no.example:443'"),
        to("SEVENTH", "h1", "hostname: 'no.example:443', use_post: true"),
        to("EIGHTH", "dead", "hostname: 'a.example:443'"),
        to("NINTH", "shut", "hostname: 'a.example:443'"),
        to("TENTH", "h1", "hostname: a.example"),
    ];
    let clusters = [
        cluster("h1", &["TUNNEL"], ""),
        cluster("h2", &["TUNNEL"], crate::bootstrap::HTTP2),
        cluster("dead", &["DEAD"], ""),
        cluster("shut", &["SHUT"], ""),
    ];
    Group::new(
        "TCP through a proxy",
        file(&listeners.concat(), &clusters.join("\n")),
        vec![
            case("CONNECT", tcp("hello")),
            case("CONNECT, the other end speaks first", tcp("")),
            case("CONNECT, a lot", tcp(&"x".repeat(200_000))),
            case("CONNECT by HTTP/2", tcp("hello").to("SECOND")),
            case("CONNECT by HTTP/2, the other end speaks first", tcp("").to("SECOND")),
            case("CONNECT by HTTP/2, a lot", tcp(&"x".repeat(200_000)).to("SECOND")),
            case("POST", tcp("hello").to("THIRD")),
            case("POST by HTTP/2", tcp("hello").to("FOURTH")),
            case("POST by HTTP/2, a lot", tcp(&"x".repeat(200_000)).to("FOURTH")),
            case("CONNECT is refused", tcp("hello").to("FIFTH")),
            case("CONNECT by HTTP/2 is refused", tcp("hello").to("SIXTH")),
            case("POST is refused", tcp("hello").to("SEVENTH")),
            case("nobody listens", tcp("hello").to("EIGHTH")),
            case("the proxy hangs up", tcp("hello").to("NINTH")),
            case("a host without a port", tcp("hello").to("TENTH")),
            case("several at once", tcp("hello").to("SECOND")).together(10).compare(Compare::Statuses),
        ],
    )
}

/// What puts a PROXY header of this version before plain text.
fn header(version: &str) -> String {
    format!(
        "transport_socket: {{name: header, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport, config: {{version: {version}}}, transport_socket: {{name: raw, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}}}}}}"
    )
}

fn told() -> Group {
    let clusters = ["V1", "V2"].map(|version| cluster(version, &["TOLD"], &header(version)));
    let table = "- {match: {prefix: /1}, route: {cluster: V1}}\n- {match: {prefix: /2}, route: {cluster: V2}}";
    let listeners = [raw_listener("SECOND", "cluster: V1"), raw_listener("THIRD", "cluster: V2")];
    let twice = |path: &str| raw(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{{id}}\r\n\r\n").repeat(2)).answers(2);
    Group::new(
        "PROXY headers to upstreams",
        routes(table).clusters(&clusters.join("\n")).listeners(&listeners.concat()).text(),
        vec![
            case("version 1", get("/1")),
            case("version 1, again", get("/1")),
            case("version 1, twice on a connection", twice("/1")),
            case("version 1, by HTTP/2", get("/1").h2()),
            case("version 2", get("/2")),
            case("version 2, again", get("/2")),
            case("version 2, twice on a connection", twice("/2")),
            case("version 1, TCP", tcp("hello").to("SECOND")),
            case("version 2, TCP", tcp("hello").to("THIRD")),
        ],
    )
}

fn told_by_checks() -> Group {
    let checks = "health_checks: [{timeout: 1s, interval: 0.2s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /health}}]\ncommon_lb_config: {healthy_panic_threshold: {value: 0}}";
    let clusters = ["V1", "V2"].map(|version| cluster(version, &["TOLD"], &format!("{}\n{checks}", header(version))));
    let table = "- {match: {prefix: /1}, route: {cluster: V1}}\n- {match: {prefix: /2}, route: {cluster: V2}}";
    Group::new(
        "PROXY headers of health checks",
        routes(table).clusters(&clusters.join("\n")).text(),
        vec![case("version 1", get("/1")), case("version 2", get("/2"))],
    )
    .settled_for(1000)
}
