//! Connections that were closed before any filter saw them.

use telemetry::ResponseFlags;
use transport::tls::TlsError;

use crate::connection;
use crate::inspect::Seen;
use crate::live::ListenerPlan;
use crate::worker::Worker;

/// Why a connection was closed before any filter saw it.
pub(crate) enum Refused<'a> {
    /// No chain takes it.
    NoChain,
    /// It said nothing in time.
    Silent,
    /// Its PROXY header is missing or broken; the text says how.
    Header(&'static str),
    /// Its TLS did not come about.
    Tls(&'a TlsError),
}

impl Refused<'_> {
    /// Flag and details.
    pub(crate) fn facts(&self) -> (ResponseFlags, &'static str, &str) {
        match self {
            Self::NoChain => (ResponseFlags::NO_ROUTE, "filter_chain_not_found", ""),
            Self::Silent => (ResponseFlags::NONE, "listener_filter_timeout", ""),
            Self::Header(how) => (ResponseFlags::NONE, "proxy_protocol_error", how),
            Self::Tls(error) => (ResponseFlags::NONE, "downstream_tls_handshake_failed", &error.reason),
        }
    }
}

/// Writes down a connection that no filter saw.
pub(crate) fn refused(worker: &Worker, plan: &ListenerPlan, seen: &Seen, why: Refused<'_>) {
    worker.series.refused(&plan.config.name, &why);
    plan.logs.refused(worker, plan, seen, &why);
    let (_, details, reason) = why.facts();
    let (source, destination, name) = (seen.source, seen.destination, &plan.config.name);
    if matches!(why, Refused::NoChain) && connection::lacks_tls(plan, seen) {
        tracing::warn!(
            "listener {name}: {source} spoke plain text to {destination}, where only mutual TLS is taken (STRICT); \
             closed; expected a caller inside the mesh, or PERMISSIVE mode while callers move in"
        );
    } else {
        tracing::debug!("listener {name}: {source} to {destination} closed: {details} {reason}");
    }
}
