//! What came of a run: for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tokio::time::Instant;

use super::plan::{Plan, Protocol};
use super::tally::Tally;

/// Latencies of all answers, in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Latency {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90 of 100 were at most this.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    #[serde(rename = "p99.9")]
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// Failures of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct Errors {
    /// How many.
    pub count: u64,
    /// What the first one said.
    pub first: String,
}

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Who was called.
    pub url: String,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// `open`: latencies count from the intended start. `closed`: from the sending.
    pub mode: &'static str,
    /// Requests per second that were asked for; 0 in closed loop.
    pub requested_rate: f64,
    /// Answers per second that came.
    pub achieved_rate: f64,
    /// Seconds from the first counted request to the end of the sending or the last answer, whichever is later.
    pub seconds: f64,
    /// Answers and failures together.
    pub requests: u64,
    /// Answers.
    pub answers: u64,
    /// Bytes of body in the answers.
    pub bytes: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Failures by kind: connect, no-answer, body, timeout.
    pub errors: BTreeMap<&'static str, Errors>,
    /// Latencies in milliseconds; failures are not among them.
    pub latency_ms: Latency,
    /// What was asked to be counted: label, value, how often.
    pub counts: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Report {
    pub(super) fn of(plan: &Plan, tally: &Tally, ended: Instant, began: Instant) -> Self {
        let seconds = tally.last.max(ended).saturating_duration_since(began).as_secs_f64();
        let answers = tally.latencies.len();
        let failures: u64 = tally.failures.values().map(|f| f.count).sum();
        let errors = tally
            .failures
            .iter()
            .map(|(kind, failures)| (*kind, Errors { count: failures.count, first: failures.first.clone() }));
        Self {
            url: plan.url.clone(),
            protocol: if plan.protocol == Protocol::Http2 { "HTTP/2" } else { "HTTP/1.1" },
            mode: if plan.rate == 0.0 { "closed" } else { "open" },
            requested_rate: plan.rate,
            achieved_rate: if seconds > 0.0 { rounded(answers as f64 / seconds) } else { 0.0 },
            seconds: rounded(seconds),
            requests: answers + failures,
            answers,
            bytes: tally.bytes,
            statuses: tally.statuses.clone(),
            errors: errors.collect(),
            latency_ms: latency(tally),
            counts: tally.counts.clone(),
        }
    }

    /// Was every request answered, and none with a 5xx?
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty() && self.statuses.keys().all(|status| *status < 500)
    }
}

fn latency(tally: &Tally) -> Latency {
    let all = &tally.latencies;
    if all.is_empty() {
        return Latency::default();
    }
    let at = |quantile| rounded(all.value_at_quantile(quantile) as f64 / 1e6);
    Latency {
        mean: rounded(all.mean() / 1e6),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: rounded(all.max() as f64 / 1e6),
    }
}

/// Three digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} over {}, {} loop", self.url, self.protocol, self.mode)?;
        writeln!(f, "  requests   {} in {:.2} s", self.requests, self.seconds)?;
        write!(f, "  answers    {} ({:.1}/s", self.answers, self.achieved_rate)?;
        if self.requested_rate > 0.0 {
            write!(f, " of {}/s asked for", self.requested_rate)?;
        }
        writeln!(f, "), {} bytes of body", self.bytes)?;
        for (status, count) in &self.statuses {
            writeln!(f, "  status {status} {count}")?;
        }
        for (kind, errors) in &self.errors {
            writeln!(f, "  error {kind} {} (first: {})", errors.count, errors.first)?;
        }
        let l = &self.latency_ms;
        writeln!(
            f,
            "  latency ms mean {:.3}  p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3}",
            l.mean, l.p50, l.p90, l.p99, l.p999, l.max
        )?;
        for (label, values) in &self.counts {
            writeln!(f, "  {label}")?;
            let mut values: Vec<_> = values.iter().collect();
            values.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
            for (value, count) in values {
                writeln!(f, "    {count:>8}  {:>5.1} %  {value}", 100.0 * *count as f64 / self.answers.max(1) as f64)?;
            }
        }
        Ok(())
    }
}
