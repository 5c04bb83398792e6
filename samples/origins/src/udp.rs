//! UDP echo, and a client that checks it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};

const LARGEST_DATAGRAM: usize = 65_535;

/// Sends every datagram back to who sent it.
///
/// # Errors
/// When the socket breaks.
pub async fn serve(socket: UdpSocket) -> io::Result<()> {
    let mut datagram = vec![0; LARGEST_DATAGRAM];
    loop {
        let (length, peer) = match socket.recv_from(&mut datagram).await {
            Ok(received) => received,
            // An earlier answer met a closed port: the news of one peer must not end the service of the others.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        // A peer that cannot be reached any more loses its datagram, as UDP has it.
        let _ = socket.send_to(&datagram[..length], peer).await;
    }
}

/// Sends each message to `to` and awaits its echo for at most `within` before the next.
///
/// # Errors
/// When an echo is missing or differs.
pub async fn client(to: &str, messages: &[String], within: Duration) -> io::Result<()> {
    let to = lookup_host(to).await?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    let mut datagram = vec![0; LARGEST_DATAGRAM];
    for message in messages {
        socket.send(message.as_bytes()).await?;
        let length = tokio::time::timeout(within, socket.recv(&mut datagram))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer to `{message}`")))??;
        if datagram[..length] != *message.as_bytes() {
            let got = String::from_utf8_lossy(&datagram[..length]);
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("sent `{message}`, got back `{got}`")));
        }
    }
    Ok(())
}
