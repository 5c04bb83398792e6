//! How many requests may be under way at once, found out from how long they take (Envoy's adaptive concurrency filter
//! with its gradient controller).

use std::time::Duration;

/// A filter that refuses requests beyond a limit, which it moves with the latency that it sees.
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptiveConcurrency {
    /// Otherwise it lets everything pass.
    pub enabled: bool,
    /// The status of a request that is refused, 400 or more.
    pub status: u16,
    /// Which of an interval's latencies stands for all of them, in percent.
    pub percentile: f64,
    /// How often the limit is found out anew.
    pub update_interval: Duration,
    /// No limit is higher.
    pub max: u32,
    /// No limit is lower, except while the baseline is measured; none: [`AdaptiveConcurrency::min`].
    pub lower_bound: Option<u32>,
    /// The limit at first, and while the baseline is measured.
    pub min: u32,
    /// How long requests take where nothing makes them wait.
    pub baseline: Baseline,
    /// By how much of the baseline requests may take longer before the limit falls, in percent.
    pub buffer_percent: f64,
}

/// How long requests take where nothing makes them wait (Envoy's `minRTT`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Baseline {
    /// So long.
    Fixed(Duration),
    /// As measured.
    Measured(Measuring),
}

/// How the baseline is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measuring {
    /// From the end of one measuring to the next one's beginning.
    pub interval: Duration,
    /// How much later it may begin, by chance, in percent of the interval.
    pub jitter_percent: f64,
    /// How many requests are measured.
    pub requests: u32,
}

impl AdaptiveConcurrency {
    /// Envoy's default for [`AdaptiveConcurrency::status`].
    pub const STATUS: u16 = 503;
    /// Envoy's default for [`AdaptiveConcurrency::percentile`].
    pub const PERCENTILE: f64 = 50.0;
    /// Envoy's default for [`AdaptiveConcurrency::max`].
    pub const MAX: u32 = 1000;
    /// Envoy's default for [`AdaptiveConcurrency::min`].
    pub const MIN: u32 = 3;
    /// Envoy's default for [`AdaptiveConcurrency::buffer_percent`].
    pub const BUFFER_PERCENT: f64 = 25.0;

    /// Envoy's defaults.
    pub fn new(update_interval: Duration, baseline: Baseline) -> Self {
        Self {
            enabled: true,
            status: Self::STATUS,
            percentile: Self::PERCENTILE,
            update_interval,
            max: Self::MAX,
            lower_bound: None,
            min: Self::MIN,
            baseline,
            buffer_percent: Self::BUFFER_PERCENT,
        }
    }

    /// No limit is lower, except while the baseline is measured.
    pub fn lowest(&self) -> u32 {
        self.lower_bound.unwrap_or(self.min)
    }
}

impl Measuring {
    /// Envoy's default for [`Measuring::jitter_percent`].
    pub const JITTER_PERCENT: f64 = 15.0;
    /// Envoy's default for [`Measuring::requests`].
    pub const REQUESTS: u32 = 50;

    /// Envoy's defaults.
    pub fn new(interval: Duration) -> Self {
        Self { interval, jitter_percent: Self::JITTER_PERCENT, requests: Self::REQUESTS }
    }
}
