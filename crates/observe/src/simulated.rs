//! A mesh in simulated time, for tests: proxies that tell, a clock that is moved, ticks as they would come.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use base::Clock;
use http_body_util::BodyExt;
use proto::halcyon::observe::v1 as wire;
use serde_json::Value;
use telemetry::{Registry, spread};
use tower_service::Service;

use crate::ingest::Teller;
use crate::observe::{Observe, Sitting};
use crate::options::Options;

/// 2026-01-01T00:00:00Z, in ms.
pub(crate) const T0: u64 = 1_767_225_600_000;

/// What somebody tells of some requests (or, with TCP, connections).
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub by_source: bool,
    pub from: &'static str,
    /// Empty: unknown.
    pub to: &'static str,
    pub service: &'static str,
    pub protocol: wire::Protocol,
    pub mutual: bool,
    pub code: u32,
    pub grpc: Option<u32>,
    pub flags: &'static str,
    pub route: &'static str,
    pub count: u64,
    pub ms: u64,
}

/// A line of requests that went well.
pub(crate) fn line(by_source: bool, from: &'static str, to: &'static str, count: u64) -> Line {
    let service = to.split('-').next().unwrap_or_default();
    Line {
        by_source,
        from,
        to,
        service,
        protocol: wire::Protocol::Http,
        mutual: !by_source,
        code: 200,
        grpc: None,
        flags: "",
        route: "default",
        count,
        ms: if by_source { 20 } else { 10 },
    }
}

/// The mesh.
pub(crate) struct Simulated {
    pub observe: Observe,
    pub clock: Clock,
    sittings: HashMap<&'static str, (Sitting, u32)>,
}

impl Simulated {
    pub fn new(dir: Option<&Path>) -> Self {
        Self::at(dir, T0, Options::default())
    }

    pub fn at(dir: Option<&Path>, ms: u64, options: Options) -> Self {
        let clock = Clock::fixed(UNIX_EPOCH + Duration::from_millis(ms));
        let observe = Observe::open(dir, options, clock.clone(), &Registry::new().shard()).unwrap();
        Self { observe, clock, sittings: HashMap::new() }
    }

    /// Goes on, tick by tick.
    pub fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.observe.tick();
        }
    }

    /// The proxy on the telling side tells.
    pub fn tell(&mut self, line: Line) {
        let own = if line.by_source { line.from } else { line.to };
        let observe = &self.observe;
        let (sitting, id) = self.sittings.entry(own).or_insert_with(|| {
            let teller = Teller {
                node: format!("{own}-1"),
                namespace: "default".into(),
                workload: own.into(),
                identity: format!("spiffe://cluster.local/ns/default/sa/{own}"),
            };
            (observe.sit(teller).unwrap(), 0)
        });
        *id += 1;
        let peer = |name: &str| {
            let (app, version) = name.split_once('-').unwrap_or((name, ""));
            (!name.is_empty()).then(|| wire::Workload {
                namespace: "default".into(),
                name: name.into(),
                app: app.into(),
                version: version.into(),
                ..Default::default()
            })
        };
        let security = if line.mutual { wire::Security::MutualTls } else { wire::Security::Unknown };
        let reporter = if line.by_source { wire::Reporter::Source } else { wire::Reporter::Destination };
        let tcp = line.protocol == wire::Protocol::Tcp;
        let edge = wire::Edge {
            id: *id,
            reporter: reporter.into(),
            source: peer(line.from),
            destination: peer(line.to),
            service_host: match line.service {
                "" => String::new(),
                service => format!("{service}.default.svc.cluster.local"),
            },
            service_name: line.service.into(),
            service_namespace: if line.service.is_empty() { String::new() } else { "default".into() },
            protocol: line.protocol.into(),
            security: security.into(),
        };
        let outcome = wire::Outcome {
            id: *id,
            edge: *id,
            route: line.route.into(),
            code: line.code,
            grpc_status_plus_one: line.grpc.map_or(0, |status| status + 1),
            flags: line.flags.into(),
        };
        let exchanges = wire::Exchanges {
            outcome: *id,
            requests: line.count,
            micros: line.count * line.ms * 1000,
            request_bytes: line.count * 10,
            response_bytes: line.count * 100,
            buckets: vec![spread::bucket(line.ms * 1000) as u32],
            counts: vec![line.count],
            ..Default::default()
        };
        let connections = wire::Connections {
            edge: *id,
            opened: line.count,
            sent_bytes: line.count * 100,
            received_bytes: line.count * 10,
            open: line.count,
            ..Default::default()
        };
        sitting.take(&wire::ReportRequest {
            window_ms: 1000,
            edges: vec![edge],
            outcomes: if tcp { vec![] } else { vec![outcome] },
            exchanges: if tcp { vec![] } else { vec![exchanges] },
            connections: if tcp { vec![connections] } else { vec![] },
            ..Default::default()
        });
    }

    /// The proxies of all workloads go.
    pub fn hang_up(&mut self) {
        self.sittings.clear();
    }

    pub fn router(&self) -> Router {
        self.observe.routes().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.serve))
    }

    /// A call of the API: its status and answer.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get_text(path).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub async fn get_text(&self, path: &str) -> (u16, String) {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        call(self.router(), request).await
    }
}

/// What a router answers.
pub(crate) async fn call(mut router: Router, request: http::Request<Body>) -> (u16, String) {
    let response = router.call(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}
