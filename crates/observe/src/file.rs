//! A file of what was seen. What goes wrong with it stops history, not the mesh: it is said once, and tried again every
//! minute. A file that cannot be read is set aside and begun anew.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, DatabaseError, ReadableDatabase, TableDefinition, TableError};

/// Why what was seen cannot be kept in a directory.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// Another process has the file open.
    #[error("{}: another control plane uses this data directory; stop it, or choose another directory", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file or directory cannot be made or opened.
    #[error("{}: {source}; expected a directory that this user may write: change its owner, or choose another directory", path.display())]
    NoAccess {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not an address of Prometheus that we can use.
    #[error("prometheus: `{address}` cannot be asked; expected http://HOST:PORT, with a path if it stands below one")]
    Prometheus {
        /// As it was given.
        address: String,
    },
    /// A metric of that name is declared already.
    #[error(transparent)]
    Metrics(#[from] telemetry::DeclareError),
}

/// After a failure it is tried again after so many milliseconds.
const RETRY_MS: u64 = 60_000;
/// Memory for pages of one file.
const CACHE_BYTES: usize = 4 << 20;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

type Open = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// The file.
pub(crate) struct File {
    path: PathBuf,
    layout: u64,
    open: Open,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// None after a failure, until it could be opened again: redb gives up after an I/O error.
    database: Option<Arc<Database>>,
    trouble: Option<(String, u64)>,
}

/// Why a file that is there cannot be used.
enum Unusable {
    Fatal(ObserveError),
    /// Not what we wrote.
    Strange(String),
    /// The system's fault, which may pass.
    Passing(String),
}

impl File {
    /// Opens or makes `name` in `dir`, and `dir` itself.
    pub fn open(dir: &Path, name: &str, layout: u64, now: u64) -> Result<Self, ObserveError> {
        let refused = |path: &Path, source| ObserveError::NoAccess { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| refused(dir, e))?;
        let path = dir.join(name);
        // Made here, so that it is closed to others from its first byte on.
        let made = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        drop(made.map_err(|e| refused(&path, e))?);
        let file = path.clone();
        let open = move || Database::builder().set_cache_size(CACHE_BYTES).create(&file);
        Self::with(path, layout, Box::new(open), now)
    }

    /// Uses whatever `open` opens; `path` is what is set aside.
    pub fn with(path: PathBuf, layout: u64, open: Open, now: u64) -> Result<Self, ObserveError> {
        let file = Self { path, layout, open, state: Mutex::default() };
        match file.try_open() {
            Ok(database) => file.lock().database = Some(database),
            Err(Unusable::Fatal(error)) => return Err(error),
            Err(Unusable::Passing(words)) => file.failed(words, now),
            Err(Unusable::Strange(words)) => {
                let mut aside = file.path.clone().into_os_string();
                aside.push(".set-aside");
                tracing::warn!(
                    "{}: {words}; it is set aside as {}, and history begins anew",
                    file.path.display(),
                    Path::new(&aside).display()
                );
                match fs::rename(&file.path, &aside)
                    .map_err(|e| Unusable::Passing(e.to_string()))
                    .and_then(|()| file.try_open())
                {
                    Ok(database) => file.lock().database = Some(database),
                    Err(Unusable::Fatal(error)) => return Err(error),
                    Err(Unusable::Passing(words) | Unusable::Strange(words)) => file.failed(words, now),
                }
            }
        }
        Ok(file)
    }

    fn try_open(&self) -> Result<Arc<Database>, Unusable> {
        let database = (self.open)().map_err(|error| self.unusable(error.into()))?;
        let found = self.found_layout(&database).map_err(|error| self.unusable(error))?;
        match found {
            Some(found) if found == self.layout => {}
            Some(found) => {
                let words = format!("it was written in layout {found}; expected layout {}", self.layout);
                return Err(Unusable::Strange(words));
            }
            None => self.write_layout(&database).map_err(|error| self.unusable(error))?,
        }
        Ok(Arc::new(database))
    }

    fn found_layout(&self, database: &Database) -> Result<Option<u64>, redb::Error> {
        match database.begin_read()?.open_table(META) {
            Ok(meta) => Ok(meta.get("layout")?.map(|found| found.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write_layout(&self, database: &Database) -> Result<(), redb::Error> {
        let writing = database.begin_write()?;
        writing.open_table(META)?.insert("layout", self.layout)?;
        writing.commit()?;
        Ok(())
    }

    fn unusable(&self, error: redb::Error) -> Unusable {
        use redb::Error;
        match error {
            Error::DatabaseAlreadyOpen => Unusable::Fatal(ObserveError::Locked { path: self.path.clone() }),
            Error::Io(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                Unusable::Fatal(ObserveError::NoAccess { path: self.path.clone(), source })
            }
            // What redb says of a file that does not begin, or end, like one of its own.
            Error::Io(e) if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                Unusable::Strange(e.to_string())
            }
            Error::Io(e) => Unusable::Passing(e.to_string()),
            other => Unusable::Strange(other.to_string()),
        }
    }

    /// Does something with the database, unless it is in trouble. None if that was not to be.
    pub fn with_database<T>(&self, now: u64, act: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Option<T> {
        let database = self.database(now)?;
        match act(&database) {
            Ok(done) => {
                if self.lock().trouble.take().is_some() {
                    tracing::info!("{}: history is written again", self.path.display());
                }
                Some(done)
            }
            Err(error) => {
                let words = match &error {
                    redb::Error::Io(e) if e.kind() == io::ErrorKind::StorageFull => {
                        "no space left on the disk".to_owned()
                    }
                    redb::Error::PreviousIo => "an earlier write failed".to_owned(),
                    other => other.to_string(),
                };
                self.failed(words, now);
                None
            }
        }
    }

    /// The database for reading; none in trouble.
    pub fn for_reading(&self) -> Option<Arc<Database>> {
        self.lock().database.clone()
    }

    /// Was there no failure in the last minute?
    pub fn may_write(&self, now: u64) -> bool {
        self.lock().trouble.as_ref().is_none_or(|(_, since)| now.abs_diff(*since) >= RETRY_MS)
    }

    fn database(&self, now: u64) -> Option<Arc<Database>> {
        {
            let state = self.lock();
            if let Some(database) = &state.database {
                return Some(database.clone());
            }
        }
        if !self.may_write(now) {
            return None;
        }
        match self.try_open() {
            Ok(database) => {
                self.lock().database = Some(database.clone());
                Some(database)
            }
            Err(Unusable::Passing(words) | Unusable::Strange(words)) => {
                self.failed(words, now);
                None
            }
            Err(Unusable::Fatal(error)) => {
                self.failed(error.to_string(), now);
                None
            }
        }
    }

    fn failed(&self, words: String, now: u64) {
        let mut state = self.lock();
        state.database = None;
        if state.trouble.is_none() {
            let path = self.path.display();
            tracing::warn!(
                "{path}: {words}; what is seen is kept in memory alone, and writing is tried again every minute"
            );
        }
        state.trouble = Some((words, now));
    }

    /// Why it is not written, if it is not.
    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.as_ref().map(|(words, _)| words.clone())
    }

    /// The bytes that it takes on the disk.
    pub fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.blocks() * 512)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
