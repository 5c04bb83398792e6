//! What a proxy sees: `exportTo`, `Sidecar`, ServiceEntry, implied services.

use super::mesh::{BOOKINFO, config, sidecar, world};
use super::outline;

fn hosts(documents: &str) -> Vec<String> {
    let world = world(documents, &["reviews/v1@3"]);
    world
        .visible(&sidecar("productpage/v1@2", 9080))
        .iter()
        .map(|s| s.host.split('.').next().unwrap().to_owned())
        .collect()
}

#[test]
fn sidecars_and_exports() {
    let sidecar = |hosts: &str| {
        format!(
            "{BOOKINFO}\n---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: default}}\nspec: {{egress: [{{hosts: [{hosts}]}}]}}"
        )
    };
    let hidden = BOOKINFO.replacen(
        "  name: details\n",
        "  name: details\n  annotations: {networking.istio.io/exportTo: other}\n",
        1,
    );
    for (documents, expected) in [
        (BOOKINFO.to_owned(), vec!["details", "productpage", "ratings", "reviews"]),
        (sidecar("\"./*\""), vec!["details", "productpage", "ratings", "reviews"]),
        (sidecar("\"./reviews.default.svc.cluster.local\""), vec!["reviews"]),
        (sidecar("\"./reviews.default.svc.cluster.local.\""), vec!["reviews"]),
        (sidecar("\"other/*\""), vec![]),
        (sidecar("\"~/*\""), vec![]),
        (sidecar("\"*/*\", \"~default/ratings.default.svc.cluster.local\""), vec!["details", "productpage", "reviews"]),
        (hidden, vec!["productpage", "ratings", "reviews"]),
    ] {
        assert_eq!(hosts(&documents), expected, "{documents}");
    }
}

#[test]
fn unknown_destinations() {
    let policy = |spec: &str| {
        format!(
            "{BOOKINFO}\n---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: default, namespace: istio-system}}\nspec: {spec}"
        )
    };
    for (documents, to, routed) in [
        (BOOKINFO.to_owned(), "PassthroughCluster", "PassthroughCluster x1"),
        (policy("{outboundTrafficPolicy: {mode: ALLOW_ANY}}"), "PassthroughCluster", "PassthroughCluster x1"),
        (policy("{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"), "BlackHoleCluster", "status: 502"),
        (policy("{outboundTrafficPolicy: {}, egress: [{hosts: ['./*']}]}"), "BlackHoleCluster", "status: 502"),
    ] {
        let config = config(&world(&documents, &[]), &sidecar("productpage/v1@2", 9080));
        let listeners = outline::listeners(&config);
        assert!(listeners.contains(&format!("else unknown: -> tcp to {to} x1")), "{documents}\n{listeners}");
        let routes = outline::routes(&config.routes["9080"]);
        let unknown = routes.lines().skip_while(|l| !l.ends_with("[*]")).nth(1).unwrap();
        assert!(unknown.contains(routed), "{documents}\n{unknown}");
    }
}

#[test]
fn outside_services() {
    let entries = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.org]
  ports: [{number: 443, name: https, protocol: HTTPS}, {number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.org]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, ports: {tcp: 6432}}, {address: 10.0.0.2}, {network: other}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pay}
spec:
  hosts: [pay.example.org.]
  ports: [{number: 443, name: http, protocol: HTTP}]
  resolution: DNS
  subjectAltNames: [pay.example.org]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: pay}
spec: {host: pay.example.org, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /ca}}}
";
    let world = world(entries, &[]);
    let config = config(&world, &sidecar("productpage/v1@2", 9080));
    insta::assert_snapshot!("entries-clusters", outline::clusters(&config));
    insta::assert_snapshot!("entries-listeners", outline::listeners(&config));
}

#[test]
fn sockets_with_a_path() {
    let entries = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: local}
spec:
  hosts: [local.example.org]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 'unix:///run/app.sock'}, {address: 'unix://@app'}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: selected}
spec:
  hosts: [selected.example.org]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  workloadSelector: {labels: {app: local}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w}
spec: {address: 'unix:///run/other.sock', labels: {app: local}}
";
    let config = config(&world(entries, &[]), &sidecar("productpage/v1@2", 9080));
    for (host, expected) in [("local", "unix:/run/app.sock unix:@app"), ("selected", "unix:/run/other.sock")] {
        let set = &config.endpoints[format!("outbound|80||{host}.example.org").as_str()];
        let found: Vec<_> = set.iter().map(|endpoint| endpoint.address.to_string()).collect();
        assert_eq!(found.join(" "), expected);
    }
}
