//! Delegation: what of a root rule and its delegate a sidecar gets.

use super::mesh::{BOOKINFO, config, sidecar, world};
use super::outline;

/// The routes that productpage has for reviews, by a root rule with this (flow style) and a delegate in the namespace
/// `team` with that.
fn routes(root: &str, delegate: &str, export_to: &str) -> Vec<String> {
    let documents = format!(
        "{BOOKINFO}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: root}}
spec:
  hosts: [reviews]
  http: [{{delegate: {{name: part, namespace: team}}, {root}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: part, namespace: team}}
spec: {{exportTo: [{export_to}], http: [{{{delegate}}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: reviews, namespace: team}}
spec: {{ports: [{{port: 80, name: http}}]}}
"
    );
    let config = config(&world(&documents, &[]), &sidecar("productpage/v1@2", 9080));
    let table = outline::routes(&config.routes["9080"]);
    let of_reviews = table.lines().skip_while(|l| !l.starts_with("reviews.default")).skip(1);
    let retry = " retry 2 on connect-failure,refused-stream,retriable-status-codes,cancelled,unavailable";
    of_reviews.take_while(|l| l.starts_with("  ")).map(|l| l.trim().replace(retry, "")).collect()
}

#[test]
fn conditions_and_settings() {
    let to = "route: [{destination: {host: reviews}}]";
    let whole = "outbound|80||reviews.team.svc.cluster.local x1";
    for (root, delegate, expected) in [
        ("", to.to_owned(), vec![format!("Prefix(\"/\") -> {whole}")]),
        ("match: [{uri: {prefix: /a}}]", to.to_owned(), vec![format!("Prefix(\"/a\") -> {whole}")]),
        (
            "match: [{uri: {prefix: /a}}]",
            format!("match: [{{uri: {{exact: /a/b}}}}, {{uri: {{prefix: /c}}}}], {to}"),
            vec![format!("Exact(\"/a/b\") -> {whole}")],
        ),
        ("match: [{sourceLabels: {app: other}}]", format!("match: [{{uri: {{prefix: /a}}}}], {to}"), vec![]),
        ("match: [{sourceNamespace: other}]", format!("match: [{{uri: {{prefix: /a}}}}], {to}"), vec![]),
        ("match: [{gateways: [edge]}]", format!("match: [{{uri: {{prefix: /a}}}}], {to}"), vec![]),
        ("match: [{gateways: [edge]}]", format!("match: [{{gateways: [mesh]}}], {to}"), vec![]),
        ("match: [{port: 80}]", format!("match: [{{port: 9080}}], {to}"), vec![]),
        (
            "mirror: {host: reviews}, mirrorPercentage: {value: 10}",
            to.to_owned(),
            vec![format!(
                "Prefix(\"/\") -> {whole} mirror outbound|9080||reviews.default.svc.cluster.local Fraction(100000)"
            )],
        ),
        (
            "mirror: {host: reviews}",
            format!("mirrors: [{{destination: {{host: reviews}}}}], {to}"),
            vec![format!(
                "Prefix(\"/\") -> {whole} mirror outbound|80||reviews.team.svc.cluster.local Fraction(1000000)"
            )],
        ),
    ] {
        assert_eq!(routes(root, &delegate, "'*'"), expected, "{root} / {delegate}");
    }
}

#[test]
fn one_that_is_not_exported_is_not_followed() {
    let to = "route: [{destination: {host: reviews}}]";
    assert_eq!(routes("", to, "other"), Vec::<String>::new());
    assert_eq!(routes("", to, "default").len(), 1);
}
