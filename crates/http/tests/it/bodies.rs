//! Bodies: sources, watches, limits, back-pressure, trailers, interim answers.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use mesh_http::{Body, BodyEnd, BodyError, BodyErrorKind, BodyWatch, Protocol, ServeEnd, ServerOptions, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;

use crate::support::{read_until, run, served};

#[derive(Default)]
struct Log(RefCell<Vec<String>>);

impl BodyWatch for Log {
    fn data(&self, data: &[u8]) {
        self.0.borrow_mut().push(format!("data {}", data.len()));
    }
    fn trailers(&self, trailers: &HeaderMap) {
        self.0.borrow_mut().push(format!("trailers {}", trailers.len()));
    }
    fn end(&self, end: BodyEnd) {
        self.0.borrow_mut().push(format!("{end:?}"));
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))])
}

#[test]
fn watched() {
    run(async {
        let log = Rc::new(Log::default());
        let check = |expected: &[&str]| assert_eq!(log.0.take(), expected);

        let mut body = Body::full("abc");
        body.on_frame(log.clone());
        body.collect(10).await.unwrap();
        check(&["data 3", "Complete"]);

        let mut body = Body::empty();
        body.on_frame(log.clone());
        drop(body);
        check(&["Complete"]);

        let mut body = Body::full("abc");
        body.on_frame(log.clone());
        drop(body);
        check(&["Dropped"]);

        let (mut sender, mut body) = Body::channel(4);
        body.on_frame(log.clone());
        sender.send("a").await.unwrap();
        sender.send("bc").await.unwrap();
        sender.finish_with(trailers());
        let read = body.collect(10).await.unwrap();
        assert_eq!((&read.data[..], read.trailers), (&b"abc"[..], Some(trailers())));
        check(&["data 1", "data 2", "trailers 1", "Complete"]);

        let (sender, mut body) = Body::channel(4);
        body.on_frame(log.clone());
        drop(sender);
        let cancelled = BodyError::new(Side::Local, BodyErrorKind::Cancelled);
        assert_eq!(body.collect(10).await.unwrap_err(), cancelled);
        check(&[&format!("Failed({cancelled:?})")]);

        let error = Body::full("abcd").collect(3).await.unwrap_err();
        assert_eq!(error.kind, BodyErrorKind::TooLarge);
    });
}

#[test]
fn a_full_channel_makes_its_sender_wait() {
    run(async {
        let (mut sender, mut body) = Body::channel(2);
        assert_eq!(sender.try_send("1"), Ok(true));
        assert_eq!(sender.try_send("2"), Ok(true));
        assert_eq!(sender.try_send("3"), Ok(false));
        body.frame().await.unwrap().unwrap();
        assert_eq!(sender.try_send("3"), Ok(true));
        drop(body);
        assert!(sender.send("4").await.is_err());
    });
}

#[test]
fn chunked_both_ways_with_trailers() {
    run(async {
        let (mut io, _) = served(ServerOptions::default(), async |request: Request<Body>| {
            let read = request.into_body().collect(100).await.unwrap();
            let (mut sender, body) = Body::channel(4);
            spawn_local(async move {
                sender.send(read.data).await.unwrap();
                sender.finish_with(read.trailers.unwrap());
            });
            Response::new(body)
        });
        io.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        io.write_all(b"2\r\nab\r\n1;x\r\nc\r\n0\r\netag: y\r\nhost: evil\r\n\r\n").await.unwrap();
        let text = read_until(&mut io, "\r\n0\r\n").await + &read_until(&mut io, "\r\n\r\n").await;
        assert!(text.ends_with("\r\n\r\n3\r\nabc\r\n0\r\netag: y\r\n\r\n"), "{text}");
    });
}

#[test]
fn continue_is_said_when_the_body_is_wanted() {
    run(async {
        let (mut io, _) = served(ServerOptions::default(), async |request: Request<Body>| {
            assert!(!request.headers().contains_key("expect"));
            if request.uri() == "/no" {
                return Response::builder().status(413).body(Body::empty()).unwrap();
            }
            Response::new(Body::full(request.into_body().collect(100).await.unwrap().data))
        });
        io.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n").await.unwrap();
        assert_eq!(read_until(&mut io, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        io.write_all(b"abc").await.unwrap();
        assert!(read_until(&mut io, "abc").await.starts_with("HTTP/1.1 200 OK"));
        io.write_all(b"POST /no HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    });
}

#[test]
fn an_echo_reads_and_writes_at_once_in_bounded_memory() {
    const TOTAL: usize = 64 << 20;
    run(async {
        // What a body holds is seen from outside: a sender may not be ahead of its reader by more than the buffers.
        let (io, end) =
            served(ServerOptions::default(), async |request: Request<Body>| Response::new(request.into_body()));
        let (mut read, mut write) = tokio::io::split(io);
        let written = Rc::new(std::cell::Cell::new(0));
        let progress = written.clone();
        spawn_local(async move {
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {TOTAL}\r\n\r\n");
            write.write_all(head.as_bytes()).await.unwrap();
            let piece = Bytes::from(vec![7; 32 * 1024]);
            for _ in 0..TOTAL / piece.len() {
                write.write_all(&piece).await.unwrap();
                progress.set(progress.get() + piece.len());
            }
            write
        });
        read_until(&mut read, "\r\n\r\n").await;
        let mut seen = 0;
        let mut piece = vec![0; 32 * 1024];
        let mut most_ahead = 0;
        while seen < TOTAL - 64 * 1024 {
            let len = read.read(&mut piece).await.unwrap();
            assert!(len > 0);
            seen += len;
            most_ahead = most_ahead.max(written.get().saturating_sub(seen));
        }
        assert!(most_ahead < 1 << 20, "{most_ahead} bytes lay between");
        end.abort();
    });
}

#[test]
fn a_body_that_breaks_off_is_never_passed_off_as_whole() {
    run(async {
        for (declared, marker) in [(true, "content-length: 10"), (false, "transfer-encoding: chunked")] {
            let (mut io, end) =
                served(ServerOptions { protocol: Protocol::Http1, ..ServerOptions::default() }, move |_| async move {
                    let (mut sender, body) = Body::channel(4);
                    sender.send("abc").await.unwrap();
                    drop(sender);
                    let mut response = Response::new(body);
                    if declared {
                        response.headers_mut().insert("content-length", HeaderValue::from_static("10"));
                    }
                    response
                });
            io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            let mut text = String::new();
            io.read_to_string(&mut text).await.unwrap();
            assert!(text.contains(marker) && !text.contains("\r\n0\r\n"), "{text}");
            assert_eq!(end.await.unwrap(), ServeEnd::Aborted);
        }
    });
}

#[test]
fn answers_without_body() {
    run(async {
        for (method, status, length, expected) in [
            ("HEAD", 200, Some("5"), "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
            ("HEAD", 200, None, "HTTP/1.1 200 OK\r\n\r\n"),
            ("GET", 204, None, "HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", 304, Some("5"), "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
            ("GET", 200, None, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ] {
            let (mut io, _) = served(ServerOptions::default(), move |_| async move {
                let mut response = Response::builder().status(status);
                if let Some(length) = length {
                    response = response.header("content-length", length);
                }
                response.body(Body::empty()).unwrap()
            });
            io.write_all(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
            assert_eq!(read_until(&mut io, "\r\n\r\n").await, expected);
        }
    });
}
