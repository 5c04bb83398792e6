//! The log is read: entries that somebody asks for, and whether every link of the chain holds.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::log::{Tail, ZERO, files, unseal};
use crate::v1::{AuditEntry, AuditPage, AuditQuery, AuditVerdict};

/// Unless another number is asked for, and at most.
const LIMIT: (usize, usize) = (1000, 10_000);

/// The newest entries that fit.
///
/// # Errors
/// The files cannot be read, or (`InvalidInput`) `since` is no time.
pub(crate) fn find(dir: &Path, query: &AuditQuery) -> io::Result<AuditPage> {
    let since = since(&query.since)?;
    let limit = query.limit.unwrap_or(LIMIT.0).clamp(1, LIMIT.1);
    let (mut found, mut more) = (VecDeque::new(), false);
    // From the newest file back: most questions end in the first.
    for path in files(dir)?.into_iter().rev() {
        let mut of_file = VecDeque::new();
        for line in BufReader::new(File::open(path)?).lines() {
            // A line that is just being written has no end yet.
            let Ok(entry) = serde_json::from_str::<AuditEntry>(&line?) else { continue };
            if fits(&entry, query, &since) {
                of_file.push_back(entry);
            }
        }
        while let Some(entry) = of_file.pop_back() {
            if found.len() == limit {
                more = true;
                break;
            }
            found.push_front(entry);
        }
        if more {
            break;
        }
    }
    Ok(AuditPage { entries: found.into(), more })
}

/// A time as entries have it; the order of such texts is that of the times.
fn since(text: &str) -> io::Result<String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|e| {
        let wanted = "expected a time such as `2026-01-31T12:00:00Z`";
        io::Error::new(io::ErrorKind::InvalidInput, format!("`{text}`: {e}; {wanted}"))
    })?;
    Ok(super::milliseconds(at.into()))
}

fn fits(entry: &AuditEntry, query: &AuditQuery, since: &str) -> bool {
    entry.time.as_str() >= since
        && entry.who.contains(&query.who)
        && (entry.what.contains(&query.what) || entry.action.contains(&query.what))
}

/// Checks every link of the log in `dir`: that each line is as it was written, and follows the one before.
///
/// # Errors
/// The folder cannot be read.
pub fn verify(dir: &Path) -> io::Result<AuditVerdict> {
    verify_with(dir, None)
}

/// The same, with what the store knows of the log's end.
pub(crate) fn verify_with(dir: &Path, head: Option<&str>) -> io::Result<AuditVerdict> {
    let mut chain =
        Chain { verdict: AuditVerdict { head: ZERO.to_owned(), ..nothing() }, head: head.and_then(Tail::read) };
    'files: for path in files(dir)? {
        let text = fs::read(&path)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // The last line may be one that is just being written.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = text[..whole].split_inclusive(|byte| *byte == b'\n');
        for (number, line) in (1..).zip(lines) {
            if let Err(reason) = chain.link(&line[..line.len() - 1]) {
                chain.verdict.broken = Some(format!("{name}:{number}: {reason}"));
                break 'files;
            }
        }
    }
    let verdict = &mut chain.verdict;
    if let Some(head) = chain.head.filter(|head| verdict.broken.is_none() && head.seq > verdict.last) {
        verdict.broken =
            Some(format!("the log ends with entry {}, and had {}: its end was cut off", verdict.last, head.seq));
    }
    Ok(chain.verdict)
}

fn nothing() -> AuditVerdict {
    AuditVerdict { entries: 0, first: 0, last: 0, head: String::new(), broken: None }
}

struct Chain {
    verdict: AuditVerdict,
    head: Option<Tail>,
}

impl Chain {
    fn link(&mut self, line: &[u8]) -> Result<(), String> {
        let verdict = &mut self.verdict;
        let entry = unseal(line).ok_or("the line is not as it was written: its hash does not fit it")?;
        if verdict.entries == 0 {
            if entry.seq == 1 && entry.prev != ZERO {
                return Err("entry 1 follows nothing, and says otherwise".to_owned());
            }
            verdict.first = entry.seq;
        } else if entry.seq != verdict.last + 1 {
            return Err(format!("entry {} follows entry {}: what was between is missing", entry.seq, verdict.last));
        } else if entry.prev != verdict.head {
            return Err(format!("entry {} does not hold the hash of entry {}", entry.seq, verdict.last));
        }
        if self.head.as_ref().is_some_and(|head| head.seq == entry.seq && head.hash != entry.hash) {
            return Err(format!("entry {} is another than the store remembers: the log was written anew", entry.seq));
        }
        verdict.entries += 1;
        verdict.last = entry.seq;
        verdict.head = entry.hash;
        Ok(())
    }
}
