//! The productpage service: the page that people see, sign-in, and a small JSON API that passes the others' answers on.

mod calls;
mod markup;
mod pages;
mod session;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::options::Options;
use crate::outgoing::Outgoing;
use crate::{ProductId, propagate};
use calls::{Calls, Outcome};

/// The one book of the shop.
struct Product {
    id: u32,
    title: &'static str,
    /// Trusted HTML.
    description: &'static str,
}

const PRODUCT: Product = Product {
    id: 0,
    title: "The Comedy of Errors",
    description: "Two brothers, twins, were parted by a storm at sea, and so were the two servants, twins too, who grew up \
        beside them. Years later all four are in <em>Ephesus</em> on the same day, and nobody knows it. Dinners are eaten \
        by the wrong husband, gold chains are handed to the wrong man, and the town begins to doubt its wits.",
};

struct Page {
    calls: Calls,
    tree: pages::Tree,
    instance: String,
}

/// The routes of the service.
pub fn router(options: &Options, outgoing: Outgoing) -> Router {
    let page =
        Page { calls: Calls::new(options, outgoing), tree: pages::Tree::of(options), instance: options.instance() };
    Router::new()
        .route("/", get(index))
        .route("/index.html", get(index))
        .route("/health", get(|| async { "productpage is healthy" }))
        .route("/login", post(session::sign_in))
        .route("/logout", get(session::sign_out))
        .route("/productpage", get(product_page))
        .route("/api/v1/products", get(products))
        .route("/api/v1/products/{id}", get(api_details))
        .route("/api/v1/products/{id}/reviews", get(api_reviews))
        .route("/api/v1/products/{id}/ratings", get(api_ratings))
        .route("/metrics", get(metrics))
        .route("/static/bookinfo.css", get(|| asset("text/css", include_bytes!("static/bookinfo.css"))))
        .route("/static/cover.svg", get(|| asset("image/svg+xml", include_bytes!("static/cover.svg"))))
        .route("/static/icon.svg", get(|| asset("image/svg+xml", include_bytes!("static/icon.svg"))))
        .with_state(Arc::new(page))
}

async fn index(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    html(pages::index(&page.tree, session::user(&headers).as_deref()))
}

async fn product_page(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    let (user, carried) = caller(&headers);
    let details = page.calls.details(PRODUCT.id, &carried).await;
    page.calls.flood(PRODUCT.id, &carried);
    let reviews = page.calls.reviews(PRODUCT.id, &carried).await;
    let view = pages::ProductView {
        product: &PRODUCT,
        details: &details,
        reviews: &reviews,
        user: user.as_deref(),
        instance: &page.instance,
    };
    html(pages::product(&view))
}

/// The signed-in user, and what goes on to the other services: the session's user stands above the header's.
fn caller(headers: &HeaderMap) -> (Option<String>, HeaderMap) {
    let mut carried = propagate::carried(headers);
    let user = session::user(headers);
    if let Some(value) = user.as_ref().and_then(|name| HeaderValue::from_bytes(name.as_bytes()).ok()) {
        carried.insert("end-user", value);
    }
    (user, carried)
}

async fn products() -> Json<Value> {
    Json(json!([{ "id": PRODUCT.id, "title": PRODUCT.title, "descriptionHtml": PRODUCT.description }]))
}

async fn api_details(State(page): State<Arc<Page>>, ProductId(id): ProductId, headers: HeaderMap) -> Response {
    passed_on(page.calls.details(id, &caller(&headers).1).await)
}

async fn api_reviews(State(page): State<Arc<Page>>, ProductId(id): ProductId, headers: HeaderMap) -> Response {
    passed_on(page.calls.reviews(id, &caller(&headers).1).await)
}

async fn api_ratings(State(page): State<Arc<Page>>, ProductId(id): ProductId, headers: HeaderMap) -> Response {
    passed_on(page.calls.ratings(id, &caller(&headers).1).await)
}

fn passed_on(outcome: Outcome) -> Response {
    (outcome.status, Json(outcome.json)).into_response()
}

async fn metrics(State(page): State<Arc<Page>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], page.calls.exposition()).into_response()
}

async fn asset(kind: &'static str, bytes: &'static [u8]) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "public, max-age=300")], bytes).into_response()
}

/// A page: nothing but our own style and pictures may load, and nobody may keep it.
fn html(page: String) -> Response {
    let policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'";
    ([(CONTENT_SECURITY_POLICY, policy), (CACHE_CONTROL, "no-store")], Html(page)).into_response()
}
