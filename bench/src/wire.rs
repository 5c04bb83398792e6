//! Just enough HTTP to load a proxy and to stand behind it, as state machines over bytes: the head of every message is
//! rendered once, so that load and origin cost as little as they can. Not for strangers: what it does not expect is an
//! error that ends the run.

mod h1;
mod h2;

use serde::Serialize;

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// HTTP/1.1 with keep-alive, one request at once.
    Http1,
    /// HTTP/2 in plain text by prior knowledge.
    Http2,
}

/// An exchange that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// What [`Client::request`] was given.
    pub token: u64,
    /// The status was 200 and the body was whole.
    pub ok: bool,
}

/// The bytes were not what this bench's wires understand.
#[derive(Debug, thiserror::Error)]
#[error("the other side sent {0}")]
pub struct Unexpected(pub &'static str);

/// The calling end of one connection.
pub enum Client {
    /// HTTP/1.1.
    Http1(h1::Client),
    /// HTTP/2.
    Http2(h2::Client),
}

impl Client {
    /// A new connection; what has to be said first is put into `out`.
    pub fn new(wire: Wire, out: &mut Vec<u8>) -> Self {
        match wire {
            Wire::Http1 => Self::Http1(h1::Client::default()),
            Wire::Http2 => Self::Http2(h2::Client::new(out)),
        }
    }

    /// Writes a request. HTTP/1.1 must be given the next one only after the last is done.
    pub fn request(&mut self, token: u64, out: &mut Vec<u8>) {
        match self {
            Self::Http1(client) => client.request(token, out),
            Self::Http2(client) => client.request(token, out),
        }
    }

    /// Takes bytes in, in pieces of any size.
    ///
    /// # Errors
    /// On anything that no good peer sends here.
    pub fn receive(&mut self, bytes: &[u8], done: &mut Vec<Done>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
        match self {
            Self::Http1(client) => client.receive(bytes, done),
            Self::Http2(client) => client.receive(bytes, done, out),
        }
    }
}

/// The answering end of one connection: every request gets 200 and a body of the same size.
pub enum Server {
    /// HTTP/1.1.
    Http1(h1::Server),
    /// HTTP/2.
    Http2(h2::Server),
}

impl Server {
    /// A new connection; what has to be said first is put into `out`.
    pub fn new(wire: Wire, body: usize, out: &mut Vec<u8>) -> Self {
        match wire {
            Wire::Http1 => Self::Http1(h1::Server::new(body)),
            Wire::Http2 => Self::Http2(h2::Server::new(body, out)),
        }
    }

    /// Takes bytes in, in pieces of any size, and writes answers.
    ///
    /// # Errors
    /// On anything that no good peer sends here.
    pub fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Unexpected> {
        match self {
            Self::Http1(server) => server.receive(bytes, out),
            Self::Http2(server) => server.receive(bytes, out),
        }
    }
}

/// The host and path of every request.
const AUTHORITY: &str = "origin.bench.local";
const PATH: &str = "/bytes";
const USER_AGENT: &str = "halcyon-bench";
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins a client and a server, in pieces of `piece` bytes, with `streams` requests at once.
    fn check(wire: Wire, body: usize, streams: u64, piece: usize) {
        let (mut to_server, mut to_client, mut done) = (Vec::new(), Vec::new(), Vec::new());
        let mut client = Client::new(wire, &mut to_server);
        let mut server = Server::new(wire, body, &mut to_client);
        for batch in 0..3 {
            done.clear();
            let tokens: Vec<u64> = (0..streams).map(|n| batch * 100 + n).collect();
            tokens.iter().for_each(|token| client.request(*token, &mut to_server));
            while !(to_server.is_empty() && to_client.is_empty()) {
                for bytes in std::mem::take(&mut to_server).chunks(piece) {
                    server.receive(bytes, &mut to_client).unwrap();
                }
                for bytes in std::mem::take(&mut to_client).chunks(piece) {
                    client.receive(bytes, &mut done, &mut to_server).unwrap();
                }
            }
            let got: Vec<u64> = done.iter().map(|d| d.token).collect();
            assert_eq!(got, tokens, "{wire:?} {body} {piece}");
            assert!(done.iter().all(|d| d.ok), "{wire:?} {body} {piece}");
        }
    }

    #[test]
    fn exchanges() {
        for piece in [1, 7, 100_000] {
            check(Wire::Http1, 0, 1, piece);
            check(Wire::Http1, 1024, 1, piece);
            check(Wire::Http2, 0, 1, piece);
            check(Wire::Http2, 1024, 32, piece);
            check(Wire::Http2, 100_000, 2, piece);
        }
    }

    #[test]
    fn failures_are_seen() {
        let (mut out, mut done) = (Vec::new(), Vec::new());
        let mut client = Client::new(Wire::Http1, &mut out);
        client.request(5, &mut out);
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
        client.receive(answer, &mut done, &mut out).unwrap();
        assert_eq!(done, [Done { token: 5, ok: false }]);
        client.request(6, &mut out);
        assert!(client.receive(b"HTTP/1.1 200 OK\r\n\r\n", &mut done, &mut out).is_err());
    }
}
