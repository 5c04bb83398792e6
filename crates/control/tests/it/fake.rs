//! What the tests play: the command line, and proxies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base::SpiffeId;
use base::drain::Signal;
use control::registration::{NodeMetadata, RegisteredCapture, RegisteredPort, RegisteredRole, Registration};
use control::v1::Bootstrap;
use control::{Control, ControlOptions, Endpoints};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use model::cluster::Discovery;
use model::http_proxy::RouteSource;
use model::listener::NetworkFilter;
use model::{Config, ResourceKind};
use proto::envoy::config::core::v3::Node;
use proto::google::protobuf::{ListValue, Struct, Value, value::Kind};
use proto::istio::v1::auth::IstioCertificateRequest;
use proto::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use transport::Stream;
use transport::tls::{
    Accept, ClientOptions, ClientTls, LiveCert, LiveTrust, PeerCheck, Roots, ServerCheck, TrustBundles,
};
use xds::client::{ClientSession, Refusal, Update, Variant};
use xds::shell::{Command, StreamEnd};

/// Longer than anything here takes, on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A control plane in this process.
pub struct Running {
    pub endpoints: Endpoints,
    stop: Signal,
    task: JoinHandle<Result<(), control::ControlError>>,
}

impl Running {
    pub async fn start(dir: &Path) -> Self {
        Self::with(ControlOptions::new(dir).on_free_ports()).await
    }

    pub async fn with(options: ControlOptions) -> Self {
        let (stop, watch) = base::drain::channel();
        let control = Control::start(options, watch).await.unwrap();
        let endpoints = control.endpoints().clone();
        Self { endpoints, stop, task: tokio::spawn(control.finished()) }
    }

    pub async fn stop(self) {
        self.stop.start();
        self.task.await.unwrap().unwrap();
        self.stop.finished().await;
    }

    /// Calls the API: the status, and the answer.
    pub async fn call(&self, method: &str, path: &str, body: &Json) -> (u16, Json) {
        let stream = UnixStream::connect(&self.endpoints.socket).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "control")
            .header("content-type", "application/json")
            .body(Full::new(bytes_of(body)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, answer) = self.call("GET", path, &Json::Null).await;
        assert_eq!(status, 200, "{path}: {answer}");
        serde_json::from_value(answer).unwrap()
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: Json) -> T {
        let (status, answer) = self.call("POST", path, &body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        serde_json::from_value(answer).unwrap()
    }

    pub async fn apply(&self, documents: &[(&str, &str)]) -> control::v1::ApplyResponse {
        let documents: Vec<Json> =
            documents.iter().map(|(file, text)| serde_json::json!({"file": file, "text": text})).collect();
        self.post("/v1/apply", serde_json::json!({ "documents": documents })).await
    }

    pub async fn bootstrap(&self, account: &str) -> Bootstrap {
        let body = serde_json::json!({"namespace": "default", "service_account": account, "instance": account});
        self.post("/v1/bootstrap", body).await
    }

    /// A certificate for a service account, by token.
    pub async fn join(&self, account: &str) -> Joined {
        let bootstrap = self.bootstrap(account).await;
        let joined = Joined::new(&bootstrap);
        let (chain, key) = joined.certificate(Some(&bootstrap.token)).await.unwrap();
        joined.cert.set_pem(&chain, &key).unwrap();
        Joined { shown: (chain, key), ..joined }
    }
}

fn bytes_of(body: &Json) -> axum::body::Bytes {
    if body.is_null() { Default::default() } else { serde_json::to_vec(body).unwrap().into() }
}

/// A proxy's side of the TLS door.
pub struct Joined {
    pub cert: LiveCert,
    /// The chain and key of the first certificate.
    shown: (String, String),
    identity: SpiffeId,
    tls: ClientTls,
    address: SocketAddr,
}

impl Joined {
    pub fn new(bootstrap: &Bootstrap) -> Self {
        let roots = Roots::from_pem(&bootstrap.trust_bundle_pem).unwrap();
        let trust = LiveTrust::new(TrustBundles::domain(bootstrap.trust_domain.parse().unwrap(), roots));
        let server: SpiffeId = bootstrap.server_spiffe_id.parse().unwrap();
        let check = PeerCheck::Spiffe { trust, accept: Accept::identities([&server]) };
        let mut options = ClientOptions::new(ServerCheck::Peer(check));
        let cert = LiveCert::empty();
        options.cert = Some(cert.clone());
        options.alpn = vec![b"h2".to_vec()];
        Self {
            cert,
            shown: Default::default(),
            identity: bootstrap.identity.parse().unwrap(),
            tls: ClientTls::new(options).unwrap(),
            address: bootstrap.xds_address.parse().unwrap(),
        }
    }

    /// The chain and key of the certificate that it joined with.
    pub fn shown(&self) -> &(String, String) {
        &self.shown
    }

    /// The same proxy, of a control plane that is now at `address`.
    pub fn moved_to(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    pub async fn channel(&self) -> Channel {
        self.channel_to(self.address).await
    }

    pub async fn channel_to(&self, address: SocketAddr) -> Channel {
        channel(address, Some(self.tls.clone())).await
    }

    /// Asks for a certificate: chain and key, or the refusal.
    pub async fn certificate(&self, token: Option<&str>) -> Result<(String, String), tonic::Status> {
        let key = ca::Key::generate().unwrap();
        let chain = self.send(&key.csr(&self.identity).unwrap(), token).await?;
        Ok((chain, key.secret_pem()))
    }

    /// Sends a request for a certificate: the chain, or the refusal.
    pub async fn send(&self, csr: &str, token: Option<&str>) -> Result<String, tonic::Status> {
        let csr = csr.to_owned();
        let mut request = tonic::Request::new(IstioCertificateRequest { csr, validity_duration: 3600, metadata: None });
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let mut client = IstioCertificateServiceClient::new(self.channel().await);
        let mut chain = client.create_certificate(request).await?.into_inner().cert_chain;
        assert!(chain.len() > 1, "the roots come last");
        chain.pop();
        Ok(chain.concat())
    }
}

/// A cable to `to` that can be cut: its address, and the task that is the cable. One connection.
pub async fn cable(to: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(to).await.unwrap();
        tokio::io::copy_bidirectional(&mut near, &mut far).await.unwrap();
    });
    (address, task)
}

/// Dials one address, over TLS or not.
#[derive(Clone)]
struct Dial(SocketAddr, Option<ClientTls>);

impl tower_service::Service<http::Uri> for Dial {
    type Response = TokioIo<Stream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, std::io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let Self(address, tls) = self.clone();
        Box::pin(async move {
            let stream: Stream = TcpStream::connect(address).await?.into();
            let stream = match tls {
                Some(tls) => tls.connect(stream, None, PATIENCE).await.map_err(std::io::Error::other)?.0,
                None => stream,
            };
            Ok(TokioIo::new(stream))
        })
    }
}

pub async fn channel(address: SocketAddr, tls: Option<ClientTls>) -> Channel {
    Endpoint::from_static("http://control").connect_with_connector(Dial(address, tls)).await.unwrap()
}

/// A proxy that runs nothing: it asks for everything, and remembers it.
pub struct FakeProxy {
    pub config: watch::Receiver<Config>,
    commands: mpsc::Sender<Command>,
    refuse: Rc<RefCell<Option<ResourceKind>>>,
    task: JoinHandle<StreamEnd>,
}

impl FakeProxy {
    /// Must be called on a `LocalSet`.
    pub fn connect(channel: Channel, node: Node) -> Self {
        let all = [ResourceKind::Cluster, ResourceKind::Listener, ResourceKind::Names];
        Self::begin(channel, node, move |session| all.into_iter().for_each(|kind| session.want_all(kind)))
    }

    /// One that asks for these virtual hosts, and for the clusters that it needs. Likewise.
    pub fn connect_on_demand(channel: Channel, node: Node, hosts: &[&str]) -> Self {
        let hosts: Vec<Arc<str>> = hosts.iter().map(|host| Arc::from(*host)).collect();
        Self::begin(channel, node, move |session| {
            session.want_all(ResourceKind::Listener);
            session.want(ResourceKind::Cluster, ["PassthroughCluster".into()]);
            session.want(ResourceKind::Endpoints, []);
            session.want(ResourceKind::VirtualHost, hosts);
        })
    }

    /// One that asks for the roots of the mesh alone. Likewise.
    pub fn connect_trusting(channel: Channel, node: Node) -> Self {
        Self::begin(channel, node, |session| session.want(ResourceKind::Secret, ["ROOTCA".into()]))
    }

    /// The same, for the clusters of workloads that were dialled, by their names.
    pub fn connect_dialling(channel: Channel, node: Node, dialled: &[&str]) -> Self {
        let names: Vec<Arc<str>> = dialled.iter().chain(&["PassthroughCluster"]).map(|name| Arc::from(*name)).collect();
        Self::begin(channel, node, move |session| {
            session.want_all(ResourceKind::Listener);
            session.want(ResourceKind::Cluster, names);
        })
    }

    fn begin(channel: Channel, node: Node, want: impl FnOnce(&mut ClientSession) + 'static) -> Self {
        let (commands, mut orders) = mpsc::channel(16);
        let (sender, config) = watch::channel(Config::default());
        let refuse = Rc::new(RefCell::new(None));
        let refused = refuse.clone();
        let task = tokio::task::spawn_local(async move {
            let mut session = ClientSession::new(node, Variant::Delta);
            want(&mut session);
            let take = |session: &mut ClientSession, update: Update| apply(session, update, &sender, &refused);
            xds::shell::run(channel, &mut session, &mut orders, take).await
        });
        Self { config, commands, refuse, task }
    }

    /// Waits until the configuration is as wanted.
    pub async fn until(&mut self, wanted: impl Fn(&Config) -> bool) {
        let reached = tokio::time::timeout(PATIENCE, self.config.wait_for(|config| wanted(config))).await;
        assert!(reached.is_ok_and(|seen| seen.is_ok()), "{:#?}", self.config.borrow().endpoints);
    }

    /// The addresses of a cluster's endpoints.
    pub fn endpoints(config: &Config, cluster: &str) -> Vec<String> {
        let set = config.endpoints.iter().find(|(name, _)| name.contains(cluster));
        set.map_or_else(Vec::new, |(_, set)| set.iter().map(|e| e.address.to_string()).collect())
    }

    /// Refuses the next update of this kind.
    pub fn refuse_next(&self, kind: ResourceKind) {
        *self.refuse.borrow_mut() = Some(kind);
    }

    /// Says whether the program is ready.
    pub async fn report(&self, health: xds::health::Health) {
        self.commands.send(Command::Report(health)).await.unwrap();
    }

    /// Ends the stream in good order.
    pub async fn leave(self) -> StreamEnd {
        drop(self.commands);
        self.task.await.unwrap()
    }

    /// Waits until the other side ends the stream.
    pub async fn ended(self) -> StreamEnd {
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}

fn apply(
    session: &mut ClientSession,
    update: Update,
    sender: &watch::Sender<Config>,
    refuse: &Rc<RefCell<Option<ResourceKind>>>,
) {
    assert!(update.refused.is_empty(), "{:?}", update.refused);
    let refused = refuse.borrow_mut().take_if(|kind| *kind == update.kind).is_some();
    let refusal =
        update.updated.iter().map(|r| Refusal { name: r.name(), reason: "the test says no".to_owned() }).collect();
    let outcome = if refused { Err(refusal) } else { Ok(()) };
    sender.send_modify(|config| {
        for resource in &update.updated {
            resource.clone().insert_into(config);
        }
        update.removed.iter().for_each(|name| xds::remove_from(config, update.kind, name));
    });
    session.resolve(&update.nonce, outcome);
    let config = sender.borrow();
    if update.kind == ResourceKind::VirtualHost {
        let needed = config.virtual_hosts.values().flat_map(|host| host.clusters().cloned());
        session.want(ResourceKind::Cluster, needed.chain(["PassthroughCluster".into()]));
    }
    session.want(ResourceKind::Endpoints, wanted_endpoints(&config));
    session.want(ResourceKind::Route, wanted_routes(&config));
}

fn wanted_endpoints(config: &Config) -> Vec<Arc<str>> {
    let named = config.clusters.values().filter_map(|cluster| match &cluster.discovery {
        Discovery::Eds(name) => Some(name.clone()),
        _ => None,
    });
    named.collect()
}

fn wanted_routes(config: &Config) -> Vec<Arc<str>> {
    let chains = config.listeners.values().flat_map(|l| l.chains.iter().chain(&l.default_chain));
    let named = chains.filter_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => match &http.routes {
            RouteSource::Rds(name) => Some(name.clone()),
            RouteSource::Inline(_) => None,
        },
        NetworkFilter::Tcp(_) => None,
    });
    named.collect()
}

/// The node of a sidecar beside `workload` (`reviews-v1`), at `address`.
pub fn sidecar(workload: &str, account: &str, address: &str) -> Node {
    sidecar_that(false, workload, account, address)
}

/// The same; `tells_readiness` says whether it will tell that its program is ready.
pub fn sidecar_that(tells_readiness: bool, workload: &str, account: &str, address: &str) -> Node {
    sidecar_with(|registration| registration.tells_readiness = tells_readiness, workload, account, address)
}

/// The same, with a registration that is changed.
pub fn sidecar_with(change: impl FnOnce(&mut Registration), workload: &str, account: &str, address: &str) -> Node {
    let (app, version) = workload.split_once('-').unwrap_or((workload, "v1"));
    let ip = address.parse().unwrap();
    let mut registration = Registration {
        proxy_version: Some("0.1.0".to_owned()),
        instance: format!("{workload}-1"),
        role: RegisteredRole::Sidecar {
            service: Some(app.to_owned()),
            ports: vec![RegisteredPort {
                target: 9080,
                bind: SocketAddr::new(ip, 9080),
                name: Some("http".to_owned()),
                beside: false,
            }],
            capture: RegisteredCapture::Redirect {
                netns: "workload".to_owned(),
                outbound: vec!["127.0.0.1:15001".parse().unwrap()],
            },
        },
        address: ip,
        weight: 1,
        tells_readiness: false,
        on_demand: false,
        admin: Some(SocketAddr::new(ip, 15000)),
        metrics: Some(SocketAddr::new(ip, 15020)),
    };
    change(&mut registration);
    let metadata = NodeMetadata {
        generator: String::new(),
        namespace: "default".to_owned(),
        service_account: account.to_owned(),
        workload_name: workload.to_owned(),
        cluster: "local".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), app.to_owned()), ("version".to_owned(), version.to_owned())]),
        halcyon: Some(registration),
    };
    node(&format!("sidecar~{address}~{workload}-1.default"), &serde_json::to_value(metadata).unwrap())
}

pub fn node(id: &str, metadata: &Json) -> Node {
    let Some(Kind::StructValue(metadata)) = value(metadata).kind else { panic!("an object") };
    Node { id: id.to_owned(), metadata: Some(metadata), ..Node::default() }
}

fn value(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(b) => Kind::BoolValue(*b),
        Json::Number(n) => Kind::NumberValue(n.as_f64().unwrap()),
        Json::String(s) => Kind::StringValue(s.clone()),
        Json::Array(list) => Kind::ListValue(ListValue { values: list.iter().map(value).collect() }),
        Json::Object(fields) => {
            Kind::StructValue(Struct { fields: fields.iter().map(|(k, v)| (k.clone(), value(v))).collect() })
        }
    };
    Value { kind: Some(kind) }
}

/// Waits until `probe` gives something, asking again and again: for what cannot be awaited.
pub async fn eventually<T, F: Future<Output = Option<T>>>(mut probe: impl FnMut() -> F) -> T {
    let search = async {
        loop {
            match probe().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap()
}
