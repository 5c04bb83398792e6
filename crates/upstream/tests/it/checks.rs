//! Active health checks against origins on loopback.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use mesh_http::{Answer, Body, ServerOptions};
use model::HealthCheck;
use model::cluster::Discovery;
use model::health_check::{HttpProbe, Probe};
use telemetry::{Exposition, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use upstream::{Cluster, Dialer, Watch};

use crate::origin::{at, build, config, fetch, get, pools, run, send, until};

fn check(probe: Probe) -> HealthCheck {
    let millis = Duration::from_millis;
    // Before the cluster is used, checks would otherwise be a minute apart.
    HealthCheck { no_traffic_interval: millis(5), ..HealthCheck::new(millis(500), millis(5), (2, 2), probe) }
}

fn http(probe: HttpProbe) -> HealthCheck {
    check(Probe::Http(Box::new(probe)))
}

fn watched(cluster: &Cluster) -> Registry {
    let registry = Registry::new();
    cluster.watch(&Watch::new(Dialer::default(), &registry.shard()).unwrap());
    registry
}

fn counted(registry: &Registry, name: &str) -> i64 {
    let text = registry.expose(&Exposition::default());
    let line = text.lines().find_map(|l| l.strip_prefix(&format!("envoy_cluster_health_check_{name}{{")));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().unwrap())
}

fn healthy(cluster: &Cluster) -> usize {
    cluster.endpoints().healthy()
}

/// A server of HTTP/1.1 or HTTP/2 that answers like this.
async fn origin(answer: impl Fn(Request<Body>) -> Response<Body> + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let answer = Rc::new(answer);
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            spawn_local(async move {
                let options = ServerOptions::default();
                let handle = |request| {
                    let answer = answer.clone();
                    async move { Answer::from(answer(request)) }
                };
                mesh_http::serve(stream, &options, std::future::pending(), handle).await;
            });
        }
    });
    addr
}

#[test]
fn by_http() {
    run(async {
        let status = Rc::new(Cell::new(200));
        let answers = status.clone();
        let addr = origin(move |request| {
            let asked = request.uri().path() == "/health" && request.headers()["host"] == "c";
            let status = if asked { answers.get() } else { 200 };
            Response::builder().status(status).body(Body::empty()).unwrap()
        })
        .await;
        let (_worker, cluster, pools) = pools(config(&[addr], |c| {
            let retriable = vec![(503, 504)];
            c.health_check = Some(Box::new(http(HttpProbe { retriable, ..HttpProbe::get("/health") })));
            c.panic_percent = 0;
        }));
        assert_eq!((healthy(&cluster), cluster.endpoints().endpoints()[0].awaits_health_check()), (0, true));
        assert_eq!(send(&pools, get("/")).await.unwrap_err().kind.flag(), Some("UH"), "not before it was asked");
        let registry = watched(&cluster);
        until(|| healthy(&cluster) == 1).await;
        assert!(!cluster.endpoints().endpoints()[0].awaits_health_check());
        fetch(&pools, "/").await;
        for (bad, checks) in [(500, 1), (503, 2)] {
            let before = counted(&registry, "failure");
            status.set(bad);
            until(|| healthy(&cluster) == 0).await;
            assert!(counted(&registry, "failure") >= before + checks);
            assert!(cluster.endpoints().endpoints()[0].fails_health_check());
            assert_eq!(send(&pools, get("/")).await.unwrap_err().kind.flag(), Some("UH"));
            status.set(200);
            until(|| healthy(&cluster) == 1).await;
            assert_eq!(counted(&registry, "healthy"), 1);
        }
    });
}

#[test]
fn who_comes_later_waits_for_its_check() {
    run(async {
        let good = origin(|_| Response::new(Body::empty())).await;
        let bad = origin(|_| Response::builder().status(404).body(Body::empty()).unwrap()).await;
        let mut config = config(&[], |c| c.health_check = Some(Box::new(http(HttpProbe::get("/")))));
        config.discovery = Discovery::Eds("e".into());
        let cluster = build(config);
        let registry = watched(&cluster);
        cluster.set_endpoints(&Arc::new(at(&[good])));
        until(|| healthy(&cluster) == 1).await;
        cluster.set_endpoints(&Arc::new(at(&[bad, good])));
        assert_eq!(healthy(&cluster), 1);
        until(|| !cluster.endpoints().endpoints()[0].awaits_health_check()).await;
        assert_eq!((healthy(&cluster), cluster.endpoints().endpoints()[0].fails_health_check()), (1, true));
        drop(cluster);
        until(|| counted(&registry, "healthy") == 0).await;
        let checks = counted(&registry, "attempt");
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(counted(&registry, "attempt"), checks, "nobody is asked for a cluster that is gone");
    });
}

#[test]
fn by_grpc() {
    run(async {
        let serving = Rc::new(Cell::new(1));
        let answers = serving.clone();
        let addr = origin(move |request| {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let (mut sender, body) = Body::channel(2);
            sender.try_send(Bytes::from(vec![0, 0, 0, 0, 2, 8, answers.get()])).unwrap();
            sender.finish_with(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]));
            Response::builder().header("content-type", "application/grpc").body(body).unwrap()
        })
        .await;
        let probe = Probe::Grpc { service: "shop".into(), authority: String::new() };
        let cluster = build(config(&[addr], |c| c.health_check = Some(Box::new(check(probe)))));
        watched(&cluster);
        until(|| healthy(&cluster) == 1).await;
        serving.set(2);
        until(|| healthy(&cluster) == 0).await;
    });
}

#[test]
fn by_a_connection() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let word = Rc::new(Cell::new("+PONG"));
        let says = word.clone();
        spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 4];
                if stream.read_exact(&mut asked).await.is_ok() {
                    stream.write_all(says.get().as_bytes()).await.unwrap();
                }
            }
        });
        let probe = Probe::Tcp { send: b"PING".to_vec(), receive: vec![b"PO".to_vec(), b"G".to_vec()] };
        let cluster = build(config(&[addr], |c| c.health_check = Some(Box::new(check(probe)))));
        watched(&cluster);
        until(|| healthy(&cluster) == 1).await;
        word.set("-ERR");
        until(|| healthy(&cluster) == 0).await;
    });
}
