//! Connect to an address, from this process's network namespace or from a workload's.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, UnixStream};

use crate::address::Address;
use crate::netns::{Family, Netns, NetnsError};
use crate::pipe;
use crate::stream::Stream;

/// TCP keep-alive probes, to notice a peer that vanished. What is not said is as the operating system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// How many probes without an answer end the connection.
    pub probes: Option<u32>,
}

impl Keepalive {
    fn probes(&self) -> TcpKeepalive {
        let mut probes = TcpKeepalive::new();
        if let Some(idle) = self.idle {
            probes = probes.with_time(idle);
        }
        if let Some(interval) = self.interval {
            probes = probes.with_interval(interval);
        }
        match self.probes {
            Some(number) => probes.with_retries(number),
            None => probes,
        }
    }
}

/// How to connect. Built once per cluster, used for every connection.
#[derive(Debug, Clone)]
pub struct Connector {
    /// Longest time until the connection stands. Default 10 s, as Istio's `connectTimeout`.
    pub timeout: Duration,
    /// Send small writes at once (`TCP_NODELAY`). Default true.
    pub nodelay: bool,
    /// Keep-alive probes. Default none.
    pub keepalive: Option<Keepalive>,
    /// The address to connect from. Default: the kernel chooses.
    pub bind: Option<SocketAddr>,
    /// The network namespace to connect in. Default: this process's.
    pub netns: Option<Netns>,
}

impl Default for Connector {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), nodelay: true, keepalive: None, bind: None, netns: None }
    }
}

/// Why a connection does not stand. The address is part of each text.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("cannot connect to {0}: connection refused")]
    Refused(Address),
    /// No answer within the time given.
    #[error("cannot connect to {0}: no answer within {1:?}")]
    Timeout(Address, Duration),
    /// No way to that host or network.
    #[error("cannot connect to {0}: {1}")]
    Unreachable(Address, io::Error),
    /// This machine has no port, file or memory left, or may not use the address to connect from.
    #[error("cannot connect to {0}: {1}")]
    Local(Address, io::Error),
    /// The workload's network namespace gives no socket.
    #[error("cannot connect to {0}: {1}")]
    Netns(Address, NetnsError),
    /// Anything else that the kernel says.
    #[error("cannot connect to {0}: {1}")]
    Io(Address, io::Error),
}

impl Connector {
    /// Connects to `to`.
    ///
    /// # Errors
    /// [`ConnectError`]. Dropping the future closes the socket.
    pub async fn connect(&self, to: &Address) -> Result<Stream, ConnectError> {
        match tokio::time::timeout(self.timeout, self.connect_untimed(to)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout(to.clone(), self.timeout)),
        }
    }

    async fn connect_untimed(&self, to: &Address) -> Result<Stream, ConnectError> {
        let addr = match to {
            Address::Ip(addr) => *addr,
            Address::Unix(path) => {
                return self.connect_unix(to, path.as_deref().unwrap_or_else(|| "".as_ref())).await;
            }
        };
        let socket = self.socket(addr).await.map_err(|e| match e {
            SocketError::Netns(e) => ConnectError::Netns(to.clone(), e),
            SocketError::Io(e) => ConnectError::Local(to.clone(), e),
        })?;
        let stream = TcpSocket::from_std_stream(socket.into()).connect(addr).await.map_err(|e| classify(to, e))?;
        Ok(stream.into())
    }

    async fn connect_unix(&self, to: &Address, path: &Path) -> Result<Stream, ConnectError> {
        let named = pipe::system_name(path);
        let stream = match &self.netns {
            None => UnixStream::connect(named).await,
            Some(netns) => {
                let socket = netns.socket(Family::Unix).await.map_err(|e| ConnectError::Netns(to.clone(), e))?;
                let socket = Socket::from(socket);
                // It stands at once, or not: Unix sockets have no handshake.
                let connected = SockAddr::unix(named).and_then(|addr| socket.connect(&addr));
                connected.and_then(|()| UnixStream::from_std(socket.into()))
            }
        };
        stream.map(Stream::from).map_err(|e| classify(to, e))
    }

    async fn socket(&self, to: SocketAddr) -> Result<Socket, SocketError> {
        let socket = match &self.netns {
            None => Socket::new(Domain::for_address(to), Type::STREAM.cloexec().nonblocking(), None)?,
            Some(netns) => {
                let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
                Socket::from(netns.socket(family).await.map_err(SocketError::Netns)?)
            }
        };
        SockRef::from(&socket).set_tcp_nodelay(self.nodelay)?;
        if let Some(keepalive) = &self.keepalive {
            socket.set_tcp_keepalive(&keepalive.probes())?;
        }
        if let Some(from) = self.bind {
            socket.bind(&from.into())?;
        }
        Ok(socket)
    }
}

enum SocketError {
    Netns(NetnsError),
    Io(io::Error),
}

impl From<io::Error> for SocketError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn classify(to: &Address, error: io::Error) -> ConnectError {
    use io::ErrorKind::*;
    match error.kind() {
        ConnectionRefused => ConnectError::Refused(to.clone()),
        HostUnreachable | NetworkUnreachable | NetworkDown => ConnectError::Unreachable(to.clone(), error),
        // The kernel's own patience (tcp_syn_retries) ended before ours.
        TimedOut => ConnectError::Unreachable(to.clone(), error),
        AddrNotAvailable | AddrInUse | PermissionDenied | OutOfMemory => ConnectError::Local(to.clone(), error),
        _ => ConnectError::Io(to.clone(), error),
    }
}
