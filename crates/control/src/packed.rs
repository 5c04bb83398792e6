//! Answers of the dashboard's door leave compressed where that is worth it: the graph of a large mesh is megabytes of text,
//! and who comes through a tunnel waits for each. Streams and small answers stay as they are.

use std::io::Write as _;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt as _;

/// Below this a packet is not saved.
const LEAST: u64 = 1400;
/// Above this it takes longer than others should wait.
const LONG: usize = 64 << 10;

/// Compresses what fits.
pub(crate) async fn pack(request: Request, next: Next) -> Response {
    let wanted = request.method() != Method::HEAD && takes_gzip(request.headers());
    let answer = next.run(request).await;
    // Nobody knows how long a stream is.
    let length = answer.body().size_hint().exact().unwrap_or_default();
    if !wanted
        || length < LEAST
        || !is_text(answer.headers())
        || answer.headers().contains_key(header::CONTENT_ENCODING)
    {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    let Ok(plain) = body.collect().await else { return Response::from_parts(head, Body::empty()) };
    let plain = plain.to_bytes();
    let packed = match plain.len() {
        0..LONG => gzip(&plain),
        _ => {
            let plain = plain.clone();
            tokio::task::spawn_blocking(move || gzip(&plain)).await.unwrap_or_default()
        }
    };
    head.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let Some(packed) = packed else { return Response::from_parts(head, Body::from(plain)) };
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(head, Body::from(packed))
}

/// Fast, since who asks is most often on the same machine.
fn gzip(plain: &[u8]) -> Option<Bytes> {
    let mut writer = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    writer.write_all(plain).ok()?;
    writer.finish().ok().map(Bytes::from)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let said = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    said.flat_map(|value| value.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let never = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0);
        name.trim().eq_ignore_ascii_case("gzip") && !never
    })
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    matches!(kind, "application/json" | "image/svg+xml") || (kind.starts_with("text/") && kind != "text/event-stream")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::Router;
    use axum::middleware::from_fn;
    use axum::response::IntoResponse;
    use axum::routing::get;
    use flate2::read::GzDecoder;
    use tower_service::Service as _;

    use super::*;

    async fn ask(kind: &'static str, length: usize, accept: &str) -> Response {
        let body = "graph ".repeat(length / 6);
        let serve = get(move || async move { ([(header::CONTENT_TYPE, kind)], body).into_response() });
        let mut router: Router = Router::new().route("/", serve).layer(from_fn(pack));
        let request = Request::builder().uri("/").header(header::ACCEPT_ENCODING, accept).body(Body::empty()).unwrap();
        router.call(request).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_packed() {
        for (kind, length, accept, expected) in [
            ("application/json", 6_000, "gzip, deflate, br", true),
            ("application/json", 600_000, "br, gzip;q=0.5", true),
            ("text/javascript; charset=utf-8", 6_000, "gzip", true),
            ("application/json", 600, "gzip", false),
            ("application/json", 6_000, "gzip;q=0, br", false),
            ("application/json", 6_000, "", false),
            ("text/event-stream", 6_000, "gzip", false),
            ("image/png", 6_000, "gzip", false),
        ] {
            let case = format!("{kind}, {length} bytes, `{accept}`");
            let answer = ask(kind, length, accept).await;
            assert_eq!(answer.headers().contains_key(header::CONTENT_ENCODING), expected, "{case}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let mut text = String::new();
            match expected {
                true => GzDecoder::new(&*body).read_to_string(&mut text).unwrap(),
                false => (&*body).read_to_string(&mut text).unwrap(),
            };
            assert_eq!(text.len(), length, "{case}");
            assert_eq!(body.len() < length / 10, expected, "{case}");
        }
    }
}
