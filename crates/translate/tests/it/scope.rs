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

/// Hosts that requests name: by HTTP, and by the server name; what names none goes where it went.
#[test]
fn hosts_that_requests_name() {
    use model::cluster::Discovery;
    use model::http_proxy::HttpFilter;
    let entry = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: any}
spec:
  hosts: ['*.example.org']
  ports:
  - {number: 80, name: http, protocol: HTTP}
  - {number: 443, name: tls, protocol: TLS}
  - {number: 9, name: tcp, protocol: TCP}
  resolution: DYNAMIC_DNS
";
    let secured = "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: any}
spec: {host: '*.example.org', trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}}
";
    let node = sidecar("productpage/v1@2", 9080);
    let made = config(&world(&format!("{entry}---\n{BOOKINFO}"), &[]), &node);
    let cluster = |port: u16| made.clusters[&*format!("outbound|{port}||*.example.org")].clone();
    for port in [80, 443] {
        let Discovery::DynamicForward(cache) = &cluster(port).discovery else { panic!("{port}: {:?}", cluster(port)) };
        assert_eq!((&*cache.name, cache.refused.len()), ("named_hosts", 4), "nobody is led to the machine itself");
    }
    assert_eq!(cluster(9).discovery, Discovery::OriginalDestination);
    let has_filter = |config: &model::Config| {
        let chains = config.listeners["0.0.0.0_80"].chains.iter();
        let mut http = chains.filter_map(|chain| match &chain.filter {
            model::NetworkFilter::Http(http) => Some(http),
            model::NetworkFilter::Tcp(_) => None,
        });
        http.all(|http| http.filters.iter().any(|filter| matches!(filter, HttpFilter::DynamicForward(_))))
    };
    assert!(has_filter(&made));
    for listener in ["0.0.0.0_443", "[::]_443"] {
        let listener = &made.listeners[listener];
        let [chain] = &listener.chains[..] else { panic!("{listener:?}") };
        assert_eq!(chain.matches.server_names, ["*.example.org"]);
        let model::NetworkFilter::Tcp(tcp) = &chain.filter else { panic!("{chain:?}") };
        assert_eq!(tcp.server_name_forward.as_ref().map(|forward| forward.port), Some(443));
        assert!(listener.default_chain.is_some() && listener.inspect.tls && listener.inspect.continue_on_timeout);
    }
    let hosts = &made.routes["80"].hosts;
    assert!(hosts.iter().any(|host| host.domains == ["*.example.org"]), "{hosts:?}");
    let secured = config(&world(&format!("{entry}{secured}"), &[]), &node);
    let model::cluster::Transport::Tls(tls) = &secured.clusters["outbound|80||*.example.org"].transport else {
        panic!("plain text");
    };
    assert_eq!((&tls.sni, tls.validation.as_ref().map(|v| v.names.len())), (&None, Some(0)), "the host decides");
    let without = config(&world(BOOKINFO, &[]), &node);
    let filters = without.listeners.values().flat_map(|l| &l.chains).filter_map(|chain| match &chain.filter {
        model::NetworkFilter::Http(http) => Some(http.filters.len()),
        model::NetworkFilter::Tcp(_) => None,
    });
    assert!(filters.max() < Some(3), "nobody else has the filter");
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
