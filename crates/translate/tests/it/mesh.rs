//! A small mesh for tests: documents as text, workloads by a few words, and nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::Config;
use translate::workload::reference;
use translate::{Capture, InboundPort, Inputs, LocalUpstream, Node, Role, Workload, World};

/// The four services of Bookinfo.
pub const BOOKINFO: &str = include_str!("../../../../samples/bookinfo/mesh/bookinfo.yaml");

/// The documents that hold these settings.
pub fn settings(text: &str) -> String {
    let indented: String = text.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n{indented}"
    )
}

/// A world of these documents, with one workload per word `app/version@last-byte-of-address`.
pub fn world(documents: &str, workloads: &[&str]) -> World {
    let parsed = api::parse("test.yaml", documents);
    let errors: Vec<_> = parsed.problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    World::new(Inputs {
        resources: parsed.resources,
        workloads: workloads.iter().map(|word| Arc::new(workload(word))).collect(),
        trust: translate::MeshTrust::roots(*b"-- roots --"),
        ..Inputs::default()
    })
}

/// The workload of a word; behind a `#` it may say where it runs.
pub fn workload(word: &str) -> Workload {
    let (word, place) = word.split_once('#').unwrap_or((word, ""));
    let (names, last) = word.split_once('@').unwrap();
    let (app, version) = names.split_once('/').unwrap();
    let labels = labels(app, version);
    Workload {
        name: format!("{app}-{version}-x").as_str().into(),
        namespace: "default".into(),
        service_account: format!("bookinfo-{app}"),
        reference: reference(&format!("{app}-{version}"), "default", &labels, "local"),
        labels,
        address: IpAddr::from([127, 64, 0, last.parse().unwrap()]),
        ports: BTreeMap::new(),
        port_names: BTreeMap::new(),
        mesh_tls: true,
        beside: Default::default(),
        weight: 1,
        locality: translate::locality::read(place),
        implied_service: None,
    }
}

fn labels(app: &str, version: &str) -> BTreeMap<String, String> {
    [("app", app), ("version", version)].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// The sidecar of `app/version@last-byte-of-address#locality` with one port, captured in a namespace.
pub fn sidecar(word: &str, port: u16) -> Node {
    let workload = workload(word);
    let at = |port| SocketAddr::new(workload.address, port);
    Node {
        id: workload.name.clone(),
        role: Role::Sidecar {
            ports: vec![InboundPort { target: port, bind: at(port) }],
            capture: Capture::Redirect { netns: "workload".into(), outbound: vec!["127.0.0.1:15001".parse().unwrap()] },
        },
        namespace: workload.namespace,
        labels: workload.labels,
        identity: None,
        address: workload.address,
        locality: workload.locality,
        workload: workload.reference,
        ours: true,
        on_demand: false,
    }
}

/// The same without capture: one upstream under a local address.
pub fn sidecar_with_upstream(word: &str, host: &str, port: u16) -> Node {
    let mut node = sidecar(word, 9080);
    let bind = SocketAddr::new(node.address, 19080);
    let capture = Capture::Upstreams(vec![LocalUpstream { host: host.into(), port, bind }]);
    node.role = Role::Sidecar { ports: Vec::new(), capture };
    node
}

/// The gateway that Istio's samples select.
pub fn gateway() -> Node {
    Node {
        id: "gateway".into(),
        role: Role::Gateway {
            bind: IpAddr::from([127, 0, 0, 1]),
            ports: BTreeMap::from([(80, 8080)]),
            edge: Default::default(),
        },
        labels: BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]),
        namespace: "default".into(),
        ..sidecar("gateway/v1@1", 1)
    }
}

/// The configuration of a node.
pub fn config(world: &World, node: &Node) -> Config {
    translate::translate(world, node)
}
