//! Just enough HTTP to load a proxy and to stand behind it, as state machines over bytes: what is said again and again is
//! rendered once, so that load and origin cost as little as they can. Not for strangers: what it does not expect is an
//! error that ends the run.

mod exchange;
mod h1;
mod h2;

use serde::Serialize;

pub use exchange::{Exchange, Kind, host};
pub use h1::{OnlyAnswer, only_request};

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
    /// The status was 200, the body was whole, and trailers came where they belong.
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
    Http2(Box<h2::Client>),
}

impl Client {
    /// A new connection; what has to be said first is put into `out`. `number` tells connections apart: each begins with
    /// another host, where there are several.
    pub fn new(wire: Wire, exchange: Exchange, number: usize, out: &mut Vec<u8>) -> Self {
        match wire {
            Wire::Http1 => Self::Http1(h1::Client::new(exchange, number)),
            Wire::Http2 => Self::Http2(Box::new(h2::Client::new(exchange, out))),
        }
    }

    /// Writes a request. HTTP/1.1 must be given the next one only after the last is done.
    pub fn request(&mut self, token: u64, out: &mut Vec<u8>) {
        match self {
            Self::Http1(client) => client.request(token, out),
            Self::Http2(client) => client.request(token, out),
        }
    }

    /// Writes more of what is under way; to be called whenever `out` has been sent. Nothing: there is no more now.
    pub fn fill(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Http1(client) => client.fill(out),
            Self::Http2(client) => client.fill(out),
        }
    }

    /// So many of the next bytes are a body's, and need not be read: see [`Client::skipped`].
    pub fn may_skip(&self) -> usize {
        match self {
            Self::Http1(client) => client.may_skip(),
            Self::Http2(_) => 0,
        }
    }

    /// So many bytes came and were not read. Less than [`Client::may_skip`] said.
    pub fn skipped(&mut self, count: usize) {
        if let Self::Http1(client) = self {
            client.skipped(count);
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
    Http2(Box<h2::Server>),
}

impl Server {
    /// A new connection; what has to be said first is put into `out`.
    pub fn new(wire: Wire, exchange: Exchange, out: &mut Vec<u8>) -> Self {
        match wire {
            Wire::Http1 => Self::Http1(h1::Server::new(exchange)),
            Wire::Http2 => Self::Http2(Box::new(h2::Server::new(exchange, out))),
        }
    }

    /// As [`Client::fill`].
    pub fn fill(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Http1(server) => server.fill(out),
            Self::Http2(server) => server.fill(out),
        }
    }

    /// As [`Client::may_skip`].
    pub fn may_skip(&self) -> usize {
        match self {
            Self::Http1(server) => server.may_skip(),
            Self::Http2(_) => 0,
        }
    }

    /// As [`Client::skipped`].
    pub fn skipped(&mut self, count: usize) {
        if let Self::Http1(server) = self {
            server.skipped(count);
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

const USER_AGENT: &str = "halcyon-bench";
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
/// What bodies are made of.
static FILLER: [u8; 64 * 1024] = [b'x'; 64 * 1024];
/// As much as lies ready to be sent at most, but for heads.
const READY: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins a client and a server, in pieces of `piece` bytes, with `streams` requests at once.
    fn check(wire: Wire, exchange: Exchange, streams: u64, piece: usize) {
        let (mut to_server, mut to_client, mut done) = (Vec::new(), Vec::new(), Vec::new());
        let mut client = Client::new(wire, exchange, 0, &mut to_server);
        let mut server = Server::new(wire, exchange, &mut to_client);
        for batch in 0..3 {
            done.clear();
            let tokens: Vec<u64> = (0..streams).map(|n| batch * 100 + n).collect();
            tokens.iter().for_each(|token| client.request(*token, &mut to_server));
            loop {
                client.fill(&mut to_server);
                server.fill(&mut to_client);
                if to_server.is_empty() && to_client.is_empty() {
                    break;
                }
                for bytes in std::mem::take(&mut to_server).chunks(piece) {
                    server.receive(bytes, &mut to_client).unwrap();
                }
                for bytes in std::mem::take(&mut to_client).chunks(piece) {
                    client.receive(bytes, &mut done, &mut to_server).unwrap();
                }
            }
            let mut got: Vec<u64> = done.iter().map(|d| d.token).collect();
            got.sort_unstable();
            assert_eq!(got, tokens, "{wire:?} {exchange:?} {piece}");
            assert!(done.iter().all(|d| d.ok), "{wire:?} {exchange:?} {piece}");
        }
    }

    #[test]
    fn exchanges() {
        for piece in [1, 7, 100_000] {
            check(Wire::Http1, Exchange::get(0), 1, piece);
            check(Wire::Http1, Exchange::get(1024), 1, piece);
            check(Wire::Http1, Exchange::get(1024).across(10), 1, piece);
            check(Wire::Http1, Exchange::post(1_000_000, 10), 1, piece);
            check(Wire::Http1, Exchange::get(1_000_000), 1, piece);
            check(Wire::Http2, Exchange::get(0), 1, piece);
            check(Wire::Http2, Exchange::get(1024), 32, piece);
            check(Wire::Http2, Exchange::get(100_000), 2, piece);
            check(Wire::Http2, Exchange::post(100, 1024), 32, piece);
            check(Wire::Http2, Exchange::post(1_000_000, 10), 2, piece);
            check(Wire::Http2, Exchange::unary(100, 200), 32, piece);
            check(Wire::Http2, Exchange::stream(100, 100), 32, piece);
        }
    }

    #[test]
    fn failures_are_seen() {
        let (mut out, mut done) = (Vec::new(), Vec::new());
        let mut client = Client::new(Wire::Http1, Exchange::get(2), 0, &mut out);
        client.request(5, &mut out);
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
        client.receive(answer, &mut done, &mut out).unwrap();
        assert_eq!(done, [Done { token: 5, ok: false }]);
        client.request(6, &mut out);
        assert!(client.receive(b"HTTP/1.1 200 OK\r\n\r\n", &mut done, &mut out).is_err());
    }
}
