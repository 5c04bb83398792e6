//! The clock seam: wall time is asked of a [`Clock`], so that tests can set it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells wall time. `Clock::system()` is the machine's; `Clock::fixed` stands still until it is moved.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    System,
    Set(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that shows `at` until [`Clock::advance`] moves it. Millisecond steps.
    pub fn fixed(at: SystemTime) -> Self {
        Self(Kind::Set(Arc::new(AtomicU64::new(millis(at)))))
    }

    /// The time now.
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            Kind::System => SystemTime::now(),
            Kind::Set(at) => UNIX_EPOCH + Duration::from_millis(at.load(Ordering::Relaxed)),
        }
    }

    /// Moves a fixed clock, and every clone of it, forward. The machine's clock cannot be moved.
    pub fn advance(&self, by: Duration) {
        if let Kind::Set(at) = &self.0 {
            at.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
        }
    }
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_move_together() {
        let clock = Clock::fixed(UNIX_EPOCH + Duration::from_secs(100));
        let other = clock.clone();
        clock.advance(Duration::from_secs(5));
        assert_eq!(other.now(), UNIX_EPOCH + Duration::from_secs(105));
    }
}
