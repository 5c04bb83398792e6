//! A load of new connections: each does its handshake, if it has TLS, carries one request, and is closed by the proxy.
//!
//! The client's TLS is the same towards every peer: TLS 1.3, X25519, and it trusts whatever it is shown, since what is
//! measured is the other side.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context as _, bail};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme};

use super::{LOOK, PATIENCE, Shared};
use crate::socket::{BUFFER, Poll};
use crate::wire::{Exchange, OnlyAnswer, only_request};

/// The shape of a load of new connections.
#[derive(Debug, Clone, Copy)]
pub struct Connecting {
    /// How many are under way at once.
    pub at_once: usize,
    /// What each carries (HTTP/1.1).
    pub exchange: Exchange,
    /// Their handshakes; none: plain.
    pub handshake: Option<Handshake>,
}

/// A TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// With certificate and signature.
    Full,
    /// With a ticket of the connection before.
    Resumed,
}

/// Sends new connections whenever one is over.
pub(super) struct Driver {
    to: SocketAddr,
    connecting: Connecting,
    shared: Arc<Shared>,
    poll: Poll,
    slots: Vec<Slot>,
    buffer: Vec<u8>,
    /// When bytes came last.
    heard: Instant,
}

/// A place for one connection after the other. Each has its own tickets.
struct Slot {
    tls: Option<Arc<ClientConfig>>,
    current: Option<Current>,
    /// How many connections there were.
    count: usize,
}

/// A connection that is under way.
struct Current {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    answer: OnlyAnswer,
}

impl Driver {
    pub fn new(to: SocketAddr, connecting: Connecting, shared: Arc<Shared>) -> anyhow::Result<Self> {
        let slot = |_| -> anyhow::Result<Slot> {
            Ok(Slot { tls: connecting.handshake.map(config).transpose()?, current: None, count: 0 })
        };
        let slots = (0..connecting.at_once).map(slot).collect::<anyhow::Result<_>>()?;
        let poll = Poll::new()?;
        Ok(Self { to, connecting, shared, poll, slots, buffer: vec![0; BUFFER], heard: Instant::now() })
    }

    pub fn run(&mut self) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        self.heard = Instant::now();
        for number in 0..self.slots.len() {
            self.begin(number)?;
        }
        while !self.shared.ended() {
            self.poll.wait(&mut ready, LOOK)?;
            for number in &ready {
                self.heard = Instant::now();
                if self.advance(*number)? {
                    self.begin(*number)?;
                }
            }
            if self.heard.elapsed() > PATIENCE {
                bail!("no answer for {PATIENCE:?}");
            }
        }
        Ok(())
    }

    /// Opens the next connection of a slot and says what comes first.
    fn begin(&mut self, number: usize) -> anyhow::Result<()> {
        let slot = &mut self.slots[number];
        // On loopback this returns as soon as the listener's queue has it.
        let mut stream = TcpStream::connect(self.to).with_context(|| format!("cannot connect to {}", self.to))?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.poll.add(&stream, number)?;
        let mut request = Vec::new();
        only_request(self.connecting.exchange, number + slot.count, &mut request);
        let tls = match &slot.tls {
            None => {
                stream.write_all(&request).context("writing")?;
                None
            }
            Some(config) => {
                let mut session = session(config)?;
                // It waits inside until the handshake is over.
                session.writer().write_all(&request)?;
                session.write_tls(&mut stream).context("writing")?;
                Some(Box::new(session))
            }
        };
        slot.count += 1;
        slot.current = Some(Current { stream, tls, answer: OnlyAnswer::default() });
        Ok(())
    }

    /// Reads what came. True: the connection is over.
    fn advance(&mut self, number: usize) -> anyhow::Result<bool> {
        let slot = &mut self.slots[number];
        let Some(current) = &mut slot.current else { return Ok(false) };
        let closed = current.read(&mut self.buffer)?;
        if !closed {
            return Ok(false);
        }
        let resumed = current.tls.as_ref().map(|tls| tls.handshake_kind());
        let wanted = match self.connecting.handshake {
            None => true,
            Some(Handshake::Full) => resumed == Some(Some(HandshakeKind::Full)),
            Some(Handshake::Resumed) => slot.count == 1 || resumed == Some(Some(HandshakeKind::Resumed)),
        };
        if !current.answer.is_good(self.connecting.exchange) {
            self.shared.failed.fetch_add(1, Ordering::Relaxed);
        }
        if !wanted {
            bail!("a handshake that was {resumed:?} instead of {:?}", self.connecting.handshake);
        }
        slot.current = None;
        self.shared.done.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }
}

impl Current {
    /// Reads all that is there. True: the other side has closed.
    fn read(&mut self, buffer: &mut [u8]) -> anyhow::Result<bool> {
        loop {
            let Some(session) = &mut self.tls else {
                match self.stream.read(buffer) {
                    Ok(0) => return Ok(true),
                    Ok(count) => self.answer.receive(&buffer[..count]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error).context("reading"),
                }
                continue;
            };
            match session.read_tls(&mut self.stream) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("reading"),
            }
            let state = session.process_new_packets().context("TLS")?;
            if state.plaintext_bytes_to_read() > 0 {
                let count = session.reader().read(buffer)?;
                self.answer.receive(&buffer[..count]);
            }
            while session.wants_write() {
                session.write_tls(&mut self.stream).context("writing")?;
            }
            if state.peer_has_closed() {
                return Ok(true);
            }
        }
    }
}

/// A client's side of TLS that can do only this handshake.
pub(super) fn config(handshake: Handshake) -> anyhow::Result<Arc<ClientConfig>> {
    let mut provider = aws_lc_rs::default_provider();
    // What every peer can do: the hybrids of today are not among it.
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    config.resumption = match handshake {
        Handshake::Full => Resumption::disabled(),
        Handshake::Resumed => Resumption::in_memory_sessions(4),
    };
    Ok(Arc::new(config))
}

/// A new connection.
pub(super) fn session(config: &Arc<ClientConfig>) -> anyhow::Result<ClientConnection> {
    Ok(ClientConnection::new(config.clone(), ServerName::try_from("origin.bench.local")?)?)
}

/// Takes every certificate: the load's own cost is of no concern, and must be small.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
