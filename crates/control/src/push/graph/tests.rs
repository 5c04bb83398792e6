//! What the graph keeps for each proxy equals what is made from nothing, after any sequence of changes; and who is not
//! concerned is not offered anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::{Resource, ResourceKey};
use model::{Locality, ResourceKind};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use translate::workload::reference;
use translate::{Capture, Edit, InboundPort, LocalUpstream, Node, Role, Workload, World};
use xds::server::Snapshot;

use super::{Graph, config};
use crate::patches::Patcher;
use crate::store::{Catalog, Step, Versioned};

struct Mesh {
    graph: Graph,
    steps: UnboundedSender<Step>,
    world: Arc<World>,
    resources: BTreeMap<ResourceKey, Arc<Resource>>,
    nodes: BTreeMap<u64, (Node, bool)>,
    dialled: BTreeMap<u64, BTreeSet<SocketAddr>>,
    version: u64,
}

impl Mesh {
    fn new() -> Self {
        let (steps, received) = unbounded_channel();
        let world = Arc::new(World::default());
        let graph = Graph::new(versioned(0, &world), received);
        let (resources, nodes, dialled) = Default::default();
        Self { graph, steps, world, resources, nodes, dialled, version: 0 }
    }

    fn join(&mut self, id: u64, node: Node, is_tls: bool) {
        self.graph.join(id, Arc::new(node.clone()), is_tls);
        self.nodes.insert(id, (node, is_tls));
    }

    /// Documents that are there from now on; one that begins with `-` goes.
    fn apply(&mut self, documents: &[&str]) {
        let edit = documents.iter().map(|text| {
            let parsed = api::parse("test.yaml", text.trim_start_matches('-'));
            assert!(!parsed.has_errors(), "{text}: {:?}", parsed.problems);
            let (key, resource) = (parsed.resources[0].key(), parsed.resources[0].clone());
            let old = self.resources.remove(&key);
            let new = (!text.starts_with('-')).then_some(resource);
            self.resources.extend(new.clone().map(|new| (key, new)));
            (old, new)
        });
        let edit = Edit { resources: edit.collect(), ..Edit::default() };
        self.take(edit);
    }

    /// A workload runs, or runs no more.
    fn run(&mut self, old: Option<Arc<Workload>>, new: Option<Arc<Workload>>) {
        self.take(Edit { workloads: vec![(old, new)], ..Edit::default() });
    }

    /// A proxy asks for the workloads at these addresses and no others. Says whether it was offered anything.
    fn dial(&mut self, id: u64, addresses: &[&str]) -> bool {
        let wanted: BTreeSet<SocketAddr> = addresses.iter().map(|at| at.parse().unwrap()).collect();
        let before = self.dialled.insert(id, wanted.clone()).unwrap_or_default();
        let (asked, given_up): (Vec<_>, Vec<_>) =
            (wanted.difference(&before).copied().collect(), before.difference(&wanted).copied().collect());
        self.graph.dial(id, &asked, &given_up).is_some()
    }

    fn take(&mut self, edit: Edit) {
        let (world, change) = self.world.next(edit);
        self.world = Arc::new(world);
        self.version += 1;
        self.steps.send(Step { versioned: versioned(self.version, &self.world), change }).unwrap();
    }

    /// Who was offered anything.
    fn offered(&mut self) -> Vec<u64> {
        let offered = self.graph.catch_up().into_iter().map(|(id, _)| id).collect();
        for (id, (node, is_tls)) in &self.nodes {
            let mut expected = config(&Patcher::default(), &self.world, node, *is_tls);
            let dialled = self.dialled.get(id).cloned().unwrap_or_default();
            expected.clusters.extend(translate::workloads(&self.world, &dialled).clusters);
            let expected = Snapshot::of(&expected);
            let kept = &self.graph.proxies[id].snapshot;
            for kind in ResourceKind::ALL {
                let list = |snapshot: &Snapshot| -> Vec<(Arc<str>, Arc<str>)> {
                    let set = snapshot.get(kind).into_iter().flat_map(|set| set.iter());
                    set.map(|it| (it.name.clone(), it.version.clone())).collect()
                };
                assert_eq!(list(kept), list(&expected), "{kind} of {id} at {}", self.version);
                let version = |snapshot: &Snapshot| snapshot.get(kind).map(|set| set.version().clone());
                assert_eq!(version(kept), version(&expected), "{kind} of {id} at {}", self.version);
            }
        }
        offered
    }
}

fn versioned(version: u64, world: &Arc<World>) -> Arc<Versioned> {
    Arc::new(Versioned {
        version,
        world: world.clone(),
        resources: Catalog::new_sync(),
        workloads: 0,
        problems: Arc::default(),
        source_problems: Arc::default(),
    })
}

fn sidecar(namespace: &str, app: &str, last: u8) -> Node {
    let address = IpAddr::from([127, 64, 0, last]);
    let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
    Node {
        id: format!("{app}-{last}").into(),
        role: Role::Sidecar {
            ports: vec![InboundPort { target: 9080, bind: SocketAddr::new(address, 9080) }],
            capture: Capture::Redirect { netns: "w".into(), outbound: vec![SocketAddr::new(address, 15001)] },
        },
        namespace: namespace.to_owned(),
        identity: None,
        address,
        locality: Locality::default(),
        workload: reference(app, namespace, &labels, "local"),
        labels,
        ours: true,
        on_demand: last.is_multiple_of(2),
    }
}

fn upstream(host: &str) -> Node {
    let bind = "127.64.0.7:19080".parse().unwrap();
    let capture = Capture::Upstreams(vec![LocalUpstream { host: host.to_owned(), port: 80, bind }]);
    Node { role: Role::Sidecar { ports: Vec::new(), capture }, ..sidecar("a", "local", 7) }
}

fn gateway() -> Node {
    let labels = BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]);
    let role = Role::Gateway {
        bind: IpAddr::from([127, 0, 0, 1]),
        ports: BTreeMap::from([(80, 8080)]),
        edge: Default::default(),
    };
    Node { role, labels, ..sidecar("a", "gateway", 8) }
}

fn workload(app: &str, last: u8) -> Arc<Workload> {
    let Node { address, labels, workload, .. } = sidecar("a", app, last);
    Arc::new(Workload {
        name: workload.name.clone(),
        namespace: "a".to_owned(),
        service_account: app.to_owned(),
        labels,
        address,
        ports: BTreeMap::from([(9080, 9080)]),
        port_names: BTreeMap::new(),
        mesh_tls: true,
        beside: Default::default(),
        weight: 1,
        locality: Locality::default(),
        implied_service: None,
        reference: workload,
    })
}

#[test]
fn workloads_are_offered_to_those_who_ask() {
    let mut mesh = Mesh::new();
    for (id, node) in [sidecar("a", "x", 2), sidecar("b", "y", 4), sidecar("b", "z", 6)].into_iter().enumerate() {
        mesh.join(id as u64, node, true);
    }
    // The first of all tells everybody where to ask.
    mesh.run(None, Some(workload("x", 2)));
    assert_eq!(mesh.offered(), [0, 1, 2]);
    let (there, other) = ("127.64.0.9:9080", "127.64.0.9:15020");
    assert!(!mesh.dial(0, &[there, other]), "nobody is there");
    mesh.run(None, Some(workload("s", 9)));
    assert_eq!(mesh.offered(), [0]);
    assert!(mesh.dial(1, &[there]) && !mesh.dial(1, &[there]));
    assert_eq!(mesh.offered(), [0; 0]);
    mesh.run(Some(workload("s", 9)), Some(workload("t", 9)));
    assert_eq!(mesh.offered(), [0, 1], "another identity");
    assert!(mesh.dial(0, &[other]));
    mesh.run(Some(workload("t", 9)), None);
    assert_eq!(mesh.offered(), [1]);
    // What a port speaks is said by a service, which both see only if they may.
    mesh.run(None, Some(workload("t", 9)));
    assert_eq!(mesh.offered(), [1]);
    let service = "{apiVersion: v1, kind: Service, metadata: {name: t, namespace: a, annotations: {networking.istio.io/exportTo: '~'}}, spec: {selector: {app: t}, ports: [{name: tcp, port: 9080}]}}";
    mesh.apply(&[service]);
    assert_eq!(mesh.offered(), [1]);
}

macro_rules! istio {
    ($kind:literal, $name:literal, $spec:literal) => {
        concat!("{apiVersion: networking.istio.io/v1, kind: ", $kind, ", metadata: ", $name, ", spec: ", $spec, "}")
    };
}

const SERVICES: [&str; 4] = [
    istio!(
        "ServiceEntry",
        "{name: s, namespace: a}",
        "{hosts: [s.a], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {app: s}}}"
    ),
    istio!(
        "ServiceEntry",
        "{name: t, namespace: b}",
        "{hosts: [t.b], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 10.0.0.9}]}"
    ),
    istio!("WorkloadEntry", "{name: s-1, namespace: a}", "{address: 10.0.0.1, labels: {app: s}, serviceAccount: s}"),
    istio!("Sidecar", "{name: own, namespace: b}", "{egress: [{hosts: ['./*']}]}"),
];

#[test]
fn only_the_concerned_are_offered_anything() {
    let mut mesh = Mesh::new();
    for (id, node) in [sidecar("a", "x", 1), sidecar("a", "y", 2), sidecar("b", "z", 3), upstream("s.a"), gateway()]
        .into_iter()
        .enumerate()
    {
        mesh.join(id as u64, node, id % 2 == 0);
    }
    mesh.offered();
    mesh.apply(&SERVICES);
    assert_eq!(mesh.offered(), [0, 1, 2, 3, 4]);
    let check = |mesh: &mut Mesh, documents: &[&str], expected: &[u64]| {
        mesh.apply(documents);
        assert_eq!(mesh.offered(), expected, "{documents:?}");
    };
    let endpoint = |mesh: &mut Mesh, address: &str, expected: &[u64]| {
        check(mesh, &[&SERVICES[2].replace("10.0.0.1", address)], expected);
    };
    // An endpoint of a service that `b` does not see; and the same again.
    endpoint(&mut mesh, "10.0.0.2", &[0, 1, 3, 4]);
    endpoint(&mut mesh, "10.0.0.2", &[]);
    // Another account is another certificate to expect.
    check(&mut mesh, &[&SERVICES[2].replace("serviceAccount: s", "serviceAccount: other")], &[0, 1, 3, 4]);
    let rule = istio!(
        "VirtualService",
        "{name: s, namespace: a}",
        "{hosts: [s.a], http: [{timeout: 1s, route: [{destination: {host: s.a}}]}]}"
    );
    check(&mut mesh, &[rule], &[0, 1, 3]);
    check(&mut mesh, &[&format!("-{rule}")], &[0, 1, 3]);
    // A rule for some callers only makes a scope of their own, and is nothing to the others.
    let some = istio!(
        "VirtualService",
        "{name: t, namespace: b}",
        "{hosts: [t.b], http: [{match: [{sourceLabels: {app: y}}], timeout: 1s, route: [{destination: {host: t.b}}]}, {route: [{destination: {host: t.b}}]}]}"
    );
    check(&mut mesh, &[some], &[0, 1, 2]);
    check(&mut mesh, &[&some.replace("1s", "2s")], &[1]);
    let policy = istio!(
        "DestinationRule",
        "{name: t, namespace: b}",
        "{host: t.b, exportTo: ['.'], trafficPolicy: {loadBalancer: {simple: RANDOM}}}"
    );
    check(&mut mesh, &[policy], &[2]);
    // What nobody is made of.
    check(&mut mesh, &["{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}"], &[]);
    let opens = istio!(
        "Gateway",
        "{name: g, namespace: a}",
        "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}"
    );
    check(&mut mesh, &[opens], &[4]);
    check(&mut mesh, &[&format!("-{}", SERVICES[3])], &[2]);
    // Several steps at once are one.
    mesh.apply(&[&format!("-{}", SERVICES[1])]);
    mesh.apply(&[SERVICES[3]]);
    assert_eq!(mesh.offered(), [0, 1, 2, 3, 4]);
    assert_eq!(mesh.graph.scopes.len(), 5);
    (0..5).for_each(|id| mesh.graph.leave(id));
    assert!(mesh.graph.scopes.is_empty());
}
