//! How the control plane and its proxies are.

use axum::extract::{Json, Path, State};
use http::StatusCode;

use super::{Answer, Shared, failure};
use crate::authority::state_name;
use crate::push::Made;
use crate::summary;
use crate::v1::{ControlStatus, ProxyConfig, RootStatus, Status, Version};

const PROGRAM: &str = env!("CARGO_PKG_VERSION");

pub async fn status(State(parts): Shared) -> Json<Status> {
    let now = parts.store.now();
    let control = ControlStatus {
        program: PROGRAM.to_owned(),
        trust_domain: parts.issuer.trust_domain().to_string(),
        version: now.version,
        started: crate::timestamp(parts.started),
        uptime_s: parts.clock.now().duration_since(parts.started).map_or(0, |d| d.as_secs()),
        resources: now.resources.size(),
        services: now.world.services().len(),
        workloads: now.workloads,
        problems: now.problems.len() + now.source_problems.len(),
        roots: roots(&parts.issuer.authority()),
        notices: parts.desk.notices(),
    };
    Json(Status { control, proxies: parts.proxies.status() })
}

/// The roots as people see them.
pub(super) fn roots(authority: &ca::Authority) -> Vec<RootStatus> {
    let root = |root: ca::RootView| RootStatus {
        state: state_name(root.state).to_owned(),
        subject: root.subject,
        fingerprint: root.fingerprint,
        not_after: crate::timestamp(root.not_after),
    };
    authority.roots().into_iter().map(root).collect()
}

pub async fn config(State(parts): Shared, Path(name): Path<String>) -> Answer<Json<ProxyConfig>> {
    let proxies = parts.proxies.clone();
    let asked = name.clone();
    let made = tokio::task::spawn_blocking(move || proxies.config(&asked)).await.ok().flatten();
    let Some(Made { node, version, on_demand, config }) = made else {
        let error = format!("no connected proxy is called `{name}`");
        return Err(failure(StatusCode::NOT_FOUND, error, "see `halcyon status` for those that are"));
    };
    Ok(Json(ProxyConfig { node, version, on_demand, kinds: summary::kinds(&config) }))
}

pub async fn version(State(parts): Shared) -> Json<Version> {
    Json(Version { version: PROGRAM.to_owned(), store: parts.store.now().version })
}
