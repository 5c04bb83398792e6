//! What came of the control plane's scenario, as tables and notes.

use std::fmt;

use comfy_table::Table;
use serde::Serialize;

use super::{Change, NAME, Row, Sizes, TITLE};
use crate::report::{align, table};

/// What each change may take at most, in milliseconds.
const P99_MS: f64 = 100.0;
/// Resident memory at most, in MB.
const RSS_MB: f64 = 500.0;
/// Share of a core at most when nothing changes, in percent.
const IDLE_CPU: f64 = 1.0;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct ControlReport {
    group: usize,
    storm_s: f64,
    repeats: usize,
    /// One for each size, the main one first.
    pub rows: Vec<Row>,
    /// Sizes that could not be measured, and why.
    pub left: Vec<String>,
}

impl ControlReport {
    /// Nothing yet.
    pub fn new(sizes: &Sizes) -> Self {
        Self {
            group: sizes.group,
            storm_s: sizes.storm.as_secs_f64(),
            repeats: sizes.repeats,
            rows: Vec::new(),
            left: Vec::new(),
        }
    }

    /// For the terminal.
    pub fn text(&self) -> String {
        let mut text = format!("\n{NAME}: {TITLE}\n{}\n{}\n", self.changes(), self.sizes());
        self.notes().iter().for_each(|note| text.push_str(&format!("  {note}\n")));
        text
    }

    /// For `docs/benchmarks.md`.
    pub fn markdown(&self) -> String {
        let mut text = format!("\n## {TITLE}\n\n`--scenario {NAME}`\n\n{}\n\n{}\n\n", self.changes(), self.sizes());
        self.notes().iter().for_each(|note| text.push_str(&format!("* {note}\n")));
        text
    }

    fn changes(&self) -> Table {
        let mut table = table();
        table.set_header([
            "services x proxies (each sees)",
            "change",
            "p50 ms",
            "p99 ms",
            "proxies told",
            "concerned",
            "KB sent",
            "CPU ms per change",
            "core %",
        ]);
        for row in &self.rows {
            for change in &row.changes {
                table.add_row([
                    row.name(),
                    change.what.to_owned(),
                    format!("{:.1}", change.p50_ms),
                    format!("{:.1}", change.p99_ms),
                    change.told.to_string(),
                    change.concerned.to_string(),
                    format!("{:.1}", change.kb),
                    format!("{:.2}", change.cpu_ms),
                    change.busy.map_or_else(String::new, |busy| format!("{busy:.0}")),
                ]);
            }
        }
        align(&mut table, 2);
        table
    }

    fn sizes(&self) -> Table {
        let mut table = table();
        table.set_header([
            "services x proxies (each sees)",
            "applied s",
            "all connected s",
            "CPU s for that",
            "RSS MB",
            "idle CPU %",
        ]);
        for row in &self.rows {
            table.add_row([
                row.name(),
                format!("{:.1}", row.applied_s),
                format!("{:.1}", row.connected_s),
                format!("{:.1}", row.connect_cpu_s),
                format!("{:.0}", row.rss_mb),
                format!("{:.2}", row.idle_cpu),
            ]);
        }
        align(&mut table, 1);
        table
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.left.iter().map(|reason| format!("Not measured: {reason}")).collect();
        notes.push(format!(
            "A real `halcyon control` on the proxy's core, durable store included. Each service has {} endpoints \
             (`WorkloadEntry`), every tenth a `VirtualService`, every tenth a `DestinationRule`. {} services share a \
             namespace, whose `Sidecar` lets its proxies see the services of the namespace (`./*`), as large meshes are \
             set up; where a proxy sees all services there is no `Sidecar`.",
            super::ENDPOINTS,
            self.group
        ));
        notes.push(
            "Proxies are simulated: each has a connection of its own, speaks delta xDS (CDS, EDS, LDS, RDS, NDS) and \
             acknowledges at once."
                .to_owned(),
        );
        notes.push(format!(
            "A time runs from the call of the API (of a storm: from when it was due) to the last acknowledgement, the \
             parsing of the call and its commit to the disk included; {} of each single change, and {:.0} s of storm.",
            self.repeats, self.storm_s
        ));
        notes.extend(self.rows.first().into_iter().flat_map(Row::verdicts));
        notes
    }
}

impl Row {
    fn name(&self) -> String {
        format!("{} x {} ({})", self.services, self.proxies, self.seen)
    }

    /// Of the main row.
    fn verdicts(&self) -> Vec<String> {
        let word = |met: bool| if met { "met" } else { "MISSED" };
        let mut all = Vec::new();
        for change in &self.changes {
            let met = change.p99_ms <= P99_MS && change.unfinished == 0;
            let open = match change.unfinished {
                0 => String::new(),
                count => format!(" ({count} changes not acknowledged by all before the next one or the end)"),
            };
            all.push(format!(
                "Budget of {}, p99 <= {P99_MS:.0} ms: {:.1}{open}, {}.",
                change.what,
                change.p99_ms,
                word(met)
            ));
        }
        let only = self.changes.iter().all(|change| change.told <= change.concerned);
        all.push(format!("Budget only the proxies concerned are sent anything: {}.", word(only)));
        all.push(format!("Budget RSS < {RSS_MB:.0} MB: {:.0}, {}.", self.rss_mb, word(self.rss_mb < RSS_MB)));
        let idle = self.idle_cpu;
        all.push(format!("Budget idle CPU < {IDLE_CPU:.0} % of a core: {idle:.2}, {}.", word(idle < IDLE_CPU)));
        all
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: p50 {:.1} ms, p99 {:.1} ms, {} of {} proxies told, {:.1} KB, {:.2} ms CPU",
            self.what, self.p50_ms, self.p99_ms, self.told, self.concerned, self.kb, self.cpu_ms
        )?;
        match self.unfinished {
            0 => Ok(()),
            count => write!(f, ", {count} not finished"),
        }
    }
}
