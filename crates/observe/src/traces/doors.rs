//! Doors for spans: OTLP over gRPC and over HTTP, and Zipkin's.

use std::io::Read;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode, header};
use prost::Message;
use proto::opentelemetry::proto::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use proto::opentelemetry::proto::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Status};

use super::span::Span;
use super::{otlp, otlp_json, zipkin};
use crate::api::query::Refused;
use crate::observe::Observe;

/// A body is no larger as it comes, and when it is unpacked.
const MOST_BODY: usize = 4 << 20;
const MOST_PLAIN: u64 = 16 << 20;
/// One call has no more spans.
const MOST_SPANS: usize = 20_000;

/// OTLP over gRPC.
#[derive(Clone)]
pub struct Spans(Observe);

impl Observe {
    /// OTLP's service for spans over gRPC, for a door that knows its callers.
    pub fn spans_service(&self) -> TraceServiceServer<Spans> {
        TraceServiceServer::new(Spans(self.clone()))
            .max_decoding_message_size(MOST_PLAIN as usize)
            .accept_compressed(CompressionEncoding::Gzip)
    }

    /// `POST /v1/traces` (OTLP over HTTP, protobuf or JSON) and `POST /api/v2/spans` (Zipkin, JSON), for a port of their
    /// own: they ask nobody who calls.
    pub fn spans_router(&self) -> Router {
        Router::new()
            .route("/v1/traces", post(take_otlp))
            .route("/api/v2/spans", post(take_zipkin))
            .layer(DefaultBodyLimit::max(MOST_BODY))
            .with_state(self.clone())
    }

    /// Takes spans in; says how many were not taken.
    async fn take_spans(&self, (mut spans, malformed): (Vec<Span>, usize)) -> Option<ExportTracePartialSuccess> {
        let over = spans.len().saturating_sub(MOST_SPANS);
        spans.truncate(MOST_SPANS);
        let (observe, asked) = (self.clone(), spans.len());
        // A search may hold the traces for a moment.
        let take = move || observe.0.traces.take(spans, malformed, observe.now());
        let kept = tokio::task::spawn_blocking(take).await.unwrap_or(0);
        let rejected = malformed + over + (asked - kept);
        (rejected > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: rejected as i64,
            error_message: format!(
                "{malformed} have no valid ids or no time, {over} are more than {MOST_SPANS} in one call, {} are more \
                 than their trace may have",
                asked - kept
            ),
        })
    }
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let partial_success = self.0.take_spans(otlp::spans(request.into_inner())).await;
        Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

async fn take_otlp(State(observe): State<Observe>, headers: HeaderMap, body: Bytes) -> Result<Response, Refused> {
    let plain = plain(&headers, body)?;
    match content_type(&headers) {
        "application/x-protobuf" => {
            let words = |e: prost::DecodeError| {
                bad(format!("the body is no OTLP message: {e}"), "send an ExportTraceServiceRequest")
            };
            let request = ExportTraceServiceRequest::decode(plain.as_slice()).map_err(words)?;
            let partial_success = observe.take_spans(otlp::spans(request)).await;
            let answer = ExportTraceServiceResponse { partial_success }.encode_to_vec();
            Ok(([(header::CONTENT_TYPE, "application/x-protobuf")], answer).into_response())
        }
        "application/json" => {
            let no = || bad("the body is not OTLP".to_owned(), "send an object with `resourceSpans`, a list");
            let spans = otlp_json::spans(&document(&plain)?).ok_or_else(no)?;
            let answer = match observe.take_spans(spans).await {
                None => json!({}),
                // 64-bit numbers are texts in protobuf's JSON.
                Some(partial) => json!({ "partialSuccess": {
                    "rejectedSpans": partial.rejected_spans.to_string(),
                    "errorMessage": partial.error_message,
                } }),
            };
            Ok(axum::Json(answer).into_response())
        }
        other => Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("`content-type: {other}` is not known here"),
            "send application/x-protobuf or application/json",
        )),
    }
}

async fn take_zipkin(State(observe): State<Observe>, headers: HeaderMap, body: Bytes) -> Result<Response, Refused> {
    let kind = content_type(&headers);
    if kind != "application/json" && !kind.is_empty() {
        return Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("`content-type: {kind}` is not known here"),
            "send Zipkin's second format in JSON, as application/json",
        ));
    }
    let no = || bad("the body is not Zipkin's second format".to_owned(), "send a list of spans in JSON");
    let spans = zipkin::spans(&document(&plain(&headers, body)?)?).ok_or_else(no)?;
    observe.take_spans(spans).await;
    Ok(StatusCode::ACCEPTED.into_response())
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn document(plain: &[u8]) -> Result<Value, Refused> {
    serde_json::from_slice(plain).map_err(|e| bad(format!("the body is not JSON: {e}"), "look at that place"))
}

/// The body as it was before it was packed.
fn plain(headers: &HeaderMap, body: Bytes) -> Result<Vec<u8>, Refused> {
    match headers.get(header::CONTENT_ENCODING).map(|it| it.as_bytes()) {
        None | Some(b"identity") => Ok(body.into()),
        Some(b"gzip") => {
            let mut plain = Vec::new();
            let mut unpacked = flate2::read::GzDecoder::new(&*body).take(MOST_PLAIN + 1);
            let words = |e: std::io::Error| {
                bad(format!("the body is not gzip: {e}"), "leave `content-encoding` away, or pack it")
            };
            unpacked.read_to_end(&mut plain).map_err(words)?;
            if plain.len() as u64 > MOST_PLAIN {
                let words = format!("the body is more than {MOST_PLAIN} bytes when it is unpacked");
                return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, words, "send fewer spans at once"));
            }
            Ok(plain)
        }
        Some(other) => Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("`content-encoding: {}` is not known here", String::from_utf8_lossy(other)),
            "send gzip or nothing",
        )),
    }
}

fn bad(error: String, hint: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, error, hint)
}
