//! The audit log is asked.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Json, Query, State};
use http::StatusCode;

use super::documents::stopping;
use super::{Answer, Shared, failure, query};
use crate::audit;
use crate::v1::{AuditPage, AuditQuery, AuditVerdict};

pub async fn entries(
    State(parts): Shared,
    asked: Result<Query<AuditQuery>, QueryRejection>,
) -> Answer<Json<AuditPage>> {
    let (asked, dir) = (query(asked)?, parts.audit_dir.clone());
    let found = tokio::task::spawn_blocking(move || audit::find(&dir, &asked)).await.map_err(stopping)?;
    found.map(Json).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput => failure(StatusCode::BAD_REQUEST, error.to_string(), ""),
        _ => unreadable(error),
    })
}

pub async fn verdict(State(parts): Shared) -> Answer<Json<AuditVerdict>> {
    let (head, dir) = (parts.store.audit_head().await?, parts.audit_dir.clone());
    let checked = tokio::task::spawn_blocking(move || audit::verify_with(&dir, Some(&head)));
    checked.await.map_err(stopping)?.map(Json).map_err(unreadable)
}

pub fn unreadable(error: std::io::Error) -> super::Refused {
    let error = format!("the audit log cannot be read: {error}");
    failure(StatusCode::INTERNAL_SERVER_ERROR, error, "look at its folder in the data directory")
}
