//! What it costs to keep what a large mesh tells of itself: memory and disk of `observe`, and how long its answers take.
//! Measured by its example `scale`, a process of its own with simulated proxies and hours of simulated time.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::report::{align, table};
use crate::stop::Stop;

/// What people type.
pub const NAME: &str = "observe";
/// What it is.
pub const TITLE: &str = "What the mesh saw: memory, disk and answers";

/// Workloads, those that each calls, and hours.
const SIZES: [[u32; 3]; 2] = [[100, 5, 1], [1_000, 5, 1]];
/// Budgets of a mesh of 1,000 workloads and 5,000 edges.
const MOST_MB: f64 = 100.0;
const MOST_GRAPH_MS: f64 = 100.0;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct ObserveReport(Vec<Figures>);

/// One size, as the example prints it.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    workloads: u32,
    edges: u32,
    hours: u32,
    memory_mb: Memory,
    disk_mb: f64,
    outcomes_in_report: u32,
    report_us: f64,
    tick_ms: f64,
    slowest_tick_ms: f64,
    opened_ms: f64,
    answers: Vec<Answer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    empty: f64,
    steady: f64,
    answered: f64,
    most: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    path: String,
    best_ms: f64,
    cpu_ms: f64,
    bytes: u64,
}

/// Measures all sizes.
///
/// # Errors
/// When it was told to stop, or the example is not there or fails.
pub fn measure(programs: &Path, stop: &Stop) -> anyhow::Result<ObserveReport> {
    eprintln!("\n{NAME}: {TITLE}");
    let program = programs.join("examples/scale");
    let mut rows = Vec::new();
    for size in SIZES {
        stop.pause(std::time::Duration::ZERO)?;
        let shown = program.display();
        let output = Command::new(&program)
            .args(size.map(|number| number.to_string()))
            .stderr(std::process::Stdio::inherit())
            .output()
            .with_context(|| format!("{shown}: cannot be started; `cargo xtask bench` builds it"))?;
        anyhow::ensure!(output.status.success(), "{shown}: {}", output.status);
        rows.push(serde_json::from_slice(&output.stdout).with_context(|| format!("{shown}: not what it prints"))?);
    }
    Ok(ObserveReport(rows))
}

impl ObserveReport {
    /// For the terminal.
    pub fn text(&self) -> String {
        format!("\n{NAME}: {TITLE}\n{}\n{}\n{}", self.sizes(), self.answers(), self.notes("  "))
    }

    /// For `docs/benchmarks.md`.
    pub fn markdown(&self) -> String {
        let (sizes, answers, notes) = (self.sizes(), self.answers(), self.notes("* "));
        format!("\n## {TITLE}\n\n`--scenario {NAME}`\n\n{sizes}\n\n{answers}\n\n{notes}")
    }

    fn sizes(&self) -> String {
        let mut table = table();
        let titles =
            ["workloads x edges", "steady MB", "after answers MB", "at most MB", "of it empty MB", "disk MB/h"];
        let times = ["outcomes in a report", "report us", "tick ms", "slowest tick ms", "open again ms"];
        table.set_header(titles.into_iter().chain(times));
        for row in &self.0 {
            let memory = &row.memory_mb;
            table.add_row([
                format!("{} x {}", row.workloads, row.edges),
                format!("{:.0}", memory.steady),
                format!("{:.0}", memory.answered),
                format!("{:.0}", memory.most),
                format!("{:.0}", memory.empty),
                format!("{:.0}", row.disk_mb / f64::from(row.hours)),
                row.outcomes_in_report.to_string(),
                format!("{:.0}", row.report_us),
                format!("{:.1}", row.tick_ms),
                format!("{:.0}", row.slowest_tick_ms),
                format!("{:.0}", row.opened_ms),
            ]);
        }
        align(&mut table, 1);
        table.to_string()
    }

    fn answers(&self) -> String {
        let mut table = table();
        let of = |row: &Figures| format!("{} x {}: ms (CPU ms, KB)", row.workloads, row.edges);
        table.set_header(std::iter::once("question".to_owned()).chain(self.0.iter().map(of)));
        let questions = self.0.first().map_or(0, |row| row.answers.len());
        for at in 0..questions {
            let cell = |row: &Figures| {
                let it = &row.answers[at];
                format!("{:.1} ({:.0}, {:.0})", it.best_ms, it.cpu_ms, it.bytes as f64 / 1024.0)
            };
            let path = format!("`{}`", self.0[0].answers[at].path);
            table.add_row(std::iter::once(path).chain(self.0.iter().map(cell)));
        }
        align(&mut table, 1);
        table.to_string()
    }

    fn notes(&self, mark: &str) -> String {
        let mut notes = format!("{mark}{NOTE}\n");
        let Some(row) = self.0.iter().find(|row| (row.workloads, row.edges) == (1_000, 5_000)) else { return notes };
        let graph = row.answers.first().map_or(0.0, |answer| answer.best_ms);
        for (what, limit, is) in
            [("MB at most", MOST_MB, row.memory_mb.most), ("ms for the graph of the last minute", MOST_GRAPH_MS, graph)]
        {
            let met = if is < limit { "met" } else { "MISSED" };
            let _infallible = writeln!(notes, "{mark}Budget {what} < {limit:.0}: {is:.0}, {met}.");
        }
        notes
    }
}

const NOTE: &str = "Both sides of each edge tell every five seconds, each third edge also of failures; one hour of simulated time. Memory is of the whole process, at most also of the answers, each asked ten times; times of answers are the best of these, and CPU their mean.";
