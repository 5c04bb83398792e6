//! Circuit breakers: how much of a cluster is in use, counted by all workers together.
//!
//! As in Envoy, a count is looked at first and raised then, without a lock: workers that do so at the same moment may
//! together go over a limit, each by one.

use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use model::CircuitBreakers;

use crate::ewma;
use crate::stats::ClusterStats;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Connections, those being made among them.
    Connections,
    /// Those who wait for a connection.
    Pending,
    /// Requests under way.
    Requests,
    /// Further tries under way.
    Retries,
}

/// The limits of one cluster, and what is in use.
#[derive(Debug)]
pub(crate) struct Breakers {
    limits: CircuitBreakers,
    used: [AtomicU32; 4],
    /// The requests that began lately, where they are the measure of further tries.
    recent: Option<Box<Recent>>,
}

impl Breakers {
    pub(crate) fn new(limits: CircuitBreakers) -> Self {
        let interval = limits.retry_budget.map(|budget| budget.interval).filter(|interval| !interval.is_zero());
        Self { limits, used: Default::default(), recent: interval.map(|interval| Box::new(Recent::new(interval))) }
    }

    /// May one more be taken?
    pub(crate) fn has_room(&self, of: Resource) -> bool {
        self.used(of) < self.allowed(of)
    }

    /// Takes one. Says whether the limit was reached by it.
    pub(crate) fn take(&self, of: Resource) -> bool {
        if let (Resource::Requests, Some(recent)) = (of, &self.recent) {
            recent.add(ewma::now());
        }
        self.used[of as usize].fetch_add(1, Relaxed).wrapping_add(1) == self.limit(of)
    }

    /// Gives one back. Says whether that made room again.
    pub(crate) fn give_back(&self, of: Resource) -> bool {
        self.used[of as usize].fetch_sub(1, Relaxed) == self.limit(of)
    }

    fn used(&self, of: Resource) -> u32 {
        self.used[of as usize].load(Relaxed)
    }

    fn limit(&self, of: Resource) -> u32 {
        match of {
            Resource::Connections => self.limits.max_connections,
            Resource::Pending => self.limits.max_pending_requests,
            Resource::Requests => self.limits.max_requests,
            Resource::Retries => self.limits.max_retries,
        }
    }

    /// The limit now: with a budget that of retries follows what is under way, or what began lately.
    fn allowed(&self, of: Resource) -> u32 {
        match (of, &self.limits.retry_budget) {
            (Resource::Retries, Some(budget)) => {
                let counting = match &self.recent {
                    Some(recent) => recent.count(ewma::now()),
                    None => u64::from(self.used(Resource::Requests)) + u64::from(self.used(Resource::Pending)),
                };
                let share = budget.percent / 100.0 * counting as f64;
                budget.min_concurrency.max(share as u32)
            }
            _ => self.limit(of),
        }
    }
}

/// How many requests began in a span of time that ends now. As in Envoy a tenth of it is the measure: one is forgotten
/// when between one and 1.1 spans have passed.
#[derive(Debug)]
struct Recent {
    /// A tenth of the span, in microseconds.
    step: u64,
    /// The requests of a tenth: its number above, how many below. A new tenth takes the place of the oldest.
    tenths: [AtomicU64; TENTHS],
}

/// The one that has begun, and all that are over.
const TENTHS: usize = 11;

impl Recent {
    fn new(span: Duration) -> Self {
        Self { step: (span.as_micros() as u64 / 10).max(1), tenths: Default::default() }
    }

    /// One began; `now` counts microseconds.
    fn add(&self, now: u64) {
        let number = self.number(now);
        let slot = &self.tenths[number as usize % TENTHS];
        let more = |known: u64| {
            let same = (known >> 32) as u32 == number;
            let count = if same { (known as u32).saturating_add(1) } else { 1 };
            Some(u64::from(number) << 32 | u64::from(count))
        };
        let _ = slot.fetch_update(Relaxed, Relaxed, more);
    }

    /// Those that count at this time.
    fn count(&self, now: u64) -> u64 {
        let number = self.number(now);
        let counts = |known: &u64| number.wrapping_sub((known >> 32) as u32) < TENTHS as u32;
        let known = self.tenths.iter().map(|slot| slot.load(Relaxed));
        known.filter(counts).map(|known| u64::from(known as u32)).sum()
    }

    /// Of the tenth that has begun. It wraps around after so long that nothing of before is there any more.
    fn number(&self, now: u64) -> u32 {
        (now / self.step) as u32
    }
}

/// One taken, until it is dropped. Costs nothing where nothing is limited.
#[derive(Debug)]
pub(crate) struct Held(Option<(Rc<ClusterStats>, Resource)>);

impl Held {
    /// One taken from `of`, if that is limited.
    pub(crate) fn new(stats: &Rc<ClusterStats>, of: Resource) -> Self {
        Self(stats.take(of).then(|| (stats.clone(), of)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((stats, of)) = &self.0 {
            stats.give_back(*of);
        }
    }
}

/// A further try that is under way, for as long as it is held.
#[derive(Debug)]
pub struct Retry(#[expect(dead_code, reason = "held for its end")] pub(crate) Held);

#[cfg(test)]
mod tests {
    use model::limits::RetryBudget;

    use super::*;

    #[test]
    fn limits_are_reached_and_left_once() {
        let breakers = Breakers::new(CircuitBreakers { max_requests: 2, ..CircuitBreakers::unlimited() });
        let of = Resource::Requests;
        assert_eq!([breakers.take(of), breakers.take(of)], [false, true]);
        assert!(!breakers.has_room(of) && breakers.has_room(Resource::Connections));
        // One too many, by a worker that looked at the same moment.
        assert!(!breakers.take(of));
        assert_eq!([breakers.give_back(of), breakers.give_back(of), breakers.give_back(of)], [false, true, false]);
        assert!(breakers.has_room(of));
    }

    #[test]
    fn what_began_lately_counts() {
        let recent = Recent::new(Duration::from_millis(10));
        for (now, adds, expected) in [
            (0, 3, 3),
            (900, 1, 4),
            (1000, 2, 6),
            (9_999, 0, 6),
            // All of a tenth are forgotten together.
            (10_999, 0, 6),
            (11_000, 1, 3),
            (12_000, 0, 1),
            (500_000, 0, 0),
            (500_000, 5, 5),
        ] {
            (0..adds).for_each(|_| recent.add(now));
            assert_eq!(recent.count(now), expected, "{now}");
        }
    }

    #[test]
    fn budgets_follow_what_is_under_way() {
        for (percent, least, requests, pending, allowed) in
            [(20.0, 3, 0, 0, 3), (20.0, 3, 10, 4, 3), (20.0, 3, 15, 5, 4), (50.0, 0, 1, 0, 0), (100.0, 0, 1, 1, 2)]
        {
            let retry_budget = Some(RetryBudget { percent, min_concurrency: least, ..RetryBudget::default() });
            // The plain limit does not count beside a budget.
            let breakers =
                Breakers::new(CircuitBreakers { retry_budget, max_retries: 1, ..CircuitBreakers::unlimited() });
            for (resource, used) in [(Resource::Requests, requests), (Resource::Pending, pending)] {
                for _ in 0..used {
                    breakers.take(resource);
                }
            }
            let mut taken = 0;
            while breakers.has_room(Resource::Retries) {
                breakers.take(Resource::Retries);
                taken += 1;
            }
            assert_eq!(taken, allowed, "{percent} {least} {requests} {pending}");
        }
    }
}
