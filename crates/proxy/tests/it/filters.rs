//! Filters that change heads and bodies, in a running proxy: bodies that stream, answers of the proxy's own, and waiting.

use std::io::Read;
use std::time::Duration;

use ::http::{HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use mesh_http::{Body, h1};
use model::Direction::Outbound;
use model::compression::{Encoding, Gzip};
use model::headers::{HeaderWrite, WriteAction};
use model::http_proxy::HttpFilter;
use model::mutation::{HeaderEdit, Mutations};
use model::{Buffer, Compressor, HeaderMutation, HttpProxy};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::rig::*;

fn gzip() -> HttpFilter {
    HttpFilter::Compressor(Box::new(Compressor::new("gzip", Encoding::Gzip(Gzip::default()))))
}

/// A proxy of these filters before this origin; and where it listens.
async fn filtered(filters: Vec<HttpFilter>, to_origin: std::net::SocketAddr) -> (proxy::Proxy, std::net::SocketAddr) {
    let at = free_address();
    let idle = Some(Duration::from_millis(200));
    let routes = vec![route("/dead", to("dead")), route("/here", to("ok"))];
    let settings = HttpProxy { filters, stream_idle_timeout: idle, ..http(routes) };
    let listeners = vec![listener("l", at, Outbound, vec![http_chain(settings)])];
    let clusters = vec![cluster("ok", &[to_origin]), cluster("dead", &[free_address()])];
    (proxy("a", config(listeners, clusters)).await, at)
}

fn asks(path: &str, fields: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::post(path).header("host", "test");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

fn plain(bytes: &[u8]) -> String {
    let mut text = String::new();
    // What was only flushed has no end yet.
    let _ = flate2::read::GzDecoder::new(bytes).read_to_string(&mut text);
    text
}

#[test]
fn events_are_compressed_as_they_come() {
    run(async {
        let origin = origin(|_| async {
            let (mut sender, body) = Body::channel(1);
            spawn_local(async move {
                for number in 0..3 {
                    if sender.send(format!("event {number}\n")).await.is_err() {
                        return;
                    }
                }
                // The next one never comes.
                std::future::pending::<()>().await;
            });
            Response::new(body)
        })
        .await;
        let (_proxy, at) = filtered(vec![gzip()], origin).await;
        let (sender, driver) = h1::connect(TcpStream::connect(at).await.unwrap(), &Default::default());
        spawn_local(driver);
        let request = asks("/here", &[("accept-encoding", "gzip")], Body::empty());
        let mut response = sender.send(request).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let mut bytes = Vec::new();
        while plain(&bytes) != "event 0\nevent 1\nevent 2\n" {
            let frame = response.body_mut().frame().await.expect("no end").unwrap();
            bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
        }
    });
}

#[test]
fn answers_of_our_own_pass_through_the_filters() {
    run(async {
        let (name, value) = ("x-mutated".parse().unwrap(), HeaderValue::from_static("yes"));
        let write = HeaderEdit::Write(HeaderWrite { name, value, action: WriteAction::Append });
        let own = Mutations { response: vec![write], ..Mutations::default() };
        let mutation =
            HttpFilter::HeaderMutation(Box::new(HeaderMutation { name: "m".into(), own, route_last: false }));
        let (_proxy, at) = filtered(vec![mutation, HttpFilter::GrpcWeb], named_origin("ok").await).await;
        for (path, status, code) in [("/dead", 503, Some("14")), ("/nowhere", 404, None)] {
            let answer = send(at, asks(path, &[("content-type", "application/grpc-web")], Body::empty())).await;
            assert_eq!((answer.status.as_u16(), &*answer.body), (status, ""), "{path}");
            assert_eq!(answer.headers["x-mutated"], "yes", "{path}");
            assert_eq!(answer.headers["content-type"], "application/grpc-web+proto", "{path}");
            let told = answer.headers.get("grpc-status").map(|value| value.to_str().unwrap());
            assert_eq!(told, code, "{path}");
        }
    });
}

#[test]
fn bad_text_is_told() {
    run(async {
        let (_proxy, at) = filtered(vec![HttpFilter::GrpcWeb], named_origin("ok").await).await;
        let fields = [("content-type", "application/grpc-web-text")];
        let answer = send(at, asks("/here", &fields, Body::full("????"))).await;
        assert_eq!(
            (answer.status, &answer.headers["grpc-status"]),
            (StatusCode::BAD_REQUEST, &HeaderValue::from_static("13"))
        );
        assert_eq!(answer.headers["grpc-message"], "Bad gRPC-web request, invalid base64 data.");
    });
}

#[test]
fn buffers_wait_within_bounds() {
    run(async {
        let buffer = HttpFilter::Buffer(Buffer { name: "b".into(), max_bytes: 10 });
        let (_proxy, at) = filtered(vec![buffer], named_origin("ok").await).await;
        let (mut sender, body) = Body::channel(2);
        spawn_local(async move {
            for piece in ["1234", "5678"] {
                sender.send(piece).await.unwrap();
            }
            sender.finish();
        });
        let answer = send(at, asks("/here", &[], body)).await;
        assert!(answer.body.contains("content-length: 8\n"), "{answer:?}");
        let answer = send(at, asks("/here", &[], Body::full("12345678901"))).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large"));
        let (_silent, body) = Body::channel(1);
        let answer = send(at, asks("/here", &[], body)).await;
        assert_eq!(
            (answer.status, &*answer.body),
            (StatusCode::REQUEST_TIMEOUT, "stream timeout"),
            "nobody waits for ever"
        );
    });
}
