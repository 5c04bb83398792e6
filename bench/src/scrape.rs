//! What a scrape of many series costs: the registry alone, on one core, with series as the proxies' standard metrics have
//! them. A proxy makes the text on a thread that serves nobody's traffic.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;
use telemetry::{Desc, Exposition, Registry};

use crate::report::{align, table};
use crate::stop::Stop;

/// What people type.
pub const NAME: &str = "scrape";
/// What it is.
pub const TITLE: &str = "A scrape of metrics";

/// Sets of labels; each has a counter, and a histogram.
const SIZES: [usize; 3] = [10, 100, 455];
/// Shards, one for each worker.
const WORKERS: usize = 2;
const ROUNDS: usize = 20;
/// As Istio's metrics have them.
const LABELS: [&str; 12] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_service",
    "request_protocol",
    "response_code",
    "response_flags",
    "connection_security_policy",
];
/// The budget, at the size that has 10,000 series.
const MOST: Duration = Duration::from_millis(50);

/// What came of it.
#[derive(Debug, Serialize)]
pub struct ScrapeReport(Vec<Row>);

#[derive(Debug, Serialize)]
struct Row {
    /// Lines with a value.
    series: usize,
    kb: f64,
    median_ms: f64,
}

/// Measures all sizes.
///
/// # Errors
/// When it was told to stop.
pub fn measure(stop: &Stop) -> anyhow::Result<ScrapeReport> {
    let mut rows = Vec::new();
    for size in SIZES {
        stop.pause(Duration::ZERO)?;
        rows.push(row(size)?);
    }
    Ok(ScrapeReport(rows))
}

fn row(size: usize) -> anyhow::Result<Row> {
    let registry = Registry::new();
    for _ in 0..WORKERS {
        let shard = registry.shard();
        let requests = shard.counters(Desc::new("istio_requests_total", "Requests.").labels(&LABELS))?;
        let durations = Desc::new("istio_request_duration_milliseconds", "Durations.").labels(&LABELS);
        let durations = shard.histograms(durations)?;
        for at in 0..size {
            let caller = format!("caller-{at}");
            let principal = format!("spiffe://cluster.local/ns/default/sa/{caller}");
            let labels = [
                "destination",
                &caller,
                "default",
                &principal,
                "reviews-v1",
                "default",
                "spiffe://cluster.local/ns/default/sa/bookinfo-reviews",
                "reviews.default.svc.cluster.local",
                "http",
                "200",
                "-",
                "mutual_tls",
            ];
            requests.with(&labels).add(at as u64);
            (0..20).for_each(|n| durations.with(&labels).observe(f64::from(n * n)));
        }
    }
    let mut times = Vec::new();
    let mut text = String::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        text = black_box(registry.expose(&Exposition::default()));
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(Row {
        series: text.lines().filter(|line| !line.starts_with('#')).count(),
        kb: text.len() as f64 / 1024.0,
        median_ms: times[ROUNDS / 2].as_secs_f64() * 1e3,
    })
}

impl ScrapeReport {
    /// For the terminal.
    pub fn text(&self) -> String {
        format!("\n{NAME}: {TITLE}\n{}\n  {NOTE}\n  {}\n", self.rows(), self.verdict())
    }

    /// For `docs/benchmarks.md`.
    pub fn markdown(&self) -> String {
        let (rows, verdict) = (self.rows(), self.verdict());
        format!("\n## {TITLE}\n\n`--scenario {NAME}`\n\n{rows}\n\n* {NOTE}\n* {verdict}\n")
    }

    fn rows(&self) -> String {
        let mut table = table();
        table.set_header(["series", "KB", "ms"]);
        for row in &self.0 {
            table.add_row([row.series.to_string(), format!("{:.0}", row.kb), format!("{:.2}", row.median_ms)]);
        }
        align(&mut table, 0);
        table.to_string()
    }

    fn verdict(&self) -> String {
        let Some(row) = self.0.last() else { return String::new() };
        let most = MOST.as_secs_f64() * 1e3;
        let met = if row.median_ms < most { "met" } else { "MISSED" };
        format!("Budget ms for {} series < {most:.0}: {:.1}, {met}.", row.series, row.median_ms)
    }
}

const NOTE: &str = "Each set of twelve labels has a counter and a histogram, in the shards of two workers, which the scrape sums. Median of twenty.";
