//! What the tests share: a runtime, a served duplex stream, and reading from it.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use mesh_http::{Answer, Body, ServeEnd, ServerOptions, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// Runs a test on one thread, as a worker does. A test that hangs fails.
pub fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test came to an end")
    })
}

/// Serves one end of a duplex stream and gives the other.
pub fn served<F>(
    options: ServerOptions,
    handler: impl Fn(Request<Body>) -> F + 'static,
) -> (DuplexStream, JoinHandle<ServeEnd>)
where
    F: Future<Output: Into<Answer>> + 'static,
{
    let (here, there) = duplex(64 * 1024);
    let end = spawn_local(async move { serve(there, &options, std::future::pending(), handler).await });
    (here, end)
}

/// Sends `wire`, closes our half, and gives all that came back as text.
pub async fn talk(options: ServerOptions, wire: &[u8], half_close: bool) -> (String, ServeEnd, Vec<String>) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = seen.clone();
    let (mut io, end) = served(options, move |request| {
        let log = log.clone();
        async move { answer(request, log).await }
    });
    io.write_all(wire).await.unwrap();
    if half_close {
        io.shutdown().await.unwrap();
    }
    let mut text = Vec::new();
    io.read_to_end(&mut text).await.unwrap();
    drop(io);
    let end = end.await.unwrap();
    (String::from_utf8_lossy(&text).into_owned(), end, seen.take())
}

/// Reads the body and says what it saw.
async fn answer(request: Request<Body>, log: Rc<RefCell<Vec<String>>>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let host = parts.headers.get("host").map_or("-", |h| h.to_str().unwrap());
    let line = format!("{} {} {host}", parts.method, parts.uri);
    match body.collect(1 << 20).await {
        Ok(body) => {
            log.borrow_mut().push(format!("{line} {}", String::from_utf8_lossy(&body.data)));
            Response::new(Body::full("ok"))
        }
        Err(error) => {
            log.borrow_mut().push(format!("{line} {error}"));
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

/// Reads until `marker` has come.
pub async fn read_until(io: &mut (impl AsyncReadExt + Unpin), marker: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(marker) {
        let len = io.read_buf(&mut text).await.unwrap();
        assert!(len > 0, "closed before {marker:?}: {}", String::from_utf8_lossy(&text));
    }
    String::from_utf8_lossy(&text).into_owned()
}

pub fn get(target: &str) -> Request<Body> {
    Request::get(target).body(Body::empty()).unwrap()
}
