//! The HTTP/JSON API on the Unix socket, for the command line and the launcher. Its documents are [`crate::v1`].
//!
//! Only the user that runs the control plane, and root, are let in: the socket is closed to others, and the kernel's
//! word on the peer is asked besides.

mod access;
mod authority;
mod documents;
mod explain;
mod join;
mod status;

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Json, Query, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use http::StatusCode;
use tokio::net::UnixListener;
use transport::PeerCredentials;

use crate::authority::Issuer;
use crate::options::Endpoints;
use crate::push::Proxies;
use crate::registry::Desk;
use crate::rotation::Rotation;
use crate::store::Store;
use crate::v1::Failure;

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
}

type Shared = axum::extract::State<Arc<Parts>>;

/// The routes of the API.
pub(crate) fn router(parts: Parts) -> Router {
    Router::new()
        .route("/v1/apply", post(documents::apply))
        .route("/v1/delete", post(documents::delete))
        .route("/v1/resources", get(documents::list).delete(documents::delete_named))
        .route("/v1/problems", get(documents::problems))
        .route("/v1/analysis", get(documents::analysis))
        .route("/v1/explain", post(explain::explain))
        .route("/v1/access", post(access::check))
        .route("/v1/access/graph", get(access::graph))
        .route("/v1/plan", post(explain::plan))
        .route("/v1/status", get(status::status))
        .route("/v1/proxies/{node}/config", get(status::config))
        .route("/v1/version", get(status::version))
        .route("/v1/bootstrap", post(join::bootstrap))
        .route("/v1/start", post(join::start))
        .route("/v1/tokens", post(join::token))
        .route("/v1/trust-bundle", get(join::trust_bundle))
        .route("/v1/ca", get(authority::status))
        .route("/v1/ca/rotation", post(authority::rotate))
        .route("/v1/ca/import", post(authority::import))
        .route("/v1/ca/export", get(authority::export))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_path)
        .layer(middleware::from_fn(only_ours))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(Arc::new(parts))
}

/// Who is at the other end of the socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerUser(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for PeerUser {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(PeerCredentials::of(stream.io()).ok().map(|peer| peer.uid))
    }
}

async fn only_ours(ConnectInfo(PeerUser(uid)): ConnectInfo<PeerUser>, request: Request, next: Next) -> Response {
    let ours = rustix::process::geteuid().as_raw();
    match uid {
        Some(uid) if uid == ours || uid == 0 => next.run(request).await,
        _ => failure(
            StatusCode::FORBIDDEN,
            "this control plane belongs to another user",
            "call it as the user that started it, or as root",
        )
        .into_response(),
    }
}

async fn no_such_path(request: Request) -> Answer<()> {
    Err(failure(
        StatusCode::NOT_FOUND,
        format!("there is no {} {}", request.method(), request.uri().path()),
        "is the command line of the same version as the control plane?",
    ))
}

/// A handler's answer.
type Answer<T> = Result<T, Refused>;

/// A failure with its HTTP status.
#[derive(Debug)]
struct Refused(StatusCode, Failure);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

fn failure(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Refused {
    Refused(status, Failure { error: error.into(), hint: hint.into(), problems: Vec::new() })
}

/// The body of a call.
fn body<T>(read: Result<Json<T>, JsonRejection>) -> Answer<T> {
    let words = |e: JsonRejection| failure(e.status(), e.body_text(), "send JSON, as the documents of this API say");
    read.map(|Json(body)| body).map_err(words)
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
