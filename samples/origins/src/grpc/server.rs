//! The echo service: all four kinds of calls, metadata back, and any status on request.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use proto::halcyon::samples::v1::echo_server::{Echo, EchoServer};
use proto::halcyon::samples::v1::{EchoRequest, EchoResponse};
use tokio::net::TcpListener;
use tonic::metadata::{Ascii, KeyAndValueRef, MetadataMap, MetadataValue};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

/// Request metadata under this prefix comes back as response metadata.
const ECHOED: &str = "x-echo-";
const MOST_MESSAGES: u32 = 1_000_000;
const LARGEST_MESSAGE: usize = 16 << 20;

/// Serves on `listener` as `name` until `end` completes; open calls then finish.
///
/// # Errors
/// When the transport breaks.
pub async fn serve(
    listener: TcpListener,
    name: String,
    end: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = EchoServer::new(EchoService { name })
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder().add_service(service).serve_with_incoming_shutdown(incoming, end).await
}

struct EchoService {
    name: String,
}

type Answers = BoxStream<'static, Result<EchoResponse, Status>>;

#[tonic::async_trait]
impl Echo for EchoService {
    /// Waits `interval_ms`, so that deadlines can be tried, then answers.
    async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        let asked = request.get_ref();
        if asked.interval_ms > 0 {
            tokio::time::sleep(Duration::from_millis(asked.interval_ms.into())).await;
        }
        if let Some(status) = asked_for(asked.fail_code, &self.name) {
            return Err(status);
        }
        let answer = EchoResponse { message: asked.message.clone(), index: 0, served_by: self.name.clone() };
        Ok(with_metadata(Response::new(answer), request.metadata()))
    }

    type ServerStreamStream = Answers;

    async fn server_stream(&self, request: Request<EchoRequest>) -> Result<Response<Answers>, Status> {
        let asked = request.get_ref().clone();
        if asked.count > MOST_MESSAGES {
            return Err(Status::invalid_argument(format!("count: at most {MOST_MESSAGES} messages")));
        }
        let (pause, name) = (Duration::from_millis(asked.interval_ms.into()), self.name.clone());
        let end = asked_for(asked.fail_code, &name).map(Err);
        let answers = stream::iter(0..asked.count).then(move |index| {
            let answer = EchoResponse { message: asked.message.clone(), index, served_by: name.clone() };
            async move {
                if index > 0 && !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                Ok(answer)
            }
        });
        let answers: Answers = answers.chain(stream::iter(end)).boxed();
        Ok(with_metadata(Response::new(answers), request.metadata()))
    }

    /// The messages joined by spaces; the last index is their number less one.
    async fn client_stream(&self, request: Request<Streaming<EchoRequest>>) -> Result<Response<EchoResponse>, Status> {
        let (metadata, _, mut messages) = request.into_parts();
        let (mut joined, mut count) = (String::new(), 0u32);
        while let Some(asked) = messages.message().await? {
            if let Some(status) = asked_for(asked.fail_code, &self.name) {
                return Err(status);
            }
            if joined.len() + asked.message.len() > LARGEST_MESSAGE / 2 {
                return Err(Status::resource_exhausted("the messages joined are too long"));
            }
            if count > 0 {
                joined.push(' ');
            }
            joined.push_str(&asked.message);
            count += 1;
        }
        let answer = EchoResponse { message: joined, index: count.saturating_sub(1), served_by: self.name.clone() };
        Ok(with_metadata(Response::new(answer), &metadata))
    }

    type BidiStream = Answers;

    async fn bidi(&self, request: Request<Streaming<EchoRequest>>) -> Result<Response<Answers>, Status> {
        let (metadata, _, messages) = request.into_parts();
        let name = self.name.clone();
        let answers = messages.enumerate().map(move |(index, asked)| {
            let asked = asked?;
            match asked_for(asked.fail_code, &name) {
                Some(status) => Err(status),
                None => Ok(EchoResponse { message: asked.message, index: index as u32, served_by: name.clone() }),
            }
        });
        Ok(with_metadata(Response::new(answers.boxed()), &metadata))
    }
}

/// The status that a request asks to end with; its metadata travels in the trailers.
fn asked_for(code: u32, name: &str) -> Option<Status> {
    let code = match Code::from(i32::try_from(code).unwrap_or(i32::MAX)) {
        Code::Ok => return None,
        code => code,
    };
    let mut metadata = MetadataMap::new();
    if let Ok(name) = MetadataValue::<Ascii>::try_from(name) {
        metadata.insert("x-served-by", name);
    }
    Some(Status::with_metadata(code, format!("ended with {code:?}, as asked"), metadata))
}

fn with_metadata<T>(mut response: Response<T>, request: &MetadataMap) -> Response<T> {
    for entry in request.iter() {
        if let KeyAndValueRef::Ascii(key, value) = entry
            && key.as_str().starts_with(ECHOED)
        {
            response.metadata_mut().append(key, value.clone());
        }
    }
    response
}
