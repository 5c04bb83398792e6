//! What Telemetries change at a proxy: labels of metrics, metrics that are not counted, and which exchanges are logged.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::http::Request;
use expression::Expression;
use mesh_http::Body;
use model::access_log::{FileLog, LogFilter, LogFormat, LogTarget};
use model::metrics::{Metric, MetricRule, MetricRules};
use model::{AccessLog, Config, Direction, FilterChain};

use crate::rig::*;

fn expression(text: &str) -> Expression {
    Expression::parse(text).unwrap()
}

fn labels(all: &[(&str, Option<&str>)]) -> MetricRule {
    let labels = all.iter().map(|(name, text)| ((*name).into(), text.map(expression)));
    MetricRule { labels: labels.collect(), ..MetricRule::default() }
}

fn asking(team: &str) -> Request<Body> {
    let mut request = get("shop", "/");
    request.headers_mut().insert("x-team", team.parse().unwrap());
    request
}

fn exposed(proxy: &proxy::Proxy, family: &str) -> Vec<String> {
    let text = proxy.handle().registry().expose(&telemetry::Exposition::default());
    let of_family = |line: &&str| line.split(['{', ' ']).next() == Some(family);
    text.lines().filter(of_family).map(str::to_owned).collect()
}

#[test]
fn labels_of_requests() {
    run(async {
        let (at, app) = (free_address(), named_origin("app").await);
        let rules = MetricRules::from([
            (
                Metric::RequestCount,
                labels(&[
                    ("team", Some("request.headers['x-team']")),
                    ("request_host", Some("request.host")),
                    ("response_code", Some("string(response.code / 100) + 'xx'")),
                    ("never", Some("request.headers['x-never']")),
                    ("source_principal", None),
                    ("no_label_of_ours", None),
                ]),
            ),
            (Metric::RequestDuration, MetricRule { dropped: true, ..MetricRule::default() }),
        ]);
        let chain = FilterChain { metrics: Some(Arc::new(rules)), ..http_chain(http(vec![route("/", to("app"))])) };
        let all: Config =
            config(vec![listener("l", at, Direction::Outbound, vec![chain])], vec![cluster("app", &[app])]);
        let proxy = proxy("a", all).await;
        for team in ["blue", "blue", "red\"}"] {
            assert_eq!(send(at, asking(team)).await.status, 200);
        }
        until_counted(&proxy, "istio_requests_total", &[("team", "blue")], 2.0).await;
        until_counted(&proxy, "istio_requests_total", &[("never", "unknown")], 3.0).await;
        let lines = exposed(&proxy, "istio_requests_total");
        assert_eq!(lines.len(), 2, "{lines:#?}");
        for line in &lines {
            assert!(line.contains("request_host=\"shop\"") && line.contains("response_code=\"2xx\""), "{line}");
            assert!(!line.contains("source_principal") && !line.contains("no_label_of_ours"), "{line}");
            assert!(line.contains("source_workload=\"a-v1\""), "{line}");
        }
        assert!(lines.iter().any(|line| line.contains(r#"team="red\"}""#)), "{lines:#?}");
        assert_eq!(exposed(&proxy, "istio_request_duration_milliseconds_count"), [""; 0]);
        assert_eq!(exposed(&proxy, "istio_request_bytes_count").len(), 1, "metrics without rules are as they were");
    });
}

#[test]
fn labels_of_connections() {
    run(async {
        let (at, app) = (free_address(), named_origin("app").await);
        let rules = MetricRules::from([
            (Metric::TcpOpened, labels(&[("port", Some("string(destination.port)")), ("reporter", None)])),
            (Metric::TcpClosed, MetricRule { dropped: true, ..MetricRule::default() }),
        ]);
        let chain = FilterChain { metrics: Some(Arc::new(rules)), ..tcp_chain("app") };
        let all = config(vec![listener("l", at, Direction::Outbound, vec![chain])], vec![cluster("app", &[app])]);
        let proxy = proxy("a", all).await;
        assert_eq!(send(at, asking("blue")).await.status, 200);
        let port = at.port().to_string();
        until_counted(&proxy, "istio_tcp_connections_opened_total", &[("port", &port)], 1.0).await;
        let opened = exposed(&proxy, "istio_tcp_connections_opened_total");
        assert!(!opened[0].contains("reporter="), "{opened:?}");
        assert_eq!(exposed(&proxy, "istio_tcp_connections_closed_total"), [""; 0]);
    });
}

#[test]
fn what_is_logged() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (at, app) = (free_address(), named_origin("app").await);
        let file = FileLog {
            path: path.display().to_string(),
            format: LogFormat::Text("%REQ(X-TEAM)% %RESPONSE_CODE%\n".into()),
        };
        let filter = LogFilter::Expression(expression("response.code >= 500 || request.headers['x-team'] == 'red'"));
        let mut served = http(vec![route("/gone", to("gone")), route("/", to("app"))]);
        served.access_logs = vec![AccessLog { to: LogTarget::File(file), filter: Some(Arc::new(filter)) }];
        let clusters = vec![cluster("app", &[app]), cluster("gone", &[])];
        let all = config(vec![listener("l", at, Direction::Outbound, vec![http_chain(served)])], clusters);
        let proxy = proxy("a", all).await;
        for team in ["blue", "red", "green"] {
            assert_eq!(send(at, asking(team)).await.status, 200);
        }
        assert_eq!(fetch(at, "/gone").await.status, 503);
        proxy.handle().stop();
        tokio::task::spawn_blocking(move || proxy.wait()).await.unwrap();
        let mut lines: BTreeMap<String, u32> = BTreeMap::new();
        std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .for_each(|line| *lines.entry(line.to_owned()).or_default() += 1);
        assert_eq!(lines, BTreeMap::from([("red 200".to_owned(), 1), ("- 503".to_owned(), 1)]));
    });
}
