//! A graph in the words of others: Vizceral's JSON, Graphviz' dot and Mermaid. Names are escaped as each asks.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::documents::{Graph, GraphEdge, GraphNode, Health, NodeKind, Traffic};

/// As Vizceral reads it: one region, whose entry is `INTERNET` for all who call from outside.
pub(crate) fn vizceral(graph: &Graph, updated_ms: u64) -> Value {
    let name = |id: &str| if id == "unknown" { "INTERNET".to_owned() } else { id.to_owned() };
    let class = |health: Health| match health {
        Health::Failing => "danger",
        Health::Degraded => "warning",
        Health::Healthy | Health::Idle => "normal",
    };
    let notices = |reasons: &[String], health: Health| -> Vec<Value> {
        let severity = if health == Health::Failing { 2 } else { 1 };
        reasons.iter().map(|reason| json!({ "title": reason, "severity": severity })).collect()
    };
    let mut nodes: Vec<Value> = vec![json!({ "name": "INTERNET", "renderer": "focusedChild", "class": "normal" })];
    for node in graph.nodes.iter().filter(|node| node.id != "unknown") {
        nodes.push(json!({
            "name": node.id,
            "displayName": node.name,
            "renderer": "focusedChild",
            "class": class(node.health),
            "updated": updated_ms,
            "metadata": { "streaming": 1 },
            "notices": notices(&node.reasons, node.health),
        }));
    }
    // Vizceral has one connection for a pair, whatever is spoken.
    let mut pairs: BTreeMap<(String, String), (Metrics, Vec<Value>)> = BTreeMap::new();
    for edge in &graph.edges {
        let pair = pairs.entry((name(&edge.source), name(&edge.target))).or_default();
        pair.0.add(&edge.traffic);
        pair.1.extend(notices(&edge.reasons, edge.health));
    }
    let mut entry = Metrics::default();
    for node in graph.nodes.iter().filter(|node| node.root && node.id != "unknown") {
        let mut metrics = Metrics::default();
        metrics.add(&node.outbound);
        pairs.entry(("INTERNET".to_owned(), node.id.clone())).or_insert((metrics, Vec::new()));
    }
    let mut busiest = 0.0f64;
    let mut connections = Vec::new();
    for ((source, target), (metrics, notices)) in pairs {
        if source == "INTERNET" {
            entry.merge(&metrics);
        }
        busiest = busiest.max(metrics.total());
        connections.push(json!({
            "source": source,
            "target": target,
            "metrics": metrics.json(),
            "metadata": { "streaming": 1 },
            "notices": notices,
        }));
    }
    let volume = entry.total().max(busiest).max(1.0);
    json!({
        "renderer": "global",
        "name": "edge",
        "maxVolume": volume,
        "nodes": [
            { "renderer": "region", "name": "INTERNET", "displayName": "INTERNET", "class": "normal", "nodes": [], "connections": [] },
            {
                "renderer": "region",
                "name": "mesh",
                "class": "normal",
                "updated": updated_ms,
                "maxVolume": volume,
                "entryNode": "INTERNET",
                "nodes": nodes,
                "connections": connections,
            },
        ],
        "connections": [{ "source": "INTERNET", "target": "mesh", "metrics": entry.json(), "notices": [] }],
    })
}

/// Requests a second, by how they ended.
#[derive(Default)]
struct Metrics {
    normal: f64,
    warning: f64,
    danger: f64,
}

impl Metrics {
    fn add(&mut self, traffic: &Traffic) {
        // Connections stand for requests where there are none.
        let all = traffic.rps + traffic.tcp_opened;
        let bad = (traffic.rps5xx + traffic.no_response).max(traffic.rps * (1.0 - traffic.success.unwrap_or(1.0)));
        let (danger, warning) = (bad.min(all), traffic.rps4xx.min(all));
        self.danger += danger;
        self.warning += warning.min(all - danger);
        self.normal += (all - danger - warning).max(0.0);
    }

    fn merge(&mut self, other: &Self) {
        self.normal += other.normal;
        self.warning += other.warning;
        self.danger += other.danger;
    }

    fn total(&self) -> f64 {
        self.normal + self.warning + self.danger
    }

    fn json(&self) -> Value {
        let round = crate::tally::significant;
        json!({ "normal": round(self.normal), "warning": round(self.warning), "danger": round(self.danger) })
    }
}

/// As Graphviz reads it.
pub(crate) fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph mesh {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    let quoted = |text: &str| {
        // What is no ink cannot stand in an id either.
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " "))
    };
    for node in &graph.nodes {
        let shape = match node.kind {
            NodeKind::Service => ", shape=ellipse",
            NodeKind::Unknown | NodeKind::External => ", style=dashed",
            NodeKind::Workload | NodeKind::App => "",
        };
        let _ =
            writeln!(text, "  {} [label={}{shape}{}];", quoted(&node.id), quoted(&label(node)), colour(node.health));
    }
    for edge in &graph.edges {
        let (source, target) = (quoted(&edge.source), quoted(&edge.target));
        let _ = writeln!(text, "  {source} -> {target} [label={}{}];", quoted(&edge_label(edge)), colour(edge.health));
    }
    text.push_str("}\n");
    text
}

fn colour(health: Health) -> &'static str {
    match health {
        Health::Failing => ", color=red",
        Health::Degraded => ", color=orange",
        Health::Healthy => ", color=darkgreen",
        Health::Idle => ", color=grey",
    }
}

/// As Mermaid reads it.
pub(crate) fn mermaid(graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    // Mermaid's entities are `#CODE;`: no character that means something to it is left.
    let quoted = |text: &str| -> String {
        let escaped = text.chars().map(|c| match c {
            c if c.is_alphanumeric() || " /.:@%_-".contains(c) => c.to_string(),
            c => format!("#{};", u32::from(c)),
        });
        format!("\"{}\"", escaped.collect::<String>())
    };
    let places: BTreeMap<&str, usize> = graph.nodes.iter().enumerate().map(|(n, node)| (&*node.id, n)).collect();
    for (n, node) in graph.nodes.iter().enumerate() {
        let (open, close) = match node.kind {
            NodeKind::Service => ("([", "])"),
            NodeKind::Unknown | NodeKind::External => ("{{", "}}"),
            NodeKind::Workload | NodeKind::App => ("[", "]"),
        };
        let class = match node.health {
            Health::Failing => "failing",
            Health::Degraded => "degraded",
            Health::Healthy => "healthy",
            Health::Idle => "idle",
        };
        let _ = writeln!(text, "  n{n}{open}{}{close}:::{class}", quoted(&label(node)));
    }
    for edge in &graph.edges {
        if let (Some(source), Some(target)) = (places.get(&*edge.source), places.get(&*edge.target)) {
            let _ = writeln!(text, "  n{source} -->|{}| n{target}", quoted(&edge_label(edge)));
        }
    }
    text.push_str("  classDef failing stroke:#c00\n  classDef degraded stroke:#e80\n");
    text.push_str("  classDef healthy stroke:#282\n  classDef idle stroke:#999\n");
    text
}

fn label(node: &GraphNode) -> String {
    match node.version.as_deref().filter(|_| node.kind == NodeKind::App) {
        Some(version) => format!("{} {version}", node.name),
        None => node.name.clone(),
    }
}

fn edge_label(edge: &GraphEdge) -> String {
    let traffic = &edge.traffic;
    if edge.protocol == "tcp" {
        return format!("{:.0} B/s", traffic.tcp_sent + traffic.tcp_received);
    }
    let mut words = format!("{:.1} rps", traffic.rps);
    if let Some(success) = traffic.success.filter(|success| *success < 1.0) {
        let _ = write!(words, " {:.1} %", success * 100.0);
    }
    if let Some(p95) = traffic.p95 {
        let _ = write!(words, " {p95:.1} ms");
    }
    words
}
