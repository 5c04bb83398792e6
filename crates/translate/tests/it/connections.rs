//! TLS and TCP rules: for whom they are, at sidecars and at gateways.

use super::mesh::{config, gateway, sidecar, world};
use super::outline;

/// Traffic to a host outside that leaves through a gateway: the usual way to write it, with a leg per `gateways`.
const EGRESS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [api.example.org]
  addresses: [10.9.9.9]
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 5432, name: tcp, protocol: TCP}]
  resolution: DNS
---
apiVersion: v1
kind: Service
metadata: {name: egress}
spec: {ports: [{port: 443, name: tls}, {port: 5432, name: tcp}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: egress}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: [api.example.org.], tls: {mode: PASSTHROUGH}}
  - {port: {number: 5432, name: tcp, protocol: TCP}, hosts: [\"*\"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: through-egress}
spec:
  hosts: [api.example.org]
  gateways: [mesh, ./egress]
  tls:
  - match: [{gateways: [mesh], sourceLabels: {app: other}, sniHosts: [api.example.org]}]
    route: [{destination: {host: other, port: {number: 443}}}]
  - match: [{gateways: [mesh], sniHosts: [API.example.org.]}]
    route: [{destination: {host: egress, port: {number: 443}}}]
  - match: [{gateways: [egress], port: 443, sniHosts: [api.example.org]}]
    route: [{destination: {host: api.example.org, port: {number: 443}}}]
  tcp:
  - match: [{gateways: [mesh]}]
    route: [{destination: {host: egress, port: {number: 5432}}}]
  - match: [{gateways: [egress.default.svc.cluster.local]}]
    route: [{destination: {host: api.example.org, port: {number: 5432}}}]
";

#[test]
fn both_legs_of_an_egress_gateway() {
    let world = world(EGRESS, &[]);
    let of = |node, wanted: &str| -> String {
        let text = outline::listeners(&config(&world, &node));
        let from = text.lines().skip_while(|l| !l.starts_with(wanted));
        from.enumerate().take_while(|(i, l)| *i == 0 || l.starts_with("  ")).map(|(_, l)| format!("{l}\n")).collect()
    };
    let text = [
        of(sidecar("productpage/v1@2", 9080), "10.9.9.9_443"),
        of(sidecar("productpage/v1@2", 9080), "10.9.9.9_5432"),
        of(gateway(), "127.0.0.1_443"),
        of(gateway(), "127.0.0.1_5432"),
    ];
    insta::assert_snapshot!("egress-legs", text.concat());
}

/// A listener and what stands below it.
fn listener(text: &str, wanted: &str) -> String {
    let from = text.lines().skip_while(|line| !line.starts_with(wanted));
    let own = from.enumerate().take_while(|(i, line)| *i == 0 || line.starts_with("  "));
    own.map(|(_, line)| format!("{line}\n")).collect()
}

/// Services by an address of their own, by blocks, and by none at all; with rules for parts of what may be dialled.
const SUBNETS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one}
spec:
  hosts: [one.example.org]
  addresses: [10.1.0.1, 10.2.0.1]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.9.0.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one}
spec:
  hosts: [one.example.org]
  tcp:
  - {match: [{destinationSubnets: [10.2.0.0/16, 10.3.0.0/16]}], route: [{destination: {host: second.example.org}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: blocks}
spec:
  hosts: [blocks.example.org]
  addresses: [10.20.0.0/16, 'fd00:20::/32']
  ports: [{number: 5432, name: tcp, protocol: TCP}, {number: 443, name: tls, protocol: TLS}, {number: 9000, name: unknown}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: blocks}
spec:
  hosts: [blocks.example.org]
  tcp:
  - {match: [{port: 5432, destinationSubnets: [10.20.1.0/24, 10.99.0.0/16]}], route: [{destination: {host: second.example.org}}]}
  - {match: [{port: 5432, destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: third.example.org}}]}
  tls:
  - {match: [{sniHosts: [blocks.example.org], destinationSubnets: [10.20.7.7]}], route: [{destination: {host: second.example.org}}]}
  - {match: [{sniHosts: [blocks.example.org]}], route: [{destination: {host: third.example.org}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: none}
spec:
  hosts: [none.example.org]
  ports: [{number: 7000, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.9.0.2}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: none}
spec:
  hosts: [none.example.org]
  tcp:
  - {match: [{destinationSubnets: [10.30.0.0/16]}], route: [{destination: {host: second.example.org}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec: {hosts: [web.example.org], resolution: DNS, ports: [{number: 9000, name: http, protocol: HTTP}]}
";

#[test]
fn by_the_address_that_was_dialled() {
    let text = outline::listeners(&config(&world(SUBNETS, &[]), &sidecar("productpage/v1@2", 9080)));
    let wanted = [
        "10.1.0.1_5432",
        "10.2.0.1_5432",
        "0.0.0.0_5432",
        "[::]_5432",
        "0.0.0.0_443",
        "0.0.0.0_9000",
        "[::]_9000",
        "0.0.0.0_7000",
    ];
    insta::assert_snapshot!("subnets", wanted.map(|name| listener(&text, name)).concat());
}

#[test]
fn blocks_under_registry_only() {
    let closed = format!(
        "{SUBNETS}---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: default}}\nspec: {{outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}}}"
    );
    let config = config(&world(&closed, &[]), &sidecar("productpage/v1@2", 9080));
    let listener = &config.listeners["0.0.0.0_5432"];
    for (dialled, expected) in [
        ("10.20.1.9:5432", Some("outbound|5432||second.example.org")),
        ("10.20.2.9:5432", Some("outbound|5432||third.example.org")),
        ("10.21.0.1:5432", None),
    ] {
        let seen = model::chain::Inspected {
            destination: dialled.parse().unwrap(),
            source: "127.0.0.1:1".parse().unwrap(),
            transport: model::chain::TransportKind::Plain,
            server_name: None,
            application_protocols: &[],
        };
        let found = model::chain::select(&listener.chains, &seen).map(|at| &listener.chains[at].filter);
        let to = found.map(|filter| match filter {
            model::NetworkFilter::Tcp(tcp) => &*tcp.clusters[0].cluster,
            model::NetworkFilter::Http(_) => "http",
        });
        assert_eq!(to, expected, "{dialled}");
    }
    let model::NetworkFilter::Tcp(other) = &listener.default_chain.as_ref().unwrap().filter else { panic!("raw") };
    assert_eq!(&*other.clusters[0].cluster, "BlackHoleCluster");
}
