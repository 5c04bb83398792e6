//! How much of a cluster's load goes to which locality, when that of the proxy comes first: Envoy's zone aware routing.
//!
//! A proxy sends all to its own locality, if that is as large a part of the cluster as it is of the proxy's own cluster: then
//! every endpoint gets as much as any other while every proxy does the same. If it is smaller, a proxy keeps back what its
//! locality can carry, and the rest goes to those localities that are larger than what their own proxies need.

use std::collections::BTreeMap;

use model::Locality;
use model::cluster::ZoneRouting;
use model::endpoint::Health;

use crate::endpoint::Endpoint;

/// The endpoints of one locality, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All of them.
    pub total: u64,
    /// Those that are healthy.
    pub healthy: u64,
    /// The weights of those that are healthy, summed up.
    pub weight: u64,
    /// Those that are degraded.
    pub degraded: u64,
}

impl Tally {
    fn add(&mut self, endpoint: &Endpoint) {
        self.total += 1;
        match endpoint.health() {
            Health::Healthy => {
                self.healthy += 1;
                self.weight += u64::from(endpoint.weight());
            }
            Health::Degraded => self.degraded += 1,
            Health::Unhealthy | Health::Draining => {}
        }
    }

    /// What counts of it.
    fn size(&self, by_weight: bool) -> u64 {
        if by_weight { self.weight } else { self.healthy }
    }
}

/// Where a proxy stands, and the endpoints of its own cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Local {
    /// Where the proxy runs.
    pub here: Locality,
    /// The endpoints of its cluster, by locality.
    pub localities: BTreeMap<Locality, Tally>,
}

impl Local {
    /// Where nothing is known of the proxy's own cluster.
    pub fn unknown(here: Locality) -> Self {
        Self { here, localities: BTreeMap::new() }
    }

    pub(crate) fn of<'a>(here: Locality, endpoints: impl Iterator<Item = &'a Endpoint>) -> Self {
        let localities = tallies(endpoints).into_iter().map(|(locality, tally)| (locality.clone(), tally)).collect();
        Self { here, localities }
    }

    /// Are fewer of its endpoints available than this, in percent?
    pub(crate) fn panics(&self, percent: u8) -> bool {
        let sum = |of: fn(&Tally) -> u64| self.localities.values().map(of).sum::<u64>();
        let available = sum(|tally| tally.healthy + tally.degraded);
        100 * available < u64::from(percent) * sum(|tally| tally.total).max(1)
    }
}

/// Endpoints by where they are.
pub(crate) fn tallies<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> BTreeMap<&'a Locality, Tally> {
    let mut found: BTreeMap<&Locality, Tally> = BTreeMap::new();
    for endpoint in endpoints {
        found.entry(endpoint.place()).or_default().add(endpoint);
    }
    found
}

/// So many are the whole, in Envoy's whole numbers.
const WHOLE: u64 = 10_000;

/// The shares of the localities of a cluster; those that are missing have none. None where all of them are alike: it would
/// make no difference, the cluster is too small, or too little is known of where the proxy stands.
pub fn shares<'a>(
    settings: &ZoneRouting,
    local: &Local,
    upstream: &BTreeMap<&'a Locality, Tally>,
) -> Option<BTreeMap<&'a Locality, u64>> {
    let is_known = local.here != Locality::default() && local.localities.contains_key(&local.here);
    let is_apart = local.localities.len() >= 2 || settings.own_takes_all_from.is_some();
    let healthy: u64 = upstream.values().map(|tally| tally.healthy).sum();
    if upstream.len() < 2 || !is_known || !is_apart || healthy < settings.min_cluster_size {
        return None;
    }
    let parts = Parts::new(settings, local, upstream);
    let here = upstream.get_key_value(&local.here);
    if let Some((here, tally)) = here {
        let (needed, there) = parts.of(here);
        let forced = settings.own_takes_all_from.is_some_and(|least| tally.healthy >= u64::from(least));
        if there > 0 && there >= needed || forced {
            return Some(BTreeMap::from([(*here, 1)]));
        }
    }
    Some(parts.spill(here.map(|(here, _)| *here)))
}

/// The parts that localities have of the proxy's own cluster and of the other one.
struct Parts<'p, 'a> {
    local: &'p Local,
    upstream: &'p BTreeMap<&'a Locality, Tally>,
    by_weight: bool,
    locals: u64,
    upstreams: u64,
}

impl<'p, 'a> Parts<'p, 'a> {
    fn new(settings: &ZoneRouting, local: &'p Local, upstream: &'p BTreeMap<&'a Locality, Tally>) -> Self {
        let by_weight = settings.by_weight;
        let locals = local.localities.values().map(|tally| tally.size(by_weight)).sum();
        let upstreams = upstream.values().map(|tally| tally.size(by_weight)).sum();
        Self { local, upstream, by_weight, locals, upstreams }
    }

    /// What is needed of a locality, and what is there.
    fn of(&self, locality: &Locality) -> (u64, u64) {
        let part = |of: Option<&Tally>, whole: u64| {
            of.and_then(|tally| (WHOLE * tally.size(self.by_weight)).checked_div(whole)).unwrap_or(0)
        };
        let there = part(self.upstream.get(locality), self.upstreams);
        // Nothing is needed of a locality where nobody could give it.
        let needed = if there == 0 { 0 } else { part(self.local.localities.get(locality), self.locals) };
        (needed, there)
    }

    /// What the proxy's locality can carry stays there; the rest goes where more is there than is needed, or anywhere if that
    /// is so nowhere, which rounding alone can bring about.
    fn spill(&self, here: Option<&'a Locality>) -> BTreeMap<&'a Locality, u64> {
        let kept = here.map_or(0, |here| {
            let (needed, there) = self.of(here);
            (there * WHOLE).checked_div(needed).unwrap_or(0)
        });
        let spare = |locality: &Locality| {
            let (needed, there) = self.of(locality);
            if Some(locality) == here { 0 } else { there.saturating_sub(needed) }
        };
        let mut spares: BTreeMap<&'a Locality, u64> = self.upstream.keys().map(|at| (*at, spare(at))).collect();
        let mut sum: u64 = spares.values().sum();
        if sum == 0 {
            spares.values_mut().for_each(|spare| *spare = 1);
            sum = spares.len() as u64;
        }
        let share = |(locality, spare): (&'a Locality, u64)| {
            let kept_here = if Some(locality) == here { kept * sum } else { 0 };
            (locality, kept_here + (WHOLE - kept) * spare)
        };
        spares.into_iter().map(share).filter(|(_, share)| *share > 0).collect()
    }
}

#[cfg(test)]
mod tests;
