//! The server's shell: the aggregated discovery service over whoever knows the proxies.

use std::pin::Pin;
use std::sync::Arc;

use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::MAX_MESSAGE;
use crate::client::Variant;
use crate::server::{DeltaServer, ServerSession, Snapshot, SotwServer, SubscriptionStatus};

/// Who opened a stream, as far as the connection tells.
#[derive(Debug)]
pub struct Peer {
    /// What the transport noted, such as the certificates and the address.
    pub extensions: Extensions,
    /// The request's metadata, such as a token.
    pub metadata: MetadataMap,
}

/// Whoever knows the proxies: it lets streams in, and says what each may have.
#[tonic::async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// A stream begins, and its node has said who it is. A refusal ends it with that status.
    async fn open(&self, peer: &Peer, node: &Node, variant: Variant) -> Result<Opened, Status>;
}

/// A stream that was let in.
pub struct Opened {
    /// What the proxy may have, whenever that changes. The stream ends when the sender is dropped.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Told where the subscriptions stand, after each request and each push. Dropped when the stream ends.
    pub on_status: Box<dyn FnMut(Vec<SubscriptionStatus>) + Send>,
}

/// The aggregated discovery service.
#[derive(Debug)]
pub struct Ads<S>(Arc<S>);

impl<S: Sessions> Ads<S> {
    /// Over whoever knows the proxies.
    pub(super) fn new(sessions: Arc<S>) -> Self {
        Self(sessions)
    }

    /// The service, ready to be added to a server.
    pub fn service(sessions: Arc<S>) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(Self(sessions)).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Serves a stream in a task of its own. Headers go out at once: some clients send nothing before they have them.
    pub(super) fn spawn<P>(
        &self,
        request: Request<Streaming<P::Request>>,
        variant: Variant,
    ) -> ReceiverStream<Result<P::Response, Status>>
    where
        P: ServerSession + From<Arc<Snapshot>> + Send + 'static,
        P::Request: HasNode + Send,
        P::Response: Send,
    {
        let sessions = self.0.clone();
        let (responses, outbound) = mpsc::channel(RESPONSES);
        let (metadata, extensions, mut inbound) = request.into_parts();
        tokio::spawn(async move {
            let peer = Peer { extensions, metadata };
            let end = async {
                let Some(first) = inbound.next().await.transpose()? else { return Ok(()) };
                let node = first.node().ok_or_else(|| Status::invalid_argument("the first request has no node"))?;
                let opened = sessions.open(&peer, node, variant).await?;
                let mut session = P::from(opened.snapshots.borrow().clone());
                session.request(first);
                serve_stream(inbound, session, opened, &responses).await
            };
            if let Err(status) = end.await {
                _ = responses.send(Err(status)).await;
            }
        });
        ReceiverStream::new(outbound)
    }
}

/// Responses that may wait for the network. The rest stays in the session, where it is put together.
const RESPONSES: usize = 2;

/// Serves one stream until either side ends it.
pub async fn serve_stream<P: ServerSession>(
    mut inbound: impl Stream<Item = Result<P::Request, Status>> + Unpin,
    mut session: P,
    mut opened: Opened,
    responses: &mpsc::Sender<Result<P::Response, Status>>,
) -> Result<(), Status> {
    let mut next = session.next_response();
    (opened.on_status)(session.status());
    loop {
        tokio::select! {
            permit = responses.reserve(), if next.is_some() => {
                let Ok(permit) = permit else { return Ok(()) };
                if let Some(response) = next.take() {
                    permit.send(Ok(response));
                }
            }
            request = inbound.next() => match request.transpose()? {
                Some(request) => session.request(request),
                None => return Ok(()),
            },
            changed = opened.snapshots.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                session.offer(opened.snapshots.borrow_and_update().clone());
            }
            () = responses.closed() => return Ok(()),
        }
        let before = next.is_some();
        next = next.or_else(|| session.next_response());
        if !before {
            (opened.on_status)(session.status());
        }
    }
}

/// Requests that carry the node, at least the first of a stream.
pub(super) trait HasNode {
    fn node(&self) -> Option<&Node>;
}

impl HasNode for DeltaDiscoveryRequest {
    fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }
}

impl HasNode for DiscoveryRequest {
    fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }
}

impl From<Arc<Snapshot>> for DeltaServer {
    fn from(snapshot: Arc<Snapshot>) -> Self {
        Self::new(snapshot)
    }
}

impl From<Arc<Snapshot>> for SotwServer {
    fn from(snapshot: Arc<Snapshot>) -> Self {
        Self::new(snapshot)
    }
}

type Outbound<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

#[tonic::async_trait]
impl<S: Sessions> AggregatedDiscoveryService for Ads<S> {
    type StreamAggregatedResourcesStream = Outbound<DiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(Response::new(Box::pin(self.spawn::<SotwServer>(request, Variant::Sotw))))
    }

    type DeltaAggregatedResourcesStream = Outbound<DeltaDiscoveryResponse>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(Response::new(Box::pin(self.spawn::<DeltaServer>(request, Variant::Delta))))
    }
}
