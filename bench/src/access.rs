//! What a decision by rules of access costs, with few policies and with many: the model alone, on one core, without a proxy.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use model::StringMatch;
use model::access::{Action, Call, Compiled, Condition, Names, Operation, Policy, Rules, Source};
use model::route::RequestView;
use serde::Serialize;

use crate::process;
use crate::report::{align, table};
use crate::stop::Stop;

/// What people type.
pub const NAME: &str = "access";
/// What it is.
pub const TITLE: &str = "Rules of access: a decision, with few policies and with many";

/// Policies, and identities that they name in turn.
const SIZES: [(usize, usize); 4] = [(10, 10), (1_000, 1_000), (50_000, 10_000), (1, 10_000)];
/// Each figure is measured for so long.
const WINDOW: Duration = Duration::from_millis(200);
/// Calls that are asked for in turn, so that not always the same policy is looked at.
const CALLS: usize = 512;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct AccessReport(Vec<Row>);

/// One size.
#[derive(Debug, Serialize)]
struct Row {
    policies: usize,
    identities: usize,
    /// For calls that a policy allows.
    allowed_ns: f64,
    /// For calls that none allows.
    refused_ns: f64,
    /// For calls that none allows, asking one policy after the other.
    plain_ns: f64,
    /// To find out why one is refused.
    why_ns: f64,
    /// To make the index.
    index_ms: f64,
    /// The rules, and their index.
    memory_kb: [u64; 2],
}

/// Measures all sizes.
///
/// # Errors
/// When it was told to stop, or looking up gives another answer than asking.
pub fn measure(stop: &Stop) -> anyhow::Result<AccessReport> {
    let mut rows = Vec::new();
    for (policies, identities) in SIZES {
        stop.pause(Duration::ZERO)?;
        rows.push(row(policies, identities)?);
    }
    Ok(AccessReport(rows))
}

fn row(policies: usize, identities: usize) -> anyhow::Result<Row> {
    let names: Vec<Vec<String>> = (0..identities).map(|at| vec![identity(at)]).collect();
    let strangers = ["spiffe://cluster.local/ns/strange/sa/nobody".to_owned()];
    let before = resident();
    let compiled = Compiled::new(rules(policies, identities));
    let written = resident();
    let begun = Instant::now();
    compiled.prepare();
    let index_ms = begun.elapsed().as_secs_f64() * 1e3;
    let indexed = resident();
    let allowed: Vec<(&[String], String)> = (0..CALLS)
        .map(|at| {
            let policy = at * policies / CALLS;
            (&names[policy % identities][..], path(policy))
        })
        .collect();
    let refused: Vec<(&[String], String)> = (0..CALLS)
        .map(|at| if at % 2 == 0 { (&strangers[..], path(at)) } else { (&names[at % identities][..], "/no".into()) })
        .collect();
    for (expected, calls) in [(true, &allowed), (false, &refused)] {
        for (uris, path) in calls {
            let (call, plain) = (call(uris, path), compiled.rules());
            ensure!(
                compiled.decide(&call) == plain.decide(&call) && plain.decide(&call).allowed == expected,
                "{call:?}"
            );
        }
    }
    Ok(Row {
        policies,
        identities,
        allowed_ns: time(&allowed, |call| compiled.decide(call).allowed),
        refused_ns: time(&refused, |call| compiled.decide(call).allowed),
        plain_ns: time(&refused, |call| compiled.rules().decide(call).allowed),
        why_ns: time(&refused, |call| compiled.why(call).is_some()),
        index_ms,
        memory_kb: [written.saturating_sub(before) / 1024, indexed.saturating_sub(written) / 1024],
    })
}

fn identity(at: usize) -> String {
    format!("spiffe://cluster.local/ns/team-{}/sa/service-{at}", at / 30)
}

fn path(at: usize) -> String {
    format!("/api/v1/things-{at}")
}

/// Each policy lets one identity have one path; a single one lets all identities have it.
fn rules(policies: usize, identities: usize) -> Rules {
    let who = |at: usize| Condition::Is(Source::Authenticated(Some(StringMatch::exact(identity(at)))));
    let policy = |at: usize| Policy {
        permissions: vec![Condition::Is(Operation::Path(StringMatch::exact(path(at))))],
        principals: if policies == 1 { (0..identities).map(who).collect() } else { vec![who(at % identities)] },
    };
    let named = |at| (Arc::from(format!("ns[team]-policy[{at:06}]-rule[0]")), policy(at));
    Rules { action: Action::Allow, policies: (0..policies).map(named).collect() }
}

fn call<'a>(uris: &'a [String], path: &'a str) -> Call<'a> {
    let client = std::net::Ipv4Addr::LOCALHOST.into();
    Call {
        request: Some(RequestView::get("reviews:9080", path)),
        peer: Some(Names { uris, dns: &[], subject: "" }),
        direct_remote: client,
        source: client,
        remote: client,
        destination: (client, 9080).into(),
        server_name: None,
    }
}

/// Nanoseconds for each call.
fn time(calls: &[(&[String], String)], ask: impl Fn(&Call<'_>) -> bool) -> f64 {
    let (begun, mut asked) = (Instant::now(), 0_u32);
    while begun.elapsed() < WINDOW {
        for (uris, path) in calls {
            black_box(ask(&call(uris, black_box(path))));
        }
        asked += calls.len() as u32;
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(asked)
}

fn resident() -> u64 {
    process::memory(&[std::process::id()]).rss
}

impl AccessReport {
    /// For the terminal.
    pub fn text(&self) -> String {
        format!("\n{NAME}: {TITLE}\n{}\n  {NOTE}\n", self.rows())
    }

    /// For `docs/benchmarks.md`.
    pub fn markdown(&self) -> String {
        format!("\n## {TITLE}\n\n`--scenario {NAME}`\n\n{}\n\n* {NOTE}\n", self.rows())
    }

    fn rows(&self) -> String {
        let mut table = table();
        let titles =
            ["policies x identities", "allowed ns", "refused ns", "refused, read through ns", "why ns", "index ms"];
        table.set_header(titles.into_iter().chain(["rules KB", "index KB"]));
        for row in &self.0 {
            table.add_row([
                format!("{} x {}", row.policies, row.identities),
                format!("{:.0}", row.allowed_ns),
                format!("{:.0}", row.refused_ns),
                format!("{:.0}", row.plain_ns),
                format!("{:.0}", row.why_ns),
                format!("{:.1}", row.index_ms),
                row.memory_kb[0].to_string(),
                row.memory_kb[1].to_string(),
            ]);
        }
        align(&mut table, 1);
        let mut text = String::new();
        let _infallible = write!(text, "{table}");
        text
    }
}

const NOTE: &str = "Each policy lets one identity have one path; the last row is one policy for all identities. Half of the refused calls have an identity that no policy names, the others a path. Memory is what the process grew by.";
