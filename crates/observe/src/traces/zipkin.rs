//! Spans as Zipkin's second format has them in JSON.

use serde_json::Value;

use super::otlp_json::kind_of;
use super::span::{Event, Span, span_id, trace_id};

/// The spans, and how many were none. None if the document is no list.
pub(crate) fn spans(document: &Value) -> Option<(Vec<Span>, usize)> {
    let all = document.as_array()?;
    let spans: Vec<Span> = all.iter().filter_map(span).collect();
    let malformed = all.len() - spans.len();
    Some((spans, malformed))
}

fn span(told: &Value) -> Option<Span> {
    let text = |key: &str| told.get(key).and_then(Value::as_str).unwrap_or_default();
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let tags = told.get("tags").and_then(Value::as_object).into_iter().flatten();
    let mut attributes: Vec<(String, String)> = tags.map(|(key, value)| (key.clone(), word(value))).collect();
    if let Some(peer) = told.pointer("/remoteEndpoint/serviceName").and_then(Value::as_str) {
        attributes.push(("peer.service".to_owned(), peer.to_owned()));
    }
    // The tag alone says that it failed, whatever it says besides `false`.
    let error = attributes.iter().find(|(key, _)| key == "error").map(|(_, value)| value.clone());
    let message = error.clone().filter(|it| it != "true" && it != "false").unwrap_or_default();
    let of = |key: &str| attributes.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    let namespace = of("istio.namespace").or_else(|| of("service.namespace")).unwrap_or_default();
    let events = told.get("annotations").and_then(Value::as_array).into_iter().flatten().filter_map(|it| {
        let name = it.get("value")?.as_str()?.to_owned();
        Some(Event { at_us: it.get("timestamp")?.as_u64()?, name, attributes: Vec::new() })
    });
    let span = Span {
        trace: trace_id(text("traceId"))?,
        id: span_id(text("id"))?,
        parent: match text("parentId") {
            "" => 0,
            parent => span_id(parent)?,
        },
        service: told.pointer("/localEndpoint/serviceName").and_then(Value::as_str).unwrap_or_default().to_owned(),
        namespace,
        name: text("name").to_owned(),
        kind: kind_of(text("kind")),
        start_us: told.get("timestamp").and_then(Value::as_u64).filter(|at| *at > 0)?,
        duration_us: told.get("duration").and_then(Value::as_u64).unwrap_or(0),
        error: error.is_some_and(|it| it != "false"),
        message,
        events: events.collect(),
        attributes,
    };
    Some(span.bounded())
}
