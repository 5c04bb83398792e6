//! A limit on how many requests are under way, in a running proxy: whatever ends an exchange gives its place back, all
//! workers count together, and what is counted goes on through changes.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use mesh_http::Body;
use model::Direction::Inbound;
use model::concurrency::{Baseline, Measuring};
use model::fault::{Abort, AbortAnswer};
use model::http_proxy::HttpFilter;
use model::route::{Action, DirectResponse};
use model::{AdaptiveConcurrency, Config, Fault, Fraction, HttpProxy};
use proxy::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::rig::*;

const HOUR: Duration = Duration::from_secs(3600);

/// So many at once, for longer than any test takes.
fn at_once(min: u32) -> AdaptiveConcurrency {
    AdaptiveConcurrency { min, ..AdaptiveConcurrency::new(HOUR, Baseline::Fixed(Duration::from_secs(1))) }
}

fn filter(limit: AdaptiveConcurrency) -> HttpFilter {
    HttpFilter::AdaptiveConcurrency(Arc::new(limit))
}

/// An origin that does what the path says; with `/hold` it waits until it is told. And how many requests it got.
async fn app() -> (SocketAddr, Rc<(Cell<usize>, Notify)>) {
    let state = Rc::new((Cell::new(0), Notify::new()));
    let shared = state.clone();
    let addr = origin(move |mut request: Request<Body>| {
        let state = shared.clone();
        async move {
            state.0.set(state.0.get() + 1);
            match request.uri().path() {
                "/hold" => state.1.notified().await,
                "/endless" => return endless(),
                "/chat" => return chat(&mut request),
                _ => {}
            }
            Response::new(Body::from("done"))
        }
    });
    (addr.await, state)
}

/// A body that begins and never ends.
fn endless() -> Response<Body> {
    let (mut sender, body) = Body::channel(1);
    spawn_local(async move {
        let _ = sender.send("a beginning").await;
        std::future::pending::<()>().await;
    });
    Response::new(body)
}

/// A tunnel that is there until the other side goes.
fn chat(request: &mut Request<Body>) -> Response<Body> {
    let upgraded = request.body_mut().on_upgrade().unwrap();
    spawn_local(async move {
        let mut stream = upgraded.await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
        let _ = stream.shutdown().await;
    });
    let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
    response.body(Body::empty()).unwrap()
}

/// An inbound listener with these filters before the origin.
fn serving(at: SocketAddr, filters: Vec<HttpFilter>, app: SocketAddr) -> Config {
    let text = DirectResponse { status: 200, body: "here".into() };
    let routes = vec![route("/here", Action::Respond(text)), route("/dead", to("dead")), route("/", to("app"))];
    let http = HttpProxy { filters, upgrades: vec!["websocket".into()], ..http(routes) };
    let clusters = vec![cluster("app", &[app]), cluster("dead", &[free_address()])];
    config(vec![listener("l", at, Inbound, vec![http_chain(http)])], clusters)
}

/// Sends a request whose answer nobody reads, and gives its connection back once the origin has it. A place may be given
/// back a little later than the client has its answer: then it is sent again.
async fn begin(at: SocketAddr, path: &str, more: &str, state: &(Cell<usize>, Notify)) -> TcpStream {
    let seen = state.0.get();
    loop {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::select! {
            biased;
            () = until_some(state, seen + 1) => return stream,
            readable = stream.readable() => readable.unwrap(),
        }
        if state.0.get() > seen {
            return stream;
        }
    }
}

async fn until_some(state: &(Cell<usize>, Notify), count: usize) {
    while state.0.get() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The answer to a request once there is a place for it.
async fn let_in(at: SocketAddr, path: &'static str) -> Answer {
    loop {
        let answer = fetch(at, path).await;
        if answer.body != REFUSED {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

const REFUSED: &str = "reached concurrency limit";

async fn refused(at: SocketAddr) -> bool {
    let answer = fetch(at, "/").await;
    let refused = answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.body == REFUSED;
    assert!(refused || answer.status == StatusCode::OK, "{answer:?}");
    refused
}

const CONTROLLER: &str = "envoy_http_adaptive_concurrency_gradient_controller";
const PREFIX: [(&str, &str); 1] = [("envoy_http_conn_manager_prefix", "test")];

fn shown(proxy: &Proxy, name: &str) -> f64 {
    counted(proxy, &format!("{CONTROLLER}_{name}"), &PREFIX)
}

#[test]
fn whatever_ends_an_exchange_gives_its_place_back() {
    run(async {
        let ((app, state), at) = (app().await, free_address());
        let proxy = proxy("a", serving(at, vec![filter(at_once(1))], app)).await;
        // The client goes away: before there is an answer, within its body, and out of a tunnel.
        for (path, more) in
            [("/hold", ""), ("/endless", ""), ("/chat", "connection: upgrade\r\nupgrade: websocket\r\n")]
        {
            let client = begin(at, path, more, &state).await;
            assert!(refused(at).await && refused(at).await, "{path}");
            drop(client);
            assert_eq!(let_in(at, "/").await.body, "done", "{path}");
        }
        // It stays until it has its answer.
        let seen = state.0.get();
        let patient = spawn_local(let_in(at, "/hold"));
        until_some(&state, seen + 1).await;
        assert!(refused(at).await);
        state.1.notify_waiters();
        assert_eq!(patient.await.unwrap().body, "done");
        // Nobody answers, and it is answered here.
        assert_eq!(let_in(at, "/dead").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(let_in(at, "/here").await.body, "here");
        assert_eq!(let_in(at, "/").await.body, "done");
        let refused = [("response_code", "503"), ("response_flags", "-")];
        let blocked = shown(&proxy, "rq_blocked");
        assert!(blocked >= 7.0, "{blocked}");
        until_counted(&proxy, "istio_requests_total", &refused, blocked).await;
        assert_eq!((shown(&proxy, "concurrency_limit"), shown(&proxy, "min_rtt_msecs")), (1.0, 1000.0));
    });
}

#[test]
fn a_filter_behind_it_answers() {
    run(async {
        let ((app, _), at) = (app().await, free_address());
        let abort = Abort { answer: AbortAnswer::Http(555), share: Fraction::ALL };
        let fault = Fault { delay: None, abort: Some(abort) };
        let filters = vec![filter(at_once(1)), HttpFilter::Fault(Some(fault))];
        let _proxy = proxy("a", serving(at, filters, app)).await;
        for _ in 0..5 {
            assert_eq!(let_in(at, "/").await.status.as_u16(), 555);
        }
    });
}

#[test]
fn all_workers_count_together_and_go_on_through_changes() {
    run(async {
        let ((app, state), at) = (app().await, free_address());
        let bootstrap = proxy::bootstrap::Bootstrap { workers: 4, ..node("a") };
        let proxy = proxy_of(bootstrap, serving(at, vec![filter(at_once(3))], app)).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(spawn_local(fetch(at, "/hold")));
        }
        until_some(&state, 3).await;
        for _ in 0..8 {
            assert!(refused(at).await);
        }
        // The chain around the filter changes.
        let mut changed = serving(at, vec![filter(at_once(3))], app);
        let listener = Arc::make_mut(changed.listeners.get_mut("l").unwrap());
        let model::NetworkFilter::Http(http) = &mut listener.chains[0].filter else { panic!("HTTP") };
        http.upgrades.push("other".into());
        assert_eq!(proxy.handle().replace(changed).await, []);
        assert!(refused(at).await);
        // Its own settings are others now, so it begins anew.
        assert_eq!(proxy.handle().replace(serving(at, vec![filter(at_once(1))], app)).await, []);
        assert!(!refused(at).await);
        state.1.notify_waiters();
        for held in held {
            assert_eq!(held.await.unwrap().status, StatusCode::OK);
        }
        assert_eq!((let_in(at, "/").await.status, shown(&proxy, "concurrency_limit")), (StatusCode::OK, 1.0));
    });
}

#[test]
fn the_limit_moves_with_the_latency() {
    run(async {
        let ((app, _), at) = (app().await, free_address());
        // Nothing takes half a minute.
        let quick = AdaptiveConcurrency {
            max: 9,
            ..AdaptiveConcurrency::new(Duration::from_millis(1), Baseline::Fixed(Duration::from_secs(30)))
        };
        let proxy = proxy("a", serving(at, vec![filter(quick)], app)).await;
        assert_eq!(shown(&proxy, "concurrency_limit"), 3.0);
        while shown(&proxy, "concurrency_limit") < 9.0 {
            assert_eq!(let_in(at, "/").await.status, StatusCode::OK);
        }
        assert_eq!(shown(&proxy, "gradient"), 2000.0);
    });
}

#[test]
fn what_was_broken_off_is_no_measure() {
    run(async {
        let ((app, state), at) = (app().await, free_address());
        let measured = Baseline::Measured(Measuring { requests: 3, ..Measuring::new(HOUR) });
        let limit = AdaptiveConcurrency { baseline: measured, ..at_once(2) };
        let proxy = proxy("a", serving(at, vec![filter(limit)], app)).await;
        drop(begin(at, "/endless", "", &state).await);
        // Both places: so the first one is free again.
        let seen = state.0.get();
        let patient = spawn_local(let_in(at, "/hold"));
        until_some(&state, seen + 1).await;
        assert_eq!(let_in(at, "/").await.status, StatusCode::OK);
        state.1.notify_waiters();
        assert_eq!(patient.await.unwrap().status, StatusCode::OK);
        assert_eq!(shown(&proxy, "min_rtt_calculation_active"), 1.0, "two of three were answered to their end");
        assert_eq!(let_in(at, "/").await.status, StatusCode::OK);
        while shown(&proxy, "min_rtt_calculation_active") > 0.0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn without_the_filter_nothing_is_counted() {
    run(async {
        let ((app, _), at) = (app().await, free_address());
        let proxy = proxy("a", serving(at, Vec::new(), app)).await;
        assert_eq!(fetch(at, "/").await.status, StatusCode::OK);
        let text = proxy.handle().registry().expose(&telemetry::Exposition::default());
        assert!(!text.lines().any(|line| line.starts_with(CONTROLLER)), "{text}");
    });
}
