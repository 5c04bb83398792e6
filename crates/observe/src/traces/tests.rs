//! Spans of all forms in, lists and waterfalls out.

use std::io::Write as _;

use axum::body::Body;
use http::Request;
use proptest::prelude::*;
use prost::Message;
use proto::opentelemetry::proto::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
use proto::opentelemetry::proto::resource::v1::Resource;
use proto::opentelemetry::proto::trace::v1 as wire;
use serde_json::{Value, json};

use super::*;
use crate::options::Options;
use crate::simulated::{Simulated, T0, call};

const NANOS: u64 = T0 * 1_000_000;

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Any::StringValue(value.into())) }) }
}

fn span(trace: u128, id: u64, parent: u64, start_ms: u64, ms: u64) -> wire::Span {
    wire::Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: if parent == 0 { vec![] } else { parent.to_be_bytes().to_vec() },
        name: format!("GET /{id}"),
        kind: wire::span::SpanKind::Server.into(),
        start_time_unix_nano: NANOS + start_ms * 1_000_000,
        end_time_unix_nano: NANOS + (start_ms + ms) * 1_000_000,
        ..Default::default()
    }
}

fn export(service: &str, spans: Vec<wire::Span>) -> ExportTraceServiceRequest {
    let resource = Resource { attributes: vec![pair("service.name", service)], ..Default::default() };
    let scope = wire::ScopeSpans { spans, ..Default::default() };
    let of = wire::ResourceSpans { resource: Some(resource), scope_spans: vec![scope], ..Default::default() };
    ExportTraceServiceRequest { resource_spans: vec![of] }
}

fn take(mesh: &Simulated, service: &str, spans: Vec<wire::Span>) {
    let (spans, malformed) = otlp::spans(export(service, spans));
    mesh.observe.0.traces.take(spans, malformed, mesh.observe.now());
}

async fn post(mesh: &Simulated, path: &str, kind: &str, gzip: bool, body: Vec<u8>) -> (u16, String) {
    let mut request = Request::post(path).header("content-type", kind);
    let mut body = body;
    if gzip {
        request = request.header("content-encoding", "gzip");
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&body).unwrap();
        body = packed.finish().unwrap();
    }
    call(mesh.observe.spans_router(), request.body(Body::from(body)).unwrap()).await
}

fn ids(list: &Value) -> Vec<String> {
    let id = |it: &Value| it["traceId"].as_str().unwrap().trim_start_matches('0').to_owned();
    list["traces"].as_array().unwrap().iter().map(id).collect()
}

#[tokio::test]
async fn a_waterfall_of_late_spans() {
    let mesh = Simulated::new(None);
    // Children before parents, by different senders, one of them with a slow clock, one whose parent never comes.
    take(&mesh, "db", vec![span(1, 4, 3, 30, 10)]);
    mesh.pass(20);
    let failed = wire::Span {
        status: Some(wire::Status { code: 2, message: "boom".into() }),
        attributes: vec![pair("http.response.status_code", "500"), pair("user", "ann")],
        events: vec![wire::span::Event {
            name: "retry".into(),
            time_unix_nano: NANOS + 15_000_000,
            ..Default::default()
        }],
        ..span(1, 3, 2, 10, 50)
    };
    take(&mesh, "api", vec![failed, span(1, 5, 2, 5, 1), span(1, 6, 99, 40, 1)]);
    take(&mesh, "web", vec![span(1, 2, 0, 8, 100)]);
    mesh.pass(20);
    let (status, trace) = mesh.get("/v1/traces/00000000000000000000000000000001").await;
    assert_eq!(
        (status, &trace["durationMs"], &trace["start"]),
        (200, &json!(103.0), &json!("2026-01-01T00:00:00.005Z"))
    );
    let row = |it: &Value| {
        format!(
            "{} {} {}",
            it["spanId"].as_str().unwrap().trim_start_matches('0'),
            it["service"].as_str().unwrap(),
            it["offsetUs"]
        )
    };
    let rows: Vec<String> = trace["spans"].as_array().unwrap().iter().map(row).collect();
    assert_eq!(rows, ["2 web 3000", "5 api 0", "3 api 5000", "4 db 25000", "6 api 35000"]);
    assert_eq!(trace["spans"][2]["error"], true);
    assert_eq!(trace["spans"][2]["message"], "boom");
    assert_eq!(trace["spans"][2]["events"][0], json!({ "offsetUs": 10_000, "name": "retry", "attributes": [] }));
    assert_eq!(trace["notices"].as_array().unwrap().len(), 2, "{}", trace["notices"]);
    let (_, list) = mesh.get("/v1/traces?service=db").await;
    let expected = json!([{
        "traceId": "00000000000000000000000000000001",
        "start": "2026-01-01T00:00:00.005Z",
        "durationMs": 103.0,
        "rootService": "web",
        "rootName": "GET /2",
        "spans": 5,
        "errors": 1,
        "services": [
            { "name": "api", "spans": 3, "errors": 1 },
            { "name": "db", "spans": 1, "errors": 0 },
            { "name": "web", "spans": 1, "errors": 0 },
        ],
    }]);
    assert_eq!(
        (&list["traces"], &list["kept"], &list["services"]),
        (&expected, &json!(1), &json!(["api", "db", "web"]))
    );
}

#[tokio::test]
async fn searches() {
    let mesh = Simulated::new(None);
    for trace in 1..=3u64 {
        let attributes = vec![pair("http.response.status_code", &(200 + trace).to_string()), pair("user", "ann")];
        let told = wire::Span { attributes, ..span(trace.into(), trace, 0, trace * 1000, trace * 100) };
        take(&mesh, if trace == 3 { "web.shop" } else { "api" }, vec![told]);
    }
    for (query, expected) in [
        ("", "3 2 1"),
        ("limit=2", "3 2"),
        ("service=api", "2 1"),
        ("service=web", "3"),
        ("namespace=shop", "3"),
        ("operation=get%20/2", "2"),
        ("minMs=150&maxMs=250", "2"),
        ("code=203", "3"),
        ("tag=user=ann&tag=http.response.status_code=201", "1"),
        ("tag=user=bob", ""),
        ("errors=true", ""),
        ("from=2026-01-01T00:00:02Z", "3 2"),
        ("to=2026-01-01T00:00:02Z", "2 1"),
    ] {
        let (status, list) = mesh.get(&format!("/v1/traces?{query}")).await;
        assert_eq!((status, ids(&list).join(" ").as_str()), (200, expected), "{query}");
        assert_eq!(list["more"], query == "limit=2");
    }
}

#[tokio::test]
async fn doors() {
    let mesh = Simulated::new(None);
    let mut request = export("web", vec![span(1, 1, 0, 0, 5), span(0, 1, 0, 0, 5)]);
    request.resource_spans[0].scope_spans[0].spans.push(wire::Span { span_id: vec![1, 2], ..span(1, 2, 0, 0, 5) });
    let body = request.encode_to_vec();
    let (status, answer) = post(&mesh, "/v1/traces", "application/x-protobuf", true, body).await;
    let partial = ExportTraceServiceResponse::decode(answer.as_bytes()).unwrap().partial_success.unwrap();
    assert_eq!((status, partial.rejected_spans), (200, 2));
    let json = json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "api" } }] },
        "scopeSpans": [{ "spans": [
            { "traceId": "00000000000000000000000000000001", "spanId": "0000000000000002", "parentSpanId": "0000000000000001",
              "name": "GET", "kind": 3, "startTimeUnixNano": (NANOS + 1000).to_string(), "endTimeUnixNano": (NANOS + 9000).to_string(),
              "status": { "code": 2 },
              "attributes": [{ "key": "n", "value": { "intValue": "7" } }, { "key": "b", "value": { "boolValue": true } }] },
            { "traceId": "xyz", "spanId": "2" },
        ] }],
    }] });
    for gzip in [false, true] {
        let (status, answer) =
            post(&mesh, "/v1/traces", "application/json; charset=utf-8", gzip, json.to_string().into()).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer["partialSuccess"]["rejectedSpans"]), (200, &json!("1")));
    }
    let (_, trace) = mesh.get("/v1/traces/00000000000000000000000000000001").await;
    assert_eq!(trace["spans"].as_array().unwrap().len(), 2, "what comes twice is one");
    let told = &trace["spans"][1];
    assert_eq!((&told["kind"], &told["error"], &told["durationUs"]), (&json!("client"), &json!(true), &json!(8)));
    assert_eq!(told["attributes"], json!([{ "key": "n", "value": "7" }, { "key": "b", "value": "true" }]));
    for (path, kind, gzip, body, expected) in [
        ("/v1/traces", "text/plain", false, "", 415),
        ("/v1/traces", "application/json", false, "{", 400),
        ("/v1/traces", "application/json", false, "[]", 400),
        ("/v1/traces", "application/json", false, "{}", 200),
        ("/v1/traces", "application/x-protobuf", false, "\u{ff}\u{ff}", 400),
        ("/api/v2/spans", "application/json", false, "{}", 400),
        ("/api/v2/spans", "application/json", true, "[]", 202),
        ("/api/v2/spans", "application/x-thrift", false, "", 415),
    ] {
        assert_eq!(post(&mesh, path, kind, gzip, body.into()).await.0, expected, "{path} {kind} {body}");
    }
    let bomb = post(&mesh, "/v1/traces", "application/json", true, vec![b' '; 17 << 20]).await;
    assert_eq!(bomb.0, 413);
    assert_eq!(post(&mesh, "/v1/traces", "application/json", false, vec![b' '; 5 << 20]).await.0, 413);
}

#[tokio::test]
async fn zipkin_shares_ids() {
    let mesh = Simulated::new(None);
    let at = T0 * 1000;
    let told = |kind: &str, service: &str, id: &str, parent: Option<&str>, at: u64| {
        json!({ "traceId": "463ac35c9f6413ad48485a3953bb6124", "id": id, "parentId": parent, "kind": kind, "name": "get /",
            "timestamp": at, "duration": 1000, "localEndpoint": { "serviceName": service }, "tags": { "error": "503" } })
    };
    let spans = json!([
        told("SERVER", "api", "000000000000000b", Some("000000000000000a"), at + 200),
        told("CLIENT", "web", "000000000000000b", Some("000000000000000a"), at + 100),
        told("SERVER", "web", "000000000000000a", None, at),
        told("CLIENT", "api", "000000000000000c", Some("000000000000000b"), at + 300),
        { "traceId": "1", "id": "2" },
    ]);
    assert_eq!(post(&mesh, "/api/v2/spans", "application/json", false, spans.to_string().into()).await.0, 202);
    let (_, trace) = mesh.get("/v1/traces/463ac35c9f6413ad48485a3953bb6124").await;
    let row = |it: &Value| format!("{} < {}", it["spanId"].as_str().unwrap(), it["parentId"].as_str().unwrap_or("-"));
    let rows: Vec<String> = trace["spans"].as_array().unwrap().iter().map(row).collect();
    let expected = [
        "000000000000000a < -",
        "000000000000000b < 000000000000000a",
        "000000000000000b-server < 000000000000000b",
        "000000000000000c < 000000000000000b-server",
    ];
    assert_eq!(rows, expected);
    assert_eq!(trace["spans"][0]["message"], "503");
}

#[test]
fn circles_and_selves() {
    let told = [span(1, 1, 2, 0, 1), span(1, 2, 1, 0, 1), span(1, 3, 3, 0, 1)];
    let (spans, _) = otlp::spans(export("a", told.to_vec()));
    let trace = waterfall::of(1, spans);
    assert_eq!((trace.spans.len(), trace.notices.len()), (3, 2), "{:?}", trace.notices);
}

/// JSON with the words that mean something, in places where they do not.
fn any_document() -> impl Strategy<Value = Value> {
    let keys = [
        "resourceSpans",
        "scopeSpans",
        "spans",
        "resource",
        "attributes",
        "key",
        "value",
        "stringValue",
        "arrayValue",
        "values",
        "kvlistValue",
        "traceId",
        "spanId",
        "id",
        "parentId",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "status",
        "code",
        "kind",
        "events",
        "timestamp",
        "duration",
        "tags",
        "error",
        "annotations",
        "localEndpoint",
        "serviceName",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(Value::from("463ac35c9f6413ad48485a3953bb6124")),
        Just(Value::from("000000000000000b")),
    ];
    leaf.prop_recursive(8, 64, 8, move |inner| {
        let key = prop::sample::select(keys.to_vec());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn documents_of_strangers(document in any_document()) {
        let spans = otlp_json::spans(&json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [document] }] }] }));
        let mut spans = spans.unwrap().0;
        spans.extend(otlp_json::spans(&document).unwrap_or_default().0);
        spans.extend(zipkin::spans(&json!([document])).unwrap().0);
        spans.extend(zipkin::spans(&document).unwrap_or_default().0);
        let _ = waterfall::of(1, spans);
    }

    #[test]
    fn trees_of_strangers(told in prop::collection::vec((1u64..8, 0u64..8, 0i32..6, 0u64..50, any::<u32>()), 0..12)) {
        let told = told.into_iter().map(|(id, parent, kind, start, ms)| wire::Span { kind, ..span(1, id, parent, start, ms.into()) });
        let count = told.len();
        let (mut spans, _) = otlp::spans(export("a", told.collect()));
        let trace = waterfall::of(1, spans.clone());
        prop_assert_eq!(trace.spans.len(), count);
        let mut kept = Vec::new();
        spans.drain(..).for_each(|span| assert_eq!(put(&mut kept, span), 0));
        let trace = waterfall::of(1, kept);
        let ids: BTreeSet<&str> = trace.spans.iter().map(|span| &*span.span_id).collect();
        prop_assert_eq!(ids.len(), trace.spans.len(), "ids are told apart");
    }

    #[test]
    fn rows_of_strangers(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = disk::unpack(&bytes);
    }
}

#[test]
fn bounded_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { most_traces: 10, ..Options::default() };
    let mesh = Simulated::at(Some(dir.path()), T0, options.clone());
    for trace in 1..=25u64 {
        take(&mesh, "web", vec![span(trace.into(), 1, 0, trace, 1)]);
        mesh.pass(1);
    }
    mesh.pass(30);
    assert!(mesh.observe.0.traces.get(15).is_none() && mesh.observe.0.traces.get(16).is_some());
    let state = mesh.observe.0.traces.state();
    drop(mesh);
    let mesh = Simulated::at(Some(dir.path()), T0, options);
    let again = mesh.observe.0.traces.state();
    assert_eq!((again.kept, again.bytes), (10, state.bytes));
    assert!(mesh.observe.0.traces.get(15).is_none() && mesh.observe.0.traces.get(16).is_some());
    take(&mesh, "web", vec![span(30, 1, 0, 99, 1)]);
    assert!(mesh.observe.0.traces.get(16).is_none(), "the oldest goes");
    drop(mesh);
    let small = Simulated::at(None, T0, Options { trace_bytes: 20_000, ..Options::default() });
    for trace in 1..=100u64 {
        take(&small, "web", (1..=4).map(|id| span(trace.into(), id, 0, trace, 1)).collect());
    }
    let state = small.observe.0.traces.state();
    assert!(state.bytes <= 20_000 && state.kept > 5, "{} {}", state.bytes, state.kept);
    take(&small, "web", (1..=3000).map(|id| span(500, id, 0, 1, 1)).collect());
    assert_eq!(small.observe.0.traces.state().dropped, 1000);
}
