//! The file: tables of texts to bytes, written whole or not at all.
//!
//! Knows no resource. Access is for its user only, since Secrets stand in it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::error::StoreError;

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// Version, layout and addresses.
    Meta,
    /// Resources by key.
    Resources,
    /// Registrations of workloads by namespace and name.
    Workloads,
    /// Join tokens (their hashes) by id.
    Tokens,
    /// Certificates that were issued, by serial number.
    Leaves,
    /// Users by name.
    Users,
    /// Users' tokens (their hashes) by id.
    UserTokens,
    /// Counts of rate limits by what they count.
    Counts,
    /// Entries of the audit log that may not be in its file yet, by the number of the first.
    Audit,
}

impl Table {
    const ALL: [Self; 9] = [
        Self::Meta,
        Self::Resources,
        Self::Workloads,
        Self::Tokens,
        Self::Leaves,
        Self::Users,
        Self::UserTokens,
        Self::Counts,
        Self::Audit,
    ];

    fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(match self {
            Self::Meta => "meta",
            Self::Resources => "resources",
            Self::Workloads => "workloads",
            Self::Tokens => "tokens",
            Self::Leaves => "leaves",
            Self::Users => "users",
            Self::UserTokens => "user_tokens",
            Self::Counts => "counts",
            Self::Audit => "audit",
        })
    }
}

/// What one transaction writes: a value, or none to remove it.
#[derive(Debug, Default)]
pub struct Changes(Vec<(Table, String, Option<Vec<u8>>)>);

impl Changes {
    /// Writes `value`.
    pub fn put(&mut self, table: Table, key: impl Into<String>, value: Vec<u8>) {
        self.0.push((table, key.into(), Some(value)));
    }

    /// Removes what is there.
    pub fn remove(&mut self, table: Table, key: impl Into<String>) {
        self.0.push((table, key.into(), None));
    }

    /// What is written to a table.
    #[cfg(test)]
    pub fn of(&self, table: Table) -> Vec<(String, Vec<u8>)> {
        let of = self.0.iter().filter(|(of, ..)| *of == table);
        of.filter_map(|(_, key, value)| Some((key.clone(), value.clone()?))).collect()
    }

    /// What is removed from a table.
    #[cfg(test)]
    pub fn removed(&self, table: Table) -> Vec<String> {
        let gone = self.0.iter().filter(|(of, _, value)| *of == table && value.is_none());
        gone.map(|(_, key, _)| key.clone()).collect()
    }

    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The layout that this program writes.
const LAYOUT: u64 = 1;
const LAYOUT_KEY: &str = "layout";

/// The open file.
pub struct Disk {
    path: PathBuf,
    open: Box<dyn Fn() -> Result<Database, DatabaseError> + Send>,
    /// None after a failed write, until the file could be opened again: redb gives up after an I/O error.
    database: Option<Database>,
}

impl Disk {
    /// Opens or makes `store.redb` in `dir`, and `dir` itself.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| StoreError::io(dir, e))?;
        let path = dir.join("store.redb");
        // Made here, so that it is closed to others from its first byte on.
        let made = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let made = made.map_err(|e| StoreError::io(&path, e))?;
        let is_new = made.metadata().is_ok_and(|file| file.len() == 0);
        drop(made);
        let file = path.clone();
        let opened = Self::with(path.clone(), move || Database::create(&file));
        // Half a new store would be taken for a damaged one at the next start. What another makes just now is its own.
        if is_new && opened.as_ref().is_err_and(|error| !matches!(error, StoreError::Locked { .. })) {
            let _ = fs::remove_file(&path);
        }
        opened
    }

    /// Uses whatever database `open` opens; `path` stands in errors.
    pub(crate) fn with(
        path: PathBuf,
        open: impl Fn() -> Result<Database, DatabaseError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let mut disk = Self { path, open: Box::new(open), database: None };
        let layout = disk.read(Table::Meta)?.into_iter().find(|(key, _)| key == LAYOUT_KEY);
        match layout.map(|(_, value)| number(&value)) {
            Some(Some(LAYOUT)) => {}
            Some(Some(found)) if found > LAYOUT => {
                return Err(StoreError::Newer { path: disk.path, found, expected: LAYOUT });
            }
            Some(_) => return Err(StoreError::damaged(&disk.path, "its layout cannot be read")),
            None => {
                let mut changes = Changes::default();
                changes.put(Table::Meta, LAYOUT_KEY, LAYOUT.to_string().into_bytes());
                disk.write(&changes)?;
            }
        }
        Ok(disk)
    }

    /// Everything in a table, by key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&mut self, table: Table) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let path = self.path.clone();
        let failed = |e| StoreError::storage(&path, e);
        let reading = self.database()?.begin_read().map_err(|e| StoreError::transaction(&path, e))?;
        let rows = match reading.open_table(table.definition()) {
            Ok(rows) => rows,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::table(&path, error)),
        };
        let mut found = Vec::new();
        for row in rows.iter().map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            found.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(found)
    }

    /// Writes all of it, on the disk when this returns, or nothing.
    ///
    /// # Errors
    /// [`StoreError`]; the file holds what it held before.
    pub fn write(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let result = self.try_write(changes);
        if result.is_err() {
            self.database = None;
        }
        result
    }

    fn try_write(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let path = self.path.clone();
        let failed = |e| StoreError::storage(&path, e);
        let writing = self.database()?.begin_write().map_err(|e| StoreError::transaction(&path, e))?;
        for table in Table::ALL {
            let mut rows = writing.open_table(table.definition()).map_err(|e| StoreError::table(&path, e))?;
            for (_, key, value) in changes.0.iter().filter(|(of, ..)| *of == table) {
                match value {
                    Some(value) => drop(rows.insert(key.as_str(), value.as_slice()).map_err(failed)?),
                    None => drop(rows.remove(key.as_str()).map_err(failed)?),
                }
            }
        }
        writing.commit().map_err(|e| StoreError::commit(&path, e))
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        if self.database.is_none() {
            let opened = (self.open)().map_err(|e| StoreError::open(&self.path, e))?;
            self.database = Some(opened);
        }
        self.database.as_ref().ok_or(StoreError::Stopped)
    }

    /// Lets the file go, for another process.
    pub fn close(&mut self) {
        self.database = None;
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A number written as digits.
pub fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Writes a file of the data directory in one step: readers see the old or the new one. Mode 0600.
pub fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let written = io::Write::write_all(&mut file, text.as_bytes()).and_then(|()| fs::rename(&fresh, path));
    // Half a file is of no use, and takes room where there may be none.
    written.inspect_err(|_| drop(fs::remove_file(&fresh)))
}
