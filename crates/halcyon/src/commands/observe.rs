//! Questions about the traffic: how they are put to the control plane, and how numbers are shown.

pub mod dashboard;
pub mod edges;
pub mod graph;
pub mod stat;
pub mod tap;
pub mod top;
pub mod trace;

use std::process::ExitCode;

use anyhow::Result;
use observe::documents::{Health, Stat, StatRow, Traffic};

use crate::cli::{Figures, Form, Window};
use crate::client::{Client, Query};
use crate::print::{self, Colour};

/// Asks for figures and prints them: as they came, as a table, or the words for none.
async fn show<const N: usize>(
    client: &Client,
    query: Query,
    figures: &Figures,
    (head, row): ([&str; N], fn(&StatRow) -> [String; N]),
    none: fn(&Stat) -> String,
) -> Result<ExitCode> {
    let query = query
        .and_some("namespace", figures.namespace.as_deref())
        .and_some("from", figures.from.as_deref().map(workload));
    let stat: Stat = client.ask(&with_window(query, &figures.window)).await?;
    if figures.output == Form::Json {
        print::out!("{}", serde_json::to_string_pretty(&stat)?);
        return Ok(ExitCode::SUCCESS);
    }
    notices(&stat.notices);
    if stat.rows.is_empty() {
        print::note(&none(&stat));
    } else {
        print::out!("{}", print::table(head, stat.rows.iter().map(row)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The window of a question.
fn with_window(query: Query, window: &Window) -> Query {
    query.and("window", window.window.as_secs().max(1)).and_some("at", window.at.as_deref())
}

/// `NAMESPACE/NAME`, where the namespace may be left out.
fn workload(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("{}/{name}", api::DEFAULT_NAMESPACE) }
}

/// Numbers of HTTP and gRPC: requests a second, success, latencies.
fn requests(traffic: &Traffic) -> [String; 5] {
    let latency = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), millis);
    let success = traffic.success.map_or_else(|| "-".to_owned(), percent);
    [rate(traffic.rps), success, latency(traffic.p50), latency(traffic.p95), latency(traffic.p99)]
}

/// Bytes a second of everything that passed.
fn bytes(traffic: &Traffic) -> [String; 2] {
    [size(traffic.request_bytes + traffic.tcp_received), size(traffic.response_bytes + traffic.tcp_sent)]
}

fn connections(traffic: &Traffic) -> String {
    if traffic.tcp_open == 0 && traffic.tcp_opened == 0.0 { "-".to_owned() } else { traffic.tcp_open.to_string() }
}

fn rate(rps: f64) -> String {
    match rps {
        0.0 => "-".to_owned(),
        rps if rps < 10.0 => format!("{rps:.2}"),
        rps if rps < 1000.0 => format!("{rps:.1}"),
        rps => format!("{rps:.0}"),
    }
}

fn percent(share: f64) -> String {
    // A failure among many is not to be rounded away.
    let percent = if share < 1.0 { (share * 10_000.0).floor() / 100.0 } else { 100.0 };
    format!("{percent:.2}%")
}

/// Milliseconds, with as many digits as mean something.
fn millis(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.2}ms"),
        ms if ms < 100.0 => format!("{ms:.1}ms"),
        ms if ms < 10_000.0 => format!("{ms:.0}ms"),
        ms => format!("{:.1}s", ms / 1000.0),
    }
}

fn size(bytes: f64) -> String {
    match bytes {
        0.0 => "-".to_owned(),
        bytes if bytes < 1000.0 => format!("{bytes:.0}B/s"),
        bytes if bytes < 1e6 => format!("{:.1}kB/s", bytes / 1e3),
        bytes => format!("{:.1}MB/s", bytes / 1e6),
    }
}

fn health(health: Health) -> String {
    let terminal = print::to_terminal();
    match health {
        Health::Healthy => print::paint("healthy", Colour::Green, terminal),
        Health::Degraded => print::paint("degraded", Colour::Yellow, terminal),
        Health::Failing => print::paint("failing", Colour::Red, terminal),
        Health::Idle => print::paint("idle", Colour::Dim, terminal),
    }
}

/// What is known of a stranger's text before it goes to a terminal: control characters could command it.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn notices(notices: &[String]) {
    notices.iter().for_each(|notice| print::note(&plain(notice)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0.0, 0.2, 12.34, 12345.6].map(rate), ["-", "0.20", "12.3", "12346"]);
        assert_eq!([1.0, 0.99999, 0.5, 0.0].map(percent), ["100.00%", "99.99%", "50.00%", "0.00%"]);
        assert_eq!([0.123, 12.34, 1234.5, 12345.0].map(millis), ["0.12ms", "12.3ms", "1234ms", "12.3s"]);
        assert_eq!([0.0, 12.0, 1234.0, 1.5e6].map(size), ["-", "12B/s", "1.2kB/s", "1.5MB/s"]);
    }

    #[test]
    fn nothing_commands_the_terminal() {
        assert_eq!(plain("a\x1b[31mb\nc\u{9b}d"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d");
    }
}
