//! The control plane as a library: sources → store → translate → push; certificates; registration; the API.
//!
//! Owns the state of the mesh ([`Control`] holds it together) and its doors: xDS and certificate signing over TLS, xDS in
//! plain text on loopback, metrics, and HTTP/JSON over a Unix socket for the command line and the launcher ([`v1`] holds
//! its documents, for both sides). Knows no Kubernetes and no data path; the binary `halcyon` starts it.
//!
//! ```no_run
//! # async fn example() -> Result<(), control::ControlError> {
//! let (stop, watch) = base::drain::channel();
//! let control = control::Control::start(control::ControlOptions::new("/var/lib/halcyon"), watch).await?;
//! println!("xDS on {}", control.endpoints().tls);
//! stop.start(); // on a signal
//! control.finished().await
//! # }
//! ```

pub mod access;
mod api_doors;
mod audit;
mod authority;
mod callers;
mod certificates;
mod control;
mod dashboard;
mod doors;
mod error;
pub mod explain;
mod federation;
mod files;
mod guests;
mod keys;
mod mtls;
mod options;
mod packed;
mod patches;
mod push;
mod ratelimit;
pub mod redact;
mod refusals;
pub mod registration;
mod registry;
mod rest;
mod rotation;
mod schedule;
mod scrape;
mod store;
mod summary;
mod svids;
pub mod v1;

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use audit::verify as verify_audit;
pub use control::{Control, run};
pub use error::ControlError;
pub use guests::{Call, Guests, House, Needs, Proven, Tellers};
pub use options::{ControlOptions, Endpoints};
pub use patches::{Outcome as PatchOutcome, Patcher, analyze, check};
pub use store::StoreError;

/// A time as the API writes it: RFC 3339 in UTC, whole seconds.
pub(crate) fn timestamp(at: SystemTime) -> String {
    let whole = OffsetDateTime::from(at).replace_nanosecond(0);
    whole.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
