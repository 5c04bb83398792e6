//! Who may do what, by what is applied.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, State};
use http::StatusCode;

use super::documents::stopping;
use super::{Answer, Shared, body, failure};
use crate::v1::{AccessAnswers, AccessGraph, AccessRequest};

pub async fn check(
    State(parts): Shared,
    request: Result<Json<AccessRequest>, JsonRejection>,
) -> Answer<Json<AccessAnswers>> {
    let asked = body(request)?;
    let now = parts.store.now();
    let answer = tokio::task::spawn_blocking(move || crate::access::answers(&now.world, &asked)).await;
    answer.map_err(stopping)?.map(Json).map_err(|reason| failure(StatusCode::BAD_REQUEST, reason, ""))
}

pub async fn graph(State(parts): Shared) -> Answer<Json<AccessGraph>> {
    let now = parts.store.now();
    tokio::task::spawn_blocking(move || crate::access::graph(&now.world)).await.map(Json).map_err(stopping)
}
