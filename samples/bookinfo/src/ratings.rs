//! The ratings service: stars of a book, kept in memory, with variants that misbehave on purpose.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{ProductId, error};

/// How long a delayed answer waits: longer than productpage is ready to.
const DELAY: Duration = Duration::from_secs(7);
/// Products whose posted ratings are kept; the service must not grow without end.
const KEPT_PRODUCTS: usize = 1000;

/// How the service behaves, by `SERVICE_VERSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Always answers.
    Steady,
    /// `v2`: ratings can be read only.
    ReadOnly,
    /// `v-faulty`: half of the answers are 503.
    Faulty,
    /// `v-delayed`: half of the answers come 7 s late.
    Delayed,
    /// `v-unavailable`: 503 in every second minute.
    Unavailable,
    /// `v-unhealthy`: unhealthy and 503 in every second quarter of an hour.
    Unhealthy,
}

impl Variant {
    /// The variant that `SERVICE_VERSION` names; every other version is steady.
    pub fn of(version: &str) -> Self {
        match version {
            "v2" => Self::ReadOnly,
            "v-faulty" => Self::Faulty,
            "v-delayed" => Self::Delayed,
            "v-unavailable" => Self::Unavailable,
            "v-unhealthy" => Self::Unhealthy,
            _ => Self::Steady,
        }
    }

    /// Is the service in its bad phase, `up` after its start?
    fn is_down(self, up: Duration) -> bool {
        let period = match self {
            Self::Unavailable => 60,
            Self::Unhealthy => 15 * 60,
            _ => return false,
        };
        (up.as_secs() / period) % 2 == 1
    }
}

struct Ratings {
    variant: Variant,
    started: Instant,
    posted: Mutex<HashMap<u32, Map<String, Value>>>,
}

/// `GET /health`, `GET` and `POST /ratings/{id}`.
pub fn router(variant: Variant) -> Router {
    let service = Ratings { variant, started: Instant::now(), posted: Mutex::default() };
    Router::new()
        .route("/health", get(health))
        .route("/ratings/{id}", get(read).post(post))
        .with_state(Arc::new(service))
}

async fn health(State(service): State<Arc<Ratings>>) -> Response {
    let ill = service.variant == Variant::Unhealthy && service.variant.is_down(service.started.elapsed());
    if ill {
        let said = json!({ "status": "ratings is not healthy" });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(said)).into_response();
    }
    Json(json!({ "status": "ratings is healthy" })).into_response()
}

async fn read(State(service): State<Arc<Ratings>>, ProductId(id): ProductId) -> Response {
    match service.variant {
        Variant::Faulty if rand::random() => return unavailable(),
        Variant::Delayed if rand::random() => tokio::time::sleep(DELAY).await,
        variant if variant.is_down(service.started.elapsed()) => return unavailable(),
        _ => {}
    }
    let posted = service.posted.lock().expect("no panic under the lock").get(&id).cloned();
    let ratings = posted.map_or_else(|| json!({ "Reviewer1": 5, "Reviewer2": 4 }), Value::Object);
    Json(json!({ "id": id, "ratings": ratings })).into_response()
}

async fn post(State(service): State<Arc<Ratings>>, ProductId(id): ProductId, body: Bytes) -> Response {
    if service.variant == Variant::ReadOnly {
        return error(StatusCode::NOT_IMPLEMENTED, "this version of ratings can be read only");
    }
    let parsed: Option<Map<String, Value>> = serde_json::from_slice(&body).ok();
    let Some(ratings) = parsed.filter(|all| all.values().all(Value::is_number)) else {
        return error(
            StatusCode::BAD_REQUEST,
            "expected a JSON object of reviewers and numbers, for example {\"Ann\": 5}",
        );
    };
    let mut posted = service.posted.lock().expect("no panic under the lock");
    if posted.len() >= KEPT_PRODUCTS && !posted.contains_key(&id) {
        return error(StatusCode::INSUFFICIENT_STORAGE, "no room for the ratings of another product");
    }
    posted.insert(id, ratings.clone());
    Json(json!({ "id": id, "ratings": ratings })).into_response()
}

fn unavailable() -> Response {
    error(StatusCode::SERVICE_UNAVAILABLE, "ratings is not available")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases() {
        let check = |variant: Variant, seconds, down| {
            assert_eq!(variant.is_down(Duration::from_secs(seconds)), down, "{variant:?} {seconds}");
        };
        check(Variant::Steady, 90, false);
        check(Variant::Unavailable, 59, false);
        check(Variant::Unavailable, 60, true);
        check(Variant::Unavailable, 120, false);
        check(Variant::Unhealthy, 899, false);
        check(Variant::Unhealthy, 900, true);
    }
}
