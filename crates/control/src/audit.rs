//! The audit log: who changed what, and who was refused; every entry holds the hash of the one before.
//!
//! An entry of a change is written to the store in the same transaction as the change, then to the log's file, and leaves
//! the store with the next transaction; what a crash left between is put into the file at the next start, so no change
//! lacks its entry and no entry its change. An entry of a refusal is in the file before the caller hears of it.

mod diff;
mod log;
mod read;
mod undo;

use std::collections::VecDeque;
use std::path::Path;
use std::time::SystemTime;

use telemetry::{Counter, Desc, Family, Shard};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::store::{Changes, StoreError, Table};
use crate::v1::AuditEntry;
use log::{Log, Tail};

pub(crate) use diff::diff;
pub(crate) use log::FOLDER;
pub use read::verify;
pub(crate) use read::{find, verify_with};
pub(crate) use undo::undo;

/// Who did something, and from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Author {
    /// Such as `uid 1000` or `user alice`.
    pub who: String,
    /// Such as `local` or `192.0.2.1:4711`.
    pub from: String,
}

impl Author {
    pub fn new(who: impl Into<String>, from: impl Into<String>) -> Self {
        Self { who: who.into(), from: from.into() }
    }
}

impl AuditEntry {
    /// An entry without number and time.
    pub(crate) fn new(by: &Author, action: &str, what: impl Into<String>, outcome: impl ToString) -> Self {
        Self {
            who: by.who.clone(),
            from: by.from.clone(),
            action: action.to_owned(),
            what: what.into(),
            outcome: outcome.to_string(),
            ..Self::default()
        }
    }

    /// An attempt that was refused.
    pub(crate) fn refused(by: &Author, action: &str, what: impl Into<String>, reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), ..Self::new(by, action, what, "refused") }
    }
}

/// Entries that wait for the file are no more than this; then those of refusals are dropped, and counted.
const MOST_WAITING: usize = 10_000;
const HEAD: &str = "audit_head";

/// The log with what waits for it. Owned by the store's thread.
pub(crate) struct Journal {
    log: Log,
    /// Not in the file yet; with the row of the store that they stand in, if they do.
    waiting: VecDeque<(AuditEntry, Option<String>)>,
    /// Rows of the store whose entries are in the file.
    written: Vec<String>,
    metrics: Metrics,
}

/// What a transaction carries for the journal.
#[must_use]
pub(crate) struct Staged {
    row: Option<String>,
    entries: Vec<AuditEntry>,
    settled: usize,
}

struct Metrics {
    entries: Family<Counter>,
    failures: Counter,
    dropped: Counter,
}

impl Metrics {
    fn new(shard: &Shard) -> Result<Self, telemetry::DeclareError> {
        let entries = Desc::new("halcyon_audit_entries_total", "Entries written to the audit log, by outcome.");
        let failures = Desc::new("halcyon_audit_write_failures_total", "Writes to the audit log's file that failed.");
        let dropped = Desc::new("halcyon_audit_dropped_total", "Refusals that could not be written down.");
        Ok(Self {
            entries: shard.counters(entries.labels(&["outcome"]))?,
            failures: shard.counters(failures)?.with(&[]),
            dropped: shard.counters(dropped)?.with(&[]),
        })
    }
}

impl Journal {
    /// Opens the log in `dir`, and puts into it what the store still holds for it: rows by key, and what it knows as the
    /// log's end.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn open(
        dir: &Path,
        rows: Vec<(String, Vec<u8>)>,
        head: Option<&[u8]>,
        shard: &Shard,
    ) -> Result<Self, StoreError> {
        let head = head.and_then(|head| Tail::read(std::str::from_utf8(head).ok()?));
        let log = Log::open(dir, head)?;
        let metrics = Metrics::new(shard).expect("declared once, alike");
        let mut journal = Self { log, waiting: VecDeque::new(), written: Vec::new(), metrics };
        for (key, row) in rows {
            let entries: Vec<AuditEntry> = serde_json::from_slice(&row).unwrap_or_default();
            let known = journal.log.tail().seq;
            let left = entries.into_iter().filter(|entry| entry.seq > known);
            journal.waiting.extend(left.map(|entry| (entry, Some(key.clone()))));
            journal.written.push(key);
        }
        journal.flush();
        Ok(journal)
    }

    /// Numbers the entries of a change and puts them among its rows, with what earlier ones no longer need.
    pub fn stage(&self, entries: Vec<AuditEntry>, version: u64, now: SystemTime, rows: &mut Changes) -> Staged {
        let entries = self.number(entries, version, now);
        let row = entries.first().map(|entry| format!("{:020}", entry.seq));
        if let Some(row) = &row {
            rows.put(Table::Audit, row.clone(), serde_json::to_vec(&entries).unwrap_or_default());
        }
        let settled = if self.waiting.is_empty() { self.written.len() } else { 0 };
        self.written[..settled].iter().for_each(|row| rows.remove(Table::Audit, row.clone()));
        if settled > 0 {
            rows.put(Table::Meta, HEAD, self.log.tail().write().into_bytes());
        }
        Staged { row, entries, settled }
    }

    /// The transaction is durable: its entries go to the file.
    pub fn committed(&mut self, staged: Staged) {
        let Staged { row, entries, settled } = staged;
        self.written.drain(..settled);
        self.waiting.extend(entries.into_iter().map(|entry| (entry, row.clone())));
        self.written.extend(row);
        self.flush();
    }

    /// Writes down what changed nothing.
    pub fn note(&mut self, entry: AuditEntry, version: u64, now: SystemTime) {
        if self.waiting.len() >= MOST_WAITING {
            self.metrics.dropped.inc();
            return;
        }
        let entries = self.number(vec![entry], version, now);
        self.waiting.extend(entries.into_iter().map(|entry| (entry, None)));
        self.flush();
    }

    /// The end of the log's file.
    pub fn head(&self) -> String {
        self.log.tail().write()
    }

    fn number(&self, mut entries: Vec<AuditEntry>, version: u64, now: SystemTime) -> Vec<AuditEntry> {
        let first = self.waiting.back().map_or(self.log.tail().seq, |(entry, _)| entry.seq) + 1;
        let time = milliseconds(now);
        for (seq, entry) in (first..).zip(&mut entries) {
            (entry.seq, entry.version, entry.time) = (seq, version, time.clone());
        }
        entries
    }

    /// What cannot be written now waits, and is tried again with the next entry.
    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let entries: Vec<&AuditEntry> = self.waiting.iter().map(|(entry, _)| entry).collect();
        match self.log.append(&entries) {
            Ok(()) => {
                entries.iter().for_each(|entry| self.metrics.entries.with(&[entry.outcome.as_str()]).inc());
                self.waiting.clear();
            }
            Err(error) => {
                self.metrics.failures.inc();
                let waiting = self.waiting.len();
                tracing::error!("audit log: {error}; {waiting} entries wait for it: look at the disk");
            }
        }
    }
}

/// Where the log's end was, as the store knows it.
pub(crate) fn head(meta: &std::collections::BTreeMap<String, Vec<u8>>) -> Option<&[u8]> {
    meta.get(HEAD).map(Vec::as_slice)
}

fn milliseconds(at: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from(at).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests;
