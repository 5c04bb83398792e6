//! What this proxy sees, for the control plane: who talks to whom and how it ends, clusters as they stand, and the
//! exchanges that somebody wants to look at.
//!
//! Workers count in [`tally`]; the side runtime tells it in a stream of reports ([`follow`], [`report`]). Nothing of it is
//! exposed to scrapers: those have the metrics of [`crate::series`], which the user may shape and switch off.

mod clusters;
mod follow;
mod report;
mod tally;
mod tap;
#[cfg(test)]
mod tests;

pub(crate) use follow::Teller;
pub(crate) use tally::{EdgeLine, Ended, Ledger, OutcomeLine, Tally};
pub use tap::TapRules;
pub(crate) use tap::{Bodies, Taps};
