//! Requests that belong together, and tries that go further away.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use mesh_http::Body;
use model::Direction::Outbound;
use model::cluster::{Balancing, Discovery};
use model::retry::RetryOn;
use model::route::{Action, Forward, HashCookie, HashKey, HashPolicy};
use model::{Cluster, NetworkFilter, RetryPolicy, TcpProxy};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::rig::*;

const RING: Balancing = Balancing::RingHash { min_size: 1024, max_size: 8192 };

async fn origins() -> [SocketAddr; 3] {
    [named_origin("a").await, named_origin("b").await, named_origin("c").await]
}

/// Everything to the cluster `c` by this key.
fn by(key: HashKey) -> Action {
    let hash = [HashPolicy::new(key)].into();
    Action::Forward(Box::new(Forward { hash, ..Forward::to("c") }))
}

fn with(headers: &[(&str, &str)]) -> Request<Body> {
    let request =
        headers.iter().fold(Request::get("/").header("host", "test"), |r, (name, value)| r.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

/// Who answered.
fn name(answer: &Answer) -> String {
    answer.body[..1].to_owned()
}

#[test]
fn like_requests_go_to_one_endpoint() {
    run(async {
        let at = free_address();
        let key = HashKey::Header("x-user".parse().unwrap());
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(vec![route("/", by(key))]))])];
        let clusters = vec![Cluster { balancing: RING, ..cluster("c", &origins().await) }];
        let _proxy = proxy("a", config(listeners, clusters)).await;
        let mut seen = std::collections::BTreeSet::new();
        for user in 0..64 {
            let ask = || async { name(&send(at, with(&[("x-user", &user.to_string())])).await) };
            let first = ask().await;
            assert_eq!(ask().await, first);
            seen.insert(first);
        }
        assert_eq!(seen.len(), 3, "all of the endpoints have users");
    });
}

#[test]
fn cookies_are_made_once() {
    run(async {
        let at = free_address();
        let cookie = |ttl| {
            let (name, path) = ("user".to_owned(), "/shop".to_owned());
            HashKey::Cookie(HashCookie { name, ttl, path, attributes: Vec::new() })
        };
        let routes = vec![
            route("/kept", by(cookie(None))),
            route(
                "/other",
                Action::Forward(Box::new(Forward {
                    hash: [HashPolicy::new(cookie(Some(Duration::ZERO)))].into(),
                    ..Forward::to("least")
                })),
            ),
            route("/", by(cookie(Some(Duration::from_secs(60))))),
        ];
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(routes))])];
        let origins = origins().await;
        let clusters = vec![
            Cluster { balancing: Balancing::Maglev { table_size: 97 }, ..cluster("c", &origins) },
            cluster("least", &origins),
        ];
        let _proxy = proxy("a", config(listeners, clusters)).await;
        let first = send(at, with(&[])).await;
        let set = first.headers["set-cookie"].to_str().unwrap();
        let (cookie, rest) = set.split_once("; ").unwrap();
        assert_eq!(rest, "Max-Age=60; Path=/shop; HttpOnly");
        let value = cookie.strip_prefix("user=\"").and_then(|rest| rest.strip_suffix('"')).unwrap();
        assert!(value.len() == 16 && value.bytes().all(|c| c.is_ascii_hexdigit()), "{value}");
        for _ in 0..8 {
            let again = send(at, with(&[("cookie", &format!("a=b; user={value}"))])).await;
            assert_eq!((name(&again), again.headers.get("set-cookie")), (name(&first), None));
        }
        for path in ["/kept", "/other"] {
            let answer = fetch(at, path).await;
            assert_eq!((answer.status, answer.headers.get("set-cookie")), (StatusCode::OK, None), "{path}");
        }
    });
}

#[test]
fn connections_of_one_address_go_to_one_endpoint() {
    run(async {
        let mut greeters = Vec::new();
        for greeting in ["a", "b", "c"] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            greeters.push(listener.local_addr().unwrap());
            tokio::task::spawn_local(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, greeting.as_bytes()).await;
                }
            });
        }
        let at = free_address();
        let tcp = TcpProxy { hash_source: true, ..TcpProxy::to("c") };
        let listeners = vec![listener("l", at, Outbound, vec![chain(NetworkFilter::Tcp(tcp))])];
        let clusters = vec![Cluster { balancing: RING, ..cluster("c", &greeters) }];
        let _proxy = proxy("a", config(listeners, clusters)).await;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..12 {
            let mut greeting = [0; 1];
            TcpStream::connect(at).await.unwrap().read_exact(&mut greeting).await.unwrap();
            seen.insert(greeting);
        }
        assert_eq!(seen.len(), 1, "{seen:?}");
    });
}

#[test]
fn further_tries_leave_the_localities_that_failed() {
    run(async {
        let failed = Rc::new(Cell::new(0));
        let count = failed.clone();
        let fails = origin(move |_| {
            count.set(count.get() + 1);
            async {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response
            }
        })
        .await;
        let mut two = cluster("c", &[fails]);
        let further = cluster("d", &[named_origin("ok").await]);
        if let (Discovery::Static(set), Discovery::Static(more)) = (&mut two.discovery, further.discovery) {
            set.localities
                .extend(more.localities.into_iter().map(|group| model::LocalityEndpoints { priority: 1, ..group }));
        }
        let retry = |every: Option<u32>| RetryPolicy {
            on: RetryOn::parse("5xx").0,
            attempts: 3,
            base_interval: Duration::from_millis(1),
            avoid_previous_hosts: false,
            avoid_previous_priorities: every.and_then(std::num::NonZeroU32::new),
            ..RetryPolicy::istio_default()
        };
        let to = |every| Action::Forward(Box::new(Forward { retry: Some(retry(every)), ..Forward::to("c") }));
        let routes = vec![route("/stays", to(None)), route("/one", to(Some(1))), route("/two", to(Some(2)))];
        let at = free_address();
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(routes))])];
        let _proxy = proxy("a", config(listeners, vec![two])).await;
        for (path, status, failures) in [("/stays", 503, 4), ("/one", 200, 1), ("/two", 200, 2)] {
            failed.set(0);
            let answer = fetch(at, path).await;
            assert_eq!((answer.status.as_u16(), failed.get()), (status, failures), "{path}");
        }
    });
}
