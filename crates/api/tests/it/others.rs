//! ServiceEntry, WorkloadEntry, Sidecar and PeerAuthentication, rule by rule.

fn entry(spec: &str, expected: &[&str]) {
    crate::check("networking.istio.io/v1", "ServiceEntry", spec, expected);
}

#[test]
fn service_entry() {
    let web = "ports: [{number: 443, name: tls, protocol: TLS}]";
    entry(
        &format!(
            "hosts: [a.b]\n{web}\nresolution: DNS\nlocation: MESH_EXTERNAL\nexportTo: ['~']\nsubjectAltNames: [x]"
        ),
        &[],
    );
    entry(
        &format!("hosts: ['*', a_b!]\n{web}\nresolution: NONE"),
        &[
            "error hosts[0]: `*` would be the name of everything",
            "error hosts[1]: `a_b!` is not a host",
            "warning ports[0]: without `addresses`, connections to the port 443 go where those to unknown destinations go",
        ],
    );
    entry(&format!("hosts: ['*.a']\n{web}\nresolution: DNS"), &["error hosts[0]: `*.a` cannot be looked up in DNS"]);
    entry(
        &format!("hosts: [a]\n{web}\nresolution: DYNAMIC_DNS\naddresses: [1.2.3.4]"),
        &[
            "error hosts[0]: `resolution: DYNAMIC_DNS` is for hosts with a wildcard",
            "error addresses: `resolution: DYNAMIC_DNS` has no addresses",
        ],
    );
    entry(
        &format!("hosts: []\n{web}\nresolution: dns"),
        &["error resolution: `dns` is not known here", "error hosts: the service has no name"],
    );
    entry(
        &format!("hosts: [a]\n{web}\nresolution: DNS\naddresses: [10.0.0.0/8, x]"),
        &[
            "error addresses[0]: a block of addresses has no meaning with this resolution",
            "error addresses[1]: `x` is not an address",
        ],
    );
    entry(
        "hosts: [a]\nresolution: STATIC\nports: [{number: 0, name: A}, {number: 80, name: b, protocol: HTTPP, targetPort: 70000}, {number: 80, name: b, protocol: HTTP}]\naddresses: [1.2.3.4]",
        &[
            "error ports[0].number: 0 is not a port",
            "error ports[0].name: `A` is not the name of a port",
            "error ports[1].protocol: `HTTPP` is not a protocol",
            "error ports[1].targetPort: 70000 is not a port",
            "error ports[2].number: the port 80 is listed twice",
            "error ports[2].name: two ports are called `b`",
        ],
    );
    entry(
        "hosts: [a]\nports: [{number: 5432, name: tcp, protocol: TCP}]\nresolution: DNS",
        &[
            "warning ports[0]: without `addresses`, connections to the port 5432 are told apart only if the client asks the mesh's DNS",
        ],
    );
    let unknown = |index: usize, port: u16| {
        format!(
            "warning ports[{index}]: without `addresses`, connections to the port {port} go where those to unknown destinations go"
        )
    };
    entry(
        "hosts: [a, b]\nports: [{number: 5432, name: tcp, protocol: TCP}, {number: 80, name: web, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}, {number: 9, name: any}]\nresolution: NONE",
        &[&unknown(0, 5432), &unknown(2, 443), &unknown(3, 9)],
    );
    entry("hosts: [a]\nports: [{number: 5432, name: tcp, protocol: TCP}]\nresolution: NONE\naddresses: [1.2.3.4]", &[]);
    entry("hosts: ['*.a']\nports: [{number: 443, name: tls, protocol: TLS}]\nresolution: STATIC", &[&unknown(0, 443)]);
    entry(&format!("hosts: ['*.a.b']\n{web}\nresolution: DYNAMIC_DNS"), &[]);
    entry(
        "hosts: ['*.a.b']\nports: [{number: 80, name: web, protocol: HTTP, targetPort: 8080}, {number: 9, name: tcp, protocol: TCP}]\nresolution: DYNAMIC_DNS\nendpoints: [{address: c.d}]",
        &[
            "warning ports[0].targetPort: this has no effect with `resolution: DYNAMIC_DNS`: the port that the request names is used",
            "warning endpoints: with `resolution: DYNAMIC_DNS` these have no effect: the host that a request names is dialled",
            &unknown(1, 9),
        ],
    );
    entry("hosts: ['*.a.b']\nports: [{number: 80, name: web, protocol: HTTP}]\nresolution: DYNAMIC_DNS", &[]);
    entry(
        "hosts: [a, b]\nports: [{number: 5432, name: tcp, protocol: TCP}]\nresolution: DNS\naddresses: [1.2.3.4]",
        &["error hosts: several hosts share the port 5432, where the client's wish for one of them cannot be seen"],
    );
}

#[test]
fn service_entry_workloads() {
    let web = "hosts: [a]\nports: [{number: 80, name: http, protocol: HTTP}]";
    entry(
        &format!(
            "{web}\nresolution: STATIC\nendpoints: [{{address: 10.0.0.1, ports: {{http: 8080}}, labels: {{v: a}}}}, {{address: 'unix:///run/x'}}]"
        ),
        &[],
    );
    entry(
        &format!(
            "{web}\nresolution: STATIC\nendpoints: [{{address: a.b}}, {{address: 10.0.0.1, ports: {{web: 0}}}}, {{}}]"
        ),
        &[
            "error endpoints[0].address: `a.b` is not an IP address",
            "error endpoints[1].ports.web: 0 is not a port",
            "error endpoints[1].ports.web: the service has no port `web`",
            "error endpoints[2]: the workload has neither `address` nor `network`",
        ],
    );
    entry(
        &format!("{web}\nresolution: STATIC\nendpoints: [{{network: n}}]"),
        &["warning endpoints[0]: the workload has no address, only the network `n`: it gets no traffic"],
    );
    entry(
        &format!("{web}\nresolution: DNS\nendpoints: [{{network: n}}, {{}}]"),
        &["error endpoints[0]: the workload has no address", "error endpoints[1]: the workload has no address"],
    );
    entry(
        &format!("{web}\nresolution: NONE\nendpoints: [{{address: 10.0.0.1}}]"),
        &["error endpoints: `resolution: NONE` has no endpoints"],
    );
    entry(
        &format!("{web}\nresolution: DNS_ROUND_ROBIN\nendpoints: [{{address: a.b}}, {{address: c.d}}]"),
        &["error endpoints: `resolution: DNS_ROUND_ROBIN` has one endpoint"],
    );
    entry(&format!("{web}\nresolution: STATIC\nworkloadSelector: {{labels: {{app: x}}}}"), &[]);
    entry(
        &format!(
            "{web}\nresolution: STATIC\nworkloadSelector: {{labels: {{app: x}}}}\nendpoints: [{{address: 10.0.0.1}}]"
        ),
        &["error : `endpoints` and `workloadSelector` exclude each other"],
    );
}

#[test]
fn workload_entry() {
    let check = |spec: &str, expected: &[&str]| crate::check("networking.istio.io/v1", "WorkloadEntry", spec, expected);
    check(
        "{address: 10.0.0.1, ports: {http: 80}, labels: {app: a}, locality: r/z/s, weight: 3, serviceAccount: sa, network: n}",
        &[],
    );
    check("{network: n}", &["warning : the workload has no address, only the network `n`: it gets no traffic"]);
    check("{labels: {app: a}}", &["error : the workload has neither `address` nor `network`"]);
    check(
        "{address: '10.0.0.1:80', ports: {Web: 80}, locality: a//b, serviceAccount: 'ns/sa'}",
        &[
            "error address: `10.0.0.1:80` is not an address",
            "error ports.Web: `Web` is not the name of a port",
            "error locality: `a//b` is not a locality",
            "error serviceAccount: `ns/sa` is not the name of a service account",
        ],
    );
    check(
        "{address: 'unix://x', ports: {a: 1}}",
        &["error address: `x` is not a path of a socket", "error ports: a socket with a path has no ports"],
    );
}

#[test]
fn sidecar() {
    let check = |spec: &str, expected: &[&str]| crate::check("networking.istio.io/v1", "Sidecar", spec, expected);
    check("egress: [{hosts: ['./*', 'istio-system/*', '~/*']}]", &[]);
    check(
        "{workloadSelector: {labels: {app: a}}, ingress: [{port: {number: 80, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:8080', captureMode: NONE}], outboundTrafficPolicy: {mode: ALLOW_ANY}}",
        &[],
    );
    check("{}", &["error : the Sidecar is empty"]);
    check(
        "egress: [{hosts: ['*/*']}, {hosts: ['a', 'A/b', './x', 'default/x']}]",
        &[
            "error egress[0]: an entry without `port` takes all traffic that is left, and is not the last one",
            "error egress[1].hosts[0]: `a` names no namespace",
            "error egress[1].hosts[1]: `A` is not a namespace",
            "warning egress[1].hosts[3]: `default/x` is already covered by an entry above",
        ],
    );
    check(
        "egress: [{port: {number: 80, protocol: X}, hosts: [./*]}, {port: {number: 80}, hosts: [./*]}, {port: {protocol: TCP}, hosts: [./*]}]",
        &[
            "error egress[0].port.protocol: `X` is not a protocol",
            "error egress[1].port.number: the port 80 is listed twice",
            "error egress[2].port.number: the port has no number",
        ],
    );
    check(
        "ingress: [{port: {number: 80, protocol: TCP, targetPort: 1}, bind: x, defaultEndpoint: '10.0.0.1:80', tls: {mode: ISTIO_MUTUAL, httpsRedirect: true}, connectionPool: {http: {}}}]",
        &[
            "error ingress[0].port.targetPort: a sidecar has no target port",
            "error ingress[0].bind: `x` is not an address here",
            "error ingress[0].defaultEndpoint: `10.0.0.1:80` is not an endpoint of the workload",
            "error ingress[0].tls.httpsRedirect: a sidecar does not support this",
            "error ingress[0].tls.mode: a sidecar's port cannot have the mode ISTIO_MUTUAL",
            "error ingress[0].tls: a port of the protocol TCP cannot end TLS",
            "warning ingress[0].connectionPool.http: this has no effect: the port's protocol is not one of HTTP",
        ],
    );
    check(
        "{ingress: [{port: {number: 443, protocol: HTTPS}, bind: 'unix:///a', tls: {credentialNames: [a], tlsCertificates: [{serverCertificate: a, privateKey: b}]}}], \
         egress: [{port: {number: 80, protocol: HTTP}, bind: 'unix:///a', hosts: [./*]}, {port: {number: 81, protocol: http_proxy}, hosts: [./*]}]}",
        &[
            "error ingress[0].bind: `unix:///a` is not an address here",
            "error ingress[0].tls.credentialNames: a sidecar does not support this",
            "error ingress[0].tls.tlsCertificates: a sidecar does not support this",
            "error egress[0].bind: `unix:///a` is not an address here",
            "warning egress[1].port.protocol: no socket is opened for this proxy: it takes only connections that are redirected, and those to loopback never are",
            "warning ingress[0].tls.credentialNames: the mode PASSTHROUGH does not take certificates of its own",
            "warning ingress[0].tls.tlsCertificates: the mode PASSTHROUGH does not take certificates of its own",
        ],
    );
    check(
        "outboundTrafficPolicy: {egressProxy: {host: a}}",
        &[
            "error outboundTrafficPolicy.egressProxy: nothing goes on in the mode REGISTRY_ONLY",
            "error outboundTrafficPolicy.egressProxy: the egress proxy has no port",
        ],
    );
}

#[test]
fn peer_authentication() {
    let check =
        |spec: &str, expected: &[&str]| crate::check("security.istio.io/v1", "PeerAuthentication", spec, expected);
    check("mtls: {mode: STRICT}", &[]);
    check("{}", &[]);
    check("{selector: {matchLabels: {app: a}}, mtls: {}, portLevelMtls: {8080: {mode: DISABLE}}}", &[]);
    check(
        "{portLevelMtls: {8080: {mode: DISABLE}}}",
        &["error portLevelMtls: rules for single ports need to know the workload"],
    );
    check(
        "{selector: {matchLabels: {app: a}}, portLevelMtls: {http: {mode: STRICKT}, 70000: {}}}",
        &[
            "error portLevelMtls.http: `http` is not a port",
            "error portLevelMtls.http.mode: `STRICKT` is not known here",
            "error portLevelMtls.70000: `70000` is not a port",
        ],
    );
}

#[test]
fn request_authentication() {
    let check =
        |spec: &str, expected: &[&str]| crate::check("security.istio.io/v1", "RequestAuthentication", spec, expected);
    let rule = |fields: &str, expected: &[&str]| {
        let at: Vec<String> = expected.iter().map(|line| line.replacen(' ', " jwtRules[0].", 1)).collect();
        check(
            &format!("{{jwtRules: [{{issuer: 'https://a', {fields}}}]}}"),
            &at.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    };
    check("{}", &[]);
    check("{selector: {matchLabels: {app: a}}, jwtRules: []}", &[]);
    check("{jwtRules: [{}]}", &["error jwtRules[0].issuer: the field `issuer` is missing"]);
    check(
        "{selector: {matchLabels: {app: a}}, targetRefs: [{kind: Gateway, name: g}]}",
        &["error targetRefs: `selector` and `targetRefs` exclude each other"],
    );
    check(
        "{jwtRules: [{issuer: a, jwks: '{\"keys\":[{\"kty\":\"oct\",\"k\":\"AQAB\"}]}'}, {issuer: a, jwksUri: 'https://a'}]}",
        &["warning jwtRules[1].issuer: the issuer `a` is there twice"],
    );
    check(
        "{jwtRules: [{issuer: testing@secure.istio.io}]}",
        &["error jwtRules[0].issuer: nothing says where the keys of `testing@secure.istio.io` are"],
    );
    rule("", &[]);
    rule("jwks_uri: 'http://k.a:8080/keys?a=b', audiences: [x], timeout: 2s, spaceDelimitedClaims: [roles]", &[]);
    rule("jwksUri: 'ftp://k'", &["error jwksUri: `ftp://k` is not where keys can be fetched"]);
    rule("jwksUri: 'https://'", &["error jwksUri: `https://` is not where keys can be fetched"]);
    rule("jwksUri: keys.example.org", &["error jwksUri: `keys.example.org` is not where keys can be fetched"]);
    rule("jwks: secret", &["error jwks: this is no key set"]);
    rule("jwks: '{\"keys\":{}}'", &["error jwks: this is no key set"]);
    rule(
        "jwks: '{\"keys\":[]}'",
        &["warning jwks: there is no key in the set that can be used, so no token is believed"],
    );
    for unusable in [
        r#"{"kty":"X"}"#,
        r#"{"kty":"RSA","n":"AQAB"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQ!B"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"ES256"}"#,
        r#"{"kty":"EC","x":"AQAB","y":"AQAB","crv":"secp256k1"}"#,
        r#"{"kty":"OKP","x":"AQAB","crv":"X25519"}"#,
    ] {
        rule(
            &format!("jwks: '{{\"keys\":[{unusable}]}}'"),
            &["warning jwks: there is no key in the set that can be used, so no token is believed"],
        );
    }
    rule(r#"jwks: '{"keys":[{"kty":"X"},{"kty":"OKP","x":"AQAB","crv":"Ed25519","alg":"EdDSA"}]}'"#, &[]);
    rule(
        "jwks: '{\"keys\":[{\"kty\":\"oct\",\"k\":\"AQAB\"}]}', jwksUri: 'https://k'",
        &["warning jwksUri: the keys stand in `jwks`, so nothing is fetched"],
    );
    rule("audiences: ['']", &["error audiences[0]: this is empty"]);
    rule(
        "fromHeaders: [{name: x-a, prefix: 'B '}, {name: ''}, {name: 'a b'}]",
        &[
            "error fromHeaders[1].name: `` is not the name of a header",
            "error fromHeaders[2].name: `a b` is not the name of a header",
        ],
    );
    rule(
        "fromParams: [a, ''], fromCookies: ['', b]",
        &["error fromParams[1]: this is empty", "error fromCookies[0]: this is empty"],
    );
    rule("outputPayloadToHeader: 'a:b'", &["error outputPayloadToHeader: `a:b` is not the name of a header"]);
    rule(
        "outputClaimToHeaders: [{header: x-a, claim: a.b}, {header: 'a b', claim: ''}, {}]",
        &[
            "error outputClaimToHeaders[1].claim: this is empty",
            "error outputClaimToHeaders[1].header: `a b` is not the name of a header",
            "error outputClaimToHeaders[2].claim: the field `claim` is missing",
            "error outputClaimToHeaders[2].header: the field `header` is missing",
        ],
    );
    rule(
        "timeout: 0s, spaceDelimitedClaims: ['']",
        &["error spaceDelimitedClaims[0]: this is empty", "error timeout: nothing comes in no time"],
    );
    rule("triggerRules: []", &["error triggerRules: the field `triggerRules` is not known"]);
}
