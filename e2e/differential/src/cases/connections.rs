//! TLS on both sides, and TCP.

use crate::bootstrap::{access_log, cluster, file, indent, routes};
use crate::case::{Compare, Group, case, get, tcp};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![downstream(), upstream(), tunnels()]
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

fn tunnels() -> Group {
    let log = indent(&access_log(), 6);
    let listener = |port: &str, more: &str| {
        format!(
            "- name: {port}\n  address: {{socket_address: {{address: 127.0.0.1, port_value: ${port}}}}}\n  filter_chains:\n  - filters:\n    - name: tcp\n      typed_config:\n        '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\n        stat_prefix: tcp\n{}\n{}\n",
            indent(&log, 2),
            indent(more, 8)
        )
    };
    let listeners = [
        listener("LISTEN", "cluster: echo"),
        listener("SECOND", "cluster: dead"),
        listener("THIRD", "cluster: echo\nidle_timeout: 0.3s"),
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
