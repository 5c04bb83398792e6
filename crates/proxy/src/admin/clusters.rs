//! `/clusters`: every cluster, its endpoints, and what was counted on them.

use std::fmt::Write;

use ::http::{Response, StatusCode};
use mesh_http::Body;
use serde_json::json;
use upstream::Endpoint;

use super::{Admin, Query, json as answer_json, text};

pub(super) fn answer(admin: &Admin, query: Query<'_>) -> Response<Body> {
    let snapshot = admin.live.load();
    let mut clusters: Vec<_> = snapshot.clusters.values().collect();
    clusters.sort_by_key(|cluster| cluster.name().clone());
    if query.wants_json() {
        let statuses: Vec<_> = clusters
            .iter()
            .map(|cluster| {
                let table = cluster.endpoints();
                let hosts: Vec<_> = table.endpoints().iter().map(|e| host(e)).collect();
                json!({ "name": &**cluster.name(), "warm": cluster.is_warm(), "host_statuses": hosts })
            })
            .collect();
        return answer_json(&json!({ "cluster_statuses": statuses }));
    }
    let mut out = String::new();
    for cluster in clusters {
        let name = cluster.name();
        let table = cluster.endpoints();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name}::endpoints::{}", table.endpoints().len());
        let _ = writeln!(out, "{name}::healthy::{}", table.healthy());
        for endpoint in table.endpoints() {
            for (key, value) in figures(endpoint) {
                let _ = writeln!(out, "{name}::{endpoint}::{key}::{value}");
            }
        }
    }
    text(StatusCode::OK, out)
}

fn host(endpoint: &Endpoint) -> serde_json::Value {
    let mut object = serde_json::Map::from_iter([("address".to_owned(), json!(endpoint.to_string()))]);
    object.extend(figures(endpoint).map(|(key, value)| (key.to_owned(), json!(value))));
    object.into()
}

/// Envoy's names and order.
fn figures(endpoint: &Endpoint) -> [(&'static str, String); 13] {
    let counts = endpoint.counts();
    let locality = endpoint.locality();
    [
        ("cx_active", counts.connections_active.to_string()),
        ("cx_connect_fail", counts.connect_failures.to_string()),
        ("cx_total", counts.connections_total.to_string()),
        ("rq_active", counts.requests_active.to_string()),
        ("rq_error", counts.requests_error.to_string()),
        ("rq_success", counts.requests_success.to_string()),
        ("rq_total", counts.requests_total.to_string()),
        ("hostname", endpoint.host().unwrap_or_default().to_owned()),
        ("health_flags", format!("{:?}", endpoint.health()).to_lowercase()),
        ("weight", endpoint.weight().to_string()),
        ("region", locality.region.clone()),
        ("zone", locality.zone.clone()),
        ("priority", endpoint.priority().to_string()),
    ]
}
