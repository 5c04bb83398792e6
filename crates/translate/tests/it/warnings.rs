//! References that lead nowhere.

use super::mesh::{BOOKINFO, world};

#[test]
fn unknown_names() {
    let documents = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: r}
spec:
  hosts: [reviews, absent.example.org]
  gateways: [mesh, nowhere]
  http:
  - route:
    - {destination: {host: reviews, subset: v9}, weight: 1}
    - {destination: {host: reviews.default}, weight: 1}
    - {destination: {host: reviews, port: {number: 1}}, weight: 1}
    mirror: {host: absent}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d}
spec: {host: absent, subsets: [{name: a, labels: {b: c}}]}
";
    let world = world(&format!("{documents}\n---\n{BOOKINFO}"), &[]);
    let text: String = translate::check(&world).iter().map(|p| format!("{p}\n")).collect();
    insta::assert_snapshot!("unknown-names", text);
}
