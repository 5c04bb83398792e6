//! ServicePolicies: what the owner of a service asks of its clients.

use std::time::Duration;

use model::Cluster;
use model::cluster::{Balancing, PeakEwma};
use model::health_check::{HealthCheck, HttpProbe, Probe};
use model::route::Action;

use super::mesh::{BOOKINFO, config, sidecar, world};

/// What productpage gets for reviews under these documents.
fn reviews(documents: &str) -> Cluster {
    let world = world(&format!("{BOOKINFO}\n---\n{documents}"), &["reviews/v1@3", "productpage/v1@2"]);
    let config = config(&world, &sidecar("productpage/v1@2", 9080));
    (*config.clusters["outbound|9080||reviews.default.svc.cluster.local"]).clone()
}

fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: halcyon.dev/v1alpha1\nkind: ServicePolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

fn rule(policy: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec: {{host: reviews, trafficPolicy: {policy}}}\n"
    )
}

fn ewma(decay: u64, initial: u64) -> Balancing {
    Balancing::PeakEwma(PeakEwma { decay: Duration::from_secs(decay), initial: Duration::from_millis(initial) })
}

#[test]
fn the_quickest_where_nothing_else_is_asked_for() {
    let own = policy("default", "p", "{host: reviews, loadBalancer: {peakEwma: {}}}");
    let least = Balancing::LeastRequest { choices: 2 };
    for (rules, expected) in [
        (String::new(), ewma(10, 30)),
        (rule("{tls: {mode: DISABLE}}"), ewma(10, 30)),
        (rule("{loadBalancer: {warmupDurationSecs: 30s}}"), ewma(10, 30)),
        (rule("{loadBalancer: {simple: LEAST_REQUEST}}"), least.clone()),
        (rule("{loadBalancer: {simple: RANDOM}}"), Balancing::Random),
    ] {
        assert_eq!(reviews(&format!("{own}{rules}")).balancing, expected, "{rules}");
    }
    let shaped = policy("default", "p", "{host: reviews, loadBalancer: {peakEwma: {decay: 3s, initial: 5ms}}}");
    assert_eq!(reviews(&shaped).balancing, ewma(3, 5));
}

#[test]
fn which_policy_counts() {
    let of = |namespace: &str, name: &str, host: &str, decay: u64| {
        policy(namespace, name, &format!("{{host: '{host}', loadBalancer: {{peakEwma: {{decay: {decay}s}}}}}}"))
    };
    for (documents, expected) in [
        // The service's namespace, then the root's; others have no say.
        (of("istio-system", "a", "*.svc.cluster.local", 1) + &of("default", "b", "reviews", 2), ewma(2, 30)),
        (of("istio-system", "a", "*.svc.cluster.local", 1), ewma(1, 30)),
        (of("other", "a", "reviews.default.svc.cluster.local", 1), Balancing::LeastRequest { choices: 2 }),
        // The most specific host, and of equals the first by name where none has an age.
        (of("default", "a", "*.default.svc.cluster.local", 1) + &of("default", "b", "reviews", 2), ewma(2, 30)),
        (of("default", "a", "reviews", 1) + &of("default", "b", "reviews", 2), ewma(1, 30)),
    ] {
        assert_eq!(reviews(&documents).balancing, expected, "{documents}");
    }
}

#[test]
fn health_checks() {
    let secs = Duration::from_secs;
    let host = "reviews.default.svc.cluster.local";
    let like = |timeout, interval, thresholds, probe| {
        let defaults = HealthCheck::new(timeout, interval, thresholds, probe);
        HealthCheck { interval_jitter_percent: 10, ..defaults }
    };
    let http = |host: &str| HttpProbe { host: host.to_owned(), ..HttpProbe::get("/healthz") };
    let check = |spec: &str| {
        let documents = policy("default", "p", &format!("{{host: reviews, healthCheck: {spec}}}"));
        reviews(&documents).health_check.map(|check| *check)
    };
    assert_eq!(
        check("{http: {path: /healthz}}"),
        Some(like(secs(1), secs(10), (3, 2), Probe::Http(Box::new(http(host)))))
    );
    let expected = like(
        secs(2),
        secs(90),
        (5, 1),
        Probe::Http(Box::new(HttpProbe { expected: vec![(200, 300), (404, 405)], http2: true, ..http("own") })),
    );
    assert_eq!(
        check(
            "{interval: 90s, timeout: 2s, unhealthyThreshold: 5, healthyThreshold: 1, unhealthyInterval: 3s, http: {path: /healthz, host: own, http2: true, expectedStatuses: [200-299, 404]}}"
        ),
        Some(HealthCheck { no_traffic_interval: secs(90), unhealthy_interval: Some(secs(3)), ..expected })
    );
    let grpc = Probe::Grpc { service: "x.Y".to_owned(), authority: host.to_owned() };
    assert_eq!(check("{grpc: {service: x.Y}}"), Some(like(secs(1), secs(10), (3, 2), grpc)));
    let tcp = Probe::Tcp { send: Vec::new(), receive: Vec::new() };
    assert_eq!(check("{tcp: {}}"), Some(like(secs(1), secs(10), (3, 2), tcp)));
    // Where the client says which endpoint it wants, there is nobody to ask.
    let passthrough = policy("default", "p", "{host: reviews, healthCheck: {tcp: {}}}")
        + &rule("{loadBalancer: {simple: PASSTHROUGH}}");
    assert_eq!(reviews(&passthrough).health_check, None);
}

/// How productpage tries requests to reviews again: how often at most, after which time, and whether the tries before go on.
fn tries(documents: &str) -> Option<(u32, Option<Duration>, bool)> {
    let world = world(&format!("{BOOKINFO}\n---\n{documents}"), &["reviews/v1@3", "productpage/v1@2"]);
    let config = config(&world, &sidecar("productpage/v1@2", 9080));
    let host = config.routes["9080"].hosts.iter().find(|host| host.name.starts_with("reviews."))?;
    let Action::Forward(to) = &host.routes[0].action else { panic!("{host:?}") };
    to.retry.as_ref().map(|retry| (retry.attempts, retry.per_try_timeout, to.hedge_on_per_try_timeout))
}

#[test]
fn requests_that_are_hedged() {
    let ms = Duration::from_millis;
    let of = |host: &str, hedging: &str| policy("default", host, &format!("{{host: {host}, hedging: {hedging}}}"));
    let ruled = |rule: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: r}}\nspec: {{hosts: [reviews], http: [{rule}]}}\n"
        )
    };
    let lone = |rest: &str| ruled(&format!("{{route: [{{destination: {{host: reviews}}}}], {rest}}}"));
    let own = of("reviews", "{delay: 50ms}");
    let two = ruled("{route: [{destination: {host: reviews}, weight: 1}, {destination: {host: ratings}, weight: 1}]}");
    for (documents, expected) in [
        (String::new(), Some((2, None, false))),
        (own.clone(), Some((1, Some(ms(50)), true))),
        (of("reviews", "{delay: 50ms, requests: 4}"), Some((3, Some(ms(50)), true))),
        // What the rule says of tries counts more.
        (own.clone() + &lone("timeout: 1s"), Some((1, Some(ms(50)), true))),
        (own.clone() + &lone("retries: {attempts: 3}"), Some((3, Some(ms(50)), true))),
        (own.clone() + &lone("retries: {attempts: 3, perTryTimeout: 9ms}"), Some((3, Some(ms(9)), true))),
        (own.clone() + &lone("retries: {attempts: 0}"), None),
        // Where there are several destinations, all have to allow it.
        (own.clone() + &two, Some((2, None, false))),
        (own + &of("ratings", "{delay: 80ms, requests: 5}") + &two, Some((1, Some(ms(80)), true))),
    ] {
        assert_eq!(tries(&documents), expected, "{documents}");
    }
}
