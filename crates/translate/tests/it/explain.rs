//! What a request would meet.

use http::{HeaderMap, HeaderValue, Method};
use translate::Node;
use translate::explain::{Explanation, Question, caller, explain};

use super::mesh::{BOOKINFO, gateway, sidecar, world};

const SUBSETS: &str = include_str!("../../../../samples/bookinfo/mesh/destination-rules.yaml");

fn question(host: &str, port: u16, path: &str, headers: &[(&'static str, &str)]) -> Question {
    let mut map = HeaderMap::new();
    headers.iter().for_each(|(name, value)| _ = map.append(*name, HeaderValue::from_str(value).unwrap()));
    Question {
        host: host.into(),
        port,
        authority: None,
        server_name: None,
        method: Method::GET,
        path: path.into(),
        headers: map,
    }
}

fn text(explanation: &Explanation) -> String {
    let mut out = String::new();
    for step in &explanation.steps {
        out += &format!("{}: {}\n", step.stage, step.name);
        step.facts.iter().for_each(|fact| out += &format!("  {fact}\n"));
        step.others.iter().for_each(|other| out += &format!("  not {}: {}\n", other.name, other.reason));
    }
    out + &format!("=> {} ({})\n", explanation.verdict, if explanation.served { "served" } else { "not served" })
}

const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: for-jason
    match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {prefix: /admin}}, {sourceLabels: {app: other}}]
    route: [{destination: {host: reviews, subset: v9}}]
  - timeout: 2s
    route:
    - {destination: {host: reviews, subset: v1}, weight: 80}
    - {destination: {host: reviews, subset: v3}, weight: 20}
";

#[test]
fn in_the_mesh() {
    let world = world(
        &format!("{BOOKINFO}\n---\n{SUBSETS}\n---\n{RULES}"),
        &["productpage/v1@2", "reviews/v1@3", "reviews/v2@4"],
    );
    let node = sidecar("productpage/v1@2", 9080);
    let ask = |question: &Question| text(&explain(&world, &node, question));
    insta::assert_snapshot!(
        "explain-mesh",
        [
            ask(&question("reviews", 9080, "/x", &[("end-user", "jason")])),
            ask(&question("reviews", 9080, "/x", &[])),
            ask(&question("reviews", 9080, "/admin", &[("end-user", "anna")])),
            ask(&question("ratings", 9080, "/", &[])),
            ask(&question("ratings", 80, "/", &[])),
            ask(&question("absent", 80, "/", &[])),
        ]
        .join("\n")
    );
}

#[test]
fn through_a_gateway() {
    let bookinfo = include_str!("../../../../samples/bookinfo/mesh/gateway.yaml");
    let world = world(&format!("{BOOKINFO}\n---\n{bookinfo}"), &["productpage/v1@2"]);
    let ask = |question: &Question| text(&explain(&world, &gateway(), question));
    insta::assert_snapshot!(
        "explain-gateway",
        [
            ask(&question("shop.example.org", 80, "/productpage", &[])),
            ask(&question("shop.example.org", 80, "/nothing", &[])),
            ask(&question("shop.example.org", 81, "/", &[])),
        ]
        .join("\n")
    );
}

#[test]
fn callers_by_name() {
    let bookinfo = include_str!("../../../../samples/bookinfo/mesh/gateway.yaml");
    let world = world(&format!("{BOOKINFO}\n---\n{bookinfo}"), &["details/v1@5"]);
    let labels = |name: &str| {
        caller(&world, "default", name)
            .map(|node| node.labels.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","))
    };
    for (name, expected) in [
        ("details", Some("app=details,version=v1")),
        ("details-v1-x", Some("app=details,version=v1")),
        ("reviews-v3", Some("app=reviews,version=v3")),
        ("reviews", Some("app=reviews,version=v1")),
        ("ingressgateway", Some("istio=ingressgateway")),
        ("nobody", None),
    ] {
        assert_eq!(labels(name).as_deref(), expected, "{name}");
    }
}

#[test]
fn a_limit_at_the_server() {
    let policy = "
apiVersion: halcyon.dev/v1alpha1
kind: ServicePolicy
metadata: {name: p}
spec: {host: reviews, concurrencyLimit: {max: 20}}
";
    let world = world(&format!("{BOOKINFO}\n---\n{policy}"), &["productpage/v1@2", "reviews/v1@3", "ratings/v1@4"]);
    let node = sidecar("productpage/v1@2", 9080);
    let ask = |host: &str| text(&explain(&world, &node, &question(host, 9080, "/", &[])));
    let limit = "policy: concurrency limit at the server\n  reviews-v1: 3 to 20 at once, beyond that 503; by percentile \
                 50 of the latencies in 1s, over that of 50 requests measured every 1m and 25 % \
                 (ServicePolicy/default/p)\n";
    assert!(ask("reviews").contains(limit), "{}", ask("reviews"));
    assert!(!ask("ratings").contains("concurrency limit"));
}

#[test]
fn policies_on_access() {
    let chain = include_str!("../../../../samples/bookinfo/mesh/allow-chain.yaml");
    let gateway_policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: edge}\nspec: {selector: {matchLabels: {istio: ingressgateway}}, action: DENY, rules: [{to: [{operation: {paths: [/login], ports: ['8080']}}]}]}";
    let edge = include_str!("../../../../samples/bookinfo/mesh/gateway.yaml");
    let documents = [BOOKINFO, chain, gateway_policy, edge].join("\n---\n");
    let world = world(&documents, &["productpage/v1@2", "reviews/v1@3", "ratings/v1@4"]);
    let ask = |node: &Node, host: &str, method: &str, path: &str| {
        let port = if host == "shop.example.org" { 80 } else { 9080 };
        let question = Question { method: method.parse().unwrap(), ..question(host, port, path, &[]) };
        let told = text(&explain(&world, node, &question));
        let of_access = |line: &&str| {
            line.starts_with("access") || line.starts_with("=>") || line.contains("refused") || line.contains("allowed")
        };
        told.lines().filter(of_access).map(|line| format!("{}\n", line.trim())).collect::<String>()
    };
    let productpage = sidecar("productpage/v1@2", 9080);
    let asked = [
        ask(&productpage, "reviews", "GET", "/"),
        ask(&productpage, "reviews", "POST", "/"),
        ask(&sidecar("ratings/v1@4", 9080), "reviews", "GET", "/"),
        ask(&gateway(), "shop.example.org", "GET", "/productpage"),
        ask(&gateway(), "shop.example.org", "GET", "/login"),
    ];
    insta::assert_snapshot!("explain-access", asked.join("\n"));
}
