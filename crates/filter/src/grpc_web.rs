//! gRPC-Web (Envoy's `envoy.filters.http.grpc_web`): calls of browsers, which cannot read trailers, become gRPC, and the
//! answers get their trailers as the last frame of the body. Text is base64, for browsers that cannot read bytes as they
//! come.
//!
//! Follows gRPC's `PROTOCOL-WEB.md`.

mod text;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use mesh_http::grpc::{self, GrpcStatus};
use mesh_http::{Body, BodyErrorKind, BodyMap, Ending};

use crate::chain::{Facts, Flow, HttpFilter};

use self::text::{FramesAsText, TextAsBytes};

const ACCEPT_ENCODINGS: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// Begins the frame of trailers.
const TRAILERS: u8 = 0x80;
/// So much of an answer that is no gRPC becomes the message.
const MAX_MESSAGE: usize = 16 * 1024;

/// The gRPC-Web filter.
#[derive(Debug)]
pub(crate) struct GrpcWebFilter;

/// A call that came as gRPC-Web.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebCall {
    /// The answer is to be text.
    text: bool,
}

impl HttpFilter for GrpcWebFilter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let headers = request.headers_mut();
        let Some(form_of_request) = form(headers, header::CONTENT_TYPE) else { return Flow::Continue };
        facts.left.get_or_insert_default().web_call =
            Some(WebCall { text: form(headers, header::ACCEPT) == Some(Form::Text) });
        // It is not the length of the messages.
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if !headers.contains_key(ACCEPT_ENCODINGS) {
            headers.insert(ACCEPT_ENCODINGS, HeaderValue::from_static("identity"));
        }
        if !request.body().is_end_stream() {
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = match form_of_request {
                Form::Text => Body::mapped(body, TextAsBytes::default()),
                Form::Bytes => Body::mapped(body, OfNoLength),
            };
        }
        Flow::Continue
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        let Some(call) = facts.left.as_ref().and_then(|left| left.web_call) else { return };
        let (nothing_follows, understood) = (response.body().is_end_stream(), is_understood(response));
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        let form = if call.text { "application/grpc-web-text+proto" } else { "application/grpc-web+proto" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form));
        let body = std::mem::take(response.body_mut());
        if nothing_follows {
            *response.body_mut() = body;
        } else if !understood {
            // Boxed: other exchanges have no room for it.
            Box::pin(tell_as_status(response, body)).await;
        } else if call.text {
            *response.body_mut() = Body::mapped(body, FramesAsText::default());
        } else {
            *response.body_mut() = Body::mapped(body, TrailersAsFrame);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Bytes,
    Text,
}

/// The form that a header names; nothing else may stand there, as in Envoy.
fn form(headers: &HeaderMap, name: HeaderName) -> Option<Form> {
    match headers.get(name)?.as_bytes() {
        b"application/grpc-web" | b"application/grpc-web+proto" => Some(Form::Bytes),
        b"application/grpc-web-text" | b"application/grpc-web-text+proto" => Some(Form::Text),
        _ => None,
    }
}

/// Is this an answer in gRPC, or in gRPC-Web already?
fn is_understood(response: &Response<Body>) -> bool {
    let headers = response.headers();
    if response.body().is_end_stream() {
        return headers.contains_key(grpc::GRPC_STATUS);
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim_end();
    let web = ["application/grpc-web", "application/grpc-web+proto"].iter().any(|it| media.eq_ignore_ascii_case(it));
    response.status() == StatusCode::OK && (grpc::is_grpc(headers) || web)
}

/// An answer that is no gRPC, such as one of our own, becomes a status whose message it is.
async fn tell_as_status(response: &mut Response<Body>, mut body: Body) {
    let mut message = BytesMut::new();
    // What broke off is told as far as it came.
    while message.len() < MAX_MESSAGE
        && let Some(Ok(frame)) = body.frame().await
    {
        message.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    message.truncate(MAX_MESSAGE);
    let status = match response.status() {
        // Success in another language than the caller's is none.
        StatusCode::OK => GrpcStatus::UNKNOWN,
        status => GrpcStatus::from_http(status),
    };
    let headers = response.headers_mut();
    headers.insert(grpc::GRPC_STATUS, HeaderValue::from(status.0));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    let text = grpc::encode_bytes(&message);
    headers.extend(HeaderValue::from_maybe_shared(Bytes::from(text)).ok().map(|text| (grpc::GRPC_MESSAGE, text)));
}

/// Leaves a request as it is, but says no length: it is a stream of messages.
struct OfNoLength;

impl BodyMap for OfNoLength {
    fn data(&mut self, data: Bytes) -> Result<Bytes, BodyErrorKind> {
        Ok(data)
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Ending, BodyErrorKind> {
        Ok(Ending { data: Bytes::new(), trailers })
    }
}

/// Leaves messages as they are, and makes a frame of the trailers.
struct TrailersAsFrame;

impl BodyMap for TrailersAsFrame {
    fn data(&mut self, data: Bytes) -> Result<Bytes, BodyErrorKind> {
        Ok(data)
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Ending, BodyErrorKind> {
        Ok(Ending { data: trailers.map(frame_of).unwrap_or_default(), trailers: None })
    }
}

/// The frame that holds trailers: a flag, the length, and lines.
fn frame_of(trailers: HeaderMap) -> Bytes {
    let mut lines = Vec::new();
    for (name, value) in &trailers {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.push(b':');
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    grpc::frame(TRAILERS, &lines)
}

#[cfg(test)]
mod tests;
