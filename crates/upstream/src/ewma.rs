//! How quickly an endpoint answers: Linkerd's peak EWMA.
//!
//! An observation above the estimate counts at once and whole, others bring it down slowly. An endpoint that is not asked
//! is taken to become quicker, so that it is tried again.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use model::cluster::PeakEwma;
use tokio::time::Instant;

/// Microseconds since the first call.
pub fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_micros() as u64
}

/// The estimate of one endpoint, for all workers: seconds as an `f32` above, the time of its last observation below. An
/// observation that meets another one at the same moment may be lost.
#[derive(Debug, Default)]
pub struct Estimate(AtomicU64);

/// Steps of the time of an observation, in microseconds. It wraps around after three days: who was not asked for so long
/// may then seem to have been asked just now.
const STEP: u64 = 64;

impl Estimate {
    /// An answer, or the end of waiting for one, after this time. `now` counts microseconds.
    pub fn observe(&self, took: Duration, now: u64, settings: &PeakEwma) {
        let took = took.as_secs_f32();
        let (estimate, weight) = self.read(now, settings);
        let new = if took > estimate * weight { took } else { estimate * weight + took * (1.0 - weight) };
        self.0.store(u64::from(new.to_bits()) << 32 | u64::from(step(now)), Relaxed);
    }

    /// Seconds that the next of `active` requests is to be expected to take.
    pub fn load(&self, active: u32, now: u64, settings: &PeakEwma) -> f32 {
        let (estimate, weight) = self.read(now, settings);
        estimate * weight * (active as f32 + 1.0)
    }

    /// What was estimated at the last observation, and how much of it still counts.
    fn read(&self, now: u64, settings: &PeakEwma) -> (f32, f32) {
        match self.0.load(Relaxed) {
            0 => (settings.initial.as_secs_f32(), 1.0),
            known => {
                let passed = Duration::from_micros(u64::from(step(now).wrapping_sub(known as u32)) * STEP);
                let decay = settings.decay.as_secs_f32().max(f32::MIN_POSITIVE);
                (f32::from_bits((known >> 32) as u32), (-passed.as_secs_f32() / decay).exp())
            }
        }
    }
}

fn step(now: u64) -> u32 {
    (now / STEP) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn peaks_count_at_once_and_fade() {
        let settings = PeakEwma::default();
        let estimate = Estimate::default();
        let ms = Duration::from_millis;
        let seconds = |at: u64| (estimate.load(0, at, &settings) * 1000.0).round() as u32;
        assert_eq!((seconds(0), estimate.load(2, 0, &settings)), (30, 0.03 * 3.0), "the initial estimate, which stays");
        assert_eq!(seconds(99 * SECOND), 30);
        for (at, took, expected) in [
            (SECOND, 100, 100),
            // 100 ms x 1/e are left after the decay time, and 37 ms + 10 ms x (1 - 1/e) are 43 ms.
            (11 * SECOND, 10, 43),
            (11 * SECOND, 10, 43),
            (11 * SECOND, 44, 44),
            // Long after, an answer that was slower than what is left counts whole.
            (100 * SECOND, 10, 10),
        ] {
            estimate.observe(ms(took), at, &settings);
            assert_eq!(seconds(at), expected, "{took} ms at {at}");
        }
        assert_eq!(seconds(110 * SECOND), 4, "it is taken to become quicker");
    }
}
