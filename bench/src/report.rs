//! What came of a run: tables for people, the same as Markdown, and every value as JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::access::AccessReport;
use crate::control::ControlReport;
use crate::figures::{Samples, Verdict};
use crate::machine::Machine;
use crate::observe::ObserveReport;
use crate::peer::Program;
use crate::scenario::{Figure, Peer, Scenario};
use crate::scrape::ScrapeReport;

/// Where the proxy uses less of its core than this, in percent, requests/s are the load's limit and not the proxy's.
const SATURATED: f64 = 95.0;
/// Where others use more of the proxy's core than this, in percent, the table warns.
const QUIET: f64 = 3.0;

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    date: String,
    command: String,
    rounds: usize,
    seconds: f64,
    /// Who was there.
    pub peers: Vec<PeerFound>,
    /// What was measured.
    pub scenarios: Vec<ScenarioReport>,
    /// Decisions by rules of access, if they were measured.
    pub access: Option<AccessReport>,
    /// Scrapes, if they were measured.
    pub scrape: Option<ScrapeReport>,
    /// What it costs to keep what the mesh saw, if that was measured.
    pub observe: Option<ObserveReport>,
    /// The control plane, if it was measured.
    pub control: Option<ControlReport>,
}

/// A peer, and which.
#[derive(Debug, Serialize)]
pub struct PeerFound {
    peer: Peer,
    version: Option<String>,
    missing: Option<String>,
}

impl PeerFound {
    /// What was found, or why not.
    pub fn new(peer: Peer, program: &Result<Program, String>) -> Self {
        let version = program.as_ref().ok().map(|program| program.version.clone());
        Self { peer, version, missing: program.as_ref().err().cloned() }
    }
}

/// What came of a scenario.
#[derive(Debug, Serialize)]
pub struct ScenarioReport {
    name: &'static str,
    title: &'static str,
    /// The figure by which peers are compared first.
    pub main: Figure,
    /// The fixed rate of the latencies, in requests per second.
    pub rate: Option<f64>,
    /// The values of each peer.
    pub rows: Vec<(Peer, Samples)>,
    /// Latencies with no proxy at all.
    pub direct: Samples,
    /// The budgets.
    pub verdicts: Vec<Verdict>,
    /// Who could not take part to the end, and why.
    pub left: Vec<String>,
}

impl ScenarioReport {
    /// Nothing yet.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            name: scenario.name,
            title: scenario.title,
            main: scenario.measure.main_figure(),
            rate: None,
            rows: Vec::new(),
            direct: Samples::default(),
            verdicts: Vec::new(),
            left: Vec::new(),
        }
    }

    fn median(&self, peer: Peer, figure: Figure) -> Option<f64> {
        self.rows.iter().find(|(of, _)| *of == peer).and_then(|(_, samples)| samples.median(figure))
    }

    /// Ours through theirs.
    fn ratio(&self, peer: Peer) -> Option<f64> {
        let theirs = self.median(peer, self.main).filter(|theirs| *theirs > 0.0)?;
        (peer != Peer::Halcyon).then_some(())?;
        Some(self.median(Peer::Halcyon, self.main)? / theirs)
    }

    fn table(&self) -> Table {
        let mut figures: Vec<Figure> = self.rows.iter().flat_map(|(_, samples)| samples.figures()).collect();
        figures.sort();
        figures.dedup();
        let mut table = table();
        let heads = figures.iter().map(|figure| figure.head().to_owned());
        let heads =
            std::iter::once("proxy".to_owned()).chain(heads).chain([format!("ours / its ({})", self.main.head())]);
        table.set_header(heads);
        let cells = |samples: &Samples| -> Vec<String> { figures.iter().map(|f| self.cell(samples, *f)).collect() };
        for (peer, samples) in &self.rows {
            let ratio = self.ratio(*peer).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            table.add_row(std::iter::once(peer.name().to_owned()).chain(cells(samples)).chain([ratio]));
        }
        if self.direct.figures().next().is_some() {
            let row = std::iter::once("none (direct)".to_owned()).chain(cells(&self.direct)).chain([String::new()]);
            table.add_row(row);
        }
        align(&mut table, 1);
        table
    }

    fn cell(&self, samples: &Samples, figure: Figure) -> String {
        let Some(stat) = samples.stat(figure) else { return String::new() };
        let digits = figure.digits();
        // The load was at its end before the proxy was.
        let bound = figure.is_rate() && samples.median(Figure::ProxyBusy).is_some_and(|busy| busy < SATURATED);
        let sign = if bound { ">= " } else { "" };
        let [median, min, max] = [stat.median, stat.min, stat.max].map(|value| format!("{value:.digits$}"));
        let range = if figure.is_told_apart() && min != max { format!(" ({min}-{max})") } else { String::new() };
        format!("{sign}{median}{range}")
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.left.iter().map(|reason| format!("Not measured: {reason}")).collect();
        if let Some(rate) = self.rate {
            notes.push(format!("p50 and p99 at {rate:.0} requests/s, half of what the slowest could do."));
        }
        let others = self.rows.iter().filter_map(|(_, samples)| samples.median(Figure::OthersBusy)).fold(0.0, f64::max);
        if others > QUIET {
            notes.push(format!(
                "The machine was not quiet: others used up to {others:.0} % of the proxy's core. Take the ratios, not the values."
            ));
        }
        for verdict in &self.verdicts {
            let measured = verdict.measured.map_or("not measured".to_owned(), |measured| format!("{measured:.2}"));
            let word = match verdict.met {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "open",
            };
            notes.push(format!("Budget {}: {measured}, {word}.", verdict.budget));
        }
        notes
    }
}

impl Report {
    /// Nothing yet.
    pub fn new(machine: Machine, rounds: usize, window: Duration) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let date = OffsetDateTime::now_utc().format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"));
        Self {
            machine,
            date: date.unwrap_or_default(),
            command: ["cargo xtask bench".to_owned(), arguments.join(" ")].join(" ").trim_end().to_owned(),
            rounds,
            seconds: window.as_secs_f64(),
            peers: Vec::new(),
            scenarios: Vec::new(),
            access: None,
            scrape: None,
            observe: None,
            control: None,
        }
    }

    /// For the terminal.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.facts().join("\n"));
        if !self.scenarios.is_empty() {
            text.push_str(&format!("{}\n", self.overview()));
        }
        for scenario in &self.scenarios {
            text.push_str(&format!("\n{}: {}\n{}\n", scenario.name, scenario.title, scenario.table()));
            scenario.notes().iter().for_each(|note| text.push_str(&format!("  {note}\n")));
        }
        text.extend(self.access.iter().map(AccessReport::text));
        text.extend(self.scrape.iter().map(ScrapeReport::text));
        text.extend(self.observe.iter().map(ObserveReport::text));
        text.extend(self.control.iter().map(ControlReport::text));
        text
    }

    /// For `docs/benchmarks.md`.
    pub fn markdown(&self) -> String {
        let mut text = String::from(HEAD);
        self.facts().iter().for_each(|fact| text.push_str(&format!("* {fact}\n")));
        if !self.scenarios.is_empty() {
            text.push_str(&format!("\n## In one table\n\n{OVERVIEW}\n{}\n", self.overview()));
            text.push_str(READING);
        }
        for scenario in &self.scenarios {
            text.push_str(&format!("\n## {}\n\n`--scenario {}`\n\n", scenario.title, scenario.name));
            text.push_str(&format!("{}\n\n", scenario.table()));
            scenario.notes().iter().for_each(|note| text.push_str(&format!("* {note}\n")));
        }
        text.extend(self.access.iter().map(AccessReport::markdown));
        text.extend(self.scrape.iter().map(ScrapeReport::markdown));
        text.extend(self.observe.iter().map(ObserveReport::markdown));
        text.extend(self.control.iter().map(ControlReport::markdown));
        text
    }

    /// Every value.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    fn facts(&self) -> Vec<String> {
        let machine = &self.machine;
        let mut facts = vec![
            format!("Date: {}", self.date),
            format!("Command: `{}`", self.command),
            format!(
                "Machine: {}, {} cores, {} GiB, {}, {}",
                machine.cpu, machine.cores, machine.memory_gib, machine.kernel, machine.system
            ),
            format!(
                "{} rounds of {} s for each peer; the proxy on core {}, load and origin on the rest",
                self.rounds, self.seconds, machine.proxy_core
            ),
        ];
        let there = self.peers.iter().filter_map(|p| Some(format!("{} {}", p.peer.name(), p.version.as_ref()?)));
        facts.push(format!("Versions: {}", there.collect::<Vec<_>>().join(", ")));
        facts.extend(self.peers.iter().filter_map(|p| p.missing.clone()));
        if cfg!(debug_assertions) {
            facts.push(
                "NOT a release build: load, origin and ours are slower than they are; use `cargo xtask bench`".into(),
            );
        }
        facts
    }

    fn overview(&self) -> Table {
        let mut table = table();
        let ratios = Peer::ALL[1..].iter().map(|peer| format!("ours / {}", peer.name()));
        let names = Peer::ALL.iter().map(|peer| peer.name().to_owned());
        table.set_header(
            ["scenario".to_owned(), "figure".to_owned()]
                .into_iter()
                .chain(names)
                .chain(ratios)
                .chain(["budgets".into()]),
        );
        for scenario in &self.scenarios {
            let digits = scenario.main.digits();
            let value = |peer: &Peer| {
                scenario.median(*peer, scenario.main).map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
            };
            let ratio = |peer: &Peer| scenario.ratio(*peer).map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
            let met = scenario.verdicts.iter().filter(|verdict| verdict.met == Some(true)).count();
            let open = scenario.verdicts.iter().filter(|verdict| verdict.met.is_none()).count();
            let of = format!("{met} of {} met", scenario.verdicts.len());
            let budgets = if open == 0 { of } else { format!("{of}, {open} not measured") };
            let row = [scenario.title.to_owned(), scenario.main.head().to_owned()].into_iter();
            let row = row.chain(Peer::ALL.iter().map(value)).chain(Peer::ALL[1..].iter().map(ratio));
            table.add_row(row.chain([budgets]));
        }
        align(&mut table, 2);
        table
    }
}

const HEAD: &str = "# Benchmarks

This page is written by `cargo xtask bench --markdown docs/benchmarks.md`. Do not edit it: run the command.

";

const OVERVIEW: &str = "Medians. A ratio below 1 means that ours costs less.
";

const READING: &str = "
How to read it:

* Each proxy has one worker and one core of its own; load and origin share the others. Rounds are interleaved. A cell is the median of the rounds, with the lowest and the highest in brackets.
* CPU per request, per MB of payload or per connection is the main figure: user and system time of all processes on the path, by the kernel's account of their threads (`schedstat`). It does not depend on whether the load keeps up. \"Per core\" is the same the other way round: what is done in a second of the proxy's processor time.
* Where requests/s, MB/s or connections/s begin with `>=`, load and origin (or a machine that was not quiet) were at their end before the proxy was: its own limit is higher.
* Latencies are taken in open loop, from the intended start of each request. \"Added\" is what the proxy adds to the same way without one.
* System calls are counted in a second of full load of their own, after everything else, by `perf stat`, or by `strace -c` where perf may not be used.
* MB are 10^6 bytes in all figures. Payload counts in both directions. KB and a body of 1 KB are 1024 bytes.
* New connections: each carries one request and is closed by the proxy (`Connection: close`); the way to the origin is pooled. The TLS client is the same towards all: TLS 1.3, X25519; certificates are ECDSA P-256; a run fails if a handshake is not of the wanted kind.
* Virtual hosts and clusters reach ours and Envoy over delta xDS, the same routes, clusters and endpoints; HAProxy and nginx, which do not speak it, read them from files. \"Bytes/idle cluster\" is what 10,000 take more than 10, with endpoints and virtual host, through their number.
* A burst: its connections are all open at once, and each carries three requests, 64 at once.
* Ours runs as a sidecar does: on are mesh metrics, tracing headers, the fault filter, retries and upgrades, and in the pair the verified identities and the headers that tell them (XFCC); off is the access log. There is no policy on access on either side; what a decision costs is `--scenario access`. The neighbours have none of these but their own statistics; their logs are off. The neighbours' configurations, with a reason for everything that is not their default, are in `bench/peers/`.
";

/// An empty table in the form of this report.
pub fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table
}

/// Numbers to the right, from this column on.
pub fn align(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// Writes a file, and the folders on its way.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())?;
    eprintln!("written: {}", path.display());
    Ok(())
}
