//! `/clusters`: every cluster, its endpoints, and what was counted on them.

use std::fmt::Write;

use ::http::{Response, StatusCode};
use mesh_http::Body;
use model::CircuitBreakers;
use model::endpoint::Health;
use serde_json::json;
use upstream::{Cluster, Endpoint};

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
        for (key, limit) in limits(cluster) {
            let _ = writeln!(out, "{name}::default_priority::{key}::{limit}");
        }
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

/// The circuit breakers, by Envoy's names.
fn limits(cluster: &Cluster) -> [(&'static str, u32); 4] {
    let none = CircuitBreakers::unlimited();
    let limits = cluster.config().circuit_breakers.as_deref().unwrap_or(&none);
    [
        ("max_connections", limits.max_connections),
        ("max_pending_requests", limits.max_pending_requests),
        ("max_requests", limits.max_requests),
        ("max_retries", limits.max_retries),
    ]
}

/// What is wrong with it, each behind a slash, or `healthy`: Envoy's flags in Envoy's order.
pub(crate) fn health_flags(endpoint: &Endpoint) -> String {
    let said = endpoint.discovered_health();
    let flags: String = [
        (endpoint.fails_health_check(), "/failed_active_hc"),
        (endpoint.is_ejected(), "/failed_outlier_check"),
        (said == Health::Unhealthy, "/failed_eds_health"),
        (said == Health::Degraded, "/degraded_eds_health"),
        (endpoint.awaits_health_check(), "/pending_active_hc"),
        (said == Health::Draining, "/eds_status_draining"),
    ]
    .into_iter()
    .filter_map(|(set, flag)| set.then_some(flag))
    .collect();
    if flags.is_empty() { "healthy".to_owned() } else { flags }
}

/// Envoy's names and order.
fn figures(endpoint: &Endpoint) -> [(&'static str, String); 14] {
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
        ("health_flags", health_flags(endpoint)),
        ("weight", endpoint.weight().to_string()),
        ("region", locality.region.clone()),
        ("zone", locality.zone.clone()),
        ("priority", endpoint.priority().to_string()),
        ("success_rate", endpoint.success_rate().map_or("-1".to_owned(), |rate| format!("{rate:.1}"))),
    ]
}
