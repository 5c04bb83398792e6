//! productpage: the page, sign-in, the JSON API, the counter; and the classic lesson with a delayed ratings service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{Request, StatusCode};
use bookinfo::Options;
use clap::Parser as _;

use crate::network::{Network, always, delayed, get, role, send};

fn shop(reviews: &[&str]) -> Network {
    let args: Vec<&str> = ["--role=reviews"].iter().chain(reviews).copied().collect();
    Network::default().role("ratings", &["--role=ratings"]).role("details", &["--role=details"]).role("reviews", &args)
}

fn page(network: Network) -> Router {
    role(&["--role=productpage"], network)
}

#[tokio::test(start_paused = true)]
async fn what_the_page_shows() {
    let check = async |network: Network, shows: &[&str], shows_not: &[&str]| {
        let answer = get(&page(network), "/productpage", &[]).await;
        assert_eq!(answer.status, 200);
        for part in shows {
            assert!(answer.text.contains(part), "missing {part} in {}", answer.text);
        }
        for part in shows_not {
            assert!(!answer.text.contains(part), "unexpected {part} in {}", answer.text);
        }
    };
    let no_details = "The details of this book are not available";
    let no_reviews = "The reviews of this book are not available";
    check(shop(&[]), &["William Shakespeare, 1595", "Reviewer2", "pod-1"], &["of 5 stars", no_details, no_reviews])
        .await;
    check(shop(&["--enable-ratings"]), &["5 of 5 stars, black", "4 of 5 stars, black"], &["stars, red"]).await;
    check(shop(&["--enable-ratings", "--star-color=red"]), &["5 of 5 stars, red"], &["stars, black"]).await;
    check(Network::default(), &[no_details, no_reviews, "The Comedy of Errors"], &["of 5 stars"]).await;
    let hostile = r#"{"podname":"<script>1</script>","reviews":[{"reviewer":"<i>","text":"\"><b>","rating":{"stars":3,"color":"\"><u>"}}]}"#;
    check(
        Network::default().with("reviews", always(StatusCode::OK, hostile)),
        &["&lt;script&gt;", "&lt;i&gt;", "&quot;&gt;&lt;u&gt;"],
        &["<script", "<i>", "<u>"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_lesson_of_the_delay() {
    let check = async |color: &str, shows: &str, seconds: f64| {
        let ratings = delayed(role(&["--role=ratings"], Network::default()), 7);
        let network = Network::default()
            .with("ratings", ratings)
            .role("details", &["--role=details"])
            .role("reviews", &["--role=reviews", "--enable-ratings", &format!("--star-color={color}")]);
        let began = tokio::time::Instant::now();
        let answer = get(&page(network), "/productpage", &[]).await;
        assert!(answer.text.contains(shows), "{color}: {}", answer.text);
        assert!((began.elapsed().as_secs_f64() - seconds).abs() < 0.1, "{color}: {:?}", began.elapsed());
    };
    // v2 would wait 10 s, but the page gives up after twice 3 s.
    check("black", "The reviews of this book are not available", 6.0).await;
    // v3 gives up on ratings in time and still answers.
    check("red", "No stars: the ratings service is unavailable", 2.5).await;
}

#[tokio::test]
async fn json_api_and_counter() {
    let network = shop(&[]).with("ratings", always(StatusCode::IM_A_TEAPOT, "{}"));
    let page = page(network);
    let check = async |path: &str, status: u16, holds: &str| {
        let answer = get(&page, path, &[]).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text.contains(holds), "{path}: {}", answer.text);
    };
    check("/health", 200, "healthy").await;
    check("/", 200, "Who calls whom").await;
    check("/index.html", 200, "ratings:9080").await;
    check("/static/bookinfo.css", 200, "prefers-color-scheme").await;
    check("/static/../Cargo.toml", 404, "").await;
    check("/api/v1/products", 200, r#"[{"id":0,"title":"The Comedy of Errors","descriptionHtml":""#).await;
    check("/api/v1/products/0", 200, r#""pages":200"#).await;
    check("/api/v1/products/0/reviews", 200, r#""podname":"pod-1""#).await;
    check("/api/v1/products/0/ratings", 418, r#"{"error":"#).await;
    check("/api/v1/products/%2e%2e", 400, r#"{"error":"#).await;
    check("/metrics", 200, r#"request_result{destination_app="ratings",response_code="418"} 1"#).await;
}

#[tokio::test]
async fn signing_in_and_out() {
    let page = page(shop(&[]));
    let login = Request::post("/login")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("referer", "http://shop.example/productpage?u=test")
        .body("username=jason+%3Cb%3E&passwd=x".into())
        .unwrap();
    let answer = send(&page, login).await;
    assert_eq!((answer.status, &answer.headers["location"]), (302, &"/productpage?u=test".parse().unwrap()));
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    let session = cookie.split(';').next().unwrap();
    let shown = get(&page, "/productpage", &[("cookie", session)]).await.text;
    assert!(shown.contains("jason &lt;b&gt;") && shown.contains("Sign out"), "{shown}");

    let answer = get(&page, "/logout", &[("cookie", session)]).await;
    assert_eq!((answer.status, &answer.headers["location"]), (302, &"/productpage".parse().unwrap()));
    assert!(answer.headers["set-cookie"].to_str().unwrap().starts_with("session=; Max-Age=0"));
}

#[tokio::test(start_paused = true)]
async fn flood() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let reviews = Router::new().fallback(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { "{}" }
    });
    let page = role(&["--role=productpage", "--flood-factor=100"], Network::default().with("reviews", reviews));
    assert_eq!(get(&page, "/productpage", &[]).await.status, 200);
    // The clock moves only when every call is done.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(count.load(Ordering::Relaxed), 101);
}

/// The same over real sockets, and the end: a request that is under way when the drain begins is answered.
#[tokio::test]
async fn over_tcp_and_drained() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let end = Arc::new(std::sync::Mutex::new(Some(end)));
    let details = Router::new().fallback(move || {
        // The signal comes while this request is open.
        drop(end.lock().unwrap().take());
        async { r#"{"pages":1}"# }
    });
    let server = tokio::spawn(bookinfo::serve::serve(listener, details, async {
        let _ = ended.await;
    }));
    let options = Options::parse_from([
        "bookinfo",
        "--role=productpage",
        "--details-hostname=127.0.0.1",
        &format!("--details-service-port={port}"),
    ]);
    let page = bookinfo::router(&options, Arc::new(bookinfo::Tcp)).unwrap();
    assert_eq!(get(&page, "/api/v1/products/0", &[]).await.text, r#"{"pages":1}"#);
    server.await.unwrap().unwrap();
    assert_eq!(get(&page, "/api/v1/products/0", &[]).await.status, 500);
}
