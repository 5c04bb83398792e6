//! Over real sockets: large bodies in vectored writes, and peers that fall silent.

use std::time::Duration;

use http::{Request, Response};
use mesh_http::{
    Body, BodyErrorKind, ClientOptions, KeepAlive, Protocol, SendErrorKind, ServeEnd, ServerOptions, h1, h2, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::support::{get, run, served};

async fn echo(request: Request<Body>) -> Response<Body> {
    Response::new(request.into_body())
}

/// A listener that serves whoever comes; a connection to it.
async fn connected(protocol: Protocol) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let options = ServerOptions { protocol, ..ServerOptions::default() };
        serve(stream, &options, std::future::pending(), echo).await
    });
    TcpStream::connect(address).await.unwrap()
}

fn chunks(sizes: &'static [usize]) -> Body {
    let (mut sender, body) = Body::channel(2);
    spawn_local(async move {
        for size in sizes {
            let data: Vec<u8> = (0..*size).map(|n| n as u8).collect();
            sender.send(data).await.unwrap();
        }
        sender.finish();
    });
    body
}

#[test]
fn bodies_of_all_sizes() {
    const SIZES: &[usize] = &[1, 5000, 3, 70_000, 4096, 4095, 1 << 20, 10];
    run(async {
        let expected: Vec<u8> = SIZES.iter().flat_map(|size| (0..*size).map(|n| n as u8)).collect();
        let (sender, driver) = h1::connect(connected(Protocol::Auto).await, &ClientOptions::default());
        spawn_local(driver);
        for _ in 0..3 {
            let request = Request::post("http://a/").body(chunks(SIZES)).unwrap();
            let read = sender.send(request).await.unwrap().into_body().collect(1 << 22).await.unwrap();
            assert!(read.data == expected);
            assert!(sender.ready().await);
        }
        let (sender, driver) = h2::connect(connected(Protocol::Auto).await, &ClientOptions::default()).await.unwrap();
        spawn_local(driver);
        let send = || sender.send(Request::post("http://a/").body(chunks(SIZES)).unwrap());
        for response in futures_util::future::join_all([send(), send(), send()]).await {
            assert!(response.unwrap().into_body().collect(1 << 22).await.unwrap().data == expected);
        }
    });
}

#[test]
fn an_idle_connection_that_the_peer_closes_is_noticed() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let (sender, driver) = h1::connect(stream, &ClientOptions::default());
        let driver = spawn_local(driver);
        spawn_local(async move {
            let _ = peer.read(&mut [0; 1024]).await.unwrap();
            peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            peer
        });
        sender.send(get("http://a/")).await.unwrap().into_body().collect(9).await.unwrap();
        // The peer is dropped with its task; nothing is sent, and yet the driver ends.
        assert_eq!(driver.await.unwrap(), h1::ConnectionEnd::Closed);
        assert!(sender.is_closed());
    });
}

#[test]
fn silent_peers_are_given_up() {
    let keep_alive = Some(KeepAlive { interval: Duration::from_millis(5), timeout: Duration::from_millis(5) });
    run(async {
        let (here, mut silent) = tokio::io::duplex(64 * 1024);
        let options = ClientOptions { keep_alive, ..ClientOptions::default() };
        let (sender, driver) = h2::connect(here, &options).await.unwrap();
        let driver = spawn_local(driver);
        // Settings, and then nothing more.
        silent.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let error = sender.send(get("http://a/")).await.unwrap_err();
        assert_eq!(error.kind(), &SendErrorKind::Timeout);
        assert_eq!(driver.await.unwrap(), h2::H2End::PingTimeout);

        let options = ServerOptions { keep_alive, protocol: Protocol::Http2, ..ServerOptions::default() };
        let (mut silent, end) = served(options, echo);
        silent.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        assert_eq!(end.await.unwrap(), ServeEnd::PingTimeout);
    });
}

#[test]
fn a_peer_that_answers_pings_is_kept() {
    let keep_alive = Some(KeepAlive { interval: Duration::from_millis(1), timeout: Duration::from_secs(30) });
    run(async {
        let stream = connected(Protocol::Http2).await;
        let options = ClientOptions { keep_alive, ..ClientOptions::default() };
        let (sender, driver) = h2::connect(stream, &options).await.unwrap();
        spawn_local(driver);
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            sender.send(get("http://a/")).await.unwrap();
        }
    });
}

#[test]
fn a_stream_reset_half_way_says_so() {
    run(async {
        let (sender, driver) = h2::connect(connected(Protocol::Http2).await, &ClientOptions::default()).await.unwrap();
        spawn_local(driver);
        let (mut up, body) = Body::channel(1);
        up.send("abc").await.unwrap();
        let mut answer = sender.send(Request::post("http://a/").body(body).unwrap()).await.unwrap().into_body();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        drop(up);
        // Our own body broke off, so the stream is cancelled, and the answer with it.
        let error = answer.frame().await.unwrap().unwrap_err();
        assert!(matches!(error.kind, BodyErrorKind::Reset(_) | BodyErrorKind::Closed), "{error:?}");
        assert_eq!(sender.in_flight(), 0);
    });
}
