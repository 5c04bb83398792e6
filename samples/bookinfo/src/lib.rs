//! Bookinfo, the demonstration application that service meshes are taught with, in one program with four roles.
//!
//! ```text
//! browser -> productpage -> details
//!                        -> reviews v1
//!                           reviews v2 -> ratings     (black stars)
//!                           reviews v3 -> ratings     (red stars)
//! ```
//!
//! Paths, JSON, status codes, environment names and the deliberate mistakes (a time limit in productpage that is
//! shorter than the one in reviews v2; no reuse of connections) follow the well-known application, so that its
//! exercises work as they are taught. The texts and pages are our own. Knows nothing of the mesh: it is what a mesh
//! is put around.

pub mod details;
pub mod options;
pub mod outgoing;
pub mod productpage;
pub mod propagate;
pub mod ratings;
pub mod reviews;
pub mod serve;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Json, Response};

pub use options::{Options, Refusal, Role};
pub use outgoing::{Destination, Dial, Outgoing, Tcp};

/// Builds the HTTP service of the role in `options`; its own calls go out through `dial`.
///
/// # Errors
/// When the options contradict each other.
pub fn router(options: &Options, dial: Arc<dyn Dial>) -> Result<Router, Refusal> {
    let outgoing = Outgoing::new(dial);
    Ok(match options.role {
        Role::Productpage => productpage::router(options, outgoing),
        Role::Details => details::router(options, outgoing)?,
        Role::Ratings => ratings::router(ratings::Variant::of(&options.service_version)),
        Role::Reviews => reviews::router(options, outgoing)?,
    })
}

/// The identifier in the path of a product; what is not a number is answered with 400.
struct ProductId(u32);

impl<S: Send + Sync> FromRequestParts<S> for ProductId {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let path = Path::<String>::from_request_parts(parts, state).await.ok();
        path.and_then(|Path(text)| text.parse().ok())
            .map(Self)
            .ok_or_else(|| error(StatusCode::BAD_REQUEST, "the product id must be a number, for example 0"))
    }
}

/// `{"error": message}` with `status`.
fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(serde_json::json!({ "error": message }))).into_response()
}
