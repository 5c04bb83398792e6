//! Calls and their answers, exactly; and questions that are refused.

use serde_json::{Value, json};

use crate::simulated::{Line, Simulated, T0, line};

fn traffic(of: &Value) -> (f64, Option<f64>) {
    (of["traffic"]["rps"].as_f64().unwrap(), of["traffic"]["success"].as_f64())
}

#[tokio::test]
async fn bad_questions() {
    let mesh = Simulated::new(None);
    for (path, error, hint) in [
        ("/v1/graph?window=0", "`window` is `0`", "expected a whole number from 1 to 21600"),
        ("/v1/graph?window=x", "`window` is `x`", "expected a whole number from 1 to 21600"),
        ("/v1/graph?type=pod", "`type` is `pod`", "expected workload, app, versionedApp, service"),
        ("/v1/graph?windw=5", "`windw` is not known here", "expected of: window, type, namespace, at, format"),
        ("/v1/stat?at=now", "`at` is `now`", "expected a time as RFC 3339 has it, such as 2026-02-03T04:05:06Z"),
        ("/v1/stat?from=web", "`from` is `web`", "expected NAMESPACE/NAME"),
        ("/v1/series?of=edge/a/b", "`of` is `edge/a/b`", ""),
        ("/v1/series?metrics=rps,p51", "`metrics` is `p51`", ""),
        ("/v1/series?from=2027-01-01T00:00:00Z", "`from` is `2027-01-01T00:00:00Z`", ""),
        ("/v1/traces?tag=a", "`tag` is `a`", "expected KEY=VALUE"),
        ("/v1/traces?minMs=-1", "`minMs` is `-1`", "expected milliseconds, such as 12.5"),
        ("/v1/traces/xyz", "`traceId` is `xyz`", ""),
        ("/v1/tap?status=5x", "`status` is `5x`", "expected a status such as 503, or 5xx"),
        ("/v1/clusters?workload=a", "`workload` is `a`", "expected NAMESPACE/NAME"),
    ] {
        let (status, answer) = mesh.get(path).await;
        assert_eq!((status, answer["error"].as_str()), (400, Some(error)), "{path}: {answer}");
        assert!(answer["hint"].as_str().unwrap().starts_with(hint), "{path}: {answer}");
    }
    assert_eq!(mesh.get("/v1/traces/00000000000000000000000000000001").await.0, 404);
}

#[tokio::test]
async fn figures_in_rows() {
    let mut mesh = Simulated::new(None);
    mesh.tell(line(true, "web-v1", "api-v1", 60));
    mesh.tell(line(false, "web-v1", "api-v1", 60));
    mesh.tell(Line { route: "canary", ..line(false, "web-v1", "api-v2", 30) });
    mesh.tell(Line { code: 503, flags: "UH", service: "api", ..line(true, "web-v1", "", 30) });
    // A caller without mutual TLS: both sides tell, neither knows the other.
    mesh.tell(Line { service: "plain", ..line(true, "web-v1", "", 60) });
    mesh.tell(Line { service: "plain", mutual: false, ..line(false, "", "plain-v1", 60) });
    mesh.pass(60);
    let rows = |answer: Value| -> Vec<String> {
        let row = |row: &Value| {
            let word = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
            let (rps, success) = traffic(row);
            let words = [word("namespace"), word("name"), word("from"), word("to"), word("service"), word("security")];
            format!("{} {rps} {}", words.join(" "), success.unwrap())
        };
        answer["rows"].as_array().unwrap().iter().map(row).collect()
    };
    for (query, expected) in [
        ("by=service", vec!["default api - - - - 2 0.75", "default plain - - - - 1 1"]),
        (
            "by=workload",
            vec!["default api-v1 - - - - 1 1", "default api-v2 - - - - 0.5 1", "default plain-v1 - - - - 1 1"],
        ),
        ("by=app&name=api", vec!["default api - - - - 1.5 1"]),
        ("by=namespace", vec!["default default - - - - 3 0.8333"]),
        ("by=workload&direction=outbound", vec!["default web-v1 - - - - 3 0.8333"]),
        ("by=route&to=default/api", vec!["default canary - - api - 0.5 1", "default default - - api - 1.5 0.6667"]),
        (
            "by=edge&from=default/web-v1",
            vec![
                "default  default/web-v1 default/api - unknown 0.5 0",
                "default  default/web-v1 default/api-v1 - mutual_tls 1 1",
                "default  default/web-v1 default/api-v2 - mutual_tls 0.5 1",
                "default  default/web-v1 default/plain - unknown 1 1",
            ],
        ),
        ("by=service&namespace=other", vec![]),
    ] {
        let (status, answer) = mesh.get(&format!("/v1/stat?{query}")).await;
        assert_eq!((status, rows(answer)), (200, expected.into_iter().map(str::to_owned).collect()), "{query}");
    }
    let (_, answer) = mesh.get("/v1/stat?by=service&name=api").await;
    let row = &answer["rows"][0];
    assert_eq!((&row["workloads"], &row["health"]), (&json!(2), &json!("failing")));
    assert_eq!(row["traffic"]["requests"], 120);
    let keys: Vec<&String> = row["traffic"].as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 17, "as the contract has them: {keys:?}");
    // The called side's latency, and the caller's where it alone tells.
    assert_eq!(mesh.get("/v1/stat?by=workload&name=api-v1").await.1["rows"][0]["traffic"]["mean"], 10.0);
    assert_eq!(mesh.get("/v1/stat?by=edge&to=default/api-v1").await.1["rows"][0]["traffic"]["mean"], 20.0);
}

#[tokio::test]
async fn figures_over_time() {
    let mut mesh = Simulated::new(None);
    for minute in 0..4 {
        mesh.tell(line(false, "web-v1", "api-v1", 60 * (minute + 1)));
        if minute == 2 {
            mesh.tell(Line { code: 500, ..line(false, "web-v1", "api-v2", 60) });
        }
        mesh.pass(60);
    }
    let from = "from=2025-12-31T23:59:00Z&to=2026-01-01T00:04:00Z&points=5";
    let (status, answer) = mesh.get(&format!("/v1/series?of=service/default/api&metrics=rps,success&{from}")).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["stepS"], 60);
    let start = T0 / 1000;
    assert_eq!(answer["times"], json!([start, start + 60, start + 120, start + 180, start + 240]));
    assert_eq!(answer["series"][0]["values"], json!([null, 1.0, 2.0, 4.0, 4.0]));
    assert_eq!(answer["series"][1]["values"], json!([null, 1.0, 1.0, 0.75, 1.0]));
    assert_eq!(answer["notices"], json!(["history is from 00:00:00 UTC on"]));
    let (_, answer) = mesh.get("/v1/series?of=mesh&metrics=rps&window=120&points=2").await;
    assert_eq!(answer["times"].as_array().unwrap().len(), 2, "{answer}");
    for (query, expected) in [
        ("of=mesh&split=code", json!([["200", [null, 1.0, 2.0, 3.0, 4.0]], ["500", [null, 0.0, 0.0, 1.0, 0.0]]])),
        (
            "of=app/default/api&split=version",
            json!([["v1", [null, 1.0, 2.0, 3.0, 4.0]], ["v2", [null, 0.0, 0.0, 1.0, 0.0]]]),
        ),
        (
            "of=workload/default/web-v1&direction=outbound&split=destination",
            json!([["default/api-v1", [null, 1.0, 2.0, 3.0, 4.0]], ["default/api-v2", [null, 0.0, 0.0, 1.0, 0.0]]]),
        ),
        ("of=edge/default/web-v1/default/api-v2&split=source", json!([["default/web-v1", [null, 0.0, 0.0, 1.0, 0.0]]])),
        ("of=namespace/default&split=route", json!([["default", [null, 1.0, 2.0, 4.0, 4.0]]])),
    ] {
        let (_, answer) = mesh.get(&format!("/v1/series?{query}&metrics=rps&{from}")).await;
        let series = answer["series"].as_array().unwrap().iter().map(|it| json!([it["label"], it["values"]]));
        assert_eq!(series.collect::<Value>(), expected, "{query}");
    }
    let (_, answer) = mesh.get(&format!("/v1/series?of=workload/default/nobody&metrics=rps,p50&{from}")).await;
    assert_eq!(answer["series"][0]["values"], json!([null, 0.0, 0.0, 0.0, 0.0]));
    assert_eq!(answer["series"][1]["values"], json!([null, null, null, null, null]));
}

#[tokio::test]
async fn how_observing_is() {
    let mut mesh = Simulated::new(None);
    mesh.tell(line(false, "web-v1", "api-v1", 60));
    let (status, answer) = mesh.get("/v1/observe").await;
    let expected = json!({
        "proxies": 1,
        "edges": 1,
        "outcomes": 1,
        "history": { "state": "ok", "from": "2026-01-01T00:00:00.000Z", "bytes": 0, "mostBytes": 0 },
        "traces": { "kept": 0, "bytes": 0, "mostBytes": 32 << 20, "dropped": 0 },
    });
    assert_eq!((status, answer), (200, expected));
    let (status, text) = mesh.get_text("/v1/graph?format=dot&type=app").await;
    assert!(status == 200 && text.starts_with("digraph mesh {"), "{text}");
}
