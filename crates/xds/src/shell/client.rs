//! The client's shell: one stream over a tonic service.

use std::pin::Pin;

use bytes::Bytes;
use http_body::Body;
use model::ResourceKind;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use proto::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;
use tonic::client::GrpcService;
use tonic::codegen::StdError;

use super::MAX_MESSAGE;
use crate::client::{ClientSession, Message, Nonce, Refusal, Update, Variant};
use crate::health::Health;

/// What the owner says while a stream runs.
pub enum Command {
    /// [`ClientSession::want`]
    Want(ResourceKind, Vec<std::sync::Arc<str>>),
    /// [`ClientSession::want_all`]
    WantAll(ResourceKind),
    /// [`ClientSession::resolve`]
    Resolve(Nonce, Result<(), Vec<Refusal>>),
    /// [`ClientSession::report`]
    Report(Health),
    /// Whatever else; for what depends on how things stand when the session comes to it.
    Do(Box<dyn FnOnce(&mut ClientSession)>),
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Want(..) => "Want",
            Self::WantAll(_) => "WantAll",
            Self::Resolve(..) => "Resolve",
            Self::Report(_) => "Report",
            Self::Do(_) => "Do",
        })
    }
}

impl Command {
    /// Does what is said.
    pub fn apply(self, session: &mut ClientSession) {
        match self {
            Self::Want(kind, names) => session.want(kind, names),
            Self::WantAll(kind) => session.want_all(kind),
            Self::Resolve(nonce, outcome) => session.resolve(&nonce, outcome),
            Self::Report(health) => session.report(health),
            Self::Do(work) => work(session),
        }
    }
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum StreamEnd {
    /// The server closed it in good order: it restarts, or wants its clients spread anew.
    #[error("the control plane closed the stream")]
    Closed,
    /// It broke, or was refused.
    #[error("the stream to the control plane broke ({0})")]
    Broken(#[from] Status),
    /// The owner dropped its side of the commands.
    #[error("the owner has gone")]
    OwnerGone,
}

/// The service of discovery that a stream is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Api {
    /// That of all types (ADS).
    Aggregated,
    /// That of secrets alone, whose stream has the same messages. State of the world only.
    Secrets,
}

/// Messages that may wait for the network before the session is asked for no more of them.
const IN_FLIGHT: usize = 16;

type Responses = Pin<Box<dyn Stream<Item = Result<Response, Status>>>>;

enum Response {
    Delta(DeltaDiscoveryResponse),
    Sotw(DiscoveryResponse),
}

/// Runs one stream to its end and says why it ended; waiting and dialling again is the caller's. Updates go to
/// `on_update`, which may use the session at once or send commands later. Needs no `Send` and so runs on any runtime.
pub async fn run<S>(
    service: S,
    session: &mut ClientSession,
    commands: &mut mpsc::Receiver<Command>,
    on_update: impl FnMut(&mut ClientSession, Update),
) -> StreamEnd
where
    S: GrpcService<tonic::body::Body> + 'static,
    S::Error: Into<StdError>,
    S::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    run_over(Api::Aggregated, service, session, commands, on_update).await
}

/// The same over a service of discovery.
pub(super) async fn run_over<S>(
    api: Api,
    service: S,
    session: &mut ClientSession,
    commands: &mut mpsc::Receiver<Command>,
    mut on_update: impl FnMut(&mut ClientSession, Update),
) -> StreamEnd
where
    S: GrpcService<tonic::body::Body> + 'static,
    S::Error: Into<StdError>,
    S::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    session.connected();
    let end = match converse(api, service, session, commands, &mut on_update).await {
        Ok(end) => end,
        Err(status) => StreamEnd::Broken(status),
    };
    session.disconnected();
    end
}

async fn converse<S>(
    api: Api,
    service: S,
    session: &mut ClientSession,
    commands: &mut mpsc::Receiver<Command>,
    on_update: &mut dyn FnMut(&mut ClientSession, Update),
) -> Result<StreamEnd, Status>
where
    S: GrpcService<tonic::body::Body> + 'static,
    S::Error: Into<StdError>,
    S::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    let (requests, outbound) = mpsc::channel(IN_FLIGHT);
    // A server may answer nothing, not even its headers, before it has read something: so both go on together.
    let opening = open(api, service, session.variant(), outbound);
    tokio::pin!(opening);
    let mut responses: Option<Responses> = None;
    let mut next = None;
    loop {
        next = next.or_else(|| session.next_message());
        tokio::select! {
            permit = requests.reserve(), if next.is_some() => {
                let Ok(permit) = permit else { return Ok(StreamEnd::Closed) };
                if let Some(message) = next.take() {
                    permit.send(message);
                }
            }
            opened = &mut opening, if responses.is_none() => responses = Some(opened?),
            response = receive(&mut responses), if responses.is_some() => {
                let update = match response.transpose()? {
                    None => return Ok(StreamEnd::Closed),
                    Some(Response::Delta(response)) => session.delta_response(response),
                    Some(Response::Sotw(response)) => session.sotw_response(response),
                };
                if let Some(update) = update {
                    on_update(session, update);
                }
            }
            command = commands.recv() => match command {
                Some(command) => command.apply(session),
                None => return Ok(StreamEnd::OwnerGone),
            }
        }
    }
}

async fn receive(responses: &mut Option<Responses>) -> Option<Result<Response, Status>> {
    match responses {
        Some(responses) => responses.next().await,
        None => None,
    }
}

async fn open<S>(api: Api, service: S, variant: Variant, outbound: mpsc::Receiver<Message>) -> Result<Responses, Status>
where
    S: GrpcService<tonic::body::Body> + 'static,
    S::Error: Into<StdError>,
    S::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    let outbound = ReceiverStream::new(outbound);
    Ok(match variant {
        Variant::Delta => {
            let mut client = AggregatedDiscoveryServiceClient::new(service).max_decoding_message_size(MAX_MESSAGE);
            let requests = outbound.filter_map(|message| match message {
                Message::Delta(request) => Some(request),
                Message::Sotw(_) => None,
            });
            let inbound = client.delta_aggregated_resources(requests).await?.into_inner();
            Box::pin(inbound.map(|response| response.map(Response::Delta)))
        }
        Variant::Sotw => {
            let requests = outbound.filter_map(|message| match message {
                Message::Sotw(request) => Some(request),
                Message::Delta(_) => None,
            });
            let inbound = match api {
                Api::Aggregated => {
                    let client = AggregatedDiscoveryServiceClient::new(service);
                    client.max_decoding_message_size(MAX_MESSAGE).stream_aggregated_resources(requests).await
                }
                Api::Secrets => {
                    let client = SecretDiscoveryServiceClient::new(service);
                    client.max_decoding_message_size(MAX_MESSAGE).stream_secrets(requests).await
                }
            };
            let inbound = inbound?.into_inner();
            Box::pin(inbound.map(|response| response.map(Response::Sotw)))
        }
    })
}
