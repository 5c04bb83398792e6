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

mod control;
mod error;
mod options;
pub mod registration;
mod store;
pub mod v1;

pub use control::{Control, run};
pub use error::ControlError;
pub use options::{ControlOptions, Endpoints};
pub use store::StoreError;
