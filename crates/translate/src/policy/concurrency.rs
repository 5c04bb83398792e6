//! What a ServicePolicy makes of the incoming side: how much at once.

use std::time::Duration;

use api::halcyon::ConcurrencyLimit;
use model::AdaptiveConcurrency;
use model::concurrency::{Baseline, Measuring};

/// The limit of each workload.
pub fn concurrency_limit(written: &ConcurrencyLimit) -> AdaptiveConcurrency {
    let baseline = written.baseline.clone().unwrap_or_default();
    let envoys = Measuring::new(baseline.interval.unwrap_or(MEASURING));
    let baseline = match baseline.fixed {
        Some(fixed) => Baseline::Fixed(fixed),
        None => Baseline::Measured(Measuring {
            jitter_percent: baseline.jitter.unwrap_or(envoys.jitter_percent),
            requests: baseline.requests.unwrap_or(envoys.requests),
            ..envoys
        }),
    };
    let envoys = AdaptiveConcurrency::new(written.interval.unwrap_or(INTERVAL), baseline);
    let min = written.min.unwrap_or(envoys.min);
    AdaptiveConcurrency {
        min,
        // A least that is said alone may be above the default of the most.
        max: written.max.unwrap_or(envoys.max.max(min)),
        percentile: written.percentile.unwrap_or(envoys.percentile),
        buffer_percent: written.tolerance.unwrap_or(envoys.buffer_percent),
        status: written.status.unwrap_or(envoys.status),
        ..envoys
    }
}

/// Where Envoy has no default.
const INTERVAL: Duration = Duration::from_secs(1);
const MEASURING: Duration = Duration::from_secs(60);
