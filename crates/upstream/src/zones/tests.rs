//! Worked examples, calculated by hand from the formula of Envoy's documentation.

use super::*;

fn place(zone: &str) -> Locality {
    Locality { region: "eu".into(), zone: zone.into(), sub_zone: String::new() }
}

fn healthy(count: u64) -> Tally {
    Tally { total: count, healthy: count, weight: count, degraded: 0 }
}

/// Zones with so many endpoints: `a 4, b 4/2` are four in `a`, and four in `b` of which two are healthy.
fn zones(text: &str) -> BTreeMap<Locality, Tally> {
    let zone = |part: &str| {
        let (name, count) = part.split_once(' ').unwrap();
        let (total, good) = count.split_once('/').unwrap_or((count, count));
        let (total, good): (u64, u64) = (total.parse().unwrap(), good.parse().unwrap());
        (place(name), Tally { total, ..healthy(good) })
    };
    text.split(", ").filter(|part| !part.is_empty()).map(zone).collect()
}

/// The shares as percentages, from zone `a`.
fn check(settings: ZoneRouting, local: &str, upstream: &str, expected: &str) {
    let local = Local { here: place("a"), localities: zones(local) };
    let upstream = zones(upstream);
    let found = shares(&settings, &local, &upstream.iter().map(|(locality, tally)| (locality, *tally)).collect());
    let shown = found.map_or("alike".to_owned(), |shares| {
        let whole: u64 = shares.values().sum();
        let percent = |share: &u64| (*share as f64 / whole as f64 * 10_000.0).round() / 100.0;
        shares.iter().map(|(at, share)| format!("{} {}", at.zone, percent(share))).collect::<Vec<_>>().join(", ")
    });
    assert_eq!(shown, expected, "from {:?} to {upstream:?} by {settings:?}", local.localities);
}

#[test]
fn as_much_as_the_own_zone_can_carry_stays_there() {
    let usual = ZoneRouting::default();
    // As large a part of the one as of the other, or a larger one.
    check(usual, "a 1, b 1", "a 3, b 3", "a 100");
    check(usual, "a 1, b 3", "a 4, b 4", "a 100");
    // 40 % of the proxies, 25 % of the endpoints: 25 / 40 = 62.5 % stay. 10 % too many are in b, 5 % in c: the rest by 2 to 1.
    check(usual, "a 4, b 4, c 2", "a 2, b 4, c 2", "a 62.5, b 25, c 12.5");
    // 50 % and 20 %: 40 % stay, b has 30 % too many.
    check(usual, "a 5, b 5", "a 2, b 8", "a 40, b 60");
    // c has fewer than it needs itself.
    check(usual, "a 2, b 1, c 1", "a 2, b 7, c 1", "a 40, b 60");
    // Nobody in a: everything leaves, by 20 % and 50 % too many (b 30 - 10, c 70 - 20).
    check(usual, "a 7, b 1, c 2", "b 3, c 7", "b 28.57, c 71.43");
    // Zones where no proxy is take what they have.
    check(usual, "a 1, b 1", "a 2, c 6", "a 50, c 50");
}

#[test]
fn only_healthy_endpoints_count() {
    let usual = ZoneRouting::default();
    check(usual, "a 1, b 1", "a 5/2, b 5/4", "a 66.66, b 33.34");
    check(usual, "a 1, b 1", "a 5/0, b 6", "b 100");
    check(usual, "a 4/1, b 4/3", "a 3, b 3", "a 100");
    // The proxies of a are all sick, this one too: nothing is needed there.
    check(usual, "a 4/0, b 4", "a 3, b 3", "a 100");
}

#[test]
fn when_zones_are_alike() {
    let usual = ZoneRouting::default();
    check(usual, "", "a 3, b 3", "alike");
    check(usual, "a 2", "a 3, b 3", "alike");
    check(usual, "b 2, c 2", "a 3, b 3", "alike");
    check(usual, "a 1, b 1", "a 6", "alike");
    check(usual, "a 1, b 1", "a 3, b 2", "alike");
    check(usual, "a 1, b 1", "a 3, b 4/2", "alike");
    check(ZoneRouting { min_cluster_size: 1, ..usual }, "a 1, b 1", "a 1, b 1", "a 100");
    let unplaced = Local::unknown(Locality::default());
    assert_eq!(
        shares(&usual, &unplaced, &BTreeMap::from([(&place("a"), healthy(9)), (&place("b"), healthy(9))])),
        None
    );
}

#[test]
fn the_own_zone_may_take_everything() {
    let forced = |least| ZoneRouting { own_takes_all_from: Some(least), ..ZoneRouting::default() };
    check(forced(2), "a 9, b 1", "a 2, b 8", "a 100");
    check(forced(2), "a 2", "a 2, b 8", "a 100");
    check(forced(3), "a 5, b 5", "a 2, b 8", "a 40, b 60");
    check(forced(1), "a 5, b 5", "a 3/0, b 8", "b 100");
}

#[test]
fn by_weight() {
    let settings = |by_weight| ZoneRouting { by_weight, ..ZoneRouting::default() };
    let local = Local { here: place("a"), localities: zones("a 1, b 1") };
    let (a, b) = (place("a"), place("b"));
    let upstream = BTreeMap::from([(&a, healthy(3)), (&b, Tally { weight: 9, ..healthy(3) })]);
    assert_eq!(shares(&settings(false), &local, &upstream), Some(BTreeMap::from([(&a, 1)])));
    // 25 % of the weight, 50 % of the proxies.
    let found = shares(&settings(true), &local, &upstream).unwrap();
    assert_eq!(found[&a], found[&b]);
}

#[test]
fn panic_of_the_proxies_own_cluster() {
    for (local, percent, expected) in
        [("a 4/2, b 4/2", 50, false), ("a 4/1, b 4/2", 50, true), ("a 4/1, b 4/2", 0, false), ("", 50, true)]
    {
        assert_eq!(Local { here: place("a"), localities: zones(local) }.panics(percent), expected, "{local}");
    }
}
