//! Calls to a workload's own address: what a proxy is told when it asks.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use model::cluster::Transport;
use translate::{Edit, Node, World};

use super::mesh::{BOOKINFO, config, gateway, sidecar, sidecar_with_upstream, workload, world};

/// The cluster of a workload at an address, in few words.
fn told(world: &World, at: &str) -> String {
    let dialled = BTreeSet::from([at.parse::<SocketAddr>().unwrap()]);
    let clusters = translate::workloads(world, &dialled).clusters;
    let Some(cluster) = clusters.get(format!("workload|{at}").as_str()) else { return "none".to_owned() };
    assert_eq!(clusters.len(), 1);
    let Transport::MeshTls(tls) = &cluster.transport else { panic!("{cluster:?}") };
    let names: Vec<_> = tls.validation.iter().flat_map(|v| &v.names).map(|name| format!("{name:?}")).collect();
    let service = cluster.service.as_ref().map_or("-", |service| &*service.name);
    format!("{service} {:?} {} {}", cluster.protocol, tls.alpn.join(","), names.join(" "))
}

fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p, namespace: default}}\nspec: {spec}\n"
    )
}

#[test]
fn who_is_there() {
    let reviews = |name: &str| format!("spiffe://cluster.local/ns/default/sa/bookinfo-{name}");
    let plain = world(BOOKINFO, &["reviews/v1@3", "ratings/v1@4"]);
    let at_reviews = told(&plain, "127.64.0.3:9080");
    let expected =
        format!("reviews Auto istio-h2,istio-http/1.1,h2,http/1.1 {:?}", model::StringMatch::exact(reviews("reviews")));
    assert_eq!(at_reviews, expected, "the identity of that workload, and no other of the service");
    assert!(told(&plain, "127.64.0.4:9080").ends_with(&format!("{:?}", model::StringMatch::exact(reviews("ratings")))));
    assert!(told(&plain, "127.64.0.3:7000").starts_with("- SameAsDownstream"), "a port of no service");
    assert_eq!(told(&plain, "127.64.0.9:9080"), "none");
    for (spec, port, is_there) in [
        ("{mtls: {mode: STRICT}}", 9080, true),
        ("{mtls: {mode: DISABLE}}", 9080, false),
        ("{selector: {matchLabels: {app: reviews}}, portLevelMtls: {9080: {mode: DISABLE}}}", 9080, false),
        ("{selector: {matchLabels: {app: reviews}}, portLevelMtls: {9080: {mode: DISABLE}}}", 9081, true),
    ] {
        let world = world(&format!("{BOOKINFO}{}", policy(spec)), &["reviews/v1@3"]);
        assert_eq!(told(&world, &format!("127.64.0.3:{port}")) != "none", is_there, "{spec} {port}");
    }
}

#[test]
fn ports_that_the_sidecar_does_not_serve() {
    let mut mapped = workload("reviews/v1@3");
    mapped.ports = [(9080, 30001)].into();
    let (world, _) =
        world(BOOKINFO, &[]).next(Edit { workloads: vec![(None, Some(Arc::new(mapped)))], ..Edit::default() });
    assert!(told(&world, "127.64.0.3:30001").starts_with("reviews Auto"));
    // Its metrics, say, are plain text for everybody.
    assert_eq!((told(&world, "127.64.0.3:9080"), told(&world, "127.64.0.3:15020")), ("none".into(), "none".into()));
}

#[test]
fn where_to_ask() {
    let on_demand = Node { on_demand: true, ..sidecar("productpage/v1@2", 9080) };
    let of = |world: &World, node: &Node| {
        let blocks = config(world, node).clusters["PassthroughCluster"].workloads.clone();
        blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let local = world(BOOKINFO, &["reviews/v1@3", "ratings/v1@4"]);
    assert_eq!(of(&local, &on_demand), "127.64.0.0/10");
    for node in
        [sidecar("productpage/v1@2", 9080), gateway(), sidecar_with_upstream("productpage/v1@2", "reviews", 9080)]
    {
        assert_eq!(of(&local, &node), "", "{}", node.id);
    }
    let mut far = workload("reviews/v2@5");
    far.address = "10.7.1.9".parse().unwrap();
    let far = Arc::new(far);
    let (wider, change) = local.next(Edit { workloads: vec![(None, Some(far.clone()))], ..Edit::default() });
    assert_eq!((of(&wider, &on_demand).as_str(), change.is_everything()), ("10.7.0.0/16 127.64.0.0/10", true));
    let mut near = workload("ratings/v2@6");
    near.address = "10.7.2.2".parse().unwrap();
    let near = Arc::new(near);
    let (more, change) = wider.next(Edit { workloads: vec![(None, Some(near.clone()))], ..Edit::default() });
    assert!(!change.is_everything(), "one more in a block concerns nobody by itself");
    let (fewer, _) = more.next(Edit { workloads: vec![(Some(near), None), (Some(far), None)], ..Edit::default() });
    assert_eq!(of(&fewer, &on_demand), "127.64.0.0/10");
}

#[test]
fn whom_a_change_concerns() {
    let world = world(BOOKINFO, &["reviews/v1@3", "ratings/v1@4"]);
    let gone = Arc::new(workload("reviews/v1@3"));
    let (next, change) = world.next(Edit { workloads: vec![(Some(gone), None)], ..Edit::default() });
    let concerns = |at: &str| change.concerns_workload(&next, at.parse().unwrap());
    assert!(concerns("127.64.0.3:9080") && concerns("127.64.0.3:1"));
    assert!(!concerns("127.64.0.4:9080"));
    assert_eq!(told(&next, "127.64.0.3:9080"), "none");
    // What a port speaks, a service says.
    let text = "{kind: Service, apiVersion: v1, metadata: {name: ratings, namespace: default}, spec: {selector: {app: ratings}, ports: [{name: tcp, port: 9080}]}}";
    let tcp = api::parse("test.yaml", text).resources.remove(0);
    let old = api::parse("test.yaml", BOOKINFO).resources.into_iter().find(|resource| resource.key() == tcp.key());
    let (next, change) = next.next(Edit { resources: vec![(old, Some(tcp))], ..Edit::default() });
    assert!(change.concerns_workload(&next, "127.64.0.4:9080".parse().unwrap()));
    assert!(told(&next, "127.64.0.4:9080").starts_with("ratings SameAsDownstream istio "));
}
