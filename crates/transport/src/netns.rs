//! A workload's network namespace, used from outside of it.
//!
//! A socket belongs for life to the namespace in which it was created, wherever it is used. So a thread inside
//! the namespace ([`NetnsSocketServer`]) creates unconnected TCP and Unix sockets and hands them over a Unix socket, and the
//! sidecar outside ([`NetnsSockets`]) connects them, or listens with them. Those that have to be there before the program
//! starts come the other way: see [`crate::inherited`].

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::Interest;

use crate::{fdpass, listen};

/// How many sockets one request brings, and below how many the stock is filled up in the background.
const BATCH: usize = 16;
const LOW_WATER: usize = 4;
/// How long the other end may take to answer or to ask.
const PATIENCE: Duration = Duration::from_secs(2);

/// The wire: a request is one byte, the family; the answer is one byte, [`GRANTED`] with the sockets, or
/// [`REFUSED`] and the error number as four bytes, big end first.
const GRANTED: u8 = b'+';
const REFUSED: u8 = b'-';

/// A network namespace by the name that the launcher gave it. Cheap to clone; may be shared by all workers.
#[derive(Clone)]
pub struct Netns {
    name: Arc<str>,
    sockets: Arc<NetnsSockets>,
}

impl Netns {
    /// The namespace `name`, whose sockets are asked for at the Unix socket `path`.
    pub fn new(name: &str, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), sockets: Arc::new(NetnsSockets::new(path)) }
    }

    /// Its name, as in [`crate::inherited::Key::netns`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An unconnected stream socket created inside.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub async fn socket(&self, family: Family) -> Result<OwnedFd, NetnsError> {
        self.sockets.take(family).await
    }

    /// The same for who may block, two seconds at most: sockets that are to listen are few, and made when nothing waits.
    ///
    /// # Errors
    /// [`NetnsError`].
    pub fn socket_at_once(&self, family: Family) -> Result<OwnedFd, NetnsError> {
        self.sockets.take_at_once(family)
    }
}

impl fmt::Debug for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Netns({} at {})", self.name, self.sockets.path.display())
    }
}

/// The address family of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// Unix: a namespace has abstract names of its own.
    Unix,
}

impl Family {
    const fn byte(self) -> u8 {
        match self {
            Self::V4 => b'4',
            Self::V6 => b'6',
            Self::Unix => b'u',
        }
    }
}

/// Why no socket of the namespace could be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "no socket of the workload's network namespace from {path}: {source}; expected the workload's launcher to answer there: is the workload still running?"
)]
pub struct NetnsError {
    /// The Unix socket that was asked.
    pub path: String,
    /// What went wrong.
    pub source: io::Error,
}

/// The asking end: a small stock of sockets, filled up in the background.
///
/// The stock is thrown away when the path is bound anew, since then another namespace answers there.
pub struct NetnsSockets {
    path: PathBuf,
    // Held for a few instructions per new upstream connection, never across an await.
    stock: Mutex<Stock>,
}

#[derive(Default)]
struct Stock {
    /// Device, inode and change time of the path whose server made these sockets.
    holder: Option<(u64, u64, i64, i64)>,
    v4: VecDeque<OwnedFd>,
    v6: VecDeque<OwnedFd>,
    unix: VecDeque<OwnedFd>,
    refilling: bool,
}

impl Stock {
    fn of(&mut self, family: Family) -> &mut VecDeque<OwnedFd> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
            Family::Unix => &mut self.unix,
        }
    }
}

impl NetnsSockets {
    /// Asks at `path`, when the first socket is wanted.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), stock: Mutex::default() }
    }

    /// A fresh unconnected stream socket (non-blocking, close-on-exec). Waits only if the stock is empty.
    ///
    /// # Errors
    /// [`NetnsError`]: the path is gone, nobody answers within two seconds, or the namespace has no file left.
    pub async fn take(self: &Arc<Self>, family: Family) -> Result<OwnedFd, NetnsError> {
        let (found, low) = self.pop_stock(family).map_err(|e| self.error(e))?;
        if let Some(socket) = found {
            if low {
                self.refill_in_background(family);
            }
            return Ok(socket);
        }
        let mut fresh = self.ask(family).await.map_err(|e| self.error(e))?;
        let socket = fresh.pop().ok_or_else(|| self.error(io::ErrorKind::UnexpectedEof.into()))?;
        self.lock().of(family).extend(fresh);
        Ok(socket)
    }

    fn take_at_once(&self, family: Family) -> Result<OwnedFd, NetnsError> {
        let (found, _) = self.pop_stock(family).map_err(|e| self.error(e))?;
        if let Some(socket) = found {
            return Ok(socket);
        }
        let ask = || {
            let stream = UnixStream::connect(&self.path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            fdpass::send(&stream, &[family.byte()], &[])?;
            let mut answer = [0; 8];
            let (n, fds) = fdpass::recv(&stream, &mut answer)?;
            granted(&answer[..n], fds)
        };
        let mut fresh = ask().map_err(|e| self.error(e))?;
        let socket = fresh.pop().ok_or_else(|| self.error(io::ErrorKind::UnexpectedEof.into()))?;
        self.lock().of(family).extend(fresh);
        Ok(socket)
    }

    fn pop_stock(&self, family: Family) -> io::Result<(Option<OwnedFd>, bool)> {
        let meta = std::fs::metadata(&self.path)?;
        let holder = Some((meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()));
        let mut stock = self.lock();
        if stock.holder != holder {
            *stock = Stock { holder, refilling: stock.refilling, ..Stock::default() };
        }
        let of_family = stock.of(family);
        let found = of_family.pop_front();
        let low = of_family.len() < LOW_WATER;
        Ok((found, low))
    }

    fn refill_in_background(self: &Arc<Self>, family: Family) {
        if std::mem::replace(&mut self.lock().refilling, true) {
            return;
        }
        let refill = Refill(self.clone());
        tokio::spawn(async move {
            let holder = refill.0.lock().holder;
            // A failure shows when the stock is empty and somebody waits.
            if let Ok(fresh) = refill.0.ask(family).await {
                let mut stock = refill.0.lock();
                if stock.holder == holder {
                    stock.of(family).extend(fresh);
                }
            }
        });
    }

    async fn ask(&self, family: Family) -> io::Result<Vec<OwnedFd>> {
        let exchange = async {
            let stream = tokio::net::UnixStream::connect(&self.path).await?;
            let request = [family.byte()];
            stream.async_io(Interest::WRITABLE, || fdpass::send(&stream, &request, &[])).await?;
            let mut answer = [0; 8];
            let (n, fds) = stream.async_io(Interest::READABLE, || fdpass::recv(&stream, &mut answer)).await?;
            granted(&answer[..n], fds)
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stock> {
        self.stock.lock().expect("no panic under the lock")
    }

    fn error(&self, source: io::Error) -> NetnsError {
        NetnsError { path: self.path.display().to_string(), source }
    }
}

/// Reads an answer, and gives the sockets that came with it.
fn granted(answer: &[u8], fds: Vec<OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    match *answer {
        [GRANTED] => Ok(fds),
        [REFUSED, a, b, c, d] => Err(io::Error::from_raw_os_error(i32::from_be_bytes([a, b, c, d]))),
        [] => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Marks the refill as over, even if its worker's runtime ends in the middle.
struct Refill(Arc<NetnsSockets>);

impl Drop for Refill {
    fn drop(&mut self) {
        self.0.lock().refilling = false;
    }
}

/// The giving end, run on a thread inside the namespace. Only the owner of the path may ask (mode 0600).
pub struct NetnsSocketServer {
    listener: UnixListener,
    path: PathBuf,
}

impl NetnsSocketServer {
    /// Listens at `path`; replaces a socket on which nobody listens any more.
    ///
    /// # Errors
    /// What the kernel says; `AddrInUse` if another one listens.
    pub fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self { listener: listen::unix_std(path, 0o600)?, path: path.to_owned() })
    }

    /// Serves until the listener fails. Blocks; a client that says nothing is dropped after two seconds.
    ///
    /// # Errors
    /// What `accept` says, save what passes by itself.
    pub fn run(&self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                // What one client does wrong concerns nobody else.
                Ok((client, _)) => drop(serve_one(&client)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if out_of_files(&error) => pause(),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for NetnsSocketServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// This server has a thread of its own, and the connection still waits in the queue.
#[allow(clippy::disallowed_methods)]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

fn out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::CONNABORTED)
    )
}

fn serve_one(client: &UnixStream) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut request = [0];
    let (n, _) = fdpass::recv(client, &mut request)?;
    let domain = match request[..n] {
        [b'4'] => Domain::IPV4,
        [b'6'] => Domain::IPV6,
        [b'u'] => Domain::UNIX,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    match create(domain) {
        Ok(sockets) => {
            let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            fdpass::send(client, &[GRANTED], &fds)
        }
        Err(error) => {
            let number = error.raw_os_error().unwrap_or(0).to_be_bytes();
            fdpass::send(client, &[&[REFUSED][..], &number].concat(), &[])
        }
    }
}

/// As many sockets as can be had, at least one.
fn create(domain: Domain) -> io::Result<Vec<Socket>> {
    let new = || Socket::new(domain, Type::STREAM.cloexec().nonblocking(), None);
    let mut sockets = vec![new()?];
    sockets.extend((1..BATCH).map_while(|_| new().ok()));
    Ok(sockets)
}
