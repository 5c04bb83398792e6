//! A server that answers as Prometheus does.

use std::sync::Mutex;

use axum::extract::{Form, State};
use axum::{Json, Router, routing::post};
use serde_json::{Value, json};

use super::*;
use crate::options::Options;
use crate::simulated::{Simulated, T0, line};

type Asked = Arc<Mutex<Vec<HashMap<String, String>>>>;

async fn range(State(asked): State<Asked>, Form(form): Form<HashMap<String, String>>) -> (StatusCode, Json<Value>) {
    let query = form["query"].clone();
    let ends = [&form["start"], &form["end"]].map(|it| it.parse::<f64>().unwrap());
    let step: f64 = form["step"].parse().unwrap();
    asked.lock().unwrap().push(form);
    let labels = |more: Value| {
        let mut labels = json!({
            "reporter": "destination", "source_workload": "web-v1", "source_workload_namespace": "default",
            "source_canonical_service": "web", "destination_workload": "api-v1", "destination_workload_namespace": "default",
            "destination_canonical_service": "api", "destination_canonical_revision": "latest",
            "destination_service": "api.default.svc.cluster.local", "destination_service_name": "api",
            "destination_service_namespace": "default", "request_protocol": "http", "response_code": "200",
            "response_flags": "-", "connection_security_policy": "mutual_tls",
        });
        labels.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        labels
    };
    let line = |value: f64, more: Value| {
        let steps = ((ends[1] - ends[0]) / step).round() as usize;
        let values: Vec<Value> =
            (0..=steps).map(|n| json!([ends[0] + n as f64 * step, (value * step).to_string()])).collect();
        json!({ "metric": labels(more), "values": values })
    };
    let result = match () {
        () if query.contains("requests_total") => {
            vec![line(2.0, json!({})), line(0.001, json!({ "response_code": "503" }))]
        }
        () if query.contains("milliseconds_bucket") => {
            let of = [("5", 0.0), ("10", 1.0), ("25", 2.0), ("+Inf", 2.0)];
            of.iter().map(|(le, rate)| line(*rate, json!({ "le": le }))).collect()
        }
        () if query.contains("milliseconds_sum") => vec![line(24.0, json!({}))],
        () if query.contains("tcp_sent") => {
            vec![line(100.0, json!({ "request_protocol": "tcp", "destination_workload": "db" }))]
        }
        () if query.contains("closed") && query.contains("[1s]") => {
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "status": "error", "error": "too much" })));
        }
        () => vec![],
    };
    (StatusCode::OK, Json(json!({ "status": "success", "data": { "resultType": "matrix", "result": result } })))
}

async fn mesh() -> (Simulated, Asked) {
    let asked = Asked::default();
    let router = Router::new().route("/prom/api/v1/query_range", post(range)).with_state(asked.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/prom/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let options = Options { prometheus: Some(address.parse().unwrap()), ..Options::default() };
    (Simulated::at(None, T0, options), asked)
}

#[tokio::test]
async fn history_of_prometheus() {
    let (mut mesh, asked) = mesh().await;
    mesh.tell(line(false, "web-v1", "own-v1", 60));
    mesh.pass(60);
    // Memory reaches that far back.
    let (_, graph) = mesh.get("/v1/graph?window=60").await;
    assert_eq!(graph["nodes"].as_array().unwrap().len(), 2);
    assert!(asked.lock().unwrap().is_empty());
    let (status, graph) = mesh.get("/v1/graph?window=3600").await;
    assert_eq!(status, 200, "{graph}");
    let ids: Vec<&str> = graph["edges"].as_array().unwrap().iter().map(|edge| edge["id"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        ["workload:default/web-v1>workload:default/api-v1>http", "workload:default/web-v1>workload:default/db>tcp"]
    );
    let traffic = &graph["edges"][0]["traffic"];
    assert_eq!(
        (&traffic["rps"], &traffic["rps5xx"], &traffic["success"]),
        (&json!(2.001), &json!(0.001), &json!(0.9995))
    );
    assert_eq!(traffic["requests"], 7204, "2.001 a second for an hour");
    // Half of them took 5 to 10 ms, half 10 to 25 ms.
    let (p50, mean) = (traffic["p50"].as_f64().unwrap(), traffic["mean"].as_f64().unwrap());
    assert!((p50 - 10.0).abs() < 0.5 && (mean - 12.0).abs() < 0.1, "{p50} {mean}");
    assert_eq!((&graph["edges"][0]["mtls"], &graph["edges"][1]["traffic"]["tcpSent"]), (&json!(1.0), &json!(100.0)));
    assert!(
        asked.lock().unwrap()[0]["query"]
            .contains("increase(istio_requests_total{reporter=~\"source|destination\"}[3600s])")
    );
    let day = "from=2025-12-31T00:00:00Z&to=2026-01-01T00:00:00Z&points=24";
    let (status, answer) = mesh.get(&format!("/v1/series?of=service/default/api&metrics=rps5xx&{day}")).await;
    assert_eq!((status, &answer["stepS"]), (200, &json!(3600)), "{answer}");
    assert_eq!(answer["series"][0]["values"], json!(vec![0.001; 24]));
    assert_eq!(mesh.get("/v1/observe").await.1["history"]["state"], "prometheus");
}

#[tokio::test]
async fn prometheus_says_no_or_nothing() {
    let (mesh, _) = mesh().await;
    let (status, answer) = mesh.get("/v1/stat?window=1&at=2025-12-31T00:00:00Z").await;
    assert_eq!(status, 502);
    assert!(answer["error"].as_str().unwrap().ends_with("refused the question: too much"), "{answer}");
    let options = Options { prometheus: Some("http://127.0.0.1:1".parse().unwrap()), ..Options::default() };
    let (status, answer) = Simulated::at(None, T0, options).get("/v1/graph?window=3600").await;
    assert_eq!(status, 502, "{answer}");
    for address in ["https://prometheus:9090", "/api"] {
        assert!(Prometheus::new(address.parse().unwrap()).is_err(), "{address}");
    }
}

#[test]
fn histograms_in_our_buckets() {
    let mut cell = Cell::default();
    spread_out(&[(1.0, 0.0), (5.0, 4.0), (f64::INFINITY, 6.0)], &mut cell);
    assert_eq!(cell.spread.iter().map(|(_, count)| count).sum::<u64>(), 6000);
    let median = spread::quantile(cell.spread.iter().map(|(b, c)| (usize::from(*b), *c)), 2.0 / 6.0).unwrap();
    assert!((median - 3000.0).abs() < 60.0, "{median}");
}
