//! Requests that are sent again while the first try is still waited for.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ::http::{Request, Response};
use mesh_http::Body;
use model::Direction::Outbound;
use model::RetryPolicy;
use model::retry::RetryOn;
use model::route::{Action, Forward};

use crate::rig::*;

/// What an origin does with its n-th request.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Answers(u16),
    Hangs,
}

use Does::{Answers, Hangs};

/// What became of the requests of an origin.
#[derive(Default)]
struct Seen {
    bodies: Vec<String>,
    given_up: usize,
}

struct Waiting(Rc<RefCell<Seen>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.borrow_mut().given_up += 1;
    }
}

async fn scripted(script: &'static [Does]) -> (std::net::SocketAddr, Rc<RefCell<Seen>>) {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let shared = seen.clone();
    let addr = origin(move |request: Request<Body>| {
        let seen = shared.clone();
        async move {
            let body = request.into_body().collect(1 << 20).await.unwrap().data;
            let turn = seen.borrow().bodies.len();
            seen.borrow_mut().bodies.push(String::from_utf8_lossy(&body).into_owned());
            match script[turn] {
                Answers(status) => Response::builder().status(status).body(Body::full(turn.to_string())).unwrap(),
                Hangs => {
                    let _waiting = Waiting(seen);
                    std::future::pending().await
                }
            }
        }
    });
    (addr.await, seen)
}

fn hedged(attempts: u32, change: impl FnOnce(&mut Forward)) -> Action {
    let retry = RetryPolicy {
        on: RetryOn::parse("5xx").0,
        attempts,
        per_try_timeout: Some(Duration::from_millis(60)),
        ..RetryPolicy::istio_default()
    };
    let mut to = Forward { retry: Some(retry), hedge_on_per_try_timeout: true, ..Forward::to("c") };
    change(&mut to);
    Action::Forward(Box::new(to))
}

#[test]
fn the_first_good_answer_counts() {
    run(async {
        for (script, attempts, status, body, tries, given_up) in [
            (&[Answers(200)][..], 2, 200, "0", 1, 0),
            (&[Hangs, Answers(200)], 2, 200, "1", 2, 1),
            (&[Hangs, Hangs, Answers(404)], 2, 404, "2", 3, 2),
            // A bad answer is one try less; the others are still waited for.
            (&[Hangs, Answers(503), Answers(200)], 2, 200, "2", 3, 1),
            (&[Answers(503), Hangs, Answers(200)], 2, 200, "2", 3, 1),
            (&[Answers(503), Answers(503), Answers(503)], 2, 503, "2", 3, 0),
        ] {
            let (addr, seen) = scripted(script).await;
            let at = free_address();
            let routes = vec![route("/", hedged(attempts, |_| ()))];
            let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(routes))])];
            let proxy = proxy("a", config(listeners, vec![cluster("c", &[addr])])).await;
            let request = Request::post("/").header("host", "test").body(Body::full("abc")).unwrap();
            let answer = send(at, request).await;
            assert_eq!((answer.status.as_u16(), &*answer.body), (status, body));
            assert_eq!(seen.borrow().bodies, vec!["abc"; tries]);
            let cluster = [("cluster_name", "c")];
            until_counted(&proxy, "envoy_cluster_upstream_rq_retry", &cluster, (tries - 1) as f64).await;
            let late = counted(&proxy, "envoy_cluster_upstream_rq_per_try_timeout", &cluster);
            assert_eq!(late > 0.0, script.contains(&Hangs));
            let all_gone = async {
                while seen.borrow().given_up < given_up {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(PATIENCE, all_gone).await.expect("those that are not needed are given up");
        }
    });
}

#[test]
fn the_whole_has_its_limit() {
    run(async {
        let (addr, seen) = scripted(&[Hangs, Hangs, Hangs]).await;
        let at = free_address();
        let short = hedged(1, |to| to.timeout = Some(Duration::from_millis(300)));
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(vec![route("/", short)]))])];
        let proxy = proxy("a", config(listeners, vec![cluster("c", &[addr])])).await;
        assert_eq!(fetch(at, "/").await.status, 504);
        assert_eq!(seen.borrow().bodies.len(), 2, "no more than the policy allows");
        until_counted(&proxy, "istio_requests_total", &[("response_flags", "UT,URX")], 1.0).await;
    });
}

#[test]
fn a_long_body_goes_once() {
    run(async {
        let (addr, seen) = scripted(&[Hangs, Hangs]).await;
        let at = free_address();
        let short = hedged(1, |to| to.timeout = Some(Duration::from_millis(300)));
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(vec![route("/", short)]))])];
        let _proxy = proxy("a", config(listeners, vec![cluster("c", &[addr])])).await;
        let body = Body::full(vec![b'x'; 100_000]);
        let answer = send(at, Request::post("/").header("host", "test").body(body).unwrap()).await;
        assert_eq!((answer.status.as_u16(), seen.borrow().bodies.len()), (504, 1));
    });
}
