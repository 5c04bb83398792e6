//! The documents that the API gives. What their fields mean stands in the contract with the dashboard
//! (`ui/src/api/observe.ts`); here they are as it says, field for field.
#![allow(missing_docs)] // field by field, the contract says it

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A word of a fixed set.
pub type Word = Cow<'static, str>;

/// How well something does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    Idle,
    Healthy,
    Degraded,
    Failing,
}

/// What passed in a window of time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    #[serde(default)]
    pub requests: u64,
    pub rps: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<f64>,
    pub rps4xx: f64,
    pub rps5xx: f64,
    pub no_response: f64,
    pub grpc_errors: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    pub request_bytes: f64,
    pub response_bytes: f64,
    pub tcp_sent: f64,
    pub tcp_received: f64,
    pub tcp_opened: f64,
    pub tcp_open: u64,
}

/// How the nodes of a graph are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GraphType {
    Workload,
    App,
    VersionedApp,
    Service,
}

/// `GET /v1/graph`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Graph {
    pub at: String,
    #[serde(rename = "windowS")]
    pub window_s: u64,
    #[serde(rename = "type")]
    pub kind: GraphType,
    pub nodes: Vec<GraphNode>,
    pub edges: Vec<GraphEdge>,
    pub notices: Vec<String>,
}

/// What a node of a graph is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeKind {
    Workload,
    App,
    Service,
    Unknown,
    External,
}

/// A node of a graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GraphNode {
    pub id: String,
    pub kind: NodeKind,
    pub namespace: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub root: bool,
    pub health: Health,
    pub reasons: Vec<String>,
    pub inbound: Traffic,
    pub outbound: Traffic,
}

/// An edge of a graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GraphEdge {
    pub id: String,
    pub source: String,
    pub target: String,
    pub protocol: Word,
    pub services: Vec<EdgeService>,
    pub traffic: Traffic,
    pub health: Health,
    pub reasons: Vec<String>,
    pub responses: Vec<EdgeResponse>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_principal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_principal: Option<String>,
    pub reporter: Word,
}

/// A host that was called on an edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeService {
    pub host: String,
    pub name: String,
    pub namespace: String,
    pub share: f64,
}

/// How requests of an edge were answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdgeResponse {
    pub code: String,
    pub flags: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<String>,
    #[serde(default)]
    pub requests: u64,
    pub rps: f64,
}

/// `GET /v1/stat`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stat {
    pub at: String,
    #[serde(rename = "windowS")]
    pub window_s: u64,
    pub by: Word,
    pub rows: Vec<StatRow>,
    pub notices: Vec<String>,
}

/// A row of [`Stat`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatRow {
    pub namespace: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_principal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_principal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<Word>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<usize>,
    pub health: Health,
    pub traffic: Traffic,
}

/// `GET /v1/series`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeriesAnswer {
    pub from: String,
    pub to: String,
    #[serde(rename = "stepS")]
    pub step_s: u64,
    pub times: Vec<u64>,
    pub series: Vec<Series>,
    pub notices: Vec<String>,
}

/// One line of [`SeriesAnswer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub metric: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub values: Vec<Option<f64>>,
}

/// `GET /v1/traces`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceList {
    pub traces: Vec<TraceSummary>,
    pub more: bool,
    pub kept: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    pub services: Vec<String>,
}

/// A trace in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceSummary {
    pub trace_id: String,
    pub start: String,
    pub duration_ms: f64,
    pub root_service: String,
    pub root_name: String,
    pub spans: usize,
    pub errors: usize,
    pub services: Vec<TraceService>,
}

/// A service that took part in a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceService {
    pub name: String,
    pub spans: usize,
    pub errors: usize,
}

/// `GET /v1/traces/{traceId}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    pub trace_id: String,
    pub start: String,
    pub duration_ms: f64,
    pub spans: Vec<TraceSpan>,
    pub notices: Vec<String>,
}

/// A span of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceSpan {
    pub span_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    pub service: String,
    pub name: String,
    pub kind: Word,
    pub offset_us: u64,
    pub duration_us: u64,
    pub error: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    pub attributes: Vec<Attribute>,
    pub events: Vec<TraceEvent>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    pub key: String,
    pub value: String,
}

/// Something that happened within a span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceEvent {
    pub offset_us: u64,
    pub name: String,
    pub attributes: Vec<Attribute>,
}

/// `GET /v1/clusters`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterList {
    pub clusters: Vec<ClusterRow>,
}

/// A cluster as one proxy sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRow {
    pub node: String,
    pub workload: String,
    pub name: String,
    pub service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    pub endpoints: u32,
    pub healthy: u32,
    pub ejected: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unhealthy: Vec<UnhealthyEndpoint>,
    pub open_circuits: Vec<String>,
    pub active_requests: u64,
    pub active_connections: u64,
    pub pending_requests: u64,
    pub retries: u64,
    pub timeouts: u64,
    pub overflows: u64,
    pub connect_failures: u64,
    pub ejections: u64,
    pub at: String,
}

/// An endpoint that gets no requests, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnhealthyEndpoint {
    pub address: String,
    pub flags: String,
}

/// What `exchange` carries in `GET /v1/tap`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TapEvent {
    pub time: String,
    pub duration_ms: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_ms: Option<f64>,
    pub reporter: Word,
    pub source: String,
    pub destination: String,
    pub service: String,
    pub protocol: Word,
    pub security: Word,
    pub method: String,
    pub scheme: String,
    pub authority: String,
    pub path: String,
    pub http_version: String,
    pub status: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<String>,
    pub flags: String,
    pub code_details: String,
    pub route: String,
    pub cluster: String,
    pub upstream: String,
    pub downstream: String,
    pub attempts: u32,
    pub request_bytes: u64,
    pub response_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<Vec<TapHeader>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<Vec<TapHeader>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_body: Option<String>,
    pub request_id: String,
    pub trace_id: String,
    pub reason: String,
}

/// A header of a tapped exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TapHeader {
    pub name: String,
    pub value: String,
}

/// `GET /v1/observe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObserveStatus {
    pub proxies: usize,
    pub edges: usize,
    pub outcomes: usize,
    pub history: HistoryStatus,
    pub traces: TracesStatus,
}

/// How the history does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryStatus {
    pub state: Word,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub bytes: u64,
    pub most_bytes: u64,
}

/// How the traces do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracesStatus {
    pub kept: usize,
    pub bytes: u64,
    pub most_bytes: u64,
    pub dropped: u64,
}

/// Why a question was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub error: String,
    pub hint: String,
}

#[cfg(test)]
mod tests;
