//! The gradient controller (Envoy's): how many requests may be under way, by how long they take. No clock, no chance, no
//! locks: time is passed in.
//!
//! Two kinds of windows take turns. While the baseline is measured, the limit stays at its least and so many samples are
//! waited for; their percentile is the baseline. After that each interval with samples moves the limit:
//!
//! ```text
//! gradient = (baseline + buffer) / sample, from 0.5 to 2
//! limit    = limit * gradient + sqrt(limit * gradient), from the lowest to the highest
//! ```
//!
//! Envoy has timers; here whoever comes next asks first whether anything is [due](Gradient::due). As nothing happens in
//! an interval without samples, that is the same.

use std::sync::Arc;
use std::time::Duration;

use model::AdaptiveConcurrency;
use model::concurrency::{Baseline, Measuring};

use super::samples::Samples;
use crate::draw::Draws;

/// After so many intervals at the lowest limit the baseline is measured anew: it may be wrong.
const AT_LOWEST: u32 = 5;

/// The state of one controller. Times are since its birth.
#[derive(Debug)]
pub struct Gradient {
    settings: Arc<AdaptiveConcurrency>,
    limit: u32,
    /// In microseconds; none until it is measured.
    baseline: u64,
    window: Window,
    /// Intervals in a row that began and ended at the lowest limit.
    at_lowest: u32,
    draws: Draws,
    last: Step,
}

/// What samples are taken for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Window {
    /// The baseline. `limit` is the one to go back to.
    Baseline { limit: u32, since: Duration },
    /// The limit: it moves at `update`. At `measure` the baseline's turn comes.
    Limit { update: Duration, measure: Duration, measured: Duration },
}

/// The last step of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Step {
    /// The latency that stood for all, in microseconds.
    pub sample: u64,
    /// What the limit was multiplied by.
    pub gradient: f64,
    /// What was added to it.
    pub headroom: f64,
}

impl Gradient {
    /// A controller that is born now. It begins by measuring, if there is something to measure.
    pub fn new(settings: Arc<AdaptiveConcurrency>, draws: Draws) -> Self {
        let update = settings.update_interval;
        let (limit, baseline, window) = match settings.baseline {
            Baseline::Measured(_) => (settings.min, 0, Window::Baseline { limit: settings.min, since: Duration::ZERO }),
            Baseline::Fixed(time) => {
                let window = Window::Limit { update, measure: Duration::MAX, measured: Duration::ZERO };
                (settings.lowest(), time.as_micros() as u64, window)
            }
        };
        Self { settings, limit, baseline, window, at_lowest: 0, draws, last: Step::default() }
    }

    /// How many requests may be under way.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// With so many samples the baseline is measured; none while it is not.
    pub fn needed(&self) -> Option<u32> {
        match (self.window, self.settings.baseline) {
            (Window::Baseline { .. }, Baseline::Measured(how)) => Some(how.requests),
            _ => None,
        }
    }

    /// The baseline in microseconds; 0 until it is known.
    pub fn baseline(&self) -> u64 {
        self.baseline
    }

    /// The last step of the limit.
    pub fn last(&self) -> Step {
        self.last
    }

    /// Requests that began before are no samples: they met another limit.
    pub fn since(&self) -> Duration {
        match self.window {
            Window::Baseline { since, .. } | Window::Limit { measured: since, .. } => since,
        }
    }

    /// When [`Gradient::advance`] has something to do, if no sample comes.
    pub fn due(&self) -> Duration {
        match self.window {
            Window::Baseline { .. } => Duration::MAX,
            Window::Limit { update, measure, .. } => update.min(measure),
        }
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Duration, samples: &Samples) {
        let Window::Limit { update, measure, measured } = self.window else { return };
        let mut measure = measure;
        if update <= now && update < measure {
            if let Some(sample) = samples.take_percentile(self.settings.percentile) {
                self.step(sample);
            }
            if self.at_lowest >= AT_LOWEST && measure < Duration::MAX {
                measure = now;
            }
            let update = next(update, self.settings.update_interval, now);
            self.window = Window::Limit { update, measure, measured };
        }
        if measure <= now {
            self.window = Window::Baseline { limit: self.limit, since: now };
            (self.limit, self.at_lowest) = (self.settings.min, 0);
            samples.clear();
        }
    }

    /// A sample came in: there may be enough of them now for a baseline.
    pub fn sampled(&mut self, now: Duration, samples: &Samples) {
        let (Window::Baseline { limit, since }, Baseline::Measured(how)) = (self.window, self.settings.baseline) else {
            return;
        };
        if samples.count() < how.requests {
            return;
        }
        let Some(baseline) = samples.take_percentile(self.settings.percentile) else { return };
        (self.baseline, self.limit, self.at_lowest) = (baseline, limit, 0);
        let (update, measure) = (now + self.settings.update_interval, now + self.pause(how));
        self.window = Window::Limit { update, measure, measured: since };
    }

    /// Moves the limit.
    fn step(&mut self, sample: u64) {
        let (settings, before) = (&*self.settings, self.limit);
        let expected = self.baseline as f64 * (1.0 + settings.buffer_percent / 100.0);
        // No time at all is as quick as can be.
        let gradient = if sample == 0 { 2.0 } else { (expected / sample as f64).clamp(0.5, 2.0) };
        let moved = f64::from(before) * gradient;
        let headroom = moved.sqrt();
        let lowest = settings.lowest();
        self.limit = ((moved + headroom) as u32).min(settings.max).max(lowest);
        self.at_lowest = if (before, self.limit) == (lowest, lowest) { self.at_lowest + 1 } else { 0 };
        self.last = Step { sample, gradient, headroom };
    }

    /// How long until the next measuring, in whole milliseconds as in Envoy.
    fn pause(&mut self, how: Measuring) -> Duration {
        let range = (how.interval.as_millis() as f64 * how.jitter_percent / 100.0).ceil() as u64;
        let more = if range == 0 { 0 } else { self.draws.draw() % range };
        how.interval + Duration::from_millis(more)
    }
}

/// The first moment after `now` of those that follow `from` at this interval.
fn next(from: Duration, interval: Duration, now: Duration) -> Duration {
    let passed = (now - from).as_nanos() / interval.as_nanos().max(1) + 1;
    from + interval.saturating_mul(u32::try_from(passed).unwrap_or(u32::MAX))
}

#[cfg(test)]
#[path = "gradient/tests.rs"]
mod tests;
