//! What a request would meet, and what a set would do.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, State};
use http::StatusCode;
use translate::World;
use translate::explain::caller as caller_of;

use super::documents::{apply_set, stopping};
use super::{Answer, Shared, body, failure};
use crate::callers::Caller;
use crate::explain::{answer, question};
use crate::patches::Patcher;
use crate::push::Proxies;
use crate::summary;
use crate::v1::{ApplyRequest, ConfigChange, ExplainRequest, Explanation, KindConfig, Plan, PlanGroup};

type Body<T> = Result<Json<T>, JsonRejection>;

pub async fn explain(State(parts): Shared, request: Body<ExplainRequest>) -> Answer<Json<Explanation>> {
    let asked = body(request)?;
    let now = parts.store.now();
    let connected = parts.proxies.node(&asked.namespace, &asked.from);
    let Some(node) = connected.or_else(|| caller_of(&now.world, &asked.namespace, &asked.from)) else {
        let error = format!("nobody in the namespace `{}` is called `{}`", asked.namespace, asked.from);
        let hint = "expected a proxy of `halcyon status`, a workload, a service, or a gateway";
        return Err(failure(StatusCode::NOT_FOUND, error, hint));
    };
    let question = question(&asked, &now.world, &node).map_err(|e| failure(StatusCode::BAD_REQUEST, e, ""))?;
    let explain = move || answer(&now.world, &node, &question);
    tokio::task::spawn_blocking(explain).await.map(Json).map_err(stopping)
}

pub async fn plan(
    State(parts): Shared,
    Extension(caller): Extension<Caller>,
    request: Body<ApplyRequest>,
) -> Answer<Json<Plan>> {
    let asked = ApplyRequest { dry_run: true, ..body(request)? };
    let before = parts.store.now().world.clone();
    let done = apply_set(&parts, &caller, asked).await?;
    let proxies = parts.proxies.clone();
    let compare = move || {
        let (connected, groups) = groups(&proxies, &before, &done.world);
        Plan { version: done.version, results: done.results, problems: done.problems, connected, groups }
    };
    tokio::task::spawn_blocking(compare).await.map(Json).map_err(stopping)
}

/// What is different for each connected proxy; those with the same changes together.
fn groups(proxies: &Proxies, before: &Arc<World>, after: &Arc<World>) -> (usize, Vec<PlanGroup>) {
    let mut by_changes: BTreeMap<String, PlanGroup> = BTreeMap::new();
    let (nodes, patcher) = (proxies.nodes(), Patcher::default());
    for (node, is_tls) in &nodes {
        let made = |world| summary::kinds(&crate::push::config(&patcher, world, node, *is_tls));
        let changes = changes(made(before), made(after));
        if !changes.is_empty() {
            let key = format!("{changes:?}");
            let group = by_changes.entry(key).or_insert_with(|| PlanGroup { proxies: Vec::new(), changes });
            group.proxies.push(node.title().to_owned());
        }
    }
    let mut groups: Vec<PlanGroup> = by_changes.into_values().collect();
    groups.sort_by(|a, b| a.proxies.cmp(&b.proxies));
    (nodes.len(), groups)
}

fn changes(before: Vec<KindConfig>, after: Vec<KindConfig>) -> Vec<ConfigChange> {
    let mut all = Vec::new();
    for (old, new) in before.into_iter().zip(after) {
        let mut by_name: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
        old.resources.into_iter().for_each(|it| by_name.entry(it.name).or_default().0 = it.summary);
        new.resources.into_iter().for_each(|it| by_name.entry(it.name).or_default().1 = it.summary);
        let different = by_name.into_iter().filter(|(_, (before, after))| before != after);
        all.extend(different.map(|(name, (before, after))| ConfigChange {
            kind: old.kind.clone(),
            name,
            before,
            after,
        }));
    }
    all
}
