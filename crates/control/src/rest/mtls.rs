//! The way to mutual TLS.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Json, Query, State};

use super::documents::stopping;
use super::{Answer, Shared, query};
use crate::mtls;
use crate::v1::{MutualTlsPlan, MutualTlsQuery};

pub async fn plan(
    State(parts): Shared,
    asked: Result<Query<MutualTlsQuery>, QueryRejection>,
) -> Answer<Json<MutualTlsPlan>> {
    let asked = query(asked)?;
    let now = parts.store.now();
    let make = move || {
        let nodes: Vec<_> = parts.proxies.nodes().into_iter().map(|(node, _)| node).collect();
        let resources: Vec<_> = now.resources.values().map(|stored| stored.resource.clone()).collect();
        mtls::plan(&now.world, &nodes, &parts.proxies.status(), &resources, &asked)
    };
    tokio::task::spawn_blocking(make).await.map(Json).map_err(stopping)
}
