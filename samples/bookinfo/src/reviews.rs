//! The reviews service: two reviews of a book; v2 and v3 ask ratings for the stars, each with its own patience.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::options::{Options, Refusal, Role};
use crate::outgoing::{Destination, Outgoing};
use crate::{ProductId, propagate};

const REVIEWS: [(&str, &str); 2] = [
    (
        "Reviewer1",
        "Two pairs of twins, one town and a single day: I lost count of who was whom by the second act and \
         did not want it back. Quick, warm and far kinder than its jokes.",
    ),
    (
        "Reviewer2",
        "Short for Shakespeare and all the better for it. The mistaken identities run like clockwork, and \
         under the farce there is a family that has looked for itself for half a lifetime.",
    ),
];

/// Where the stars come from.
struct Stars {
    ratings: Destination,
    color: String,
    /// 10 s for black stars, longer than productpage waits for us: the bug that fault injection is to find.
    within: Duration,
}

struct Reviews {
    instance: String,
    cluster: Option<String>,
    stars: Option<Stars>,
    outgoing: Outgoing,
}

/// `GET /health`, `GET /reviews/{id}`.
///
/// # Errors
/// When the colour of the stars is none.
pub fn router(options: &Options, outgoing: Outgoing) -> Result<Router, Refusal> {
    let color = options.star_color.as_str();
    if color.is_empty() || color.len() > 32 || !color.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err(Refusal::StarColor(color.to_owned()));
    }
    let within = if color == "black" { Duration::from_secs(10) } else { Duration::from_millis(2500) };
    let stars = options.enable_ratings.then(|| Stars {
        ratings: options.destination(Role::Ratings),
        color: color.to_owned(),
        within,
    });
    let service = Reviews { instance: options.instance(), cluster: options.cluster_name.clone(), stars, outgoing };
    Ok(Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "reviews is healthy" })) }))
        .route("/reviews/{id}", get(reviews))
        .with_state(Arc::new(service)))
}

async fn reviews(State(service): State<Arc<Reviews>>, ProductId(id): ProductId, headers: HeaderMap) -> Response {
    let ratings = match &service.stars {
        None => None,
        Some(stars) => Some((stars, ask(&service.outgoing, stars, id, &propagate::carried(&headers)).await)),
    };
    let rows: Vec<Value> = REVIEWS
        .iter()
        .map(|(reviewer, text)| {
            let mut row = json!({ "reviewer": reviewer, "text": text });
            if let Some((stars, answer)) = &ratings {
                row["rating"] = rating(answer.as_ref(), reviewer, &stars.color);
            }
            row
        })
        .collect();
    Json(json!({
        "id": id.to_string(),
        "podname": service.instance,
        "clustername": service.cluster,
        "reviews": rows,
    }))
    .into_response()
}

async fn ask(outgoing: &Outgoing, stars: &Stars, id: u32, headers: &HeaderMap) -> Option<Value> {
    let path = format!("/ratings/{id}");
    let reply = outgoing.get(&stars.ratings, &path, headers, stars.within).await.ok()?;
    (reply.status == StatusCode::OK).then(|| serde_json::from_slice(&reply.body).ok()).flatten()
}

fn rating(answer: Option<&Value>, reviewer: &str, color: &str) -> Value {
    match answer.and_then(|ratings| ratings["ratings"][reviewer].as_i64()) {
        Some(stars) => json!({ "stars": stars, "color": color }),
        None => json!({ "error": "the ratings service is unavailable" }),
    }
}
