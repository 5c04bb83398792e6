//! All endpoints of a cluster as of one update, prepared so that a pick allocates nothing and looks at few of them.

use std::collections::HashMap;
use std::sync::Arc;

use model::endpoint::Health;
use model::{Address, EndpointSet, SlowStart};
use tokio::time::Instant;

use crate::balance::{Group, mix};
use crate::endpoint::{Endpoint, EndpointId, Flag, Place};
use crate::priority::{Count, Loads, Tier};

/// The endpoints of one cluster. Immutable; an update makes a new one.
#[derive(Debug, Default)]
pub struct EndpointTable {
    endpoints: Box<[Arc<Endpoint>]>,
    levels: Box<[Level]>,
    loads: Loads,
}

/// One priority.
#[derive(Debug, Default)]
struct Level {
    healthy: Group,
    degraded: Group,
    /// Those that serve in panic: all, save the draining, unless there are only such.
    all: Group,
}

/// How one endpoint of a table is picked.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// Round robin; the number of the turn, counted by the worker.
    Turn(u64),
    /// The least busy of so many.
    Least(u32),
    /// By chance.
    Random,
}

/// What a cluster says of the shares of its endpoints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares<'a> {
    /// Below this share of available endpoints a priority uses all of its endpoints, in percent; 0: never.
    pub panic_percent: u8,
    /// How the share of a new endpoint grows.
    pub slow_start: Option<&'a SlowStart>,
    /// New endpoints take no traffic before they have passed an active health check.
    pub checked: bool,
}

impl Default for Shares<'_> {
    fn default() -> Self {
        Self { panic_percent: model::cluster::PANIC_PERCENT, slow_start: None, checked: false }
    }
}

impl EndpointTable {
    /// The endpoints of `set`. Those whose address stands in `previous` keep their id and counts. Of an address that
    /// stands twice the first counts, as in Envoy. Host names are left out: they have to be resolved first.
    pub fn new(set: &EndpointSet, previous: &Self, shares: Shares<'_>) -> Self {
        let resolved = set.localities.iter().map(|group| {
            let locality = Arc::new(group.locality.clone());
            let members = group.endpoints.iter().filter(|e| !matches!(e.address, Address::Host { .. }));
            (group.priority, locality, members.map(|e| (e.clone(), None)).collect())
        });
        Self::of(resolved, previous, shares)
    }

    pub(crate) fn of(
        groups: impl Iterator<Item = (u32, Arc<model::Locality>, Vec<(model::Endpoint, Option<Arc<str>>)>)>,
        previous: &Self,
        shares: Shares<'_>,
    ) -> Self {
        let known: HashMap<&Address, &Arc<Endpoint>> = previous.endpoints.iter().map(|e| (e.address(), e)).collect();
        let mut seen = std::collections::HashSet::new();
        let mut endpoints = Vec::new();
        for (priority, locality, members) in groups {
            for (model, host) in members {
                if seen.insert(model.address.clone()) {
                    let known = known.get(&model.address).copied();
                    let place = Place { priority, locality: locality.clone(), host };
                    let endpoint = Endpoint::new(model, place, known);
                    if shares.checked && known.is_none() {
                        endpoint.live().flag(Flag::FailsChecks, true);
                        endpoint.live().flag(Flag::Unchecked, true);
                    }
                    endpoints.push(endpoint);
                }
            }
        }
        Self::prepare(endpoints.into(), shares)
    }

    /// The same endpoints, with the health and the shares that they have now.
    pub(crate) fn anew(&self, shares: Shares<'_>) -> Self {
        Self::prepare(self.endpoints.clone(), shares)
    }

    fn prepare(endpoints: Box<[Arc<Endpoint>]>, shares: Shares<'_>) -> Self {
        // Priorities need not be dense: they are taken in order, so a huge number costs nothing.
        let mut priorities: Vec<u32> = endpoints.iter().map(|e| e.priority()).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let weights = Weights::new(&endpoints, shares.slow_start);
        let levels: Box<[Level]> = priorities.iter().map(|p| Level::new(&endpoints, *p, &weights)).collect();
        let counts: Vec<Count> = levels.iter().zip(&priorities).map(|(l, p)| l.count(&endpoints, *p)).collect();
        Self { loads: Loads::new(&counts, shares.panic_percent), endpoints, levels }
    }

    /// All endpoints, the sick too.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// How many are healthy.
    pub fn healthy(&self) -> usize {
        self.levels.iter().map(|l| l.healthy.len()).sum()
    }

    /// The endpoint for one draw; none if nobody can take it.
    pub fn pick(&self, order: Order, draw: u64) -> Option<&Arc<Endpoint>> {
        let (priority, tier) = self.loads.pick(draw)?;
        let level = self.levels.get(priority)?;
        let group = match tier {
            Tier::Healthy => &level.healthy,
            Tier::Degraded => &level.degraded,
            Tier::Panic => &level.all,
        };
        let within = mix(draw);
        let at = match order {
            Order::Turn(turn) => group.in_turn(turn),
            Order::Random => group.at_random(within),
            Order::Least(choices) => group.least(choices, within, |at| self.endpoints[at as usize].active()),
        }?;
        self.endpoints.get(at as usize)
    }

    /// Like [`EndpointTable::pick`], again up to `attempts` times while it falls on one of `tried`; the last one
    /// counts in any case (Envoy's `previous_hosts`). `turn` counts on for each.
    pub fn pick_untried(
        &self,
        mut order: impl FnMut() -> Order,
        draw: u64,
        tried: &[EndpointId],
        attempts: u32,
    ) -> Option<&Arc<Endpoint>> {
        let mut draw = draw;
        let mut endpoint = self.pick(order(), draw)?;
        for _ in 0..attempts {
            if !tried.contains(&endpoint.id()) {
                break;
            }
            draw = mix(draw);
            endpoint = self.pick(order(), draw)?;
        }
        Some(endpoint)
    }
}

impl Level {
    fn new(endpoints: &[Arc<Endpoint>], priority: u32, weights: &Weights<'_>) -> Self {
        let group = |fits: &dyn Fn(Health) -> bool| {
            let members = endpoints.iter().enumerate().filter(|(_, e)| e.priority() == priority && fits(e.health()));
            Group::new(members.map(|(at, e)| (at as u32, weights.of(e))))
        };
        let mut all = group(&|health| health != Health::Draining);
        if all.is_empty() {
            all = group(&|_| true);
        }
        Self {
            healthy: group(&|health| health == Health::Healthy),
            degraded: group(&|health| health == Health::Degraded),
            all,
        }
    }

    fn count(&self, endpoints: &[Arc<Endpoint>], priority: u32) -> Count {
        Count {
            total: endpoints.iter().filter(|e| e.priority() == priority).count() as u64,
            healthy: self.healthy.len() as u64,
            degraded: self.degraded.len() as u64,
        }
    }
}

/// The weights of endpoints, in slow start too.
struct Weights<'a> {
    /// None while nobody is new.
    growing: Option<(&'a SlowStart, Instant)>,
}

impl<'a> Weights<'a> {
    /// So fine are the steps of a weight that grows.
    const SCALE: f64 = 1000.0;

    fn new(endpoints: &[Arc<Endpoint>], slow_start: Option<&'a SlowStart>) -> Self {
        let growing = slow_start.map(|start| (start, Instant::now()));
        Self { growing: growing.filter(|(start, now)| endpoints.iter().any(|e| e.live().age(*now) < start.window)) }
    }

    fn of(&self, endpoint: &Endpoint) -> u32 {
        let Some((start, now)) = self.growing else { return endpoint.weight() };
        let share = f64::from(endpoint.weight()) * start.factor(endpoint.live().age(now));
        (share * Self::SCALE).round().max(1.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use model::LocalityEndpoints;

    use super::*;

    fn endpoint(port: u16, health: Health) -> model::Endpoint {
        model::Endpoint { health, ..model::Endpoint::plain(std::net::SocketAddr::from(([127, 0, 0, 1], port))) }
    }

    fn set(groups: &[(u32, &[(u16, Health)])]) -> EndpointSet {
        let group = |(priority, members): &(u32, &[(u16, Health)])| LocalityEndpoints {
            priority: *priority,
            endpoints: members.iter().map(|(port, health)| endpoint(*port, *health)).collect(),
            ..LocalityEndpoints::default()
        };
        EndpointSet { name: "s".into(), localities: groups.iter().map(group).collect() }
    }

    fn ports(table: &EndpointTable, order: fn(u64) -> Order) -> Vec<u16> {
        let picked = (0..200).filter_map(|n| table.pick(order(n), mix(n)));
        let mut ports: Vec<u16> = picked.filter_map(|e| e.address().port()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    #[test]
    fn who_takes_traffic() {
        use Health::{Degraded, Draining, Healthy, Unhealthy};
        for (groups, expected) in [
            (&[(0, &[(1, Healthy), (2, Healthy)][..])][..], &[1, 2][..]),
            (&[(0, &[(1, Healthy), (2, Healthy), (3, Healthy), (4, Unhealthy)])], &[1, 2, 3]),
            (&[(0, &[(1, Healthy), (2, Healthy), (3, Healthy), (4, Draining)])], &[1, 2, 3]),
            (&[(0, &[(1, Unhealthy), (2, Draining)])], &[1]),
            (&[(0, &[(1, Draining)])], &[1]),
            (&[(0, &[(1, Unhealthy)]), (1, &[(2, Healthy)])], &[2]),
            (&[(0, &[(1, Healthy)]), (1, &[(2, Healthy)])], &[1]),
            (&[(7, &[(1, Healthy)]), (u32::MAX, &[(2, Healthy)])], &[1]),
            (&[(0, &[(1, Healthy), (2, Degraded)])], &[1, 2]),
            (&[(0, &[])], &[]),
            (&[], &[]),
        ] {
            let table = EndpointTable::new(&set(groups), &EndpointTable::default(), Shares::default());
            for order in [Order::Turn as fn(u64) -> Order, |_| Order::Random, |_| Order::Least(2)] {
                assert_eq!(ports(&table, order), expected, "{groups:?}");
            }
        }
    }

    #[test]
    fn identity_outlives_updates() {
        use Health::{Healthy, Unhealthy};
        let first = EndpointTable::new(
            &set(&[(0, &[(1, Healthy), (2, Healthy)])]),
            &EndpointTable::default(),
            Shares::default(),
        );
        let second =
            EndpointTable::new(&set(&[(0, &[(3, Healthy), (1, Unhealthy), (2, Healthy)])]), &first, Shares::default());
        let id = |table: &EndpointTable, at: usize| table.endpoints()[at].id();
        assert_eq!((id(&first, 0), id(&first, 1)), (id(&second, 1), id(&second, 2)));
        assert!(Arc::ptr_eq(&first.endpoints()[1], &second.endpoints()[2]), "an unchanged endpoint is the same one");
        assert!(!Arc::ptr_eq(&first.endpoints()[0], &second.endpoints()[1]));
        let doubled = EndpointTable::new(&set(&[(0, &[(1, Healthy), (1, Healthy)])]), &second, Shares::default());
        assert_eq!(doubled.endpoints().len(), 1);
    }

    #[test]
    fn the_tried_are_avoided() {
        use Health::Healthy;
        let table = EndpointTable::new(
            &set(&[(0, &[(1, Healthy), (2, Healthy)])]),
            &EndpointTable::default(),
            Shares::default(),
        );
        let tried = [table.endpoints()[0].id()];
        let mut turn = 0;
        let mut order = || {
            turn += 1;
            Order::Turn(turn)
        };
        for _ in 0..10 {
            assert_eq!(table.pick_untried(&mut order, 0, &tried, 5).unwrap().address().port(), Some(2));
        }
        let all: Vec<_> = table.endpoints().iter().map(|e| e.id()).collect();
        assert!(table.pick_untried(&mut order, 0, &all, 5).is_some(), "better a tried one than none");
    }
}
