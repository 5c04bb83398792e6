//! Spans that programs tell: by OTLP as protobuf and JSON, and in Zipkin's form. Taken or refused in words, and what was taken
//! is found and shown. The first byte says which form it is.

#![no_main]

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::Response;
use base::Clock;
use http::{Request, StatusCode};
use libfuzzer_sys::fuzz_target;
use observe::{Observe, Options};
use serde_json::Value;
use tower_service::Service;

const FORMS: [(&str, &str); 3] = [
    ("/v1/traces", "application/x-protobuf"),
    ("/v1/traces", "application/json"),
    ("/api/v2/spans", "application/json"),
];
/// No answer about so little is larger.
const LARGEST: usize = 16 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((form, bytes)) = bytes.split_first() else { return };
    runtime().block_on(take(FORMS[usize::from(*form) % FORMS.len()], bytes.to_vec()));
});

async fn take((path, form): (&str, &str), bytes: Vec<u8>) {
    let clock = Clock::fixed(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    let options = Options { trace_bytes: 1 << 20, ..Options::default() };
    let observe = Observe::open(None, options, clock, shard()).expect("nothing is on a disk");
    let request = Request::post(path).header("content-type", form).body(Body::from(bytes)).expect("a request");
    let answer = call(&mut observe.spans_router(), request).await;
    let status = answer.status();
    assert!(status.is_success() || status == StatusCode::BAD_REQUEST, "{status}");
    let routes = observe.routes::<()>().into_iter();
    let mut router = routes.fold(axum::Router::new(), |router, route| router.route(route.path, route.serve));
    let list = get(&mut router, "/v1/traces?limit=500&from=2020-01-01T00:00:00Z").await;
    for trace in list["traces"].as_array().into_iter().flatten() {
        let id = trace["traceId"].as_str().expect("an id");
        let shown = get(&mut router, &format!("/v1/traces/{id}")).await;
        let spans = shown["spans"].as_array().map_or(0, Vec::len);
        assert!(spans > 0, "{shown}");
    }
}

async fn get(router: &mut axum::Router, path: &str) -> Value {
    let answer = call(router, Request::get(path).body(Body::empty()).expect("a request")).await;
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), LARGEST).await.expect("a whole answer");
    assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).expect("JSON")
}

async fn call(router: &mut axum::Router, request: Request<Body>) -> Response {
    router.call(request).await.unwrap_or_else(|never| match never {})
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"))
}

/// One for all inputs: whoever counts lives as long as the process.
fn shard() -> &'static telemetry::Shard {
    static SHARD: OnceLock<telemetry::Shard> = OnceLock::new();
    SHARD.get_or_init(|| telemetry::Registry::new().shard())
}
