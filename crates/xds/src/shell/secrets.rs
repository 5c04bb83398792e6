//! Secrets for the proxy beside us, over a Unix socket: secret discovery as Envoy asks an agent of Istio for its own
//! certificate and the roots.

use std::pin::Pin;
use std::sync::Arc;

use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};

use super::server::{Ads, Opened, Peer, Sessions};
use crate::client::Variant;
use crate::server::{DeltaServer, Snapshot, SotwServer};

/// Serves the secrets of `snapshots` to whoever may open the socket, until the sender is dropped or the task ends.
///
/// # Errors
/// The socket stopped working; the text says why.
pub async fn serve_secrets(
    listener: UnixListener,
    snapshots: watch::Receiver<Arc<Snapshot>>,
) -> Result<(), tonic::transport::Error> {
    let service = SecretDiscoveryServiceServer::new(Ads::new(Arc::new(Everyone(snapshots))));
    let incoming = UnixListenerStream::new(listener);
    tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await
}

/// Whoever may open the socket may have all that is there.
struct Everyone(watch::Receiver<Arc<Snapshot>>);

#[tonic::async_trait]
impl Sessions for Everyone {
    async fn open(&self, _peer: &Peer, _node: &Node, _variant: Variant) -> Result<Opened, Status> {
        Ok(Opened { snapshots: self.0.clone(), on_status: Box::new(|_| {}) })
    }
}

type Outbound<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

#[tonic::async_trait]
impl<S: Sessions> SecretDiscoveryService for Ads<S> {
    type StreamSecretsStream = Outbound<DiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        Ok(Response::new(Box::pin(self.spawn::<SotwServer>(request, Variant::Sotw))))
    }

    type DeltaSecretsStream = Outbound<DeltaDiscoveryResponse>;

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Ok(Response::new(Box::pin(self.spawn::<DeltaServer>(request, Variant::Delta))))
    }

    async fn fetch_secrets(&self, _: Request<DiscoveryRequest>) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("secrets are given by stream: ask `StreamSecrets` or `DeltaSecrets`"))
    }
}
