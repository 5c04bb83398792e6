//! Malformed and hostile bytes at the gateway: a clear status or a clean end, and the gateway goes on serving.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bookinfo::{Seen, Visitor};
use crate::mesh::Mesh;
use crate::process;
use crate::runner::{Check, Outcome};
use crate::world::World;

const GROUP: &str = "hostile bytes";
const PATIENCE: Duration = Duration::from_secs(10);
/// What a flood may cost the gateway's proxy in memory.
const ROOM: u64 = 64 << 20;

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "malformed HTTP/1.1 gets a 4xx or a clean close", 200, http1),
        Check::new(GROUP, "oversized heads get a 4xx or a clean close", 120, oversized),
        Check::new(GROUP, "HTTP/2 floods end with the connection, in bounded memory", 200, floods),
        Check::new(GROUP, "slow and half-open clients keep nobody from being served", 90, slow),
    ]
}

/// Requests that no server should answer as if they were right.
const MALFORMED: [(&str, &[u8]); 19] = [
    ("a request line of one word", b"GET\r\n\r\n"),
    ("no request line", b"\x00\x01\x02\x03 nothing like HTTP\r\n\r\n"),
    ("a TLS handshake on a plain port", b"\x16\x03\x01\x00\x2e\x01\x00\x00\x2a\x03\x03\r\n\r\n"),
    ("a version that is none", b"GET /productpage HTTP/7.7\r\nhost: a\r\n\r\n"),
    ("a bad method", b"G(T /productpage HTTP/1.1\r\nhost: a\r\n\r\n"),
    ("no host", b"GET /productpage HTTP/1.1\r\n\r\n"),
    ("two hosts", b"GET /productpage HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
    ("a header without a colon", b"GET /productpage HTTP/1.1\r\nhost: a\r\nnonsense\r\n\r\n"),
    ("a space before the colon", b"GET /productpage HTTP/1.1\r\nhost: a\r\nx : b\r\n\r\n"),
    ("a zero byte in a value", b"GET /productpage HTTP/1.1\r\nhost: a\r\nx: b\x00c\r\n\r\n"),
    ("a bare CR in a value", b"GET /productpage HTTP/1.1\r\nhost: a\r\nx: b\rc\r\n\r\n"),
    (
        "a length and chunks",
        b"POST /login HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /productpage HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    (
        "two lengths",
        b"POST /login HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 50\r\n\r\naaaaaGET /productpage HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    ("a list of lengths", b"POST /login HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 6\r\n\r\naaaaa"),
    ("a negative length", b"POST /login HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n"),
    ("a length with a sign", b"POST /login HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\naaaaa"),
    (
        "a coding after chunked",
        b"POST /login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    ("a coding like chunked", b"POST /login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (
        "a chunk size that is none",
        b"POST /login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\naaaa\r\n0\r\n\r\n",
    ),
];

fn http1(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        mesh.clear().await?;
        let watch = Watch::begin(mesh)?;
        for (what, bytes) in MALFORMED {
            refused(mesh.gateway, bytes).await.with_context(|| what.to_owned())?;
            watch.still_serves(mesh).await.with_context(|| format!("after {what}"))?;
        }
        Ok(format!("{} kinds", MALFORMED.len()))
    })
}

fn oversized(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        let watch = Watch::begin(mesh)?;
        let head = "GET /productpage HTTP/1.1\r\nhost: a\r\n";
        let long = "x".repeat(1 << 20);
        let many: String = (0..10_000).map(|n| format!("x-{n}: {}\r\n", &long[..100])).collect();
        let heads = [
            ("a header of 1 MB", format!("{head}x: {long}\r\n\r\n")),
            ("10,000 headers", format!("{head}{many}\r\n")),
            ("a path of 1 MB", format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n")),
            ("a head without an end", format!("{head}{many}")),
        ];
        for (what, bytes) in heads {
            refused(mesh.gateway, bytes.as_bytes()).await.with_context(|| what.to_owned())?;
            watch.still_serves(mesh).await.with_context(|| format!("after {what}"))?;
        }
        Ok(String::new())
    })
}

/// One answer with 4xx (or 501, for a coding that is not known) or none, and then the end of the connection.
async fn refused(gateway: SocketAddr, bytes: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(gateway).await?;
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let exchange = async {
        // The gateway may have hung up before it was sent all: that is an answer.
        let (_, _) = tokio::join!(write.write_all(bytes), read.read_to_end(&mut answer));
    };
    let ended = tokio::time::timeout(PATIENCE, exchange).await.is_ok();
    let text = String::from_utf8_lossy(&answer);
    ensure!(ended, "the connection was not ended within {} s; answered: `{text}`", PATIENCE.as_secs());
    ensure!(text.matches("HTTP/1.1 ").count() <= 1, "was answered more than once: `{text}`");
    let status = text.split(' ').nth(1).unwrap_or_default();
    if answer.is_empty() || status.starts_with('4') && status.len() == 3 || status == "501" {
        return Ok(());
    }
    bail!("was answered: `{}`", text.chars().take(200).collect::<String>())
}

/// The gateway's proxy, which must stay the same.
struct Watch {
    proxy: u32,
    memory: u64,
}

impl Watch {
    fn begin(mesh: &Mesh) -> Result<Self> {
        let proxy = process::the_one_below(mesh.pid("gateway")?, "halcyon-proxy")?;
        Ok(Self { proxy, memory: process::resident(proxy)? })
    }

    async fn still_serves(&self, mesh: &Mesh) -> Result<()> {
        let page = Visitor::anonymous(mesh.gateway).page().await.context("the gateway must go on serving")?;
        ensure!(page.details && page.reviews != Seen::Failed, "the gateway must go on serving: {page:?}");
        let now = process::the_one_below(mesh.pid("gateway")?, "halcyon-proxy")?;
        ensure!(now == self.proxy, "the gateway's proxy is another process than before: it has crashed");
        Ok(())
    }

    fn grown(&self) -> Result<u64> {
        Ok(process::resident(self.proxy)?.saturating_sub(self.memory))
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// GET of a path, in HPACK without the dynamic table (RFC 7541).
fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'a']);
    block
}

/// Frame number `n` of a flood.
type Flood = fn(u32) -> Vec<u8>;

const FLOODS: [(&str, Flood); 5] = [
    ("rapid reset", |n| {
        let reset = frame(RST_STREAM, 0, 2 * n + 1, &8u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &get("/productpage")), reset].concat()
    }),
    ("pings", |n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())),
    ("settings", |n| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, (n >> 8) as u8, n as u8])),
    ("a head that never ends", |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, &get("/productpage")),
        n => frame(CONTINUATION, 0, 1, format!("\x00\x08x-{n:06}\x01a").as_bytes()),
    }),
    ("streams without end", |n| frame(HEADERS, END_HEADERS, 2 * n + 1, &get("/productpage"))),
];

/// Frames of each flood.
const MANY: u32 = 50_000;

fn floods(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        let mut notes = Vec::new();
        for (what, flood) in FLOODS {
            let watch = Watch::begin(mesh)?;
            let ended_after = flooded(mesh.gateway, flood).await.with_context(|| what.to_owned())?;
            watch.still_serves(mesh).await.with_context(|| format!("after {what}"))?;
            let grown = watch.grown()?;
            ensure!(grown < ROOM, "{what}: the gateway's proxy grew by {} MB", grown >> 20);
            notes.push(match ended_after {
                Some(frames) => format!("{what}: ended within {frames}"),
                None => format!("{what}: borne"),
            });
        }
        Ok(notes.join(", "))
    })
}

/// Sends a flood as fast as it is taken, and reads nothing before its end, so that answers would have to be kept. After
/// how many steps the gateway ended it, if it did.
async fn flooded(gateway: SocketAddr, flood: Flood) -> Result<Option<u32>> {
    let mut stream = TcpStream::connect(gateway).await?;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await?;
    const AT_ONCE: u32 = 100;
    for n in (0..MANY).step_by(AT_ONCE as usize) {
        let bytes: Vec<u8> = (n..n + AT_ONCE).flat_map(flood).collect();
        // A gateway that takes no more, because we do not read, has bounded itself.
        match tokio::time::timeout(Duration::from_secs(2), stream.write_all(&bytes)).await {
            Err(_) => return Ok(Some(n + AT_ONCE)),
            Ok(Err(_)) => return Ok(Some(n + AT_ONCE)),
            Ok(Ok(())) => {}
        }
    }
    Ok(None)
}

fn slow(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        let watch = Watch::begin(mesh)?;
        let mut held = Vec::new();
        for n in 0..400 {
            let mut stream = TcpStream::connect(mesh.gateway).await?;
            let sent: &[u8] = match n % 4 {
                0 => b"",
                1 => b"GET /product",
                2 => b"POST /login HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nuser",
                _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            };
            stream.write_all(sent).await?;
            held.push(stream);
        }
        let spread = Visitor::anonymous(mesh.gateway).spread(60).await?;
        ensure!(spread.count(Seen::Failed) == 0, "{spread}");
        watch.still_serves(mesh).await?;
        let grown = watch.grown()?;
        ensure!(grown < ROOM, "the gateway's proxy grew by {} MB", grown >> 20);
        Ok(format!("{} of them, {} KB more memory", held.len(), grown >> 10))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(frame(RST_STREAM, 0, 3, &8u32.to_be_bytes()), [0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 8]);
        assert_eq!(get("/a"), [0x82, 0x86, 0x04, 2, b'/', b'a', 0x01, 1, b'a']);
    }
}
