//! Who may do what at the API: callers and their rights, users and their tokens, and how often one may guess.
//!
//! Knows no HTTP: which call needs which right stands in `rest::routes`.

mod attempts;
mod caller;
mod secret;
mod users;

pub(crate) use attempts::Attempts;
pub(crate) use caller::{Caller, Denied, Means, Right};
pub(crate) use users::{Unknown, UserError, Users};
