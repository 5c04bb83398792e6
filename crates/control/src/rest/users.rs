//! Users and their tokens.

use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, Path, State};
use http::StatusCode;

use super::{Answer, Refused, Shared, body, failure};
use crate::callers::{Caller, UserError};
use crate::v1::{
    DashboardKey, IssuedToken, Removed, UserList, UserRequest, UserTokenList, UserTokenRequest, UserView, Whoami,
};

type Me = Extension<Caller>;
type Body<T> = Result<Json<T>, JsonRejection>;

pub async fn whoami(Extension(caller): Me) -> Json<Whoami> {
    Json(caller.whoami())
}

/// A key for the caller's browser.
pub async fn dashboard(State(parts): Shared, Extension(caller): Me) -> Answer<Json<DashboardKey>> {
    let Some(address) = parts.endpoints.dashboard else {
        let hint = "start the control plane with `--dashboard ADDRESS`";
        return Err(failure(StatusCode::NOT_FOUND, "this control plane serves no dashboard", hint));
    };
    let url = format!("http://{address}/login?key={}", parts.sessions.key(&caller));
    Ok(Json(DashboardKey { address, url }))
}

pub async fn users(State(parts): Shared) -> Json<UserList> {
    Json(UserList { users: parts.users.list() })
}

pub async fn add(
    State(parts): Shared,
    Extension(caller): Me,
    Path(name): Path<String>,
    says: Body<UserRequest>,
) -> Answer<Json<UserView>> {
    Ok(Json(parts.users.add(&name, body(says)?, &caller.by).await?))
}

pub async fn set(
    State(parts): Shared,
    Extension(caller): Me,
    Path(name): Path<String>,
    says: Body<UserRequest>,
) -> Answer<Json<UserView>> {
    Ok(Json(parts.users.set(&name, body(says)?, &caller.by).await?))
}

pub async fn remove(State(parts): Shared, Extension(caller): Me, Path(name): Path<String>) -> Answer<Json<Removed>> {
    parts.users.remove(&name, &caller.by).await?;
    Ok(Json(Removed { removed: format!("user {name}") }))
}

pub async fn issue(
    State(parts): Shared,
    Extension(caller): Me,
    Path(name): Path<String>,
    request: Body<UserTokenRequest>,
) -> Answer<Json<IssuedToken>> {
    let ttl = body(request)?.ttl_s.map(Duration::from_secs);
    Ok(Json(parts.users.issue(&name, ttl, &caller.by).await?))
}

pub async fn tokens(State(parts): Shared) -> Json<UserTokenList> {
    Json(UserTokenList { tokens: parts.users.tokens() })
}

pub async fn revoke(State(parts): Shared, Extension(caller): Me, Path(id): Path<String>) -> Answer<Json<Removed>> {
    parts.users.revoke(&id, &caller.by).await?;
    Ok(Json(Removed { removed: format!("token {id}") }))
}

impl From<UserError> for Refused {
    fn from(error: UserError) -> Self {
        let words = error.to_string();
        match error {
            UserError::Invalid(_) => failure(StatusCode::BAD_REQUEST, words, "see `halcyon user --help`"),
            UserError::Exists(_) => failure(StatusCode::CONFLICT, words, "change it with `halcyon user set`"),
            UserError::Missing(_) => {
                failure(StatusCode::NOT_FOUND, words, "see `halcyon user list` and `halcyon user tokens list`")
            }
            UserError::Store(error) => error.into(),
        }
    }
}
