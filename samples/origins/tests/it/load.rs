//! The load generator: counts, both protocols, both loops, and that a stall of the server is not forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use clap::Parser;
use origins::load::{self, LoadOptions, Plan, Report};

use crate::{http_origin, listener};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: LoadOptions,
}

async fn run(args: &[&str]) -> Report {
    let line = Line::try_parse_from(["load"].iter().chain(args)).expect("options");
    load::run(Plan::try_from(line.options).expect("a plan"), std::future::pending()).await.expect("a report")
}

#[tokio::test]
async fn counts() {
    let address = http_origin().await;
    let check = async |path: &str, args: &[&str], status: u16, count: u64| {
        let url = format!("http://{address}{path}");
        let args: Vec<&str> = [url.as_str()].iter().chain(args).copied().collect();
        let report = run(&args).await;
        assert_eq!(report.statuses, [(status, count)].into(), "{args:?} {report}");
        assert_eq!((report.requests, report.answers), (count, count), "{args:?}");
        assert!(report.latency_ms.p50 <= report.latency_ms.p99 && report.latency_ms.p99 <= report.latency_ms.max);
        assert_eq!(report.is_clean(), status < 500);
        report
    };
    check("/", &["--rate=0", "-n50", "-c3"], 200, 50).await;
    check("/", &["--rate=0", "-n50", "-c3", "--h2"], 200, 50).await;
    check("/", &["--rate=0", "-n20", "-c3", "--no-keepalive"], 200, 20).await;
    check("/status/503", &["--rate=2000", "-n40"], 503, 40).await;
    check("/", &["--rate=2000", "-n40", "--h2", "-c2"], 200, 40).await;
    let report = check("/bytes/1000", &["--rate=500", "--duration=100ms"], 200, 50).await;
    assert_eq!((report.bytes, report.mode), (50_000, "open"));
    let report = check(
        "/",
        &[
            "--rate=0",
            "-n10",
            "-d",
            "body",
            "-H",
            "X-Color: green",
            "--count-header=x-served-by",
            "--count-body-regex",
            r#""method":"([A-Z]+)""#,
            "--count-body-regex",
            "green",
            "--count-body-regex",
            "missing",
        ],
        200,
        10,
    )
    .await;
    let of = |label: &str| format!("{:?}", report.counts[label]);
    assert_eq!(of("header x-served-by"), r#"{"origin-1": 10}"#);
    assert_eq!(of(r#"body "method":"([A-Z]+)""#), r#"{"POST": 10}"#);
    assert_eq!(of("body green"), r#"{"green": 10}"#);
    assert_eq!(of("body missing"), r#"{"(none)": 10}"#);
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert!(json["latency_ms"]["p99.9"].is_number() && json["statuses"]["200"] == 10, "{json}");
}

#[tokio::test]
async fn failures_by_kind() {
    let address = http_origin().await;
    let (closed, nobody) = listener().await;
    drop(closed);
    let check = async |url: String, args: &[&str], kind: &str| {
        let args: Vec<&str> = [url.as_str(), "-n5", "-c2"].iter().chain(args).copied().collect();
        let report = run(&args).await;
        assert_eq!(report.errors.get(kind).map(|e| e.count), Some(5), "{args:?} {report}");
        assert_eq!((report.answers, report.is_clean()), (0, false));
    };
    for h2 in [&[] as &[&str], &["--h2"]] {
        check(format!("http://{nobody}/"), &[h2, &["--rate=1000"]].concat(), "connect").await;
        check(format!("http://{nobody}/"), &[h2, &["--rate=0"]].concat(), "connect").await;
        check(format!("http://{address}/break/10"), &[h2, &["--rate=1000"]].concat(), "body").await;
        check(format!("http://{address}/delay/60"), &[h2, &["--rate=1000", "--timeout=50ms"]].concat(), "timeout")
            .await;
    }
}

#[tokio::test]
async fn a_stall_is_not_forgotten() {
    // The first answer comes 300 ms late and holds the only connection; 99 other requests are due in the meantime.
    let stalled = Arc::new(AtomicBool::new(false));
    let service = Router::new().fallback(move || {
        let first = !stalled.swap(true, Ordering::Relaxed);
        async move {
            if first {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            "ok"
        }
    });
    let (listener, address) = listener().await;
    tokio::spawn(async move { axum::serve(listener, service).await });
    let report = run(&[&format!("http://{address}/"), "--rate=1000", "-n100", "-c1"]).await;
    assert_eq!(report.answers, 100);
    // The last of them was due after 99 ms, so even it waited about 200 ms; a closed loop would show one slow request only.
    assert!(report.latency_ms.p50 > 200.0, "{report}");
}

#[tokio::test]
async fn warmup_is_not_counted_and_stop_ends() {
    let url = format!("http://{}/", http_origin().await);
    let report = run(&[&url, "--rate=1000", "--warmup=50ms", "--duration=50ms"]).await;
    assert_eq!(report.requests, 50);

    for rate in ["--rate=0", "--rate=1000"] {
        let line = Line::try_parse_from(["load", &url, rate, "--duration=1h"]).unwrap();
        let stop = tokio::time::sleep(Duration::from_millis(20));
        let report = load::run(Plan::try_from(line.options).unwrap(), stop).await.unwrap();
        assert!(report.answers > 0 && report.errors.is_empty(), "{report}");
    }
}
