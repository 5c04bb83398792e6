//! Single calls, one after the other: to see whether a proxy is ready, and to hold connections that are idle.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::bail;

use super::fresh::{self, Handshake};
use crate::socket::BUFFER;
use crate::wire::{Client, Exchange, Wire};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(2);

/// A call that is answered as soon as a proxy is ready.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// What is spoken.
    pub wire: Wire,
    /// What is asked.
    pub exchange: Exchange,
    /// Which of several hosts.
    pub turn: usize,
    /// Under TLS.
    pub tls: bool,
}

/// Makes the call on a connection of its own, which is closed then.
///
/// # Errors
/// When there is no good answer.
pub fn probe(to: SocketAddr, probe: &Probe) -> anyhow::Result<()> {
    if !probe.tls {
        return Held::open(to, probe.wire, probe.exchange, probe.turn).map(drop);
    }
    let stream = connect(to)?;
    let mut session = fresh::session(&fresh::config(Handshake::Full)?)?;
    exchange(&mut rustls::Stream::new(&mut session, &mut &stream), probe.wire, probe.exchange, probe.turn)
}

/// A connection that has carried one request, and is idle since.
pub struct Held {
    _stream: TcpStream,
}

impl Held {
    /// Opens it and waits for the answer. `number` chooses among hosts, where there are several.
    ///
    /// # Errors
    /// When there is no good answer.
    pub fn open(to: SocketAddr, wire: Wire, what: Exchange, number: usize) -> anyhow::Result<Self> {
        let mut stream = connect(to)?;
        exchange(&mut stream, wire, what, number)?;
        Ok(Self { _stream: stream })
    }
}

fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, CALL)?;
    stream.set_read_timeout(Some(CALL))?;
    stream.set_write_timeout(Some(CALL))?;
    Ok(stream)
}

fn exchange(stream: &mut (impl Read + Write), wire: Wire, what: Exchange, number: usize) -> anyhow::Result<()> {
    let (mut out, mut done, mut buffer) = (Vec::new(), Vec::new(), vec![0; BUFFER]);
    let mut client = Client::new(wire, what, number, &mut out);
    client.request(0, &mut out);
    while done.is_empty() {
        while !out.is_empty() {
            stream.write_all(&out)?;
            out.clear();
            client.fill(&mut out);
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            bail!("closed without an answer");
        }
        client.receive(&buffer[..count], &mut done, &mut out)?;
        client.fill(&mut out);
    }
    match done[0].ok {
        true => Ok(()),
        false => bail!("another answer than 200"),
    }
}
