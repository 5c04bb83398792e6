//! Spans as OTLP has them in JSON: ids are hexadecimal, 64-bit numbers may be texts, kinds may be words or numbers.

use serde_json::Value;

use super::span::{Event, Span, SpanKind, span_id, trace_id};

/// The spans, and how many were none. None if the document is not OTLP at all.
pub(crate) fn spans(document: &Value) -> Option<(Vec<Span>, usize)> {
    let (mut spans, mut malformed) = (Vec::new(), 0);
    let Some(all) = document.get("resourceSpans") else {
        return document.is_object().then_some((spans, malformed));
    };
    for of in all.as_array()? {
        let resource = attributes(of.get("resource").and_then(|it| it.get("attributes")));
        for told in list(of, "scopeSpans").iter().flat_map(|scope| list(scope, "spans")) {
            match span(told, &resource) {
                Some(span) => spans.push(span),
                None => malformed += 1,
            }
        }
    }
    Some((spans, malformed))
}

fn span(told: &Value, resource: &[(String, String)]) -> Option<Span> {
    let of = |key: &str| resource.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    let (start, end) = (number(told.get("startTimeUnixNano"))?, number(told.get("endTimeUnixNano")).unwrap_or(0));
    let status = told.get("status");
    let parent = match text(told, "parentSpanId") {
        "" => 0,
        parent => span_id(parent)?,
    };
    let kind = match told.get("kind") {
        Some(Value::String(word)) => word.trim_start_matches("SPAN_KIND_").to_owned(),
        Some(Value::Number(number)) => {
            let words = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
            number.as_u64().and_then(|at| words.get(at as usize)).map_or(String::new(), |word| (*word).to_owned())
        }
        _ => String::new(),
    };
    let error = match status.and_then(|it| it.get("code")) {
        Some(Value::Number(code)) => code.as_u64() == Some(2),
        Some(Value::String(word)) => word == "STATUS_CODE_ERROR",
        _ => false,
    };
    let events = list(told, "events").iter().map(|event| Event {
        at_us: number(event.get("timeUnixNano")).unwrap_or(0) / 1000,
        name: text(event, "name").to_owned(),
        attributes: attributes(event.get("attributes")),
    });
    let span = Span {
        trace: trace_id(text(told, "traceId")).filter(|_| text(told, "traceId").len() == 32)?,
        id: span_id(text(told, "spanId"))?,
        parent,
        service: of("service.name").unwrap_or_default(),
        namespace: of("service.namespace").or_else(|| of("k8s.namespace.name")).unwrap_or_default(),
        name: text(told, "name").to_owned(),
        kind: kind_of(&kind),
        start_us: start / 1000,
        duration_us: end.saturating_sub(start) / 1000,
        error,
        message: status.map(|it| text(it, "message").to_owned()).unwrap_or_default(),
        attributes: attributes(told.get("attributes")),
        events: events.collect(),
    };
    (start != 0).then(|| span.bounded())
}

/// A kind in capitals, as Zipkin has it too.
pub(crate) fn kind_of(word: &str) -> SpanKind {
    match word {
        "SERVER" => SpanKind::Server,
        "CLIENT" => SpanKind::Client,
        "PRODUCER" => SpanKind::Producer,
        "CONSUMER" => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn attributes(told: Option<&Value>) -> Vec<(String, String)> {
    let told = told.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    told.iter().map(|it| (text(it, "key").to_owned(), it.get("value").map(shown).unwrap_or_default())).collect()
}

/// `serde_json` bounds how deep a value may be.
fn shown(value: &Value) -> String {
    let Some((kind, value)) = value.as_object().and_then(|it| it.iter().next()) else { return String::new() };
    match (&**kind, value) {
        ("arrayValue", value) => {
            let all: Vec<String> = list(value, "values").iter().map(shown).collect();
            format!("[{}]", all.join(", "))
        }
        ("kvlistValue", value) => {
            let word = |it: &Value| format!("{}: {}", text(it, "key"), it.get("value").map(shown).unwrap_or_default());
            let all: Vec<String> = list(value, "values").iter().map(word).collect();
            format!("{{{}}}", all.join(", "))
        }
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    }
}
