//! An HTTP server that says what it was sent, and answers as it is asked to. HTTP/1.1 and HTTP/2 (prior knowledge) on one port.
//!
//! | path | answer |
//! |---|---|
//! | any | JSON of method, path, query, headers, peer, body and trailers |
//! | `/status/N` | status N |
//! | `/delay/SECS` | the JSON, that much later (fractions allowed) |
//! | `/stream/N?interval_ms=M` | N JSON lines, each its own frame |
//! | `/bytes/N` | N bytes |
//! | `/upload` | how many bytes came, and their SHA-256 |
//! | `/trailers` | a body, then trailers |
//! | `/break/N` | N bytes of a body that promised one more, then the connection breaks |
//! | `/health` | 200 |

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRAILER};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use axum::serve::ListenerExt;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::stream::{self, StreamExt as _};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

/// The response header that names who answered.
pub const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

const LONGEST_DELAY_SECS: f64 = 600.0;
const MOST_LINES: u32 = 1_000_000;
const MOST_BYTES: u64 = 1 << 32;
const CHUNK: usize = 64 * 1024;
/// How much of a request's text body stands in the answer.
const SHOWN_BODY: usize = 64 * 1024;

/// Serves on `listener` as `name` until `end` completes; open requests then finish.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    name: String,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Without it small answers wait for the other side's acknowledgement. A refusal only costs time.
        let _ = stream.set_nodelay(true);
    });
    let service = router(name).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(end).await
}

/// The routes.
pub fn router(name: String) -> Router {
    let name: Arc<str> = name.into();
    let signature = HeaderValue::try_from(&*name).unwrap_or_else(|_| HeaderValue::from_static("unnamed"));
    Router::new()
        .route("/health", get(|| async { "ok" }))
        .route("/status/{code}", any(status))
        .route("/delay/{seconds}", any(delay))
        .route("/stream/{lines}", any(lines))
        .route("/bytes/{count}", any(bytes))
        .route("/upload", any(upload))
        .route("/trailers", any(trailers))
        .route("/break/{count}", any(break_off))
        .fallback(echo)
        .layer(axum::middleware::map_response(move |mut response: Response<Body>| {
            response.headers_mut().insert(SERVED_BY, signature.clone());
            async { response }
        }))
        .with_state(name)
}

type Name = State<Arc<str>>;

async fn echo(State(name): Name, request: Request) -> axum::response::Response {
    let (head, body) = request.into_parts();
    match Received::of(body).await {
        Ok(received) => {
            let mut said = about(&name, &head);
            said.insert("body".to_owned(), received.json());
            said.insert("trailers".to_owned(), fields(&received.trailers));
            axum::Json(Value::Object(said)).into_response()
        }
        Err(refusal) => refusal,
    }
}

async fn status(Path(code): Path<String>) -> axum::response::Response {
    match code.parse::<u16>().ok().filter(|c| (200..=999).contains(c)).and_then(|c| StatusCode::from_u16(c).ok()) {
        Some(code) => code.into_response(),
        None => refuse("a status must be a number from 200 to 999, for example /status/503"),
    }
}

async fn delay(name: Name, Path(seconds): Path<String>, request: Request) -> axum::response::Response {
    match seconds.parse::<f64>().ok().filter(|s| (0.0..=LONGEST_DELAY_SECS).contains(s)) {
        Some(seconds) => {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            echo(name, request).await
        }
        None => refuse("a delay must be a number of seconds from 0 to 600, for example /delay/0.5"),
    }
}

async fn lines(
    State(name): Name,
    Path(count): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    uri: Uri,
) -> axum::response::Response {
    let Some(count) = count.parse::<u32>().ok().filter(|n| *n <= MOST_LINES) else {
        return refuse("the number of lines must be from 0 to 1000000, for example /stream/10");
    };
    let interval = match query.get("interval_ms").map_or(Ok(0), |text| text.parse::<u32>()) {
        Ok(milliseconds) => Duration::from_millis(milliseconds.into()),
        Err(_) => return refuse("interval_ms must be a number of milliseconds, for example ?interval_ms=100"),
    };
    let path = uri.path().to_owned();
    let body = stream::iter(0..count).then(move |index| {
        let line = format!("{}\n", json!({ "index": index, "path": path, "served_by": &*name }));
        async move {
            if index > 0 && !interval.is_zero() {
                tokio::time::sleep(interval).await;
            }
            Ok::<_, io::Error>(Bytes::from(line))
        }
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
}

async fn bytes(Path(count): Path<String>) -> axum::response::Response {
    let Some(count) = count.parse::<u64>().ok().filter(|n| *n <= MOST_BYTES) else {
        return refuse("the number of bytes must be from 0 to 4294967296, for example /bytes/1024");
    };
    let head = [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_LENGTH, count.to_string())];
    if count <= CHUNK as u64 {
        return (head, vec![b'.'; count as usize]).into_response();
    }
    (head, Body::from_stream(dots(count).map(Ok::<_, io::Error>))).into_response()
}

async fn upload(request: Request) -> axum::response::Response {
    match Received::of(request.into_body()).await {
        Ok(received) => {
            let mut said = received.json();
            said["trailers"] = fields(&received.trailers);
            axum::Json(said).into_response()
        }
        Err(refusal) => refusal,
    }
}

async fn trailers(State(name): Name) -> axum::response::Response {
    let mut after = HeaderMap::new();
    after.insert("x-echo-trailer", HeaderValue::from_static("after the body"));
    after.insert(SERVED_BY, HeaderValue::try_from(&*name).unwrap_or_else(|_| HeaderValue::from_static("unnamed")));
    let frames = [Frame::data(Bytes::from_static(b"the trailers follow\n")), Frame::trailers(after)];
    let body = StreamBody::new(stream::iter(frames.map(Ok::<_, io::Error>)));
    // HTTP/1.1 sends only trailers that were announced, and only to who says `te: trailers`.
    ([(TRAILER, "x-echo-trailer, x-served-by")], Body::new(body)).into_response()
}

async fn break_off(Path(count): Path<String>) -> axum::response::Response {
    let Some(count) = count.parse::<u64>().ok().filter(|n| *n <= MOST_BYTES) else {
        return refuse("the number of bytes must be from 0 to 4294967296, for example /break/10");
    };
    let end = stream::once(async {
        // Time for what was promised to leave before the connection goes.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(io::Error::other("broken off, as asked"))
    });
    ([(CONTENT_LENGTH, (count + 1).to_string())], Body::from_stream(dots(count).map(Ok).chain(end))).into_response()
}

fn dots(count: u64) -> impl stream::Stream<Item = Bytes> + Send + 'static {
    static DOTS: [u8; CHUNK] = [b'.'; CHUNK];
    let whole = stream::iter(0..count / CHUNK as u64).map(|_| Bytes::from_static(&DOTS));
    let rest = (count % CHUNK as u64) as usize;
    whole.chain(stream::iter((rest > 0).then(|| Bytes::from_static(&DOTS[..rest]))))
}

/// A request body after it was read to its end: counted and hashed, its beginning kept.
struct Received {
    bytes: u64,
    hash: String,
    text: Option<String>,
    trailers: HeaderMap,
}

impl Received {
    async fn of(mut body: Body) -> Result<Self, axum::response::Response> {
        let (mut bytes, mut hash, mut kept, mut trailers) = (0, Sha256::new(), Vec::new(), HeaderMap::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| refuse(&format!("the request body broke off: {e}")))?;
            match frame.into_data() {
                Ok(data) => {
                    bytes += data.len() as u64;
                    hash.update(&data);
                    kept.extend_from_slice(&data[..data.len().min(SHOWN_BODY + 1 - kept.len().min(SHOWN_BODY + 1))]);
                }
                Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
        let hash = HEXLOWER.encode(&hash.finalize());
        let text = (kept.len() <= SHOWN_BODY).then(|| String::from_utf8(kept).ok()).flatten();
        Ok(Self { bytes, hash, text, trailers })
    }

    fn json(&self) -> Value {
        json!({ "bytes": self.bytes, "sha256": self.hash, "text": self.text })
    }
}

fn about(name: &str, head: &Parts) -> Map<String, Value> {
    let query: Vec<(String, String)> = Query::try_from_uri(&head.uri).map(|Query(q)| q).unwrap_or_default();
    let query: Map<String, Value> = query.into_iter().map(|(key, value)| (key, value.into())).collect();
    let peer = head.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.to_string());
    let said = json!({
        "served_by": name,
        "version": format!("{:?}", head.version),
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": query,
        "authority": head.uri.authority().map(|a| a.as_str()),
        "headers": fields(&head.headers),
        "peer": peer,
    });
    match said {
        Value::Object(said) => said,
        _ => Map::new(),
    }
}

/// Headers or trailers as an object; several values of one name are joined by a comma, as HTTP does.
fn fields(headers: &HeaderMap) -> Value {
    headers
        .keys()
        .map(|name| {
            let values = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()));
            (name.to_string(), Value::String(values.collect::<Vec<_>>().join(", ")))
        })
        .collect::<Map<_, _>>()
        .into()
}

fn refuse(message: &str) -> axum::response::Response {
    (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": message }))).into_response()
}
