//! The edge: what is made of a request before it is routed, what is told on, and what bounds connections and exchanges.

use std::time::Duration;

use ::http::{HeaderValue, Method, Request, StatusCode};
use mesh_http::{Body, h1};
use model::Direction::Outbound;
use model::edge::Underscores;
use model::http_proxy::HttpFilter;
use model::route::FilterRules;
use model::target::{EscapedSlashes, StripPort};
use model::{Cors, HttpProxy, Route, ServerHeader, StringMatch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::rig::*;

/// A proxy of these settings before an origin that tells what it got. Also where it listens.
async fn edge(change: impl FnOnce(&mut HttpProxy)) -> (proxy::Proxy, std::net::SocketAddr) {
    let at = free_address();
    let mut settings = http(vec![route("/", to("ok"))]);
    change(&mut settings);
    let listeners = vec![listener("l", at, Outbound, vec![http_chain(settings)])];
    (proxy("a", config(listeners, vec![cluster("ok", &[named_origin("ok").await])])).await, at)
}

fn with(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(path).header("host", "test");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

#[test]
fn targets_get_their_form() {
    run(async {
        let (_proxy, at) = edge(|settings| {
            settings.target.normalize = true;
            settings.target.merge_slashes = true;
            settings.target.escaped_slashes = EscapedSlashes::Redirect;
            settings.target.strip_port = StripPort::Any;
        })
        .await;
        for (path, status, expected) in [
            ("/a/../b", 200, "ok /b\n"),
            ("/a//%62?c=//", 200, "ok /a/b\n"),
            ("/a%2Fb?c", 307, "/a/b?c"),
            ("/a%00", 400, ""),
        ] {
            let answer = fetch(at, path).await;
            assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
            match status {
                307 => assert_eq!(answer.headers["location"], expected, "{path}"),
                _ => assert!(answer.body.starts_with(expected), "{path}: {answer:?}"),
            }
        }
        let grpc = send(at, with("/a%2Fb", &[("content-type", "application/grpc")])).await;
        assert_eq!((grpc.status.as_u16(), &grpc.headers["grpc-status"]), (200, &HeaderValue::from_static("13")));
        let answer = send(at, get("test:8080", "/")).await;
        assert!(answer.body.contains("host: test\n"), "{answer:?}");
    });
}

#[test]
fn underscores_in_names() {
    run(async {
        for (rule, status, passes) in
            [(Underscores::Allow, 200, true), (Underscores::Drop, 200, false), (Underscores::Reject, 400, false)]
        {
            let (_proxy, at) = edge(|settings| settings.limits.underscores = rule).await;
            let answer = send(at, with("/", &[("x_a", "1"), ("x-b", "2")])).await;
            assert_eq!(answer.status.as_u16(), status, "{rule:?}");
            assert_eq!(answer.body.contains("x_a: 1"), passes, "{rule:?}");
            assert_eq!(answer.body.contains("x-b: 2"), status == 200, "{rule:?}");
        }
    });
}

#[test]
fn what_responses_tell() {
    run(async {
        let (_proxy, at) = edge(|settings| {
            settings.edge.request_id_in_response = true;
            settings.edge.via = Some(HeaderValue::from_static("1.1 us"));
            settings.server = ServerHeader::IfAbsent("us".into());
        })
        .await;
        let answer = send(at, with("/", &[("x-request-id", "mine")])).await;
        assert!(answer.body.contains("via: 1.1 us\n") && answer.body.contains("x-request-id: mine\n"), "{answer:?}");
        let told = |name: &str| answer.headers.get(name).map(|v| v.to_str().unwrap());
        assert_eq!((told("via"), told("x-request-id"), told("server")), (Some("1.1 us"), Some("mine"), Some("us")));
    });
}

#[test]
fn preflights_are_answered_here() {
    run(async {
        let (_proxy, at) = edge(|settings| {
            let cors = Cors { origins: vec![StringMatch::prefix("https://")], ..Cors::default() };
            let rules = FilterRules { cors: Some(cors), ..FilterRules::default() }.boxed();
            let cross = Route { filters: rules, ..route("/", to("ok")) };
            let filters = vec![HttpFilter::Fault(None), HttpFilter::Cors];
            *settings = HttpProxy { filters, ..http(vec![cross]) };
        })
        .await;
        let asks = [("origin", "https://a"), ("access-control-request-method", "PUT")];
        let mut preflight = with("/", &asks);
        *preflight.method_mut() = Method::OPTIONS;
        let answer = send(at, preflight).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
        assert_eq!(answer.headers["access-control-allow-origin"], "https://a");
        let answer = send(at, with("/", &asks[..1])).await;
        assert!(answer.body.starts_with("ok /"), "{answer:?}");
        assert_eq!(answer.headers["access-control-allow-origin"], "https://a");
        assert!(
            !send(at, with("/", &[("origin", "http://a")])).await.headers.contains_key("access-control-allow-origin")
        );
    });
}

#[test]
fn exchanges_and_requests_are_bounded() {
    run(async {
        let at = free_address();
        let mut settings = http(vec![route("/", to("slow"))]);
        settings.limits.max_stream = Some(Duration::from_millis(50));
        let mut whole = http(vec![route("/", to("slow"))]);
        whole.limits.request_timeout = Some(Duration::from_millis(50));
        let whole_at = free_address();
        let listeners = vec![
            listener("l", at, Outbound, vec![http_chain(settings)]),
            listener("w", whole_at, Outbound, vec![http_chain(whole)]),
        ];
        let slow = origin(|_| std::future::pending()).await;
        let proxy = proxy("a", config(listeners, vec![cluster("slow", &[slow])])).await;
        let answer = fetch(at, "/").await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (504, "downstream duration timeout"));
        until_counted(&proxy, "istio_requests_total", &[("response_flags", "-")], 1.0).await;

        let mut stream = TcpStream::connect(whole_at).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 900000\r\n\r\nabc").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
    });
}

#[test]
fn connections_are_bounded() {
    run(async {
        let (_proxy, at) = edge(|settings| settings.limits.max_requests = Some(2)).await;
        let (sender, driver) = h1::connect(TcpStream::connect(at).await.unwrap(), &Default::default());
        spawn_local(driver);
        for expected in [None, Some("close")] {
            let answer = sender.send(get("test", "/")).await.unwrap();
            let said = answer.headers().get("connection").map(|v| v.to_str().unwrap().to_owned());
            assert_eq!(said.as_deref(), expected);
            read(answer).await;
        }
        let (_proxy, at) = edge(|settings| settings.limits.max_connection = Some(Duration::from_millis(50))).await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "an idle connection is closed when it is old");
    });
}

#[test]
fn http_1_0() {
    run(async {
        for (accepted, host, expected) in
            [(false, None, "HTTP/1.1 426"), (true, None, "HTTP/1.1 400"), (true, Some("by.default"), "HTTP/1.1 200")]
        {
            let (_proxy, at) = edge(|settings| {
                settings.limits.http10 = accepted;
                settings.limits.http10_host = host.map(HeaderValue::from_static);
            })
            .await;
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(expected), "{accepted} {host:?}: {answer}");
            assert_eq!(answer.contains("host: by.default"), host.is_some());
        }
    });
}
