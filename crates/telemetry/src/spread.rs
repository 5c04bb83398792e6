//! How durations spread: exponential buckets that those who measure and those who read agree on.
//!
//! Microseconds from 2^5 (32 us) to 2^27 (134 s). Each octave is cut in four equal parts, so that four buckets double
//! the value (2^(1/4) each, on the whole) and a bucket is found by one `leading_zeros` and two bits, with no float: a
//! bucket is never wider than a quarter of its lower bound. One bucket below takes what is faster, one above what is
//! slower. Counts of the same buckets add up exactly, over time and over tellers; quantiles are read off the sum.
//!
//! ```
//! use telemetry::spread::{self, Spread};
//!
//! let mut seen = Spread::default();
//! (1..=1000).for_each(|ms| seen.add(ms * 1000, 1));
//! let p50 = seen.quantile(0.5).unwrap();
//! assert!((p50 / 500_000.0 - 1.0).abs() < 0.02);
//! assert_eq!(spread::bounds(spread::bucket(1000)), (896, 1024));
//! ```

/// Exponent of the lowest bound: what is faster than 2^5 us is in the first bucket.
const LOWEST: u32 = 5;
/// Exponent of the highest bound: what takes 2^27 us or longer is in the last bucket.
const HIGHEST: u32 = 27;

/// How many buckets there are, with the one below and the one above.
pub const BUCKETS: usize = ((HIGHEST - LOWEST) * 4 + 2) as usize;

/// The bucket of a duration in microseconds: below [`BUCKETS`], and never lower for a longer duration.
#[inline]
pub const fn bucket(micros: u64) -> usize {
    if micros < 1 << LOWEST {
        return 0;
    }
    if micros >= 1 << HIGHEST {
        return BUCKETS - 1;
    }
    let octave = 63 - micros.leading_zeros();
    let quarter = (micros >> (octave - 2)) & 3;
    1 + ((octave - LOWEST) as usize) * 4 + quarter as usize
}

/// The microseconds of a bucket, from (included) and to (excluded). The last one reaches to `u64::MAX`; a number that
/// is no bucket is taken as the last one.
pub const fn bounds(bucket: usize) -> (u64, u64) {
    if bucket == 0 {
        return (0, 1 << LOWEST);
    }
    if bucket >= BUCKETS - 1 {
        return (1 << HIGHEST, u64::MAX);
    }
    let (octave, quarter) = ((bucket as u32 - 1) / 4 + LOWEST, (bucket as u64 - 1) % 4);
    let part = 1u64 << (octave - 2);
    ((4 + quarter) * part, (5 + quarter) * part)
}

/// The microseconds below which the share `q` (0 to 1) of all counted durations lies: linear within a bucket. `None`
/// where nothing was counted. `counts` are `(bucket, count)`, buckets ascending; those that are not there count 0.
///
/// What lies in the last bucket is told as its lower bound: nothing is known of its length but that it is as much.
pub fn quantile(counts: impl Iterator<Item = (usize, u64)> + Clone, q: f64) -> Option<f64> {
    let total: f64 = counts.clone().map(|(_, count)| count as f64).sum();
    if total <= 0.0 {
        return None;
    }
    let wanted = q.clamp(0.0, 1.0) * total;
    let (mut below, mut last) = (0.0, None);
    for (bucket, count) in counts.filter(|(_, count)| *count > 0) {
        let (from, to) = bounds(bucket);
        let count = count as f64;
        if bucket >= BUCKETS - 1 {
            return Some(from as f64);
        }
        if below + count >= wanted {
            let part = ((wanted - below) / count).clamp(0.0, 1.0);
            return Some(from as f64 + (to - from) as f64 * part);
        }
        below += count;
        last = Some(to as f64);
    }
    last
}

/// Counts of durations by bucket. Counts stay at `u64::MAX` where they would overflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    counts: [u64; BUCKETS],
}

impl Spread {
    /// Counts a duration of `micros` so many times.
    #[inline]
    pub fn add(&mut self, micros: u64, times: u64) {
        self.add_to(bucket(micros), times);
    }

    /// Counts in a bucket. A number that is no bucket counts in the last one.
    #[inline]
    pub fn add_to(&mut self, bucket: usize, times: u64) {
        let count = &mut self.counts[bucket.min(BUCKETS - 1)];
        *count = count.saturating_add(times);
    }

    /// Adds all that another counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, its) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*its);
        }
    }

    /// How many durations were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// See [`quantile`]: microseconds; `None` where nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        quantile(self.iter(), q)
    }

    /// The buckets that are not empty, ascending, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + Clone + '_ {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }
}

impl Default for Spread {
    fn default() -> Self {
        Self { counts: [0; BUCKETS] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_lie_side_by_side() {
        assert_eq!(BUCKETS, 90);
        assert_eq!((bounds(0), bounds(1), bounds(5)), ((0, 32), (32, 40), (64, 80)));
        assert_eq!((bounds(88), bounds(89)), ((7 << 24, 1 << 27), (1 << 27, u64::MAX)));
        for number in 0..BUCKETS {
            let (from, to) = bounds(number);
            assert_eq!((bucket(from), bucket(to - 1)), (number, number));
            if number + 1 < BUCKETS {
                assert_eq!(bounds(number + 1).0, to);
            }
            if (1..BUCKETS - 1).contains(&number) {
                assert!((to - from) * 4 <= from, "bucket {number} is wider than a quarter of {from}");
            }
        }
    }

    #[test]
    fn quantiles_at_the_borders() {
        assert_eq!(Spread::default().quantile(0.5), None);
        let mut one = Spread::default();
        one.add(100, 1);
        assert_eq!((one.quantile(0.0), one.quantile(1.0)), (Some(96.0), Some(112.0)));
        let mut slow = Spread::default();
        slow.add(u64::MAX, u64::MAX);
        slow.add(u64::MAX, 1);
        assert_eq!((slow.quantile(0.99), slow.total()), (Some((1u64 << 27) as f64), u64::MAX));
    }

    proptest! {
        #[test]
        fn a_longer_duration_is_in_no_lower_bucket(a: u64, b: u64, bits in 0u32..64) {
            let (a, b) = (a >> bits, b >> bits);
            prop_assert!(bucket(a.min(b)) <= bucket(a.max(b)));
            let (from, to) = bounds(bucket(a));
            prop_assert!(from <= a && (a < to || to == u64::MAX));
        }

        #[test]
        fn quantiles_are_as_near_as_a_bucket(mut all in prop::collection::vec(32u64..(1 << 27), 1..200), q in 0.0f64..=1.0) {
            let mut seen = Spread::default();
            all.iter().for_each(|micros| seen.add(*micros, 1));
            all.sort_unstable();
            let rank = ((q * all.len() as f64).ceil() as usize).clamp(1, all.len());
            let (exact, told) = (all[rank - 1] as f64, seen.quantile(q).unwrap());
            let (from, to) = bounds(bucket(all[rank - 1]));
            prop_assert!(told >= from as f64 && told <= to as f64, "{told} is not in {from}..{to}");
            prop_assert!((told - exact).abs() <= exact * 0.25 + 1.0, "{told} for {exact}");
        }

        #[test]
        fn merged_is_as_counted_together(a in prop::collection::vec(any::<u32>(), 0..50), b in prop::collection::vec(any::<u32>(), 0..50)) {
            let of = |all: &[u32]| {
                let mut spread = Spread::default();
                all.iter().for_each(|micros| spread.add(u64::from(*micros), 1));
                spread
            };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            prop_assert_eq!(merged, of(&[a, b].concat()));
        }
    }
}
