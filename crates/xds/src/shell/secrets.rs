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
use proto::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use proto::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use proto::google::rpc;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Code, Request, Response, Status, Streaming};

use super::server::{Ads, Opened, Peer, Sessions};
use super::{Link, MAX_MESSAGE};
use crate::client::Variant;
use crate::server::{DeltaServer, Snapshot, SotwServer};
use crate::{Resource, decode, type_url};

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

/// Follows one secret of an agent, for as long as the stream lasts. What `take` says of it is what the agent is told.
///
/// # Errors
/// The stream ended; why.
pub async fn follow_secret(
    link: Link,
    node: &str,
    name: &str,
    mut take: impl FnMut(&Secret) -> Result<(), String>,
) -> Result<(), Status> {
    let (requests, queue) = mpsc::channel(1);
    let gone = |_| Status::unavailable("the stream of requests is closed");
    let asked = |version: String, nonce: String, problem: Option<String>| DiscoveryRequest {
        node: Some(Node { id: node.to_owned(), ..Node::default() }),
        type_url: type_url(ResourceKind::Secret).to_owned(),
        resource_names: vec![name.to_owned()],
        version_info: version,
        response_nonce: nonce,
        error_detail: problem.map(|message| rpc::Status {
            code: Code::InvalidArgument as i32,
            message,
            details: vec![],
        }),
        ..DiscoveryRequest::default()
    };
    requests.send(asked(String::new(), String::new(), None)).await.map_err(gone)?;
    let mut client = SecretDiscoveryServiceClient::new(link).max_decoding_message_size(MAX_MESSAGE);
    let mut answers = client.stream_secrets(ReceiverStream::new(queue)).await?.into_inner();
    let mut taken = String::new();
    while let Some(answer) = answers.message().await? {
        let problem = match taken_from(&answer, name, &mut take) {
            Ok(()) => {
                taken = answer.version_info;
                None
            }
            Err(problem) => Some(problem),
        };
        requests.send(asked(taken.clone(), answer.nonce, problem)).await.map_err(gone)?;
    }
    Ok(())
}

fn taken_from(
    answer: &DiscoveryResponse,
    name: &str,
    take: &mut impl FnMut(&Secret) -> Result<(), String>,
) -> Result<(), String> {
    for any in &answer.resources {
        match decode::resource(ResourceKind::Secret, any).map_err(|error| error.to_string())? {
            Resource::Secret(secret) if &*secret.name == name => return take(&secret),
            _ => {}
        }
    }
    Err(format!("there is no secret `{name}` in the answer"))
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
