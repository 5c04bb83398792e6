//! Gateway, rule by rule (rows 55 to 61 of the reference).

fn check(spec: &str, expected: &[&str]) {
    crate::check("networking.istio.io/v1alpha3", "Gateway", spec, expected);
}

/// A Gateway with one server on one line.
fn server(server: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|e| e.replacen(" ~", " servers[0].", 1)).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(&format!("selector: {{istio: ingressgateway}}\nservers:\n- {server}"), &expected);
}

#[test]
fn ports_and_hosts() {
    server("{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*', ns/a.b, ./*, '*/c']}", &[]);
    server(
        "{port: {number: 80, name: http, protocol: HTPP}, hosts: []}",
        &["error ~port.protocol: `HTPP` is not a protocol", "error ~hosts: the server has no host"],
    );
    server("{hosts: [a]}", &["error ~port: the field `port` is missing"]);
    server(
        "{port: {number: 0, protocol: http}, hosts: ['A_/b', 'a b']}",
        &[
            "error ~port.name: the field `name` is missing",
            "error ~hosts[0]: `A_` is not a namespace",
            "error ~hosts[1]: `a b` is not a host",
            "error ~port.number: 0 is not a port",
        ],
    );
    server(
        "{port: {number: 80, name: http, protocol: HTTP, targetPort: 81}, hosts: [a], bind: here, defaultEndpoint: x}",
        &[
            "error ~port.targetPort: a gateway has no target port",
            "error ~bind: `here` is not an address",
            "warning ~defaultEndpoint: this is never enforced, in Istio neither",
        ],
    );
    check("servers: []", &["error servers: the gateway serves nothing"]);
    check(
        "servers:\n- {port: {number: 80, name: a, protocol: HTTP}, hosts: [a]}\n- {port: {number: 81, name: a, protocol: HTTP}, hosts: [b]}",
        &["error servers[1].port.name: two ports are called `a`; the first is in line 7"],
    );
}

#[test]
fn tls() {
    let with = |tls: &str, expected: &[&str]| {
        server(&format!("{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: [a], tls: {tls}}}"), expected)
    };
    with("{mode: SIMPLE, credentialName: cert, minProtocolVersion: TLSV1_3}", &[]);
    with("{mode: PASSTHROUGH}", &[]);
    with("{mode: MUTUAL, credentialNames: [rsa, ecdsa], caCertCredentialName: ca}", &[]);
    with(
        "{mode: ISTIO_MUTUAL, credentialName: x}",
        &["error ~tls.credentialName: the mode ISTIO_MUTUAL does not take certificates of its own"],
    );
    with(
        "{mode: PASSTHROUGH, serverCertificate: /c}",
        &["warning ~tls.serverCertificate: the mode PASSTHROUGH does not take certificates of its own"],
    );
    with(
        "{mode: SIMPLE}",
        &["error ~tls: the mode SIMPLE needs `serverCertificate`", "error ~tls: the mode SIMPLE needs `privateKey`"],
    );
    with(
        "{mode: MUTUAL, serverCertificate: /c, privateKey: /k}",
        &["error ~tls: the mode MUTUAL needs an authority that vouches for clients"],
    );
    with(
        "{mode: SIMPLE, credentialName: a, credentialNames: [b, c, d]}",
        &[
            "error ~tls: `credentialName` and `credentialNames` exclude each other",
            "error ~tls.credentialNames: 3 certificates for one server",
        ],
    );
    with(
        "{mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256, A, A]}",
        &[
            "error ~tls.minProtocolVersion: TLSV1_3 is newer than `maxProtocolVersion` TLSV1_2",
            "warning ~tls.cipherSuites[1]: `A` is not a cipher suite, and is left out",
            "warning ~tls.cipherSuites[2]: `A` is listed twice",
        ],
    );
    with(
        "{mode: MUTUAL, credentialName: a, verifyCertificateSpki: [NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=, a], verifyCertificateHash: [DF:6F:F7:2F:E9:11:65:21:26:8F:6F:2D:D4:96:6F:51:DF:47:98:83:FE:70:37:B3:9F:75:91:6A:C3:04:9D:1A, df6f]}",
        &[
            "error ~tls.verifyCertificateSpki[1]: `a` is no hash of a key",
            "error ~tls.verifyCertificateHash[1]: `df6f` is no hash of a certificate",
        ],
    );
    with(
        "{mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_0}",
        &["warning ~tls.minProtocolVersion: TLSV1_0 is out of use and not spoken here"],
    );
    server(
        "{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a]}",
        &["error servers[0]: a port of the protocol HTTPS needs `tls`"],
    );
    server("{port: {number: 80, name: http, protocol: HTTP}, hosts: [a], tls: {httpsRedirect: true}}", &[]);
    server(
        "{port: {number: 80, name: http, protocol: HTTP}, hosts: [a], tls: {mode: SIMPLE, credentialName: x}}",
        &["error ~tls: a port of the protocol HTTP cannot end TLS"],
    );
    server(
        "{port: {number: 80, name: tcp, protocol: TCP}, hosts: [a], tls: {httpsRedirect: true}}",
        &["warning ~tls.httpsRedirect: this has no effect on a port that does not speak HTTP"],
    );
}
