//! Unix sockets that programs connect to: at a path, or under an abstract name of a network namespace (`@name`).
//!
//! A path is the same in all network namespaces, and its file lasts as long as the socket: what a killed process left is
//! replaced, and the last owner removes its own. An abstract name has no file and belongs to the namespace that the socket
//! was created in.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Backoff;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::address::Address;
use crate::listen::{self, AcceptError, BACKLOG, BindError, PAUSE};
use crate::netns::{Family, Netns};
use crate::stream::Stream;

/// A Unix socket that listens, bound to no runtime yet. Its file goes with the last of its clones.
#[derive(Debug)]
pub struct BoundPipe {
    socket: UnixListener,
    path: PathBuf,
    file: Option<Arc<SocketFile>>,
}

/// Listens at a path, with these permission bits (such as `0o600`), or under an abstract name (`@name`), in `netns` if that
/// is given. Asking a namespace blocks for as long as its holder takes to answer, two seconds at most.
///
/// # Errors
/// [`BindError::Unix`], among others when another program listens there; [`BindError::UnixNamespace`].
pub fn bind(path: &Path, netns: Option<&Netns>, mode: u32) -> Result<BoundPipe, BindError> {
    let failed = |source| BindError::Unix { path: path.display().to_string(), source };
    let (socket, file) = if is_abstract(path) {
        let socket = match netns {
            None => Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None).map_err(failed)?,
            Some(netns) => Socket::from(netns.socket_at_once(Family::Unix).map_err(|source| {
                BindError::UnixNamespace { path: path.display().to_string(), netns: netns.name().to_owned(), source }
            })?),
        };
        (bind_abstract(socket, path).map_err(failed)?, None)
    } else {
        let socket = listen::unix_std(path, mode).map_err(failed)?;
        (socket, Some(Arc::new(SocketFile::of(path).map_err(failed)?)))
    };
    socket.set_nonblocking(true).map_err(failed)?;
    Ok(BoundPipe { socket, path: path.to_owned(), file })
}

fn bind_abstract(socket: Socket, path: &Path) -> io::Result<UnixListener> {
    socket.bind(&SockAddr::unix(system_name(path))?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_bytes().starts_with(b"@")
}

/// A path as the system takes it: an abstract name begins with a zero byte in place of the `@` that people write.
pub(crate) fn system_name(path: &Path) -> Cow<'_, Path> {
    match path.as_os_str().as_bytes() {
        [b'@', name @ ..] => Cow::Owned(PathBuf::from(OsString::from_vec([b"\0", name].concat()))),
        _ => Cow::Borrowed(path),
    }
}

impl BoundPipe {
    /// The same socket once more.
    ///
    /// # Errors
    /// The process has no file left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, path: self.path.clone(), file: self.file.clone() })
    }

    /// Joins the runtime on which this is called.
    ///
    /// # Errors
    /// The runtime's reactor refuses the socket.
    pub fn start(self) -> io::Result<PipeListener> {
        let inner = tokio::net::UnixListener::from_std(self.socket)?;
        let backoff = RefCell::new(Backoff::new(PAUSE.0, PAUSE.1));
        Ok(PipeListener { inner, path: self.path, _file: self.file, backoff })
    }
}

/// Accepts connections on one worker's runtime.
#[derive(Debug)]
pub struct PipeListener {
    inner: tokio::net::UnixListener,
    path: PathBuf,
    _file: Option<Arc<SocketFile>>,
    backoff: RefCell<Backoff>,
}

impl PipeListener {
    /// The next connection.
    ///
    /// # Errors
    /// [`AcceptError`] with the pause to make before the next call. Dropping the future loses no connection.
    pub async fn accept(&self) -> Result<Stream, AcceptError> {
        loop {
            let error = match self.inner.accept().await {
                Ok((stream, _)) => {
                    self.backoff.borrow_mut().reset();
                    return Ok(stream.into());
                }
                Err(error) => error,
            };
            if !listen::is_about_one_connection(&error) {
                let mut backoff = self.backoff.borrow_mut();
                let pause = backoff.bound();
                backoff.next_delay();
                return Err(AcceptError { addr: Address::unix(&self.path), source: error, pause });
            }
        }
    }
}

/// The file of a socket, removed at the end if it is still this one and not a successor's.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: meta.dev(), inode: meta.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |meta: std::fs::Metadata| (meta.dev(), meta.ino()) == (self.device, self.inode);
        if std::fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
