//! Hosts that requests and TLS connections name, looked up on the way.

use std::net::SocketAddr;

use model::Direction::Outbound;
use model::cluster::Discovery;
use model::dynamic_forward::ServerNameForward;
use model::http_proxy::HttpFilter;
use model::listener::Inspect;
use model::{Cluster, DnsCache, Listener, NetworkFilter, TcpProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use transport::Stream;
use transport::tls::{ClientOptions, ClientTls, PeerCheck, ServerCheck};

use crate::rig::*;

fn named(max_hosts: u32) -> Cluster {
    Cluster::new("named", Discovery::DynamicForward(DnsCache { max_hosts, ..DnsCache::new("d") }.into()))
}

/// A listener whose requests go to the hosts that they name; `tells`: with the filter that says why not.
fn by_host(name: &str, at: SocketAddr, tells: bool) -> Listener {
    let mut settings = http(vec![route("/", to("named"))]);
    settings.filters.extend(tells.then(|| HttpFilter::DynamicForward(DnsCache::new("d"))));
    listener(name, at, Outbound, vec![http_chain(settings)])
}

#[test]
fn requests_go_to_the_host_that_they_name() {
    run(async {
        let (at, quiet, one, two) =
            (free_address(), free_address(), named_origin("one").await, named_origin("two").await);
        let listeners = vec![by_host("l", at, true), by_host("m", quiet, false)];
        let _proxy = proxy("a", config(listeners, vec![named(3)])).await;
        for (origin, expected) in [(one, "one"), (two, "two"), (one, "one")] {
            let answer = send(at, get(&format!("localhost:{}", origin.port()), "/x")).await;
            assert!(answer.status == 200 && answer.body.starts_with(expected), "{answer:?}");
        }
        let missing = send(at, get("nobody.invalid", "/")).await;
        assert_eq!((missing.status.as_u16(), &*missing.body), (503, "DNS resolution failure"));
        let full = send(at, get("another.invalid", "/")).await;
        assert_eq!((full.status.as_u16(), &*full.body), (503, "DNS cache overflow"));
        let quiet = send(quiet, get("nobody.invalid", "/")).await;
        assert_eq!((quiet.status.as_u16(), &*quiet.body), (503, "no healthy upstream"));
    });
}

#[test]
fn addresses_may_be_refused() {
    run(async {
        let (at, origin) = (free_address(), named_origin("one").await);
        let refused = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let cluster =
            Cluster::new("named", Discovery::DynamicForward(DnsCache { refused, ..DnsCache::new("d") }.into()));
        let _proxy = proxy("a", config(vec![by_host("l", at, true)], vec![cluster])).await;
        let answer = send(at, get(&format!("localhost:{}", origin.port()), "/")).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (503, "DNS resolution failure"));
    });
}

/// What an origin hears first of a connection through the proxy that asks for this name.
async fn first_byte(at: SocketAddr, heard: &TcpListener, name: &str) -> Option<u8> {
    let client = ClientTls::new(ClientOptions::new(ServerCheck::Peer(PeerCheck::Unchecked))).unwrap();
    let stream = Stream::from(TcpStream::connect(at).await.unwrap());
    let connect = client.connect(stream, Some(name), PATIENCE);
    let hear = async {
        let (mut stream, _) = heard.accept().await.unwrap();
        stream.read_u8().await.unwrap()
    };
    tokio::select! {
        byte = hear => Some(byte),
        _ = connect => None,
    }
}

#[test]
fn connections_go_to_the_host_that_they_ask_for() {
    run(async {
        let (at, origin) = (free_address(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let port = origin.local_addr().unwrap().port();
        let forward = ServerNameForward { cache: DnsCache::new("d"), port };
        let tcp = TcpProxy { server_name_forward: Some(Box::new(forward)), ..TcpProxy::to("named") };
        let inspect = Inspect { tls: true, ..Inspect::default() };
        let listeners = vec![Listener { inspect, ..listener("l", at, Outbound, vec![chain(NetworkFilter::Tcp(tcp))]) }];
        let _proxy = proxy("a", config(listeners, vec![named(9)])).await;
        assert_eq!(first_byte(at, &origin, "localhost").await, Some(22), "a handshake");
        assert_eq!(first_byte(at, &origin, "nobody.invalid").await, None);
        let mut plain = TcpStream::connect(at).await.unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(plain.read_u8().await.is_err(), "no name, no host");
    });
}
