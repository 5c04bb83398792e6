//! How long answers take and how much memory and disk a large mesh needs: 1,000 workloads, 5,000 edges told by both
//! sides, hours of simulated time. A program of its own, so that its memory is nobody else's; prints JSON.
//!
//! `cargo run --release -p observe --example scale -- [WORKLOADS] [CALLED BY EACH] [HOURS]`
#![allow(clippy::print_stdout)] // a program for people

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant, UNIX_EPOCH};

use axum::body::Body;
use base::Clock;
use http_body_util::BodyExt;
use observe::{Observe, Options, Sitting, Teller};
use proto::halcyon::observe::v1 as wire;
use serde_json::{Value, json};
use telemetry::spread;
use tower_service::Service;

// As the programs have it: what is given back is given back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|it| it.parse::<u64>().expect("a number"));
    let (workloads, fan, hours) =
        (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(5), numbers.next().unwrap_or(1));
    let dir = std::env::temp_dir().join(format!("observe-scale-{}", std::process::id()));
    let clock = Clock::fixed(UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    let shard = telemetry::Registry::new().shard();
    let open = || Observe::open(Some(&dir), Options::default(), clock.clone(), &shard).expect("opens");
    let observe = open();
    let empty = memory_mb().0;
    let mut mesh: Vec<Proxy> = (0..workloads).map(|n| Proxy::new(&observe, n, workloads, fan)).collect();
    let mut random = Random(42);
    let (mut taking, mut ticking, mut slowest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut reports, rounds) = (0u64, hours * 720);
    for round in 0..rounds {
        for proxy in &mut mesh {
            let report = proxy.report(round == 0, &mut random);
            let began = Instant::now();
            proxy.sitting.take(&report);
            taking += began.elapsed();
            reports += 1;
        }
        clock.advance(Duration::from_secs(5));
        let began = Instant::now();
        observe.tick();
        let took = began.elapsed();
        ticking += took;
        slowest = slowest.max(took);
    }
    let steady = memory_mb().0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answers: Vec<Value> = runtime.block_on(ask(&observe));
    let (answered, most) = memory_mb();
    let outcomes = mesh[0].outcomes();
    drop(mesh);
    drop(observe);
    // What is taken, not how long files are: they have holes.
    let taken = |file: std::fs::DirEntry| file.metadata().map_or(0, |it| it.blocks() * 512);
    let disk: u64 = std::fs::read_dir(&dir).expect("a folder").flatten().map(taken).sum();
    let began = Instant::now();
    drop(open());
    let opened = began.elapsed();
    std::fs::remove_dir_all(&dir).expect("removed");
    let figures = json!({
        "workloads": workloads,
        "edges": workloads * fan,
        "hours": hours,
        "memory_mb": { "empty": empty, "steady": steady, "answered": answered, "most": most },
        "disk_mb": disk as f64 / 1e6,
        "outcomes_in_report": outcomes,
        "report_us": taking.as_secs_f64() * 1e6 / reports as f64,
        "tick_ms": ms(ticking) / rounds as f64,
        "slowest_tick_ms": ms(slowest),
        "opened_ms": ms(opened),
        "answers": answers,
    });
    println!("{figures:#}");
}

/// Asks by the API, and says of each question how long the answer took at best, its processor time and its size.
async fn ask(observe: &Observe) -> Vec<Value> {
    let mut router =
        observe.routes().into_iter().fold(axum::Router::<()>::new(), |all, it| all.route(it.path, it.serve));
    let day = "from=2025-12-31T12:00:00Z";
    let calls = [
        "/v1/graph".to_owned(),
        "/v1/graph?type=app&window=600".to_owned(),
        "/v1/graph?window=3600".to_owned(),
        "/v1/graph?window=21600".to_owned(),
        "/v1/graph?namespace=ns3".to_owned(),
        "/v1/stat?by=service".to_owned(),
        "/v1/stat?by=edge&window=600".to_owned(),
        "/v1/series?of=edge/ns1/w1/ns2/w2".to_owned(),
        "/v1/series?of=workload/ns1/w1&points=240".to_owned(),
        format!("/v1/series?of=workload/ns1/w1&{day}"),
        format!("/v1/series?of=workload/ns1/w1&direction=outbound&{day}"),
        "/v1/series?of=mesh".to_owned(),
        format!("/v1/series?of=mesh&{day}"),
    ];
    let mut answers = Vec::new();
    for path in calls {
        let (mut best, mut bytes, cpu) = (Duration::MAX, 0, cpu_ms());
        for _ in 0..ROUNDS {
            let request = http::Request::get(&path).body(Body::empty()).expect("a request");
            let began = Instant::now();
            let response = router.call(request).await.expect("an answer");
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            best = best.min(began.elapsed());
            bytes = body.len();
        }
        let cpu = (cpu_ms() - cpu) / ROUNDS as f64;
        answers.push(json!({ "path": path, "best_ms": ms(best), "cpu_ms": cpu, "bytes": bytes }));
    }
    answers
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Each question is asked so often.
const ROUNDS: usize = 10;

/// CPU time of this process so far; the kernel counts in hundredths of a second.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<f64>().ok());
    ticks.sum::<f64>() * 10.0
}

/// One workload's proxy: it calls the next ones, and is called by those before.
struct Proxy {
    sitting: Sitting,
    /// Told with the first report, and kept by nobody but `observe` from then on.
    edges: Vec<wire::Edge>,
    count: usize,
}

impl Proxy {
    fn new(observe: &Observe, n: u64, workloads: u64, fan: u64) -> Self {
        let peer = |n: u64| wire::Workload {
            namespace: format!("ns{}", n % 20),
            name: format!("w{n}"),
            app: format!("w{n}"),
            version: "v1".into(),
            cluster: "Kubernetes".into(),
            principal: format!("spiffe://cluster.local/ns/ns{}/sa/w{n}", n % 20),
        };
        let edge = |id: u64, reporter: wire::Reporter, from: u64, to: u64| wire::Edge {
            id: id as u32,
            reporter: reporter.into(),
            source: Some(peer(from)),
            destination: Some(peer(to)),
            service_host: format!("w{to}.ns{}.svc.cluster.local", to % 20),
            service_name: format!("w{to}"),
            service_namespace: format!("ns{}", to % 20),
            protocol: wire::Protocol::Http.into(),
            security: wire::Security::MutualTls.into(),
        };
        let step = |k: u64| 1 + k * k * 7;
        let calls = (0..fan).map(|k| edge(k + 1, wire::Reporter::Source, n, (n + step(k)) % workloads));
        let called = (0..fan)
            .map(|k| edge(fan + k + 1, wire::Reporter::Destination, (n + workloads * 9 - step(k)) % workloads, n));
        let me = peer(n);
        let teller =
            Teller { node: format!("w{n}-1"), namespace: me.namespace, workload: me.name, identity: me.principal };
        let edges: Vec<wire::Edge> = calls.chain(called).collect();
        Self { sitting: observe.sit(teller).expect("a seat"), count: edges.len(), edges }
    }

    /// Each edge has requests that went well, and every third some that did not.
    fn outcomes(&self) -> usize {
        self.count + self.count.div_ceil(3)
    }

    fn report(&mut self, first: bool, random: &mut Random) -> wire::ReportRequest {
        let outcome = |id: u32, edge: u32, code: u32| wire::Outcome {
            id,
            edge,
            code,
            route: "default".into(),
            ..Default::default()
        };
        let count = self.count as u32;
        let good = (1..=count).map(|id| outcome(id, id, 200));
        let bad = (1..=count).step_by(3).map(|id| outcome(count + id, id, 503));
        let outcomes: Vec<wire::Outcome> = good.chain(bad).collect();
        let exchanges = outcomes.iter().map(|outcome| random.exchanges(outcome)).collect();
        wire::ReportRequest {
            window_ms: 5000,
            edges: std::mem::take(&mut self.edges),
            exchanges,
            outcomes: if first { outcomes } else { Vec::new() },
            ..Default::default()
        }
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn exchanges(&mut self, outcome: &wire::Outcome) -> wire::Exchanges {
        let requests = if outcome.code == 200 { 20 + self.next() % 60 } else { 1 + self.next() % 3 };
        let lowest = spread::bucket(2000 + self.next() % 4000) as u32;
        let buckets: Vec<u32> = (lowest..lowest + requests.min(7) as u32).collect();
        let mut counts = vec![requests / buckets.len() as u64; buckets.len()];
        counts[0] += requests % buckets.len() as u64;
        wire::Exchanges {
            outcome: outcome.id,
            requests,
            micros: requests * 6000,
            request_bytes: requests * 300,
            response_bytes: requests * (1000 + self.next() % 500),
            buckets,
            counts,
            ..Default::default()
        }
    }
}

/// What is resident now, and what was at most.
fn memory_mb() -> (f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mb = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    (mb("VmRSS"), mb("VmHWM"))
}
