//! A control plane for a proxy that is measured: it pushes one configuration in full over delta xDS, by the shell and the
//! session of crate `xds`, to whoever asks, and takes in what proxies tell
//! of what they carried.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use model::Config;
use proto::envoy::config::core::v3::Node;
use proto::halcyon::observe::v1::observation_server::{Observation, ObservationServer};
use proto::halcyon::observe::v1::{ReportRequest, ReportResponse};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};
use xds::client::Variant;
use xds::server::Snapshot;
use xds::shell::{Ads, Opened, Peer, Sessions};

/// A running control plane; ends when it is dropped.
pub struct Discovery {
    /// Where it is called.
    pub address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

impl Discovery {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When the system gives no port or no thread.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let (wanted, snapshots) = watch::channel(Arc::new(Snapshot::of(config)));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            let served = runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
                let server = tonic::transport::Server::builder()
                    .add_service(Ads::service(Arc::new(Everyone { snapshots })))
                    .add_service(ObservationServer::new(Reports).accept_compressed(CompressionEncoding::Gzip));
                // Streams stay open: the end must not wait for them.
                tokio::select! {
                    served = server.serve_with_incoming(incoming) => served.map_err(|e| anyhow!("{e}")),
                    _ = ended => Ok(()),
                }
            });
            drop(wanted);
            if let Err(error) = served {
                eprintln!("bench: the control plane ended: {error}");
            }
        };
        let running = std::thread::Builder::new().name("discovery".into()).spawn(serve).context("discovery")?;
        Ok(Self { address, end: Some(end), running: Some(running) })
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        // It may have ended by itself, and has said why.
        let _ = self.end.take().map(|end| end.send(()));
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}

/// Whoever asks may have everything.
struct Everyone {
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

#[tonic::async_trait]
impl Sessions for Everyone {
    async fn open(&self, _: &Peer, _: &Node, _: Variant) -> Result<Opened, Status> {
        let on_status = Box::new(|statuses: Vec<xds::server::SubscriptionStatus>| {
            for nack in statuses.into_iter().filter_map(|status| status.nack) {
                eprintln!("bench: the proxy refused: {}", nack.message);
            }
        });
        Ok(Opened { snapshots: self.snapshots.clone(), on_status })
    }
}

/// Reads what proxies tell and keeps nothing.
struct Reports;

#[tonic::async_trait]
impl Observation for Reports {
    type ReportStream = ReceiverStream<Result<ReportResponse, Status>>;

    async fn report(&self, request: Request<Streaming<ReportRequest>>) -> Result<Response<Self::ReportStream>, Status> {
        let (answers, to) = mpsc::channel(1);
        let mut reports = request.into_inner();
        tokio::spawn(async move {
            // As often as our control plane wants them while nobody looks.
            let _ = answers.send(Ok(ReportResponse { every_ms: 5_000, taps: Vec::new() })).await;
            while let Ok(Some(_)) = reports.message().await {}
        });
        Ok(Response::new(ReceiverStream::new(to)))
    }
}
