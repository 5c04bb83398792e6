//! A control plane for tests, and the bootstrap of a proxy that follows it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use model::{Config, ResourceKind};
use proto::envoy::config::core::v3::Node;
use proto::istio::v1::auth::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use proxy::bootstrap::Bootstrap;
use testkit::TestCa;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};
use transport::Stream;
use transport::tls::ServerTls;
use xds::client::Variant;
use xds::server::Snapshot;
use xds::shell::{Ads, Opened, Peer, Sessions};

use crate::rig::*;

/// A control plane on a thread of its own.
pub struct Plane {
    pub at: SocketAddr,
    pub wanted: watch::Sender<Arc<Snapshot>>,
    /// What proxies refused, in their words.
    pub refusals: Arc<Mutex<Vec<String>>>,
    /// What is asked for now, by type.
    pub asked: Arc<Mutex<Asked>>,
    _end: tokio::sync::oneshot::Sender<()>,
}

/// What a proxy asks for.
#[derive(Default)]
pub struct Asked {
    /// The names of each type, as they are now.
    pub names: BTreeMap<ResourceKind, Vec<Arc<str>>>,
    /// How many requests changed the names of virtual hosts.
    pub changes: usize,
    /// Everything of the type clusters.
    pub all_clusters: bool,
}

impl Asked {
    /// The names of a type, in one line.
    pub fn of(&self, kind: ResourceKind) -> String {
        self.names.get(&kind).map(|names| names.join(" ")).unwrap_or_default()
    }

    fn note(&mut self, statuses: &[xds::server::SubscriptionStatus]) {
        for status in statuses {
            let Some(kind) = status.kind else { continue };
            let before = self.names.insert(kind, status.names.clone());
            let changed = before.is_none_or(|before| before != status.names);
            self.changes += usize::from(kind == ResourceKind::VirtualHost && changed);
            self.all_clusters |= kind == ResourceKind::Cluster && status.wildcard;
        }
    }
}

struct Everyone {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    refusals: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Asked>>,
}

#[tonic::async_trait]
impl Sessions for Everyone {
    async fn open(&self, _peer: &Peer, node: &Node, _variant: Variant) -> Result<Opened, Status> {
        assert_eq!(node.id, "sidecar~a");
        let (refusals, asked) = (self.refusals.clone(), self.asked.clone());
        asked.lock().unwrap().names.clear();
        let on_status = Box::new(move |statuses: Vec<xds::server::SubscriptionStatus>| {
            asked.lock().unwrap().note(&statuses);
            let refused = statuses.into_iter().filter_map(|s| s.nack).map(|nack| nack.message);
            refusals.lock().unwrap().extend(refused);
        });
        Ok(Opened { snapshots: self.snapshots.clone(), on_status })
    }
}

/// Signs for whoever has the token.
struct Signer(Mutex<TestCa>);

#[tonic::async_trait]
impl IstioCertificateService for Signer {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        if request.metadata().get("authorization").is_none_or(|token| token != "Bearer join") {
            return Err(Status::unauthenticated("a token is needed"));
        }
        let mut ca = self.0.lock().unwrap();
        let id = ca.id("a");
        let csr = request.into_inner().csr.into_bytes();
        let issued = ca
            .authority()
            .issue(&csr, &id, Duration::from_secs(3600), SystemTime::now())
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        let cert_chain = issued.chain.into_iter().chain([ca.bundle_pem()]).collect();
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

/// A control plane that has this to offer.
pub fn plane(first: &Config, tls: Option<ServerTls>, ca: TestCa) -> Plane {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    plane_at(listener, first, tls, ca)
}

/// The same, at a socket that is there.
pub fn plane_at(listener: std::net::TcpListener, first: &Config, tls: Option<ServerTls>, ca: TestCa) -> Plane {
    let (wanted, snapshots) = watch::channel(Arc::new(Snapshot::of(first)));
    let refusals = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::<Mutex<Asked>>::default();
    let everyone = Arc::new(Everyone { snapshots, refusals: refusals.clone(), asked: asked.clone() });
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let at = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (connections, incoming) = mpsc::channel(8);
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let stream = match &tls {
                        None => Stream::from(stream),
                        Some(tls) => match tls.accept(stream.into(), PATIENCE).await {
                            Ok((stream, _)) => stream,
                            Err(_) => continue,
                        },
                    };
                    if connections.send(Ok::<_, std::io::Error>(Wire(stream))).await.is_err() {
                        return;
                    }
                }
            });
            let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
            tonic::transport::Server::builder()
                .add_service(Ads::service(everyone))
                .add_service(IstioCertificateServiceServer::new(Signer(Mutex::new(ca))))
                .serve_with_incoming_shutdown(incoming, async { drop(ended.await) })
                .await
                .unwrap();
        });
    });
    Plane { at, wanted, refusals, asked, _end: end }
}

/// A connection as tonic's server takes it.
struct Wire(Stream);

impl Connected for Wire {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The bootstrap of a proxy that follows `plane`.
pub fn bootstrap(plane: SocketAddr, more: &str) -> Bootstrap {
    let text = format!(
        r#"{{"node": {{"id": "sidecar~a"}}, "control_plane": {{"address": "{plane}" {more}}},
            "admin": {{"address": "127.0.0.1:0"}}}}"#
    );
    Bootstrap::parse("test".as_ref(), &text).unwrap()
}

/// Waits until `path` is answered with this status.
pub async fn until_status(at: SocketAddr, path: &str, status: u16) {
    loop {
        // Until it listens, the address may be anybody's.
        if try_send(at, get("test", path)).await.is_ok_and(|answer| answer.status.as_u16() == status) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
