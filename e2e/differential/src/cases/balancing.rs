//! Which backend takes a request, and which is left out.

use crate::bootstrap::{assignment, cluster, endpoint, routes};
use crate::case::{Case, Compare, Group, case, get, once};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![policies(), hashing(), priorities(), outliers(), breakers()]
}

fn policies() -> Group {
    let three = ["B1", "B2", "B3"];
    let weights = format!(
        "[{{lb_endpoints: [{}, {}]}}]",
        endpoint("B1", ", load_balancing_weight: 1"),
        endpoint("B2", ", load_balancing_weight: 3")
    );
    let clusters = [
        cluster("least", &three, "lb_policy: LEAST_REQUEST"),
        cluster("random", &three, "lb_policy: RANDOM"),
        assignment("weighted", &weights, "lb_policy: ROUND_ROBIN"),
        assignment("least-weighted", &weights, "lb_policy: LEAST_REQUEST"),
        assignment("random-weighted", &weights, "lb_policy: RANDOM"),
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
