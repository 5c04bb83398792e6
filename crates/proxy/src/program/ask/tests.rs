//! Against servers on loopback.

use std::convert::Infallible;

use mesh_http::ServerOptions;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::LocalSet;
use transport::tls::{LiveCert, ServerTls};

use super::*;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn once(question: Question) -> Health {
    Asker::new(question, Duration::from_secs(2), None).ask().await
}

fn at(address: SocketAddr) -> Place {
    Place { host: address.ip().to_string(), port: address.port() }
}

#[tokio::test]
async fn every_port_must_take_a_connection() {
    let ((first, a), (second, b)) = (listener().await, listener().await);
    assert_eq!(once(Question::Tcp(vec![a, b])).await, Ok(()));
    assert_eq!(once(Question::TcpAt(Place { host: "localhost".into(), port: a.port() })).await, Ok(()));
    drop(second);
    assert_eq!(once(Question::Tcp(vec![a, b])).await, Err(format!("nothing listens on {b} yet")));
    drop(first);
    assert_eq!(once(Question::TcpAt(at(a))).await, Err(format!("nothing listens on {a} yet")));
    let nowhere = once(Question::TcpAt(Place { host: "no.such.host.invalid".into(), port: 1 })).await.unwrap_err();
    assert!(nowhere.contains("no.such.host.invalid"), "{nowhere}");
}

/// Answers with the status that the path names, if the header `x-key` is `open` or not asked for.
async fn serve(stream: impl Into<Stream>) {
    let answer = async |request: Request<Body>| {
        let (path, headers) = (request.uri().path(), request.headers());
        let host = headers.get("host").map_or("", |host| host.to_str().unwrap());
        let status: u16 = match path {
            "/key" if headers.get("x-key").is_some_and(|key| key == "open") => 200,
            "/host" if host == "example.org" => 200,
            "/own-host" if host.starts_with("127.0.0.1:") => 200,
            "/key" | "/host" | "/own-host" => 404,
            path => path[1..].parse().unwrap(),
        };
        ::http::Response::builder().status(status).body(Body::empty()).unwrap()
    };
    let stream: Stream = stream.into();
    let _ = mesh_http::serve(stream, &ServerOptions::default(), std::future::pending::<()>(), answer).await;
}

fn get(address: SocketAddr, path: &str, headers: &[(&'static str, &'static str)]) -> HttpQuestion {
    let header = |(name, value): &(&'static str, &'static str)| {
        (header::HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    HttpQuestion { at: at(address), path: path.into(), tls: false, headers: headers.iter().map(header).collect() }
}

#[tokio::test]
async fn http_must_answer_well() {
    let serving = async {
        let (server, address) = listener().await;
        spawn_local(async move {
            loop {
                let (stream, _) = server.accept().await.unwrap();
                spawn_local(serve(stream));
            }
        });
        let bad =
            |path: &str, status: u16| Err(format!("GET {path} at {address}: status {status}; expected 200 to 399"));
        for (path, headers, expected) in [
            ("/200", &[][..], Ok(())),
            ("/302", &[], Ok(())),
            ("/503", &[], bad("/503", 503)),
            ("/key", &[], bad("/key", 404)),
            ("/key", &[("x-key", "open")], Ok(())),
            ("/own-host", &[], Ok(())),
            ("/host", &[("host", "example.org")], Ok(())),
        ] {
            assert_eq!(once(Question::Http(get(address, path, headers))).await, expected, "{path} {headers:?}");
        }
        let (_held, silent) = listener().await;
        let asker = Asker::new(Question::Http(get(silent, "/", &[])), Duration::from_millis(20), None);
        assert_eq!(asker.ask().await, Err(format!("GET / at {silent}: no answer within 20ms")));
    };
    LocalSet::new().run_until(serving).await;
}

#[tokio::test]
async fn https_is_asked_whoever_answers() {
    let asking = async {
        let (server, address) = listener().await;
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["other.example".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap().pem();
        let cert = LiveCert::from_pem(&certificate, &key.serialize_pem()).unwrap();
        let server_tls = ServerTls::new(tls::ServerOptions::new(cert)).unwrap();
        spawn_local(async move {
            loop {
                let (stream, _) = server.accept().await.unwrap();
                let tls = server_tls.clone();
                spawn_local(async move {
                    if let Ok((stream, _)) = tls.accept(stream.into(), Duration::from_secs(2)).await {
                        serve(stream).await;
                    }
                });
            }
        });
        let asked = |path: &str| Question::Http(HttpQuestion { tls: true, ..get(address, path, &[]) });
        assert_eq!(once(asked("/200")).await, Ok(()));
        assert!(once(asked("/500")).await.unwrap_err().ends_with("status 500; expected 200 to 399"));
        assert!(once(Question::Http(get(address, "/200", &[]))).await.is_err(), "plain text is not understood");
    };
    LocalSet::new().run_until(asking).await;
}

#[tokio::test]
async fn grpc_must_say_that_it_serves() {
    let asking = async {
        let (server, address) = listener().await;
        spawn_local(async move {
            loop {
                let (stream, _) = server.accept().await.unwrap();
                let answer = async |request: Request<Body>| {
                    assert_eq!(request.uri().path(), health::PATH);
                    let asked = request.into_body().collect(MOST).await.unwrap().data;
                    let (status, message) = match &asked[5..] {
                        b"" => ("0", &[0, 0, 0, 0, 2, 8, 1][..]),
                        [_, _, name @ ..] if name == b"good" => ("0", &[0, 0, 0, 0, 2, 8, 1][..]),
                        [_, _, name @ ..] if name == b"sick" => ("0", &[0, 0, 0, 0, 2, 8, 2][..]),
                        _ => ("5", &[][..]),
                    };
                    let body = Body::full(bytes::Bytes::copy_from_slice(message));
                    ::http::Response::builder().header("grpc-status", status).body(body).unwrap()
                };
                spawn_local(async move {
                    mesh_http::serve(stream, &ServerOptions::default(), std::future::pending(), answer).await
                });
            }
        });
        let asked = |service: &str| once(Question::Grpc { at: at(address), service: service.into() });
        assert_eq!((asked("").await, asked("good").await), (Ok(()), Ok(())));
        assert_eq!(asked("sick").await, Err(format!("health of `sick` at {address}: it does not serve")));
        assert_eq!(asked("other").await, Err(format!("health of `other` at {address}: gRPC status 5")));
    };
    LocalSet::new().run_until(asking).await;
}

#[tokio::test]
async fn commands_are_run_elsewhere() {
    let socket = std::env::temp_dir().join(format!("halcyon-ask-{}", std::process::id()));
    let _ = std::fs::remove_file(&socket);
    let asked = || once(Question::Command(socket.clone()));
    assert!(asked().await.unwrap_err().starts_with("the command is not run: "));
    let server = UnixListener::bind(&socket).unwrap();
    for (answer, expected) in [
        ("\n", Ok(())),
        ("ended with 3\n", Err("the command ended with 3".to_owned())),
        ("", Err("the command is not run: nobody said how it ended".to_owned())),
    ] {
        let answering = async {
            let (mut wish, _) = server.accept().await.unwrap();
            wish.write_all(answer.as_bytes()).await.unwrap();
            Ok::<(), Infallible>(())
        };
        assert_eq!(tokio::join!(asked(), answering).0, expected, "{answer:?}");
    }
    std::fs::remove_file(&socket).unwrap();
}
