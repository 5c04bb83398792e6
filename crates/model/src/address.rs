//! Where a socket is bound or dialled.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// A socket's address. `netns` names the network namespace the socket lives in (xDS:
/// `SocketAddress.network_namespace_filepath`); none is the proxy's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and port.
    Socket {
        /// Address and port.
        addr: SocketAddr,
        /// The network namespace, if not the proxy's own.
        netns: Option<Arc<str>>,
    },
    /// A host name that is resolved when it is used, and a port.
    Host {
        /// The DNS name.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Pipe {
        /// Its path, or `@` and an abstract name.
        path: PathBuf,
        /// The network namespace of an abstract name, if not the proxy's own. A path is the same in all.
        netns: Option<Arc<str>>,
    },
}

impl Address {
    /// An address in the proxy's own network namespace.
    pub fn socket(addr: SocketAddr) -> Self {
        Self::Socket { addr, netns: None }
    }

    /// A Unix socket; an abstract name (`@name`) is one of the proxy's own network namespace.
    pub fn pipe(path: impl Into<PathBuf>) -> Self {
        Self::Pipe { path: path.into(), netns: None }
    }

    /// A Unix socket of a network namespace, as far as namespaces tell Unix sockets apart: by abstract names.
    pub fn pipe_in(path: impl Into<PathBuf>, netns: Option<&Arc<str>>) -> Self {
        let path = path.into();
        let is_abstract = path.as_os_str().as_encoded_bytes().starts_with(b"@");
        Self::Pipe { netns: netns.filter(|_| is_abstract).cloned(), path }
    }

    /// The IP address and port, if it is of that kind.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket { addr, .. } => Some(*addr),
            _ => None,
        }
    }

    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Socket { addr, .. } => Some(addr.port()),
            Self::Host { port, .. } => Some(*port),
            Self::Pipe { .. } => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::socket(addr)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { addr, netns: None } => write!(f, "{addr}"),
            Self::Socket { addr, netns: Some(netns) } => write!(f, "{addr}@{netns}"),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Pipe { path, netns: None } => write!(f, "unix:{}", path.display()),
            Self::Pipe { path, netns: Some(netns) } => write!(f, "unix:{}@{netns}", path.display()),
        }
    }
}
