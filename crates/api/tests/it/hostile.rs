//! Text that is meant to hurt: it may be refused, but it may not crash us or take for ever.

use api::yaml::{Limits, read};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn refused(text: &str, why: &str) {
    let parsed = api::parse("f", text);
    let found: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|p| p.contains(why)), "{found:?}");
    assert!(parsed.resources.is_empty());
}

#[test]
fn deep_nesting() {
    refused(&"[".repeat(100_000), "nested deeper");
    refused(&format!("{}1{}", "{a: ".repeat(200), "}".repeat(200)), "nested deeper");
    refused(&"- ".repeat(100_000), "nested deeper");
    let lines: String = (0..2_000).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    refused(&lines, "nested deeper");
    refused(&"? ".repeat(50_000), "error");
}

#[test]
fn alias_bombs() {
    let mut wide = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 10].join(", ");
        wide.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    refused(&wide, "expand to too much");

    let mut deep = "a0: &a0 [x]\n".to_owned();
    for i in 1..200 {
        deep.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    refused(&deep, "nest lists and mappings deeper");

    let long = "x".repeat(1 << 20);
    let many = format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 1000].join(", "));
    refused(&many, "expand to too much");
}

#[test]
fn large_text() {
    let limits = Limits { bytes: 10, ..Limits::default() };
    assert!(read("f", "a: 12345678901234567890", &limits).problems[0].to_string().contains("at most 10 bytes"));
}

#[test]
fn many_problems_are_counted_not_listed() {
    let fields: String = (0..20_000).map(|i| format!("  f{i}: 1\n")).collect();
    let text = format!("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: x}}\nspec:\n{fields}");
    let parsed = api::parse("f", &text);
    assert!(parsed.problems.len() < 150);
    assert!(parsed.problems.iter().any(|p| p.message.contains("more problems")));
    let documents = "---\n[\n".repeat(5_000);
    assert!(api::parse("f", &documents).problems.len() <= 200);
}

/// One good document per kind, dense with fields.
const GOOD: [&str; 10] = [
    "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: x}, spec: {hosts: [a], exportTo: ['.'], http: [{match: [{uri: {regex: a}, headers: {x: {exact: y}}, port: 80}], route: [{destination: {host: b, subset: c, port: {number: 80}}, weight: 5}], timeout: 5s, retries: {attempts: 2, retryOn: 5xx}, fault: {delay: {fixedDelay: 1s, percentage: {value: 1}}}, mirror: {host: d}, corsPolicy: {maxAge: 1s}, headers: {request: {set: {a: b}}}}], tls: [{match: [{sniHosts: [a]}], route: [{destination: {host: b}}]}], tcp: [{route: [{destination: {host: b}}]}]}}",
    "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: x}, spec: {host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: a, ttl: 0s}, maglev: {tableSize: 65537}}, localityLbSetting: {distribute: [{from: a/*, to: {b: 100}}]}}, connectionPool: {tcp: {maxConnections: 1}}, tls: {mode: SIMPLE, credentialName: c}, portLevelSettings: [{port: {number: 80}, tls: {}}]}, subsets: [{name: v1, labels: {v: a}}]}}",
    "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: x}, spec: {selector: {a: b}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a/b], tls: {mode: MUTUAL, credentialNames: [a], caCrl: b, minProtocolVersion: TLSV1_2}}]}}",
    "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: x}, spec: {hosts: [a], addresses: [10.0.0.0/8], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}], resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {http: 80}, locality: a/b}]}}",
    "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: x}, spec: {workloadSelector: {labels: {a: b}}, ingress: [{port: {number: 443, protocol: HTTPS}, defaultEndpoint: '127.0.0.1:80', tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}], egress: [{hosts: [./*]}], outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a, port: {number: 1}}}}}",
    "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: x}, spec: {selector: {matchLabels: {a: b}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}}}}",
    "{apiVersion: v1, kind: Service, metadata: {name: x, labels: {a: b}, annotations: {c: d}}, spec: {type: NodePort, selector: {a: b}, ports: [{name: a, port: 80, targetPort: web, nodePort: 30000}]}}",
    "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {replicas: 1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i, ports: [{containerPort: 80, name: http}]}]}}}}",
    "{apiVersion: v1, kind: Secret, metadata: {name: x}, type: kubernetes.io/tls, data: {tls.crt: YQ==, tls.key: YQ==}, stringData: {a: b}}",
    "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {a: b}, binaryData: {c: YQ==}}]}",
];

/// The places of all values inside of `json`, as JSON pointers.
fn pointers(json: &Json, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match json {
        Json::Array(items) => items.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), out)),
        Json::Object(map) => map.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{}", k.replace('/', "~1")), out)),
        _ => {}
    }
}

fn odd_value() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(json!(null)),
        Just(json!([])),
        Just(json!({})),
        Just(json!("")),
        Just(json!("*")),
        Just(json!("/")),
        Just(json!(":")),
        Just(json!("é*.")),
        Just(json!(-1)),
        Just(json!(0)),
        Just(json!(1e300)),
        Just(json!(u64::MAX)),
        Just(json!([null])),
        Just(json!({"": null})),
        Just(json!({"a": {"b": []}})),
        Just(json!([{}, {}])),
        Just(json!(true)),
        any::<String>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
    ]
}

#[test]
fn good_documents_are_good() {
    for text in GOOD {
        let parsed = api::parse("f", text);
        let errors: Vec<String> = parsed.problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{text}\n{errors:?}");
    }
}

/// Pieces of documents in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("apiVersion: networking.istio.io/v1\n"),
        Just("kind: VirtualService\n"),
        Just("kind: List\nitems:\n"),
        Just("metadata: {name: x}\n"),
        Just("spec:\n"),
        Just("  hosts: [a]\n"),
        Just("  http:\n"),
        Just("  - match:\n"),
        Just("    - uri: {regex: '('}\n"),
        Just("    route: [{destination: {host: b}, weight: -1}]\n"),
        Just("---\n"),
        Just("- "),
        Just("&a "),
        Just("*a "),
        Just("? "),
        Just(": "),
        Just("!!int "),
        Just("<<: *a\n"),
        Just("\t"),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("|\n"),
        Just(">-\n"),
        Just("\""),
        Just("'"),
        Just("#"),
        Just("%TAG ! x\n"),
        Just("...\n"),
        Just("\n"),
        Just("  "),
        Just("é\u{0}\u{feff}"),
        Just(","),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn never_panics_on_any_text(text in any::<String>()) {
        let parsed = api::parse("f", &text);
        for problem in parsed.problems {
            problem.render(&text);
        }
    }

    #[test]
    fn never_panics_on_pieces(text in pieces()) {
        let parsed = api::parse("f", &text);
        for problem in parsed.problems {
            problem.render(&text);
        }
    }

    #[test]
    fn never_panics_on_odd_values(which in 0..GOOD.len(), place in any::<prop::sample::Index>(), value in odd_value()) {
        let mut document = read("f", GOOD[which], &Limits::default()).documents[0].to_json();
        let mut places = Vec::new();
        pointers(&document, "", &mut places);
        if let Some(old) = document.pointer_mut(&places[place.index(places.len())]) {
            *old = value;
        }
        let text = document.to_string();
        let parsed = api::parse("f", &text);
        for problem in &parsed.problems {
            problem.render(&text);
        }
        for resource in &parsed.resources {
            let back = api::Resource::from_json(resource.document(), resource.origin.clone());
            prop_assert_eq!(back.as_ref().ok(), Some(&**resource));
        }
        let again = api::Resource::from_json(&document, Default::default());
        let _ = again.map(|r| r.to_yaml());
    }
}
