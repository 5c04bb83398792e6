//! Secrets over a Unix socket, both ends: secret discovery as Envoy asks an agent of Istio for its own certificate and the
//! roots, and as any agent of SPIFFE is asked for a certificate.

use std::pin::Pin;
use std::sync::Arc;

use model::ResourceKind;
use model::secret::Secret;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};

use super::client::{Api, run_over};
use super::server::{Ads, Opened, Peer, Sessions};
use super::{Link, StreamEnd};
use crate::Resource;
use crate::client::{ClientSession, Refusal, Variant};
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

/// Follows one secret of an agent, for as long as the stream lasts; how it ended. What `take` says of it is what the agent is
/// told.
pub async fn follow_secret(
    link: Link,
    node: &str,
    name: &str,
    mut take: impl FnMut(&Secret) -> Result<(), String>,
) -> StreamEnd {
    let name: Arc<str> = name.into();
    let mut session = ClientSession::new(Node { id: node.to_owned(), ..Node::default() }, Variant::Sotw);
    session.want(ResourceKind::Secret, [name.clone()]);
    // Nothing is said while it runs.
    let (_keep, mut commands) = mpsc::channel(1);
    run_over(Api::Secrets, link, &mut session, &mut commands, |session, update| {
        let given = update.updated.iter().find_map(|resource| match resource {
            Resource::Secret(secret) if secret.name == name => Some(secret),
            _ => None,
        });
        let is_held = session.held().get(ResourceKind::Secret, &name).is_some();
        let taken = match given {
            Some(secret) => take(secret),
            // It is as it was, or could not be read, which the session says by itself.
            None if is_held || !update.refused.is_empty() => Ok(()),
            None => Err(format!("there is no secret `{name}` in the answer")),
        };
        let refusal = |reason| vec![Refusal { name: name.clone(), reason }];
        session.resolve(&update.nonce, taken.map_err(refusal));
    })
    .await
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
