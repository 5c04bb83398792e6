//! Both ends against each other, in memory, with lost streams.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::cluster::Discovery;
use model::http_proxy::RouteSource;
use model::secret::SecretValue;
use model::{
    Address, Cluster, Config, Direction, EndpointSet, FilterChain, HttpProxy, Listener, NetworkFilter, ResourceKind,
    RouteConfiguration, Secret,
};
use proptest::prelude::*;
use proptest::sample::Index;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use xds::client::{ClientSession, Held, Message, Refusal, Update, Variant};
use xds::server::{DeltaServer, ServerSession, Snapshot, SotwServer};
use xds::{Resource, remove_from};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// What happens in a run.
#[derive(Debug, Clone)]
enum Step {
    /// A resource is set to one of three contents, or taken away.
    Set(ResourceKind, Index, Option<u8>),
    /// The server learns of all that was set.
    Publish,
    /// One message goes to the server.
    ToServer,
    /// One message goes to the client.
    ToClient,
    /// The owner applies what came first. It cannot apply contents of this number.
    Apply(u8),
    /// The stream breaks, and all that is on it is lost.
    Break,
    /// The proxy starts anew from its disk.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    use ResourceKind::{Cluster, Endpoints, Listener, Route, Secret};
    let kind = prop::sample::select(vec![Cluster, Endpoints, Listener, Route, Secret]);
    prop_oneof![
        6 => (kind, any::<Index>(), prop::option::of(0u8..3)).prop_map(|(k, i, v)| Step::Set(k, i, v)),
        3 => Just(Step::Publish),
        8 => Just(Step::ToServer),
        8 => Just(Step::ToClient),
        5 => Just(Step::Apply(9)),
        2 => (0u8..3).prop_map(Step::Apply),
        1 => Just(Step::Break),
        1 => Just(Step::Restart),
    ]
}

/// A content of a resource. Listener `x` uses route `x`, cluster `x` uses endpoints `x` and secret `x`.
pub fn content(kind: ResourceKind, name: &str, number: u8) -> Resource {
    let name: Arc<str> = name.into();
    let port = 1000 + u16::from(number);
    match kind {
        ResourceKind::Cluster => {
            let mut cluster = Cluster::new(name.clone(), Discovery::Eds(name));
            cluster.max_requests_per_connection = Some(u32::from(number) + 1);
            Resource::Cluster(cluster.into())
        }
        ResourceKind::Endpoints => {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            let group =
                model::LocalityEndpoints { endpoints: vec![model::Endpoint::plain(address)], ..Default::default() };
            Resource::Endpoints(EndpointSet::new(name, vec![group]).into())
        }
        ResourceKind::Listener => {
            let address = Address::socket(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
            let http = HttpProxy::new("in", RouteSource::Rds(name.clone()));
            let chain = FilterChain::new("c", NetworkFilter::Http(Box::new(http)));
            let listener = Listener {
                name,
                address,
                bind: true,
                use_original_destination: false,
                direction: Direction::Outbound,
                inspect: Default::default(),
                chains: vec![chain],
                default_chain: None,
                access_logs: Vec::new(),
                buffer_limit: None,
                ignores_common_limit: false,
            };
            Resource::Listener(listener.into())
        }
        ResourceKind::Route => {
            let host =
                model::VirtualHost { name: "h".into(), domains: vec![format!("h{number}")], ..Default::default() };
            Resource::Route(RouteConfiguration::new(name, vec![host]).into())
        }
        ResourceKind::VirtualHost => Resource::VirtualHost(name.clone(), virtual_host(&name, number).into()),
        _ => {
            let value = SecretValue::Trust {
                roots: vec![b'a' + number],
                by_domain: Vec::new(),
                crl: Vec::new(),
                leaf_only: false,
            };
            Resource::Secret(Secret { name, value }.into())
        }
    }
}

/// Virtual host `r/h` has the domains `h` and `h.test` and two routes, to the clusters `h` and `h-too`; and the content's
/// number. One named `r/wild` takes `*.wild`.
fn virtual_host(name: &str, number: u8) -> model::VirtualHost {
    use model::route::{Action, Forward, PathMatch};
    let own = name.rsplit_once('/').map_or(name, |(_, own)| own);
    let to = |cluster: String| {
        let forward = Forward { timeout: Some(std::time::Duration::from_secs(number.into())), ..Forward::to(cluster) };
        model::Route::new(PathMatch::Prefix("/".into()), Action::Forward(Box::new(forward)))
    };
    let domains = if own == "wild" { vec!["*.wild".into()] } else { vec![own.into(), format!("{own}.test")] };
    let routes = vec![to(own.to_owned()), to(format!("{own}-too"))];
    model::VirtualHost { name: own.into(), domains, routes, ..Default::default() }
}

enum Server {
    Delta(DeltaServer),
    Sotw(SotwServer),
}

enum Response {
    Delta(DeltaDiscoveryResponse),
    Sotw(DiscoveryResponse),
}

impl Server {
    fn new(variant: Variant, snapshot: Arc<Snapshot>) -> Self {
        match variant {
            Variant::Delta => Self::Delta(DeltaServer::new(snapshot)),
            Variant::Sotw => Self::Sotw(SotwServer::new(snapshot)),
        }
    }

    fn request(&mut self, message: Message) {
        match (self, message) {
            (Self::Delta(server), Message::Delta(request)) => server.request(request),
            (Self::Sotw(server), Message::Sotw(request)) => server.request(request),
            _ => unreachable!("one variant per run"),
        }
    }

    fn offer(&mut self, snapshot: Arc<Snapshot>) {
        match self {
            Self::Delta(server) => server.offer(snapshot),
            Self::Sotw(server) => server.offer(snapshot),
        }
    }

    fn next_response(&mut self) -> Option<Response> {
        match self {
            Self::Delta(server) => server.next_response().map(Response::Delta),
            Self::Sotw(server) => server.next_response().map(Response::Sotw),
        }
    }
}

/// A proxy, a control plane, and a stream between them.
struct World {
    variant: Variant,
    truth: Config,
    snapshot: Arc<Snapshot>,
    server: Server,
    client: ClientSession,
    running: Config,
    updates: VecDeque<Update>,
    to_server: VecDeque<Message>,
    to_client: VecDeque<Response>,
    sent: usize,
}

impl World {
    fn new(variant: Variant) -> Self {
        let snapshot = Arc::new(Snapshot::default());
        let mut world = Self {
            variant,
            truth: Config::default(),
            server: Server::new(variant, snapshot.clone()),
            snapshot,
            client: ClientSession::new(Node::default(), variant),
            running: Config::default(),
            updates: VecDeque::new(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            sent: 0,
        };
        world.start(Held::default());
        world
    }

    fn start(&mut self, held: Held) {
        self.client = ClientSession::new(Node::default(), self.variant);
        self.running = Config::default();
        self.updates.clear();
        for resource in self.client.restore(held) {
            resource.insert_into(&mut self.running);
        }
        self.client.want_all(ResourceKind::Cluster);
        self.client.want_all(ResourceKind::Listener);
        self.want();
        self.reconnect();
    }

    fn reconnect(&mut self) {
        self.client.disconnected();
        self.to_server.clear();
        self.to_client.clear();
        self.server = Server::new(self.variant, self.snapshot.clone());
        self.client.connected();
        self.pump();
    }

    /// What the running configuration makes necessary.
    fn want(&mut self) {
        let clusters: Vec<_> = self.running.clusters.keys().cloned().collect();
        let listeners: Vec<_> = self.running.listeners.keys().cloned().collect();
        self.client.want(ResourceKind::Endpoints, clusters.clone());
        self.client.want(ResourceKind::Secret, clusters);
        self.client.want(ResourceKind::Route, listeners);
        self.running.endpoints.retain(|name, _| self.running.clusters.contains_key(name));
        self.running.secrets.retain(|name, _| self.running.clusters.contains_key(name));
        self.running.routes.retain(|name, _| self.running.listeners.contains_key(name));
    }

    fn pump(&mut self) {
        while let Some(message) = self.client.next_message() {
            self.to_server.push_back(message);
        }
        while let Some(response) = self.server.next_response() {
            self.sent += 1;
            self.to_client.push_back(response);
        }
    }

    fn deliver_request(&mut self) -> bool {
        let Some(message) = self.to_server.pop_front() else { return false };
        self.server.request(message);
        self.pump();
        true
    }

    fn deliver_response(&mut self) -> bool {
        let Some(response) = self.to_client.pop_front() else { return false };
        let update = match response {
            Response::Delta(response) => self.client.delta_response(response),
            Response::Sotw(response) => self.client.sotw_response(response),
        };
        self.updates.extend(update);
        self.pump();
        true
    }

    fn apply(&mut self, refused: u8) -> bool {
        let Some(update) = self.updates.pop_front() else { return false };
        assert!(update.refused.is_empty(), "{:?}", update.refused);
        let mut refusals = Vec::new();
        for resource in update.updated {
            let name = resource.name();
            if resource == content(update.kind, &name, refused) {
                refusals.push(Refusal { name, reason: "port in use".into() });
            } else {
                resource.insert_into(&mut self.running);
            }
        }
        for name in &update.removed {
            remove_from(&mut self.running, update.kind, name);
        }
        self.client.resolve(&update.nonce, if refusals.is_empty() { Ok(()) } else { Err(refusals) });
        self.want();
        self.pump();
        true
    }

    fn publish(&mut self) {
        self.snapshot = Arc::new(Snapshot::of(&self.truth));
        self.server.offer(self.snapshot.clone());
        self.pump();
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Set(kind, index, Some(number)) => {
                content(kind, NAMES[index.index(NAMES.len())], number).insert_into(&mut self.truth);
            }
            Step::Set(kind, index, None) => remove_from(&mut self.truth, kind, NAMES[index.index(NAMES.len())]),
            Step::Publish => self.publish(),
            Step::ToServer => _ = self.deliver_request(),
            Step::ToClient => _ = self.deliver_response(),
            Step::Apply(refused) => _ = self.apply(refused),
            Step::Break => self.reconnect(),
            Step::Restart => {
                let kept = self.client.held().to_bytes();
                self.start(Held::from_bytes(&kept).expect("kept bytes"));
            }
        }
    }

    /// Lets everything arrive and be applied; it must come to rest.
    fn settle(&mut self) {
        let before = self.sent;
        while self.deliver_request() || self.deliver_response() || self.apply(9) {
            assert!(self.sent - before < 300, "the two talk without end");
        }
    }

    /// What the proxy should run: everything that it asks for and that exists.
    fn expected(&self) -> Config {
        let mut expected = self.truth.clone();
        expected.endpoints.retain(|name, _| expected.clusters.contains_key(name));
        expected.secrets.retain(|name, _| expected.clusters.contains_key(name));
        expected.routes.retain(|name, _| expected.listeners.contains_key(name));
        // The state of the world says of an endpoint set that it is empty, and of others nothing at all.
        if self.variant == Variant::Sotw {
            for name in expected.clusters.keys() {
                let empty = || Arc::new(EndpointSet::new(name.clone(), Vec::new()));
                expected.endpoints.entry(name.clone()).or_insert_with(empty);
            }
        }
        expected
    }

    fn check(&mut self) {
        let expected = self.expected();
        let mut running = self.running.clone();
        if self.variant == Variant::Sotw {
            running.secrets.retain(|name, _| expected.secrets.contains_key(name));
            running.routes.retain(|name, _| expected.routes.contains_key(name));
        }
        assert_eq!(running, expected);
        let held: BTreeMap<_, _> = self
            .client
            .held()
            .decode()
            .into_iter()
            .map(|it| {
                let resource = it.expect("held resources can be read");
                ((resource.kind(), resource.name()), resource)
            })
            .collect();
        let mut from_held = Config::default();
        held.into_values().for_each(|resource| resource.insert_into(&mut from_held));
        assert_eq!(from_held, self.running, "what is held is what runs");
    }
}

fn run(variant: Variant, steps: Vec<Step>) {
    let mut world = World::new(variant);
    for step in steps {
        world.take(step);
    }
    world.publish();
    world.settle();
    // What was refused is not sent again on its stream, but on the next one.
    world.reconnect();
    world.settle();
    world.check();
    let sent = world.sent;
    world.settle();
    assert_eq!(world.sent, sent, "nothing changes, nothing is sent");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn delta_ends_with_the_snapshot(steps in prop::collection::vec(step(), 0..120)) {
        run(Variant::Delta, steps);
    }

    #[test]
    fn sotw_ends_with_the_snapshot(steps in prop::collection::vec(step(), 0..120)) {
        run(Variant::Sotw, steps);
    }
}
