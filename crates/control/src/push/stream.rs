//! The story of one stream: let in, registered, configured, kept up to date, and seen off.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::secret::SecretValue;
use model::{Config, Endpoint};
use proto::envoy::config::core::v3::Node as WireNode;
use proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use translate::Node;
use xds::health::HEALTH_TYPE;
use xds::server::{ServerSession, Snapshot};

use super::node::{self, Admitted};
use super::proxies::{Connected, Observed};
use super::{Push, Responses};
use crate::doors::Caller;
use crate::registry::Departure;
use crate::store::Versioned;

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
    /// Only the incremental variant finds resources when they are needed.
    const ON_DEMAND: bool;
}

/// What we look at in responses of both variants.
pub trait DiscoveryResponseParts {
    fn type_url(&self) -> &str;
}

macro_rules! parts {
    ($($request:ty, $response:ty, $on_demand:literal;)*) => {$(
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
        }
        impl DiscoveryResponseParts for $response {
            fn type_url(&self) -> &str {
                &self.type_url
            }
        }
    )*};
}
parts! {
    DiscoveryRequest, DiscoveryResponse, false;
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, true;
}

impl<S: ServerSession + Send> Observed for S {
    fn subscriptions(&self) -> Vec<xds::server::SubscriptionStatus> {
        self.status()
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
    let mut versions = push.0.store.watch();
    let versioned = versions.borrow_and_update().clone();
    let (node, is_tls) = (Arc::new(node), caller.is_tls);
    let snapshot = push.snapshot(&versioned, &node, is_tls, &Arc::default()).await;
    let session = Arc::new(Mutex::new(session(snapshot.clone())));
    let not_ready = metadata.tells_readiness().then(|| "its sidecar has not said yet".to_owned());
    let connected = Connected {
        node: Node::clone(&node),
        metadata,
        since: push.0.clock.now(),
        versioned,
        snapshot: snapshot.clone(),
        session: session.clone(),
        not_ready,
    };
    push.0.proxies.insert(id, connected);
    push.0.metrics.connected.inc();
    let mut stream = Live { push, id, node, is_tls, session, snapshot };
    stream.take(first);
    let end = stream.run(&mut requests, &mut versions, responses).await;
    push.0.proxies.remove(id);
    push.0.metrics.connected.dec();
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
    is_tls: bool,
    session: Arc<Mutex<S>>,
    snapshot: Arc<Snapshot>,
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
        versions: &mut tokio::sync::watch::Receiver<Arc<Versioned>>,
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
                    Ok(Some(request)) => self.take(request),
                    Ok(None) => return End::Theirs(Departure::Clean),
                    Err(status) => return End::Theirs(departure(&status)),
                },
                changed = versions.changed() => {
                    if changed.is_err() {
                        return End::Ours;
                    }
                    let versioned = versions.borrow_and_update().clone();
                    self.offer(versioned).await;
                }
                () = responses.closed() => return End::Theirs(Departure::Broken),
            }
        }
    }

    fn next_response(&self) -> Option<S::Response> {
        lock(&self.session).next_response()
    }

    fn take(&self, request: S::Request) {
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
        lock(&self.session).request(request);
    }

    async fn offer(&mut self, versioned: Arc<Versioned>) {
        let snapshot = self.push.snapshot(&versioned, &self.node, self.is_tls, &self.snapshot).await;
        self.snapshot = snapshot.clone();
        self.push.0.proxies.offered(self.id, versioned, snapshot.clone());
        lock(&self.session).offer(snapshot);
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
    /// What the node may have at a version, as the successor of `old`. Off the runtime's thread.
    async fn snapshot(
        &self,
        versioned: &Arc<Versioned>,
        node: &Arc<Node>,
        is_tls: bool,
        old: &Arc<Snapshot>,
    ) -> Arc<Snapshot> {
        // Closed never: the semaphore lives as long as we do.
        let _permit = self.0.permits.acquire().await;
        let (push, versioned, node, before) = (self.clone(), versioned.clone(), node.clone(), old.clone());
        let made = tokio::task::spawn_blocking(move || {
            let started = std::time::Instant::now();
            let config = config(&versioned, &node, is_tls);
            let snapshot = Arc::new(push.0.interner.snapshot(config, &before));
            push.0.metrics.translate.observe(started.elapsed().as_secs_f64() * 1e3);
            snapshot
        });
        // Only a shutdown of the runtime ends it early, and then nobody asks any more.
        made.await.unwrap_or_else(|error| {
            tracing::error!("proxy: its configuration could not be made ({error}); it keeps what it has");
            old.clone()
        })
    }

    /// Forgets encoded resources that no stream uses any more.
    pub fn sweep(&self) {
        self.0.interner.sweep();
    }
}

/// The configuration of a node: names only for our own proxies, private keys only over TLS, and no endpoints that are not
/// ready.
pub fn config(versioned: &Versioned, node: &Node, is_tls: bool) -> Config {
    let mut config = translate::translate(&versioned.world, node);
    withhold(&mut config, &versioned.not_ready);
    if !node.ours {
        config.names.clear();
    }
    if !is_tls {
        config.secrets.retain(|_, secret| !matches!(secret.value, SecretValue::Certificate { .. }));
    }
    config
}

/// Takes out the endpoints at these addresses. Nobody is sent to them, but they stay in their services, so that the rest
/// of a configuration is the same before and after.
fn withhold(config: &mut Config, not_ready: &BTreeSet<SocketAddr>) {
    if not_ready.is_empty() {
        return;
    }
    let waits = |endpoint: &Endpoint| endpoint.address.socket_addr().is_some_and(|addr| not_ready.contains(&addr));
    for set in config.endpoints.values_mut().filter(|set| set.iter().any(waits)) {
        let set = Arc::make_mut(set);
        set.localities.iter_mut().for_each(|group| group.endpoints.retain(|endpoint| !waits(endpoint)));
        set.localities.retain(|group| !group.endpoints.is_empty());
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
