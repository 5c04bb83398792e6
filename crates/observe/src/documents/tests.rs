//! The contract with the dashboard, read from its file: every field of ours is one of its, and the other way round.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

const CONTRACT: &str = include_str!("../../../../ui/src/api/observe.ts");

/// Fields of an interface, those that may be absent with a `?`.
fn interface(name: &str) -> BTreeSet<String> {
    let start = CONTRACT.find(&format!("export interface {name} {{")).unwrap_or_else(|| panic!("no {name}"));
    let body = CONTRACT[start..].lines().skip(1).take_while(|line| *line != "}");
    let fields = body.filter(|line| line.starts_with("  ") && !line.trim_start().starts_with(['/', '*', '}']));
    // Nested objects are indented further.
    fields
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| Some(line.trim().split_once(':')?.0.to_owned()))
        .collect()
}

/// Fields of a document with everything there; `absent` is the same with nothing that may be absent.
fn fields(full: &Value, absent: &Value) -> BTreeSet<String> {
    let keys = |it: &Value| -> BTreeSet<String> { it.as_object().unwrap().keys().cloned().collect() };
    let (full, absent) = (keys(full), keys(absent));
    full.iter().map(|key| if absent.contains(key) { key.clone() } else { format!("{key}?") }).collect()
}

fn value(document: &impl Serialize) -> Value {
    serde_json::to_value(document).unwrap()
}

fn check(name: &str, full: &impl Serialize, absent: &impl Serialize) {
    assert_eq!(fields(&value(full), &value(absent)), interface(name), "{name}");
}

fn some(is: bool) -> Option<String> {
    is.then(String::new)
}

fn traffic(is: bool) -> Traffic {
    let some = is.then_some(1.0);
    Traffic { success: some, p50: some, p95: some, p99: some, mean: some, ..Traffic::default() }
}

#[test]
fn graphs() {
    let node = |is: bool| GraphNode {
        id: String::new(),
        kind: NodeKind::App,
        namespace: String::new(),
        name: String::new(),
        app: some(is),
        version: some(is),
        principal: some(is),
        cluster: some(is),
        root: true,
        health: Health::Idle,
        reasons: vec![],
        inbound: traffic(is),
        outbound: traffic(is),
    };
    let edge = |is: bool| GraphEdge {
        id: String::new(),
        source: String::new(),
        target: String::new(),
        protocol: "tcp".into(),
        services: vec![],
        traffic: traffic(is),
        health: Health::Idle,
        reasons: vec![],
        responses: vec![],
        mtls: is.then_some(1.0),
        source_principal: some(is),
        destination_principal: some(is),
        reporter: "both".into(),
    };
    let graph = Graph {
        at: String::new(),
        window_s: 1,
        kind: GraphType::VersionedApp,
        nodes: vec![],
        edges: vec![],
        notices: vec![],
    };
    check("Traffic", &traffic(true), &traffic(false));
    check("GraphNode", &node(true), &node(false));
    check("GraphEdge", &edge(true), &edge(false));
    check("Graph", &graph, &graph);
    assert_eq!(value(&graph)["type"], "versionedApp");
    assert_eq!(value(&[NodeKind::Unknown, NodeKind::External]), json!(["unknown", "external"]));
}

#[test]
fn figures() {
    let row = |is: bool| StatRow {
        namespace: String::new(),
        name: String::new(),
        service: some(is),
        from: some(is),
        to: some(is),
        source_principal: some(is),
        destination_principal: some(is),
        security: is.then(|| "none".into()),
        workloads: is.then_some(1),
        health: Health::Failing,
        traffic: traffic(is),
    };
    check("StatRow", &row(true), &row(false));
    let stat = Stat { at: String::new(), window_s: 1, by: "edge".into(), rows: vec![], notices: vec![] };
    check("Stat", &stat, &stat);
    let (from, to) = (String::new(), String::new());
    let series = SeriesAnswer { from, to, step_s: 1, times: vec![], series: vec![], notices: vec![] };
    check("SeriesAnswer", &series, &series);
}

#[test]
fn traces() {
    let span = |is: bool| TraceSpan {
        span_id: String::new(),
        parent_id: some(is),
        service: String::new(),
        name: String::new(),
        kind: "server".into(),
        offset_us: 0,
        duration_us: 0,
        error: false,
        message: some(is),
        attributes: vec![],
        events: vec![],
    };
    check("TraceSpan", &span(true), &span(false));
    let list = |is: bool| TraceList { traces: vec![], more: false, kept: 0, oldest: some(is), services: vec![] };
    check("TraceList", &list(true), &list(false));
    let text = String::new;
    let trace = Trace { trace_id: text(), start: text(), duration_ms: 1.0, spans: vec![], notices: vec![] };
    check("Trace", &trace, &trace);
    let summary = TraceSummary {
        trace_id: text(),
        start: text(),
        duration_ms: 1.0,
        root_service: text(),
        root_name: text(),
        spans: 0,
        errors: 0,
        services: vec![],
    };
    check("TraceSummary", &summary, &summary);
}

#[test]
fn taps() {
    let told = proto::halcyon::observe::v1::TappedExchange::default();
    let names = crate::names::EdgeNames::overflow(crate::names::Reporter::Source, crate::names::Protocol::Http);
    let absent = TapEvent::of(&names, &told);
    let full = TapEvent {
        head_ms: Some(1.0),
        grpc_status: some(true),
        request_headers: Some(vec![]),
        response_headers: Some(vec![]),
        request_body: some(true),
        response_body: some(true),
        ..absent.clone()
    };
    check("TapEvent", &full, &absent);
}
