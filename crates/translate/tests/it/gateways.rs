//! Gateways.

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
