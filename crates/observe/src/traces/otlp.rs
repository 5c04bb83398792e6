//! Spans as OpenTelemetry's protocol (OTLP) has them in protobuf.

use proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
use proto::opentelemetry::proto::trace::v1 as wire;

use super::span::{Event, Span, SpanKind};

/// What is deeper in a value is not shown.
const DEEPEST: usize = 8;

/// The spans, and how many were none.
pub(crate) fn spans(request: ExportTraceServiceRequest) -> (Vec<Span>, usize) {
    let (mut spans, mut malformed) = (Vec::new(), 0);
    for of in request.resource_spans {
        let resource = of.resource.map(|it| attributes(it.attributes)).unwrap_or_default();
        for told in of.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            match span(told, &resource) {
                Some(span) => spans.push(span),
                None => malformed += 1,
            }
        }
    }
    (spans, malformed)
}

/// None if its ids are none, or it ends before it begins by more than clocks do.
fn span(told: wire::Span, resource: &[(String, String)]) -> Option<Span> {
    let (start, end) = (told.start_time_unix_nano, told.end_time_unix_nano);
    let of = |key: &str| resource.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    let status = told.status.unwrap_or_default();
    let parent =
        if told.parent_span_id.is_empty() { 0 } else { u64::from_be_bytes(told.parent_span_id[..].try_into().ok()?) };
    let kind = match wire::span::SpanKind::try_from(told.kind) {
        Ok(wire::span::SpanKind::Server) => SpanKind::Server,
        Ok(wire::span::SpanKind::Client) => SpanKind::Client,
        Ok(wire::span::SpanKind::Producer) => SpanKind::Producer,
        Ok(wire::span::SpanKind::Consumer) => SpanKind::Consumer,
        _ => SpanKind::Internal,
    };
    let events = told.events.into_iter().map(|event| Event {
        at_us: event.time_unix_nano / 1000,
        name: event.name,
        attributes: attributes(event.attributes),
    });
    let span = Span {
        trace: u128::from_be_bytes(told.trace_id[..].try_into().ok()?),
        id: u64::from_be_bytes(told.span_id[..].try_into().ok()?),
        parent,
        service: of("service.name").unwrap_or_default(),
        namespace: of("service.namespace").or_else(|| of("k8s.namespace.name")).unwrap_or_default(),
        name: told.name,
        kind,
        start_us: start / 1000,
        duration_us: end.saturating_sub(start) / 1000,
        error: status.code == i32::from(wire::status::StatusCode::Error),
        message: status.message,
        attributes: attributes(told.attributes),
        events: events.collect(),
    };
    (span.trace != 0 && span.id != 0 && start != 0).then(|| span.bounded())
}

fn attributes(told: Vec<KeyValue>) -> Vec<(String, String)> {
    told.into_iter().map(|it| (it.key, it.value.map(|value| shown(&value, 0)).unwrap_or_default())).collect()
}

fn shown(value: &AnyValue, depth: usize) -> String {
    if depth > DEEPEST {
        return "…".to_owned();
    }
    match &value.value {
        None => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(it)) => it.to_string(),
        Some(Value::IntValue(it)) => it.to_string(),
        Some(Value::DoubleValue(it)) => it.to_string(),
        Some(Value::BytesValue(it)) => data_encoding::BASE64.encode(it),
        Some(Value::ArrayValue(all)) => {
            let all: Vec<String> = all.values.iter().map(|it| shown(it, depth + 1)).collect();
            format!("[{}]", all.join(", "))
        }
        Some(Value::KvlistValue(all)) => {
            let word = |it: &KeyValue| {
                format!("{}: {}", it.key, it.value.as_ref().map(|v| shown(v, depth + 1)).unwrap_or_default())
            };
            let all: Vec<String> = all.values.iter().map(word).collect();
            format!("{{{}}}", all.join(", "))
        }
    }
}
