//! Listening sockets: TCP at an address, or Unix at a path or under an abstract name.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use model::{Address, Listener};
use transport::listen::{self, AcceptError, BindError, Bound, TcpListener};
use transport::pipe::{self, BoundPipe, PipeListener};
use transport::{Netns, Stream};

/// Who connects to a Unix socket, and where: something on this machine, without an address or a port.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The program runs as the same user as its proxy; nobody else may use its identity.
const OWNER_ONLY: u32 = 0o600;

/// What tells one listening socket from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SocketKey(Address);

impl SocketKey {
    /// The socket that a listener is bound to; none if it is bound to none, or to a host's name.
    pub(crate) fn of(listener: &Listener) -> Option<Self> {
        let can_be_bound = !matches!(listener.address, Address::Host { .. });
        (listener.bind && can_be_bound).then(|| Self(listener.address.clone()))
    }

    /// The network namespace that it lies in; none is our own.
    pub(crate) fn netns(&self) -> Option<&Arc<str>> {
        match &self.0 {
            Address::Socket { netns, .. } | Address::Pipe { netns, .. } => netns.as_ref(),
            Address::Host { .. } => None,
        }
    }
}

impl fmt::Display for SocketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A socket that listens, bound to no worker yet.
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP.
    Ip(Bound),
    /// Unix.
    Pipe(BoundPipe),
}

impl Socket {
    /// Takes the socket that was handed down, or opens one.
    pub(crate) fn open(key: &SocketKey, netns: Option<&Netns>) -> Result<Self, BindError> {
        match &key.0 {
            Address::Socket { addr, .. } => listen::tcp(*addr, netns, &listen::Options::default()).map(Self::Ip),
            Address::Pipe { path, .. } => pipe::bind(path, netns, OWNER_ONLY).map(Self::Pipe),
            Address::Host { .. } => unreachable!("no key is made of a host's name"),
        }
    }

    /// Was it handed down, so that it cannot be had again once it is closed?
    pub(crate) fn is_inherited(&self) -> bool {
        matches!(self, Self::Ip(bound) if bound.is_inherited())
    }

    /// Nobody is accepted any more, whoever else holds the socket, and its address is free. A Unix socket is closed when the
    /// last of its holders lets go.
    pub(crate) fn shut(&self) {
        if let Self::Ip(bound) = self {
            bound.shut();
        }
    }

    /// The same once more.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Ip(bound) => bound.try_clone().map(Self::Ip),
            Self::Pipe(bound) => bound.try_clone().map(Self::Pipe),
        }
    }

    /// Joins the runtime on which this is called.
    pub(crate) fn start(self) -> io::Result<Accepting> {
        match self {
            Self::Ip(bound) => bound.start().map(Accepting::Ip),
            Self::Pipe(bound) => bound.start().map(Accepting::Pipe),
        }
    }
}

/// A socket on a worker's runtime.
#[derive(Debug)]
pub(crate) enum Accepting {
    /// TCP.
    Ip(TcpListener),
    /// Unix.
    Pipe(PipeListener),
}

impl Accepting {
    /// The next connection, and who made it.
    pub(crate) async fn accept(&self) -> Result<(Stream, SocketAddr), AcceptError> {
        match self {
            Self::Ip(socket) => socket.accept().await.map(|accepted| (accepted.stream, accepted.peer)),
            Self::Pipe(socket) => socket.accept().await.map(|stream| (stream, NOWHERE)),
        }
    }
}

/// A connection apart from any runtime, on its way to another worker.
pub(crate) enum Loose {
    /// TCP.
    Ip(OwnedFd),
    /// Unix.
    Pipe(OwnedFd),
}

impl Loose {
    /// The socket of a stream that is nothing but a socket, once more; none if there is no file left for it.
    pub(crate) fn of(stream: &Stream) -> Option<Self> {
        match (stream.tcp(), stream.unix()) {
            (Some(tcp), _) => tcp.as_fd().try_clone_to_owned().ok().map(Self::Ip),
            (_, Some(unix)) => unix.as_fd().try_clone_to_owned().ok().map(Self::Pipe),
            (None, None) => None,
        }
    }

    /// Joins the runtime on which this is called.
    pub(crate) fn join(self) -> io::Result<Stream> {
        match self {
            Self::Ip(fd) => tokio::net::TcpStream::from_std(fd.into()).map(Into::into),
            Self::Pipe(fd) => tokio::net::UnixStream::from_std(fd.into()).map(Into::into),
        }
    }
}
