//! Gateways.

use std::sync::Arc;

use super::mesh::{BOOKINFO, config, gateway, world};
use super::outline;

const INGRESS: &str = include_str!("../../../../samples/bookinfo/mesh/gateway.yaml");

#[test]
fn ingress_of_bookinfo() {
    let config = config(&world(&format!("{BOOKINFO}\n---\n{INGRESS}"), &["productpage/v1@2"]), &gateway());
    insta::assert_snapshot!("ingress-listeners", outline::listeners(&config));
    insta::assert_snapshot!("ingress-routes", outline::routes(&config.routes["http.8080"]));
}

#[test]
fn hosts_tls_and_merging() {
    let documents = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*.example.org\"], tls: {httpsRedirect: true}}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [\"default/*.example.org\"], tls: {mode: SIMPLE, credentialName: cert, httpsRedirect: true}}
  - {port: {number: 444, name: mutual, protocol: HTTPS}, hosts: [\"*\"], tls: {mode: MUTUAL, credentialNames: [cert]}}
  - {port: {number: 9443, name: tls, protocol: TLS}, hosts: [\"*\"], tls: {mode: PASSTHROUGH}}
---
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: {name: cert}
stringData: {tls.crt: CHAIN, tls.key: KEY, ca.crt: ROOTS}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [www.example.org]
  gateways: [g]
  http: [{route: [{destination: {host: reviews}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b}
spec:
  hosts: [www.example.org, other.org]
  gateways: [default/g]
  http:
  - match: [{uri: {prefix: /details}}]
    route: [{destination: {host: details}}]
  - match: # of tokens that nobody reads: never
    - headers: {\"@request.auth.claims.group\": {exact: dev}}
    - withoutHeaders: {\"[@request.auth.claims][group]\": {exact: dev}}
    route: [{destination: {host: ratings}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: c}
spec:
  hosts: [raw.example.org]
  gateways: [g]
  tls: [{match: [{sniHosts: [raw.example.org]}], route: [{destination: {host: ratings, port: {number: 9080}}}]}]
";
    let config = config(&world(&format!("{BOOKINFO}\n---\n{documents}"), &[]), &gateway());
    insta::assert_snapshot!("gateway-listeners", outline::listeners(&config));
    let tables: String = config.routes.iter().map(|(name, t)| format!("# {name}\n{}", outline::routes(t))).collect();
    insta::assert_snapshot!("gateway-routes", tables);
    assert!(config.secrets.contains_key("kubernetes://cert"));
    assert!(config.secrets.contains_key("kubernetes://cert-cacert"), "the roots stand beside the certificate");
}

/// A `Gateway` for the ingress gateway with these servers; one that was created later has a higher `minute`.
fn gateway_document(name: &str, minute: u8, servers: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, creationTimestamp: '2026-01-01T00:0{minute}:00Z'}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
{servers}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [a.example.org, b.example.org]
  gateways: [{name}]
  http: [{{match: [{{uri: {{prefix: /{name}}}}}], route: [{{destination: {{host: reviews}}}}]}}]
  tcp: [{{route: [{{destination: {{host: reviews}}}}]}}]
"
    )
}

#[test]
fn of_two_servers_for_one_host_the_older_has_it() {
    let tls = |hosts: &str| {
        format!(
            "  - {{port: {{number: 443, name: x, protocol: HTTPS}}, hosts: [{hosts}], tls: {{mode: SIMPLE, credentialName: c}}}}"
        )
    };
    let plain = |hosts: &str, rest: &str| {
        format!("  - {{port: {{number: 443, name: x, protocol: HTTP}}, hosts: [{hosts}]{rest}}}")
    };
    let raw = || "  - {port: {number: 443, name: x, protocol: TCP}, hosts: ['*']}".to_owned();
    let (a, ab) = ("a.example.org", "b.example.org, ./a.example.org");
    let again = "the Gateway `default/red` opens the host `a.example.org` on port 443 already (spec.servers[0].hosts[0], test.yaml:25)";
    let other = "the Gateway `default/red` opens port 443 for another protocol already (spec.servers[0].port.number, test.yaml:25)";
    for (old, young, routes, warning) in [
        (tls(a), tls("b.example.org"), "a.example.org /red, b.example.org /blue", None),
        // The whole server is left out, with the host that nobody else opens.
        (tls(a), tls(ab), "a.example.org /red", Some((again, "this server is left out, with all its hosts"))),
        (
            plain(a, ""),
            plain(ab, ""),
            "a.example.org /red /blue, b.example.org /blue",
            Some((again, "the rules of both are joined")),
        ),
        (
            plain(a, ""),
            plain(a, ", tls: {httpsRedirect: true}"),
            "a.example.org /",
            Some((again, "the rules of both are joined")),
        ),
        (tls(a), plain(a, ""), "a.example.org /red", Some((other, "this server is left out"))),
        (raw(), raw(), "tcp red", Some((other, "this server is left out"))),
        (raw(), tls(a), "tcp red", Some((other, "this server is left out"))),
    ] {
        // The younger stands first in the file, and by name.
        let documents =
            format!("{}---{}---\n{BOOKINFO}", gateway_document("blue", 1, &young), gateway_document("red", 0, &old));
        let world = world(&documents, &[]);
        let config = config(&world, &gateway());
        let of_host = |host: &model::VirtualHost| {
            let paths = host.routes.iter().map(|route| match &route.matches.path {
                model::route::PathMatch::Prefix(path) => path.as_str(),
                _ => "",
            });
            format!("{} {}", host.domains[0], paths.collect::<Vec<_>>().join(" "))
        };
        let mut found: Vec<String> = config.routes.values().flat_map(|table| &table.hosts).map(of_host).collect();
        let chains = config.listeners.values().flat_map(|l| &l.chains);
        let raw = chains.filter(|c| matches!(c.filter, model::NetworkFilter::Tcp(_)));
        found.extend(raw.map(|chain| format!("tcp {}", chain.name.split('.').nth(3).unwrap())));
        found.sort();
        assert_eq!(found.join(", "), routes, "{old}\n{young}");
        let problems = translate::check(&world);
        let about: Vec<_> = problems.iter().filter(|p| p.message.contains("already")).collect();
        let told = about.iter().map(|p| (p.message.as_str(), p.hint.as_deref().unwrap_or_default()));
        assert_eq!(told.collect::<Vec<_>>(), warning.into_iter().collect::<Vec<_>>(), "{old}\n{young}");
        assert!(
            about.iter().all(|p| p.resource.as_ref().is_some_and(|r| r.name == "blue") && p.line == 8),
            "{about:#?}"
        );
    }
}

/// Servers at addresses of their own: each has its socket, and only those at one address and port get in each other's way.
#[test]
fn addresses_of_servers() {
    let server = |name: &str, bind: &str, rest: &str| {
        let bind = if bind.is_empty() { String::new() } else { format!("bind: '{bind}', ") };
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec: {{selector: {{istio: ingressgateway}}, servers: [{{{bind}{rest}}}]}}\n"
        )
    };
    let plain = "port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.org]";
    let secure = "port: {number: 80, name: https, protocol: HTTPS}, hosts: [a.example.org], tls: {mode: SIMPLE, credentialName: c}";
    let found = |documents: String| {
        let world = world(&format!("{documents}---\n{BOOKINFO}"), &[]);
        let made = config(&world, &gateway());
        let listener = |l: &Arc<model::Listener>| {
            let chains: Vec<_> = l.chains.iter().map(|chain| &*chain.name).collect();
            format!("{} {} {}", l.name, l.address, chains.join(" "))
        };
        let listeners: Vec<_> = made.listeners.values().map(listener).collect();
        let problems = translate::check(&world).into_iter().filter(|problem| problem.message.contains("already"));
        (listeners, problems.map(|problem| problem.message).collect::<Vec<_>>())
    };
    let (listeners, problems) = found(
        server("a", "", plain)
            + &server("b", "127.0.0.2", secure)
            + &server("c", "::1", plain)
            + &server("d", "127.0.0.1", plain),
    );
    assert_eq!(
        listeners,
        [
            "127.0.0.1_8080 127.0.0.1:8080 http.80",
            "127.0.0.2_8080 127.0.0.2:8080 https.80.0.b.default.127.0.0.2",
            "::1_8080 [::1]:8080 http.80.::1",
        ],
        "the gateway's own address is no other one"
    );
    assert!(problems.is_empty(), "{problems:?}");
    let (listeners, problems) = found(
        server("a", "127.0.0.2", plain) + &server("b", "127.0.0.2", secure) + &server("c", "unix:///run/x", plain),
    );
    assert_eq!(listeners, ["127.0.0.2_8080 127.0.0.2:8080 http.80.127.0.0.2"], "nothing else is opened in its place");
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(problem.contains("port 80 of 127.0.0.2 for another protocol"), "{problem}");
}

#[test]
fn tls_of_a_server_in_full() {
    use model::tls::{CertificatePins, SecretFiles, TlsVersion};
    let server = |tls: &str| {
        let text = format!(
            "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: g}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ['*'], tls: {tls}}}
"
        );
        let made = config(&world(&format!("{BOOKINFO}\n---\n{text}"), &[]), &gateway());
        made.listeners["127.0.0.1_443"].chains[0].tls.clone().unwrap()
    };
    let files = server("{mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca, caCrl: /crl}");
    assert_eq!(files.certificates, [SecretFiles::Certificate { chain: "/c", key: "/k" }.name()]);
    let roots = SecretFiles::Roots { roots: "/ca", crl: Some("/crl") }.name();
    assert_eq!(files.validation.map(|v| v.trust), Some(roots));
    let pinned = server(
        "{mode: MUTUAL, credentialName: a, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256, AES128-SHA], \
         verifyCertificateSpki: [NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=]}",
    );
    assert_eq!(
        (pinned.versions.min, &pinned.cipher_suites[..]),
        (TlsVersion::V1_2, &["ECDHE-RSA-AES128-GCM-SHA256".to_owned()][..])
    );
    let pins = pinned.validation.and_then(|v| v.pins).unwrap();
    assert_eq!((pins.certificates.len(), pins.keys.len(), pins.keys[0][0]), (0, 1, 0x36));
    assert_ne!(*pins, CertificatePins::default());
    let pair =
        server("{mode: MUTUAL, tlsCertificates: [{serverCertificate: /c, privateKey: /k, caCertificates: /pair}]}");
    let roots = SecretFiles::Roots { roots: "/pair", crl: None }.name();
    assert_eq!(pair.validation.map(|v| v.trust), Some(roots));
    let any = server("{mode: MUTUAL, credentialName: a, insecureSkipVerify: true}");
    assert!(any.validation.is_none() && any.require_client_certificate);
}

/// Who vouches for clients, by what the server says and what is there. The gateway is in the namespace `default`.
#[test]
fn where_the_roots_of_clients_stand() {
    use model::secret::SecretValue;
    let stored = |kind: &str, place: &str, data: &str| {
        let field = if kind == "Secret" { "stringData" } else { "data" };
        format!("---\napiVersion: v1\nkind: {kind}\nmetadata: {{{place}}}\n{field}: {data}\n")
    };
    let cert = stored("Secret", "name: cert", "{tls.crt: c, tls.key: k, ca.crt: own}");
    let bare = stored("Secret", "name: cert", "{tls.crt: c, tls.key: k}");
    let secret = stored("Secret", "name: cert-cacert", "{ca.crt: secret, ca.crl: revoked}");
    let map = |name: &str, data: &str| stored("ConfigMap", name, data);
    let named = "caCertCredentialName: roots";
    for (what, tls, documents, expected) in [
        ("with the certificate", "", cert.clone(), Some(("own", ""))),
        ("a Secret of their own", "", format!("{cert}{secret}"), Some(("secret", "revoked"))),
        (
            "a ConfigMap",
            "",
            bare.clone() + &map("name: cert-cacert", "{ca.crt: map, ca.crl: gone}"),
            Some(("map", "gone")),
        ),
        ("Secrets come first", "", cert.clone() + &map("name: cert-cacert", "{ca.crt: map}"), Some(("own", ""))),
        (
            "a ConfigMap by name",
            named,
            cert.clone() + &map("name: roots", "{cacert: map, crl: gone}"),
            Some(("map", "gone")),
        ),
        ("of this namespace", named, cert.clone() + &map("name: roots, namespace: other", "{ca.crt: map}"), None),
        ("without roots", named, cert.clone() + &map("name: roots", "{ca.crt: '', ca.crl: x}"), None),
        (
            "of another, in full",
            "caCertCredentialName: 'configmap://other/roots'",
            cert.clone() + &map("name: roots, namespace: other", "{ca.crt: map}"),
            Some(("map", "")),
        ),
        (
            "a Secret is not given to others",
            "caCertCredentialName: 'kubernetes://other/roots'",
            cert.clone() + &stored("Secret", "name: roots, namespace: other", "{ca.crt: secret}"),
            None,
        ),
    ] {
        let text = format!(
            "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: g}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: 443, name: x, protocol: HTTPS}}, hosts: ['*'], tls: {{mode: MUTUAL, credentialName: cert, {tls}}}}}
{documents}"
        );
        let made = config(&world(&text, &[]), &gateway());
        let tls = made.listeners["127.0.0.1_443"].chains[0].tls.clone().unwrap();
        assert!(made.secrets.contains_key(&tls.certificates[0]), "{what}");
        let found = made.secrets.get(&tls.validation.unwrap().trust).map(|secret| match &secret.value {
            SecretValue::Trust { roots, crl, .. } => (String::from_utf8_lossy(roots), String::from_utf8_lossy(crl)),
            other => panic!("{what}: {other:?}"),
        });
        assert_eq!(found, expected.map(|(roots, crl)| (roots.into(), crl.into())), "{what}");
    }
}

#[test]
fn server_names_that_spell_out_a_service() {
    let documents = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 15443, name: tls, protocol: TLS}, hosts: ['*.local'], tls: {mode: AUTO_PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
";
    let made = config(&world(&format!("{BOOKINFO}\n---\n{documents}"), &["reviews/v1@3"]), &gateway());
    let of_reviews = |text: String| -> String {
        text.lines().filter(|l| l.contains("reviews") && l.contains("_.")).map(|l| format!("{}\n", l.trim())).collect()
    };
    insta::assert_snapshot!(
        "auto-passthrough",
        of_reviews(outline::listeners(&made)) + &of_reviews(outline::clusters(&made))
    );
}
