//! The two calls that a launcher makes to a sidecar: "are you ready?" and "drain". One request per connection
//! (HTTP/1.1, RFC 9112), of which only the status matters.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use transport::Address;

/// Where to call, and for which path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// A TCP or a Unix socket.
    pub address: Address,
    /// Such as `/healthz/ready`.
    pub path: String,
}

impl HttpTarget {
    /// The target `path` at `address`.
    pub fn new(address: impl Into<Address>, path: &str) -> Self {
        Self { address: address.into(), path: path.to_owned() }
    }

    /// Sends one request and gives the status code of the answer.
    ///
    /// # Errors
    /// Nobody listens; no answer within `patience` (`TimedOut`); an answer that is no HTTP (`InvalidData`).
    pub async fn call(&self, method: &str, patience: Duration) -> io::Result<u16> {
        let request = format!(
            "{method} {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.path
        );
        let exchange = async {
            match &self.address {
                Address::Ip(addr) => exchange(TcpStream::connect(addr).await?, &request).await,
                Address::Unix(path) => {
                    exchange(UnixStream::connect(path.clone().unwrap_or_default()).await?, &request).await
                }
            }
        };
        tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl fmt::Display for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Ip(addr) => write!(f, "http://{addr}{}", self.path),
            unix => write!(f, "{unix} {}", self.path),
        }
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> io::Result<u16> {
    stream.write_all(request.as_bytes()).await?;
    // the status line is all that is wanted; "HTTP/1.1 200" is twelve bytes
    let mut line = [0; 12];
    stream.read_exact(&mut line).await?;
    status(&line).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn status(line: &[u8; 12]) -> Option<u16> {
    let text = std::str::from_utf8(line).ok()?;
    text.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        for (line, expected) in [
            (b"HTTP/1.1 200", Some(200)),
            (b"HTTP/1.0 503", Some(503)),
            (b"HTTP/2 200 O", None),
            (b"SSH-2.0-Open", None),
        ] {
            assert_eq!(status(line), expected);
        }
    }
}
