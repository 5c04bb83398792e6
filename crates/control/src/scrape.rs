//! What scrapers are told: the control plane's own metrics, whether it lives, and where the metrics of each connected proxy
//! are (HTTP service discovery, as Prometheus' `http_sd_configs` reads it).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::header;
use serde::Serialize;
use telemetry::{Exposition, Registry, Shard, TextFormat, process};
use translate::{Node, Role};

use crate::push::Proxies;
use crate::registration::NodeMetadata;
use crate::rest;

/// Where every proxy tells its metrics, ours and Envoy.
const PATH: &str = "/stats/prometheus";

/// Where a proxy is scraped, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its address for scrapers.
    pub at: SocketAddr,
    labels: BTreeMap<String, String>,
}

impl Target {
    /// Of a proxy that registered; none if it does not say where it can be asked.
    pub fn of(node: &Node, metadata: &NodeMetadata) -> Option<Self> {
        let registration = metadata.halcyon.as_ref()?;
        let at = registration.metrics.or(registration.admin)?;
        let kind = match node.role {
            Role::Sidecar { .. } => "sidecar",
            Role::Gateway { .. } => "gateway",
            Role::Program => return None,
        };
        let known = [
            ("kind", kind),
            ("namespace", &metadata.namespace),
            ("workload", &metadata.workload_name),
            ("instance", &registration.instance),
            ("node", &node.id),
            ("cluster", &metadata.cluster),
            ("service_account", &metadata.service_account),
            // Another proxy, such as Envoy, has no version of ours.
            ("proxy", if registration.proxy_version.is_some() { "halcyon" } else { "other" }),
            ("proxy_version", registration.proxy_version.as_deref().unwrap_or_default()),
        ];
        let known = known.into_iter().map(|(name, value)| (format!("__meta_halcyon_{name}"), value.to_owned()));
        let own = metadata.labels.iter().map(|(name, value)| (label(name), value.clone()));
        let path = ("__metrics_path__".to_owned(), PATH.to_owned());
        Some(Self { at, labels: known.chain(own).chain([path]).collect() })
    }
}

/// A label of the workload, as Prometheus lets labels be named.
fn label(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("__meta_halcyon_label_{name}")
}

/// A group of targets, as Prometheus reads it.
#[derive(Serialize)]
struct Group {
    targets: [SocketAddr; 1],
    labels: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Scraped {
    registry: Registry,
    /// What everything is counted in: it stays as long as it is shown.
    _shard: Shard,
    proxies: Proxies,
}

/// The pages of the door for scrapers.
pub(crate) fn pages(registry: Registry, shard: Shard, proxies: Proxies) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/targets", get(targets))
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(axum::middleware::from_fn(rest::harden))
        .with_state(Scraped { registry, _shard: shard, proxies })
}

async fn metrics(
    State(scraped): State<Scraped>,
    headers: http::HeaderMap,
) -> ([(header::HeaderName, &'static str); 1], String) {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = TextFormat::from_accept(accept);
    let now = Registry::new();
    process::show(&now.shard(), env!("CARGO_PKG_VERSION")).expect("declared once, alike");
    let text = scraped.registry.expose_with(&now, &Exposition { format, ..Exposition::default() });
    ([(header::CONTENT_TYPE, format.content_type())], text)
}

async fn targets(State(scraped): State<Scraped>) -> Json<Vec<Group>> {
    let found = scraped.proxies.scraped().into_iter();
    Json(found.map(|target| Group { targets: [target.at], labels: target.labels }).collect())
}

#[cfg(test)]
mod tests {
    use base::SpiffeId;
    use serde_json::{Value, json};

    use super::*;

    fn target(metadata: Value) -> Option<Target> {
        let metadata: NodeMetadata = serde_json::from_value(metadata).unwrap();
        let node = metadata.node("the-node", None::<SpiffeId>, Default::default())?;
        Target::of(&node, &metadata)
    }

    #[test]
    fn where_a_proxy_is_scraped() {
        let sidecar = json!({ "sidecar": { "capture": { "upstreams": [] } } });
        let gateway = json!({ "gateway": { "bind": "192.0.2.1" } });
        let of = |role: &Value, more: Value| {
            let mut halcyon = json!({ "instance": "reviews-v1-1", "role": role, "address": "127.64.0.2" });
            halcyon.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            target(json!({
                "NAMESPACE": "shop", "WORKLOAD_NAME": "reviews-v1", "SERVICE_ACCOUNT": "reviews", "CLUSTER_ID": "local",
                "LABELS": { "app": "reviews", "team.example/name": "books" }, "HALCYON": halcyon,
            }))
        };
        let (admin, metrics) = ("127.64.0.2:15000", "127.64.0.2:15020");
        for (role, told, expected) in [
            (
                &sidecar,
                json!({ "admin": admin, "metrics": metrics, "proxy_version": "0.1.0" }),
                Some((metrics, "sidecar", "halcyon")),
            ),
            (
                &gateway,
                json!({ "metrics": "[2001:db8::1]:15020", "proxy_version": "0.1.0" }),
                Some(("[2001:db8::1]:15020", "gateway", "halcyon")),
            ),
            // A stock Envoy has its admin endpoint alone.
            (&sidecar, json!({ "admin": admin }), Some((admin, "sidecar", "other"))),
            (&sidecar, json!({}), None),
        ] {
            let found = of(role, told.clone());
            let label = |target: &Target, name: &str| target.labels[&format!("__meta_halcyon_{name}")].clone();
            let shown = found.as_ref().map(|it| (it.at.to_string(), label(it, "kind"), label(it, "proxy")));
            let expected = expected.map(|(at, kind, proxy)| (at.to_owned(), kind.to_owned(), proxy.to_owned()));
            assert_eq!(shown, expected, "{told}");
            if let Some(target) = found {
                let names = ["namespace", "workload", "instance", "node", "label_app", "label_team_example_name"];
                let values = names.map(|name| label(&target, name));
                assert_eq!(values, ["shop", "reviews-v1", "reviews-v1-1", "the-node", "reviews", "books"]);
                assert_eq!(target.labels["__metrics_path__"], "/stats/prometheus");
            }
        }
        // Programs without a proxy have no metrics of a proxy.
        assert_eq!(target(json!({ "GENERATOR": "grpc" })), None);
    }
}
