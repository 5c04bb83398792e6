//! The dashboard's files, built into the program. A path that is no file is a view of the one page.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};

/// Paths and contents; empty where the program was built without Node.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// What stands where the page would.
const MISSING: &str = "<!doctype html><meta charset=utf-8><title>Halcyon</title>\
<p>This halcyon was built without the dashboard, since there was no Node.js. Install Node.js 20 or later with npm, and build \
again with <code>cargo xtask demo</code> or <code>cargo xtask build</code>. The API works: <code>halcyon stat</code>, \
<code>halcyon graph</code>.";

/// Was the page built in?
pub fn are_there() -> bool {
    !FILES.is_empty()
}

/// Serves the files.
pub fn router() -> Router {
    Router::new().fallback(serve)
}

async fn serve(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = request.uri().path();
    let file = |path: &str| FILES.iter().find(|(name, _)| *name == path);
    let found = file(path).or_else(|| if path.starts_with("/assets/") { None } else { file("/index.html") });
    match found {
        Some((name, content)) => ([(header::CONTENT_TYPE, kind(name))], Body::from(*content)).into_response(),
        None if FILES.is_empty() => {
            (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], MISSING).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" => "application/json",
        "woff2" => "font/woff2",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(path: &str) -> StatusCode {
        serve(Request::builder().uri(path).body(Body::empty()).unwrap()).await.status()
    }

    #[tokio::test]
    async fn views_are_the_one_page() {
        let page = if are_there() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        assert_eq!(get("/").await, page);
        assert_eq!(get("/services/default/reviews").await, page);
        assert_eq!(get("/assets/nothing.js").await, StatusCode::NOT_FOUND);
    }
}
