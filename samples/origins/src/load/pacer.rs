//! When the requests are due, and a timer fine enough to tell: the runtime's own counts in whole milliseconds.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Duration, Instant};

/// How long after the start request `n` (from zero) is due, at `rate` per second. Computed from the start each time, so
/// that rounding does not add up.
pub fn offset(n: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(n as f64 / rate)
}

/// A timer of the kernel (`timerfd`), exact to some microseconds.
pub struct FineTimer(AsyncFd<OwnedFd>);

impl FineTimer {
    /// Asks the kernel for one.
    pub fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that can change their descriptor; this one cannot"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self(fd))
    }

    /// Completes at `at`, or at once when that is past.
    pub async fn sleep_until(&self, at: Instant) -> io::Result<()> {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() },
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let fired = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut [0; 8])?));
            if let Ok(fired) = fired {
                return fired.map(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_do_not_drift() {
        let check = |n, rate, expected: u128| assert_eq!(offset(n, rate).as_nanos(), expected, "{n} at {rate}");
        check(0, 1000.0, 0);
        check(1, 1000.0, 1_000_000);
        check(3, 3.0, 1_000_000_000);
        check(3_000_000, 3.0, 1_000_000_000_000_000);
        check(1, 0.5, 2_000_000_000);
    }
}
