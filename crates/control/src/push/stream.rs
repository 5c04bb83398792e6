//! The story of one stream: let in, registered, configured, kept up to date, and seen off.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::ResourceKind;
use model::cluster::workload_of;
use proto::envoy::config::core::v3::Node as WireNode;
use proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use translate::Node;
use xds::health::HEALTH_TYPE;
use xds::server::{ServerSession, Snapshot};

use super::graph::{Graph, Listening};
use super::node::{self, Admitted};
use super::proxies::{Connected, Observed};
use super::{Push, Responses};
use crate::doors::{Caller, Shown};
use crate::registration::NodeMetadata;
use crate::registry::Departure;

/// Responses that wait for the connection. More would only grow old there; the session puts changes together instead.
const WAITING: usize = 2;
/// A proxy that never says who it is holds a stream no longer than this.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// A first configuration is made without the workload's own registration when the store cannot take it by then.
const REGISTRATION: Duration = Duration::from_secs(1);

/// What we look at in requests of both variants.
pub trait DiscoveryRequestParts {
    fn node(&self) -> Option<&WireNode>;
    fn type_url(&self) -> &str;
    /// The words of a refusal.
    fn refusal(&self) -> Option<&str>;
    /// The addresses by which workloads are asked for, and those that are given up: only the incremental variant has names
    /// that come and go.
    fn dialled(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>);
    /// Only the incremental variant finds resources when they are needed.
    const ON_DEMAND: bool;
}

/// What we look at in responses of both variants.
pub trait DiscoveryResponseParts {
    fn type_url(&self) -> &str;
}

/// The addresses in the names of clusters that are each one workload.
fn addresses(type_url: &str, names: &[String]) -> Vec<SocketAddr> {
    let of_clusters = type_url == xds::type_url(ResourceKind::Cluster);
    names.iter().filter(|_| of_clusters).filter_map(|name| workload_of(name)).collect()
}

macro_rules! parts {
    ($($request:ty, $response:ty, $on_demand:literal, $dialled:expr;)*) => {$(
        impl DiscoveryRequestParts for $request {
            const ON_DEMAND: bool = $on_demand;
            fn node(&self) -> Option<&WireNode> {
                self.node.as_ref()
            }
            fn type_url(&self) -> &str {
                &self.type_url
            }
            fn refusal(&self) -> Option<&str> {
                self.error_detail.as_ref().map(|status| status.message.as_str())
            }
            fn dialled(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
                let dialled: fn(&Self) -> (Vec<SocketAddr>, Vec<SocketAddr>) = $dialled;
                dialled(self)
            }
        }
        impl DiscoveryResponseParts for $response {
            fn type_url(&self) -> &str {
                &self.type_url
            }
        }
    )*};
}
parts! {
    DiscoveryRequest, DiscoveryResponse, false, |_| Default::default();
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, true, |it| {
        let of = |names: &[String]| addresses(&it.type_url, names);
        (of(&it.resource_names_subscribe), of(&it.resource_names_unsubscribe))
    };
}

impl<S: ServerSession + Send> Observed for S {
    fn subscriptions(&self) -> Vec<xds::server::SubscriptionStatus> {
        self.status()
    }

    fn taken(&self, kind: ResourceKind, name: &str) -> Option<xds::server::Taken> {
        ServerSession::taken(self, kind, name)
    }

    fn take(&mut self, snapshot: Arc<Snapshot>) {
        self.offer(snapshot);
    }
}

/// Answers a stream of requests, on a task of its own.
pub fn open<S>(
    push: Push,
    caller: Caller,
    requests: Streaming<S::Request>,
    session: fn(Arc<Snapshot>) -> S,
) -> Responses<S::Response>
where
    S: ServerSession + Send + 'static,
    S::Request: DiscoveryRequestParts + Send + 'static,
    S::Response: DiscoveryResponseParts + Send + 'static,
{
    let (responses, outgoing) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        if let Err(refusal) = serve(&push, caller, requests, session, &responses).await {
            push.0.metrics.refused.inc();
            tracing::warn!("a proxy is not let in: {}", refusal.message());
            // Who is gone already needs no answer.
            let _ = responses.send(Err(refusal)).await;
        }
    });
    Box::pin(ReceiverStream::new(outgoing))
}

async fn serve<S>(
    push: &Push,
    caller: Caller,
    mut requests: Streaming<S::Request>,
    session: fn(Arc<Snapshot>) -> S,
    responses: &mpsc::Sender<Result<S::Response, Status>>,
) -> Result<(), Status>
where
    S: ServerSession + Send + 'static,
    S::Request: DiscoveryRequestParts + Send + 'static,
    S::Response: DiscoveryResponseParts + Send + 'static,
{
    let silent = |_| Status::deadline_exceeded("no request came: expected one that names the node");
    let Some(first) = tokio::time::timeout(FIRST_REQUEST, requests.message()).await.map_err(silent)?? else {
        return Ok(());
    };
    let Admitted { mut node, metadata, registered } = node::read(first.node(), &caller, push.0.trust_domain.as_str())?;
    node.on_demand &= S::Request::ON_DEMAND;
    let id = push.next_stream();
    tracing::info!("proxy {} is connected ({})", node.id, caller);
    if let Some(registered) = registered {
        // So that its first configuration knows it.
        let _ = tokio::time::timeout(REGISTRATION, push.0.desk.joined(id, registered)).await;
    }
    let not_ready = metadata.tells_readiness().then(|| "its sidecar has not said yet".to_owned());
    let joining = Joining { id, node: Arc::new(node), metadata, is_tls: caller.is_tls, shown: caller.shown, not_ready };
    let node = joining.node.clone();
    let Some((session, wake)) = push.join(joining, session).await else { return Ok(()) };
    push.0.metrics.connected.inc();
    let mut stream = Live { push, id, node, session, wake };
    stream.take(first).await;
    let end = stream.run(&mut requests, responses).await;
    push.0.metrics.connected.dec();
    push.leave(id).await;
    stream.see_off(end, responses).await;
    Ok(())
}

/// How a stream ended.
#[derive(Debug)]
enum End {
    Theirs(Departure),
    /// We are stopping. Our workloads stay registered: the next control plane finds them.
    Ours,
}

/// A stream past its first request.
struct Live<'a, S> {
    push: &'a Push,
    id: u64,
    node: Arc<Node>,
    session: Arc<Mutex<S>>,
    /// The session was offered something.
    wake: Arc<Notify>,
}

/// A proxy that was let in, before it has anything.
struct Joining {
    id: u64,
    node: Arc<Node>,
    metadata: NodeMetadata,
    is_tls: bool,
    shown: Option<Shown>,
    not_ready: Option<String>,
}

impl<S> Live<'_, S>
where
    S: ServerSession + Send + 'static,
    S::Request: DiscoveryRequestParts + Send + 'static,
    S::Response: DiscoveryResponseParts + Send + 'static,
{
    async fn run(
        &mut self,
        requests: &mut Streaming<S::Request>,
        responses: &mpsc::Sender<Result<S::Response, Status>>,
    ) -> End {
        let draining = self.push.0.drain.started();
        tokio::pin!(draining);
        let mut next = None;
        loop {
            next = next.or_else(|| self.next_response());
            tokio::select! {
                biased;
                () = &mut draining => return End::Ours,
                permit = responses.reserve(), if next.is_some() => match (permit, next.take()) {
                    (Ok(permit), Some(response)) => {
                        self.push.0.metrics.pushes.with(&[short(response.type_url())]).inc();
                        permit.send(Ok(response));
                    }
                    _ => return End::Theirs(Departure::Broken),
                },
                request = requests.message() => match request {
                    Ok(Some(request)) => self.take(request).await,
                    Ok(None) => return End::Theirs(Departure::Clean),
                    Err(status) => return End::Theirs(departure(&status)),
                },
                () = self.wake.notified() => {}
                () = responses.closed() => return End::Theirs(Departure::Broken),
            }
        }
    }

    fn next_response(&self) -> Option<S::Response> {
        lock(&self.session).next_response()
    }

    async fn take(&self, request: S::Request) {
        if request.type_url() == HEALTH_TYPE {
            let health = request.refusal().map_or(Ok(()), |words| Err(words.to_owned()));
            self.push.0.proxies.told(self.id, &health);
            return self.push.0.desk.ready(self.id, health.is_ok());
        }
        if let Some(words) = request.refusal() {
            let kind = short(request.type_url());
            self.push.0.metrics.nacks.with(&[kind]).inc();
            tracing::warn!("proxy {} refuses {kind}: {words}", self.node.id);
        }
        let (asked, given_up) = request.dialled();
        if self.node.on_demand && !(asked.is_empty() && given_up.is_empty()) {
            // Before the request itself, so that it finds them.
            self.push.dial(self.id, asked, given_up).await;
        }
        lock(&self.session).request(request);
    }

    async fn see_off(&self, end: End, responses: &mpsc::Sender<Result<S::Response, Status>>) {
        match end {
            End::Theirs(how) => {
                tracing::info!("proxy {} is gone ({how:?})", self.node.id);
                self.push.0.desk.left(self.id, how);
            }
            End::Ours => {
                let words = "the control plane is stopping; what you have stays good, come back later";
                let _ = responses.try_send(Err(Status::unavailable(words)));
            }
        }
    }
}

impl Push {
    /// Takes a proxy in, off the runtime's thread. Nothing when the runtime is shutting down.
    async fn join<S: ServerSession + Send + 'static>(
        &self,
        joining: Joining,
        session: fn(Arc<Snapshot>) -> S,
    ) -> Option<(Arc<Mutex<S>>, Arc<Notify>)> {
        let push = self.clone();
        let joined = tokio::task::spawn_blocking(move || {
            let Joining { id, node, metadata, is_tls, shown, not_ready } = joining;
            let started = std::time::Instant::now();
            let mut graph = push.graph();
            push.catch_up(&mut graph);
            let snapshot = graph.join(id, node.clone(), is_tls);
            let (session, wake) = (Arc::new(Mutex::new(session(snapshot.clone()))), Arc::new(Notify::new()));
            graph.listen(id, Listening { session: session.clone(), wake: wake.clone() });
            push.0.metrics.translate.observe(started.elapsed().as_secs_f64() * 1e3);
            let connected = Connected {
                node: Node::clone(&node),
                metadata,
                is_tls,
                not_after: shown.as_ref().map(|shown| shown.not_after),
                serial: shown.map(|shown| shown.serial),
                since: push.0.clock.now(),
                snapshot,
                session: session.clone(),
                not_ready,
            };
            push.0.proxies.insert(id, connected);
            (session, wake)
        });
        joined.await.inspect_err(|error| tracing::error!("a proxy could not be taken in ({error})")).ok()
    }

    /// A proxy asks for workloads by their addresses, and gives others up.
    async fn dial(&self, id: u64, asked: Vec<SocketAddr>, given_up: Vec<SocketAddr>) {
        let push = self.clone();
        // Only a shutdown of the runtime ends it early, and then nobody is answered any more.
        let _ = tokio::task::spawn_blocking(move || {
            let mut graph = push.graph();
            if let Some(snapshot) = graph.dial(id, &asked, &given_up) {
                push.0.proxies.took(id, snapshot);
            }
        })
        .await;
    }

    async fn leave(&self, id: u64) {
        let push = self.clone();
        // Only a shutdown of the runtime ends it early, and then nobody asks any more.
        let _ = tokio::task::spawn_blocking(move || {
            push.graph().leave(id);
            push.0.proxies.remove(id);
        })
        .await;
    }

    /// Follows the store, off the runtime's thread. The first change goes out at once; those that come while it is
    /// followed go out together.
    pub async fn follow(self) {
        let mut versions = self.0.store.watch();
        while versions.changed().await.is_ok() {
            let push = self.clone();
            let followed = tokio::task::spawn_blocking(move || {
                let started = std::time::Instant::now();
                push.catch_up(&mut push.graph());
                push.0.metrics.translate.observe(started.elapsed().as_secs_f64() * 1e3);
            });
            if let Err(error) = followed.await {
                tracing::error!("a change could not be followed ({error}); proxies keep what they have");
            }
        }
    }

    fn catch_up(&self, graph: &mut Graph) {
        let offered = graph.catch_up();
        self.0.proxies.offered(graph.versioned(), offered);
    }

    fn graph(&self) -> MutexGuard<'_, Graph> {
        lock(&self.0.graph)
    }

    /// Forgets encoded resources that no stream uses any more.
    pub fn sweep(&self) {
        self.graph().sweep();
    }
}

/// A stream that was cancelled was ended by a program that lives; one that broke may come back.
fn departure(status: &Status) -> Departure {
    if status.code() == tonic::Code::Cancelled { Departure::Clean } else { Departure::Broken }
}

fn lock<T>(session: &Mutex<T>) -> MutexGuard<'_, T> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The short name of a type, for labels: a stranger's type must not make a series.
fn short(type_url: &str) -> &'static str {
    xds::kind_of(type_url).map_or("other", model::ResourceKind::short)
}
