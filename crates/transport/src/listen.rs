//! Bind and accept: TCP, UDP and Unix sockets, opened here or inherited.
//!
//! Binding is apart from listening on a runtime: bind all sockets at start, where an error can stop the program,
//! then [`Bound::start`] each (a clone per worker) on the runtime that will accept.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use base::Backoff;
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::address::Address;
use crate::inherited::{self, Proto};
use crate::netns::{Family, Netns, NetnsError};
use crate::original_dst::unmapped;
use crate::stream::Stream;

/// How many connections may wait to be accepted. The kernel lowers it to `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;
/// The first and the longest wait after the process ran out of files or memory.
pub(crate) const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// What may be asked of a listening socket.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Several sockets may be bound to this address (`SO_REUSEPORT`); the kernel spreads connections over them.
    pub reuse_port: bool,
    /// Accept connections to any destination address (`IP_TRANSPARENT`, for TPROXY). Needs `CAP_NET_ADMIN`.
    pub transparent: bool,
}

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel refused.
    #[error(
        "cannot listen on {addr}: {source}; expected a free address of this machine: stop whoever holds it, or choose another port"
    )]
    Refused {
        /// Where.
        addr: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket would lie in another network namespace, of which none can be had.
    #[error("cannot listen on {addr} in the network namespace `{netns}`: {source}")]
    Namespace {
        /// Where.
        addr: SocketAddr,
        /// The namespace's name.
        netns: String,
        /// Why not.
        source: NetnsError,
    },
    /// The socket lies in another network namespace and was not handed to this process.
    #[error("cannot listen on {addr} in the network namespace `{netns}`: no such socket was handed to this process; expected it in {variable}, which the launcher sets", variable = inherited::VARIABLE)]
    NotInherited {
        /// Where.
        addr: SocketAddr,
        /// The namespace's name.
        netns: String,
    },
    /// A Unix socket with an abstract name would lie in another network namespace, of which none can be had.
    #[error("cannot listen on {path} in the network namespace `{netns}`: {source}")]
    UnixNamespace {
        /// The abstract name.
        path: String,
        /// The namespace's name.
        netns: String,
        /// Why not.
        source: NetnsError,
    },
    /// A Unix socket could not be made.
    #[error("cannot listen on {path}: {source}; expected a writable directory and no other program on this socket")]
    Unix {
        /// The socket's path.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A TCP socket that listens, bound to no runtime yet.
#[derive(Debug)]
pub struct Bound {
    socket: std::net::TcpListener,
    inherited: bool,
}

/// Takes the inherited TCP socket of that address, or binds one. A socket in another namespace is asked for there, which
/// blocks for as long as its holder takes to answer, two seconds at most.
///
/// # Errors
/// [`BindError`].
pub fn tcp(addr: SocketAddr, netns: Option<&Netns>, options: &Options) -> Result<Bound, BindError> {
    let refused = |source| BindError::Refused { addr, source };
    if let Some(fd) = inherited::take(Proto::Tcp, netns.map_or("", Netns::name), addr) {
        return Bound::from_fd(fd).map_err(refused);
    }
    let socket = match netns {
        None => Socket::new(Domain::for_address(addr), Type::STREAM.cloexec().nonblocking(), None).map_err(refused)?,
        Some(netns) => {
            let family = if addr.is_ipv4() { Family::V4 } else { Family::V6 };
            let socket = netns.socket_at_once(family);
            Socket::from(socket.map_err(|source| BindError::Namespace {
                addr,
                netns: netns.name().to_owned(),
                source,
            })?)
        }
    };
    let socket = bind_tcp(socket, addr, options).map_err(refused)?;
    Ok(Bound { socket, inherited: false })
}

/// Takes the inherited UDP socket of that address, or binds one. Must be called on the runtime that will use it.
///
/// # Errors
/// As [`tcp`].
pub fn udp(addr: SocketAddr, netns: Option<&Netns>) -> Result<tokio::net::UdpSocket, BindError> {
    let refused = |source| BindError::Refused { addr, source };
    let socket = match (inherited::take(Proto::Udp, netns.map_or("", Netns::name), addr), netns) {
        (Some(fd), _) => std::net::UdpSocket::from(fd),
        (None, Some(netns)) => return Err(BindError::NotInherited { addr, netns: netns.name().to_owned() }),
        (None, None) => std::net::UdpSocket::bind(addr).map_err(refused)?,
    };
    socket.set_nonblocking(true).map_err(refused)?;
    tokio::net::UdpSocket::from_std(socket).map_err(refused)
}

/// Listens on a Unix socket with these permission bits (such as `0o600`), replacing a socket on which nobody
/// listens any more. Must be called on the runtime that will accept. The caller removes the path when it ends.
///
/// # Errors
/// [`BindError::Unix`], among others when another program listens there.
pub fn unix(path: &Path, mode: u32) -> Result<tokio::net::UnixListener, BindError> {
    let failed = |source| BindError::Unix { path: path.display().to_string(), source };
    let listener = unix_std(path, mode).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    tokio::net::UnixListener::from_std(listener).map_err(failed)
}

/// The blocking form of [`unix`].
pub(crate) fn unix_std(path: &Path, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody can connect before `listen`, so the permissions are right from the first moment.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(std::os::unix::net::UnixListener::from(OwnedFd::from(socket)))
}

fn bind_tcp(socket: Socket, addr: SocketAddr, options: &Options) -> io::Result<std::net::TcpListener> {
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if options.transparent {
        match addr {
            SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Bound {
    /// Uses a socket that already listens, such as one received over a Unix socket.
    ///
    /// # Errors
    /// It is no socket that listens.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let listener = std::net::TcpListener::from(fd);
        listener.set_nonblocking(true)?;
        // Inherited sockets were bound by the launcher with whatever backlog; listening again only raises it.
        socket2::SockRef::from(&listener).listen(BACKLOG)?;
        Ok(Self { socket: listener, inherited: true })
    }

    /// Was it handed down, so that it cannot be had again once it is closed?
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// The address, with the port that the kernel chose for port 0.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The same socket once more, for another worker.
    ///
    /// # Errors
    /// The process has no file left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, inherited: self.inherited })
    }

    /// Ends it for everybody who holds it: nobody is accepted any more, and another socket may be bound to its address.
    pub fn shut(&self) {
        // One that was shut before is shut.
        let _ = socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Read);
    }

    /// Joins the runtime on which this is called.
    ///
    /// # Errors
    /// The runtime's reactor refuses the socket.
    pub fn start(self) -> io::Result<TcpListener> {
        let addr = self.socket.local_addr()?;
        // Accepted sockets inherit it: that saves each of them a call.
        socket2::SockRef::from(&self.socket).set_tcp_nodelay(true)?;
        let inner = tokio::net::TcpListener::from_std(self.socket)?;
        Ok(TcpListener { inner, addr, backoff: RefCell::new(Backoff::new(PAUSE.0, PAUSE.1)) })
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Accepts connections on one worker's runtime.
#[derive(Debug)]
pub struct TcpListener {
    inner: tokio::net::TcpListener,
    addr: SocketAddr,
    backoff: RefCell<Backoff>,
}

/// A connection just accepted. `TCP_NODELAY` is set.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: Stream,
    /// Who connected; an IPv4 caller of an IPv6 socket is shown as IPv4.
    pub peer: SocketAddr,
}

/// Why no connection could be taken, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot accept a connection on {addr}: {source}; next try in {pause:?}")]
pub struct AcceptError {
    /// The listener's address.
    pub addr: Address,
    /// What the kernel said: no file left (`EMFILE`, `ENFILE`), no memory, or the socket is broken.
    pub source: io::Error,
    /// Wait this long before the next [`TcpListener::accept`]: the connection still waits in the queue, and the
    /// call would fail at once again. Grows with every failure in a row, up to one second.
    pub pause: Duration,
}

impl AcceptError {
    /// Was the socket [shut](Bound::shut)? Then nothing will ever come.
    pub fn is_shut(&self) -> bool {
        Errno::from_io_error(&self.source) == Some(Errno::INVAL)
    }
}

impl TcpListener {
    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection. One that died in the queue is passed over.
    ///
    /// # Errors
    /// [`AcceptError`] with the pause to make before the next call. Dropping the future loses no connection.
    pub async fn accept(&self) -> Result<Accepted, AcceptError> {
        loop {
            let error = match self.inner.accept().await {
                Ok((stream, peer)) => {
                    self.backoff.borrow_mut().reset();
                    return Ok(Accepted { stream: stream.into(), peer: unmapped(peer) });
                }
                Err(error) => error,
            };
            if !is_about_one_connection(&error) {
                let mut backoff = self.backoff.borrow_mut();
                let pause = backoff.bound();
                backoff.next_delay();
                return Err(AcceptError { addr: self.addr.into(), source: error, pause });
            }
        }
    }
}

/// Linux hands errors of the new connection itself to `accept` (accept(2)); the next one may be well.
pub(crate) fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
                | Errno::PERM
        )
    )
}
