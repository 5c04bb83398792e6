//! The metrics of a program behind those of its proxy.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use mesh_http::Body;
use model::Config;
use proxy::bootstrap::{Metrics, ProgramMetrics};
use telemetry::Desc;

use crate::rig::{fetch, free_address, node, origin, proxy_of, run};

const MISSING: &str = "# metrics of the program are missing: http://127.0.0.1:";

#[test]
fn the_program_stands_behind_the_proxy() {
    run(async {
        let turn = Rc::new(Cell::new(0));
        let turns = turn.clone();
        let app = origin(move |request: Request<Body>| {
            let turn = turns.get();
            async move {
                assert_eq!(request.uri().path_and_query().unwrap(), "/own?a=b");
                assert_eq!(request.headers()["accept"], "text/plain;version=0.0.4");
                let (status, kind) = match turn {
                    0 => (200, "text/plain; version=0.0.4"),
                    1 => (503, "text/plain"),
                    _ => (200, "application/openmetrics-text; version=1.0.0"),
                };
                let answer = Response::builder().status(status).header("content-type", kind);
                answer.body(Body::from("own_things_total 5")).unwrap()
            }
        })
        .await;
        let mut bootstrap = node("a");
        bootstrap.admin = Some("127.0.0.1:0".parse().unwrap());
        let program = ProgramMetrics { port: app.port(), path: "/own?a=b".parse().unwrap() };
        let at = free_address();
        bootstrap.metrics = Some(Metrics { program: Some(program), ..told_at(at) });
        let proxy = proxy_of(bootstrap, Config::default()).await;
        let ours = "# TYPE halcyon_program_scrape_failures_total counter";
        for (expected, failures) in
            [("own_things_total 5\n", 0), ("status 503; expected 200", 1), ("expected Prometheus' text format", 2)]
        {
            let answer = fetch(at, "/stats/prometheus").await;
            assert!(answer.body.contains(ours) && answer.body.contains(expected), "{expected}: {}", answer.body);
            assert_eq!(answer.body.contains(MISSING), failures > 0, "{}", answer.body);
            // Counted before ours are told.
            assert!(answer.body.contains(&format!("halcyon_program_scrape_failures_total {failures}\n")), "{failures}");
            assert!(answer.body.ends_with('\n'));
            turn.set(turn.get() + 1);
        }
        assert_eq!(fetch(at, "/healthz/ready").await.status, 200);
        assert_eq!(fetch(at, "/config_dump").await.status, 404);
        // Who asks for the proxy's own has them alone.
        let own = fetch(proxy.handle().admin.unwrap(), "/stats/prometheus").await.body;
        assert!(own.contains(ours) && !own.contains(MISSING), "{own}");
    });
}

fn told_at(address: SocketAddr) -> Metrics {
    Metrics { address, program: None, idle: Duration::from_secs(3600) }
}

#[test]
fn idle_series_are_told_no_more() {
    run(async {
        let (mut bootstrap, at) = (node("a"), free_address());
        bootstrap.metrics = Some(Metrics { idle: Duration::from_millis(1), ..told_at(at) });
        let proxy = proxy_of(bootstrap, Config::default()).await;
        let (alone, line) = ("alone_total 1\n", "busy_total{by=\"somebody\"} 1\n");
        let shard = proxy.handle().registry().shard();
        shard.counters(Desc::new("alone_total", "A.")).unwrap().with(&[]).inc();
        shard.counters(Desc::new("busy_total", "B.").labels(&["by"])).unwrap().with(&["somebody"]).inc();
        assert!(fetch(at, "/stats/prometheus").await.body.contains(line));
        loop {
            let told = fetch(at, "/stats/prometheus").await.body;
            if !told.contains(line) {
                assert!(told.contains(alone), "{told}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn a_program_that_is_not_there() {
    run(async {
        let (mut bootstrap, at) = (node("a"), free_address());
        let program = ProgramMetrics { port: free_address().port(), path: "/metrics".parse().unwrap() };
        bootstrap.metrics = Some(Metrics { program: Some(program), ..told_at(at) });
        let _proxy = proxy_of(bootstrap, Config::default()).await;
        let answer = fetch(at, "/stats/prometheus").await;
        assert!(answer.status == 200 && answer.body.contains(MISSING), "{}", answer.body);
    });
}
