//! An answer that a filter gives in place of the upstream.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use mesh_http::Body;
use mesh_http::grpc::{GrpcStatus, grpc_response};
use telemetry::ResponseFlags;

/// A local response, before it is known in which form the downstream understands it.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalResponse {
    /// The HTTP status, for those who do not speak gRPC.
    pub status: StatusCode,
    /// The gRPC status; none: what the HTTP status reads as.
    pub grpc_status: Option<GrpcStatus>,
    /// The body; for gRPC the message.
    pub body: Bytes,
    /// Further header fields.
    pub headers: HeaderMap,
    /// Envoy's `RESPONSE_CODE_DETAILS`.
    pub details: Cow<'static, str>,
    /// Why, in words for people, if the filter knows more than its details say.
    pub why: Option<Box<str>>,
    /// The flags to record.
    pub flags: ResponseFlags,
}

impl LocalResponse {
    /// The body as text.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The response for a downstream that speaks gRPC (a trailers-only answer), or for one that does not.
    pub fn into_response(self, grpc: bool) -> Response<Body> {
        let message = grpc.then(|| self.text().into_owned());
        let mut headers = self.headers;
        if grpc {
            // It has none but the message in its head.
            headers.remove(CONTENT_TYPE);
        }
        let mut response = if let Some(message) = message {
            grpc_response(self.grpc_status.unwrap_or_else(|| GrpcStatus::from_http(self.status)), &*message)
        } else {
            let is_empty = self.body.is_empty();
            let mut response = Response::new(Body::full(self.body));
            *response.status_mut() = self.status;
            if !is_empty {
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            }
            response
        };
        response.headers_mut().extend(headers);
        response
    }
}
