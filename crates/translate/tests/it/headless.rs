//! Headless services: what clients are told, and how they reach the workload that they dialled.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::Resource;
use model::cluster::{Discovery, PANIC_PERCENT, Transport};
use model::endpoint::Health;
use translate::{Inputs, Node, World};

use super::mesh::{config, gateway, sidecar, sidecar_with_upstream, workload};
use super::outline;

const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 5432}]}
";

const HTTP: &str = "outbound|80||web.default.svc.cluster.local";
const TCP: &str = "outbound|5432||web.default.svc.cluster.local";

/// Two workloads of the service, of which the second one is not ready, and one of another application.
fn mesh(documents: &str) -> World {
    let resources: Vec<Arc<Resource>> = api::parse("test.yaml", documents).resources;
    assert!(!resources.is_empty());
    let not_ready = ["127.64.0.3:8080", "127.64.0.3:5432"].map(|at| at.parse().unwrap());
    World::new(Inputs {
        resources,
        workloads: ["web/v1@2", "web/v2@3", "other/v1@4"].map(|word| Arc::new(workload(word))).into(),
        not_ready: Arc::new(BTreeSet::from(not_ready)),
        trust: translate::MeshTrust::roots(*b"-- roots --"),
        ..Inputs::default()
    })
}

fn told(world: &World, node: &Node) -> String {
    let config = config(world, node);
    let table = &config.names["web.default.svc.cluster.local"].names;
    table.iter().map(|(name, ips)| format!("{name} {ips:?}\n")).collect()
}

#[test]
fn names_lead_to_the_workloads() {
    let client = sidecar("other/v1@4", 9080);
    insta::assert_snapshot!("headless-names", told(&mesh(WEB), &client));
    let unready = WEB.replace("clusterIP: None", "clusterIP: None, publishNotReadyAddresses: true");
    let all = told(&mesh(&unready), &client);
    assert!(all.contains("web [127.64.0.2, 127.64.0.3]\n") && all.contains("web-v2-x.web [127.64.0.3]\n"), "{all}");
    let elsewhere = Node { namespace: "other".into(), ..client.clone() };
    assert!(!told(&mesh(WEB), &elsewhere).lines().any(|line| line.starts_with("web ")));
    // The others' table does not change when one comes or goes.
    let config = config(&mesh(WEB), &client);
    assert!(!config.names["names"].names.keys().any(|name| name.contains("web")));
}

#[test]
fn each_workload_has_a_listener() {
    let config = config(&mesh(WEB), &sidecar("other/v1@4", 9080));
    insta::assert_snapshot!("headless-listeners", outline::listeners(&config));
    insta::assert_snapshot!("headless-routes", outline::routes(&config.routes["80"]));
}

#[test]
fn the_workload_that_was_dialled() {
    let config = config(&mesh(WEB), &sidecar("other/v1@4", 9080));
    for (name, expected) in
        [(HTTP, ["127.64.0.2:8080", "127.64.0.3:8080"]), (TCP, ["127.64.0.2:5432", "127.64.0.3:5432"])]
    {
        let cluster = &config.clusters[name];
        assert!(cluster.prefers_dialled && matches!(cluster.transport, Transport::MeshTls(_)));
        assert_eq!(cluster.panic_percent, 0, "who is not ready is never chosen");
        let set = &config.endpoints[name];
        let of = |address: &str| set.iter().find(|e| e.address.to_string() == address).unwrap();
        assert!(set.iter().all(|endpoint| endpoint.mesh_tls));
        assert_eq!(expected.map(|address| of(address).health), [Health::Healthy, Health::Unhealthy]);
    }
}

#[test]
fn without_captured_connections_one_is_chosen() {
    for node in [gateway(), sidecar_with_upstream("other/v1@4", "web", 80)] {
        let config = config(&mesh(WEB), &node);
        let cluster = &config.clusters[HTTP];
        assert_eq!((cluster.prefers_dialled, cluster.panic_percent), (false, PANIC_PERCENT));
        let endpoints: Vec<_> = config.endpoints[HTTP].iter().map(|e| e.address.to_string()).collect();
        assert_eq!(endpoints, ["127.64.0.2:8080"]);
    }
}

#[test]
fn other_proxies_dial_what_was_dialled() {
    let foreign = Node { ours: false, ..sidecar("other/v1@4", 9080) };
    let of = |world: &World| {
        let cluster = config(world, &foreign).clusters[TCP].clone();
        assert_eq!((&cluster.discovery, cluster.prefers_dialled), (&Discovery::OriginalDestination, false));
        matches!(cluster.transport, Transport::Tls(_))
    };
    assert!(of(&mesh(WEB)), "all take the mesh's TLS");
    let plain = "---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: p}
spec: {selector: {matchLabels: {version: v2}}, mtls: {mode: DISABLE}}
";
    assert!(!of(&mesh(&format!("{WEB}{plain}"))), "one does not, and they cannot be told apart");
}
