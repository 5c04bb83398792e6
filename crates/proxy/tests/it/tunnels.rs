//! Raw connections through HTTP proxies, and what upstreams are told of clients by PROXY headers.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ::http::{Method, Request, Response, StatusCode};
use mesh_http::Body;
use model::Direction::Outbound;
use model::access_log::{FileLog, LogFormat};
use model::cluster::UpstreamProtocol;
use model::headers::{HeaderWrite, WriteAction};
use model::limits::{ConnectionOptions, ProxyVersion};
use model::tcp_proxy::Tunnel;
use model::{Cluster, HeaderChanges, NetworkFilter, TcpProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use transport::proxy_header::{Verdict, parse};

use crate::rig::*;

type Asked = Rc<RefCell<Vec<String>>>;

/// An HTTP proxy whose tunnels echo what they are given, with `tunnel: ` before it. `no.test:1` gets a 403, `silent.test:1` no
/// answer at all.
async fn http_proxy() -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let seen = asked.clone();
    let addr = origin(move |request: Request<Body>| {
        let target = mesh_http::head::authority(&request).unwrap_or_default().to_owned();
        let from = request.headers().get("x-from").map_or("-", |value| value.to_str().unwrap());
        let (method, version) = (request.method().clone(), request.version());
        seen.borrow_mut().push(format!("{version:?} {method} {} {target} {from}", request.uri().path()));
        async move {
            match &*target {
                "no.test:1" => return answer(StatusCode::FORBIDDEN, Body::from("you may not")),
                "silent.test:1" => std::future::pending().await,
                _ => {}
            }
            if method == Method::CONNECT { connected(request) } else { posted(request) }
        }
    })
    .await;
    (addr, asked)
}

fn answer(status: StatusCode, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

fn connected(mut request: Request<Body>) -> Response<Body> {
    let upgrade = request.body_mut().on_upgrade().expect("a tunnel is asked for");
    spawn_local(async move {
        let (mut read, mut write) = tokio::io::split(upgrade.await.unwrap());
        write.write_all(b"tunnel: ").await.unwrap();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    });
    answer(StatusCode::OK, Body::empty())
}

fn posted(request: Request<Body>) -> Response<Body> {
    let (mut sender, body) = Body::channel(1);
    spawn_local(async move {
        let mut upload = request.into_body();
        sender.send("tunnel: ").await.unwrap();
        while let Some(Ok(frame)) = upload.frame().await {
            sender.send(frame.into_data().unwrap_or_default()).await.unwrap();
        }
        sender.finish();
    });
    answer(StatusCode::OK, body)
}

/// Raw connections go to `target` through the cluster.
fn through(cluster: &str, target: &str, post: Option<&str>) -> NetworkFilter {
    let from = HeaderWrite {
        name: ::http::HeaderName::from_static("x-from"),
        value: ::http::HeaderValue::from_static("a"),
        action: WriteAction::Overwrite,
    };
    let headers = HeaderChanges::new(Vec::new(), vec![from]);
    let tunnel = Tunnel { target: target.into(), post: post.map(Into::into), headers };
    NetworkFilter::Tcp(TcpProxy { tunnel: Some(Box::new(tunnel)), ..TcpProxy::to(cluster) })
}

fn http2(cluster: Cluster) -> Cluster {
    Cluster { protocol: UpstreamProtocol::Http2, ..cluster }
}

#[test]
fn tunnels_carry_bytes_both_ways() {
    run(async {
        let (addr, asked) = http_proxy().await;
        let clusters = vec![cluster("h1", &[addr]), http2(cluster("h2", &[addr]))];
        let ways = [
            ("h1", None, "HTTP/1.1 CONNECT  yes.test:443 a"),
            ("h2", None, "HTTP/2.0 CONNECT  yes.test:443 a"),
            ("h1", Some("/in?x"), "HTTP/1.1 POST /in yes.test:443 a"),
            ("h2", Some("/"), "HTTP/2.0 POST / yes.test:443 a"),
        ];
        let listeners = ways.map(|(cluster, post, _)| {
            let at = free_address();
            (at, listener(&at.to_string(), at, Outbound, vec![chain(through(cluster, "yes.test:443", post))]))
        });
        let ports = listeners.each_ref().map(|(at, _)| *at);
        let proxy = proxy("a", config(listeners.into_iter().map(|(_, l)| l).collect(), clusters)).await;
        let large = "x".repeat(300_000);
        for (at, (.., expected)) in ports.into_iter().zip(ways) {
            for _ in 0..2 {
                let (mut read, mut write) = TcpStream::connect(at).await.unwrap().into_split();
                let mut greeting = [0; 8];
                read.read_exact(&mut greeting).await.unwrap();
                assert_eq!(&greeting, b"tunnel: ", "{expected}");
                let writing = async {
                    write.write_all(large.as_bytes()).await.unwrap();
                    write.shutdown().await.unwrap();
                };
                let mut echo = String::new();
                let (_, read) = tokio::join!(writing, read.read_to_string(&mut echo));
                read.unwrap();
                assert!(echo == large, "{expected}: {} bytes", echo.len());
                assert_eq!(asked.borrow_mut().pop().as_deref(), Some(expected));
            }
        }
        let labels = [("request_protocol", "tcp"), ("response_flags", "-")];
        until_counted(&proxy, "istio_tcp_connections_closed_total", &labels, 8.0).await;
    });
}

#[test]
fn tunnels_that_are_not_opened() {
    run(async {
        let (addr, _asked) = http_proxy().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = FileLog {
            path: path.to_str().unwrap().into(),
            format: LogFormat::Text("%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n".into()),
        };
        let short = |cluster: Cluster| Cluster { connect_timeout: Duration::from_millis(100), ..cluster };
        let clusters = vec![
            short(cluster("h1", &[addr])),
            short(http2(cluster("h2", &[addr]))),
            cluster("gone", &[free_address()]),
            cluster("empty", &[]),
        ];
        let ways = [
            ("h1", "no.test:1", None, "UF no tunnel to no.test:1: the answer is 403"),
            ("h2", "no.test:1", None, "UF no tunnel to no.test:1: the answer is 403"),
            ("h1", "no.test:1", Some("/"), "UF no tunnel to no.test:1: the answer is 403"),
            ("h2", "silent.test:1", None, "UF no tunnel to silent.test:1: no answer within 200ms"),
            ("gone", "yes.test:1", None, "UF "),
            ("empty", "yes.test:1", None, "UH "),
        ];
        let listeners = ways.map(|(cluster, target, post, _)| {
            let at = free_address();
            let l = listener(&at.to_string(), at, Outbound, vec![chain(through(cluster, target, post))]);
            (at, model::Listener { access_logs: vec![log.clone().into()], ..l })
        });
        let ports = listeners.each_ref().map(|(at, _)| *at);
        let proxy = proxy("a", config(listeners.into_iter().map(|(_, l)| l).collect(), clusters)).await;
        for (at, (.., expected)) in ports.into_iter().zip(ways) {
            let ended = async { TcpStream::connect(at).await?.read(&mut [0]).await };
            assert_eq!(ended.await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{expected}");
        }
        proxy.handle().stop();
        tokio::task::spawn_blocking(move || proxy.wait()).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ways.len(), "{text}");
        for (line, (.., expected)) in lines.iter().zip(ways) {
            assert!(line.starts_with(expected), "{line}: expected {expected}");
        }
    });
}

/// A server that answers any byte behind a PROXY header with the header's source.
async fn reader_of_headers() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            spawn_local(async move {
                let mut said = Vec::with_capacity(4096);
                let header = loop {
                    stream.read_buf(&mut said).await.unwrap();
                    match parse(&said) {
                        Verdict::Header(header) if said.len() > header.length => break header,
                        Verdict::Header(_) | Verdict::NeedMore => {}
                        other => panic!("{other:?}: {said:?}"),
                    }
                };
                let text = format!("{:?}", header.addresses.unwrap());
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
                loop {
                    let _ = stream.write_all(head.as_bytes()).await;
                    if !matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {
                        return;
                    }
                }
            });
        }
    });
    addr
}

#[test]
fn upstreams_are_told_of_clients() {
    run(async {
        let upstream = reader_of_headers().await;
        let told = |name: &str, version| {
            let options = ConnectionOptions { proxy_header: Some(version), ..ConnectionOptions::default() };
            Cluster { connections: Some(Box::new(options)), ..cluster(name, &[upstream]) }
        };
        let clusters = vec![told("1", ProxyVersion::V1), told("2", ProxyVersion::V2)];
        let [http_1, http_2, tcp_1, tcp_2] = [(); 4].map(|()| free_address());
        let listeners = vec![
            listener("a", http_1, Outbound, vec![http_chain(http(vec![route("/", to("1"))]))]),
            listener("b", http_2, Outbound, vec![http_chain(http(vec![route("/", to("2"))]))]),
            listener("c", tcp_1, Outbound, vec![tcp_chain("1")]),
            listener("d", tcp_2, Outbound, vec![tcp_chain("2")]),
        ];
        let _proxy = proxy("a", config(listeners, clusters)).await;
        for at in [http_1, http_2, tcp_1, tcp_2] {
            for _ in 0..2 {
                let mut stream = TcpStream::connect(at).await.unwrap();
                let expected = format!("{:?}", (stream.local_addr().unwrap(), at));
                for _ in 0..2 {
                    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
                    let mut answer = Vec::new();
                    while !answer.ends_with(expected.as_bytes()) {
                        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{at}: {expected}");
                    }
                }
            }
        }
    });
}
