//! Access logs: a format compiled once ([`LogFormat`]), values from whoever owns them ([`Fields`]), a line that no
//! value can break, and the file that takes it ([`sink`]).

mod format;
mod operator;
pub mod sink;
mod slot;
mod time;

pub use format::{FormatError, ISTIO_JSON, ISTIO_TEXT, LogFormat};
pub use operator::{GrpcStatusForm, Operator};
pub use slot::Slot;
pub use time::TimeFormat;

/// Gives the values of one exchange to a log format.
pub trait Fields {
    /// Puts the value of `operator` into `slot`. What is not put is absent: `-` in text, `null` in JSON.
    fn put(&self, operator: &Operator, slot: &mut Slot<'_>);
}
