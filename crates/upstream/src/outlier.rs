//! Outlier detection: which endpoint is left out since it fails, and for how long. Envoy's rules.
//!
//! Workers count on a [`Monitor`] for each endpoint, with relaxed atomics. What follows from the counts a [`Detector`]
//! decides, off the workers: a state machine to which time and chance are given.

mod detector;
mod monitor;

pub(crate) use detector::{Detector, Finding};
pub(crate) use monitor::{Monitor, Outcome, Reached};

/// Why an endpoint is found to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answers of 5xx in a row.
    Consecutive5xx,
    /// Answers of 502, 503 or 504 in a row.
    ConsecutiveGateway,
    /// Failures on our side in a row.
    ConsecutiveLocal,
    /// Its success rate is far below the mean.
    SuccessRate,
    /// The same on our side.
    LocalSuccessRate,
    /// Its share of failures is high.
    FailurePercentage,
    /// The same on our side.
    LocalFailurePercentage,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Consecutive5xx,
        Self::ConsecutiveGateway,
        Self::ConsecutiveLocal,
        Self::SuccessRate,
        Self::LocalSuccessRate,
        Self::FailurePercentage,
        Self::LocalFailurePercentage,
    ];

    /// Its name in Envoy's statistics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGateway => "consecutive_gateway_failure",
            Self::ConsecutiveLocal => "consecutive_local_origin_failure",
            Self::SuccessRate => "success_rate",
            Self::LocalSuccessRate => "local_origin_success_rate",
            Self::FailurePercentage => "failure_percentage",
            Self::LocalFailurePercentage => "local_origin_failure_percentage",
        }
    }
}
