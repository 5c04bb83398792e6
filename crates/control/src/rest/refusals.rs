//! What was refused or failed, and why.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Json, Query, State};

use super::documents::stopping;
use super::{Answer, Shared, query};
use crate::refusals;
use crate::v1::{RefusalPage, RefusalQuery};

pub async fn page(
    State(parts): Shared,
    asked: Result<Query<RefusalQuery>, QueryRejection>,
) -> Answer<Json<RefusalPage>> {
    let asked = query(asked)?;
    let now = parts.store.now();
    let find = move || refusals::page(&parts.refused, &parts.proxies, &now.world, asked);
    tokio::task::spawn_blocking(find).await.map(Json).map_err(stopping)
}
