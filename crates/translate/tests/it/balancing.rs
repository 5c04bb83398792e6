//! How endpoints are chosen: simple policies, hashes and what of a request they are made of.

use model::route::{Action, HashKey};
use model::{Config, NetworkFilter};

use super::mesh::{BOOKINFO, config, gateway, sidecar, world};

const REVIEWS: &str = "reviews.default.svc.cluster.local";

/// What productpage has for reviews under this policy, and these further documents.
fn under(policy: &str, more: &str) -> Config {
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d}}\nspec: {{host: reviews, {policy}}}"
    );
    let world = world(&format!("{BOOKINFO}\n---\n{rule}\n{more}"), &["reviews/v1@3", "reviews/v2@4"]);
    config(&world, &sidecar("productpage/v1@2", 9080))
}

fn balancing(config: &Config, subset: &str) -> String {
    format!("{:?}", config.clusters[&*format!("outbound|9080|{subset}|{REVIEWS}")].balancing)
}

/// The keys of the first route to reviews, and whether further tries avoid the endpoints that were tried.
fn keys(config: &Config) -> (Vec<HashKey>, bool) {
    let host = config.routes["9080"].hosts.iter().find(|host| host.name.starts_with("reviews")).unwrap();
    let Action::Forward(forward) = &host.routes[0].action else { panic!("{host:?}") };
    let keys = forward.hash.iter().map(|policy| policy.key.clone()).collect();
    (keys, forward.retry.as_ref().unwrap().avoid_previous_hosts)
}

#[test]
fn simple_policies() {
    let least = "LeastRequest { choices: 2 }";
    for (simple, expected) in [
        ("UNSPECIFIED", least),
        ("LEAST_CONN", least),
        ("LEAST_REQUEST", least),
        ("ROUND_ROBIN", "RoundRobin"),
        ("RANDOM", "Random"),
        ("PASSTHROUGH", "Provided"),
    ] {
        let config = under(&format!("trafficPolicy: {{loadBalancer: {{simple: {simple}}}}}"), "");
        assert_eq!(balancing(&config, ""), expected, "{simple}");
        assert_eq!(keys(&config), (vec![], true), "{simple}");
    }
}

#[test]
fn hashes() {
    let ring = |min_size: u32| format!("RingHash {{ min_size: {min_size}, max_size: 8388608 }}");
    for (hash, balancer, expected) in [
        ("httpHeaderName: X-User", ring(1024), r#"Header("x-user")"#),
        ("httpQueryParameterName: user", ring(1024), r#"Query("user")"#),
        ("useSourceIp: true, ringHash: {minimumRingSize: 12}", ring(12), "SourceIp"),
        ("useSourceIp: true, ringHash: {}", ring(1024), "SourceIp"),
        ("useSourceIp: true, minimumRingSize: 77", ring(77), "SourceIp"),
        ("useSourceIp: true, maglev: {}", "Maglev { table_size: 65537 }".into(), "SourceIp"),
        ("useSourceIp: true, maglev: {tableSize: 97}", "Maglev { table_size: 97 }".into(), "SourceIp"),
        (
            "httpCookie: {name: user, ttl: 60s, path: /a, attributes: [{name: SameSite, value: Lax}]}",
            ring(1024),
            r#"Cookie(HashCookie { name: "user", ttl: Some(60s), path: "/a", attributes: [("SameSite", "Lax")] })"#,
        ),
    ] {
        let config = under(&format!("trafficPolicy: {{loadBalancer: {{consistentHash: {{{hash}}}}}}}"), "");
        assert_eq!(balancing(&config, ""), balancer, "{hash}");
        let (keys, avoids) = keys(&config);
        assert_eq!((format!("{keys:?}"), avoids), (format!("[{expected}]"), true), "{hash}");
    }
}

#[test]
fn keys_of_destinations() {
    let rule = |http: &str| {
        format!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {{hosts: [reviews], http: [{{{http}}}]}}"
        )
    };
    let policy = "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: whole}}}, subsets: [
        {name: v1, labels: {version: v1}},
        {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: own}}}},
        {name: v3, labels: {version: v3}, trafficPolicy: {loadBalancer: {simple: RANDOM}}},
        {name: v4, labels: {version: v4}, trafficPolicy: {portLevelSettings: [{port: {number: 9080}, loadBalancer: {consistentHash: {httpHeaderName: port}}}]}}]";
    let to = |subset: &str| format!("destination: {{host: reviews, subset: {subset}}}");
    for (http, expected, avoids) in [
        ("route: [{destination: {host: reviews}}]".to_owned(), vec!["whole"], false),
        (format!("route: [{{{}}}]", to("v1")), vec!["whole"], false),
        (format!("route: [{{{}}}]", to("v2")), vec!["own"], false),
        (format!("route: [{{{}}}]", to("v3")), vec![], true),
        (format!("route: [{{{}}}]", to("v4")), vec!["port"], false),
        (format!("retries: {{retryIgnorePreviousHosts: true}}, route: [{{{}}}]", to("v1")), vec!["whole"], true),
        (
            format!("route: [{{{}, weight: 1}}, {{{}, weight: 1}}, {{{}, weight: 0}}]", to("v2"), to("v1"), to("v4")),
            vec!["own", "whole"],
            true,
        ),
    ] {
        let (keys, avoided) = keys(&under(policy, &rule(&http)));
        let names: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
        let expected: Vec<_> = expected.iter().map(|name| format!("Header({name:?})")).collect();
        assert_eq!((names, avoided), (expected, avoids), "{http}");
    }
}

#[test]
fn remote_localities_by_priority() {
    let rule = |retries: &str| {
        format!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {{hosts: [reviews], http: [{{retries: {{{retries}}}, route: [{{destination: {{host: reviews}}}}]}}]}}"
        )
    };
    for (retries, expected) in [("attempts: 3, retryRemoteLocalities: true", Some(2)), ("attempts: 3", None)] {
        let config = under("trafficPolicy: {loadBalancer: {simple: RANDOM}}", &rule(retries));
        let host = config.routes["9080"].hosts.iter().find(|host| host.name.starts_with("reviews")).unwrap();
        let Action::Forward(forward) = &host.routes[0].action else { panic!("{host:?}") };
        let every = forward.retry.as_ref().unwrap().avoid_previous_priorities;
        assert_eq!(every.map(|every| every.get()), expected, "{retries}");
    }
}

/// Do connections to the service's port by its address go by the client's?
fn tcp_by_source(documents: &str) -> bool {
    let world = world(documents, &["db/v1@3"]);
    let config = config(&world, &sidecar("productpage/v1@2", 9080));
    let found = config.listeners.values().filter(|listener| listener.name.ends_with("_5432"));
    let filters: Vec<_> = found.flat_map(|listener| &listener.chains).map(|chain| &chain.filter).collect();
    let [NetworkFilter::Tcp(tcp)] = &filters[..] else { panic!("{filters:?}") };
    tcp.hash_source
}

#[test]
fn raw_connections_and_sticky_services() {
    let service = |more: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: db}}\nspec: {{selector: {{app: db}}, ports: [{{name: tcp, port: 5432}}]{more}}}"
        )
    };
    let rule = |hash: &str| {
        format!(
            "{}\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d}}\nspec: {{host: db, trafficPolicy: {{loadBalancer: {hash}}}}}",
            service(", sessionAffinity: ClientIP")
        )
    };
    for (documents, expected) in [
        (service(""), false),
        (service(", sessionAffinity: None"), false),
        (service(", sessionAffinity: ClientIP"), true),
        (rule("{consistentHash: {useSourceIp: true}}"), true),
        (rule("{consistentHash: {httpHeaderName: x}}"), false),
        (rule("{simple: RANDOM}"), false),
    ] {
        assert_eq!(tcp_by_source(&documents), expected, "{documents}");
    }
}

#[test]
fn gateways_hash_too() {
    let documents = format!(
        "{BOOKINFO}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: g}}
spec: {{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v}}
spec: {{hosts: [shop.example.org], gateways: [g], http: [{{route: [{{destination: {{host: reviews, port: {{number: 9080}}}}}}]}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: d}}
spec: {{host: reviews, trafficPolicy: {{loadBalancer: {{consistentHash: {{useSourceIp: true}}}}}}}}"
    );
    let config = config(&world(&documents, &["reviews/v1@3"]), &gateway());
    let host =
        config.routes.values().flat_map(|table| &table.hosts).find(|host| host.name.starts_with("shop")).unwrap();
    let Action::Forward(forward) = &host.routes[0].action else { panic!("{host:?}") };
    assert_eq!(forward.hash[0].key, HashKey::SourceIp);
}
