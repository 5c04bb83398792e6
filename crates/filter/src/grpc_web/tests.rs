//! Calls there and answers back, in both forms and in pieces of all sizes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::http_proxy;
use telemetry::Registry;

use super::*;
use crate::{Alone, Chain, NoExtensions, Stats};

const WEB: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

/// A body in pieces of so many bytes.
fn pieces(data: &[u8], size: usize, trailers: Option<HeaderMap>) -> Body {
    let (mut sender, body) = Body::channel(data.len() + 1);
    for piece in data.chunks(size) {
        assert!(sender.try_send(Bytes::copy_from_slice(piece)).unwrap());
    }
    match trailers {
        Some(trailers) => sender.finish_with(trailers),
        None => sender.finish(),
    }
    body
}

/// What the upstream gets for a request, and what becomes of its answer.
async fn call(request: Request<Body>, answer: Response<Body>) -> (Request<Body>, Response<Body>) {
    let chain = Chain::new(
        &[http_proxy::HttpFilter::GrpcWeb],
        &Stats::new(&Registry::new().shard(), "in").unwrap(),
        None,
        &NoExtensions,
    )
    .unwrap();
    let mut run = chain.begin(None, 1);
    let (mut request, mut answer) = (request, answer);
    assert!(matches!(run.on_request(&mut request, &Alone::default()).await, Flow::Continue));
    run.on_response(&mut answer, &Alone::default()).await;
    (request, answer)
}

fn asks(content_type: &str, accept: &str, body: Body) -> Request<Body> {
    let request = Request::post("/s/m").header("content-type", content_type).header("accept", accept);
    request.header("content-length", "9").body(body).unwrap()
}

fn answers(status: u16, fields: &[(&str, &str)], body: Body) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(body).unwrap()
}

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(grpc::GRPC_STATUS, HeaderValue::from_static(code))])
}

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc")];
const NONE: &[(&str, &str)] = &[];

#[tokio::test]
async fn requests() {
    let nothing = || answers(200, NONE, Body::empty());
    let (request, _) = call(asks(WEB, "*/*", Body::full("\0\0\0\0\0")), nothing()).await;
    let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(
        (text("content-type"), text("te"), text("content-length")),
        (Some("application/grpc"), Some("trailers"), None)
    );
    assert_eq!(text("grpc-accept-encoding"), Some("identity"));
    assert_eq!(request.into_body().collect(99).await.unwrap().data, "\0\0\0\0\0");
    for other in ["application/grpc", "application/json", "application/grpc-web; a=b", "Application/grpc-web"] {
        let (request, answer) = call(asks(other, WEB, Body::empty()), answers(503, NONE, Body::full("no"))).await;
        assert_eq!(request.headers()["content-type"], other);
        assert!(!answer.headers().contains_key("grpc-status"), "{other} is not ours");
    }
}

#[tokio::test]
async fn text_in_pieces() {
    let plain = [&b"\0\0\0\0\x04"[..], b"abcd", b"\0\0\0\0\x01", b"x"];
    let row: String = plain.iter().map(|piece| STANDARD.encode(piece)).collect();
    for size in 1..row.len() {
        let body = pieces(row.as_bytes(), size, None);
        let (request, _) = call(asks(TEXT, TEXT, body), answers(200, NONE, Body::empty())).await;
        assert_eq!(request.into_body().collect(99).await.unwrap().data, plain.concat(), "pieces of {size}");
    }
    for bad in ["AAAAA", "AA", "A===", "AA=A", "!!!!", "AAAA===="] {
        let (request, _) = call(asks(TEXT, TEXT, Body::full(bad)), answers(200, NONE, Body::empty())).await;
        let error = request.into_body().collect(99).await.unwrap_err();
        assert_eq!(error.kind, BodyErrorKind::Encoding, "{bad}");
    }
}

#[tokio::test]
async fn answers_in_both_forms() {
    let frames: [&[u8]; 3] = [b"\0\0\0\0\x04abcd", b"\0\0\0\0\0", b"\0\0\0\0\x06xyzxyz"];
    let end = b"\x80\0\0\0\x0fgrpc-status:0\r\n";
    let bytes = [&frames.concat()[..], end].concat();
    let text: String = frames.iter().copied().chain([&end[..]]).map(|frame| STANDARD.encode(frame)).collect();
    for size in 1..frames.concat().len() {
        let answer = || answers(200, GRPC, pieces(&frames.concat(), size, Some(status("0"))));
        let (_, got) = call(asks(WEB, WEB, Body::empty()), answer()).await;
        assert_eq!(got.headers()["content-type"], "application/grpc-web+proto");
        let whole = got.into_body().collect(999).await.unwrap();
        assert_eq!((&whole.data[..], whole.trailers), (&bytes[..], None), "pieces of {size}");
        let (_, got) = call(asks(TEXT, TEXT, Body::empty()), answer()).await;
        assert_eq!(got.headers()["content-type"], "application/grpc-web-text+proto");
        let whole = got.into_body().collect(999).await.unwrap();
        assert_eq!((&whole.data[..], whole.trailers), (text.as_bytes(), None), "pieces of {size}");
    }
    // A stream whose first message is whole does not wait for the next.
    let (mut sender, body) = Body::channel(4);
    let (_, got) = call(asks(TEXT, TEXT, Body::empty()), answers(200, GRPC, body)).await;
    sender.send(frames[0]).await.unwrap();
    let first = got.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, STANDARD.encode(frames[0]));
}

#[tokio::test]
async fn answers_that_are_no_grpc() {
    for (code, body, expected, message) in [
        (503, "no healthy upstream", "14", "no healthy upstream"),
        (404, "", "", ""),
        (200, "100% html\n", "2", "100%25 html%0A"),
        (418, "é", "2", "%C3%A9"),
    ] {
        let body = if body.is_empty() { Body::empty() } else { Body::full(body) };
        let (_, got) = call(asks(WEB, WEB, Body::empty()), answers(code, &[("content-type", "text/html")], body)).await;
        let text = |name: &str| got.headers().get(name).map_or("", |value| value.to_str().unwrap());
        assert_eq!((got.status().as_u16(), text("grpc-status"), text("grpc-message")), (code, expected, message));
        assert_eq!(text("content-type"), "application/grpc-web+proto");
        assert!(got.into_body().collect(9).await.unwrap().data.is_empty());
    }
    let long = answers(500, NONE, Body::full("x".repeat(40_000)));
    let (_, got) = call(asks(WEB, WEB, Body::empty()), long).await;
    assert_eq!(got.headers()["grpc-message"].len(), MAX_MESSAGE);
    let only = answers(200, &[("content-type", "application/grpc"), ("grpc-status", "5")], Body::empty());
    let (_, got) = call(asks(WEB, WEB, Body::empty()), only).await;
    assert_eq!((&got.headers()["grpc-status"], got.body().is_end_stream()), (&HeaderValue::from_static("5"), true));
}
