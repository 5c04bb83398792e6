//! Circuit breakers: how much of a cluster is in use, counted by all workers together.
//!
//! As in Envoy, a count is looked at first and raised then, without a lock: workers that do so at the same moment may
//! together go over a limit, each by one.

use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use model::CircuitBreakers;

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
}

impl Breakers {
    pub(crate) fn new(limits: CircuitBreakers) -> Self {
        Self { limits, used: Default::default() }
    }

    /// May one more be taken?
    pub(crate) fn has_room(&self, of: Resource) -> bool {
        self.used(of) < self.allowed(of)
    }

    /// Takes one. Says whether the limit was reached by it.
    pub(crate) fn take(&self, of: Resource) -> bool {
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

    /// The limit now: with a budget that of retries follows what is under way.
    fn allowed(&self, of: Resource) -> u32 {
        match (of, &self.limits.retry_budget) {
            (Resource::Retries, Some(budget)) => {
                let active = u64::from(self.used(Resource::Requests)) + u64::from(self.used(Resource::Pending));
                let share = budget.percent / 100.0 * active as f64;
                budget.min_concurrency.max(share as u32)
            }
            _ => self.limit(of),
        }
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
    fn budgets_follow_what_is_under_way() {
        for (percent, least, requests, pending, allowed) in
            [(20.0, 3, 0, 0, 3), (20.0, 3, 10, 4, 3), (20.0, 3, 15, 5, 4), (50.0, 0, 1, 0, 0), (100.0, 0, 1, 1, 2)]
        {
            let retry_budget = Some(RetryBudget { percent, min_concurrency: least });
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
