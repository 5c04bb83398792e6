//! Which backend takes a request, and which is left out.

use crate::bootstrap::{Bootstrap, assignment, cluster, endpoint, routes};
use crate::case::{Case, Compare, Group, case, get, once};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![policies(), hashing(), priorities(), zones_first(), zones_evenly(), zones_in_panic(), outliers(), breakers()]
}

fn policies() -> Group {
    let three = ["B1", "B2", "B3"];
    let weights = |of_second: u32| {
        let second = format!(", load_balancing_weight: {of_second}");
        format!("[{{lb_endpoints: [{}, {}]}}]", endpoint("B1", ", load_balancing_weight: 1"), endpoint("B2", &second))
    };
    let clusters = [
        cluster("least", &three, "lb_policy: LEAST_REQUEST"),
        cluster("random", &three, "lb_policy: RANDOM"),
        assignment("weighted", &weights(3), "lb_policy: ROUND_ROBIN"),
        assignment("least-weighted", &weights(3), "lb_policy: LEAST_REQUEST"),
        assignment("random-weighted", &weights(19), "lb_policy: RANDOM"),
    ];
    let file = routes(
        "
- {match: {prefix: /round}, route: {cluster: all}}
- {match: {prefix: /least/}, route: {cluster: least}}
- {match: {prefix: /random/}, route: {cluster: random}}
- {match: {prefix: /weighted}, route: {cluster: weighted}}
- {match: {prefix: /least-weighted}, route: {cluster: least-weighted}}
- {match: {prefix: /random-weighted}, route: {cluster: random-weighted}}
- {match: {prefix: /clusters}, route: {weighted_clusters: {clusters: [{name: one, weight: 20}, {name: two, weight: 80}]}}}
- {match: {prefix: /nothing}, route: {weighted_clusters: {clusters: [{name: one, weight: 0}, {name: two, weight: 5}]}}}
",
    );
    let spread = |name, path| case(name, get(path)).times(300).compare(Compare::Spread);
    Group::new(
        "policies",
        file.clusters(&clusters.join("\n")).text(),
        vec![
            case("round robin", get("/round")).times(30).compare(Compare::Counts),
            spread("round robin by weight", "/weighted"),
            spread("least request", "/least/"),
            spread("least request by weight", "/least-weighted"),
            spread("random", "/random/"),
            case("random by weight", get("/random-weighted")).times(600).compare(Compare::Spread),
            spread("weighted clusters", "/clusters"),
            spread("a weight of nothing", "/nothing"),
            Case {
                steps: vec![once(get("/least/").asks("b1?delay=400")).times(12)],
                ..case("least request avoids who is busy", get("/"))
            }
            .together(12)
            .compare(Compare::Statuses),
        ],
    )
}

fn hashing() -> Group {
    let three = ["B1", "B2", "B3"];
    let ring = cluster("ring", &three, "lb_policy: RING_HASH\nring_hash_lb_config: {minimum_ring_size: 1024}");
    let maglev = cluster("maglev", &three, "lb_policy: MAGLEV\nmaglev_lb_config: {table_size: 65537}");
    let file = routes(
        "
- {match: {prefix: /ring}, route: {cluster: ring, hash_policy: [{header: {header_name: x-key}}]}}
- {match: {prefix: /maglev}, route: {cluster: maglev, hash_policy: [{header: {header_name: x-key}}]}}
- {match: {prefix: /query}, route: {cluster: ring, hash_policy: [{query_parameter: {name: key}}]}}
- {match: {prefix: /source}, route: {cluster: ring, hash_policy: [{connection_properties: {source_ip: true}}]}}
- {match: {prefix: /cookie}, route: {cluster: ring, hash_policy: [{cookie: {name: sticky}}]}}
- {match: {prefix: /made}, route: {cluster: ring, hash_policy: [{cookie: {name: sticky, ttl: 60s, path: /}}]}}
- {match: {prefix: /both}, route: {cluster: ring, hash_policy: [{header: {header_name: x-key}}, {query_parameter: {name: key}}]}}
- {match: {prefix: /first}, route: {cluster: ring, hash_policy: [{header: {header_name: x-key}, terminal: true}, {query_parameter: {name: key}}]}}
",
    );
    let keyed = |path: &str| get(path).header("x-key", "key-{n}");
    let choice = |name, request| case(name, request).times(25).compare(Compare::Choice);
    Group::new(
        "hashing",
        file.clusters(&[ring, maglev].join("\n")).text(),
        vec![
            choice("ring by header", keyed("/ring")),
            choice("ring by query", get("/query?key=value-{n}")),
            choice("ring by source", get("/source")),
            choice("ring by cookie", get("/cookie").header("cookie", "other=1; sticky=user-{n}")),
            choice("Maglev by header", keyed("/maglev")),
            choice("two keys", keyed("/both?key={n}")),
            choice("the first key is enough", keyed("/first?key={n}")),
            choice("several values", keyed("/ring").header("x-key", "more-{n}")),
            case("a cookie that is made", get("/made")).compare(Compare::AnyBackend),
            case("a cookie that is there", get("/made").header("cookie", "sticky=\"abc\"")),
            case("no key", get("/ring")).times(60).compare(Compare::Spread),
        ],
    )
}

fn priorities() -> Group {
    let group = |priority: u32, ports: &[(&str, &str)], more: &str| {
        let list: Vec<String> = ports.iter().map(|(port, more)| endpoint(port, more)).collect();
        format!("{{priority: {priority}, lb_endpoints: [{}]{more}}}", list.join(", "))
    };
    let sick = ", health_status: UNHEALTHY";
    let list = |groups: &[String]| format!("[{}]", groups.join(", "));
    let zone = |name: &str, weight: u32| format!(", locality: {{zone: {name}}}, load_balancing_weight: {weight}");
    let clusters = [
        assignment("first", &list(&[group(0, &[("B1", "")], ""), group(1, &[("B2", "")], "")]), ""),
        assignment("second", &list(&[group(0, &[("B1", sick)], ""), group(1, &[("B2", "")], "")]), ""),
        assignment("spills", &list(&[group(0, &[("B1", ""), ("B2", sick)], ""), group(1, &[("B3", "")], "")]), ""),
        assignment("panic", &list(&[group(0, &[("B1", ""), ("B2", sick), ("B3", sick)], "")]), ""),
        assignment(
            "no-panic",
            &list(&[group(0, &[("B1", ""), ("B2", sick), ("B3", sick)], "")]),
            "common_lb_config: {healthy_panic_threshold: {value: 0}}",
        ),
        assignment(
            "all-sick",
            &list(&[group(0, &[("B1", sick)], "")]),
            "common_lb_config: {healthy_panic_threshold: {value: 0}}",
        ),
        assignment("degraded", &list(&[group(0, &[("B1", ", health_status: DEGRADED"), ("B2", "")], "")]), ""),
        assignment(
            "draining",
            &list(&[group(0, &[("B1", ", health_status: DRAINING"), ("B2", "")], "")]),
            "common_lb_config: {healthy_panic_threshold: {value: 0}}",
        ),
        assignment(
            "zones",
            &list(&[group(0, &[("B1", "")], &zone("a", 1)), group(0, &[("B2", "")], &zone("b", 3))]),
            "common_lb_config: {locality_weighted_lb_config: {}}",
        ),
        assignment(
            "no-zones",
            &list(&[group(0, &[("B1", "")], &zone("a", 1)), group(0, &[("B2", "")], &zone("b", 3))]),
            "",
        ),
        assignment("empty", "[]", ""),
    ];
    let names = [
        "first", "second", "spills", "panic", "no-panic", "all-sick", "degraded", "draining", "zones", "no-zones",
        "empty",
    ];
    let text: String =
        names.iter().map(|name| format!("- {{match: {{prefix: /{name}/}}, route: {{cluster: {name}}}}}\n")).collect();
    let spread = |name, path| case(name, get(path)).times(150).compare(Compare::Spread);
    Group::new(
        "priorities",
        routes(&text).clusters(&clusters.join("\n")).text(),
        vec![
            spread("the first", "/first/"),
            spread("the second, the first is ill", "/second/"),
            spread("some of it to the second", "/spills/"),
            spread("panic", "/panic/"),
            spread("no panic", "/no-panic/"),
            case("nobody is well", get("/all-sick/")),
            spread("degraded", "/degraded/"),
            spread("draining", "/draining/"),
            spread("localities by weight", "/zones/"),
            spread("localities without weight", "/no-zones/"),
            case("nobody is there", get("/empty/")),
        ],
    )
}

/// Endpoints of one zone, as an item of a list; in front of a port, `!` marks it as unhealthy, and a number and `*` give it a
/// weight.
fn zone(name: &str, ports: &[&str]) -> String {
    let one = |port: &&str| match (port.strip_prefix('!'), port.split_once('*')) {
        (Some(port), _) => endpoint(port, ", health_status: UNHEALTHY"),
        (_, Some((weight, port))) => endpoint(port, &format!(", load_balancing_weight: {weight}")),
        _ => endpoint(port, ""),
    };
    let list: Vec<String> = ports.iter().map(one).collect();
    format!("{{locality: {{zone: {name}}}, lb_endpoints: [{}]}}", list.join(", "))
}

/// The proxy's own cluster. Nobody dials its endpoints.
fn own(zones: &[(&str, usize, usize)]) -> String {
    let mut number = 0;
    let zone = |(name, healthy, sick): &(&str, usize, usize)| {
        let states = std::iter::repeat_n("HEALTHY", *healthy).chain(std::iter::repeat_n("UNHEALTHY", *sick));
        let endpoints = states.map(|state| {
            number += 1;
            format!("{{endpoint: {{address: {{socket_address: {{address: 127.9.9.9, port_value: {number}}}}}}}, health_status: {state}}}")
        });
        format!("{{locality: {{zone: {name}}}, lb_endpoints: [{}]}}", endpoints.collect::<Vec<_>>().join(", "))
    };
    let zones: Vec<String> = zones.iter().map(zone).collect();
    assignment("local", &format!("[{}]", zones.join(", ")), "")
}

const SMALL: &str = "common_lb_config: {zone_aware_lb_config: {min_cluster_size: 1}}";

/// The typed form of round robin, with more of what it says of zones.
fn typed(more: &str) -> String {
    format!(
        "load_balancing_policy: {{policies: [{{typed_extension_config: {{name: envoy.load_balancing_policies.round_robin, typed_config: {{'@type': type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin, locality_lb_config: {{zone_aware_lb_config: {{min_cluster_size: 1, {more}}}}}}}}}}}]}}"
    )
}

/// A route to each of these clusters, which a proxy in the zone `a` calls.
fn from_a(own: String, clusters: &[(&str, Vec<String>, &str)]) -> Bootstrap {
    let route = |(name, ..): &(&str, Vec<String>, &str)| {
        format!("- {{match: {{prefix: /{name}/}}, route: {{cluster: {name}}}}}\n")
    };
    let cluster =
        |(name, zones, more): &(&str, Vec<String>, &str)| assignment(name, &format!("[{}]", zones.join(", ")), more);
    let all: Vec<String> = clusters.iter().map(cluster).chain([own]).collect();
    routes(&clusters.iter().map(route).collect::<String>()).clusters(&all.join("\n")).stands_in("a")
}

/// Three of four proxies are in `a`.
fn zones_first() -> Group {
    let each = || vec![zone("a", &["B1"]), zone("b", &["B2"]), zone("c", &["B3"])];
    let most = || vec![zone("a", &["B1", "B2"]), zone("b", &["B3"])];
    let half = "common_lb_config: {zone_aware_lb_config: {min_cluster_size: 1, routing_enabled: {value: 50}}}";
    let (forced, forced_from_two) = (typed("force_local_zone: {}"), typed("force_local_zone: {min_size: 2}"));
    let (older, weights) =
        (typed("force_locality_direct_routing: true"), typed("locality_basis: HEALTHY_HOSTS_WEIGHT"));
    let (least, random) = (format!("{SMALL}\nlb_policy: LEAST_REQUEST"), format!("{SMALL}\nlb_policy: RANDOM"));
    let clusters = [
        ("carries", most(), SMALL),
        ("spills", each(), SMALL),
        ("away", vec![zone("b", &["B1", "B2"]), zone("c", &["B3"])], SMALL),
        ("sick", vec![zone("a", &["!B1", "B2"]), zone("b", &["B3"])], SMALL),
        ("one-zone", vec![zone("a", &["B1", "B2", "B3"])], SMALL),
        ("few", most(), ""),
        ("half", most(), half),
        ("forced", each(), &forced),
        ("forced-from-two", each(), &forced_from_two),
        ("older", each(), &older),
        ("weights", vec![zone("a", &["1*B1"]), zone("b", &["3*B2"])], &weights),
        ("least", each(), &least),
        ("random", each(), &random),
    ];
    let file = from_a(own(&[("a", 3, 0), ("b", 1, 0)]), &clusters);
    let spread = |(name, ..): &(&'static str, Vec<String>, &str)| {
        case(name, get(&format!("/{name}/"))).times(300).compare(Compare::Spread)
    };
    Group::new("zones", file.text(), clusters.iter().map(spread).collect())
}

/// As many proxies in `a` as in `b`: all that the zone `a` can take stays there, also where nothing is said of zones.
fn zones_evenly() -> Group {
    let six = || vec![zone("a", &["B1", "B2", "B3"]), zone("b", &["DEAD", "SHUT", "LISTEN"])];
    let clusters = [
        ("said", vec![zone("a", &["B1"]), zone("b", &["B2"])], SMALL),
        ("unsaid", six(), ""),
        (
            "never",
            vec![zone("a", &["B1"]), zone("b", &["B2"])],
            "common_lb_config: {zone_aware_lb_config: {min_cluster_size: 1, routing_enabled: {value: 0}}}",
        ),
    ];
    let file = from_a(own(&[("a", 1, 0), ("b", 1, 0)]), &clusters);
    let spread = |(name, ..): &(&'static str, Vec<String>, &str)| {
        case(name, get(&format!("/{name}/"))).times(200).compare(Compare::Spread)
    };
    Group::new("zones evenly", file.text(), clusters.iter().map(spread).collect())
}

/// The proxy's own cluster panics, and so do some of the others.
fn zones_in_panic() -> Group {
    let each = || vec![zone("a", &["B1"]), zone("b", &["B2"]), zone("c", &["B3"])];
    let mostly_sick = || vec![zone("a", &["B1", "!B2"]), zone("b", &["!B3"])];
    let fails = "common_lb_config: {zone_aware_lb_config: {min_cluster_size: 1, fail_traffic_on_panic: true}}";
    let clusters = [
        ("own", each(), SMALL),
        ("own-fails", each(), fails),
        ("own-fails-in-one-zone", vec![zone("a", &["B1", "B2"])], fails),
        ("both", mostly_sick(), SMALL),
        ("both-fail", mostly_sick(), fails),
    ];
    let file = from_a(own(&[("a", 1, 2), ("b", 0, 1)]), &clusters);
    let spread = |(name, ..): &(&'static str, Vec<String>, &str)| {
        let compare = if name.contains("fail") { Compare::Statuses } else { Compare::Spread };
        case(name, get(&format!("/{name}/"))).times(150).compare(compare)
    };
    Group::new("zones in panic", file.text(), clusters.iter().map(spread).collect())
}

fn outliers() -> Group {
    let three = ["B1", "B2", "B3"];
    let clusters = [
        cluster(
            "fives",
            &three,
            "outlier_detection: {consecutive_5xx: 2, interval: 600s, base_ejection_time: 600s, max_ejection_percent: 100, enforcing_consecutive_gateway_failure: 0}",
        ),
        cluster(
            "gateways",
            &three,
            "outlier_detection: {consecutive_5xx: 100, consecutive_gateway_failure: 2, enforcing_consecutive_gateway_failure: 100, interval: 600s, base_ejection_time: 600s, max_ejection_percent: 100}",
        ),
        cluster(
            "capped",
            &three,
            "outlier_detection: {consecutive_5xx: 1, interval: 600s, base_ejection_time: 600s, max_ejection_percent: 10}",
        ),
        cluster(
            "back",
            &["B1"],
            "common_lb_config: {healthy_panic_threshold: {value: 0}}\noutlier_detection: {consecutive_5xx: 1, interval: 0.1s, base_ejection_time: 0.3s, max_ejection_percent: 100}",
        ),
        cluster(
            "checked",
            &three,
            "health_checks: [{timeout: 1s, interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /health/not-b3}}]",
        ),
        cluster(
            "checked-tcp",
            &["B1", "DEAD"],
            "health_checks: [{timeout: 1s, interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]",
        ),
        cluster(
            "checked-odd",
            &three,
            "health_checks: [{timeout: 1s, interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /health/not-b1, expected_statuses: [{start: 500, end: 504}]}}]\ncommon_lb_config: {healthy_panic_threshold: {value: 0}}",
        ),
    ];
    let names = ["fives", "gateways", "capped", "back", "checked", "checked-tcp", "checked-odd"];
    let text: String =
        names.iter().map(|name| format!("- {{match: {{prefix: /{name}/}}, route: {{cluster: {name}}}}}\n")).collect();
    let ill = |path: &str, how: &str, times| once(get(path).asks(&format!("b1?status={how};body=ill"))).times(times);
    let statuses = |name, steps| Case::of(name, steps).compare(Compare::Statuses);
    Group::new(
        "outliers and checks",
        routes(&text).clusters(&clusters.join("\n")).text(),
        vec![
            statuses("two failures in a row", vec![ill("/fives/", "500", 60)]),
            statuses("two gateway failures in a row", vec![ill("/gateways/", "503", 60)]),
            statuses("500 is no gateway failure", vec![ill("/gateways/", "500", 60)]),
            Case::of(
                "the only one is out, then back",
                vec![
                    once(get("/back/").asks("status=500")),
                    once(get("/back/")).after(50),
                    once(get("/back/")).after(2500),
                ],
            ),
            case("who fails checks gets nothing", get("/checked/")).times(60).compare(Compare::Spread),
            case("who cannot be reached gets nothing", get("/checked-tcp/")).times(60).compare(Compare::Spread),
            case("another status is expected", get("/checked-odd/")).times(60).compare(Compare::Spread),
            statuses(
                "not more than a share is out",
                vec![once(get("/capped/").asks("status=500")).times(20), once(get("/capped/")).times(20)],
            ),
        ],
    )
    .settled_for(1500)
}

fn breakers() -> Group {
    let clusters = [
        cluster("requests", &["B1"], "circuit_breakers: {thresholds: [{max_requests: 1}]}"),
        cluster("pending", &["B1"], "circuit_breakers: {thresholds: [{max_connections: 1, max_pending_requests: 3}]}"),
        cluster("retries", &["B1"], "circuit_breakers: {thresholds: [{max_retries: 0}]}"),
        cluster(
            "none-pending",
            &["B1"],
            "circuit_breakers: {thresholds: [{max_connections: 1, max_pending_requests: 0}]}",
        ),
    ];
    let file = routes(
        "
- {match: {prefix: /requests/}, route: {cluster: requests}}
- {match: {prefix: /pending/}, route: {cluster: pending}}
- {match: {prefix: /none-pending/}, route: {cluster: none-pending}}
- {match: {prefix: /retries/}, route: {cluster: retries, retry_policy: {retry_on: 5xx, num_retries: 2}}}
",
    );
    let together = |name, path| case(name, get(path).asks("delay=400")).together(5).compare(Compare::Statuses);
    Group::new(
        "circuit breakers",
        file.clusters(&clusters.join("\n")).text(),
        vec![
            together("requests", "/requests/"),
            Case { steps: vec![once(get("/pending/").asks("delay=200"))], ..case("pending requests", get("/")) }
                .together(2)
                .compare(Compare::Statuses),
            case("no pending requests", get("/none-pending/")),
            case("no retries", get("/retries/").asks("status=503")),
            case("one request", get("/requests/")),
        ],
    )
}
