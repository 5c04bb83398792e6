//! The HTTP/JSON API, for the command line and the launcher. Its documents are [`crate::v1`].
//!
//! It has two doors: the Unix socket, where the kernel's word on the peer counts, and, if it is asked for, TLS, where
//! users prove themselves by a token or a certificate. `gate` finds out who calls; `routes` says what each call needs.

mod access;
mod audit;
mod authority;
mod documents;
mod explain;
mod gate;
mod history;
mod join;
mod mesh;
mod mtls;
mod refusals;
mod revocation;
mod routes;
mod status;
mod users;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Json, Query, Request};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::StatusCode;

use crate::authority::Issuer;
use crate::callers::{Attempts, Users};
use crate::dashboard::Sessions;
use crate::guests::Call;
use crate::options::Endpoints;
use crate::push::Proxies;
use crate::refusals::Ring;
use crate::registry::Desk;
use crate::rotation::Rotation;
use crate::store::Store;
use crate::v1::{Failure, Role};

pub(crate) use gate::{Metrics, Peer, harden, hardened, sign_in};

/// Files of a set, all together, are no larger.
const MOST_BYTES: usize = 64 << 20;

/// What the handlers ask.
pub(crate) struct Parts {
    pub store: Store,
    pub proxies: Proxies,
    pub desk: Desk,
    pub issuer: Issuer,
    pub rotation: Rotation,
    pub endpoints: Endpoints,
    pub started: SystemTime,
    pub clock: base::Clock,
    pub users: Users,
    /// Who failed to prove who it is.
    pub attempts: Attempts,
    /// What members of the socket's group may do.
    pub group_role: Option<Role>,
    pub audit_dir: PathBuf,
    pub gate: Metrics,
    /// What proxies refused.
    pub refused: Ring,
    /// Who is signed in at the dashboard.
    pub sessions: Sessions,
}

type Shared = axum::extract::State<Arc<Parts>>;

/// Every call, each behind its right; whoever serves them says who calls.
pub(crate) fn calls(parts: &Arc<Parts>, guests: Vec<Call>) -> Router<Arc<Parts>> {
    routes::router(parts, guests)
        .route("/v1/{*path}", any(no_such_path))
        .method_not_allowed_fallback(no_such_path)
        .layer(DefaultBodyLimit::max(MOST_BYTES))
}

/// The routes of the API, for its socket and its TLS door.
pub(crate) fn router(parts: &Arc<Parts>, calls: Router<Arc<Parts>>) -> Router {
    calls
        .fallback(no_such_path)
        .layer(middleware::from_fn_with_state(parts.clone(), gate::identify))
        .layer(middleware::from_fn(gate::harden))
        .with_state(parts.clone())
}

async fn no_such_path(request: Request) -> Answer<()> {
    Err(failure(
        StatusCode::NOT_FOUND,
        format!("there is no {} {}", request.method(), request.uri().path()),
        "is the command line of the same version as the control plane?",
    ))
}

/// A handler's answer.
pub(crate) type Answer<T> = Result<T, Refused>;

/// A failure with its HTTP status.
#[derive(Debug)]
pub(crate) struct Refused(StatusCode, Failure);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

pub(crate) fn failure(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Refused {
    Refused(status, Failure { error: error.into(), hint: hint.into(), problems: Vec::new() })
}

/// The body of a call.
pub(crate) fn body<T>(read: Result<Json<T>, JsonRejection>) -> Answer<T> {
    let hint = "send JSON, as the documents of this API say";
    read.map(|Json(body)| body).map_err(|e| failure(e.status(), without_texts(&e.body_text()), hint))
}

/// What serde says of a body, without the text that stands where something else belongs: it may be a secret.
fn without_texts(words: &str) -> String {
    match (words.find("string \""), words.rfind("\", expected")) {
        (Some(start), Some(end)) if start < end => format!("{}a string{}", &words[..start], &words[end + 1..]),
        _ => words.to_owned(),
    }
}

/// The query of a call.
fn query<T>(read: Result<Query<T>, QueryRejection>) -> Answer<T> {
    read.map(|Query(query)| query).map_err(|e| failure(e.status(), e.body_text(), "look at the words after the `?`"))
}

impl From<crate::store::StoreError> for Refused {
    fn from(error: crate::store::StoreError) -> Self {
        failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), "nothing was changed")
    }
}
