//! The HTTP/1 client against a peer that is scripted byte by byte.

use http::{Request, Response};
use mesh_http::{Body, BodyErrorKind, ClientOptions, Progress, SendError, SendErrorKind, h1};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::spawn_local;

use crate::support::{get, read_until, run};

fn pair() -> (h1::H1Sender, DuplexStream) {
    let (here, there) = duplex(64 * 1024);
    let (sender, driver) = h1::connect(here, &ClientOptions::default());
    spawn_local(driver);
    (sender, there)
}

/// One GET, answered with `wire` and then closed.
async fn answered(wire: &str) -> Result<Response<Body>, SendError> {
    let (sender, mut peer) = pair();
    let wire = wire.to_owned();
    spawn_local(async move {
        read_until(&mut peer, "\r\n\r\n").await;
        peer.write_all(wire.as_bytes()).await.unwrap();
    });
    sender.send(get("http://a/")).await
}

#[test]
fn responses() {
    run(async {
        for (wire, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", Ok("hi")),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Ok("hi")),
            ("HTTP/1.1 200 OK\r\n\r\nhi", Ok("hi")),
            ("HTTP/1.0 200 OK\r\n\r\nhi", Ok("hi")),
            ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", Ok("")),
            ("HTTP/1.1 204 No\r\n\r\n", Ok("")),
            (
                "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
                Ok("x"),
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi", Err(BodyErrorKind::Closed)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi", Err(BodyErrorKind::Closed)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nhi", Err(BodyErrorKind::Malformed)),
        ] {
            let read = answered(wire).await.unwrap().into_body().collect(100).await;
            match expected {
                Ok(text) => assert_eq!(read.unwrap().data, text, "{wire}"),
                Err(kind) => assert_eq!(read.unwrap_err().kind, kind, "{wire}"),
            }
        }
    });
}

#[test]
fn refused_responses() {
    run(async {
        for wire in [
            "SSH-2.0-x\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 200 OK\nx: y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        ] {
            let error = answered(wire).await.unwrap_err();
            assert!(matches!(error.kind(), SendErrorKind::Protocol(_)), "{wire:?}: {error:?}");
            assert!(error.response_started());
        }
        let error = answered("HTTP/1.1 20").await.unwrap_err();
        assert_eq!((error.kind(), error.progress()), (&SendErrorKind::Closed, Progress::ResponseStarted));
        let error = answered("").await.unwrap_err();
        assert_eq!((error.kind(), error.progress()), (&SendErrorKind::Closed, Progress::Sent));
    });
}

#[test]
fn what_is_written() {
    run(async {
        let post = |target: &str| Request::post(target).header("connection", "x").header("host", "h");
        for (request, expected) in [
            (get("http://a:1/x?y"), "GET /x?y HTTP/1.1\r\nhost: a:1\r\n\r\n"),
            (get("http://a"), "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
            (post("/").body(Body::empty()).unwrap(), "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"),
            (post("/").body(Body::full("abc")).unwrap(), "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc"),
            (
                Request::get("/ws").header("host", "h").header("upgrade", "websocket").body(Body::empty()).unwrap(),
                "GET /ws HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            ),
            (Request::connect("a:1").body(Body::empty()).unwrap(), "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n"),
        ] {
            let (sender, mut peer) = pair();
            let sending = spawn_local(sender.send(request));
            let mut text = vec![0; expected.len()];
            peer.read_exact(&mut text).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&text), expected);
            sending.abort();
            let _ = sending.await;
            assert!(sender.is_closed(), "an exchange given up ends its connection");
            assert_eq!(peer.read(&mut text).await.unwrap(), 0);
        }
    });
}

#[test]
fn closed_connections() {
    run(async {
        // Closed while idle: noticed without a request, and a request comes back whole.
        let (sender, peer) = pair();
        drop(peer);
        assert!(!sender.is_closed());
        let error = sender.send(Request::post("http://a/").body(Body::full("x")).unwrap()).await.unwrap_err();
        assert_eq!((error.kind(), error.progress()), (&SendErrorKind::Closed, Progress::NotSent));
        assert!(error.is_unprocessed());
        assert_eq!(error.into_request().unwrap().into_body().collect(9).await.unwrap().data, "x");

        // Closed after a first exchange, when the second had been written.
        let (sender, mut peer) = pair();
        spawn_local(async move {
            read_until(&mut peer, "\r\n\r\n").await;
            peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            read_until(&mut peer, "\r\n\r\n").await;
        });
        sender.send(get("http://a/")).await.unwrap();
        assert!(sender.is_ready());
        let error = sender.send(get("http://a/")).await.unwrap_err();
        assert_eq!((error.kind(), error.progress()), (&SendErrorKind::Closed, Progress::StaleConnection));
        assert!(error.is_unprocessed() && sender.is_closed());

        // Closed by the server's word.
        let (sender, mut peer) = pair();
        spawn_local(async move {
            read_until(&mut peer, "\r\n\r\n").await;
            peer.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
            read_until(&mut peer, "never").await;
        });
        let response = sender.send(get("http://a/")).await.unwrap();
        assert_eq!(response.into_body().collect(9).await.unwrap().data, "hi");
        assert!(sender.is_closed() && !sender.ready().await);
    });
}

#[test]
fn an_early_answer_is_taken() {
    run(async {
        let (sender, mut peer) = pair();
        let (mut up, body) = Body::channel(1);
        spawn_local(async move {
            read_until(&mut peer, "\r\n\r\n").await;
            peer.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
            read_until(&mut peer, "never").await;
        });
        up.send("a").await.unwrap();
        let response = sender.send(Request::post("http://a/").body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(response.into_body().collect(9).await.unwrap().data, "no");
        // The request never ended, so the connection cannot be used again, and its source is told.
        assert!(sender.is_closed());
        while up.send("a").await.is_ok() {}
    });
}

#[test]
fn a_broken_request_body_fails_the_request() {
    run(async {
        let (sender, mut peer) = pair();
        let (mut up, body) = Body::channel(1);
        let sending = spawn_local(sender.send(Request::post("http://a/").body(body).unwrap()));
        up.send("a").await.unwrap();
        read_until(&mut peer, "1\r\na\r\n").await;
        drop(up);
        let error = sending.await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), SendErrorKind::Body(e) if e.kind == BodyErrorKind::Cancelled), "{error:?}");
        let mut rest = String::new();
        peer.read_to_string(&mut rest).await.unwrap();
        assert!(!rest.contains("0\r\n\r\n"));
    });
}
