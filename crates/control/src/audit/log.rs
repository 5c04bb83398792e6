//! The log's files: JSON lines, only ever appended to, each sealed with a hash over it and over the one before.
//!
//! A file is named by the number of its first entry; a new one is begun when one is large. The chain goes on from file to
//! file, so that older ones may be moved away as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::store::StoreError;
use crate::v1::AuditEntry;

/// The log's folder in the data directory.
pub(crate) const FOLDER: &str = "audit";
/// A file that is larger gets no further entries.
const MOST_BYTES: u64 = 16 << 20;
/// What stands before the first entry.
pub(super) const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const SEAL: &str = ",\"hash\":\"";

/// Where a chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    pub seq: u64,
    pub hash: String,
}

impl Tail {
    /// Of a log without entries.
    pub fn start() -> Self {
        Self { seq: 0, hash: ZERO.to_owned() }
    }

    pub fn write(&self) -> String {
        format!("{} {}", self.seq, self.hash)
    }

    pub fn read(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(' ')?;
        Some(Self { seq: seq.parse().ok()?, hash: hash.to_owned() })
    }
}

pub(super) struct Log {
    dir: PathBuf,
    file: Option<File>,
    /// Of the open file, up to its last whole entry.
    size: u64,
    /// What was written beyond `size` has to go first.
    torn: bool,
    tail: Tail,
    most: u64,
}

impl Log {
    /// Opens the log and finds its end. A line that a crash cut off goes: the store still has its entry. What the store
    /// knows as the end counts more than a file that ends earlier, so that the gap shows.
    pub fn open(dir: &Path, head: Option<Tail>) -> Result<Self, StoreError> {
        let failed = |e| StoreError::io(dir, e);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let mut log =
            Self { dir: dir.to_owned(), file: None, size: 0, torn: false, tail: Tail::start(), most: MOST_BYTES };
        if let Some(path) = files(dir).map_err(failed)?.pop() {
            log.resume(&path).map_err(|e| StoreError::io(&path, e))?;
        }
        if let Some(head) = head.filter(|head| head.seq > log.tail.seq) {
            let (is, was) = (log.tail.seq, head.seq);
            tracing::error!("audit log in {}: it ends with entry {is}, and had {was}", dir.display());
            log.tail = head;
            log.file = None;
        }
        Ok(log)
    }

    fn resume(&mut self, path: &Path) -> io::Result<()> {
        let text = fs::read(path)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let file = OpenOptions::new().append(true).open(path)?;
        if whole < text.len() {
            tracing::warn!("{}: its last line was cut off by a crash, and is written again", path.display());
            file.set_len(whole as u64)?;
        }
        (self.file, self.size) = (Some(file), whole as u64);
        let last = text[..whole].trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let named = path.file_stem().and_then(|name| name.to_str()?.strip_prefix("audit-")?.parse().ok());
        match unseal(last) {
            Some(entry) => self.tail = Tail { seq: entry.seq, hash: entry.hash },
            // A file with no entry yet: what is before it cannot be read here, and its name tells the number.
            None if whole == 0 => self.resume_before(path, named.unwrap_or(1))?,
            None => {
                tracing::error!(
                    "{}: its last line is not as it was written; see `halcyon audit verify`",
                    path.display()
                );
                let lines = text[..whole].iter().filter(|byte| **byte == b'\n').count() as u64;
                self.tail = Tail { seq: named.unwrap_or(1) + lines - 1, hash: ZERO.to_owned() };
            }
        }
        Ok(())
    }

    fn resume_before(&mut self, empty: &Path, first: u64) -> io::Result<()> {
        let before = files(&self.dir)?.into_iter().rfind(|path| path.as_path() < empty);
        let text = before.map(fs::read).transpose()?.unwrap_or_default();
        let last = text.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        self.tail = match unseal(last) {
            Some(entry) => Tail { seq: entry.seq, hash: entry.hash },
            None => Tail { seq: first.saturating_sub(1), hash: ZERO.to_owned() },
        };
        Ok(())
    }

    /// The last entry that is in a file.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Writes entries that are numbered on from the last. On the disk when this returns.
    pub fn append(&mut self, entries: &[&AuditEntry]) -> io::Result<()> {
        let (mut tail, mut text) = (self.tail.clone(), String::new());
        for entry in entries {
            let (line, hash) = seal(entry, &tail.hash);
            text.push_str(&line);
            tail = Tail { seq: entry.seq, hash };
        }
        let first = entries.first().map_or(1, |entry| entry.seq);
        let (torn, size) = (self.torn, self.size);
        let file = self.file_for(first)?;
        if torn {
            file.set_len(size)?;
        }
        self.torn = true;
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        self.torn = false;
        self.size += text.len() as u64;
        self.tail = tail;
        Ok(())
    }

    fn file_for(&mut self, first: u64) -> io::Result<&mut File> {
        if self.file.is_none() || (self.size >= self.most && !self.torn) {
            let path = self.dir.join(format!("audit-{first:020}.jsonl"));
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            // Its name has to be durable too.
            File::open(&self.dir)?.sync_all()?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    #[cfg(test)]
    pub fn with_files_of(mut self, bytes: u64) -> Self {
        self.most = bytes;
        self
    }
}

/// The log's files, oldest first.
pub(super) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let is_ours = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|n| n.starts_with("audit-") && n.ends_with(".jsonl"))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        found.push(entry?.path());
    }
    found.retain(is_ours);
    found.sort();
    Ok(found)
}

/// The line of an entry after the one with the hash `prev`, and its own hash.
fn seal(entry: &AuditEntry, prev: &str) -> (String, String) {
    let entry = AuditEntry { prev: prev.to_owned(), hash: String::new(), ..entry.clone() };
    let body = serde_json::to_string(&entry).unwrap_or_default();
    let hash = hash(body.as_bytes());
    (format!("{}{SEAL}{hash}\"}}\n", body.strip_suffix('}').unwrap_or(&body)), hash)
}

/// The entry of a line, if its own hash fits it.
pub(super) fn unseal(line: &[u8]) -> Option<AuditEntry> {
    let line = std::str::from_utf8(line).ok()?;
    let (body, seal) = line.rsplit_once(SEAL)?;
    let entry: AuditEntry = serde_json::from_str(line).ok()?;
    let fits =
        seal.strip_suffix("\"}") == Some(entry.hash.as_str()) && hash(format!("{body}}}").as_bytes()) == entry.hash;
    fits.then_some(entry)
}

fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}
