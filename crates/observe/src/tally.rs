//! Tallies: counts of what passed, and the rates, shares and latencies that are made of them; and what they say of health.

use telemetry::spread;

use crate::book::{Kind, Outcome};
use crate::documents::{Health, Traffic};
use crate::names::Protocol;
use crate::row::Cell;
use crate::window::Measure;

/// Counts over some flows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub requests: u64,
    good: u64,
    status_4xx: u64,
    status_5xx: u64,
    unanswered: u64,
    grpc_errors: u64,
    grpc_requests: u64,
    bytes_in: u64,
    bytes_out: u64,
    tcp_in: u64,
    tcp_out: u64,
    pub tcp_opened: u64,
    tcp_open: u64,
}

/// How long requests took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latency {
    count: u64,
    micros: u64,
    /// Of its figures the buckets alone: few of them are not empty.
    spread: Cell,
}

impl Latency {
    pub fn add(&mut self, cell: &Cell) {
        if cell.spread.is_empty() && cell.micros == 0 {
            return;
        }
        self.count = self.count.saturating_add(cell.count);
        self.micros = self.micros.saturating_add(cell.micros);
        self.spread.add_spread(&cell.spread);
    }

    pub fn add_all(&mut self, cells: &[(&Outcome, &Cell)]) {
        cells
            .iter()
            .filter(|(outcome, _)| outcome.edge.names.protocol != Protocol::Tcp)
            .for_each(|(_, it)| self.add(it));
    }

    fn quantile(&self, q: f64) -> Option<f64> {
        let counts = self.spread.spread.iter().map(|(bucket, times)| (usize::from(*bucket), *times));
        spread::quantile(counts, q).map(millis)
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| millis(self.micros as f64 / self.count as f64))
    }
}

fn millis(micros: f64) -> f64 {
    significant(micros / 1000.0)
}

impl Tally {
    pub fn add(&mut self, outcome: &Outcome, cell: &Cell) {
        let Kind::Exchanges { code, grpc, .. } = &outcome.kind else {
            add(&mut self.tcp_in, cell.bytes_in);
            add(&mut self.tcp_out, cell.bytes_out);
            add(&mut self.tcp_opened, cell.count);
            add(&mut self.tcp_open, cell.open);
            return;
        };
        let is_grpc = outcome.edge.names.protocol == Protocol::Grpc;
        let is_error = grpc.is_some_and(|status| status != 0);
        let when = |is: bool| if is { cell.count } else { 0 };
        add(&mut self.requests, cell.count);
        add(&mut self.good, when((1..500).contains(code) && !is_error));
        add(&mut self.status_4xx, when((400..500).contains(code)));
        add(&mut self.status_5xx, when(*code >= 500));
        add(&mut self.unanswered, when(*code == 0));
        add(&mut self.grpc_errors, when(is_error));
        add(&mut self.grpc_requests, when(is_grpc));
        add(&mut self.bytes_in, cell.bytes_in);
        add(&mut self.bytes_out, cell.bytes_out);
    }

    pub fn of<'a>(cells: impl Iterator<Item = (&'a Outcome, &'a Cell)>) -> Self {
        let mut tally = Self::default();
        cells.for_each(|(outcome, cell)| tally.add(outcome, cell));
        tally
    }

    pub fn merge(&mut self, other: &Self) {
        let mine = [
            (&mut self.requests, other.requests),
            (&mut self.good, other.good),
            (&mut self.status_4xx, other.status_4xx),
            (&mut self.status_5xx, other.status_5xx),
            (&mut self.unanswered, other.unanswered),
            (&mut self.grpc_errors, other.grpc_errors),
            (&mut self.grpc_requests, other.grpc_requests),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.tcp_in, other.tcp_in),
            (&mut self.tcp_out, other.tcp_out),
            (&mut self.tcp_opened, other.tcp_opened),
            (&mut self.tcp_open, other.tcp_open),
        ];
        mine.into_iter().for_each(|(mine, its)| add(mine, its));
    }

    /// Did nothing pass?
    pub fn is_idle(&self) -> bool {
        self.requests == 0 && !self.has_tcp()
    }

    fn has_tcp(&self) -> bool {
        self.tcp_in | self.tcp_out | self.tcp_opened | self.tcp_open != 0
    }

    /// As a document.
    pub fn traffic(&self, latency: &Latency, measure: Measure) -> Traffic {
        let rate = |count: u64| measure.rate(count);
        let any = self.requests > 0;
        Traffic {
            requests: measure.number(self.requests),
            rps: rate(self.requests),
            success: any.then(|| share(self.good, self.requests)),
            rps4xx: rate(self.status_4xx),
            rps5xx: rate(self.status_5xx),
            no_response: rate(self.unanswered),
            grpc_errors: rate(self.grpc_errors),
            p50: latency.quantile(0.5).filter(|_| any),
            p95: latency.quantile(0.95).filter(|_| any),
            p99: latency.quantile(0.99).filter(|_| any),
            mean: latency.mean().filter(|_| any),
            request_bytes: rate(self.bytes_in),
            response_bytes: rate(self.bytes_out),
            tcp_sent: rate(self.tcp_out),
            tcp_received: rate(self.tcp_in),
            tcp_opened: rate(self.tcp_opened),
            tcp_open: self.tcp_open,
        }
    }

    /// Health after Kiali's rules, and why it is not good; `whose` stands before `requests`, such as `inbound `.
    pub fn health(&self, whose: &str) -> (Health, Vec<String>) {
        if self.is_idle() {
            return (Health::Idle, Vec::new());
        }
        let (mut health, mut reasons) = (Health::Healthy, Vec::new());
        // Count of all, words, worse from which share on: degraded, failing.
        let rules = [
            (self.status_5xx, self.requests, "requests answered 5xx", 0.0, 0.1),
            (self.unanswered, self.requests, "requests got no response", 0.1, 0.1),
            (self.grpc_errors, self.grpc_requests.max(self.grpc_errors), "gRPC requests ended in an error", 0.1, 0.1),
            (self.status_4xx, self.requests, "requests answered 4xx", 0.1, 0.2),
        ];
        for (count, of, words, degraded, failing) in rules {
            let part = count as f64 / of.max(1) as f64;
            let found = match () {
                () if count == 0 || part < degraded => continue,
                () if part >= failing => Health::Failing,
                () => Health::Degraded,
            };
            health = health.max(found);
            let percent = if part < 0.001 { "under 0.1".to_owned() } else { format!("{:.1}", part * 100.0) };
            reasons.push(format!("{percent} % of {whose}{words}"));
        }
        (health, reasons)
    }
}

fn add(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

/// A part of a whole, to four decimals. What is not the whole is never shown as the whole.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    let exact = part as f64 / whole.max(1) as f64;
    let rounded = (exact * 1e4).round() / 1e4;
    if part < whole && rounded >= 1.0 { 0.9999 } else { rounded }
}

/// Five significant digits: more than the buckets know, and short to read.
pub(crate) fn significant(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(4 - value.abs().log10().floor() as i32);
    let rounded = (value * scale).round() / scale;
    if rounded.is_finite() { rounded } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_of_health() {
        let of = |requests, status_5xx, status_4xx, unanswered, grpc_errors| Tally {
            requests,
            status_5xx,
            status_4xx,
            unanswered,
            grpc_errors,
            grpc_requests: requests,
            ..Tally::default()
        };
        for (tally, expected, reason) in [
            (Tally::default(), Health::Idle, None),
            (of(1000, 0, 0, 0, 0), Health::Healthy, None),
            (of(1000, 1, 0, 0, 0), Health::Degraded, Some("0.1 % of inbound requests answered 5xx")),
            (of(10000, 1, 0, 0, 0), Health::Degraded, Some("under 0.1 % of inbound requests answered 5xx")),
            (of(1000, 99, 0, 0, 0), Health::Degraded, Some("9.9 % of inbound requests answered 5xx")),
            (of(1000, 100, 0, 0, 0), Health::Failing, Some("10.0 % of inbound requests answered 5xx")),
            (of(1000, 0, 99, 0, 0), Health::Healthy, None),
            (of(1000, 0, 100, 0, 0), Health::Degraded, Some("10.0 % of inbound requests answered 4xx")),
            (of(1000, 0, 200, 0, 0), Health::Failing, Some("20.0 % of inbound requests answered 4xx")),
            (of(1000, 0, 0, 99, 0), Health::Healthy, None),
            (of(1000, 0, 0, 100, 0), Health::Failing, Some("10.0 % of inbound requests got no response")),
            (of(1000, 0, 0, 0, 99), Health::Healthy, None),
            (of(1000, 0, 0, 0, 123), Health::Failing, Some("12.3 % of inbound gRPC requests ended in an error")),
        ] {
            let (health, reasons) = tally.health("inbound ");
            assert_eq!((health, reasons.first().map(String::as_str)), (expected, reason), "{tally:?}");
        }
        let tcp = Tally { tcp_open: 1, ..Tally::default() };
        assert_eq!(tcp.health("").0, Health::Healthy);
    }

    #[test]
    fn rounded_for_people() {
        assert_eq!((significant(1234.5678), significant(0.000_123_456), significant(0.0)), (1234.6, 0.000_123_46, 0.0));
        assert_eq!((share(1, 3), share(999_999, 1_000_000), share(5, 5)), (0.3333, 0.9999, 1.0));
    }
}
