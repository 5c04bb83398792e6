//! The sockets that are opened inside the namespace for the sidecar outside.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use serde::{Deserialize, Serialize};
use transport::inherited::Proto;

use crate::bypass::BYPASS_PORT;

/// Where the sidecar takes the program's TCP connections, inside the namespace.
pub const OUTBOUND_PORT: u16 = 15001;
/// Where the sidecar takes the program's DNS questions, inside the namespace, UDP and TCP.
pub const DNS_PORT: u16 = 15053;

/// One socket to open inside the namespace and hand to the sidecar: TCP ones listen, UDP ones are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketSpec {
    udp: bool,
    address: SocketAddr,
    needed: bool,
}

impl SocketSpec {
    /// A listening TCP socket at `address`.
    pub fn tcp(address: SocketAddr) -> Self {
        Self { udp: false, address, needed: true }
    }

    /// A UDP socket bound to `address`.
    pub fn udp(address: SocketAddr) -> Self {
        Self { udp: true, address, needed: true }
    }

    /// The sockets of capture: outbound TCP and DNS over UDP and TCP, on 127.0.0.1 and, where the kernel has IPv6,
    /// on `::1`.
    pub fn capture() -> Vec<Self> {
        let mut sockets = Vec::new();
        for (ip, needed) in [(IpAddr::V4(Ipv4Addr::LOCALHOST), true), (IpAddr::V6(Ipv6Addr::LOCALHOST), false)] {
            let at = |port| SocketAddr::new(ip, port);
            sockets.push(Self { needed, ..Self::tcp(at(OUTBOUND_PORT)) });
            sockets.push(Self { needed, ..Self::udp(at(DNS_PORT)) });
            sockets.push(Self { needed, ..Self::tcp(at(DNS_PORT)) });
        }
        sockets
    }

    /// Those where connections come that the sidecar does not get.
    pub(crate) fn bypass() -> [Self; 2] {
        let at = |ip: IpAddr| Self::tcp(SocketAddr::new(ip, BYPASS_PORT));
        [at(Ipv4Addr::LOCALHOST.into()), Self { needed: false, ..at(Ipv6Addr::LOCALHOST.into()) }]
    }

    /// The address it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// TCP or UDP, in the words of the table of inherited sockets.
    pub fn proto(&self) -> Proto {
        match self.udp {
            true => Proto::Udp,
            false => Proto::Tcp,
        }
    }

    /// Can the launch go on without it?
    pub(crate) fn is_needed(&self) -> bool {
        self.needed
    }

    /// Opens it in the network namespace of this thread. Never blocking: that belongs to the open socket, so it holds
    /// for whoever gets it.
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        let family = if self.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if self.udp { SocketType::DGRAM } else { SocketType::STREAM };
        let fd = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        if self.address.is_ipv6() {
            sockopt::set_ipv6_v6only(&fd, true)?;
        }
        if !self.udp {
            sockopt::set_socket_reuseaddr(&fd, true)?;
        }
        rustix::net::bind(&fd, &self.address)?;
        if !self.udp {
            // a sidecar that restarts must not cost the program a connection, so the queue is long
            rustix::net::listen(&fd, 4096)?;
        }
        Ok(fd)
    }
}
