//! An exchange as a span, by the names of OpenTelemetry's conventions for HTTP, and Envoy's where those have none.

use std::time::SystemTime;

use ::http::{HeaderMap, StatusCode};
use base::TraceContext;
use model::Direction;
use model::tracing::Tracing;
use proto::opentelemetry::proto::common::v1::any_value::Value;
use proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue};
use proto::opentelemetry::proto::trace::v1::span::SpanKind;
use proto::opentelemetry::proto::trace::v1::status::StatusCode as SpanStatus;
use proto::opentelemetry::proto::trace::v1::{Span, Status};

use super::tag::Tag;
use crate::edge;
use crate::record::Summary;

/// Longer values of attributes are cut.
const MOST: usize = 1024;
/// Statuses of gRPC that are a server's fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
const GRPC_FAULTS: [u32; 6] = [2, 4, 12, 13, 14, 15];

/// Did it fail by a fault of a server, or of somebody between?
pub(super) fn is_error(summary: &Summary<'_>) -> bool {
    let facts = summary.facts;
    let by_grpc = facts.grpc_status.is_some_and(|status| GRPC_FAULTS.contains(&status.0));
    by_grpc || facts.status.is_none_or(|status| status.is_server_error())
}

/// The span of an exchange.
pub(super) fn of(summary: &Summary<'_>, context: TraceContext, tracing: &Tracing, tags: &[Tag]) -> Span {
    let facts = summary.facts;
    let begun = summary.begun_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let inbound = summary.conn.plan().direction == Direction::Inbound;
    let message = facts.reason.as_deref().unwrap_or_default().to_owned();
    let code = if is_error(summary) { SpanStatus::Error } else { SpanStatus::Unset };
    Span {
        trace_id: context.trace.0.to_be_bytes().to_vec(),
        span_id: context.span.0.to_be_bytes().to_vec(),
        parent_span_id: context.parent.map(|parent| parent.0.to_be_bytes().to_vec()).unwrap_or_default(),
        name: name(summary),
        kind: if inbound { SpanKind::Server } else { SpanKind::Client }.into(),
        start_time_unix_nano: begun,
        end_time_unix_nano: begun + summary.duration.as_nanos() as u64,
        attributes: attributes(summary, tracing, tags),
        status: Some(Status { message, code: code.into() }),
        flags: u32::from(context.sampled == Some(true)),
        ..Span::default()
    }
}

/// The method and the service that was called: few names, whatever is asked for.
fn name(summary: &Summary<'_>) -> String {
    let facts = summary.facts;
    let service = facts.cluster_config.as_ref().and_then(|cluster| cluster.service.as_ref());
    let host = service.map(|service| &*service.host).or(facts.cluster.as_deref()).unwrap_or_default();
    let method = summary.method.as_str();
    if host.is_empty() { method.to_owned() } else { format!("{method} {host}") }
}

fn attributes(summary: &Summary<'_>, tracing: &Tracing, tags: &[Tag]) -> Vec<KeyValue> {
    let facts = summary.facts;
    let downstream = &summary.conn.downstream;
    let mut all = Attributes(Vec::with_capacity(20));
    all.text("http.request.method", summary.method.as_str());
    let path = facts.target.path_and_query().map_or("", |path| path.as_str());
    all.text("url.path", cut(path, tracing.most_path as usize));
    if let Some(authority) = facts.authority.as_ref().and_then(|authority| authority.to_str().ok()) {
        all.text("server.address", authority);
    }
    all.text("network.protocol.version", summary.protocol().trim_start_matches("HTTP/"));
    all.number("http.response.status_code", facts.status.map_or(0, |status: StatusCode| status.as_u16().into()));
    if let Some(status) = facts.grpc_status {
        all.number("rpc.grpc.status_code", status.0.into());
    }
    all.number("http.request.body.size", summary.request_bytes);
    all.number("http.response.body.size", summary.response_bytes);
    all.text("response_flags", &facts.flags.to_string());
    all.text("response_code_details", &facts.details);
    all.text("upstream_cluster", facts.cluster.as_deref().unwrap_or_default());
    all.text("route", facts.route.as_deref().unwrap_or_default());
    all.text("upstream.address", &facts.endpoint.as_ref().map(ToString::to_string).unwrap_or_default());
    all.text("peer.address", &downstream.source.ip().to_string());
    all.text("peer.identity", downstream.principal.as_deref().unwrap_or_default());
    if facts.attempts > 1 {
        all.number("http.request.resend_count", u64::from(facts.attempts) - 1);
    }
    if let Some(headers) = &facts.request_headers {
        all.text("url.scheme", edge::scheme(headers));
        all.text("user_agent.original", header(headers, "user-agent"));
        all.text("guid:x-request-id", header(headers, "x-request-id"));
    }
    for tag in tags {
        all.text(&tag.name, &tag.value(summary));
    }
    all.0
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    /// One that says something.
    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() && value != "-" {
            self.push(key, Value::StringValue(cut(value, MOST).to_owned()));
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.push(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn push(&mut self, key: &str, value: Value) {
        self.0.push(KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) });
    }
}

/// At most so many bytes of a text, and no half characters.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_half_characters() {
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(cut("aä", 9), "aä");
    }
}
