//! Each workload's own loopback address, at which its sidecar listens off Kubernetes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;

/// Why no loopback address could be had.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// Somebody listens on that port of every address.
    #[error(
        "port {port} cannot be opened on any loopback address: {source}; expected it to be free on 127.64.0.0/10: a program that listens on 0.0.0.0:{port} takes it everywhere; stop it or choose another port"
    )]
    Port {
        /// The port that was refused last.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// Every address that was tried belongs to another launcher.
    #[error(
        "no loopback address is free: {tries} of 127.64.0.0/10 were tried and all belong to other workloads; stop some of them"
    )]
    AllTaken {
        /// How many addresses were tried.
        tries: usize,
    },
}

/// A loopback address that belongs to this launcher until it is dropped, or its process ends.
///
/// The claim is a socket with an abstract name (unix(7)), which the kernel gives to one process at a time. So launchers
/// never meet, also between choosing the address and the sidecar's listening on it.
#[derive(Debug)]
pub struct LoopbackClaim {
    address: Ipv4Addr,
    _name: UnixDatagram,
}

impl LoopbackClaim {
    /// The address, in 127.64.0.0/10.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Claims this one address; `None` if another launcher has it.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn of(address: Ipv4Addr) -> io::Result<Option<Self>> {
        let name = std::os::unix::net::SocketAddr::from_abstract_name(format!("halcyon-workload-{address}"))?;
        match UnixDatagram::bind_addr(&name) {
            Ok(socket) => Ok(Some(Self { address, _name: socket })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Claims an unused address of 127.64.0.0/10 (never 127.0.0.1) on which all of `ports` can be opened now.
///
/// Nobody but launchers knows of the claim: another program that opens one of the ports there later is met as an error
/// of the sidecar.
///
/// # Errors
/// [`LoopbackError`].
pub fn free_loopback_address(ports: &[u16]) -> Result<LoopbackClaim, LoopbackError> {
    const TRIES: usize = 64;
    let mut refused = None;
    for _ in 0..TRIES {
        let Ok(Some(claim)) = LoopbackClaim::of(any_address()) else { continue };
        match ports.iter().try_for_each(|port| can_open(claim.address, *port)) {
            Ok(()) => return Ok(claim),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or(LoopbackError::AllTaken { tries: TRIES }))
}

fn can_open(address: Ipv4Addr, port: u16) -> Result<(), LoopbackError> {
    match TcpListener::bind(SocketAddr::from((address, port))) {
        Ok(_) => Ok(()),
        Err(source) => Err(LoopbackError::Port { port, source }),
    }
}

/// Any host of 127.64.0.0/10; the last byte is never 0 or 255, which look like networks.
fn any_address() -> Ipv4Addr {
    let bits: u32 = rand::random();
    Ipv4Addr::new(127, 64 | (bits >> 24) as u8 & 63, (bits >> 16) as u8, 1 + (bits & 0xffff) as u8 % 254)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_range_and_apart() {
        let claims: Vec<_> = (0..50).map(|_| free_loopback_address(&[15021, 15006]).unwrap()).collect();
        for claim in &claims {
            let [a, b, _, d] = claim.address().octets();
            assert!(a == 127 && (64..128).contains(&b) && d != 0 && d != 255, "{}", claim.address());
            assert!(LoopbackClaim::of(claim.address()).unwrap().is_none(), "claimed twice");
        }
        let address = claims[0].address();
        drop(claims);
        assert!(LoopbackClaim::of(address).unwrap().is_some(), "free again");
    }

    #[test]
    fn a_port_that_is_taken_everywhere() {
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(free_loopback_address(&[port]).unwrap_err().to_string().contains(&port.to_string()));
    }
}
