//! Listeners that programs connect to themselves: Unix sockets, explicit HTTP proxies.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::SocketAddr as UnixAddress;

use model::cluster::Discovery;
use model::http_proxy::RouteSource;
use model::{Address, Cluster, Direction, Listener, RouteConfiguration, VirtualHost};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::rig::*;

fn at(name: &str, address: Address, chain: model::FilterChain) -> Listener {
    Listener { address, ..listener(name, free_address(), Direction::Outbound, vec![chain]) }
}

/// What comes back for these bytes, to the end.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    _ = stream.read_to_string(&mut answer).await;
    answer
}

const REQUEST: &str = "GET /x HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";

async fn connect_abstract(name: &str) -> UnixStream {
    let address = UnixAddress::from_abstract_name(name).unwrap();
    let stream = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
    stream.set_nonblocking(true).unwrap();
    UnixStream::from_std(stream).unwrap()
}

#[test]
fn unix_sockets() {
    run(async {
        let origin = named_origin("web").await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.sock");
        // What a killed proxy left.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let name = format!("halcyon-proxy-{}", std::process::id());
        let listeners = || {
            vec![
                at("path", Address::pipe(&path), http_chain(http(vec![route("/", to("web"))]))),
                at("abstract", Address::pipe(format!("@{name}")), tcp_chain("web")),
            ]
        };
        let proxy = proxy("a", config(listeners(), vec![cluster("web", &[origin])])).await;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // Several, since connections are spread over workers.
        for _ in 0..4 {
            let answer = exchange(UnixStream::connect(&path).await.unwrap(), REQUEST).await;
            assert!(answer.contains("web /x"), "{answer}");
            let answer = exchange(connect_abstract(&name).await, REQUEST).await;
            assert!(answer.contains("web /x"), "{answer}");
        }
        // It lives through a change, and its file goes when it goes.
        let changed = vec![listeners().remove(0), listener("more", free_address(), Direction::Outbound, vec![])];
        assert_eq!(proxy.handle().replace(config(changed, vec![cluster("web", &[origin])])).await, []);
        assert!(exchange(UnixStream::connect(&path).await.unwrap(), REQUEST).await.contains("web /x"));
        assert_eq!(proxy.handle().replace(config(vec![], vec![])).await, []);
        until(|| !path.exists()).await;
        let nowhere = vec![at("path", Address::pipe("/nonexistent/directory/a"), tcp_chain("web"))];
        let rejected = proxy.handle().replace(config(nowhere, vec![cluster("web", &[origin])])).await;
        assert!(rejected[0].1.contains("/nonexistent/directory/a"), "{rejected:?}");
    });
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A listener of its own address, whose hosts go by their names with a port; what it does not know goes on to nowhere.
#[test]
fn an_http_proxy() {
    run(async {
        let (web, other) = (named_origin("web").await, named_origin("other").await);
        let host = |name: &str, domains: &[&str]| VirtualHost {
            name: name.into(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            routes: vec![route("/", to(name))],
            ..VirtualHost::default()
        };
        let hosts = vec![host("web", &["web:9080"]), host("other", &["web:80", "web"]), host("unknown", &["*"])];
        let table = RouteConfiguration { ignore_port: false, ..RouteConfiguration::new("3128", hosts) };
        let proxy_at = free_address();
        let http = model::HttpProxy::new("outbound_3128", RouteSource::Inline(table.into()));
        let unknown = Cluster::new("unknown", Discovery::OriginalDestination);
        let clusters = vec![cluster("web", &[web]), cluster("other", &[other]), unknown];
        let listeners = vec![listener("proxy", proxy_at, Direction::Outbound, vec![http_chain(http)])];
        let _proxy = proxy("a", config(listeners, clusters)).await;
        for (target, expected) in [
            ("GET http://web:9080/x", "web /x"),
            ("GET http://web:80/x", "other /x"),
            ("GET http://web/x", "other /x"),
            // Nobody is known there, and its own socket is no place to go on to.
            ("GET http://elsewhere:81/x", "HTTP/1.1 503"),
            // As Istio: its listener lets no CONNECT through.
            ("CONNECT web:9080", "HTTP/1.1 403"),
        ] {
            // The target counts, whatever the header says (RFC 9112, section 3.2.2).
            let host = if target.starts_with("CONNECT") { "web:9080" } else { "ignored" };
            let request = format!("{target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let answer = exchange(TcpStream::connect(proxy_at).await.unwrap(), &request).await;
            assert!(answer.contains(expected), "{target}: {answer}");
        }
    });
}
