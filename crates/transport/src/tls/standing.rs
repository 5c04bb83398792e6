//! Connections whose peer's certificate is revoked while they live: they end when that becomes known.

use std::io;
use std::sync::Arc;
use std::task::Context;

use futures_util::task::AtomicWaker;
use rustls::{CertificateError, Error};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::trust::LiveTrust;
use super::verify::{End, Rule};

/// What a connection's peer was believed by.
pub(crate) struct Standing {
    rule: Arc<Rule>,
    trust: LiveTrust,
    /// Which end the peer is.
    peer: End,
    /// When its certificate was checked.
    since: UnixTime,
    /// The revocations that were looked at last.
    seen: u64,
    waker: Arc<AtomicWaker>,
}

impl Standing {
    /// Of a peer with a certificate that this rule proved just now; none where nothing is proven. `seen` is
    /// [`LiveTrust::revocations`] from before the handshake, so that nothing is missed that is revoked during it.
    pub(super) fn new(rule: &Arc<Rule>, peer: End, seen: u64) -> Option<Box<Self>> {
        let trust = rule.trust()?.clone();
        let waker = trust.stand();
        Some(Box::new(Self { rule: rule.clone(), trust, peer, since: UnixTime::now(), seen, waker }))
    }

    /// Says that the peer is revoked, if it is. Costs one load while nothing has changed.
    pub(crate) fn check<'a>(
        &mut self,
        chain: impl FnOnce() -> Option<&'a [CertificateDer<'static>]>,
    ) -> io::Result<()> {
        let now = self.trust.revocations();
        if now == self.seen {
            return Ok(());
        }
        if self.rule.is_revoked(chain().unwrap_or_default(), self.peer, self.since) {
            let error = Error::from(CertificateError::Revoked);
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, error));
        }
        self.seen = now;
        Ok(())
    }

    /// Wakes the reader when other certificates are revoked.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }
}
