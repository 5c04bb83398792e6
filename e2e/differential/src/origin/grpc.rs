//! How services of gRPC answer, or do not.

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};

use super::FOREVER;

/// One message; none: the call fails (UNAVAILABLE).
pub fn answer(mut respond: SendResponse<Bytes>, message: Option<Vec<u8>>) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut send = respond.send_response(head, false)?;
    let status = if message.is_some() { "0" } else { "14" };
    if let Some(message) = message {
        let mut framed = vec![0];
        framed.extend((message.len() as u32).to_be_bytes());
        framed.extend(message);
        send.send_data(framed.into(), false)?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    send.send_trailers(trailers)
}

/// No answer, until nobody waits for it.
pub async fn hang(mut respond: SendResponse<Bytes>) {
    let _ = tokio::time::timeout(FOREVER, futures_util::future::poll_fn(|cx| respond.poll_reset(cx))).await;
}
