//! Clusters whose localities count by where the proxy stands, as the proxy's own cluster changes.

use std::net::SocketAddr;
use std::sync::Arc;

use model::cluster::{Discovery, Localities, ZoneRouting};
use model::endpoint::Health;
use model::{Endpoint, EndpointSet, Locality, LocalityEndpoints};
use tokio::runtime::Handle;
use upstream::{Cluster, EndpointTable, Order, Vantage};

use crate::origin::{OneSecret, build, run};

fn place(zone: &str) -> Locality {
    Locality { zone: zone.into(), ..Locality::default() }
}

/// Endpoints in zones, each with a port of its own from `first` on.
fn set(first: u16, zones: &[(&str, usize)]) -> EndpointSet {
    let mut ports = first..;
    let group = |(zone, count): &(&str, usize)| LocalityEndpoints {
        locality: place(zone),
        endpoints: ports
            .by_ref()
            .take(*count)
            .map(|port| Endpoint::plain(SocketAddr::from(([127, 0, 0, 1], port))))
            .collect(),
        ..LocalityEndpoints::default()
    };
    EndpointSet::new("e", zones.iter().map(group).collect())
}

fn eds(name: &str, localities: Localities, zones: &[(&str, usize)]) -> Arc<Cluster> {
    let cluster = build(model::Cluster { localities, ..model::Cluster::new(name, Discovery::Eds("e".into())) });
    cluster.set_endpoints(&Arc::new(set(1, zones)));
    cluster
}

/// The share of zone `a` in percent.
fn share(table: &EndpointTable) -> u64 {
    let draws = (0..20_000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let picked = draws.filter_map(|draw| table.pick(Order::Random, draw));
    let (mut all, mut near) = (0, 0);
    picked.for_each(|endpoint| {
        all += 1;
        near += u64::from(endpoint.locality().zone == "a");
    });
    (near * 20 + all / 2) / all * 5
}

#[test]
fn it_is_followed() {
    run(async {
        let zones = Localities::Zones(ZoneRouting::default());
        let (reader, other) =
            (eds("r", zones, &[("a", 4), ("b", 4)]), eds("o", Localities::Alike, &[("a", 1), ("b", 1)]));
        let own = eds("local_cluster", zones, &[("a", 1), ("b", 1)]);
        let vantage = Vantage::new(place("a"));
        assert_eq!(share(&reader.endpoints()), 50, "nothing is known");
        vantage.set(Some(&own), [&reader, &other, &own].into_iter());
        vantage.follow_on(&Handle::current());
        assert_eq!((share(&reader.endpoints()), share(&other.endpoints())), (100, 50));
        // 80 % of the proxies are here, 50 % of the endpoints.
        own.set_endpoints(&Arc::new(set(1, &[("a", 4), ("b", 1)])));
        crate::origin::until(|| share(&reader.endpoints()) == 65).await;
        let mut sick = set(1, &[("a", 4), ("b", 1)]);
        sick.localities.iter_mut().flat_map(|group| &mut group.endpoints).for_each(|e| e.health = Health::Unhealthy);
        own.set_endpoints(&Arc::new(sick));
        crate::origin::until(|| share(&reader.endpoints()) == 50).await;
        // Its own endpoints change as well.
        own.set_endpoints(&Arc::new(set(1, &[("a", 1), ("b", 3)])));
        crate::origin::until(|| share(&reader.endpoints()) == 100).await;
        reader.set_endpoints(&Arc::new(set(1, &[("a", 0), ("b", 4), ("c", 4)])));
        assert_eq!(share(&reader.endpoints()), 0);
    });
}

#[test]
fn it_is_handed_down() {
    run(async {
        let zones = |least| Localities::Zones(ZoneRouting { min_cluster_size: least, ..ZoneRouting::default() });
        let (first, own) =
            (eds("r", zones(1), &[("a", 1), ("b", 1)]), eds("l", Localities::Alike, &[("a", 1), ("b", 1)]));
        let vantage = Vantage::new(place("a"));
        vantage.set(Some(&own), [&first, &own].into_iter());
        assert_eq!(share(&first.endpoints()), 100);
        let anew = |least| model::Cluster { localities: zones(least), ..(**first.config()).clone() };
        let second = Cluster::build(anew(2).into(), Some(&first), &OneSecret(None)).unwrap();
        assert_eq!(share(&second.endpoints()), 100);
        let third = Cluster::build(anew(3).into(), Some(&second), &OneSecret(None)).unwrap();
        assert_eq!(share(&third.endpoints()), 50);
        // Without a cluster of its own nothing is known any more.
        vantage.set(None, [&second].into_iter());
        assert_eq!(share(&second.endpoints()), 50);
    });
}
