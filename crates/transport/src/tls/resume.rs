//! Session resumption that ends when a certificate or a trust bundle changes.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

use super::cert::LiveCert;
use super::trust::LiveTrust;

/// The live values that a session depends on.
#[derive(Debug, Default)]
pub(super) struct Basis {
    pub(super) certs: Vec<LiveCert>,
    pub(super) trust: Option<LiveTrust>,
}

impl Basis {
    /// Changes when any of them does: each part only grows.
    fn generation(&self) -> u64 {
        let certs: u64 = self.certs.iter().map(LiveCert::generation).sum();
        certs + self.trust.as_ref().map_or(0, LiveTrust::generation)
    }
}

/// Something that is made anew when the basis changes.
struct PerGeneration<T> {
    basis: Basis,
    current: ArcSwap<(u64, Arc<T>)>,
}

impl<T> PerGeneration<T> {
    fn new(basis: Basis, first: T) -> Self {
        let current = ArcSwap::from_pointee((basis.generation(), Arc::new(first)));
        Self { basis, current }
    }

    /// Two threads may both make one; sessions of the one that loses are simply not resumed.
    fn get(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let generation = self.basis.generation();
        let current = self.current.load();
        if current.0 == generation {
            return current.1.clone();
        }
        let fresh = Arc::new(make());
        self.current.store(Arc::new((generation, fresh.clone())));
        fresh
    }
}

type TicketKeys = Option<Arc<dyn ProducesTickets>>;

/// A server's ticket keys. Stateless: a ticket holds the session, encrypted.
pub(super) struct Tickets(PerGeneration<TicketKeys>);

impl Tickets {
    pub(super) fn new(basis: Basis) -> Self {
        Self(PerGeneration::new(basis, keys()))
    }

    fn keys(&self) -> Arc<TicketKeys> {
        self.0.get(keys)
    }
}

/// Without randomness there are no tickets, and every handshake is a full one.
fn keys() -> TicketKeys {
    Ticketer::new().ok()
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.keys().is_some()
    }

    fn lifetime(&self) -> u32 {
        self.keys().as_ref().as_ref().map_or(0, |keys| keys.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys().as_ref().as_ref()?.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.keys().as_ref().as_ref()?.decrypt(cipher)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

/// How many servers a client remembers per configuration; each may hold a few tickets of about 2 kB.
const REMEMBERED: usize = 32;

/// A client's sessions. A connection keeps those of the generation in which it began, since its tickets come later, and
/// maybe after a change: they go where the next generation does not look.
pub(super) struct Sessions(PerGeneration<Resumption>);

impl Sessions {
    pub(super) fn new(basis: Basis) -> Self {
        Self(PerGeneration::new(basis, none()))
    }

    /// Where a connection that begins now takes its session from, and puts those that it gets.
    pub(super) fn now(&self) -> Resumption {
        Resumption::clone(&self.0.get(none))
    }
}

fn none() -> Resumption {
    Resumption::in_memory_sessions(REMEMBERED)
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}
