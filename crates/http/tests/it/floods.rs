//! Peers that mean harm: rapid reset, endless headers, and peers that vanish.

use http::{Request, Response};
use mesh_http::{Body, Protocol, ServeEnd, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{read_until, run, served};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `:method GET`, `:scheme http`, `:path /`, `:authority a`, HPACK without its table.
const GET: &[u8] = b"\x82\x86\x84\x01\x01a";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

async fn flood(frames: impl Iterator<Item = Vec<u8>>) -> ServeEnd {
    let options = ServerOptions { protocol: Protocol::Http2, ..ServerOptions::default() };
    let (io, end) = served(options, async |_: Request<Body>| {
        std::future::pending::<()>().await;
        Response::new(Body::empty())
    });
    let (mut read, mut write) = tokio::io::split(io);
    let reading = tokio::task::spawn_local(async move {
        let mut all = Vec::new();
        let _ = read.read_to_end(&mut all).await;
    });
    let _ = write.write_all(PREFACE).await;
    for frame in frames {
        if write.write_all(&frame).await.is_err() {
            break;
        }
    }
    let end = end.await.unwrap();
    reading.abort();
    end
}

#[test]
fn rapid_reset() {
    run(async {
        let streams = (0..).map(|n| 2 * n + 1).take(100_000);
        let frames = streams.map(|id| [frame(1, 5, id, GET), frame(3, 0, id, &[0, 0, 0, 8])].concat());
        let end = flood(frames).await;
        assert!(matches!(end, ServeEnd::Protocol(_)), "{end:?}");
    });
}

#[test]
fn continuation_flood() {
    run(async {
        let first = frame(1, 0, 1, GET);
        let endless =
            std::iter::repeat_with(|| frame(9, 0, 1, &[b"\0\x01x\x7f\x00".as_slice(), &[b'y'; 127]].concat()));
        let end = flood(std::iter::once(first).chain(endless.take(1_000_000))).await;
        assert!(matches!(end, ServeEnd::Protocol(_)), "{end:?}");
    });
}

#[test]
fn a_peer_that_vanishes_ends_its_exchange() {
    run(async {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let (dropped, gone) = tokio::sync::oneshot::channel::<()>();
            let dropped = std::cell::RefCell::new(Some(dropped));
            let options = ServerOptions { protocol, ..ServerOptions::default() };
            let (mut io, end) = served(options, move |_: Request<Body>| {
                let dropped = dropped.take();
                async move {
                    std::future::pending::<()>().await;
                    drop(dropped);
                    Response::new(Body::empty())
                }
            });
            if protocol == Protocol::Http1 {
                io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            } else {
                io.write_all(&[PREFACE, &frame(1, 5, 1, GET)].concat()).await.unwrap();
            }
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            drop(io);
            assert!(gone.await.is_err());
            assert_eq!(end.await.unwrap(), ServeEnd::PeerAborted, "{protocol:?}");
        }
    });
}

#[test]
fn a_request_body_nobody_reads_is_bounded() {
    run(async {
        let options = ServerOptions { delayed_close: std::time::Duration::ZERO, ..ServerOptions::default() };
        let (mut io, end) = served(options, async |_: Request<Body>| Response::new(Body::full("no")));
        // A short rest is read away and the connection goes on.
        io.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await.unwrap();
        read_until(&mut io, "no").await;
        // A long one ends it.
        io.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000000\r\n\r\nabc").await.unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
        assert_eq!(end.await.unwrap(), ServeEnd::Finished);
    });
}
