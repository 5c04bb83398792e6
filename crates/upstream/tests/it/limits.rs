//! Circuit breakers, and how connections are kept.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use mesh_http::ServerOptions;
use model::CircuitBreakers;
use model::cluster::UpstreamProtocol;
use model::limits::{ConnectionOptions, Http2Keepalive, RetryBudget, TcpKeepalive};
use telemetry::{Exposition, Registry};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use upstream::{Dialer, FailureKind, Pick, Worker};

use crate::origin::{Origin, build, config, fetch, get, pools, run, send, until};

fn limited(change: impl FnOnce(&mut CircuitBreakers)) -> Option<Box<CircuitBreakers>> {
    let mut limits = CircuitBreakers::unlimited();
    change(&mut limits);
    Some(Box::new(limits))
}

fn options(change: impl FnOnce(&mut ConnectionOptions)) -> Option<Box<ConnectionOptions>> {
    let mut options = ConnectionOptions::default();
    change(&mut options);
    Some(Box::new(options))
}

/// The value of a statistic; zero if there is none.
fn counted(registry: &Registry, name: &str) -> i64 {
    let text = registry.expose(&Exposition::default());
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("envoy_cluster_{name}{{")));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().unwrap())
}

#[test]
fn requests_under_way() {
    run(async {
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let (origin, addr) = Origin::plain().await;
            let registry = Registry::new();
            let worker = Worker::new(Dialer::default(), &registry.shard()).unwrap();
            let cluster = build(config(&[addr], |c| {
                c.protocol = protocol;
                c.circuit_breakers = limited(|limits| limits.max_requests = 2);
            }));
            let pools = worker.cluster(&cluster);
            fetch(&pools, "/").await;
            let (one, two) = (fetch(&pools, "/hold"), fetch(&pools, "/hold"));
            let rest = async {
                until(|| origin.requests.get() == 3).await;
                assert_eq!(counted(&registry, "circuit_breakers_default_rq_open"), 1);
                let failure = send(&pools, get("/")).await.unwrap_err();
                assert_eq!((failure.kind, failure.kind.flag()), (FailureKind::Overflow, Some("UO")));
                assert!(failure.whole && failure.is_unprocessed());
                origin.release.notify_waiters();
            };
            tokio::join!(one, two, rest);
            fetch(&pools, "/").await;
            let values = ["rq_pending_overflow", "rq_total", "rq_active"]
                .map(|name| counted(&registry, &format!("upstream_{name}")));
            assert_eq!((values, counted(&registry, "circuit_breakers_default_rq_open")), ([1, 4, 0], 0));
            let counts = cluster.endpoints().endpoints()[0].counts();
            assert_eq!((counts.requests_error, counts.requests_active), (0, 0), "it was no endpoint's doing");
        }
    });
}

#[test]
fn connections_and_those_who_wait() {
    run(async {
        let (origin, addr) = Origin::plain().await;
        let registry = Registry::new();
        let worker = Worker::new(Dialer::default(), &registry.shard()).unwrap();
        let cluster = build(config(&[addr], |c| {
            c.circuit_breakers = limited(|limits| (limits.max_connections, limits.max_pending_requests) = (1, 1));
        }));
        let pools = worker.cluster(&cluster);
        let (busy, waits) = (fetch(&pools, "/hold"), async {
            until(|| origin.requests.get() == 1).await;
            fetch(&pools, "/").await
        });
        let rest = async {
            until(|| origin.requests.get() == 1).await;
            until(|| counted(&registry, "circuit_breakers_default_rq_pending_open") == 1).await;
            assert_eq!(counted(&registry, "circuit_breakers_default_cx_open"), 1);
            assert_eq!(send(&pools, get("/")).await.unwrap_err().kind, FailureKind::Overflow);
            // Raw bytes have no way to wait for a connection of others.
            assert_eq!(pools.connect(&Pick::new(0)).await.unwrap_err().kind, FailureKind::Overflow);
            origin.release.notify_waiters();
        };
        let (_, (_, reused), ()) = tokio::join!(busy, waits, rest);
        assert!(reused, "who waited got the one connection");
        assert_eq!(origin.connections.get(), 1);
        assert_eq!(counted(&registry, "upstream_rq_pending_overflow"), 1);
        assert_eq!(counted(&registry, "upstream_cx_overflow"), 2);
        drop((cluster, pools));
        worker.maintain();
        until(|| counted(&registry, "circuit_breakers_default_cx_open") == 0).await;
    });
}

#[test]
fn an_endpoint_without_connections_gets_one_in_any_case() {
    run(async {
        let ((one, first), (two, second)) = (Origin::plain().await, Origin::plain().await);
        let (_worker, _cluster, pools) =
            pools(config(&[first, second], |c| c.circuit_breakers = limited(|limits| limits.max_connections = 1)));
        for _ in 0..4 {
            fetch(&pools, "/").await;
        }
        assert_eq!((one.connections.get(), two.connections.get()), (1, 1));
    });
}

#[test]
fn who_waits_gets_the_place_of_a_connection_that_ends() {
    run(async {
        // Each connection serves one request.
        let (origin, addr) = Origin::plain().await;
        let (_worker, _cluster, pools) = pools(config(&[addr], |c| {
            c.max_requests_per_connection = Some(1);
            c.circuit_breakers = limited(|limits| limits.max_connections = 2);
        }));
        join_all((0..20).map(|_| fetch(&pools, "/"))).await;
        assert_eq!((origin.requests.get(), origin.connections.get()), (20, 20));
    });
}

#[test]
fn retries_under_way() {
    run(async {
        let (origin, addr) = Origin::plain().await;
        let (_worker, _cluster, pools) = pools(config(&[addr], |c| {
            let retry_budget = Some(RetryBudget { percent: 50.0, min_concurrency: 1, ..RetryBudget::default() });
            c.circuit_breakers = limited(|limits| limits.retry_budget = retry_budget);
        }));
        let one = pools.retry();
        assert!(one.is_some() && pools.retry().is_none());
        let held = join_all((0..4).map(|_| fetch(&pools, "/hold")));
        let more = async {
            until(|| origin.requests.get() == 4).await;
            assert!(pools.retry().is_some(), "half of four");
            origin.release.notify_waiters();
        };
        tokio::join!(held, more);
        drop(one);
        assert!(pools.retry().is_some());
    });
}

#[test]
fn requests_of_some_time_are_a_budget_for_retries() {
    run(async {
        let (_origin, addr) = Origin::plain().await;
        let (_worker, _cluster, pools) = pools(config(&[addr], |c| {
            let interval = Duration::from_secs(60);
            let retry_budget = Some(RetryBudget { percent: 50.0, min_concurrency: 0, interval });
            c.circuit_breakers = limited(|limits| limits.retry_budget = retry_budget);
        }));
        for _ in 0..4 {
            fetch(&pools, "/").await;
        }
        for number in 0..3 {
            assert!(pools.retry().is_some(), "{number}: one after the other");
        }
        let (one, two) = (pools.retry(), pools.retry());
        assert!(one.is_some() && two.is_some() && pools.retry().is_none(), "half of four that are over");
    });
}

#[test]
fn streams_on_a_connection() {
    run(async {
        let (origin, addr) = Origin::plain().await;
        let (_worker, _cluster, pools) = pools(config(&[addr], |c| {
            c.protocol = UpstreamProtocol::Http2;
            c.connections = options(|options| options.max_concurrent_streams = Some(2));
        }));
        let held = join_all((0..4).map(|_| fetch(&pools, "/hold")));
        let release = async {
            until(|| origin.requests.get() == 4).await;
            assert_eq!(origin.connections.get(), 2);
            origin.release.notify_waiters();
        };
        tokio::join!(held, release);
        for _ in 0..4 {
            fetch(&pools, "/").await;
        }
        assert_eq!(origin.connections.get(), 2);
    });
}

#[test]
fn connections_grow_old() {
    run(async {
        for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
            let (origin, addr) = Origin::plain().await;
            let (worker, cluster, pools) = pools(config(&[addr], |c| {
                c.protocol = protocol;
                c.connections = options(|options| options.max_duration = Some(Duration::from_secs(3)));
            }));
            let held = fetch(&pools, "/hold");
            let rest = async {
                until(|| origin.requests.get() == 1).await;
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs(4)).await;
                tokio::time::resume();
                worker.maintain();
                assert!(!fetch(&pools, "/").await.1, "no new requests on the old one");
                origin.release.notify_waiters();
            };
            tokio::join!(held, rest);
            until(|| cluster.endpoints().endpoints()[0].counts().connections_active == 1).await;
            assert_eq!(origin.connections.get(), 2, "what was on the old one was finished");
        }
    });
}

#[test]
fn silent_connections_are_probed() {
    run(async {
        let (_origin, addr) = Origin::plain().await;
        let probes = TcpKeepalive { probes: Some(3), time: Some(60), interval: Some(10) };
        let (_worker, _cluster, pools) =
            pools(config(&[addr], |c| c.connections = options(|options| options.tcp_keepalive = Some(probes))));
        let connected = pools.connect(&Pick::new(0)).await.unwrap();
        let socket = socket2::SockRef::from(connected.stream.tcp().unwrap());
        assert!(socket.keepalive().unwrap());
        let secs = Duration::from_secs;
        let found = (socket.tcp_keepalive_time(), socket.tcp_keepalive_interval(), socket.tcp_keepalive_retries());
        assert_eq!((found.0.unwrap(), found.1.unwrap(), found.2.unwrap()), (secs(60), secs(10), 3));
    });
}

#[test]
fn a_connection_that_answers_no_ping_ends() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (_worker, cluster, pools) = pools(config(&[addr], |c| {
            c.protocol = UpstreamProtocol::Http2;
            let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(2));
            c.connections = options(|options| options.http2_keepalive = Some(Http2Keepalive { interval, timeout }));
        }));
        let sending = send(&pools, get("/"));
        let silent = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The preface and the request are read, and nothing is ever said.
            let mut bytes = vec![0; 1 << 16];
            until(|| cluster.endpoints().endpoints()[0].counts().connections_active == 1).await;
            assert!(stream.read(&mut bytes).await.unwrap() > 0);
            tokio::time::pause();
            while stream.read(&mut bytes).await.unwrap() > 0 {}
            tokio::time::resume();
        };
        let (failed, ()) = tokio::join!(sending, silent);
        let failure = failed.unwrap_err();
        assert_eq!((failure.kind, &*failure.reason), (FailureKind::Closed, "no answer to a keep-alive ping"));
    });
}

#[test]
fn without_limits_nothing_is_counted() {
    run(async {
        let registry = Registry::new();
        let worker = Worker::new(Dialer::default(), &registry.shard()).unwrap();
        let options = ServerOptions::default();
        let (_origin, addr) = Origin::start(options, None).await;
        let pools = worker.cluster(&build(config(&[addr], |_| {})));
        assert!((0..5000).all(|_| pools.retry().is_some()));
        assert!(send(&pools, get("/")).now_or_never().is_none());
        assert!(!registry.expose(&Exposition::default()).contains("circuit_breakers_default_rq_open{"));
    });
}
