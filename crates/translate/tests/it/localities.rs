//! Priorities and weights of localities, as Istio's control plane computes them for a client.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::EndpointSet;
use model::cluster::{Discovery, LOCAL_CLUSTER, Localities};
use model::endpoint::Health;
use translate::{Edit, Node, Workload, World};

use super::mesh::{BOOKINFO, config, gateway, sidecar, workload, world};

const CLUSTER: &str = "outbound|9080||reviews.default.svc.cluster.local";

/// Six endpoints of reviews; the last byte of each address tells them apart.
const WORKLOADS: [&str; 6] = [
    "reviews/v1@11#us/z1/a",
    "reviews/v2@12#us/z1/b",
    "reviews/v3@13#us/z2/a",
    "reviews/v4@14#eu/z1/a",
    "reviews/v5@15#asia/z1/a",
    "reviews/v6@16",
];

fn mesh(policy: &str) -> World {
    let rule = match policy {
        "" => String::new(),
        policy => format!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d}}\nspec: {{host: reviews, trafficPolicy: {{{policy}}}}}"
        ),
    };
    world(&format!("{BOOKINFO}{rule}"), &WORKLOADS)
}

/// Each group as `priority[=weight]: endpoints`, and what the cluster makes of them.
fn seen(world: &World, client: &Node) -> String {
    let config = config(world, client);
    let set = match &config.clusters[CLUSTER].discovery {
        Discovery::Eds(name) => &config.endpoints[name],
        other => panic!("{other:?}"),
    };
    let mut text = groups(set);
    match config.clusters[CLUSTER].localities {
        Localities::Alike => {}
        Localities::Weighted => text.push_str(" (weighted)"),
        Localities::Zones(zones) => text.push_str(&format!(" (own zone first, from {})", zones.min_cluster_size)),
    }
    text
}

fn groups(set: &EndpointSet) -> String {
    let mut lines: Vec<(u32, String)> = Vec::new();
    for group in &set.localities {
        let last = |addr: std::net::SocketAddr| addr.ip().to_string().rsplit('.').next().unwrap().to_owned();
        let members: Vec<_> = group.endpoints.iter().filter_map(|e| Some(last(e.address.socket_addr()?))).collect();
        let weight = group.weight.map_or(String::new(), |weight| format!("={weight}"));
        lines.push((group.priority, format!("{}{weight}: {}", group.priority, members.join(" "))));
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join(", ")
}

#[test]
fn by_rule_and_place() {
    let alike = "0: 11, 0: 12, 0: 13, 0: 14, 0: 15, 0: 16";
    let outlier = "outlierDetection: {}";
    let locality = |setting: &str| format!("loadBalancer: {{localityLbSetting: {{{setting}}}}}");
    let failing = |setting: &str| format!("{}, {outlier}", locality(setting));
    for (policy, client, expected) in [
        // Without outlier detection nothing tells that an endpoint fails.
        (String::new(), "us/z1/a", alike),
        (locality("enabled: true"), "us/z1/a", alike),
        (locality("failover: [{from: us, to: eu}]"), "us/z1/a", alike),
        (outlier.into(), "us/z1/a", "0: 11, 1: 12, 2: 13, 3: 14, 3: 15, 3: 16"),
        (outlier.into(), "us/z3", "0: 11, 0: 12, 0: 13, 1: 14, 1: 15, 1: 16"),
        (outlier.into(), "africa", alike),
        (outlier.into(), "", "0: 16, 1: 11, 1: 12, 1: 13, 1: 14, 1: 15"),
        (failing("enabled: false"), "us/z1/a", alike),
        (failing("enabled: false, failover: [{from: us, to: eu}]"), "us/z1/a", alike),
        (
            failing("failover: [{from: us, to: eu}]"),
            "us/z1/a",
            "0=1: 11, 1=1: 12, 2=1: 13, 3=1: 14, 4=1: 15, 4=1: 16 (weighted)",
        ),
        (
            failing("failover: [{from: us, to: eu}]"),
            "eu/z1/a",
            "0=1: 14, 1=1: 11, 1=1: 12, 1=1: 13, 1=1: 15, 1=1: 16 (weighted)",
        ),
        (
            failing("failoverPriority: [topology.kubernetes.io/region, topology.kubernetes.io/zone]"),
            "us/z1/b",
            "0=1: 11, 0=1: 12, 1=1: 13, 2=1: 14, 2=1: 15, 2=1: 16 (weighted)",
        ),
        (
            failing("failoverPriority: ['topology.kubernetes.io/region=eu']"),
            "us/z1/b",
            "0=1: 14, 1=1: 11, 1=1: 12, 1=1: 13, 1=1: 15, 1=1: 16 (weighted)",
        ),
        (
            failing("failoverPriority: ['version=v2']"),
            "us/z1/b",
            "0=1: 12, 1=1: 11, 1=1: 13, 1=1: 14, 1=1: 15, 1=1: 16 (weighted)",
        ),
        (
            failing("failoverPriority: [topology.kubernetes.io/region], failover: [{from: us, to: asia}]"),
            "us/z2/a",
            "0=1: 13, 1=1: 11, 1=1: 12, 2=1: 15, 3=1: 14, 3=1: 16 (weighted)",
        ),
        (
            "loadBalancer: {zoneAwareLbSetting: {failover: [{from: us, to: asia}]}}".into(),
            "us/z1/a",
            "0: 11, 0: 12, 0: 13, 1: 15, 2: 14, 2: 16 (own zone first, from 6)",
        ),
        (
            "loadBalancer: {zoneAwareLbSetting: {minClusterSize: 2}}".into(),
            "eu/z1",
            "0: 14, 1: 11, 1: 12, 1: 13, 1: 15, 1: 16 (own zone first, from 2)",
        ),
        ("loadBalancer: {zoneAwareLbSetting: {enabled: false}}".into(), "eu/z1", alike),
        (
            locality("distribute: [{from: us/*, to: {us/z1/*: 80, us/z2/*: 20}}, {from: '*', to: {eu/*: 100}}]"),
            "us/z1/a",
            "0=20: 13, 0=40: 11, 0=40: 12 (weighted)",
        ),
        (
            locality("distribute: [{from: us/*, to: {us/z1/a: 70, us/*: 30}}]"),
            "us/z2/a",
            "0=15: 12, 0=15: 13, 0=70: 11 (weighted)",
        ),
        (
            locality("distribute: [{from: eu/z1/*, to: {eu/z1/*: 100}}]"),
            "us/z2/a",
            "0=1: 11, 0=1: 12, 0=1: 13, 0=1: 14, 0=1: 15, 0=1: 16 (weighted)",
        ),
    ] {
        let client = sidecar(&format!("productpage/v1@2#{client}"), 9080);
        let (text, expected) = (seen(&mesh(&policy), &client), expected.to_owned());
        assert_eq!(text, expected, "{policy} for {:?}", client.locality);
    }
}

#[test]
fn as_the_service_says() {
    let annotation = |value: &str| {
        BOOKINFO.replacen(
            "  name: reviews\n",
            &format!("  name: reviews\n  annotations: {{networking.istio.io/traffic-distribution: {value}}}\n"),
            1,
        )
    };
    let field = |value: &str| {
        let selector = "  selector: {app: reviews}\n";
        BOOKINFO.replacen(selector, &format!("{selector}  trafficDistribution: {value}\n"), 1)
    };
    let zone = "0=1: 11, 0=1: 12, 1=1: 13, 2=1: 14 (weighted)";
    for (documents, expected) in [
        (field("PreferClose"), zone),
        (field("PreferSameZone"), zone),
        (field("PreferSameNode"), "0=1: 11, 1=1: 12, 2=1: 13, 3=1: 14 (weighted)"),
        (annotation("PreferClose"), zone),
        (annotation("prefersamezone"), zone),
        (annotation("Any"), "0: 11, 0: 12, 0: 13, 0: 14"),
        (annotation("PreferSameNode"), "0=1: 11, 1=1: 12, 2=1: 13, 3=1: 14 (weighted)"),
        (
            format!(
                "{}\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d}}\nspec: {{host: reviews, trafficPolicy: {{loadBalancer: {{localityLbSetting: {{enabled: false}}}}}}}}",
                annotation("PreferClose")
            ),
            "0: 11, 0: 12, 0: 13, 0: 14",
        ),
    ] {
        let words =
            ["reviews/v1@11#us/z1/a", "reviews/v2@12#us/z1/b", "reviews/v3@13#us/z2/a", "reviews/v4@14#eu/z1/a"];
        let world = world(&documents, &words);
        assert_eq!(seen(&world, &sidecar("productpage/v1@2#us/z1/a", 9080)), expected, "{documents}");
    }
}

#[test]
fn outside_endpoints_have_places() {
    let entry = |resolution: &str, (near, far): (&str, &str)| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s}}
spec:
  hosts: [s.example.org]
  resolution: {resolution}
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
  - {{address: {near}, locality: us/z1}}
  - {{address: {far}, labels: {{topology.kubernetes.io/region: eu}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: d}}
spec: {{host: s.example.org, trafficPolicy: {{outlierDetection: {{}}}}}}"
        )
    };
    let client = sidecar("productpage/v1@2#us/z1/a", 9080);
    let fixed = config(&world(&entry("STATIC", ("10.0.0.1", "10.0.0.2")), &[]), &client);
    assert_eq!(groups(&fixed.endpoints["outbound|80||s.example.org"]), "0: 1, 1: 2");
    let named = config(&world(&entry("DNS", ("a.example.org", "b.example.org")), &[]), &client);
    let Discovery::StrictDns(set) = &named.clusters["outbound|80||s.example.org"].discovery else { panic!() };
    let priorities: Vec<_> = set.localities.iter().map(|group| (&*group.locality.region, group.priority)).collect();
    assert_eq!(priorities, [("eu", 1), ("us", 0)]);
}

#[test]
fn proxies_are_told_apart_only_where_places_count() {
    let places = ["us/z1/a", "us/z1/b", "eu/z1/a"];
    let scopes = |policy: &str| {
        let world = mesh(policy);
        let nodes = places.map(|place| world.scope(&sidecar(&format!("productpage/v1@2#{place}"), 9080)));
        nodes.iter().map(|node| format!("{node:?}")).collect::<BTreeSet<_>>().len()
    };
    assert_eq!(scopes(""), 1);
    assert_eq!(scopes("loadBalancer: {localityLbSetting: {enabled: false}}"), 1);
    assert_eq!(scopes("outlierDetection: {}"), 3);
}

/// The node's own cluster as it is told: each zone, and the last bytes of the addresses there; sick ones in brackets.
fn own_cluster(world: &World, node: &Node) -> Option<String> {
    let config = config(world, node);
    config.clusters.get(LOCAL_CLUSTER)?;
    let zones = config.endpoints[LOCAL_CLUSTER].localities.iter().map(|group| {
        let member = |e: &model::Endpoint| {
            let last = e.address.socket_addr().unwrap().ip().to_string().rsplit('.').next().unwrap().to_owned();
            if e.health == Health::Healthy { last } else { format!("({last})") }
        };
        format!("{} {}", group.locality.zone, group.endpoints.iter().map(member).collect::<Vec<_>>().join("+"))
    });
    Some(zones.collect::<Vec<_>>().join(", "))
}

#[test]
fn proxies_know_the_others_of_their_workload() {
    let documents = |setting: &str| {
        format!(
            "{BOOKINFO}\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d}}\nspec: {{host: reviews, trafficPolicy: {{loadBalancer: {{{setting}}}}}}}"
        )
    };
    let words =
        ["productpage/v1@2#us/z1", "productpage/v1@3#us/z1", "productpage/v1@4#us/z2", "productpage/v2@5#us/z2"];
    let client = sidecar("productpage/v1@2#us/z1", 9080);
    let zones = world(&documents("zoneAwareLbSetting: {}"), &words);
    assert_eq!(own_cluster(&zones, &client).as_deref(), Some("z1 2+3, z2 4"));
    assert_eq!(own_cluster(&zones, &sidecar("productpage/v2@5#us/z2", 9080)).as_deref(), Some("z2 5"));
    assert_eq!(own_cluster(&zones, &gateway()), None, "nobody registers");
    for other in ["zoneAwareLbSetting: {enabled: false}", "simple: ROUND_ROBIN"] {
        assert_eq!(own_cluster(&world(&documents(other), &words), &client), None, "{other}");
    }
    // Others of the workload come, go, and become ready.
    let more = Arc::new(Workload { name: "productpage-v1-y".into(), ..workload("productpage/v1@6#us/z3") });
    let named = |world: &World, word: &str, expected: &str| {
        let node = sidecar(word, 9080);
        assert_eq!(own_cluster(world, &node).as_deref(), Some(expected), "{word}");
    };
    let (grown, change) = zones.next(Edit { workloads: vec![(None, Some(more.clone()))], ..Edit::default() });
    assert!(change.concerns_own(&client) && !change.concerns_own(&sidecar("details/v1@9#us/z1", 9080)));
    named(&grown, "productpage/v1@2#us/z1", "z1 2+3, z2 4, z3 6");
    let waiting = Arc::new(BTreeSet::from(["127.64.0.4:9080".parse().unwrap()]));
    let (waits, change) = grown.next(Edit { not_ready: Some(waiting), ..Edit::default() });
    assert!(change.concerns_own(&client));
    named(&waits, "productpage/v1@2#us/z1", "z1 2+3, z2 (4), z3 6");
    let (left, change) = waits.next(Edit { workloads: vec![(Some(more), None)], ..Edit::default() });
    assert!(change.concerns_own(&client));
    named(&left, "productpage/v1@2#us/z1", "z1 2+3, z2 (4)");
}
