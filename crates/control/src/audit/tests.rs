//! The journal at its borders: crashes, tampering, rotation, questions.

use std::fs;

use telemetry::Registry;

use super::log::files;
use super::*;
use crate::v1::AuditQuery;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn entry(what: &str) -> AuditEntry {
    AuditEntry::new(&Author::new("user alice", "local"), "apply", what, "created")
}

fn open(dir: &Path, rows: &[(String, Vec<u8>)], head: Option<&str>) -> Journal {
    Journal::open(dir, rows.to_vec(), head.map(str::as_bytes), &Registry::new().shard()).unwrap()
}

/// A change that is stored; what of it lies in the store for the journal.
fn change(journal: &mut Journal, what: &str) -> Vec<(String, Vec<u8>)> {
    let mut rows = Changes::default();
    let staged = journal.stage(vec![entry(what)], 7, NOW, &mut rows);
    journal.committed(staged);
    rows.of(Table::Audit)
}

fn numbers(dir: &Path) -> Vec<(u64, String)> {
    let page = find(dir, &AuditQuery::default()).unwrap();
    page.entries.into_iter().map(|entry| (entry.seq, entry.what)).collect()
}

fn broken(dir: &Path) -> String {
    verify(dir).unwrap().broken.unwrap_or_default()
}

#[test]
fn a_crash_between_change_and_file_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), &[], None);
    change(&mut journal, "a");
    // The transaction is durable, and the process dies before the file is written.
    let mut rows = Changes::default();
    let staged = journal.stage(vec![entry("b"), entry("c")], 8, NOW, &mut rows);
    drop((journal, staged));
    assert_eq!(numbers(dir.path()), [(1, "a".to_owned())]);
    let kept = rows.of(Table::Audit);
    let journal = open(dir.path(), &kept, None);
    assert_eq!(numbers(dir.path()).len(), 3);
    // It dies again before the row is removed from the store: nothing is written twice.
    drop(journal);
    let mut journal = open(dir.path(), &kept, None);
    change(&mut journal, "d");
    let expected = [(1, "a"), (2, "b"), (3, "c"), (4, "d")].map(|(n, what)| (n, what.to_owned()));
    assert_eq!(numbers(dir.path()), expected);
    assert_eq!(broken(dir.path()), "");
}

#[test]
fn rows_leave_the_store_with_the_next_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), &[], None);
    let first = change(&mut journal, "a");
    let mut rows = Changes::default();
    let staged = journal.stage(Vec::new(), 7, NOW, &mut rows);
    assert_eq!(rows.removed(Table::Audit), [first[0].0.clone()]);
    journal.committed(staged);
    let mut rows = Changes::default();
    let staged = journal.stage(Vec::new(), 7, NOW, &mut rows);
    assert!(rows.is_empty(), "once");
    journal.committed(staged);
}

#[test]
fn a_line_that_a_crash_cut_off_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), &[], None);
    change(&mut journal, "a");
    let kept = change(&mut journal, "b");
    drop(journal);
    let file = files(dir.path()).unwrap().pop().unwrap();
    let text = fs::read(&file).unwrap();
    fs::write(&file, &text[..text.len() - 20]).unwrap();
    let mut journal = open(dir.path(), &kept, None);
    change(&mut journal, "c");
    assert_eq!(numbers(dir.path()).len(), 3);
    assert_eq!(broken(dir.path()), "");
}

#[test]
fn whatever_is_edited_shows() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), &[], None);
    for what in ["a", "b", "c", "d"] {
        change(&mut journal, what);
    }
    let head = journal.head();
    let file = files(dir.path()).unwrap().pop().unwrap();
    let good = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let check = |text: String, expected: &str| {
        fs::write(&file, text).unwrap();
        let told = verify_with(dir.path(), Some(&head)).unwrap().broken.unwrap_or_default();
        assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{told:?}, expected {expected:?}");
    };
    check(good.clone(), "");
    check(good.replace("user alice", "user bob"), ".jsonl:1: the line is not as it was written");
    check([lines[0], lines[2], lines[3], ""].join("\n"), ".jsonl:2: entry 3 follows entry 1");
    check([lines[1], lines[0], lines[2], lines[3], ""].join("\n"), ":2: entry 1 follows entry 2");
    check([lines[0], lines[1], ""].join("\n"), "ends with entry 2, and had 4");
    // Written anew with hashes that fit: the store remembers the end.
    let other = tempfile::tempdir().unwrap();
    let mut forged = open(other.path(), &[], None);
    for what in ["a", "b", "c", "x"] {
        change(&mut forged, what);
    }
    let forged = fs::read_to_string(files(other.path()).unwrap().pop().unwrap()).unwrap();
    check(forged, "entry 4 is another than the store remembers");
}

#[test]
fn an_end_that_was_cut_off_stays_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), &[], None);
    change(&mut journal, "a");
    change(&mut journal, "b");
    let head = journal.head();
    drop(journal);
    let file = files(dir.path()).unwrap().pop().unwrap();
    let first = fs::read_to_string(&file).unwrap().lines().next().unwrap().to_owned() + "\n";
    fs::write(&file, first).unwrap();
    let mut journal = open(dir.path(), &[], Some(&head));
    change(&mut journal, "c");
    assert_eq!(numbers(dir.path()).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 3]);
    assert!(broken(dir.path()).contains("entry 3 follows entry 1"), "{}", broken(dir.path()));
}

#[test]
fn files_are_rotated_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), &[], None);
    journal.log = journal.log.with_files_of(1);
    for what in ["a", "b", "c"] {
        change(&mut journal, what);
    }
    let all = files(dir.path()).unwrap();
    assert_eq!(all.len(), 3);
    assert!(all[1].ends_with("audit-00000000000000000002.jsonl"), "{all:?}");
    let verdict = verify(dir.path()).unwrap();
    assert_eq!((verdict.entries, verdict.first, verdict.last, verdict.broken), (3, 1, 3, None));
    // The oldest may be moved away; one between may not.
    fs::remove_file(&all[0]).unwrap();
    let verdict = verify(dir.path()).unwrap();
    assert_eq!((verdict.first, verdict.broken), (2, None));
    fs::remove_file(&all[1]).unwrap();
    let mut journal = open(dir.path(), &[], None);
    change(&mut journal, "d");
    assert_eq!(broken(dir.path()), "");
    let page = find(dir.path(), &AuditQuery { limit: Some(1), ..AuditQuery::default() }).unwrap();
    assert_eq!((page.entries[0].what.as_str(), page.entries.len(), page.more), ("d", 1, true));
}

#[test]
fn entries_are_found_by_time_who_and_what() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), &[], None);
    for (second, who, what) in
        [(1, "user alice", "Service/a/x"), (2, "user bob", "Secret/a/y"), (3, "uid 0", "user carol")]
    {
        let by = Author::new(who, "local");
        let at = NOW + std::time::Duration::from_secs(second);
        journal.note(AuditEntry::refused(&by, "apply", what, "no"), 1, at);
    }
    let check = |query: AuditQuery, expected: &[u64]| {
        let found = find(dir.path(), &query).unwrap().entries;
        assert_eq!(found.iter().map(|entry| entry.seq).collect::<Vec<_>>(), expected, "{query:?}");
    };
    let any = AuditQuery::default();
    check(any.clone(), &[1, 2, 3]);
    check(AuditQuery { who: "bob".to_owned(), ..any.clone() }, &[2]);
    check(AuditQuery { what: "user".to_owned(), ..any.clone() }, &[3]);
    check(AuditQuery { since: "1970-01-01T00:00:02Z".to_owned(), ..any.clone() }, &[2, 3]);
    check(AuditQuery { since: "1970-01-01T02:00:03+02:00".to_owned(), ..any.clone() }, &[3]);
    let error = find(dir.path(), &AuditQuery { since: "yesterday".to_owned(), ..any.clone() }).unwrap_err();
    assert!(error.to_string().contains("expected a time"), "{error}");
    check(AuditQuery { since: "1970-01-01T00:00:02Z".to_owned(), who: "uid".to_owned(), ..any }, &[3]);
}
