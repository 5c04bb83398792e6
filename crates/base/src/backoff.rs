//! Exponential back-off with full jitter.

use std::time::Duration;

/// Delays that grow by two from `base` to `max`, each drawn evenly from zero to its bound
/// (full jitter, as Envoy does for retries and xDS reconnects).
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    tries: u32,
}

impl Backoff {
    /// Starts at `base`, never above `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max, tries: 0 }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let bound = self.bound();
        self.tries = self.tries.saturating_add(1);
        bound.mul_f64(rand::random::<f64>())
    }

    /// Begins again at `base`, after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// The largest value the next delay can have.
    pub fn bound(&self) -> Duration {
        self.base.saturating_mul(1u32 << self.tries.min(20)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_resets() {
        let mut backoff = Backoff::new(Duration::from_millis(25), Duration::from_millis(250));
        let bounds: Vec<_> = (0..6)
            .map(|_| {
                let bound = backoff.bound();
                assert!(backoff.next_delay() <= bound);
                bound.as_millis()
            })
            .collect();
        assert_eq!(bounds, [25, 50, 100, 200, 250, 250]);
        backoff.reset();
        assert_eq!(backoff.bound(), Duration::from_millis(25));
    }
}
