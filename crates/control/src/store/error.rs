//! What can be wrong with the data directory and the file in it.

use std::io;
use std::path::PathBuf;

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

/// Why the store cannot be opened, read or written. Whatever was stored before stays.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("{}: another control plane uses this data directory; stop it, or choose another directory", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses access.
    #[error("{}: permission denied; expected a directory that this user may write: change its owner, or choose another directory", path.display())]
    NoPermission {
        /// The file or directory.
        path: PathBuf,
    },
    /// No space left.
    #[error("{}: no space left on the disk; what was stored before is kept, the change is not: make room and try again", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what we wrote.
    #[error("{}: the file is damaged ({reason}); expected a store of this program: put back a copy of it, or move it away to begin anew, and apply your files again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("{}: it was written by a newer version of this program (layout {found}); expected layout {expected}: use that version", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The layout of the file.
        found: u64,
        /// The layout that we know.
        expected: u64,
    },
    /// Another fault of the system.
    #[error("{}: {source}; expected to read and write there: look at the disk", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store's task has ended.
    #[error("the store has stopped; start the control plane again")]
    Stopped,
}

impl StoreError {
    /// What the system said about `path`.
    pub(crate) fn io(path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NoPermission { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path }
            }
            // What redb says of a file that does not begin like one of its own.
            io::ErrorKind::InvalidData => Self::Damaged { path, reason: source.to_string() },
            _ => Self::Io { path, source },
        }
    }

    pub(crate) fn damaged(path: &std::path::Path, reason: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn open(path: &std::path::Path, error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Locked { path: path.to_owned() },
            DatabaseError::Storage(error) => Self::storage(path, error),
            other => Self::damaged(path, other),
        }
    }

    pub(crate) fn storage(path: &std::path::Path, error: StorageError) -> Self {
        match error {
            StorageError::Io(source) => Self::io(path, source),
            StorageError::PreviousIo => Self::io(path, io::Error::other("an earlier write failed")),
            other => Self::damaged(path, other),
        }
    }

    pub(crate) fn transaction(path: &std::path::Path, error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => Self::storage(path, error),
            other => Self::damaged(path, other),
        }
    }

    pub(crate) fn table(path: &std::path::Path, error: TableError) -> Self {
        match error {
            TableError::Storage(error) => Self::storage(path, error),
            other => Self::damaged(path, other),
        }
    }

    pub(crate) fn commit(path: &std::path::Path, error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => Self::storage(path, error),
            other => Self::damaged(path, other),
        }
    }
}
