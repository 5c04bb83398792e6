//! The latencies of one window, in a histogram that all workers add to without a lock.
//!
//! Bins and quantiles are those of libcircllhist, which Envoy counts with: latencies of the same first two decimal digits
//! share a bin, and within a bin they are taken to be spread evenly.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Bins of each power of ten: from 1.0 to 9.9.
const OF_POWER: usize = 90;
/// From 1 µs to nearly three hours; what takes longer counts as that long.
const POWERS: usize = 10;
const BINS: usize = 1 + OF_POWER * POWERS;

/// Latencies in microseconds. The first bin is for those of none.
#[derive(Debug)]
pub struct Samples {
    bins: Box<[AtomicU32]>,
    count: AtomicU32,
}

impl Samples {
    /// No samples yet.
    pub fn new() -> Self {
        Self { bins: (0..BINS).map(|_| AtomicU32::new(0)).collect(), count: AtomicU32::new(0) }
    }

    /// Adds one.
    pub fn add(&self, micros: u64) {
        self.bins[bin(micros)].fetch_add(1, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// Forgets them.
    pub fn clear(&self) {
        self.take();
    }

    /// The latency that so many percent of them do not exceed, in whole microseconds, and forgets them. None if there
    /// were none.
    pub fn take_percentile(&self, percent: f64) -> Option<u64> {
        let counts = self.take();
        let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let wanted = total as f64 * percent.clamp(0.0, 100.0) / 100.0;
        let (mut below, mut place) = (0.0, 0.0);
        for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (left, width) = bounds(bin);
            let upto = below + f64::from(*count);
            place = left + width * ((wanted - below) / f64::from(*count)).min(1.0);
            if upto >= wanted {
                break;
            }
            below = upto;
        }
        (total > 0).then_some(place as u64)
    }

    fn take(&self) -> [u32; BINS] {
        // A sample that comes meanwhile belongs to this window or to the next.
        self.count.store(0, Relaxed);
        let mut counts = [0; BINS];
        for (count, bin) in counts.iter_mut().zip(&self.bins) {
            *count = bin.swap(0, Relaxed);
        }
        counts
    }
}

/// The bin of a latency.
fn bin(micros: u64) -> usize {
    let Some(power) = micros.checked_ilog10() else { return 0 };
    let power = power as usize;
    if power >= POWERS {
        return BINS - 1;
    }
    let digits = match power {
        0 => micros * 10,
        _ => micros / 10u64.pow(power as u32 - 1),
    };
    1 + power * OF_POWER + (digits as usize - 10)
}

/// The lowest latency of a bin, and how wide it is.
fn bounds(bin: usize) -> (f64, f64) {
    let Some(bin) = bin.checked_sub(1) else { return (0.0, 0.0) };
    let power = 10f64.powi((bin / OF_POWER) as i32);
    ((bin % OF_POWER + 10) as f64 * power / 10.0, power / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        for (samples, percent, expected) in [
            (&[][..], 50.0, None),
            (&[0], 50.0, Some(0)),
            // Alone in [1000 ms, 1100 ms), as Envoy 1.40 says: half way.
            (&[1_002_000], 50.0, Some(1_050_000)),
            (&[1_002_000], 0.0, Some(1_000_000)),
            (&[1_002_000], 100.0, Some(1_100_000)),
            // Bins of one microsecond up to 99 µs, of 10 µs from there.
            (&[99], 50.0, Some(99)),
            (&[100], 50.0, Some(105)),
            (&[7], 100.0, Some(7)),
            // The lower half ends where its bin ends.
            (&[5_100, 5_199, 9_000, 9_000], 50.0, Some(5_200)),
            (&[5_100, 5_199, 9_000, 9_000], 75.0, Some(9_050)),
            (&[5_100, 5_199, 9_000, 9_000], 25.0, Some(5_150)),
            (&[1_000, 2_000, 3_000, 4_000, 50_000], 90.0, Some(50_500)),
            (&[1_000, 2_000, 3_000, 4_000, 50_000], 50.0, Some(3_050)),
            // Beyond what it can tell.
            (&[u64::MAX], 0.0, Some(9_900_000_000)),
        ] {
            let all = Samples::new();
            samples.iter().for_each(|sample| all.add(*sample));
            assert_eq!(all.count() as usize, samples.len());
            assert_eq!(all.take_percentile(percent), expected, "{percent} of {samples:?}");
            assert_eq!((all.count(), all.take_percentile(percent)), (0, None), "they are forgotten");
        }
    }

    #[test]
    fn every_latency_is_in_its_bin() {
        for power in 0..POWERS as u32 {
            for step in [10, 11, 37, 50, 99] {
                let micros = step * 10u64.pow(power) / 10;
                let (left, width) = bounds(bin(micros));
                assert!((left..left + width).contains(&(micros as f64)), "{micros} in {left} and {width}");
            }
        }
        assert_eq!((bin(0), bin(9_999_999_999), bin(10_000_000_000)), (0, BINS - 1, BINS - 1));
    }

    #[test]
    fn threads_add_together() {
        let all = Samples::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let all = &all;
                scope.spawn(move || (0..1000).for_each(|_| all.add(thread * 100)));
            }
        });
        assert_eq!((all.count(), all.take_percentile(25.0)), (4000, Some(0)));
    }
}
