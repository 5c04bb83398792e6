//! Who takes what.

use model::LocalityEndpoints;

use super::*;
use crate::zones::Tally;

fn endpoint(port: u16, health: Health) -> model::Endpoint {
    model::Endpoint { health, ..model::Endpoint::plain(std::net::SocketAddr::from(([127, 0, 0, 1], port))) }
}

fn set(groups: &[(u32, &[(u16, Health)])]) -> EndpointSet {
    let group = |(priority, members): &(u32, &[(u16, Health)])| LocalityEndpoints {
        priority: *priority,
        endpoints: members.iter().map(|(port, health)| endpoint(*port, *health)).collect(),
        ..LocalityEndpoints::default()
    };
    EndpointSet::new("s", groups.iter().map(group).collect())
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
        let table = EndpointTable::new(&set(groups), Rules::default(), &EndpointTable::default());
        for order in [Order::Turn as fn(u64) -> Order, |_| Order::Random, |_| Order::Least(2)] {
            assert_eq!(ports(&table, order), expected, "{groups:?}");
        }
    }
}

#[test]
fn identity_outlives_updates() {
    use Health::{Healthy, Unhealthy};
    let first =
        EndpointTable::new(&set(&[(0, &[(1, Healthy), (2, Healthy)])]), Rules::default(), &EndpointTable::default());
    let second =
        EndpointTable::new(&set(&[(0, &[(3, Healthy), (1, Unhealthy), (2, Healthy)])]), Rules::default(), &first);
    let id = |table: &EndpointTable, at: usize| table.endpoints()[at].id();
    assert_eq!((id(&first, 0), id(&first, 1)), (id(&second, 1), id(&second, 2)));
    assert!(Arc::ptr_eq(&first.endpoints()[1], &second.endpoints()[2]), "an unchanged endpoint is the same one");
    assert!(!Arc::ptr_eq(&first.endpoints()[0], &second.endpoints()[1]));
    let doubled = EndpointTable::new(&set(&[(0, &[(1, Healthy), (1, Healthy)])]), Rules::default(), &second);
    assert_eq!(doubled.endpoints().len(), 1);
}

#[test]
fn the_tried_are_avoided() {
    use Health::Healthy;
    let table =
        EndpointTable::new(&set(&[(0, &[(1, Healthy), (2, Healthy)])]), Rules::default(), &EndpointTable::default());
    let tried = [table.endpoints()[0].id()];
    let mut turn = 0;
    let mut order = |_| {
        turn += 1;
        Order::Turn(turn)
    };
    for _ in 0..10 {
        assert_eq!(table.pick_untried(&mut order, 0, &tried, 5, None).unwrap().address().port(), Some(2));
    }
    let all: Vec<_> = table.endpoints().iter().map(|e| e.id()).collect();
    assert!(table.pick_untried(&mut order, 0, &all, 5, None).is_some(), "better a tried one than none");
}

/// The endpoints by port that a hundred thousand draws fall on, in percent.
fn shares(table: &EndpointTable, order: Order) -> Vec<(u16, u64)> {
    let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
    let picked = (0..100_000).filter_map(|n| table.pick(order, mix(n)));
    picked.filter_map(|e| e.address().port()).for_each(|port| *counts.entry(port).or_default() += 1);
    counts.into_iter().map(|(port, count)| (port, (count + 500) / 1000)).collect()
}

#[test]
fn localities_have_shares() {
    use Health::{Degraded, Healthy, Unhealthy};
    let group = |region: &str, weight, members: &[(u16, Health)]| LocalityEndpoints {
        locality: Locality { region: region.into(), ..Locality::default() },
        weight,
        endpoints: members.iter().map(|(port, health)| endpoint(*port, *health)).collect(),
        ..LocalityEndpoints::default()
    };
    let whole = [(2, Healthy), (3, Healthy), (4, Healthy)];
    let half = [(2, Healthy), (3, Unhealthy)];
    for (groups, alike, weighted) in [
        (
            vec![group("a", Some(1), &[(1, Healthy)]), group("b", Some(1), &whole)],
            vec![(1, 25), (2, 25), (3, 25), (4, 25)],
            vec![(1, 50), (2, 17), (3, 17), (4, 17)],
        ),
        // Half of it times 1.4 is 0.7 of its share.
        (
            vec![group("a", Some(3), &[(1, Healthy)]), group("b", Some(10), &half)],
            vec![(1, 50), (2, 50)],
            vec![(1, 30), (2, 70)],
        ),
        // Who has no weight has no share, unless nobody has one.
        (
            vec![group("a", None, &[(1, Healthy)]), group("b", Some(1), &[(2, Healthy)])],
            vec![(1, 50), (2, 50)],
            vec![(2, 100)],
        ),
        (
            vec![group("a", None, &[(1, Healthy)]), group("b", None, &[(2, Healthy)])],
            vec![(1, 50), (2, 50)],
            vec![(1, 50), (2, 50)],
        ),
        (
            vec![group("a", Some(9), &[(1, Degraded)]), group("b", Some(1), &[(2, Degraded)])],
            vec![(1, 50), (2, 50)],
            vec![(1, 90), (2, 10)],
        ),
    ] {
        let set = EndpointSet::new("s", groups);
        for (localities, expected) in [(Localities::Alike, alike), (Localities::Weighted, weighted)] {
            let rules = Rules { localities, ..Rules::default() };
            let table = EndpointTable::new(&set, rules, &EndpointTable::default());
            assert_eq!(shares(&table, Order::Random), expected, "{set:?} {localities:?}");
        }
    }
}

#[test]
fn hashes_stay_with_their_endpoint() {
    use Health::{Healthy, Unhealthy};
    for balancing in [Balancing::RingHash { min_size: 1024, max_size: 8192 }, Balancing::Maglev { table_size: 65537 }] {
        let rules = Rules { balancing: &balancing, ..Rules::default() };
        let table =
            |groups: &[(u32, &[(u16, Health)])]| EndpointTable::new(&set(groups), rules, &EndpointTable::default());
        let all = table(&[(0, &[(1, Healthy), (2, Healthy), (3, Healthy)]), (1, &[(9, Healthy)])]);
        let fewer = table(&[(0, &[(1, Healthy), (2, Healthy), (3, Unhealthy)]), (1, &[(9, Healthy)])]);
        let port = |table: &EndpointTable, n: u64| table.pick(Order::Hash(mix(n), 0), 7).unwrap().address().port();
        let (mut counts, mut moved) = ([0; 4], 0);
        for n in 0..3000 {
            let before = port(&all, n).unwrap();
            counts[usize::from(before)] += 1;
            assert_eq!(port(&all, n), Some(before), "a hash decides alone");
            // 2/3 x 1.4 is 93 %, and the rest goes to the next priority.
            let after = port(&fewer, n).unwrap();
            moved += usize::from(after != 9 && before != 3 && after != before);
            assert_eq!(after == 9, mix(n) % 100 >= 93);
        }
        assert!(counts[1..].iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        // A ring of fewer members has more places of each, so some do move (as in Envoy).
        assert!(moved < 2000 / 4, "most of those who were with the others stay: {moved}");
        let first = all.endpoints()[0].id();
        let choose = |n, tried: &[EndpointId]| {
            all.pick_untried(|attempt| Order::Hash(mix(n), attempt), 0, tried, 5, None).unwrap().id()
        };
        let with_first: Vec<u64> = (0..300).filter(|n| choose(*n, &[]) == first).collect();
        let stay = with_first.iter().filter(|n| choose(**n, &[first]) == first).count();
        // Six places in a row may be of one endpoint, as in Envoy.
        assert!(stay * 20 < with_first.len(), "further tries go elsewhere: {stay} of {}", with_first.len());
    }
}

#[test]
fn endpoints_that_envoy_chose() {
    // What Envoy 1.40 chose for the header values `user0`, `user1`, ... with these weights; the first two endpoints are of
    // one locality, the others of another one.
    let port = |port: u16, weight| model::Endpoint { weight, ..endpoint(port, Health::Healthy) };
    let group = |region: &str, weight, endpoints| LocalityEndpoints {
        locality: Locality { region: region.into(), ..Locality::default() },
        weight: Some(weight),
        endpoints,
        ..LocalityEndpoints::default()
    };
    let near = group("a", 1, vec![port(1, 1), port(2, 2)]);
    let far = group("b", 4, vec![port(3, 3), port(4, 1), port(5, 5)]);
    let set = EndpointSet::new("s", vec![near, far]);
    let ring = Balancing::RingHash { min_size: 200, max_size: 1 << 23 };
    let maglev = Balancing::Maglev { table_size: 997 };
    for (balancing, localities, expected) in [
        (&ring, Localities::Alike, "335335234555552225345521"),
        (&ring, Localities::Weighted, "335335234555552425355521"),
        (&maglev, Localities::Alike, "315352451254251234425252"),
        (&maglev, Localities::Weighted, "345352451254251234425252"),
    ] {
        let table =
            EndpointTable::new(&set, Rules { balancing, localities, ..Rules::default() }, &EndpointTable::default());
        let chosen = (0..24).map(|user| {
            let hash = xxhash_rust::xxh64::xxh64(format!("user{user}").as_bytes(), 0);
            table.pick(Order::Hash(hash, 0), 0).unwrap().address().port().unwrap().to_string()
        });
        assert_eq!(chosen.collect::<String>(), expected, "{balancing:?} {localities:?}");
    }
}

#[test]
fn the_one_that_was_dialled() {
    use Health::{Healthy, Unhealthy};
    let mut endpoints = vec![endpoint(1, Healthy), endpoint(2, Unhealthy)];
    endpoints.push(model::Endpoint::plain(std::net::SocketAddr::from(([10, 0, 0, 7], 8080))));
    let group = LocalityEndpoints { endpoints, ..LocalityEndpoints::default() };
    let set = EndpointSet::new("s", vec![group]);
    for (prefers_dialled, address, expected) in [
        (true, "127.0.0.1:1", Some(1)),
        (true, "127.0.0.1:2", Some(2)),
        (true, "10.0.0.7:8080", Some(8080)),
        // Callers know the service's port, not the endpoint's.
        (true, "10.0.0.7:80", Some(8080)),
        (true, "10.0.0.8:8080", None),
        (false, "127.0.0.1:1", None),
    ] {
        let rules = Rules { prefers_dialled, ..Rules::default() };
        let table = EndpointTable::new(&set, rules, &EndpointTable::default());
        let found = table.dialled(address.parse().unwrap(), 7);
        assert_eq!(found.and_then(|endpoint| endpoint.address().port()), expected, "{address}");
    }
    let rules = Rules { prefers_dialled: true, ..Rules::default() };
    let table = EndpointTable::new(&set, rules, &EndpointTable::default());
    let one_of = |draw| table.dialled("127.0.0.1:9".parse().unwrap(), draw).and_then(|e| e.address().port());
    assert_eq!((one_of(0), one_of(1)), (Some(1), Some(2)), "several at one IP address share what no port tells");
}

/// Zone `a` is the proxy's; half of its own cluster is there, half in `b`.
#[test]
fn the_own_zone_comes_first() {
    use Health::{Degraded, Healthy, Unhealthy};
    let at = |zone: &str| Locality { zone: zone.into(), ..Locality::default() };
    let group = |zone: &str, priority: u32, members: &[(u16, Health)]| LocalityEndpoints {
        locality: at(zone),
        priority,
        endpoints: members.iter().map(|(port, health)| endpoint(*port, *health)).collect(),
        ..LocalityEndpoints::default()
    };
    let local = |healthy: u64| {
        let tally = Tally { total: 2, healthy, weight: healthy, degraded: 0 };
        Local { here: at("a"), localities: [(at("a"), tally), (at("b"), tally)].into() }
    };
    let usual = ZoneRouting { min_cluster_size: 1, ..ZoneRouting::default() };
    let failing = ZoneRouting { fails_in_panic: true, ..usual };
    let most = ZoneRouting { percent: 60, ..usual };
    let many = [(2, Healthy), (3, Healthy), (4, Healthy)];
    let uneven = || vec![group("a", 0, &[(1, Healthy)]), group("b", 0, &many)];
    let even = vec![(1, 25), (2, 25), (3, 25), (4, 25)];
    let first = vec![(1, 50), (2, 17), (3, 17), (4, 17)];
    let spilled = || vec![group("a", 0, &[(1, Healthy), (2, Unhealthy)]), group("b", 0, &[(3, Unhealthy)])];
    for (groups, zones, local, expected) in [
        // A quarter is there, a half is needed.
        (uneven(), usual, Some(local(2)), first.clone()),
        (uneven(), most, Some(local(2)), vec![(1, 40), (2, 20), (3, 20), (4, 20)]),
        (uneven(), ZoneRouting::default(), Some(local(2)), even.clone()),
        (uneven(), usual, None, even.clone()),
        // The proxy's own cluster panics.
        (uneven(), usual, Some(local(0)), even.clone()),
        (uneven(), failing, Some(local(0)), vec![]),
        (uneven(), failing, Some(local(2)), first.clone()),
        // The cluster panics.
        (spilled(), usual, Some(local(2)), vec![(1, 34), (2, 33), (3, 33)]),
        (spilled(), failing, Some(local(2)), vec![]),
        // Only at the first priority.
        (vec![group("a", 1, &[(1, Healthy)]), group("b", 1, &many)], usual, Some(local(2)), even),
        // Nobody is healthy, so nothing tells how large a zone is.
        (
            vec![group("a", 0, &[(1, Degraded)]), group("b", 0, &[(2, Degraded)])],
            usual,
            Some(local(2)),
            vec![(1, 50), (2, 50)],
        ),
    ] {
        let set = EndpointSet::new("s", groups);
        let rules = Rules { localities: Localities::Zones(zones), local: local.as_ref(), ..Rules::default() };
        let table = EndpointTable::new(&set, rules, &EndpointTable::default());
        assert_eq!(shares(&table, Order::Random), expected, "{set:?} {zones:?} {local:?}");
    }
}
