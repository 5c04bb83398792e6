//! details, ratings and reviews: paths, statuses, JSON.

use axum::http::{Request, StatusCode};
use bookinfo::Options;
use clap::Parser as _;
use serde_json::json;

use crate::network::{Network, always, delayed, get, mirror, role, send};

#[tokio::test]
async fn details() {
    let service = role(&["--role=details"], Network::default());
    assert_eq!(get(&service, "/health", &[]).await.status, 200);
    let answer = get(&service, "/details/7", &[]).await;
    assert_eq!(
        answer.text,
        r#"{"id":7,"author":"William Shakespeare","year":1595,"type":"paperback","pages":200,"publisher":"PublisherA","language":"English","ISBN-10":"1234567890","ISBN-13":"123-1234567890"}"#
    );
    let refused = get(&service, "/details/seven", &[]).await;
    assert_eq!((refused.status, refused.json()["error"].is_string()), (400, true));
}

#[tokio::test]
async fn details_from_outside() {
    const FOUND: &str = r#"{"items":[{"volumeInfo":{"authors":["A <b>"],"publishedDate":"2002","printType":"BOOK","pageCount":80,
        "publisher":"P","language":"en","industryIdentifiers":[{"type":"ISBN_13","identifier":"13"},{"type":"ISBN_10","identifier":"10"}]}}]}"#;
    let args = [
        "--role=details",
        "--enable-external-book-service",
        "--do-not-encrypt",
        "--external-book-service=books.example",
    ];
    let check = async |network, status, body: serde_json::Value| {
        let answer = get(&role(&args, network), "/details/0", &[]).await;
        assert_eq!(answer.status, status);
        if status == 200 {
            assert_eq!(answer.json(), body);
        }
    };
    let expected = json!({"id":0,"author":"A <b>","year":"2002","type":"paperback","pages":80,"publisher":"P","language":"English","ISBN-10":"10","ISBN-13":"13"});
    check(Network::default().with("books.example", always(StatusCode::OK, FOUND)), 200, expected).await;
    check(Network::default().with("books.example", always(StatusCode::FORBIDDEN, "")), 503, json!(null)).await;
    check(Network::default(), 503, json!(null)).await;
}

#[test]
fn refusals() {
    let check = |args: &[&str], says: &str| {
        let options = Options::parse_from(["bookinfo"].iter().chain(args));
        let refusal = bookinfo::router(&options, std::sync::Arc::new(Network::default())).expect_err("a refusal");
        assert!(refusal.to_string().contains(says), "{refusal}");
    };
    check(&["--role=details", "--enable-external-book-service"], "--do-not-encrypt");
    check(
        &["--role=details", "--enable-external-book-service", "--do-not-encrypt", "--external-book-service=:x"],
        "host:port",
    );
    check(&["--role=reviews", "--star-color=red;"], "letters only");
}

#[tokio::test]
async fn ratings() {
    let service = role(&["--role=ratings"], Network::default());
    assert_eq!(get(&service, "/ratings/0", &[]).await.text, r#"{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}"#);
    assert_eq!(get(&service, "/ratings/x", &[]).await.status, 400);
    let post = |path: &str, body: &'static str| send_post(service.clone(), path.to_owned(), body);
    assert_eq!(post("/ratings/0", "not JSON").await.0, 400);
    assert_eq!(post("/ratings/0", r#"{"Ann":"five"}"#).await.0, 400);
    assert_eq!(post("/ratings/0", r#"{"Ann":1}"#).await, (200, r#"{"id":0,"ratings":{"Ann":1}}"#.to_owned()));
    assert_eq!(get(&service, "/ratings/0", &[]).await.text, r#"{"id":0,"ratings":{"Ann":1}}"#);

    let stored = role(&["--role=ratings", "--service-version=v2"], Network::default());
    assert_eq!(send_post(stored, "/ratings/0".to_owned(), "{}").await.0, 501);
}

async fn send_post(service: axum::Router, path: String, body: &'static str) -> (u16, String) {
    let answer = send(&service, Request::post(path).body(body.into()).unwrap()).await;
    (answer.status, answer.text)
}

#[tokio::test(start_paused = true)]
async fn ratings_that_misbehave() {
    let faulty = role(&["--role=ratings", "--service-version=v-faulty"], Network::default());
    let mut seen = [0; 2];
    for _ in 0..64 {
        match get(&faulty, "/ratings/0", &[]).await.status {
            200 => seen[0] += 1,
            503 => seen[1] += 1,
            other => panic!("{other}"),
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");

    let late = role(&["--role=ratings", "--service-version=v-delayed"], Network::default());
    let began = tokio::time::Instant::now();
    for _ in 0..64 {
        assert_eq!(get(&late, "/ratings/0", &[]).await.status, 200);
    }
    let waits = began.elapsed().as_secs() / 7;
    assert!((1..64).contains(&waits), "{waits}");

    let check = async |version: &str, after: u64, ratings: u16, health: u16| {
        let service = role(&["--role=ratings", &format!("--service-version={version}")], Network::default());
        tokio::time::advance(std::time::Duration::from_secs(after)).await;
        let got = (get(&service, "/ratings/0", &[]).await.status, get(&service, "/health", &[]).await.status);
        assert_eq!(got, (ratings, health), "{version} after {after} s");
    };
    check("v-unavailable", 30, 200, 200).await;
    check("v-unavailable", 70, 503, 200).await;
    check("v-unhealthy", 70, 200, 200).await;
    check("v-unhealthy", 1000, 503, 500).await;
}

#[tokio::test(start_paused = true)]
async fn reviews() {
    let steady = || role(&["--role=ratings"], Network::default());
    let check = async |args: &[&str], ratings: Option<axum::Router>, rating: serde_json::Value, seconds: f64| {
        let network = ratings.into_iter().fold(Network::default(), |n, r| n.with("ratings", r));
        let args: Vec<&str> = ["--role=reviews"].iter().chain(args).copied().collect();
        let began = tokio::time::Instant::now();
        let answer = get(&role(&args, network), "/reviews/0", &[]).await;
        assert_eq!(answer.status, 200);
        let json = answer.json();
        assert_eq!((&json["id"], &json["podname"]), (&json!("0"), &json!("pod-1")));
        assert_eq!(json["reviews"][0]["rating"], rating, "{args:?}");
        assert_eq!(json["reviews"][1]["reviewer"], "Reviewer2");
        assert!((began.elapsed().as_secs_f64() - seconds).abs() < 0.1, "{args:?} {:?}", began.elapsed());
    };
    let none = json!(null);
    let failed = json!({ "error": "the ratings service is unavailable" });
    check(&[], Some(steady()), none, 0.0).await;
    check(&["--enable-ratings"], Some(steady()), json!({"stars":5,"color":"black"}), 0.0).await;
    check(&["--enable-ratings", "--star-color=red"], Some(steady()), json!({"stars":5,"color":"red"}), 0.0).await;
    check(&["--enable-ratings"], None, failed.clone(), 0.0).await;
    check(&["--enable-ratings"], Some(always(StatusCode::OK, "not JSON")), failed.clone(), 0.0).await;
    check(&["--enable-ratings"], Some(always(StatusCode::INTERNAL_SERVER_ERROR, "{}")), failed.clone(), 0.0).await;
    // The patience of the versions: 10 s for black, 2.5 s for red.
    check(&["--enable-ratings"], Some(delayed(steady(), 7)), json!({"stars":5,"color":"black"}), 7.0).await;
    check(&["--enable-ratings"], Some(delayed(steady(), 11)), failed.clone(), 10.0).await;
    check(&["--enable-ratings", "--star-color=red"], Some(delayed(steady(), 7)), failed, 2.5).await;
}

#[tokio::test]
async fn headers_go_on() {
    let page = role(&["--role=productpage"], Network::default().with("details", mirror()));
    // `session` holds "jason".
    let sent = [
        ("x-request-id", "r1"),
        ("traceparent", "00-1-2-01"),
        ("x-b3-traceid", "t1"),
        ("end-user", "forged"),
        ("cookie", "session=6a61736f6e"),
        ("x-other", "stays"),
    ];
    let seen = get(&page, "/api/v1/products/0", &sent).await.json();
    let expected = [
        ("x-request-id", json!("r1")),
        ("traceparent", json!("00-1-2-01")),
        ("x-b3-traceid", json!("t1")),
        ("end-user", json!("jason")),
        ("cookie", json!("session=6a61736f6e")),
        ("host", json!("details:9080")),
        ("connection", json!("close")),
        ("x-other", json!(null)),
    ];
    for (name, value) in expected {
        assert_eq!(seen[name], value, "{name}");
    }
}
