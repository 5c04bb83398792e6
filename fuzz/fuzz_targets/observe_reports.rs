//! What proxies tell of their traffic: taken in or refused, and the figures of the mesh can be had afterwards.

#![no_main]

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use base::Clock;
use libfuzzer_sys::fuzz_target;
use observe::{Observe, Options, Teller};
use prost::Message;
use proto::halcyon::observe::v1::ReportRequest;
use tower_service::Service;

/// Most reports of one input.
const MOST: usize = 16;
/// No answer about so little is larger.
const LARGEST: usize = 16 << 20;

fuzz_target!(|bytes: &[u8]| {
    let clock = Clock::fixed(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    let options = Options { most_edges: 50, trace_bytes: 1 << 16, ..Options::default() };
    let observe = Observe::open(None, options, clock.clone(), shard()).expect("nothing is on a disk");
    let teller = Teller {
        node: "a-1".into(),
        namespace: "default".into(),
        workload: "a".into(),
        identity: "spiffe://cluster.local/ns/default/sa/a".into(),
    };
    let mut sitting = observe.sit(teller).expect("there is room for one");
    let mut rest = bytes;
    for _ in 0..MOST {
        let Ok(report) = ReportRequest::decode_length_delimited(&mut rest) else { break };
        sitting.take(&report);
        clock.advance(Duration::from_secs(1));
        observe.tick();
    }
    let asked = runtime().block_on(figures(&observe));
    assert!(asked.is_ok(), "{asked:?}");
});

/// Everything that is told of the whole mesh is JSON.
async fn figures(observe: &Observe) -> Result<(), String> {
    let routes = observe.routes::<()>().into_iter();
    let mut router = routes.fold(axum::Router::new(), |router, route| router.route(route.path, route.serve));
    for path in ["/v1/graph", "/v1/graph?type=app", "/v1/stat", "/v1/clusters", "/v1/series?of=mesh", "/v1/observe"] {
        let request = http::Request::get(path).body(Body::empty()).map_err(|error| error.to_string())?;
        let answer = router.call(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), LARGEST).await.map_err(|error| error.to_string())?;
        serde_json::from_slice::<serde_json::Value>(&body).map_err(|error| format!("{path}: {error}"))?;
        if !status.is_success() {
            return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)));
        }
    }
    Ok(())
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
