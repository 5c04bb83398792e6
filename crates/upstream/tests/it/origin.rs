//! Servers to send to, and the upstream side under test.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use mesh_http::{Answer, Body, ServerOptions, serve};
use model::cluster::Discovery;
use model::{EndpointSet, LocalityEndpoints};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};
use transport::Stream;
use transport::tls::{LiveCert, LiveTrust, ServerTls};
use upstream::{Cluster, ClusterPools, Dialer, Failure, Pick, Secrets, Sent, Worker};

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test as a worker runs its tasks.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(PATIENCE, test).await.expect("hangs") });
}

/// Gives other tasks their turn until something holds.
pub async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// An HTTP server that counts.
#[derive(Default)]
pub struct Origin {
    /// Connections accepted.
    pub connections: Cell<usize>,
    /// Requests that have begun.
    pub requests: Cell<usize>,
    /// Drains every connection of now.
    pub drain: RefCell<Rc<Notify>>,
    /// Requests for `/hold` wait for it.
    pub release: Notify,
}

impl Origin {
    /// Serves on loopback: `/hold` when released, `/refuse` by a reset, `/502` with that, `/upgrade` by 101, else 200
    /// with the origin's port.
    pub async fn start(options: ServerOptions, tls: Option<ServerTls>) -> (Rc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let origin = Rc::new(Self::default());
        let this = origin.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                this.connections.set(this.connections.get() + 1);
                spawn_local(this.clone().connection(stream.into(), options.clone(), tls.clone(), addr));
            }
        });
        (origin, addr)
    }

    /// Without options and TLS.
    pub async fn plain() -> (Rc<Self>, SocketAddr) {
        Self::start(ServerOptions::default(), None).await
    }

    async fn connection(
        self: Rc<Self>,
        mut stream: Stream,
        options: ServerOptions,
        tls: Option<ServerTls>,
        addr: SocketAddr,
    ) {
        if let Some(tls) = tls {
            let Ok((inner, _)) = tls.accept(stream, PATIENCE).await else { return };
            stream = inner;
        }
        let drain = self.drain.borrow().clone();
        let answer = |request| {
            let this = self.clone();
            async move { this.answer(request, addr).await }
        };
        serve(stream, &options, async move { drain.notified().await }, answer).await;
    }

    async fn answer(&self, mut request: Request<Body>, addr: SocketAddr) -> Answer {
        self.requests.set(self.requests.get() + 1);
        match request.uri().path() {
            "/hold" => self.release.notified().await,
            "/refuse" => return Answer::Reset(mesh_http::Code::REFUSED_STREAM),
            "/502" => return Response::builder().status(502).body(Body::empty()).unwrap().into(),
            "/upgrade" => {
                let upgrade = request.body_mut().on_upgrade().unwrap();
                spawn_local(async move {
                    let mut stream = upgrade.await.unwrap();
                    let (mut read, mut write) = tokio::io::split(&mut stream);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
                let head = Response::builder().status(101).header("upgrade", "echo").header("connection", "upgrade");
                return head.body(Body::empty()).unwrap().into();
            }
            _ => {}
        }
        Response::new(Body::from(addr.port().to_string())).into()
    }
}

/// Secrets for tests: one certificate and one trust, under every name.
pub struct OneSecret(pub Option<(LiveCert, LiveTrust)>);

impl Secrets for OneSecret {
    fn certificate(&self, _: &str) -> Option<LiveCert> {
        self.0.as_ref().map(|(cert, _)| cert.clone())
    }
    fn trust(&self, _: &str) -> Option<LiveTrust> {
        self.0.as_ref().map(|(_, trust)| trust.clone())
    }
}

/// Endpoints at these addresses.
pub fn at(addrs: &[SocketAddr]) -> EndpointSet {
    let endpoints = addrs.iter().map(|addr| model::Endpoint::plain(*addr)).collect();
    EndpointSet::new("e", vec![LocalityEndpoints { endpoints, ..Default::default() }])
}

/// A static cluster, changed as wanted.
pub fn config(addrs: &[SocketAddr], change: impl FnOnce(&mut model::Cluster)) -> model::Cluster {
    let mut config = model::Cluster::new("c", Discovery::Static(at(addrs)));
    change(&mut config);
    config
}

pub fn build(config: model::Cluster) -> Arc<Cluster> {
    Cluster::build(config.into(), None, &OneSecret(None)).unwrap()
}

pub fn worker() -> Rc<Worker> {
    Worker::new(Dialer::default(), &telemetry::Registry::new().shard()).unwrap()
}

/// A worker and its pools of one cluster.
pub fn pools(config: model::Cluster) -> (Rc<Worker>, Arc<Cluster>, Rc<ClusterPools>) {
    let (worker, cluster) = (worker(), build(config));
    let pools = worker.cluster(&cluster);
    (worker, cluster, pools)
}

pub fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "origin").body(Body::empty()).unwrap()
}

pub async fn send(pools: &ClusterPools, mut request: Request<Body>) -> Result<Sent, Box<Failure>> {
    pools.send(&mut request, &Pick::new(rand::random())).await
}

/// Sends, reads the answer to its end; its body and whether the connection was reused.
pub async fn fetch(pools: &ClusterPools, path: &str) -> (String, bool) {
    let sent = send(pools, get(path)).await.unwrap();
    let body = sent.response.into_body().collect(1 << 16).await.unwrap();
    (String::from_utf8(body.data.to_vec()).unwrap(), sent.exchange.is_reused())
}
