//! The details service: facts about a book, its own (v1) or those of a book service outside of the mesh (v2).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::options::{Options, Refusal};
use crate::outgoing::{Destination, Outgoing};
use crate::{ProductId, error, propagate};

/// An edition of the same play that the public book service knows.
const ISBN: &str = "0486424618";
const EXTERNAL_LIMIT: Duration = Duration::from_secs(5);

struct Details {
    external: Option<Destination>,
    outgoing: Outgoing,
}

/// `GET /health`, `GET /details/{id}`.
///
/// # Errors
/// When the external book service is asked for in a way that this program cannot call it.
pub fn router(options: &Options, outgoing: Outgoing) -> Result<Router, Refusal> {
    let external = match (options.enable_external_book_service, options.do_not_encrypt) {
        (false, _) => None,
        (true, false) => return Err(Refusal::PlainOnly),
        (true, true) => Some(address(&options.external_book_service)?),
    };
    Ok(Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "details is healthy" })) }))
        .route("/details/{id}", get(details))
        .with_state(Arc::new(Details { external, outgoing })))
}

fn address(text: &str) -> Result<Destination, Refusal> {
    let refused = || Refusal::Address(text.to_owned());
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| refused())?),
        None => (text, 80),
    };
    if host.is_empty() { Err(refused()) } else { Ok(Destination { host: host.to_owned(), port }) }
}

async fn details(State(service): State<Arc<Details>>, ProductId(id): ProductId, headers: HeaderMap) -> Response {
    match &service.external {
        None => Json(own(id)).into_response(),
        Some(to) => match ask(&service.outgoing, to, id, &propagate::carried(&headers)).await {
            Some(found) => Json(found).into_response(),
            None => error(StatusCode::SERVICE_UNAVAILABLE, "the external book service gave no details of this book"),
        },
    }
}

fn own(id: u32) -> Value {
    json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    })
}

/// Asks the public books API (`/books/v1/volumes`) and brings its answer into our form.
async fn ask(outgoing: &Outgoing, to: &Destination, id: u32, headers: &HeaderMap) -> Option<Value> {
    let path = format!("/books/v1/volumes?q=isbn:{ISBN}");
    let reply = outgoing.get(to, &path, headers, EXTERNAL_LIMIT).await.ok()?;
    if reply.status != StatusCode::OK {
        return None;
    }
    let answer: Value = serde_json::from_slice(&reply.body).ok()?;
    let book = answer.pointer("/items/0/volumeInfo")?;
    let isbn = |kind: &str| {
        let known = book.get("industryIdentifiers")?.as_array()?;
        known.iter().find(|entry| entry["type"] == kind)?.get("identifier").cloned()
    };
    Some(json!({
        "id": id,
        "author": book.pointer("/authors/0"),
        "year": book.get("publishedDate"),
        "type": if book["printType"] == "BOOK" { "paperback" } else { "unknown" },
        "pages": book.get("pageCount"),
        "publisher": book.get("publisher"),
        "language": if book["language"] == "en" { "English" } else { "unknown" },
        "ISBN-10": isbn("ISBN_10"),
        "ISBN-13": isbn("ISBN_13"),
    }))
}
