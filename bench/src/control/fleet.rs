//! Simulated proxies: each a stream of delta xDS on a connection of its own, which asks for what a sidecar asks for,
//! acknowledges everything at once, and notes when it was told what.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use model::ResourceKind;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use proto::google::protobuf::{Struct, Value, value::Kind};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;

use super::mesh::{Mesh, PORT};
use super::message::{Response, Slim};
use crate::stop::Stop;

const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Windows that are never in the way.
const WINDOW: u32 = 1 << 24;
/// The longest that is waited for all to be told of a change.
const PATIENCE: Duration = Duration::from_secs(120);
/// Proxies that connect at once; the next ones wait until these have everything.
const CONNECTING: usize = 64;
/// What every one of them asks for in the end.
const KINDS: [ResourceKind; 5] =
    [ResourceKind::Cluster, ResourceKind::Endpoints, ResourceKind::Listener, ResourceKind::Route, ResourceKind::Names];

/// Simulated proxies, on a thread of their own; they go when this is dropped.
pub struct Fleet {
    /// What they noted.
    pub notes: Arc<Notes>,
    _end: oneshot::Sender<()>,
}

/// What the proxies noted.
pub struct Notes {
    began: Instant,
    bytes: AtomicU64,
    /// Nanoseconds since `began`.
    last_ack: AtomicU64,
    complete: AtomicUsize,
    /// By proxy: responses since the last look; and how many proxies have any.
    told: Vec<AtomicU64>,
    reached: AtomicUsize,
    awaited: Mutex<Awaited>,
    failure: Mutex<Option<String>>,
}

/// Changes of endpoints that are under way, by service.
#[derive(Default)]
struct Awaited {
    /// When it was due, and how many proxies have not acknowledged it yet.
    changes: HashMap<usize, (Instant, usize)>,
    done: Vec<Duration>,
    /// The service changed again before everybody had acknowledged the change before.
    overtaken: usize,
}

/// What was told since a look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// How many proxies were sent anything.
    pub proxies: usize,
    /// How many bytes of messages.
    pub bytes: u64,
}

impl Fleet {
    /// Starts so many proxies in turn and returns at once.
    ///
    /// # Errors
    /// When there is no thread for them.
    pub fn start(mesh: Mesh, proxies: usize, xds: SocketAddr) -> anyhow::Result<Self> {
        let notes = Arc::new(Notes::new(proxies));
        let (end, ended) = oneshot::channel();
        let noted = notes.clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return noted.fail(format!("no runtime: {error}")),
            };
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    () = run(mesh, proxies, xds, &noted) => {}
                }
            });
        };
        std::thread::Builder::new().name("fleet".into()).spawn(work).context("cannot start a thread")?;
        Ok(Self { notes, _end: end })
    }

    /// Waits until every proxy has all that it asked for and nothing more comes.
    ///
    /// # Errors
    /// When one fails, when it takes too long, and when somebody asks for the end.
    pub fn wait_complete(&self, patience: Duration, stop: &Stop) -> anyhow::Result<Duration> {
        let began = Instant::now();
        loop {
            let complete = self.notes.complete.load(Ordering::Relaxed);
            if complete == self.notes.told.len() {
                break;
            }
            self.notes.check()?;
            if began.elapsed() > patience {
                bail!("after {patience:?} only {complete} of {} proxies have everything", self.notes.told.len());
            }
            stop.pause(Duration::from_millis(20))?;
        }
        let took = began.elapsed();
        self.wait_quiet(Duration::from_secs(1), stop)?;
        Ok(took)
    }

    /// Waits until so many proxies were told something since the last look, and then until it is quiet. Gives when the
    /// last answer went out.
    ///
    /// # Errors
    /// When it takes too long, when a proxy fails, and when somebody asks for the end.
    pub fn wait_told(&self, proxies: usize, quiet: Duration, stop: &Stop) -> anyhow::Result<Instant> {
        let began = Instant::now();
        while self.notes.reached.load(Ordering::Relaxed) < proxies {
            self.notes.check()?;
            if began.elapsed() > PATIENCE {
                let reached = self.notes.reached.load(Ordering::Relaxed);
                bail!("after {PATIENCE:?} only {reached} of {proxies} proxies were told of a change");
            }
            stop.pause(Duration::from_millis(5))?;
        }
        self.wait_quiet(quiet, stop)
    }

    /// Waits until nobody was told anything for so long. Gives when the last answer went out.
    ///
    /// # Errors
    /// When a proxy fails, and when somebody asks for the end.
    pub fn wait_quiet(&self, quiet: Duration, stop: &Stop) -> anyhow::Result<Instant> {
        loop {
            self.notes.check()?;
            let last = self.notes.began + Duration::from_nanos(self.notes.last_ack.load(Ordering::Relaxed));
            let silent = last.elapsed();
            if silent >= quiet {
                return Ok(last);
            }
            stop.pause(quiet - silent)?;
        }
    }
}

impl Notes {
    fn new(proxies: usize) -> Self {
        Self {
            began: Instant::now(),
            bytes: AtomicU64::new(0),
            last_ack: AtomicU64::new(0),
            complete: AtomicUsize::new(0),
            reached: AtomicUsize::new(0),
            told: (0..proxies).map(|_| AtomicU64::new(0)).collect(),
            awaited: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    /// What was told since the last call of this.
    pub fn take(&self) -> Told {
        self.reached.store(0, Ordering::Relaxed);
        Told {
            proxies: self.told.iter().filter(|told| told.swap(0, Ordering::Relaxed) > 0).count(),
            bytes: self.bytes.swap(0, Ordering::Relaxed),
        }
    }

    /// A change of a service's endpoints, due at `due`, that so many proxies will be told of.
    pub fn await_endpoints(&self, service: usize, due: Instant, proxies: usize) {
        let mut awaited = self.awaited();
        if awaited.changes.insert(service, (due, proxies)).is_some() {
            awaited.overtaken += 1;
        }
    }

    /// The changes that everybody has acknowledged, how long each took, and how many have not come to their end.
    pub fn take_awaited(&self) -> (Vec<Duration>, usize) {
        let Awaited { changes, done, overtaken } = std::mem::take(&mut *self.awaited());
        (done, changes.len() + overtaken)
    }

    /// How many changes are under way.
    pub fn open(&self) -> usize {
        self.awaited().changes.len()
    }

    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acknowledged(&self, proxy: usize, kind: Option<ResourceKind>, response: &Response, size: usize) {
        if self.told[proxy].fetch_add(1, Ordering::Relaxed) == 0 {
            self.reached.fetch_add(1, Ordering::Relaxed);
        }
        self.bytes.fetch_add(size as u64, Ordering::Relaxed);
        self.last_ack.store(self.began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        if kind != Some(ResourceKind::Endpoints) {
            return;
        }
        let mut awaited = self.awaited();
        for service in response.resources.iter().filter_map(|resource| Mesh::service_of(&resource.name)) {
            let Some((began, left)) = awaited.changes.get_mut(&service) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0 {
                let took = began.elapsed();
                awaited.changes.remove(&service);
                awaited.done.push(took);
            }
        }
    }

    fn fail(&self, reason: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    fn check(&self) -> anyhow::Result<()> {
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => Err(anyhow!("a simulated proxy failed: {reason}")),
            None => Ok(()),
        }
    }
}

async fn run(mesh: Mesh, proxies: usize, xds: SocketAddr, notes: &Arc<Notes>) {
    let turns = Arc::new(Semaphore::new(CONNECTING));
    let mut all = tokio::task::JoinSet::new();
    for number in 0..proxies {
        let (notes, turns) = (notes.clone(), turns.clone());
        all.spawn(async move {
            if let Err(error) = proxy(mesh, number, xds, &notes, &turns).await {
                notes.fail(format!("proxy {number}: {error:#}"));
            }
        });
    }
    while all.join_next().await.is_some() {}
}

async fn proxy(mesh: Mesh, number: usize, xds: SocketAddr, notes: &Notes, turns: &Semaphore) -> anyhow::Result<()> {
    let mut turn = Some(turns.acquire().await?);
    let endpoint = Endpoint::from_shared(format!("http://{xds}"))?;
    let channel = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW).connect().await?;
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
    grpc.ready().await?;
    let (requests, outgoing) = mpsc::unbounded_channel();
    let mut asker = Asker::new(requests);
    asker.begin(node(mesh, number))?;
    let outgoing = tonic::Request::new(UnboundedReceiverStream::new(outgoing));
    let mut responses = grpc.streaming(outgoing, PathAndQuery::from_static(METHOD), Slim).await?.into_inner();
    while let Some((response, size)) = responses.message().await? {
        let kind = xds::kind_of(&response.type_url);
        asker.answer(kind, &response)?;
        notes.acknowledged(number, kind, &response, size);
        if turn.is_some() && asker.is_complete() {
            turn = None;
            notes.complete.fetch_add(1, Ordering::Relaxed);
        }
    }
    bail!("the control plane closed the stream")
}

/// What one proxy asks for.
struct Asker {
    requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    /// Endpoint sets and routes that it has asked for.
    named: BTreeSet<String>,
    /// Of which kinds it was told something.
    told: BTreeSet<ResourceKind>,
}

impl Asker {
    fn new(requests: mpsc::UnboundedSender<DeltaDiscoveryRequest>) -> Self {
        Self { requests, named: BTreeSet::new(), told: BTreeSet::new() }
    }

    fn begin(&mut self, node: Node) -> anyhow::Result<()> {
        let mut node = Some(node);
        for kind in [ResourceKind::Cluster, ResourceKind::Listener, ResourceKind::Names] {
            self.send(DeltaDiscoveryRequest { node: node.take(), ..request(kind) })?;
        }
        Ok(())
    }

    /// Acknowledges, and asks for what clusters and listeners name.
    fn answer(&mut self, kind: Option<ResourceKind>, response: &Response) -> anyhow::Result<()> {
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        })?;
        self.told.extend(kind);
        let names = response.resources.iter().map(|resource| resource.name.as_str());
        let (of, wanted): (_, Vec<String>) = match kind {
            Some(ResourceKind::Cluster) => (
                ResourceKind::Endpoints,
                names.filter(|name| name.starts_with("outbound|")).map(str::to_owned).collect(),
            ),
            // The table of an HTTP port is called by its number.
            Some(ResourceKind::Listener) => {
                let http = format!("0.0.0.0_{PORT}");
                (ResourceKind::Route, names.filter(|name| *name == http).map(|_| PORT.to_string()).collect())
            }
            _ => return Ok(()),
        };
        let fresh: Vec<String> = wanted.into_iter().filter(|name| self.named.insert(name.clone())).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        self.send(DeltaDiscoveryRequest { resource_names_subscribe: fresh, ..request(of) })
    }

    fn is_complete(&self) -> bool {
        KINDS.iter().all(|kind| self.told.contains(kind))
    }

    fn send(&self, request: DeltaDiscoveryRequest) -> anyhow::Result<()> {
        self.requests.send(request).map_err(|_| anyhow!("the stream has ended"))
    }
}

fn request(kind: ResourceKind) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: xds::type_url(kind).to_owned(), ..DeltaDiscoveryRequest::default() }
}

/// A sidecar beside a service: in its namespace, with its label, one port, everything captured.
fn node(mesh: Mesh, number: usize) -> Node {
    let service = number % mesh.services;
    let namespace = mesh.namespace(service);
    let address = format!("127.{}.{}.{}", 65 + (number >> 16), (number >> 8) & 255, number & 255);
    let port = structure([("target", Kind::NumberValue(f64::from(PORT))), ("bind", text(format!("{address}:{PORT}")))]);
    let outbound = Kind::ListValue(list(vec![text("127.0.0.1:15001")]));
    let redirect = structure([("netns", text(format!("p{number}"))), ("outbound", outbound)]);
    let sidecar =
        structure([("ports", Kind::ListValue(list(vec![port]))), ("capture", structure([("redirect", redirect)]))]);
    let registration = structure([
        ("proxy_version", text(env!("CARGO_PKG_VERSION"))),
        ("instance", text(format!("p{number}"))),
        ("address", text(&address)),
        ("role", structure([("sidecar", sidecar)])),
    ]);
    let metadata = object([
        ("NAMESPACE", text(format!("ns-{namespace}"))),
        ("SERVICE_ACCOUNT", text(format!("s{service}"))),
        ("WORKLOAD_NAME", text(format!("s{service}-v1"))),
        ("CLUSTER_ID", text("bench")),
        ("LABELS", structure([("app", text(format!("s{service}"))), ("version", text("v1"))])),
        ("HALCYON", registration),
    ]);
    Node {
        id: format!("sidecar~{address}~p{number}.ns-{namespace}~ns-{namespace}.svc.cluster.local"),
        metadata: Some(metadata),
        ..Node::default()
    }
}

fn text(value: impl Into<String>) -> Kind {
    Kind::StringValue(value.into())
}

fn list(values: Vec<Kind>) -> proto::google::protobuf::ListValue {
    let values = values.into_iter().map(|kind| Value { kind: Some(kind) }).collect();
    proto::google::protobuf::ListValue { values }
}

fn structure<const N: usize>(fields: [(&str, Kind); N]) -> Kind {
    Kind::StructValue(object(fields))
}

fn object<const N: usize>(fields: [(&str, Kind); N]) -> Struct {
    let field = |(key, kind): (&str, Kind)| (key.to_owned(), Value { kind: Some(kind) });
    Struct { fields: fields.into_iter().map(field).collect() }
}
