//! What happened, counted.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::connection::{Answer, CallError};
use super::plan::Plan;

/// Distinct values kept for each count; the others go under one name, so that a request id cannot fill the memory.
const DISTINCT: usize = 1000;
/// The bounds of the histogram in nanoseconds: steps of 0.1 us, up to an hour; what is longer counts as an hour.
const FINEST_NS: u64 = 100;
const LONGEST_NS: u64 = 3_600_000_000_000;
const OTHERS: &str = "(others)";
const NONE: &str = "(none)";

/// Errors of one kind.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// What the first one said.
    pub first: String,
}

/// The counts of one run.
pub struct Tally {
    counted_from: Instant,
    headers: Vec<axum::http::HeaderName>,
    patterns: Vec<regex::bytes::Regex>,
    /// Of all answers whatever their status, in nanoseconds, 3 digits.
    pub latencies: Histogram<u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Failures by kind.
    pub failures: BTreeMap<&'static str, Failures>,
    /// What was asked to be counted: label -> value -> how often.
    pub counts: BTreeMap<String, BTreeMap<String, u64>>,
    /// Body bytes.
    pub bytes: u64,
    /// When the last answer or failure came.
    pub last: Instant,
}

impl Tally {
    /// Counts requests whose intended start is at or after `counted_from`.
    pub fn new(plan: &Plan, counted_from: Instant) -> Self {
        Self {
            counted_from,
            headers: plan.count_headers.clone(),
            patterns: plan.count_body.clone(),
            latencies: Histogram::new_with_bounds(FINEST_NS, LONGEST_NS, 3).expect("the bounds are in order"),
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            counts: BTreeMap::new(),
            bytes: 0,
            last: counted_from,
        }
    }

    /// One request is over.
    pub fn record(&mut self, intended: Instant, now: Instant, result: Result<Answer, CallError>) {
        if intended < self.counted_from {
            return;
        }
        self.last = now;
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                let failures = self.failures.entry(error.kind()).or_default();
                failures.count += 1;
                if failures.first.is_empty() {
                    failures.first = error.to_string();
                }
                return;
            }
        };
        self.latencies.saturating_record(now.duration_since(intended).as_nanos() as u64);
        *self.statuses.entry(answer.head.status.as_u16()).or_default() += 1;
        self.bytes += answer.bytes;
        for name in &self.headers {
            let value = answer.head.headers.get(name).or_else(|| answer.trailers.get(name));
            let value = value.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
            count(&mut self.counts, format!("header {name}"), value);
        }
        for pattern in &self.patterns {
            let found = pattern.captures(&answer.body).and_then(|c| c.get(1).or_else(|| c.get(0)));
            let found = found.map(|m| String::from_utf8_lossy(m.as_bytes()).into_owned());
            count(&mut self.counts, format!("body {pattern}"), found);
        }
    }
}

fn count(counts: &mut BTreeMap<String, BTreeMap<String, u64>>, label: String, value: Option<String>) {
    let values = counts.entry(label).or_default();
    let mut value = value.unwrap_or_else(|| NONE.to_owned());
    if values.len() >= DISTINCT && !values.contains_key(&value) {
        value = OTHERS.to_owned();
    }
    *values.entry(value).or_default() += 1;
}
