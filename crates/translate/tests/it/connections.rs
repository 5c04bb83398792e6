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
