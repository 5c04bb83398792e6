//! The HTTP echo, over HTTP/1.1 and HTTP/2.

use std::collections::VecDeque;

use axum::http::{HeaderMap, Request, Version};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::http_origin;

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// A request of these body frames on a new connection. An error when the answer is not whole.
async fn send(version: Version, target: &str, frames: Vec<Frame<Bytes>>) -> Result<Answer, hyper::Error> {
    let address = http_origin().await;
    let io = TokioIo::new(TcpStream::connect(address).await.expect("a connection"));
    let frames: VecDeque<_> = frames.into_iter().map(Ok::<_, std::convert::Infallible>).collect();
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let request = Request::post(format!("http://{address}{target}"))
        .version(version)
        .header("x-color", "green")
        .header("x-color", "blue")
        .header("te", "trailers")
        .header("trailer", "x-sum");
    let response = if version == Version::HTTP_2 {
        let (mut sender, driver) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(driver);
        sender.send_request(request.body(body).expect("a request")).await?
    } else {
        let (mut sender, driver) = http1::handshake(io).await?;
        tokio::spawn(driver);
        sender.send_request(request.header("host", address.to_string()).body(body).expect("a request")).await?
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes(), trailers })
}

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test]
async fn says_what_it_was_sent() {
    for version in VERSIONS {
        let mut sum = HeaderMap::new();
        sum.insert("x-sum", "3".parse().unwrap());
        let frames = vec![Frame::data("ab".into()), Frame::data("c".into()), Frame::trailers(sum)];
        let answer = send(version, "/any/thing?a=1&b=%20", frames).await.unwrap();
        assert_eq!((answer.status, answer.headers["x-served-by"].to_str().unwrap()), (200, "origin-1"));
        let json = answer.json();
        let expected = [
            ("/served_by", json!("origin-1")),
            ("/method", json!("POST")),
            ("/path", json!("/any/thing")),
            ("/query", json!({"a": "1", "b": " "})),
            ("/headers/x-color", json!("green, blue")),
            ("/body/bytes", json!(3)),
            ("/body/text", json!("abc")),
            ("/body/sha256", json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
            ("/trailers/x-sum", json!("3")),
            ("/version", json!(format!("{version:?}"))),
        ];
        for (path, value) in expected {
            assert_eq!(json.pointer(path), Some(&value), "{version:?} {path} in {json}");
        }
        assert!(json["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
}

#[tokio::test]
async fn answers_as_asked() {
    let check = async |target: &str, status: u16, body: &dyn Fn(&[u8]) -> bool| {
        for version in VERSIONS {
            let answer = send(version, target, vec![]).await.unwrap();
            assert_eq!(answer.status, status, "{version:?} {target}");
            assert!(body(&answer.body), "{version:?} {target}: {:?}", answer.body);
        }
    };
    check("/status/503", 503, &|b| b.is_empty()).await;
    check("/status/204", 204, &|b| b.is_empty()).await;
    check("/status/100", 400, &|b| !b.is_empty()).await;
    check("/status/x", 400, &|b| !b.is_empty()).await;
    check("/delay/0.001", 200, &|b| b.starts_with(b"{")).await;
    check("/delay/-1", 400, &|b| !b.is_empty()).await;
    check("/delay/NaN", 400, &|b| !b.is_empty()).await;
    check("/stream/3?interval_ms=1", 200, &|b| b.iter().filter(|c| **c == b'\n').count() == 3).await;
    check("/stream/0", 200, &|b| b.is_empty()).await;
    check("/stream/many", 400, &|b| !b.is_empty()).await;
    check("/bytes/10", 200, &|b| b == b"..........").await;
    check("/bytes/200001", 200, &|b| b.len() == 200_001).await;
    check("/health", 405, &|b| b.is_empty()).await;
}

#[tokio::test]
async fn counts_uploads() {
    for version in VERSIONS {
        let frames = (0..40).map(|_| Frame::data(Bytes::from(vec![0; 50_000]))).collect();
        let json = send(version, "/upload", frames).await.unwrap().json();
        assert_eq!(
            json,
            json!({
                "bytes": 2_000_000,
                "sha256": "13aea96040f2133033d103008d5d96cfe98b3361f7202d77bea97b2424a7a6cd",
                "text": null,
                "trailers": {},
            })
        );
    }
}

#[tokio::test]
async fn trailers_and_breaks() {
    for version in VERSIONS {
        let answer = send(version, "/trailers", vec![]).await.unwrap();
        assert_eq!(answer.trailers["x-echo-trailer"], "after the body", "{version:?}");
        assert!(send(version, "/break/100000", vec![]).await.is_err(), "{version:?}");
    }
}
