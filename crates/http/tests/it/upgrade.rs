//! Leaving HTTP: Upgrade and CONNECT, on both protocols and both sides.

use http::{Request, Response};
use mesh_http::{
    Body, ClientOptions, ExtendedConnect, Protocol, ServeEnd, ServerOptions, Upgraded, h1, h2, is_upgrade,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;

use crate::support::{get, run, served};

/// Grants every upgrade and then echoes bytes.
async fn echo(mut request: Request<Body>) -> Response<Body> {
    if !is_upgrade(&request) {
        return Response::new(Body::full("plain"));
    }
    let protocol = request.extensions().get::<ExtendedConnect>().map(|p| p.0.clone());
    let connect = request.method() == http::Method::CONNECT;
    let upgraded = request.body_mut().on_upgrade().expect("an upgrade was asked");
    spawn_local(async move {
        let (mut read, mut write) = tokio::io::split(upgraded.await.expect("an upgrade was granted"));
        if let Some(protocol) = protocol {
            write.write_all(protocol.as_bytes()).await.unwrap();
        }
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let status = if connect { 200 } else { 101 };
    Response::builder().status(status).header("upgrade", "x").body(Body::empty()).unwrap()
}

async fn bounce(mut stream: Upgraded, prefix: &str) {
    stream.write_all(b"there and back").await.unwrap();
    stream.flush().await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, format!("{prefix}there and back"));
}

#[test]
fn http1() {
    run(async {
        for (request, status) in [
            (Request::get("http://a/").header("upgrade", "x").body(Body::empty()).unwrap(), 101),
            (Request::connect("a:1").body(Body::empty()).unwrap(), 200),
        ] {
            let (io, end) = served(ServerOptions::default(), echo);
            let (sender, driver) = h1::connect(io, &ClientOptions::default());
            let driver = spawn_local(driver);
            let mut response = sender.send(request).await.unwrap();
            assert_eq!(response.status(), status);
            let upgraded = response.body_mut().on_upgrade().unwrap().await.unwrap();
            assert_eq!(driver.await.unwrap(), h1::ConnectionEnd::Upgraded);
            bounce(upgraded, "").await;
            assert_eq!(end.await.unwrap(), ServeEnd::Upgraded);
        }
    });
}

#[test]
fn bytes_sent_with_the_request_are_kept() {
    run(async {
        let (mut io, _end) = served(ServerOptions::default(), echo);
        io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: x\r\n\r\nearly").await.unwrap();
        io.shutdown().await.unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nearly");
    });
}

#[test]
fn nothing_asked_nothing_granted() {
    run(async {
        let (io, _end) = served(ServerOptions::default(), async |mut request: Request<Body>| {
            assert!(request.body_mut().on_upgrade().is_none());
            Response::new(Body::empty())
        });
        let (sender, driver) = h1::connect(io, &ClientOptions::default());
        spawn_local(driver);
        assert!(sender.send(get("http://a/")).await.unwrap().body_mut().on_upgrade().is_none());
        // A 101 that nobody asked for ends the connection.
        let (io, end) =
            served(ServerOptions::default(), async |_| Response::builder().status(101).body(Body::empty()).unwrap());
        let (sender, driver) = h1::connect(io, &ClientOptions::default());
        spawn_local(driver);
        assert!(sender.send(get("http://a/")).await.is_err());
        assert_eq!(end.await.unwrap(), ServeEnd::Aborted);
        // So does one on our way out.
        let (here, mut peer) = tokio::io::duplex(4096);
        let (sender, driver) = h1::connect(here, &ClientOptions::default());
        spawn_local(driver);
        spawn_local(async move {
            peer.write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n").await.unwrap();
            peer.read_to_end(&mut Vec::new()).await.unwrap();
        });
        tokio::task::yield_now().await;
        assert!(sender.send(get("http://a/")).await.is_err());
    });
}

#[test]
fn http2() {
    run(async {
        let (io, _end) = served(ServerOptions { protocol: Protocol::Http2, ..ServerOptions::default() }, echo);
        let (sender, driver) = h2::connect(io, &ClientOptions::default()).await.unwrap();
        spawn_local(driver);
        let mut response = sender.send(Request::connect("a:1").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!((response.status().as_u16(), sender.in_flight()), (200, 1));
        bounce(response.body_mut().on_upgrade().unwrap().await.unwrap(), "").await;
        drop(response);
        assert_eq!(sender.in_flight(), 0);

        assert!(sender.takes_extended_connect());
        let mut request = Request::connect("http://a/chat").body(Body::empty()).unwrap();
        request.extensions_mut().insert(ExtendedConnect("websocket".to_owned()));
        let mut response = sender.send(request).await.unwrap();
        bounce(response.body_mut().on_upgrade().unwrap().await.unwrap(), "websocket").await;
        assert_eq!(sender.send(get("http://a/")).await.unwrap().into_body().collect(9).await.unwrap().data, "plain");
    });
}

#[test]
fn http_within_a_tunnel() {
    run(async {
        let (io, _end) = served(
            ServerOptions { protocol: Protocol::Http2, ..ServerOptions::default() },
            async |mut request: Request<Body>| {
                let upgraded = request.body_mut().on_upgrade().unwrap();
                spawn_local(async move {
                    let inner = upgraded.await.unwrap();
                    mesh_http::serve(
                        inner,
                        &ServerOptions::default(),
                        std::future::pending(),
                        async |request: Request<Body>| Response::new(request.into_body()),
                    )
                    .await
                });
                Response::new(Body::empty())
            },
        );
        let (outer, driver) = h2::connect(io, &ClientOptions::default()).await.unwrap();
        spawn_local(driver);
        let mut response = outer.send(Request::connect("10.0.0.1:80").body(Body::empty()).unwrap()).await.unwrap();
        let tunnel = response.body_mut().on_upgrade().unwrap().await.unwrap();
        let (inner, driver) = h1::connect(tunnel, &ClientOptions::default());
        spawn_local(driver);
        for size in [10, 100_000, 1_000_000] {
            let request = Request::post("http://a/").body(Body::full(vec![1; size])).unwrap();
            let read = inner.send(request).await.unwrap().into_body().collect(1 << 21).await.unwrap();
            assert_eq!(read.data.len(), size);
        }
    });
}
