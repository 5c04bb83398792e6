//! Circuit breakers, outliers and limits of raw connections: what callers and people see of them.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use ::http::{Response, StatusCode};
use mesh_http::Body;
use model::Direction::Outbound;
use model::retry::RetryOn;
use model::route::{Action, Forward};
use model::{CircuitBreakers, Cluster, NetworkFilter, OutlierDetection, RetryPolicy, TcpProxy};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::rig::*;

fn limited(change: impl FnOnce(&mut CircuitBreakers)) -> Option<Box<CircuitBreakers>> {
    let mut limits = CircuitBreakers::unlimited();
    change(&mut limits);
    Some(Box::new(limits))
}

/// An origin that holds requests until it is told, and how many it has.
async fn holding() -> (std::net::SocketAddr, Rc<(Cell<usize>, Notify)>) {
    let state = Rc::new((Cell::new(0), Notify::new()));
    let shared = state.clone();
    let addr = origin(move |_| {
        let state = shared.clone();
        async move {
            state.0.set(state.0.get() + 1);
            state.1.notified().await;
            Response::new(Body::empty())
        }
    });
    (addr.await, state)
}

#[test]
fn one_request_too_many() {
    run(async {
        let (addr, state) = holding().await;
        let at = free_address();
        let limits = limited(|limits| limits.max_requests = 1);
        let clusters = vec![Cluster { circuit_breakers: limits, ..cluster("c", &[addr]) }];
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(vec![route("/", to("c"))]))])];
        let proxy = proxy("a", config(listeners, clusters)).await;
        let rest = async {
            while state.0.get() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let answer = fetch(at, "/").await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers["x-envoy-overloaded"], "true");
            let body = "upstream connect error or disconnect/reset before headers. reset reason: overflow";
            assert_eq!(answer.body, body);
            until_counted(&proxy, "istio_requests_total", &[("response_flags", "UO")], 1.0).await;
            state.1.notify_waiters();
        };
        let (first, ()) = tokio::join!(fetch(at, "/"), rest);
        assert_eq!((first.status, first.headers.get("x-envoy-overloaded")), (StatusCode::OK, None));
        let cluster = [("cluster_name", "c")];
        assert_eq!(counted(&proxy, "envoy_cluster_upstream_rq_pending_overflow", &cluster), 1.0);
    });
}

#[test]
fn one_retry_too_many() {
    run(async {
        let tries = Rc::new(Cell::new(0));
        let count = tries.clone();
        let broken = origin(move |_| {
            count.set(count.get() + 1);
            async { Response::builder().status(503).body(Body::empty()).unwrap() }
        })
        .await;
        let at = free_address();
        let retry = RetryPolicy { on: RetryOn::parse("5xx").0, attempts: 5, ..RetryPolicy::istio_default() };
        let action = Action::Forward(Box::new(Forward { retry: Some(retry), ..Forward::to("c") }));
        let limits = limited(|limits| limits.max_retries = 0);
        let clusters = vec![Cluster { circuit_breakers: limits, ..cluster("c", &[broken]) }];
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(vec![route("/", action)]))])];
        let proxy = proxy("a", config(listeners, clusters)).await;
        let answer = fetch(at, "/").await;
        assert_eq!((answer.status, answer.headers.get("x-envoy-overloaded")), (StatusCode::SERVICE_UNAVAILABLE, None));
        assert_eq!(tries.get(), 1, "the upstream's own answer, without a retry");
        until_counted(&proxy, "istio_requests_total", &[("response_flags", "UO")], 1.0).await;
        assert_eq!(counted(&proxy, "envoy_cluster_upstream_rq_retry_overflow", &[("cluster_name", "c")]), 1.0);
    });
}

#[test]
fn one_raw_connection_too_many() {
    run(async {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = free_address();
        let limits = limited(|limits| limits.max_connections = 1);
        let clusters = vec![Cluster { circuit_breakers: limits, ..cluster("c", &[silent.local_addr().unwrap()]) }];
        let proxy = proxy("a", config(vec![listener("l", at, Outbound, vec![tcp_chain("c")])], clusters)).await;
        let first = TcpStream::connect(at).await.unwrap();
        let held = silent.accept().await.unwrap();
        let reset = async { TcpStream::connect(at).await?.read(&mut [0]).await };
        assert_eq!(reset.await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        let cluster = [("cluster_name", "c")];
        until_counted(&proxy, "envoy_cluster_upstream_cx_overflow", &cluster, 1.0).await;
        drop((first, held));
        while counted(&proxy, "envoy_cluster_circuit_breakers_default_cx_open", &cluster) > 0.0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (_again, _) = tokio::join!(TcpStream::connect(at), silent.accept());
    });
}

#[test]
fn raw_connections_last_for_a_time() {
    run(async {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = free_address();
        let tcp = TcpProxy { max_duration: Some(Duration::from_millis(50)), ..TcpProxy::to("c") };
        let listeners = vec![listener("l", at, Outbound, vec![chain(NetworkFilter::Tcp(tcp))])];
        let proxy = proxy("a", config(listeners, vec![cluster("c", &[silent.local_addr().unwrap()])])).await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        let _held = silent.accept().await.unwrap();
        assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)), "it is closed while it says nothing");
        let labels = [("response_flags", "DT"), ("request_protocol", "tcp")];
        until_counted(&proxy, "istio_tcp_connections_closed_total", &labels, 1.0).await;
    });
}

#[test]
fn outliers_are_seen_at_the_admin_endpoint() {
    run(async {
        let broken = origin(|_| async { Response::builder().status(500).body(Body::empty()).unwrap() }).await;
        let at = free_address();
        let detection =
            OutlierDetection { consecutive_5xx: 3, max_ejection_percent: 100, ..OutlierDetection::default() };
        let clusters =
            vec![Cluster { outlier_detection: Some(Box::new(detection)), panic_percent: 0, ..cluster("c", &[broken]) }];
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(vec![route("/", to("c"))]))])];
        let admin = proxy::bootstrap::Bootstrap { admin: Some(([127, 0, 0, 1], 0).into()), ..node("a") };
        let proxy = proxy_of(admin, config(listeners, clusters)).await;
        for _ in 0..3 {
            assert_eq!(fetch(at, "/").await.status, StatusCode::INTERNAL_SERVER_ERROR);
        }
        let ejected = "envoy_cluster_outlier_detection_ejections_active";
        until_counted(&proxy, ejected, &[("cluster_name", "c")], 1.0).await;
        let answer = fetch(at, "/").await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream"));
        let shown = fetch(proxy.handle().admin.unwrap(), "/clusters").await.body;
        for line in
            ["health_flags::/failed_outlier_check", "c::healthy::0", "c::default_priority::max_retries::4294967295"]
        {
            assert!(shown.contains(line), "{line}: {shown}");
        }
    });
}
