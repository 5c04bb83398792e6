//! A sidecar that asks for virtual hosts when it needs them is sent the same, one by one.

use std::collections::BTreeSet;

use model::RouteConfiguration;

use super::mesh::{BOOKINFO, config, gateway, sidecar, sidecar_with_upstream, world};
use translate::Node;

/// A service by a wildcard, on the same port as those of Bookinfo, and one that is known by its address only.
const MORE: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec: {hosts: ['*.example.org'], location: MESH_EXTERNAL, resolution: NONE, ports: [{number: 9080, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: raw}
spec: {hosts: [raw.example.com], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 3306, name: tcp, protocol: TCP}]}";

#[test]
fn the_same_one_by_one() {
    let world = world(&format!("{BOOKINFO}\n---{MORE}"), &["productpage/v1@2", "reviews/v1@3"]);
    let whole = config(&world, &sidecar("productpage/v1@2", 9080));
    let parts = config(&world, &Node { on_demand: true, ..sidecar("productpage/v1@2", 9080) });
    assert!(whole.virtual_hosts.is_empty());
    let table = &parts.routes["9080"];
    let own: Vec<_> = table.hosts.iter().map(|host| &*host.name).collect();
    assert_eq!((own, table.on_demand), (vec!["allow_any"], true));
    let named: BTreeSet<&str> = parts.virtual_hosts.keys().map(|name| &**name).collect();
    let expected = ["*.example.org", "details", "productpage", "ratings", "reviews"].map(|name| match name {
        "*.example.org" => "9080/*.example.org:9080".to_owned(),
        name => format!("9080/{name}.default.svc.cluster.local:9080"),
    });
    assert_eq!(named, expected.iter().map(String::as_str).collect());
    // Put together again it is what others are sent, save that it says where workloads are asked for.
    let mut again = parts.clone();
    let unknown = again.clusters.insert("PassthroughCluster".into(), whole.clusters["PassthroughCluster"].clone());
    assert!(unknown.is_some_and(|unknown| !unknown.workloads.is_empty()));
    let hosts = std::mem::take(&mut again.virtual_hosts);
    for table in again.routes.values_mut().filter(|table| table.on_demand) {
        let prefix = format!("{}/", table.name);
        let of_table = hosts.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, host)| (**host).clone());
        let mut all: Vec<_> = of_table.chain(table.hosts.iter().cloned()).collect();
        all.sort_by(|a, b| (a.domains == ["*"], &a.name).cmp(&(b.domains == ["*"], &b.name)));
        *table = RouteConfiguration::new(table.name.clone(), all).into();
    }
    assert_eq!(again, whole);
}

#[test]
fn where_a_table_is_for_one_service_it_is_whole() {
    let world = world(&format!("{BOOKINFO}\n---{MORE}"), &["reviews/v1@3"]);
    for node in [sidecar_with_upstream("productpage/v1@2", "reviews", 9080), gateway()] {
        let whole = config(&world, &node);
        assert_eq!(config(&world, &Node { on_demand: true, ..node }), whole);
    }
}
