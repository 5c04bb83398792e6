//! Who is left out, and until when: a state machine without clock and chance of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::OutlierDetection;
use tokio::time::Instant;

use super::Kind;
use super::monitor::{Monitor, Reached};
use crate::endpoint::EndpointId;

/// Something that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// An endpoint fails in this way.
    Detected(Kind),
    /// It is left out for that.
    Ejected(EndpointId, Kind),
    /// It would be, but too many are out already.
    Overflow,
    /// It is back.
    Returned(EndpointId),
}

/// Detects outliers among the endpoints of one cluster.
#[derive(Debug)]
pub(crate) struct Detector {
    settings: OutlierDetection,
    hosts: HashMap<EndpointId, Host>,
    /// The endpoints in the order of their table, so that who comes first does not depend on chance.
    order: Vec<EndpointId>,
    ejected: usize,
    findings: Vec<Finding>,
}

#[derive(Debug)]
struct Host {
    monitor: Arc<Monitor>,
    /// Since when it is out, and what chance adds to its time.
    out: Option<(Instant, Duration)>,
    returned: Option<Instant>,
    /// How often it was left out, less the intervals in which it did well since.
    backoff: u32,
}

impl Detector {
    pub(crate) fn new(settings: OutlierDetection) -> Self {
        Self { settings, hosts: HashMap::new(), order: Vec::new(), ejected: 0, findings: Vec::new() }
    }

    /// How many are out.
    pub(crate) fn ejected(&self) -> usize {
        self.ejected
    }

    /// What was found since this was last asked.
    pub(crate) fn findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// These are the endpoints now.
    pub(crate) fn follow(&mut self, members: impl Iterator<Item = (EndpointId, Arc<Monitor>)>) {
        let mut before = std::mem::take(&mut self.hosts);
        self.order.clear();
        for (id, monitor) in members {
            let new = || Host { monitor, out: None, returned: None, backoff: 0 };
            let host = before.remove(&id).unwrap_or_else(new);
            self.hosts.insert(id, host);
            self.order.push(id);
        }
        self.ejected -= before.values().filter(|host| host.out.is_some()).count();
    }

    /// An endpoint has failed as often in a row as it may.
    pub(crate) fn reached(&mut self, id: EndpointId, reached: Reached, now: Instant, draw: &mut dyn FnMut() -> u64) {
        let none = Reached::default();
        for (is_so, kind, counts) in [
            (reached.gateway, Kind::ConsecutiveGateway, Reached { gateway: true, ..none }),
            (reached.any_5xx, Kind::Consecutive5xx, Reached { any_5xx: true, ..none }),
            (reached.local, Kind::ConsecutiveLocal, Reached { local: true, ..none }),
        ] {
            let stays = self.hosts.get(&id).is_some_and(|host| host.out.is_none());
            if is_so && stays {
                self.findings.push(Finding::Detected(kind));
                self.eject(id, kind, now, draw);
                // Counted anew, so that it is found again though nothing good comes between.
                self.hosts.get(&id).iter().for_each(|host| host.monitor.reset(counts));
            }
        }
    }

    /// A good active health check brings an endpoint back.
    pub(crate) fn health_check_passed(&mut self, id: EndpointId, now: Instant) {
        if self.settings.health_check_unejects && self.hosts.get(&id).is_some_and(|host| host.out.is_some()) {
            self.bring_back(id, now);
        }
    }

    /// Looks at all endpoints; due at every interval.
    pub(crate) fn sweep(&mut self, now: Instant, draw: &mut dyn FnMut() -> u64) {
        for id in self.order.clone() {
            if self.hosts.get(&id).is_some_and(|host| self.is_over(host, now)) {
                self.bring_back(id, now);
            }
        }
        let order = self.order.clone();
        let rates = |of: fn(&Monitor) -> Option<(f64, u64)>| -> Vec<(EndpointId, f64, u64)> {
            let turned = order.iter().filter_map(|id| Some((*id, of(&self.hosts.get(id)?.monitor)?)));
            let turned: Vec<_> = turned.collect();
            let counts = |id: &EndpointId| self.hosts.get(id).is_some_and(|host| host.out.is_none());
            turned.into_iter().filter(|(id, _)| counts(id)).map(|(id, (rate, volume))| (id, rate, volume)).collect()
        };
        let external = rates(|monitor| monitor.external.turn());
        let local = rates(|monitor| monitor.local.turn());
        self.show(&external);
        self.judge(&external, [Kind::SuccessRate, Kind::FailurePercentage], now, draw);
        self.judge(&local, [Kind::LocalSuccessRate, Kind::LocalFailurePercentage], now, draw);
        for host in self.hosts.values_mut().filter(|host| host.out.is_none()) {
            if host.returned.is_some_and(|at| now.saturating_duration_since(at) >= self.settings.interval) {
                host.backoff = host.backoff.saturating_sub(1);
            }
        }
    }

    fn show(&self, rates: &[(EndpointId, f64, u64)]) {
        let enough = self.settings.success_rate.request_volume.min(self.settings.failure_percentage.request_volume);
        self.hosts.values().for_each(|host| host.monitor.show(None));
        for (id, rate, volume) in rates {
            if *volume >= u64::from(enough) {
                self.hosts.get(id).iter().for_each(|host| host.monitor.show(Some(*rate)));
            }
        }
    }

    fn judge(
        &mut self,
        rates: &[(EndpointId, f64, u64)],
        [by_rate, by_share]: [Kind; 2],
        now: Instant,
        draw: &mut dyn FnMut() -> u64,
    ) {
        let (rule, share) = (self.settings.success_rate, self.settings.failure_percentage);
        let with = |volume: u32| rates.iter().filter(move |(.., n)| *n >= u64::from(volume));
        let enough: Vec<_> = with(rule.request_volume).map(|(id, rate, _)| (*id, *rate)).collect();
        if !enough.is_empty() && enough.len() >= rule.minimum_hosts as usize {
            let threshold = threshold(&enough, f64::from(rule.stdev_factor) / 1000.0);
            for (id, _) in enough.iter().filter(|(_, rate)| *rate < threshold) {
                self.findings.push(Finding::Detected(by_rate));
                self.eject(*id, by_rate, now, draw);
            }
        }
        let enough: Vec<_> = with(share.request_volume).map(|(id, rate, _)| (*id, *rate)).collect();
        if !enough.is_empty() && enough.len() >= share.minimum_hosts as usize {
            for (id, _) in enough.iter().filter(|(_, rate)| 100.0 - rate >= f64::from(share.threshold)) {
                self.findings.push(Finding::Detected(by_share));
                self.eject(*id, by_share, now, draw);
            }
        }
    }

    fn eject(&mut self, id: EndpointId, kind: Kind, now: Instant, draw: &mut dyn FnMut() -> u64) {
        let settings = &self.settings;
        let share = 100.0 * (self.ejected + 1) as f64 / self.hosts.len().max(1) as f64;
        let fits = share <= f64::from(settings.max_ejection_percent.min(100));
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.out.is_none()) else { return };
        let first = settings.always_eject_one && self.ejected == 0;
        if !(fits || first) {
            return self.findings.push(Finding::Overflow);
        }
        if draw() % 100 >= u64::from(enforcing(settings, kind)) {
            return;
        }
        let jitter = draw() % (settings.max_ejection_time_jitter.as_millis() as u64).saturating_add(1);
        host.out = Some((now, Duration::from_millis(jitter)));
        let most = settings.max_ejection_time.saturating_add(settings.base_ejection_time);
        if settings.base_ejection_time.saturating_mul(host.backoff) < most {
            host.backoff += 1;
        }
        self.ejected += 1;
        self.findings.push(Finding::Ejected(id, kind));
    }

    /// Is its time out over?
    fn is_over(&self, host: &Host, now: Instant) -> bool {
        let Some((since, jitter)) = host.out else { return false };
        let time = self.settings.base_ejection_time.saturating_mul(host.backoff).min(self.settings.max_ejection_time);
        now.saturating_duration_since(since) >= time.saturating_add(jitter)
    }

    fn bring_back(&mut self, id: EndpointId, now: Instant) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        host.out = None;
        host.returned = Some(now);
        // Else few new failures would do.
        host.monitor.reset(Reached { gateway: true, any_5xx: true, local: true });
        self.ejected -= 1;
        self.findings.push(Finding::Returned(id));
    }
}

/// Below this success rate one is an outlier: the mean, less so many standard deviations.
fn threshold(rates: &[(EndpointId, f64)], factor: f64) -> f64 {
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    mean - factor * variance.sqrt()
}

fn enforcing(settings: &OutlierDetection, kind: Kind) -> u32 {
    let enforcing = &settings.enforcing;
    match kind {
        Kind::Consecutive5xx => enforcing.consecutive_5xx,
        Kind::ConsecutiveGateway => enforcing.consecutive_gateway_failure,
        Kind::ConsecutiveLocal => enforcing.consecutive_local_origin_failure,
        Kind::SuccessRate => enforcing.success_rate,
        Kind::LocalSuccessRate => enforcing.local_origin_success_rate,
        Kind::FailurePercentage => enforcing.failure_percentage,
        Kind::LocalFailurePercentage => enforcing.failure_percentage_local_origin,
    }
}

#[cfg(test)]
mod tests;
