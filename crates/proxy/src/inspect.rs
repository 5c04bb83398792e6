//! What the first bytes of a connection say before anybody has ended its TLS: server name and protocols of a
//! ClientHello, or the beginning of HTTP/1 or HTTP/2. The bytes stay in the stream.
//!
//! A connection whose client waits for the server to speak first says nothing, so every look has a time limit. Of
//! destinations where the server was seen to speak first the worker keeps a note ([`Quiet`]), so that only the first
//! connection pays the whole limit.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use model::chain::{Inspected, TransportKind};
use model::listener::{ExpectHeader, Inspect};
use tokio::time::Instant;
use transport::Stream;
use transport::client_hello::{self, MAX_HELLO, Verdict};
use transport::peek::{self, Peeked};
use transport::proxy_header::{self, MAX_HEADER};

/// What is known of a connection before its chain is selected.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Where it was meant to go.
    pub destination: SocketAddr,
    /// That is not where it was taken, or may be not: it can be gone on to.
    pub original: bool,
    /// Who opened it.
    pub source: SocketAddr,
    /// The other end of the connection, where a PROXY header told another source.
    pub told_by: Option<IpAddr>,
    /// TLS or not.
    pub transport: TransportKind,
    /// The server name in the ClientHello.
    pub server_name: Option<String>,
    /// What ALPN offers, or what the first bytes look like.
    pub protocols: Vec<String>,
    /// Nothing came within the time limit.
    pub silent: bool,
}

impl Seen {
    /// Nothing but the addresses.
    pub(crate) fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            destination,
            original: false,
            source,
            told_by: None,
            transport: TransportKind::Plain,
            server_name: None,
            protocols: Vec::new(),
            silent: false,
        }
    }

    /// As the model's selection wants it.
    pub(crate) fn view(&self) -> Inspected<'_> {
        Inspected {
            destination: self.destination,
            source: self.source,
            transport: self.transport,
            server_name: self.server_name.as_deref(),
            application_protocols: &self.protocols,
        }
    }
}

/// Why a connection is closed before it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InspectFault {
    /// The peer closed, or the socket failed.
    Gone,
    /// The time limit passed and the listener does not go on without an answer.
    TimedOut,
    /// There is no PROXY header where one is demanded, or a broken one; the text says how.
    Header(&'static str),
}

/// Looks at the first bytes as `want` says and writes the findings into `seen`.
pub(crate) async fn inspect(
    stream: &mut Stream,
    want: &Inspect,
    quiet: &Quiet,
    seen: &mut Seen,
) -> Result<(), InspectFault> {
    if want.proxy_header != ExpectHeader::No {
        take_header(stream, want, seen).await?;
    }
    if !want.tls && !want.http {
        return Ok(());
    }
    let timeout = match quiet.has(seen.destination) {
        true => Some(want.timeout.map_or(QUIET_GRACE, |limit| limit.min(QUIET_GRACE))),
        false => want.timeout,
    };
    let found = peek::until(stream, MAX_HELLO, timeout, |bytes| judge(bytes, want)).await;
    match found.map_err(|_| InspectFault::Gone)? {
        Peeked::Answer(First::Tls { server_name, protocols }) => {
            seen.transport = TransportKind::Tls;
            seen.server_name = server_name;
            seen.protocols = protocols;
        }
        Peeked::Answer(First::Http(protocol)) => seen.protocols = vec![protocol.to_owned()],
        Peeked::Answer(First::Other) | Peeked::Full => {}
        // A client that only half-closes has nothing to say; whoever serves the chain decides.
        Peeked::End if stream.read_ahead().is_empty() => return Err(InspectFault::Gone),
        Peeked::End => {}
        Peeked::TimedOut if want.continue_on_timeout || quiet.has(seen.destination) => {
            seen.silent = stream.read_ahead().is_empty();
        }
        Peeked::TimedOut => return Err(InspectFault::TimedOut),
    }
    Ok(())
}

/// Takes the PROXY header off. Its addresses stand for those of the connection from there on.
async fn take_header(stream: &mut Stream, want: &Inspect, seen: &mut Seen) -> Result<(), InspectFault> {
    let judge = |bytes: &[u8]| match proxy_header::parse(bytes) {
        proxy_header::Verdict::NeedMore => None,
        verdict => Some(verdict),
    };
    match peek::until(stream, MAX_HEADER, want.timeout, judge).await.map_err(|_| InspectFault::Gone)? {
        Peeked::Answer(proxy_header::Verdict::Header(header)) => {
            stream.discard(header.length);
            if let Some((source, destination)) = header.addresses {
                seen.told_by = Some(seen.source.ip());
                (seen.source, seen.destination, seen.original) = (source, destination, true);
            }
            Ok(())
        }
        Peeked::Answer(proxy_header::Verdict::Malformed(how)) => Err(InspectFault::Header(how)),
        Peeked::Full => Err(InspectFault::Header("the PROXY header is too long")),
        Peeked::Answer(_) if want.proxy_header == ExpectHeader::Required => {
            Err(InspectFault::Header("there is no PROXY header"))
        }
        Peeked::Answer(_) => Ok(()),
        Peeked::End => Err(InspectFault::Gone),
        Peeked::TimedOut => Err(InspectFault::TimedOut),
    }
}

/// What the first bytes are.
#[derive(Debug, PartialEq, Eq)]
enum First {
    Tls { server_name: Option<String>, protocols: Vec<String> },
    Http(&'static str),
    Other,
}

/// The verdict on the bytes so far; none while more are needed.
fn judge(bytes: &[u8], want: &Inspect) -> Option<First> {
    if want.tls {
        match client_hello::parse(bytes) {
            Verdict::NeedMore => return None,
            Verdict::Hello(hello) => {
                let text = |p: &Vec<u8>| String::from_utf8(p.clone()).ok();
                let protocols = hello.alpn.iter().filter_map(text).collect();
                return Some(First::Tls { server_name: hello.server_name, protocols });
            }
            Verdict::NotTls | Verdict::Malformed(_) => {}
        }
    }
    if want.http { http_kind(bytes) } else { Some(First::Other) }
}

/// The HTTP/2 preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longer methods do not exist.
const MAX_METHOD: usize = 24;

/// Does it begin as HTTP? Needs the request line whole, save for what cannot be one.
fn http_kind(bytes: &[u8]) -> Option<First> {
    if PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]) {
        return (bytes.len() >= PREFACE.len()).then_some(First::Http("h2c"));
    }
    // An empty line before the request line is allowed (RFC 9112, section 2.2).
    let line = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let method = line.iter().take_while(|b| is_token(b)).count();
    if method > MAX_METHOD || (method == 0 && !line.is_empty()) {
        return Some(First::Other);
    }
    match line.get(method) {
        None => return None,
        Some(b' ') => {}
        Some(_) => return Some(First::Other),
    }
    let rest = &line[method + 1..];
    let Some(end) = memchr::memchr(b'\n', rest) else {
        // Control characters end all hope; otherwise the target may still be on its way.
        return rest.iter().any(|b| *b < b' ' && *b != b'\r').then_some(First::Other);
    };
    let words = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    match words.rsplitn(2, |b| *b == b' ').next() {
        Some(b"HTTP/1.1") => Some(First::Http("http/1.1")),
        Some(b"HTTP/1.0") => Some(First::Http("http/1.0")),
        _ => Some(First::Other),
    }
}

/// How long a client of a server-first destination may still surprise us.
const QUIET_GRACE: Duration = Duration::from_millis(10);
/// How long a note holds.
const NOTE_LIFE: Duration = Duration::from_secs(300);
/// More destinations than this are not noted.
const MAX_NOTES: usize = 1024;

/// Destinations at which the server was seen to speak first. One per worker.
#[derive(Debug, Default)]
pub(crate) struct Quiet(RefCell<HashMap<SocketAddr, Instant>>);

impl Quiet {
    fn has(&self, destination: SocketAddr) -> bool {
        self.0.borrow().get(&destination).is_some_and(|until| Instant::now() < *until)
    }

    /// The server at `destination` spoke first.
    pub(crate) fn note(&self, destination: SocketAddr) {
        let mut notes = self.0.borrow_mut();
        let now = Instant::now();
        if notes.len() >= MAX_NOTES {
            notes.retain(|_, until| now < *until);
        }
        if notes.len() < MAX_NOTES {
            notes.insert(destination, now + NOTE_LIFE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Inspect = Inspect {
        proxy_header: ExpectHeader::No,
        original_destination: false,
        tls: true,
        http: true,
        timeout: None,
        continue_on_timeout: false,
    };

    #[test]
    fn first_bytes() {
        let http = |p| Some(First::Http(p));
        for (bytes, expected) in [
            (&b""[..], None),
            (b"GET / HTTP/1.1\r\n", http("http/1.1")),
            (b"\r\nGET / HTTP/1.1\r\n", http("http/1.1")),
            (b"get /a%20b?c HTTP/1.0\n", http("http/1.0")),
            (b"PURGE-ALL x HTTP/1.1\r\nHost", http("http/1.1")),
            (b"GET / HT", None),
            (b"GET", None),
            (b"PRI * HTTP", None),
            (PREFACE, http("h2c")),
            (b"PRI * HTTP/1.1\r\n", http("http/1.1")),
            (b"EHLO example.org\r\n", Some(First::Other)),
            (b"PING\r\n", Some(First::Other)),
            (b"*1\r\n$4\r\nPING\r\n", Some(First::Other)),
            (b"GET /\r\n", Some(First::Other)),
            (b"GET / HTTP/2.0\r\n", Some(First::Other)),
            (b"\x00\x01\x02", Some(First::Other)),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Some(First::Other)),
            (b"\x16\x03\x01", None),
        ] {
            assert_eq!(judge(bytes, &BOTH), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(judge(b"GET / HTTP/1.1\r\n", &Inspect { http: false, ..BOTH }), Some(First::Other));
    }

    #[tokio::test(start_paused = true)]
    async fn silence() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let want = Inspect { timeout: Some(Duration::from_secs(5)), continue_on_timeout: true, ..BOTH };
        let quiet = Quiet::default();
        let (mut stream, _client) = Stream::duplex(64, at(1), at(2));
        let mut seen = Seen::new(at(2), at(1));
        let begun = Instant::now();
        inspect(&mut stream, &want, &quiet, &mut seen).await.unwrap();
        assert!(seen.silent && begun.elapsed() >= Duration::from_secs(5));

        quiet.note(at(1));
        let begun = Instant::now();
        inspect(&mut stream, &want, &quiet, &mut seen).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1));

        let strict = Inspect { continue_on_timeout: false, ..want };
        let mut elsewhere = Seen::new(at(2), at(3));
        assert_eq!(inspect(&mut stream, &strict, &quiet, &mut elsewhere).await, Err(InspectFault::TimedOut));
    }
}
