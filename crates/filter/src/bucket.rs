//! A bucket of tokens, shared by all workers without a lock: it fills up evenly, and each request takes out of it.
//!
//! Its whole state is one number, the moment at which it would have been empty had it filled up ever since: what is in it
//! follows from that and the time. Taking moves the moment on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use model::rate_limit::Fill;
use tokio::time::Instant;

/// What is lost to rounding; less than that is missing of no token.
const ROUNDING: f64 = 1e-6;

/// A bucket of tokens.
#[derive(Debug)]
pub struct TokenBucket {
    max: f64,
    /// Tokens that come back each second.
    rate: f64,
    /// Seconds count from here on.
    born: Instant,
    /// When it would have been empty, in seconds, as the bits of an `f64`. Before its birth, at first.
    empty: AtomicU64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(fill: &Fill, now: Instant) -> Self {
        let (max, rate) = (f64::from(fill.max), fill.rate());
        Self { max, rate, born: now, empty: AtomicU64::new((-max / rate).to_bits()) }
    }

    /// Takes so many tokens, if there are as many. Of a bucket that can hold none nothing can be taken.
    pub fn take(&self, count: u64, now: Instant) -> bool {
        let (now, count) = (self.seconds(now), count as f64);
        let mut seen = self.empty.load(Relaxed);
        loop {
            let left = self.at(seen, now) - count;
            if left < -ROUNDING || self.max < 1.0 {
                return false;
            }
            let next = now - left.max(0.0) / self.rate;
            match self.empty.compare_exchange_weak(seen, next.to_bits(), Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(newer) => seen = newer,
            }
        }
    }

    /// How many whole tokens there are.
    pub fn left(&self, now: Instant) -> u64 {
        (self.at(self.empty.load(Relaxed), self.seconds(now)) + ROUNDING) as u64
    }

    /// How many it holds when it is full.
    pub fn max(&self) -> u64 {
        self.max as u64
    }

    /// Tokens that come back each second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Seconds until there is a token, rounded up; none as long as there is one.
    pub fn next_token(&self, now: Instant) -> u64 {
        let missing = 1.0 - self.at(self.empty.load(Relaxed), self.seconds(now));
        if missing <= ROUNDING { 0 } else { ((missing - ROUNDING) / self.rate).ceil() as u64 }
    }

    fn at(&self, empty: u64, now: f64) -> f64 {
        ((now - f64::from_bits(empty)) * self.rate).min(self.max)
    }

    fn seconds(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.born).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fill(max: u32, per_interval: u32, milliseconds: u64) -> Fill {
        Fill { max, per_interval, interval: Duration::from_millis(milliseconds) }
    }

    #[test]
    fn what_is_in_it() {
        let born = Instant::now();
        let at = |milliseconds: u64| born + Duration::from_millis(milliseconds);
        let bucket = TokenBucket::new(&fill(3, 2, 1000), born);
        // When, how many are taken, whether they are there, what is left, seconds to the next.
        for (when, count, taken, left, next) in [
            (0, 1, true, 2, 0),
            (0, 2, true, 0, 1),
            (0, 1, false, 0, 1),
            (499, 1, false, 0, 1),
            (500, 1, true, 0, 1),
            (1500, 3, false, 2, 0),
            (9000, 4, false, 3, 0),
            (9000, 3, true, 0, 1),
            (9000, 0, true, 0, 1),
        ] {
            assert_eq!(bucket.take(count, at(when)), taken, "{count} at {when}");
            assert_eq!((bucket.left(at(when)), bucket.next_token(at(when))), (left, next), "at {when}");
        }
        let slow = TokenBucket::new(&fill(1, 1, 60_000), born);
        assert!(slow.take(1, born));
        assert_eq!([0, 30_500, 60_000].map(|when| slow.next_token(at(when))), [60, 30, 0]);
        assert_eq!((slow.max(), TokenBucket::new(&fill(0, 1, 50), born).take(1, at(9000))), (1, false));
    }

    #[test]
    fn as_many_as_there_are_whatever_the_numbers() {
        let born = Instant::now();
        for (max, per_interval, milliseconds) in [(7, 3, 50), (300, 1, 86_400_000), (65_535, 999, 333), (1, 1, 70)] {
            let bucket = TokenBucket::new(&fill(max, per_interval, milliseconds), born);
            let later = born + Duration::from_secs(86_400 * 365);
            for now in [born, later] {
                let taken = (0..=max).filter(|_| bucket.take(1, now)).count();
                assert_eq!(taken, max as usize, "{max} {per_interval} {milliseconds}");
            }
        }
    }

    #[test]
    fn threads_take_each_token_once() {
        let now = Instant::now();
        let bucket = TokenBucket::new(&fill(10_000, 1, 1000), now);
        let take = || (0..5_000).filter(|_| bucket.take(1, now)).count();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 10_000);
    }
}
