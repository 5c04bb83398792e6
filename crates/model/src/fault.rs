//! Deliberate faults: a delay, an abort, each for a share of the requests (Envoy's fault filter).

use std::time::Duration;

use crate::Fraction;

/// Faults to inject. A delay comes before an abort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Hold the request.
    pub delay: Option<Delay>,
    /// Answer instead of the upstream.
    pub abort: Option<Abort>,
}

/// A delay for a share of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    /// How long.
    pub duration: Duration,
    /// For which share.
    pub share: Fraction,
}

/// An answer in place of the upstream's, for a share of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    /// What is answered.
    pub answer: AbortAnswer,
    /// For which share.
    pub share: Fraction,
}

/// What an abort answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortAnswer {
    /// An HTTP status, 200 to 599.
    Http(u16),
    /// A gRPC status code.
    Grpc(u32),
}
