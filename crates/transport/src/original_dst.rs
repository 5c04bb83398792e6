//! Where a redirected connection was going before netfilter turned it to us.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{SockAddr, SockRef};

/// The destination that the caller dialled, if netfilter (`REDIRECT`) brought the connection here.
///
/// `None` when the connection was made to us directly: the kernel knows no translation (`ENOENT`), or has no
/// connection tracking at all (`ENOPROTOOPT`, `EOPNOTSUPP`). Reads `SO_ORIGINAL_DST`, or `IP6T_SO_ORIGINAL_DST` for an IPv6 socket.
///
/// # Errors
/// The socket is closed or no TCP socket.
pub fn original_dst(socket: &impl AsFd) -> io::Result<Option<SocketAddr>> {
    let socket = SockRef::from(socket);
    let local = socket.local_addr()?;
    let found = match local.is_ipv6() {
        true => translated(socket.original_dst_v6()).or_else(|_| translated(socket.original_dst_v4())),
        false => translated(socket.original_dst_v4()),
    };
    Ok(found?.and_then(|addr| addr.as_socket()).map(unmapped))
}

fn translated(answer: io::Result<SockAddr>) -> io::Result<Option<SockAddr>> {
    use rustix::io::Errno;
    match answer {
        Ok(addr) => Ok(Some(addr)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOPROTOOPT | Errno::OPNOTSUPP) => Ok(None),
            _ => Err(error),
        },
    }
}

/// An IPv4 caller seen through an IPv6 socket is an IPv4 caller.
pub(crate) fn unmapped(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_connections_have_none() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(listen) else { continue };
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            // With connection tracking the kernel answers with the untranslated address, without it with none.
            let found = original_dst(&server).unwrap();
            assert!(found.is_none() || found == Some(server.local_addr().unwrap()), "{found:?}");
            drop(client);
        }
    }
}
