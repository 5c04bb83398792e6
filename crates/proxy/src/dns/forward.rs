//! Questions that are not ours, asked outside: the datagram goes on as it came, and so does the answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use transport::Connector;

/// How long one server may take; Istio's proxy waits as long.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the first server may take before the next is asked, if there is one.
const NEXT: Duration = Duration::from_secs(2);

/// The name servers outside, in the order in which they are asked.
#[derive(Debug, Clone)]
pub(crate) struct Resolvers(Vec<SocketAddr>);

impl Resolvers {
    /// These.
    pub(crate) fn new(servers: Vec<SocketAddr>) -> Self {
        Self(servers)
    }

    /// Those of `/etc/resolv.conf`; as resolvers do, the one on this host if there are none.
    pub(crate) fn of_this_host() -> Self {
        Self(parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()))
    }

    /// The answer of the first server that gives one.
    pub(super) async fn ask(&self, question: &[u8], udp: bool) -> Option<Vec<u8>> {
        for (i, server) in self.0.iter().enumerate() {
            let limit = if i + 1 < self.0.len() { NEXT } else { PATIENCE };
            let asked =
                async { if udp { over_udp(*server, question).await } else { over_tcp(*server, question).await } };
            match tokio::time::timeout(limit, asked).await {
                Ok(Ok(reply)) => return Some(reply),
                Ok(Err(error)) => tracing::debug!("dns: {server}: {error}"),
                Err(_) => tracing::debug!("dns: {server}: no answer within {limit:?}"),
            }
        }
        None
    }
}

/// A socket of its own for each question: the kernel draws a new port, and takes answers from this server only.
async fn over_udp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut reply = vec![0; 4096];
    loop {
        let length = socket.recv(&mut reply).await?;
        // The id tells our answer from a stray one.
        if length >= 12 && reply[..2] == question[..2] {
            reply.truncate(length);
            return Ok(reply);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = Connector::default().connect(&server.into()).await.map_err(std::io::Error::other)?;
    let length = u16::try_from(question.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

/// The `nameserver` lines (resolv.conf(5)).
fn parse(text: &str) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse::<IpAddr>().ok())
        .map(|ip| SocketAddr::new(ip, 53))
        .collect();
    if servers.is_empty() {
        servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        for (text, expected) in [
            ("search a b\nnameserver 10.0.0.2\n nameserver\t::1 # x\n", &["10.0.0.2:53", "[::1]:53"][..]),
            ("options edns0\n", &["127.0.0.1:53"]),
        ] {
            let expected: Vec<SocketAddr> = expected.iter().map(|s| s.parse().unwrap()).collect();
            assert_eq!(parse(text), expected);
        }
    }
}
