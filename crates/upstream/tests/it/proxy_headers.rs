//! PROXY headers on upstream connections: who is told, and for whom a connection is kept.

use std::net::SocketAddr;
use std::rc::Rc;

use model::cluster::Transport;
use model::limits::{ConnectionOptions, ProxyVersion};
use model::tls::UpstreamTls;
use model::{Address, Cluster};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::spawn_local;
use transport::proxy_header::{ProxyHeader, Verdict, parse};
use upstream::{ClusterPools, Ends, Pick};

use crate::origin::{config, get, pools, run};

/// What a connection began with.
struct Begun {
    header: ProxyHeader,
    peer: SocketAddr,
    /// The first byte behind the header.
    next: u8,
    /// Completes when the connection has ended.
    over: tokio::task::JoinHandle<()>,
}

/// A server of HTTP/1.1 that tells what its connections began with.
async fn server() -> (UnboundedReceiver<Begun>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (tell, begun) = unbounded_channel();
    spawn_local(async move {
        while let Ok((mut stream, peer)) = listener.accept().await {
            let (header, next) = header_of(&mut stream).await;
            let over = spawn_local(async move {
                loop {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    if !matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {
                        return;
                    }
                }
            });
            tell.send(Begun { header, peer, next, over }).ok().unwrap();
        }
    });
    (begun, addr)
}

/// Reads the header and all that came with it.
async fn header_of(stream: &mut TcpStream) -> (ProxyHeader, u8) {
    let mut said = Vec::with_capacity(4096);
    loop {
        stream.read_buf(&mut said).await.unwrap();
        match parse(&said) {
            Verdict::Header(header) if said.len() > header.length => return (header, said[header.length]),
            Verdict::Header(_) | Verdict::NeedMore => {}
            other => panic!("{other:?}: {said:?}"),
        }
    }
}

fn telling(version: ProxyVersion) -> impl Fn(&mut Cluster) {
    move |cluster| {
        let options = ConnectionOptions { proxy_header: Some(version), ..ConnectionOptions::default() };
        cluster.connections = Some(Box::new(options));
    }
}

fn ends(client: u16) -> Rc<Ends> {
    Rc::new(Ends { source: ([192, 0, 2, 1], client).into(), destination: ([192, 0, 2, 2], 80).into() })
}

/// Sends for a client. Was the connection used before?
async fn ask(pools: &ClusterPools, ends: Option<&Rc<Ends>>) -> bool {
    let pick = Pick { ends, ..Pick::new(rand::random()) };
    let sent = pools.send(&mut get("/"), &pick).await.unwrap();
    sent.response.into_body().collect(100).await.unwrap();
    sent.exchange.is_reused()
}

#[test]
fn connections_are_kept_for_who_they_were_made_for() {
    run(async {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let (mut begun, addr) = server().await;
            let (worker, _cluster, pools) = pools(config(&[addr], telling(version)));
            let (one, two) = (ends(1), ends(2));
            let mut all = Vec::new();
            for (client, is_reused) in [(&one, false), (&one, true), (&two, false), (&one, true), (&two, true)] {
                assert_eq!(ask(&pools, Some(client)).await, is_reused, "{client:?}");
            }
            for client in [&one, &two] {
                let connection = begun.recv().await.unwrap();
                assert_eq!(connection.header.addresses, Some((client.source, client.destination)), "{version:?}");
                assert_eq!(connection.next, b'G');
                all.push(connection.over);
            }
            drop(one);
            assert!(worker.maintain());
            all.remove(0).await.unwrap();
            assert!(ask(&pools, Some(&two)).await, "the other one stays");
        }
    });
}

#[test]
fn who_speaks_for_himself_says_so() {
    run(async {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let (mut begun, addr) = server().await;
            let (_worker, _cluster, pools) = pools(config(&[addr], telling(version)));
            assert!(!ask(&pools, None).await && ask(&pools, None).await);
            let connection = begun.recv().await.unwrap();
            let own = (version == ProxyVersion::V1).then_some((connection.peer, addr));
            assert_eq!(connection.header.addresses, own, "{version:?}");
        }
    });
}

#[test]
fn raw_connections_and_tls_come_after_the_header() {
    run(async {
        let (mut begun, addr) = server().await;
        let tls = UpstreamTls {
            certificate: None,
            validation: None,
            sni: Some("origin".into()),
            alpn: Vec::new(),
            versions: Default::default(),
        };
        let client = ends(3);
        for transport in [Transport::Plain, Transport::Tls(tls)] {
            let secure = transport != Transport::Plain;
            let config = config(&[addr], |cluster| {
                telling(ProxyVersion::V2)(cluster);
                cluster.transport = transport;
            });
            let (_worker, _cluster, pools) = pools(config);
            let pick = Pick { ends: Some(&client), ..Pick::new(rand::random()) };
            let connected = pools.connect(&pick).await;
            assert_eq!(connected.is_ok(), !secure, "nobody speaks TLS there");
            if let Ok(mut connected) = connected {
                connected.stream.write_all(b"x").await.unwrap();
            }
            let connection = begun.recv().await.unwrap();
            assert_eq!(connection.header.addresses, Some((client.source, client.destination)));
            assert_eq!(connection.next, if secure { 0x16 } else { b'x' });
        }
    });
}

#[test]
fn who_dialled_an_address_is_told_there() {
    run(async {
        let (mut begun, addr) = server().await;
        let mut settings = config(&[], telling(ProxyVersion::V2));
        settings.discovery = model::cluster::Discovery::OriginalDestination;
        let (worker, _cluster, pools) = pools(settings);
        let client = ends(4);
        for is_reused in [false, true] {
            let pick = Pick { ends: Some(&client), original_destination: Some(&addr), ..Pick::new(rand::random()) };
            let sent = pools.send(&mut get("/"), &pick).await.unwrap();
            sent.response.into_body().collect(100).await.unwrap();
            assert_eq!(sent.exchange.is_reused(), is_reused);
            assert_eq!(sent.exchange.endpoint().address(), &Address::socket(addr));
            drop(sent.exchange);
            assert!(worker.maintain());
        }
        assert_eq!(begun.recv().await.unwrap().header.addresses, Some((client.source, client.destination)));
        drop(client);
        worker.maintain();
        assert!(!worker.maintain(), "nothing is left of who is gone");
    });
}
