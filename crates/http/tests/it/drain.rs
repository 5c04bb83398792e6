//! Drain: finish what is begun, take nothing new, say so.

use http::{Request, Response};
use mesh_http::{Body, ClientOptions, Protocol, ServeEnd, ServerOptions, h2, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::support::{get, read_until, run};

struct Setup {
    io: tokio::io::DuplexStream,
    end: tokio::task::JoinHandle<ServeEnd>,
    drain: oneshot::Sender<()>,
    release: oneshot::Sender<()>,
}

/// A server whose answer waits for `release`.
fn setup(protocol: Protocol) -> Setup {
    let (io, there) = duplex(64 * 1024);
    let (drain, draining) = oneshot::channel::<()>();
    let (release, released) = oneshot::channel::<()>();
    let released = std::cell::RefCell::new(Some(released));
    let end = spawn_local(async move {
        let options = ServerOptions { protocol, ..ServerOptions::default() };
        let drain = async move {
            let _ = draining.await;
        };
        serve(there, &options, drain, |_: Request<Body>| {
            let released = released.take();
            async move {
                if let Some(released) = released {
                    let _ = released.await;
                }
                Response::new(Body::full("done"))
            }
        })
        .await
    });
    Setup { io, end, drain, release }
}

#[test]
fn http1() {
    run(async {
        // Idle: closed at once.
        for protocol in [Protocol::Http1, Protocol::Auto] {
            let Setup { mut io, end, drain, .. } = setup(protocol);
            drain.send(()).unwrap();
            assert_eq!(io.read(&mut [0; 9]).await.unwrap(), 0);
            assert_eq!(end.await.unwrap(), ServeEnd::Drained);
        }
        // Busy: the answer comes and says that it is the last.
        let Setup { mut io, end, drain, release } = setup(Protocol::Http1);
        io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        tokio::task::yield_now().await;
        drain.send(()).unwrap();
        release.send(()).unwrap();
        let text = read_until(&mut io, "done").await;
        assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
        assert_eq!(io.read(&mut [0; 9]).await.unwrap(), 0);
        drop(io);
        assert_eq!(end.await.unwrap(), ServeEnd::Drained);
    });
}

#[test]
fn http2() {
    run(async {
        let Setup { io, end, drain, release } = setup(Protocol::Http2);
        let (sender, driver) = h2::connect(io, &ClientOptions::default()).await.unwrap();
        spawn_local(driver);
        let begun = spawn_local(sender.send(get("http://a/")));
        while sender.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        drain.send(()).unwrap();
        while !sender.is_closed() {
            tokio::task::yield_now().await;
        }
        let late = sender.send(get("http://a/late")).await.unwrap_err();
        assert!(late.is_unprocessed(), "{late:?}");
        assert!(late.into_request().is_some());
        release.send(()).unwrap();
        let response = begun.await.unwrap().unwrap();
        assert_eq!(response.into_body().collect(9).await.unwrap().data, "done");
        assert_eq!(end.await.unwrap(), ServeEnd::Drained);
    });
}
