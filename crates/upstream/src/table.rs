//! All endpoints of a cluster as of one update, prepared so that a pick allocates nothing and looks at few of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use model::cluster::{Balancing, Localities, PANIC_PERCENT, PeakEwma, ZoneRouting};
use model::endpoint::{Health, Spread};
use model::{Address, EndpointSet, Locality, SlowStart};
use tokio::time::Instant;

use crate::balance::{Group, mix};
use crate::endpoint::{Endpoint, EndpointId, Flag, Place};
use crate::hashing::HashTable;
use crate::locality::{Parts, Weights, hash_members};
use crate::priority::{Count, Filled, Loads, PastPriorities, Tier};
use crate::zones::{Local, shares, tallies};

/// The endpoints of one cluster. Immutable; an update makes a new one.
#[derive(Debug, Default)]
pub struct EndpointTable {
    endpoints: Box<[Arc<Endpoint>]>,
    levels: Box<[Level]>,
    loads: Loads,
    spread: Spread,
    /// The weights of localities by priority, where they have shares.
    weights: BTreeMap<u32, Weights>,
    /// Their numbers by address, in its order, where the one that was dialled comes first.
    by_address: Box<[(SocketAddr, u32)]>,
}

/// One priority.
#[derive(Debug, Default)]
struct Level {
    priority: u32,
    filled: Filled,
    healthy: Group,
    degraded: Group,
    /// Those that serve in panic: all, save the draining, unless there are only such.
    all: Group,
    /// Where localities have shares.
    divided: Option<Box<Divided>>,
    /// Nobody is picked in panic.
    fails_in_panic: bool,
    /// Where the cluster chooses by a hash.
    hashes: Option<Box<HashTable>>,
}

/// The endpoints of a priority by locality.
#[derive(Debug)]
struct Divided {
    /// The healthy and the degraded ones; none: nobody is to be picked.
    parts: Option<[Parts; 2]>,
    /// Of so many of a hundred draws; for the others localities are alike.
    percent: u8,
}

/// What of a cluster's settings its table depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules<'a> {
    /// How one endpoint is chosen.
    pub balancing: &'a Balancing,
    /// What localities have to do with it.
    pub localities: Localities,
    /// Where the proxy stands, if that is known.
    pub local: Option<&'a Local>,
    /// The endpoint that was dialled comes first.
    pub prefers_dialled: bool,
    /// Below this share of available endpoints a priority uses all of its endpoints, in percent; 0: never.
    pub panic_percent: u8,
    /// How the share of a new endpoint grows.
    pub slow_start: Option<&'a SlowStart>,
    /// New endpoints take no traffic before they have passed an active health check.
    pub checked: bool,
}

impl<'a> Rules<'a> {
    /// Those of a cluster.
    pub fn of(config: &'a model::Cluster) -> Self {
        Self {
            balancing: &config.balancing,
            localities: config.localities,
            local: None,
            prefers_dialled: config.prefers_dialled,
            panic_percent: config.panic_percent,
            slow_start: config.slow_start.as_deref(),
            checked: config.health_check.is_some(),
        }
    }
}

impl Default for Rules<'_> {
    fn default() -> Self {
        Self {
            balancing: &Balancing::RoundRobin,
            localities: Localities::Alike,
            local: None,
            prefers_dialled: false,
            panic_percent: PANIC_PERCENT,
            slow_start: None,
            checked: false,
        }
    }
}

/// How one endpoint of a table is picked.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// Round robin; the number of the turn, counted by the worker.
    Turn(u64),
    /// The least busy of so many.
    Least(u32),
    /// The least busy of so many; where weights differ, by them and this bias.
    Biased(u32, f64),
    /// By chance.
    Random,
    /// The one that promises the quicker answer, now (in microseconds).
    Quickest(u64, PeakEwma),
    /// By a hash; further attempts to choose give others.
    Hash(u64, u32),
}

/// Endpoints of one locality and priority, ready to be dialled, with the names that they were resolved from.
pub(crate) struct Given {
    pub priority: u32,
    pub locality: Arc<Locality>,
    pub weight: Option<u32>,
    pub members: Vec<(model::Endpoint, Option<Arc<str>>)>,
}

impl EndpointTable {
    /// The endpoints of `set`. Those whose address stands in `previous` keep their id and counts. Of an address that
    /// stands twice the first counts, as in Envoy. Host names are left out: they have to be resolved first.
    pub fn new(set: &EndpointSet, rules: Rules<'_>, previous: &Self) -> Self {
        let resolved = set.localities.iter().map(|group| Given {
            priority: group.priority,
            locality: Arc::new(group.locality.clone()),
            weight: group.weight,
            members: {
                let members = group.endpoints.iter().filter(|e| !matches!(e.address, Address::Host { .. }));
                members.map(|e| (e.clone(), None)).collect()
            },
        });
        Self::of(resolved, set.spread, rules, previous)
    }

    pub(crate) fn of(groups: impl Iterator<Item = Given>, spread: Spread, rules: Rules<'_>, previous: &Self) -> Self {
        let known: HashMap<&Address, &Arc<Endpoint>> = previous.endpoints.iter().map(|e| (e.address(), e)).collect();
        let mut seen = HashSet::new();
        let mut endpoints = Vec::new();
        let mut weights: BTreeMap<u32, Weights> = BTreeMap::new();
        for Given { priority, locality, weight, members } in groups {
            if let (Localities::Weighted, Some(weight)) = (rules.localities, weight) {
                weights.entry(priority).or_default().insert(locality.clone(), weight);
            }
            for (model, host) in members {
                if seen.insert(model.address.clone()) {
                    let known = known.get(&model.address).copied();
                    let place = Place { priority, locality: locality.clone(), host };
                    let endpoint = Endpoint::new(model, place, known);
                    if rules.checked && known.is_none() {
                        endpoint.live().flag(Flag::FailsChecks, true);
                        endpoint.live().flag(Flag::Unchecked, true);
                    }
                    endpoints.push(endpoint);
                }
            }
        }
        Self::prepare(endpoints.into(), weights, spread, rules)
    }

    /// The same endpoints, with the health and the shares that they have now.
    pub(crate) fn anew(&self, rules: Rules<'_>) -> Self {
        Self::prepare(self.endpoints.clone(), self.weights.clone(), self.spread, rules)
    }

    fn prepare(
        endpoints: Box<[Arc<Endpoint>]>,
        weights: BTreeMap<u32, Weights>,
        spread: Spread,
        rules: Rules<'_>,
    ) -> Self {
        // Priorities need not be dense: they are taken in order, so a huge number costs nothing.
        let mut priorities: Vec<u32> = endpoints.iter().map(|e| e.priority()).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let growth = Growth::new(&endpoints, rules.slow_start);
        let mut levels: Box<[Level]> = priorities.iter().map(|p| Level::new(&endpoints, *p, &growth)).collect();
        let filled: Vec<Filled> = levels.iter().map(|level| level.filled).collect();
        let loads = Loads::new(&filled, spread, rules.panic_percent);
        let none = Weights::new();
        for (at, level) in levels.iter_mut().enumerate() {
            let weights = match rules.localities {
                Localities::Alike | Localities::Zones(_) => None,
                Localities::Weighted => Some(weights.get(&level.priority).unwrap_or(&none)),
            };
            match rules.localities {
                Localities::Zones(zones) => level.divide_by_zone(&endpoints, zones, rules, &growth),
                _ => level.divide(&endpoints, weights, spread, &growth),
            }
            level.hash(&endpoints, weights, rules.balancing, loads.panics(at));
        }
        let by_address = if rules.prefers_dialled { by_address(&endpoints) } else { Box::default() };
        Self { endpoints, levels, loads, spread, weights, by_address }
    }

    /// Is it made of the same endpoints and weights?
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<Endpoint>, &Arc<Endpoint>)| Arc::ptr_eq(a, b);
        self.endpoints.len() == other.endpoints.len()
            && self.endpoints.iter().zip(&other.endpoints).all(same)
            && self.spread == other.spread
            && self.weights == other.weights
    }

    /// All endpoints, the sick too.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// How many are healthy.
    pub fn healthy(&self) -> usize {
        self.levels.iter().map(|l| l.healthy.len()).sum()
    }

    /// The endpoint that was dialled, if the cluster's rules prefer it: the one at exactly that address, else one at that IP
    /// address by the draw, since its port may be another than the one that callers know. Its health does not matter.
    pub fn dialled(&self, address: SocketAddr, draw: u64) -> Option<&Arc<Endpoint>> {
        let exact = self.by_address.binary_search_by_key(&address, |(at, _)| *at);
        let place = exact.ok().or_else(|| {
            let from = self.by_address.partition_point(|(at, _)| at.ip() < address.ip());
            let count = self.by_address[from..].partition_point(|(at, _)| at.ip() == address.ip());
            (count > 0).then(|| from + (draw % count as u64) as usize)
        })?;
        self.endpoints.get(self.by_address[place].1 as usize)
    }

    /// The endpoint for one draw; none if nobody can take it.
    pub fn pick(&self, order: Order, draw: u64) -> Option<&Arc<Endpoint>> {
        self.pick_with(&self.loads, order, draw)
    }

    fn pick_with(&self, loads: &Loads, order: Order, draw: u64) -> Option<&Arc<Endpoint>> {
        // A hash decides everything: draws would tear apart what belongs together.
        let draw = if let Order::Hash(hash, _) = order { hash } else { draw };
        let (at, tier) = loads.pick(draw)?;
        let level = self.levels.get(at)?;
        if let Order::Hash(hash, attempt) = order {
            return self.endpoints.get(level.hashes.as_ref()?.pick(hash, attempt)? as usize);
        }
        let within = mix(draw);
        let group = level.group(tier, within)?;
        let active = |at: u32| self.endpoints[at as usize].active();
        let at = match order {
            Order::Turn(turn) => group.in_turn(turn),
            Order::Random => group.at_random(within),
            Order::Least(choices) => group.least(choices, within, active),
            Order::Biased(choices, bias) => {
                group.biased(bias, within, active).or_else(|| group.least(choices, within, active))
            }
            Order::Quickest(now, settings) => {
                let load = |at: u32| self.endpoints[at as usize].live().estimate.load(active(at), now, &settings);
                group.quickest(within, load)
            }
            Order::Hash(..) => None,
        }?;
        self.endpoints.get(at as usize)
    }

    /// Like [`EndpointTable::pick`], again up to `attempts` times while it falls on one of `tried`; the last one
    /// counts in any case (Envoy's `previous_hosts`). `order` is asked anew for each, with its number. Priorities that the
    /// tries before went to may have to be spared.
    pub fn pick_untried(
        &self,
        mut order: impl FnMut(u32) -> Order,
        draw: u64,
        tried: &[EndpointId],
        attempts: u32,
        past: Option<&PastPriorities>,
    ) -> Option<&Arc<Endpoint>> {
        let spared = past.and_then(|past| past.spare(|spared| self.sparing(spared)));
        let loads = spared.as_ref().unwrap_or(&self.loads);
        let mut draw = draw;
        let mut endpoint = self.pick_with(loads, order(0), draw)?;
        for attempt in 1..=attempts {
            if !tried.contains(&endpoint.id()) {
                break;
            }
            draw = mix(draw);
            endpoint = self.pick_with(loads, order(attempt), draw)?;
        }
        Some(endpoint)
    }

    fn sparing(&self, priorities: &[u32]) -> Option<Loads> {
        let filled: Vec<Filled> = self.levels.iter().map(|level| level.filled).collect();
        self.loads.sparing(&filled, self.spread, |at| priorities.contains(&self.levels[at].priority))
    }
}

fn by_address(endpoints: &[Arc<Endpoint>]) -> Box<[(SocketAddr, u32)]> {
    let with_address = |(at, endpoint): (usize, &Arc<Endpoint>)| Some((endpoint.address().socket_addr()?, at as u32));
    let mut all: Vec<_> = endpoints.iter().enumerate().filter_map(with_address).collect();
    all.sort_unstable();
    all.into()
}

impl Level {
    fn new(endpoints: &[Arc<Endpoint>], priority: u32, growth: &Growth<'_>) -> Self {
        let group = |fits: &dyn Fn(Health) -> bool| {
            let members = of_priority(endpoints, priority).filter(|(_, e)| fits(e.health()));
            Group::new(members.map(|(at, e)| (at, growth.of(e))))
        };
        let mut all = group(&|health| health != Health::Draining);
        if all.is_empty() {
            all = group(&|_| true);
        }
        Self {
            priority,
            filled: filled(endpoints, priority),
            healthy: group(&|health| health == Health::Healthy),
            degraded: group(&|health| health == Health::Degraded),
            all,
            divided: None,
            fails_in_panic: false,
            hashes: None,
        }
    }

    /// Divides the endpoints by locality, if localities have shares.
    fn divide(&mut self, endpoints: &[Arc<Endpoint>], weights: Option<&Weights>, spread: Spread, growth: &Growth<'_>) {
        self.divided = weights.map(|weights| {
            let of = |health| Parts::weighted(of_priority(endpoints, self.priority), weights, spread, health, growth);
            Box::new(Divided { parts: Some([of(Health::Healthy), of(Health::Degraded)]), percent: 100 })
        });
    }

    /// Divides the endpoints by locality, if that of the proxy comes first: at the first priority only, as in Envoy.
    fn divide_by_zone(
        &mut self,
        endpoints: &[Arc<Endpoint>],
        zones: ZoneRouting,
        rules: Rules<'_>,
        growth: &Growth<'_>,
    ) {
        self.fails_in_panic = zones.fails_in_panic;
        let Some(local) = rules.local.filter(|_| self.priority == 0) else { return };
        let members = || of_priority(endpoints, self.priority);
        let upstream = tallies(members().map(|(_, endpoint)| &**endpoint));
        let Some(shares) = shares(&zones, local, &upstream) else { return };
        let panics = local.panics(rules.panic_percent);
        if panics && !zones.fails_in_panic {
            return;
        }
        let of = |health| Parts::shared(members(), &shares, health, growth);
        let parts = (!panics).then(|| [of(Health::Healthy), of(Health::Degraded)]);
        self.divided = Some(Box::new(Divided { parts, percent: zones.percent }));
    }

    /// Makes the table of hashes, if the cluster chooses by one: of the healthy ones, or in panic of all.
    fn hash(&mut self, endpoints: &[Arc<Endpoint>], weights: Option<&Weights>, balancing: &Balancing, panics: bool) {
        if balancing.hashes() {
            let takes = |endpoint: &Endpoint| panics || endpoint.health() == Health::Healthy;
            let members = hash_members(of_priority(endpoints, self.priority), weights, takes);
            self.hashes = HashTable::new(balancing, members).map(Box::new);
        }
    }

    /// The endpoints of a tier: those of one locality, where localities have shares; none if nobody is to be picked.
    fn group(&self, tier: Tier, draw: u64) -> Option<&Group> {
        let (whole, place) = match tier {
            Tier::Panic => return (!self.fails_in_panic).then_some(&self.all),
            Tier::Healthy => (&self.healthy, 0),
            Tier::Degraded => (&self.degraded, 1),
        };
        let Some(divided) = &self.divided else { return Some(whole) };
        let draw = mix(draw);
        if divided.percent < 100 && mix(draw) % 100 >= u64::from(divided.percent) {
            return Some(whole);
        }
        let parts = divided.parts.as_ref()?;
        Some(parts[place].pick(draw).unwrap_or(whole))
    }
}

fn of_priority(endpoints: &[Arc<Endpoint>], priority: u32) -> impl Iterator<Item = (u32, &Arc<Endpoint>)> {
    endpoints.iter().enumerate().filter(move |(_, e)| e.priority() == priority).map(|(at, e)| (at as u32, e))
}

fn filled(endpoints: &[Arc<Endpoint>], priority: u32) -> Filled {
    let count = |of: &dyn Fn(&Endpoint) -> u64| {
        let mut count = Count::default();
        for (_, endpoint) in of_priority(endpoints, priority) {
            count.total += of(endpoint);
            match endpoint.health() {
                Health::Healthy => count.healthy += of(endpoint),
                Health::Degraded => count.degraded += of(endpoint),
                Health::Unhealthy | Health::Draining => {}
            }
        }
        count
    };
    Filled { number: count(&|_| 1), weight: count(&|endpoint| u64::from(endpoint.weight())) }
}

/// The weights of endpoints, in slow start too.
pub(crate) struct Growth<'a> {
    /// None while nobody is new.
    growing: Option<(&'a SlowStart, Instant)>,
}

impl<'a> Growth<'a> {
    /// So fine are the steps of a weight that grows.
    const SCALE: f64 = 1000.0;

    fn new(endpoints: &[Arc<Endpoint>], slow_start: Option<&'a SlowStart>) -> Self {
        let growing = slow_start.map(|start| (start, Instant::now()));
        Self { growing: growing.filter(|(start, now)| endpoints.iter().any(|e| e.live().age(*now) < start.window)) }
    }

    pub(crate) fn of(&self, endpoint: &Endpoint) -> u32 {
        let Some((start, now)) = self.growing else { return endpoint.weight() };
        let share = f64::from(endpoint.weight()) * start.factor(endpoint.live().age(now));
        (share * Self::SCALE).round().max(1.0) as u32
    }
}

#[cfg(test)]
mod tests;
