//! Kubernetes' Ingress: which are read, and what they come to.

use super::mesh::{BOOKINFO, config, gateway, world};
use super::outline;

/// An Ingress of the class `istio`; one that was created later has a higher `minute`.
fn ingress(name: &str, minute: u8, spec: &str) -> String {
    format!(
        "
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, creationTimestamp: '2026-01-01T00:0{minute}:00Z'}}
spec:
  ingressClassName: istio
{spec}
"
    )
}

fn tables(documents: &str) -> String {
    let config = config(&world(&format!("{BOOKINFO}{documents}"), &[]), &gateway());
    let tables = config.routes.iter().map(|(name, table)| format!("# {name}\n{}", outline::routes(table)));
    format!("{}{}", outline::listeners(&config), tables.collect::<String>())
}

fn to(service: &str, port: &str) -> String {
    format!("backend: {{service: {{name: {service}, port: {{{port}}}}}}}")
}

#[test]
fn hosts_paths_and_certificates() {
    let shop = format!(
        "
  defaultBackend: {{service: {{name: productpage, port: {{name: http}}}}}}
  tls:
  - {{hosts: [shop.example.org], secretName: shop}}
  - {{hosts: [none.example.org]}}
  rules:
  - host: shop.example.org
    http:
      paths:
      - {{path: /, pathType: Prefix, {reviews}}}
      - {{path: /ratings/, pathType: Prefix, {ratings}}}
      - {{path: /ratings, pathType: Exact, {details}}}
  - host: '*.example.org'
    http: {{paths: [{{path: '/a/*', pathType: ImplementationSpecific, {details}}}, {{path: /b, pathType: ImplementationSpecific, {details}}}, {{path: '/c.*', pathType: ImplementationSpecific, {details}}}, {{pathType: ImplementationSpecific, {named}}}]}}
  - host: bare.example.org
",
        reviews = to("reviews", "number: 9080"),
        ratings = to("ratings", "name: http"),
        details = to("details", "number: 9080"),
        named = to("details", "name: absent"),
    );
    // It is younger: of one path the other's counts, and paths of both are in one order.
    let other = format!(
        "
  tls: [{{secretName: all}}]
  rules:
  - host: shop.example.org
    http: {{paths: [{{path: /, pathType: Prefix, {ratings}}}, {{path: /ratings/deep, pathType: Prefix, {reviews}}}]}}
",
        ratings = to("ratings", "number: 9080"),
        reviews = to("reviews", "number: 9080"),
    );
    let secrets = "
---
apiVersion: v1
kind: Secret
metadata: {name: shop}
stringData: {tls.crt: CHAIN, tls.key: KEY}
";
    let documents = format!("{}{}{secrets}", ingress("other", 2, &other), ingress("shop", 1, &shop));
    insta::assert_snapshot!("ingresses", tables(&documents));
    let world = world(&format!("{BOOKINFO}{documents}"), &[]);
    assert!(config(&world, &gateway()).secrets.contains_key("kubernetes://shop"));
}

#[test]
fn beside_gateways_and_their_rules() {
    let gateway = "
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g, creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [shop.example.org]
  gateways: [g]
  http: [{match: [{uri: {prefix: /v}}], route: [{destination: {host: ratings}}]}]
";
    let spec = format!(
        "
  rules: [{{host: shop.example.org, http: {{paths: [{{path: /i, pathType: Prefix, {}}}]}}}}]
",
        to("reviews", "number: 9080")
    );
    let documents = format!("{}{gateway}", ingress("shop", 1, &spec));
    let text = tables(&documents);
    let routes: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("shop.example.org:80")).collect();
    assert!(routes[1].contains("Prefix(\"/v\")") && routes[2].contains("SegmentPrefix(\"/i\")"), "{text}");
    let problems = translate::check(&world(&format!("{BOOKINFO}{documents}"), &[]));
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn which_are_read() {
    let class = |name: &str, controller: &str| {
        format!(
            "\n---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: {name}}}\nspec: {{controller: {controller}}}\n"
        )
    };
    let mesh = |config: &str| {
        format!(
            "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata: {{mesh: '{config}'}}\n"
        )
    };
    let ours = class("edge", "istio.io/ingress-controller");
    let others = class("istio", "example.org/nginx");
    let annotated = "kubernetes.io/ingress.class: ";
    for (metadata, spec, documents, read) in [
        ("", "ingressClassName: istio", String::new(), true),
        ("", "ingressClassName: istio", others.clone(), false),
        ("", "ingressClassName: edge", ours.clone(), true),
        ("", "ingressClassName: edge", String::new(), false),
        ("", "", ours.clone(), false),
        ("", "", mesh("ingressControllerMode: DEFAULT"), true),
        ("", "ingressClassName: edge", mesh("ingressControllerMode: OFF") + &ours, false),
        ("istio", "", String::new(), true),
        ("nginx", "ingressClassName: istio", String::new(), false),
        ("nginx", "", mesh("ingressClass: nginx"), true),
        ("istio", "", mesh("ingressSelector: other"), false),
        ("istio", "", mesh("ingressService: istio-ingressgateway"), true),
        ("istio", "", mesh("ingressService: other"), false),
    ] {
        let metadata =
            if metadata.is_empty() { String::new() } else { format!(", annotations: {{{annotated}{metadata}}}") };
        let ingress = format!(
            "\n---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: i{metadata}}}\nspec: {{{spec}{}defaultBackend: {{service: {{name: reviews, port: {{number: 9080}}}}}}}}\n",
            if spec.is_empty() { "" } else { ", " }
        );
        let all = format!("{BOOKINFO}{ingress}{documents}");
        let made = config(&world(&all, &[]), &gateway());
        assert_eq!(made.routes.contains_key("http.8080") || made.routes.contains_key("http.80"), read, "{all}");
    }
}

#[test]
fn what_cannot_work() {
    let spec = format!(
        "
  tls: [{{hosts: [a.example.org], secretName: absent}}]
  rules:
  - host: a.example.org
    http:
      paths:
      - {{path: /, pathType: Prefix, {}}}
      - {{path: /b, pathType: Prefix, {}}}
      - {{path: /c, pathType: Prefix, {}}}
      - {{path: /c/, pathType: Prefix, {}}}
",
        to("review", "number: 9080"),
        to("reviews", "number: 1"),
        to("reviews", "name: web"),
        to("reviews", "name: http"),
    );
    let other = format!(
        "
  tls: [{{hosts: [a.example.org], secretName: absent}}]
  rules: [{{host: a.example.org, http: {{paths: [{{path: /b, pathType: Prefix, {}}}]}}}}]
",
        to("reviews", "number: 9080")
    );
    let bare = |name: &str, metadata: &str, spec: &str| {
        let spec = format!("  {spec}\n  defaultBackend: {{service: {{name: reviews, port: {{number: 9080}}}}}}");
        let text = ingress(name, 5, &spec).replace("  ingressClassName: istio\n", "");
        text.replace("metadata: {", &format!("metadata: {{{metadata}"))
    };
    let documents = [
        BOOKINFO.to_owned(),
        ingress("younger", 2, &other),
        ingress("older", 1, &spec),
        bare("without", "", ""),
        bare("unknown", "", "ingressClassName: edge"),
        bare("nginx", "annotations: {kubernetes.io/ingress.class: nginx}, ", ""),
        bare(
            "rewritten",
            "annotations: {kubernetes.io/ingress.class: istio, nginx.ingress.kubernetes.io/rewrite-target: /}, ",
            "",
        ),
    ];
    let world = world(&documents.concat(), &[]);
    let text: String = translate::check(&world).iter().map(|p| format!("{p}\n")).collect();
    insta::assert_snapshot!("ingress-warnings", text);
}
