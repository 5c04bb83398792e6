//! The bytes of a client, in HTTP/1.1 or HTTP/2: the server comes to an end, whatever they are, and what it answers is
//! HTTP. Time stands still, so that a limit that is waited for is reached at once.

#![no_main]

use std::cell::Cell;
use std::rc::Rc;

use http::{Request, Response};
use libfuzzer_sys::fuzz_target;
use mesh_http::{Body, ServerOptions, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes of a body that the handler reads.
const BODY: usize = 64 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    let answer = tasks.block_on(&runtime, exchange(bytes.to_vec()));
    let is_http = answer.is_empty() || answer.starts_with(b"HTTP/1.") || bytes.starts_with(b"PRI * HTTP/2.0");
    assert!(is_http, "{:?}", String::from_utf8_lossy(&answer));
});

/// Sends the bytes, then nothing more; gives what came back.
async fn exchange(bytes: Vec<u8>) -> Vec<u8> {
    let (client, server) = tokio::io::duplex(1 << 16);
    let (mut from_server, mut to_server) = tokio::io::split(client);
    let options = ServerOptions::default();
    let seen = Rc::new(Cell::new(0));
    let serving = serve(server, &options, std::future::pending(), |request: Request<Body>| {
        seen.set(seen.get() + 1);
        answer(request)
    });
    let sending = async {
        // The server may have closed: that is an answer too.
        let _ = to_server.write_all(&bytes).await;
        let _ = to_server.shutdown().await;
    };
    let mut back = Vec::new();
    let receiving = async {
        let _ = from_server.read_to_end(&mut back).await;
    };
    tokio::join!(serving, sending, receiving);
    back
}

async fn answer(request: Request<Body>) -> Response<Body> {
    let echo = request.uri().path().len();
    match request.into_body().collect(BODY).await {
        Ok(whole) => Response::new(Body::full(format!("{echo} {}", whole.data.len()))),
        Err(_) => Response::builder().status(400).body(Body::empty()).unwrap(),
    }
}
