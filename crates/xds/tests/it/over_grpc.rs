//! Both ends over a real connection on loopback.

use std::sync::{Arc, Mutex};

use model::cluster::Discovery;
use model::{Cluster, Config, EndpointSet, ResourceKind};
use proto::envoy::config::core::v3::Node;
use tokio::sync::{mpsc, watch};
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic::{Code, Status};
use xds::client::{ClientSession, Refusal, Variant};
use xds::server::{Snapshot, SubscriptionStatus};
use xds::shell::{Ads, Command, Opened, Peer, Sessions, StreamEnd, run};
use xds::{Resource, remove_from};

/// A control plane with one snapshot for everybody.
struct One {
    snapshots: Mutex<Option<watch::Sender<Arc<Snapshot>>>>,
    status: mpsc::UnboundedSender<Vec<SubscriptionStatus>>,
}

#[tonic::async_trait]
impl Sessions for One {
    async fn open(&self, _: &Peer, node: &Node, _: Variant) -> Result<Opened, Status> {
        if node.id != "known" {
            return Err(Status::unauthenticated("who?"));
        }
        let status = self.status.clone();
        let guard = self.snapshots.lock().unwrap();
        let snapshots = guard.as_ref().ok_or_else(|| Status::unavailable("closing"))?.subscribe();
        Ok(Opened { snapshots, on_status: Box::new(move |all| _ = status.send(all)) })
    }
}

async fn serve() -> (Arc<One>, Channel, mpsc::UnboundedReceiver<Vec<SubscriptionStatus>>) {
    let (status, told) = mpsc::unbounded_channel();
    let sender = watch::Sender::new(Arc::new(Snapshot::default()));
    let one = Arc::new(One { snapshots: Mutex::new(Some(sender)), status });
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let uri = format!("http://{}", incoming.local_addr().unwrap());
    let service = Ads::service(one.clone());
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    (one, Channel::from_shared(uri).unwrap().connect_lazy(), told)
}

fn node(id: &str) -> Node {
    Node { id: id.into(), ..Node::default() }
}

fn config(names: &[&str]) -> Config {
    let mut config = Config::default();
    for name in names {
        let cluster = Cluster::new(*name, Discovery::Eds((*name).into()));
        Resource::Cluster(cluster.into()).insert_into(&mut config);
        Resource::Endpoints(EndpointSet::new(*name, Vec::new()).into()).insert_into(&mut config);
    }
    config
}

async fn follows(variant: Variant) {
    let (one, channel, mut told) = serve().await;
    let (_commands, mut commands) = mpsc::channel(1);
    let mut session = ClientSession::new(node("known"), variant);
    session.want_all(ResourceKind::Cluster);
    let mut running = Config::default();
    let publish = |names: &[&str]| {
        let snapshot = Arc::new(Snapshot::of(&config(names)));
        one.snapshots.lock().unwrap().as_ref().unwrap().send_replace(snapshot);
    };
    // Each state is published as soon as the one before it runs; after the last the server closes.
    let states: [&[&str]; 3] = [&["a", "b"], &["a", "b", "c"], &["c"]];
    let mut at = 0;
    publish(states[at]);
    let end = run(channel, &mut session, &mut commands, |session, update| {
        for resource in update.updated {
            resource.insert_into(&mut running);
        }
        for name in &update.removed {
            remove_from(&mut running, update.kind, name);
        }
        session.want(ResourceKind::Endpoints, running.clusters.keys().cloned());
        running.endpoints.retain(|name, _| running.clusters.contains_key(name));
        session.resolve(&update.nonce, Ok(()));
        if at < states.len() && running == config(states[at]) {
            at += 1;
            match states.get(at) {
                Some(next) => publish(next),
                None => drop(one.snapshots.lock().unwrap().take()),
            }
        }
    })
    .await;
    assert!(matches!(end, StreamEnd::Closed), "{end}");
    assert_eq!(running, config(&["c"]));
    let mut last = None;
    while let Ok(status) = told.try_recv() {
        last = Some(status);
    }
    assert_eq!(last.map(|all| all.len()), Some(2), "clusters and endpoints");
}

#[tokio::test]
async fn delta_follows() {
    follows(Variant::Delta).await;
}

#[tokio::test]
async fn sotw_follows() {
    follows(Variant::Sotw).await;
}

#[tokio::test]
async fn strangers_are_sent_away() {
    let (_one, channel, _told) = serve().await;
    let (_commands, mut commands) = mpsc::channel(1);
    let mut session = ClientSession::new(node("stranger"), Variant::Delta);
    session.want_all(ResourceKind::Listener);
    let end = run(channel, &mut session, &mut commands, |_, _| panic!("an update for a stranger")).await;
    assert!(matches!(&end, StreamEnd::Broken(status) if status.code() == Code::Unauthenticated), "{end}");
}

#[tokio::test]
async fn refusals_reach_the_status() {
    let (one, channel, mut told) = serve().await;
    let (commands, mut inbox) = mpsc::channel(4);
    let mut session = ClientSession::new(node("known"), Variant::Delta);
    session.want_all(ResourceKind::Cluster);
    one.snapshots.lock().unwrap().as_ref().unwrap().send_replace(Arc::new(Snapshot::of(&config(&["a"]))));
    let stream = run(channel, &mut session, &mut inbox, |_, update| {
        let refusal = Refusal { name: "a".into(), reason: "port in use".into() };
        commands.try_send(Command::Resolve(update.nonce, Err(vec![refusal]))).unwrap();
    });
    let refused = async {
        loop {
            let status = told.recv().await.unwrap();
            if let Some(nack) = status.iter().find_map(|it| it.nack.clone()) {
                return nack;
            }
        }
    };
    tokio::select! {
        end = stream => panic!("{end}"),
        nack = refused => assert_eq!(nack.message, "a: port in use"),
    }
}
