//! VirtualService and DestinationRule, as sidecars get them.

use super::mesh::{BOOKINFO, config, sidecar, sidecar_with_upstream, world};
use super::outline;

const SUBSETS: &str = include_str!("../../../../samples/bookinfo/mesh/destination-rules.yaml");

/// The routes that productpage has for reviews under these rules.
fn reviews(rules: &str) -> String {
    let world = world(&format!("{BOOKINFO}\n---\n{SUBSETS}\n---\n{rules}"), &["reviews/v1@3"]);
    let config = config(&world, &sidecar("productpage/v1@2", 9080));
    let table = outline::routes(&config.routes["9080"]);
    let from = table.find("reviews.default").unwrap();
    let rest = &table[from..];
    let end = rest[1..].find("\n[a-z*]").map_or(rest.len(), |at| at + 1);
    rest[..end].lines().skip(1).take_while(|l| l.starts_with("  ")).map(|l| format!("{}\n", l.trim())).collect()
}

/// A VirtualService for reviews with these HTTP rules, in flow style.
fn rule(http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: reviews}}\nspec: {{hosts: [reviews], http: [{http}]}}"
    )
}

#[test]
fn a_sidecar_of_bookinfo() {
    let world = world(BOOKINFO, &["productpage/v1@2", "reviews/v1@3", "reviews/v2@4", "details/v1@5"]);
    let config = config(&world, &sidecar("productpage/v1@2", 9080));
    insta::assert_snapshot!("bookinfo-listeners", outline::listeners(&config));
    insta::assert_snapshot!("bookinfo-clusters", outline::clusters(&config));
    insta::assert_snapshot!("bookinfo-routes", outline::routes(&config.routes["9080"]));
    let names: Vec<_> = config.names["names"].names.keys().filter(|n| n.starts_with("reviews")).collect();
    assert_eq!(names, ["reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"]);
}

#[test]
fn http_rules() {
    let to = "route: [{destination: {host: reviews, subset: v1}}]";
    let rules = [
        ("by header", format!("{{match: [{{headers: {{end-user: {{exact: jason}}}}}}], route: [{{destination: {{host: reviews, subset: v2}}}}]}}, {{{to}}}")),
        ("by weight", "{route: [{destination: {host: reviews, subset: v1}, weight: 90}, {destination: {host: reviews, subset: v3}, weight: 10}]}".into()),
        ("without weight", "{route: [{destination: {host: reviews, subset: v1}, weight: 0}]}".into()),
        ("after all", format!("{{{to}}}, {{match: [{{uri: {{prefix: /never}}}}], {to}}}")),
        ("two conditions", format!("{{match: [{{uri: {{exact: /a}}, method: {{exact: GET}}}}, {{queryParams: {{q: {{}}}}, withoutHeaders: {{x: {{exact: y}}}}}}], {to}}}")),
        ("timeout and no retry", format!("{{timeout: 500ms, retries: {{attempts: 0}}, {to}}}")),
        ("retries", format!("{{retries: {{attempts: 5, perTryTimeout: 1s, retryOn: \"gateway-error,503\"}}, {to}}}")),
        ("retries without conditions", format!("{{retries: {{attempts: 5}}, {to}}}")),
        ("fault", format!("{{fault: {{delay: {{fixedDelay: 7s, percentage: {{value: 50}}}}, abort: {{httpStatus: 500}}}}, {to}}}")),
        ("rewrite", format!("{{match: [{{uri: {{prefix: /a}}}}], rewrite: {{uri: /b}}, {to}}}")),
        ("mirror", format!("{{mirror: {{host: reviews, subset: v3}}, {to}}}")),
        ("other callers", format!("{{match: [{{sourceLabels: {{app: other}}}}, {{sourceNamespace: other}}, {{port: 80}}, {{gateways: [g]}}], {to}}}")),
        ("this caller", format!("{{match: [{{sourceLabels: {{app: productpage}}}}], {to}}}")),
        ("redirect", "{redirect: {uri: /new, redirectCode: 308}}".into()),
        ("answer", "{directResponse: {status: 418, body: {string: teapot}}}".into()),
    ];
    let text: String = rules.iter().map(|(name, http)| format!("{name}\n{}\n", reviews(&rule(http)))).collect();
    insta::assert_snapshot!("http-rules", text);
}

#[test]
fn destination_rules() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    connectionPool: {tcp: {connectTimeout: 1s}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - name: v2
    labels: {version: v2}
    trafficPolicy: {loadBalancer: {simple: RANDOM}, tls: {mode: DISABLE}}
  - name: v3
    labels: {version: v3}
    trafficPolicy: {portLevelSettings: [{port: {number: 9080}, tls: {mode: ISTIO_MUTUAL, sni: own}}]}
";
    let world = world(&format!("{BOOKINFO}\n---\n{rule}"), &["reviews/v1@3", "reviews/v2@4"]);
    let config = config(&world, &sidecar("productpage/v1@2", 9080));
    let of_reviews: String =
        outline::clusters(&config).lines().filter(|l| l.contains("reviews")).map(|l| format!("{l}\n")).collect();
    insta::assert_snapshot!("destination-rule", of_reviews);
    let timeout = |name: &str| config.clusters[name].connect_timeout.as_secs();
    let host = "reviews.default.svc.cluster.local";
    assert_eq!(timeout(&format!("outbound|9080|v1|{host}")), 1, "a subset inherits");
    assert_eq!(timeout(&format!("outbound|9080|v3|{host}")), 10, "a port does not");
}

#[test]
fn upstreams_under_local_addresses() {
    let world = world(BOOKINFO, &["ratings/v1@6"]);
    let config = config(&world, &sidecar_with_upstream("reviews/v2@4", "ratings", 9080));
    insta::assert_snapshot!("upstreams-listeners", outline::listeners(&config));
    insta::assert_snapshot!("upstreams-routes", outline::routes(config.routes.values().next().unwrap()));
}
