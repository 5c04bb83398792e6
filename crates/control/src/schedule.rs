//! When what is fetched from elsewhere is fetched again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// When something is fetched next; at once, if it never was.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    next: Option<Instant>,
    failures: u32,
}

impl Schedule {
    /// Not before so long.
    pub fn after(wait: Duration) -> Self {
        Self { next: Some(Instant::now() + wait), failures: 0 }
    }

    /// Is it time?
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next <= now)
    }

    /// It was fetched, and is good for so long.
    pub fn fetched(&mut self, life: Duration) {
        *self = Self::after(life);
    }

    /// It could not be fetched: again after `retry`, twice as long after the next failure, up to `most`.
    pub fn failed(&mut self, retry: Duration, most: Duration) {
        let wait = retry.saturating_mul(1 << self.failures.min(16)).min(most);
        *self = Self { next: Some(Instant::now() + wait), failures: self.failures + 1 };
    }
}

/// Waits until something is due, or something else is wanted. False: nothing will be wanted any more.
pub(crate) async fn until_due<T>(schedules: impl Iterator<Item = &Schedule>, wanted: &mut watch::Receiver<T>) -> bool {
    let next = schedules.filter_map(|schedule| schedule.next).min();
    let due = async {
        match next {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        changed = wanted.changed() => changed.is_ok(),
        () = due => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_are_tried_again_less_and_less_often() {
        let (retry, most) = (Duration::from_secs(1), Duration::from_secs(5));
        let mut schedule = Schedule::default();
        assert!(schedule.is_due(Instant::now()));
        let (_keep, mut wanted) = watch::channel(());
        for expected in [1, 2, 4, 5, 5] {
            schedule.failed(retry, most);
            let begun = Instant::now();
            assert!(!schedule.is_due(begun));
            assert!(until_due([&schedule].into_iter(), &mut wanted).await);
            assert_eq!(begun.elapsed().as_secs(), expected);
        }
        schedule.fetched(Duration::from_secs(60));
        schedule.failed(retry, most);
        assert!(schedule.is_due(Instant::now() + retry));
    }
}
