//! Spans in Zipkin's form (its API, version 2): JSON, and times in microseconds.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use proto::opentelemetry::proto::common::v1::any_value::Value;
use proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue};
use proto::opentelemetry::proto::trace::v1::span::SpanKind;
use proto::opentelemetry::proto::trace::v1::status::StatusCode;
use proto::opentelemetry::proto::trace::v1::{Span, Status};
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// A span.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    parent_id: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    timestamp: u64,
    duration: u64,
    local_endpoint: Endpoint<'a>,
    tags: Map<String, Json>,
}

/// Who tells of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    service_name: &'a str,
}

/// Spans of a service.
pub(super) fn message(service: &str, spans: &[Span]) -> Bytes {
    let lines: Vec<Line<'_>> = spans.iter().map(|span| line(service, span)).collect();
    // Texts and numbers can always be written.
    serde_json::to_vec(&lines).unwrap_or_default().into()
}

fn line<'a>(service: &'a str, span: &'a Span) -> Line<'a> {
    let mut tags: Map<String, Json> = span.attributes.iter().filter_map(tag).collect();
    if let Some(Status { message, code }) = &span.status
        && *code == i32::from(StatusCode::Error)
    {
        // Zipkin marks by its presence what failed.
        tags.insert("error".to_owned(), if message.is_empty() { "true".into() } else { message.as_str().into() });
    }
    let micros = |nanos: u64| nanos / 1000;
    Line {
        trace_id: HEXLOWER.encode(&span.trace_id),
        id: HEXLOWER.encode(&span.span_id),
        parent_id: HEXLOWER.encode(&span.parent_span_id),
        name: &span.name,
        kind: match SpanKind::try_from(span.kind) {
            Ok(SpanKind::Server) => Some("SERVER"),
            Ok(SpanKind::Client) => Some("CLIENT"),
            _ => None,
        },
        timestamp: micros(span.start_time_unix_nano),
        // Nothing lasts no time: 0 stands for what is not known.
        duration: micros(span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano)).max(1),
        local_endpoint: Endpoint { service_name: service },
        tags,
    }
}

/// Values of tags are texts.
fn tag(KeyValue { key, value }: &KeyValue) -> Option<(String, Json)> {
    let text = match value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text.clone(),
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        _ => return None,
    };
    Some((key.clone(), text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span() {
        let attribute = |key: &str, value| KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) };
        let span = Span {
            trace_id: vec![0xab; 16],
            span_id: vec![1; 8],
            name: "GET shop".into(),
            kind: SpanKind::Client.into(),
            start_time_unix_nano: 5_000_900,
            end_time_unix_nano: 5_001_100,
            attributes: vec![
                attribute("http.response.status_code", Value::IntValue(503)),
                attribute("url.path", Value::StringValue("/\"a\"".into())),
            ],
            status: Some(Status { message: String::new(), code: StatusCode::Error.into() }),
            ..Span::default()
        };
        let told: Json = serde_json::from_slice(&message("page.default", &[span])).unwrap();
        let expected = serde_json::json!([{
            "traceId": "abababababababababababababababab",
            "id": "0101010101010101",
            "name": "GET shop",
            "kind": "CLIENT",
            "timestamp": 5000,
            "duration": 1,
            "localEndpoint": { "serviceName": "page.default" },
            "tags": { "http.response.status_code": "503", "url.path": "/\"a\"", "error": "true" },
        }]);
        assert_eq!(told, expected);
    }
}
