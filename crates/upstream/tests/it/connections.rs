//! Connections: kept, shared, lost, replaced.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use http::{Request, Version};
use mesh_http::{Body, Progress, ServerOptions};
use model::cluster::{Discovery, UpstreamProtocol};
use model::{Address, Cluster, EndpointSet, LocalityEndpoints};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use upstream::{Dialer, FailureKind, Pick, Worker};

use crate::origin::{Origin, build, config, fetch, get, pools, run, send, until};

fn http2(cluster: &mut Cluster) {
    cluster.protocol = UpstreamProtocol::Http2;
}

#[test]
fn http1_is_reused() {
    run(async {
        let (origin, addr) = Origin::plain().await;
        let (_worker, cluster, pools) = pools(config(&[addr], |_| {}));
        for n in 0..3 {
            assert_eq!(fetch(&pools, "/").await, (addr.port().to_string(), n > 0));
        }
        assert_eq!(origin.connections.get(), 1);
        fetch(&pools, "/502").await;
        let counts = cluster.endpoints().endpoints()[0].counts();
        assert_eq!((counts.requests_total, counts.requests_success, counts.requests_error), (4, 3, 1));
        assert_eq!((counts.connections_total, counts.connections_active, counts.requests_active), (1, 1, 0));
    });
}

#[test]
fn http1_takes_a_connection_for_each_request_at_once() {
    run(async {
        let (origin, addr) = Origin::plain().await;
        let (_worker, cluster, pools) = pools(config(&[addr], |_| {}));
        let all = join_all((0..4).map(|_| fetch(&pools, "/hold")));
        let release = async {
            until(|| origin.requests.get() == 4).await;
            assert_eq!(cluster.endpoints().endpoints()[0].active(), 4);
            origin.release.notify_waiters();
        };
        tokio::join!(all, release);
        assert_eq!(origin.connections.get(), 4);
        fetch(&pools, "/").await;
        assert_eq!(origin.connections.get(), 4);
    });
}

#[test]
fn http1_connections_are_spent() {
    run(async {
        let (origin, addr) = Origin::plain().await;
        let (_worker, _cluster, pools) = pools(config(&[addr], |c| c.max_requests_per_connection = Some(2)));
        for expected in [false, true, false, true] {
            assert_eq!(fetch(&pools, "/").await.1, expected);
        }
        assert_eq!(origin.connections.get(), 2);
    });
}

#[test]
fn a_connection_that_becomes_free_serves_those_who_wait() {
    run(async {
        let (origin, addr) = Origin::plain().await;
        let (_worker, cluster, pools) = pools(config(&[addr], |_| {}));
        // Given up while it is dialled: the connection is there for the next.
        assert!(send(&pools, get("/")).now_or_never().is_none());
        until(|| cluster.endpoints().endpoints()[0].counts().connections_active == 1).await;
        fetch(&pools, "/").await;
        assert_eq!((origin.connections.get(), cluster.endpoints().endpoints()[0].active()), (1, 0));
    });
}

#[test]
fn idle_connections_end() {
    run(async {
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let (origin, addr) = Origin::plain().await;
            let (worker, cluster, pools) = pools(config(&[addr], |c| {
                c.protocol = protocol;
                c.idle_timeout = Some(Duration::from_secs(3));
            }));
            fetch(&pools, "/").await;
            assert!(worker.maintain());
            assert_eq!(cluster.endpoints().endpoints()[0].counts().connections_active, 1);
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(4)).await;
            tokio::time::resume();
            assert!(!worker.maintain());
            until(|| cluster.endpoints().endpoints()[0].counts().connections_active == 0).await;
            assert!(!fetch(&pools, "/").await.1);
            assert_eq!(origin.connections.get(), 2);
        }
    });
}

#[test]
fn a_peer_may_close_what_is_idle() {
    run(async {
        let options = ServerOptions { idle_timeout: Some(Duration::from_millis(1)), ..ServerOptions::default() };
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let (_origin, addr) = Origin::start(options.clone(), None).await;
            let (_worker, cluster, pools) = pools(config(&[addr], |c| c.protocol = protocol));
            for _ in 0..3 {
                assert!(!fetch(&pools, "/").await.1);
                until(|| cluster.endpoints().endpoints()[0].counts().connections_active == 0).await;
            }
        }
    });
}

/// An origin that answers one request on each connection and closes when it has read the second.
async fn closes_on_the_second() -> (Rc<std::cell::Cell<usize>>, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let read = Rc::new(std::cell::Cell::new(0));
    let count = read.clone();
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            spawn_local(async move {
                let mut buffer = [0; 4096];
                for answer in [true, false] {
                    if stream.read(&mut buffer).await.unwrap_or(0) == 0 {
                        return;
                    }
                    count.set(count.get() + 1);
                    if answer {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    }
                }
            });
        }
    });
    (read, addr)
}

#[test]
fn a_request_lost_on_a_stale_connection_is_sent_again_if_that_is_safe() {
    run(async {
        for (method, idle, expected) in [("GET", true, true), ("POST", true, false), ("GET", false, true)] {
            let (read, addr) = closes_on_the_second().await;
            let (worker, _cluster, pools) = pools(config(&[addr], |_| {}));
            fetch(&pools, "/").await;
            if idle {
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs(2)).await;
                tokio::time::resume();
                worker.maintain();
            }
            let request = Request::builder().method(method).uri("/").header("host", "o").body(Body::empty()).unwrap();
            match send(&pools, request).await {
                Ok(sent) => {
                    assert!(expected, "{method} {idle}");
                    assert!(!sent.exchange.is_reused());
                    assert_eq!(read.get(), 3);
                }
                Err(failure) => {
                    assert!(!expected, "{method} {idle}: {failure:?}");
                    assert_eq!((failure.kind, failure.progress), (FailureKind::Closed, Progress::StaleConnection));
                    assert_eq!(failure.kind.flag(), Some("UC"));
                    assert_eq!(read.get(), 2);
                }
            }
        }
    });
}

#[test]
fn http2_shares_one_connection() {
    run(async {
        let (origin, addr) = Origin::plain().await;
        let (_worker, _cluster, pools) = pools(config(&[addr], http2));
        join_all((0..50).map(|_| fetch(&pools, "/"))).await;
        assert_eq!((origin.connections.get(), origin.requests.get()), (1, 50));
        let sent = send(&pools, get("/")).await.unwrap();
        assert!(sent.exchange.connection().unwrap().http2);
    });
}

#[test]
fn http2_opens_another_connection_when_one_is_full() {
    run(async {
        let options = ServerOptions { max_concurrent_streams: 2, ..ServerOptions::default() };
        let (origin, addr) = Origin::start(options, None).await;
        let (_worker, _cluster, pools) = pools(config(&[addr], http2));
        // The limit is known once the peer has said it.
        fetch(&pools, "/").await;
        let one = send(&pools, get("/hold"));
        let two = send(&pools, get("/hold"));
        let three = async {
            until(|| origin.requests.get() == 3).await;
            fetch(&pools, "/").await;
            assert_eq!(origin.connections.get(), 2);
            origin.release.notify_waiters();
        };
        let (one, two, ()) = tokio::join!(one, two, three);
        assert!(one.is_ok() && two.is_ok());
    });
}

#[test]
fn http2_goaway_costs_no_request() {
    run(async {
        let (origin, addr) = Origin::plain().await;
        let (_worker, _cluster, pools) = pools(config(&[addr], http2));
        let held = fetch(&pools, "/hold");
        let others = async {
            until(|| origin.requests.get() == 1).await;
            let drain = origin.drain.replace(Rc::default());
            drain.notify_waiters();
            for _ in 0..20 {
                fetch(&pools, "/").await;
            }
            assert_eq!(origin.connections.get(), 2);
            origin.release.notify_waiters();
        };
        let (held, ()) = tokio::join!(held, others);
        assert_eq!(held.0, addr.port().to_string());
    });
}

#[test]
fn http2_refusals_are_told() {
    run(async {
        let (_origin, addr) = Origin::plain().await;
        let (_worker, _cluster, pools) = pools(config(&[addr], http2));
        let failure = send(&pools, get("/refuse")).await.unwrap_err();
        assert_eq!((failure.kind, failure.progress), (FailureKind::Refused, Progress::Refused));
        assert_eq!(failure.kind.flag(), Some("UR"));
        assert!(failure.endpoint.is_some());
    });
}

#[test]
fn no_connection() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let (_worker, cluster, pools) = pools(config(&[addr], |c| c.protocol = protocol));
            let failure = send(&pools, get("/")).await.unwrap_err();
            assert_eq!((failure.kind, failure.kind.flag()), (FailureKind::ConnectFailed, Some("UF")));
            assert!(failure.reason.contains("refused"), "{}", failure.reason);
            assert!(failure.whole && failure.is_unprocessed());
            let counts = cluster.endpoints().endpoints()[0].counts();
            assert_eq!((counts.connect_failures, counts.requests_error, counts.requests_active), (1, 1, 0));
            assert_eq!(pools.connect(&Pick::new(0)).await.unwrap_err().kind, FailureKind::ConnectFailed);
        }
        let nowhere = Address::Socket { addr, netns: Some("nowhere".into()) };
        let (_worker, cluster, outside) = pools(config(&[], |_| {}));
        let group = LocalityEndpoints { endpoints: vec![model::Endpoint::plain(nowhere)], ..Default::default() };
        cluster.set_endpoints(&Arc::new(EndpointSet::new("e", vec![group])));
        let failure = send(&outside, get("/")).await.unwrap_err();
        assert!(failure.reason.contains("`nowhere`"), "{}", failure.reason);

        let (_worker, _cluster, pools) = pools(config(&[], |_| {}));
        let failure = send(&pools, get("/")).await.unwrap_err();
        assert_eq!((failure.kind, failure.kind.flag()), (FailureKind::NoEndpoint, Some("UH")));
        assert!(failure.whole && failure.endpoint.is_none());
    });
}

#[test]
fn what_a_burst_leaves_is_trimmed() {
    run(async {
        let (origin, addr) = Origin::plain().await;
        let (worker, cluster, pools) = pools(config(&[addr], |_| {}));
        let active = || cluster.endpoints().endpoints()[0].counts().connections_active;
        tokio::join!(fetch(&pools, "/"), fetch(&pools, "/"), fetch(&pools, "/"));
        assert_eq!((origin.connections.get(), active()), (3, 3));
        worker.trim();
        assert_eq!(active(), 3, "they were used since the last round");
        worker.maintain();
        worker.trim();
        until(|| active() == 1).await;
        assert!(fetch(&pools, "/").await.1, "the last used is still there");
    });
}

#[test]
fn the_original_destination() {
    run(async {
        let (origin, addr) = Origin::plain().await;
        let (worker, _cluster, pools) = pools(Cluster::new("passthrough", Discovery::OriginalDestination));
        let pick = Pick { original_destination: Some(&addr), ..Pick::new(0) };
        for _ in 0..2 {
            let sent = pools.send(&mut get("/"), &pick).await.unwrap();
            assert_eq!(sent.exchange.endpoint().address().socket_addr(), Some(addr));
            sent.response.into_body().collect(100).await.unwrap();
        }
        assert_eq!(origin.connections.get(), 1);
        assert_eq!(send(&pools, get("/")).await.unwrap_err().kind, FailureKind::NoEndpoint);
        assert!(worker.maintain());
    });
}

#[test]
fn the_protocol_of_the_downstream() {
    run(async {
        let (_origin, addr) = Origin::plain().await;
        let (_worker, _cluster, pools) = pools(config(&[addr], |c| c.protocol = UpstreamProtocol::SameAsDownstream));
        for (downstream, http2) in [(Version::HTTP_11, false), (Version::HTTP_2, true), (Version::HTTP_10, false)] {
            let sent = pools.send(&mut get("/"), &Pick { downstream, ..Pick::new(0) }).await.unwrap();
            assert_eq!(sent.exchange.connection().unwrap().http2, http2, "{downstream:?}");
        }
    });
}

#[test]
fn upgrades_and_raw_bytes() {
    run(async {
        let (_origin, addr) = Origin::plain().await;
        let (_worker, _cluster, pools) = pools(config(&[addr], |_| {}));
        let request = Request::get("/upgrade").header("host", "o").header("upgrade", "echo");
        let mut request = request.header("connection", "upgrade").body(Body::empty()).unwrap();
        let mut sent = pools.send(&mut request, &Pick { upgrade: true, ..Pick::new(0) }).await.unwrap();
        assert_eq!(sent.response.status(), 101);
        let mut stream = sent.response.body_mut().on_upgrade().unwrap().await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"ping");

        let mut connected = pools.connect(&Pick::new(0)).await.unwrap();
        connected.stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        connected.stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let endpoint = connected.exchange.endpoint().clone();
        assert_eq!(endpoint.active(), 2);
        drop((connected, sent));
        assert_eq!(endpoint.active(), 0);
    });
}

#[test]
fn an_endpoint_at_a_path() {
    use std::os::linux::net::SocketAddrExt;
    run(async {
        // A name of no file: nothing is left of it.
        let name = format!("halcyon-upstream-{}", std::process::id());
        let at = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let listener = std::os::unix::net::UnixListener::bind_addr(&at).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4];
            stream.read_exact(&mut head).await.unwrap();
            assert_eq!(&head, b"GET ");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
            _ = stream.read(&mut [0]).await;
        });
        let endpoints = vec![model::Endpoint::plain(Address::pipe(format!("@{name}")))];
        let set = EndpointSet::new("s", vec![LocalityEndpoints { endpoints, ..Default::default() }]);
        let (_worker, _cluster, pools) = pools(config(&[], |c| c.discovery = Discovery::Static(set)));
        assert_eq!(fetch(&pools, "/").await.0, "hi");
    });
}

/// The socket is one of the namespace, whoever connects it.
#[test]
fn an_abstract_name_of_a_namespace() {
    run(async {
        let door = std::env::temp_dir().join(format!("halcyon-upstream-{}", std::process::id()));
        let server = transport::netns::NetnsSocketServer::bind(&door).unwrap();
        std::thread::spawn(move || server.run());
        let name = format!("@halcyon-inside-{}", std::process::id());
        let program = transport::pipe::bind(name.as_ref(), None, 0o600).unwrap().start().unwrap();
        spawn_local(async move {
            let mut stream = program.accept().await.unwrap();
            stream.read_exact(&mut [0; 4]).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
            _ = stream.read(&mut [0]).await;
        });
        let address = Address::pipe_in(&name, Some(&"workload".into()));
        let set = |address| {
            let endpoints = vec![model::Endpoint::plain(address)];
            EndpointSet::new("s", vec![LocalityEndpoints { endpoints, ..Default::default() }])
        };
        let inside = set(address.clone());
        let dialer = Dialer::new([transport::Netns::new("workload", &door)]);
        let worker = Worker::new(dialer, &telemetry::Registry::new().shard()).unwrap();
        let there = worker.cluster(&build(config(&[], |c| c.discovery = Discovery::Static(inside))));
        assert_eq!(fetch(&there, "/").await.0, "hi");
        std::fs::remove_file(&door).unwrap();
        let (_worker, _cluster, nowhere) = pools(config(&[], |c| c.discovery = Discovery::Static(set(address))));
        let failure = send(&nowhere, get("/")).await.map(drop).unwrap_err();
        assert!(failure.reason.contains("`workload`"), "{failure:?}");
    });
}
