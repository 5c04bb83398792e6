//! All endpoints of a cluster as of one update, prepared so that a pick allocates nothing and looks at few of them.

use std::collections::HashMap;
use std::sync::Arc;

use model::endpoint::Health;
use model::{Address, EndpointSet};

use crate::balance::{Group, mix};
use crate::endpoint::{Endpoint, EndpointId, Place};
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

impl EndpointTable {
    /// The endpoints of `set`. Those whose address stands in `previous` keep their id and counts. Of an address that
    /// stands twice the first counts, as in Envoy. Host names are left out: they have to be resolved first.
    pub fn new(set: &EndpointSet, previous: &Self) -> Self {
        let resolved = set.localities.iter().map(|group| {
            let locality = Arc::new(group.locality.clone());
            let members = group.endpoints.iter().filter(|e| !matches!(e.address, Address::Host { .. }));
            (group.priority, locality, members.map(|e| (e.clone(), None)).collect())
        });
        Self::of(resolved, previous)
    }

    pub(crate) fn of(
        groups: impl Iterator<Item = (u32, Arc<model::Locality>, Vec<(model::Endpoint, Option<Arc<str>>)>)>,
        previous: &Self,
    ) -> Self {
        let known: HashMap<&Address, &Arc<Endpoint>> = previous.endpoints.iter().map(|e| (e.address(), e)).collect();
        let mut seen = std::collections::HashSet::new();
        let mut endpoints = Vec::new();
        for (priority, locality, members) in groups {
            for (model, host) in members {
                if seen.insert(model.address.clone()) {
                    let known = known.get(&model.address).copied();
                    let place = Place { priority, locality: locality.clone(), host };
                    endpoints.push(Endpoint::new(model, place, known));
                }
            }
        }
        Self::prepare(endpoints)
    }

    fn prepare(endpoints: Vec<Arc<Endpoint>>) -> Self {
        // Priorities need not be dense: they are taken in order, so a huge number costs nothing.
        let mut priorities: Vec<u32> = endpoints.iter().map(|e| e.priority()).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let levels: Box<[Level]> = priorities.iter().map(|p| Level::new(&endpoints, *p)).collect();
        let counts: Vec<Count> = levels.iter().zip(&priorities).map(|(l, p)| l.count(&endpoints, *p)).collect();
        Self { endpoints: endpoints.into(), levels, loads: Loads::new(&counts) }
    }

    /// All endpoints, the sick too.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// How many discovery says are healthy.
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
    fn new(endpoints: &[Arc<Endpoint>], priority: u32) -> Self {
        let group = |fits: &dyn Fn(Health) -> bool| {
            let members = endpoints.iter().enumerate().filter(|(_, e)| e.priority() == priority && fits(e.health()));
            Group::new(members.map(|(at, e)| (at as u32, e.weight())))
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
            let table = EndpointTable::new(&set(groups), &EndpointTable::default());
            for order in [Order::Turn as fn(u64) -> Order, |_| Order::Random, |_| Order::Least(2)] {
                assert_eq!(ports(&table, order), expected, "{groups:?}");
            }
        }
    }

    #[test]
    fn identity_outlives_updates() {
        use Health::{Healthy, Unhealthy};
        let first = EndpointTable::new(&set(&[(0, &[(1, Healthy), (2, Healthy)])]), &EndpointTable::default());
        let second = EndpointTable::new(&set(&[(0, &[(3, Healthy), (1, Unhealthy), (2, Healthy)])]), &first);
        let id = |table: &EndpointTable, at: usize| table.endpoints()[at].id();
        assert_eq!((id(&first, 0), id(&first, 1)), (id(&second, 1), id(&second, 2)));
        assert!(Arc::ptr_eq(&first.endpoints()[1], &second.endpoints()[2]), "an unchanged endpoint is the same one");
        assert!(!Arc::ptr_eq(&first.endpoints()[0], &second.endpoints()[1]));
        let doubled = EndpointTable::new(&set(&[(0, &[(1, Healthy), (1, Healthy)])]), &second);
        assert_eq!(doubled.endpoints().len(), 1);
    }

    #[test]
    fn the_tried_are_avoided() {
        use Health::Healthy;
        let table = EndpointTable::new(&set(&[(0, &[(1, Healthy), (2, Healthy)])]), &EndpointTable::default());
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
