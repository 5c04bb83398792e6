//! Active health checks: endpoints are asked, whether or not there are requests for them. Envoy's rules.
//!
//! What an answer means for the endpoint, and when it is asked again, is decided by a [`Course`]: a state machine
//! without clock and chance of its own. `probe` asks.

mod probe;

use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use model::HealthCheck;
use tokio::time::{sleep, timeout};

use crate::cluster::Core;
use crate::dial::Dialer;
use crate::endpoint::Endpoint;
use crate::health::Report;
use probe::Prober;

/// How one check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Well.
    Good,
    /// Badly: no connection, no answer in time, or a status that counts as one failure.
    Bad,
    /// So badly that no further check is needed.
    BadAtOnce,
}

/// The health of one endpoint as its checks tell it.
#[derive(Debug)]
pub(crate) struct Course {
    healthy: bool,
    first: bool,
    /// Checks in a row that speak against its present state.
    against: u32,
}

/// What follows from a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// What it is now, if that is new.
    pub(crate) change: Option<bool>,
    /// When it is checked again.
    pub(crate) wait: Duration,
}

impl Course {
    pub(crate) fn new(healthy: bool) -> Self {
        Self { healthy, first: true, against: 0 }
    }

    /// Takes in how a check went. `used`: the cluster has had requests.
    pub(crate) fn take(
        &mut self,
        rules: &HealthCheck,
        found: Found,
        used: bool,
        draw: &mut dyn FnMut() -> u64,
    ) -> Step {
        let good = found == Found::Good;
        let first = std::mem::take(&mut self.first);
        let mut pending = false;
        let mut change = None;
        if good == self.healthy {
            self.against = 0;
        } else {
            self.against += 1;
            let enough = match found {
                // The first of all suffices alone: so programs start fast.
                Found::Good => first || self.against >= rules.healthy_threshold,
                Found::Bad => self.against >= rules.unhealthy_threshold,
                Found::BadAtOnce => true,
            };
            if enough {
                (self.healthy, self.against) = (good, 0);
                change = Some(good);
            }
            pending = !enough;
        }
        Step { change, wait: with_jitter(rules, interval(rules, good, pending, used), draw) }
    }
}

/// `pending`: the check spoke against the state, which did not change yet.
fn interval(rules: &HealthCheck, good: bool, pending: bool, used: bool) -> Duration {
    let unhealthy = rules.unhealthy_interval.unwrap_or(rules.interval);
    match (used, good, pending) {
        (false, true, false) => rules.no_traffic_healthy_interval.unwrap_or(rules.no_traffic_interval),
        (false, ..) => rules.no_traffic_interval,
        (true, true, true) => rules.healthy_edge_interval.unwrap_or(rules.interval),
        (true, true, false) => rules.interval,
        (true, false, true) => rules.unhealthy_edge_interval.unwrap_or(unhealthy),
        (true, false, false) => unhealthy,
    }
}

fn with_jitter(rules: &HealthCheck, base: Duration, draw: &mut dyn FnMut() -> u64) -> Duration {
    let by_share = base.saturating_mul(rules.interval_jitter_percent) / 100;
    base.saturating_add(below(by_share, draw)).saturating_add(below(rules.interval_jitter, draw))
}

/// A time below `limit` by chance, in whole milliseconds.
fn below(limit: Duration, draw: &mut dyn FnMut() -> u64) -> Duration {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(if limit == 0 { 0 } else { draw() % limit })
}

/// Checks one endpoint for as long as its cluster lives.
pub(crate) async fn keep_checking(core: Weak<Core>, endpoint: Arc<Endpoint>, dialer: Rc<Dialer>) {
    let Some(rules) = core.upgrade().and_then(|core| core.config.health_check.clone()) else { return };
    let mut course = Course::new(!endpoint.fails_health_check());
    let mut prober = Prober::new(dialer);
    sleep(below(rules.initial_jitter, &mut rand::random)).await;
    loop {
        let Some(core) = core.upgrade().filter(|core| !core.is_retired()) else { return };
        let asked = timeout(rules.timeout, prober.ask(&core, &endpoint, &rules.probe)).await;
        let found = asked.unwrap_or(Found::Bad);
        if found != Found::Good || !rules.reuse_connection {
            prober.forget();
        }
        let step = course.take(&rules, found, core.has_been_used(), &mut rand::random);
        core.report(|| Report::Checked(endpoint.id(), found == Found::Good, step.change));
        drop(core);
        sleep(step.wait).await;
    }
}

#[cfg(test)]
mod tests {
    use model::health_check::{HttpProbe, Probe};

    use super::*;

    fn rules() -> HealthCheck {
        let secs = Duration::from_secs;
        HealthCheck {
            unhealthy_interval: Some(secs(3)),
            unhealthy_edge_interval: Some(secs(4)),
            healthy_edge_interval: Some(secs(5)),
            no_traffic_healthy_interval: Some(secs(90)),
            ..HealthCheck::new(secs(1), secs(2), (2, 3), Probe::Http(Box::new(HttpProbe::get("/"))))
        }
    }

    /// Each check, and what follows: `+` and `-` for a change, and the seconds to wait.
    fn check(healthy: bool, used: bool, found: &[Found], expected: &[&str]) {
        let mut course = Course::new(healthy);
        let told = |found: &Found| {
            let step = course.take(&rules(), *found, used, &mut || 0);
            let sign = step.change.map_or("", |good| if good { "+" } else { "-" });
            format!("{sign}{}", step.wait.as_secs())
        };
        assert_eq!(found.iter().map(told).collect::<Vec<_>>(), expected, "{found:?}");
    }

    #[test]
    fn thresholds() {
        use Found::{Bad, BadAtOnce, Good};
        check(false, true, &[Good, Good], &["+2", "2"]);
        check(false, true, &[Bad, Good, Good, Good], &["3", "5", "5", "+2"]);
        check(false, true, &[Bad, Good, Bad, Good, Good, Good], &["3", "5", "3", "5", "5", "+2"]);
        check(true, true, &[Good, Bad, Good, Bad, Bad, Bad], &["2", "4", "2", "4", "-3", "3"]);
        check(true, true, &[Good, BadAtOnce, Good], &["2", "-3", "5"]);
        check(true, false, &[Good, Bad, Bad], &["90", "60", "-60"]);
        check(false, false, &[Bad, Good, Good, Good], &["60", "60", "60", "+90"]);
    }

    #[test]
    fn chance_adds_to_the_wait() {
        let rules = HealthCheck { interval_jitter_percent: 50, interval_jitter: Duration::from_millis(300), ..rules() };
        let mut draws = [1400, 450].into_iter();
        let step = Course::new(true).take(&rules, Found::Good, true, &mut || draws.next().unwrap());
        assert_eq!(step.wait, Duration::from_millis(2000 + 400 + 150));
    }
}
