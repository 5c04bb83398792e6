//! RateLimitPolicies: what proxies are told of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::Code;
use model::http_proxy::HttpFilter;
use model::rate_limit::{DescriptorAction, Fill, GlobalRateLimit, LocalRateLimit, RequestFact};
use model::{Fraction, NetworkFilter};
use translate::explain::{Question, explain};
use translate::{Inputs, LimitServiceAt, MeshSettings, World};

use super::mesh::{BOOKINFO, config, sidecar, world};

fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: halcyon.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// The filters of reviews' incoming side, and whether it has a cluster for the service.
fn filters(world: &World) -> (Vec<HttpFilter>, bool) {
    let config = config(world, &sidecar("reviews/v1@3", 9080));
    let inbound = config.listeners.values().find(|listener| listener.name.starts_with("inbound")).expect("incoming");
    let NetworkFilter::Http(http) = &inbound.chains[0].filter else { panic!("{inbound:?}") };
    (http.filters.clone(), config.clusters.contains_key(translate::rate_limits::SERVICE))
}

fn local(documents: &str) -> Vec<Arc<LocalRateLimit>> {
    let world = world(&format!("{BOOKINFO}\n{documents}"), &["reviews/v1@3"]);
    let limits = filters(&world).0.into_iter().filter_map(|filter| match filter {
        HttpFilter::LocalRateLimit(limit) => Some(limit),
        _ => None,
    });
    limits.collect()
}

/// `limit=a header_x-user=` for each of its descriptors.
fn descriptors(limit: &LocalRateLimit) -> Vec<String> {
    let text = |(key, value): &(String, String)| format!("{key}={value}");
    let shown = limit.descriptors.iter().map(|one| one.entries.iter().map(text).collect::<Vec<_>>().join(" "));
    shown.collect()
}

#[test]
fn for_whom_policies_are() {
    let limit = "limits: [{requests: 1, unit: second}]";
    for (namespace, selector, expected) in [
        ("default", "", 1),
        ("istio-system", "", 1),
        ("other", "", 0),
        ("default", "selector: {matchLabels: {app: reviews}}, ", 1),
        ("default", "selector: {matchLabels: {app: ratings}}, ", 0),
        ("istio-system", "selector: {matchLabels: {app: reviews}}, ", 1),
    ] {
        let found = local(&policy(namespace, "p", &format!("{{{selector}{limit}}}")));
        assert_eq!(found.len(), expected, "{namespace} {selector}");
    }
}

#[test]
fn limits_that_a_proxy_keeps() {
    let spec = "{limits: [{name: users, by: [{header: X-User}, {caller: identity}], requests: 5, burst: 9, unit: minute, \
                cost: 2, maxValues: 7, response: {status: 420, headers: {x-a: b}}}, {requests: 3, unit: day, dryRun: \
                true, match: {paths: ['/a*'], routes: [one, two]}}]}";
    let found = local(&policy("default", "p", spec));
    let [users, tried] = &found[..] else { panic!("{found:?}") };
    assert_eq!(users.policy.as_deref(), Some("default/p/users"));
    assert_eq!(
        descriptors(users),
        ["limit=users header_x-user= caller=", "limit=users caller=", "limit=users header_x-user=", "limit=users",]
    );
    let fill = Fill { max: 9, per_interval: 5, interval: Duration::from_secs(60) };
    assert!(users.descriptors.iter().all(|one| one.fill == fill), "{users:?}");
    assert_eq!((users.status, users.max_values, users.enforced, users.tells_limits), (420, 7, Fraction::ALL, true));
    assert_eq!((users.rules[0].hits, users.retry_after, users.response_headers.write().len()), (Some(2), true, 1));
    let identity = DescriptorAction::Fact { key: "caller".into(), fact: RequestFact::Identity, skip_if_absent: true };
    assert_eq!(users.rules[0].actions[2], identity);
    assert_eq!(descriptors(tried), ["limit=limit-1 match=yes route=one", "limit=limit-1 match=yes route=two"]);
    assert_eq!((tried.enforced, tried.tells_limits), (Fraction::NONE, false));
}

#[test]
fn limits_that_the_control_plane_keeps() {
    let spec = "{limits: [{name: q, scope: global, requests: 5, unit: day, by: [{claim: tenant}], onError: deny}, {name: \
                r, scope: global, requests: 1, unit: second, timeout: 1s}]}";
    let parsed = api::parse("f.yaml", &format!("{BOOKINFO}\n{}", policy("default", "p", spec)));
    let at =
        LimitServiceAt { address: SocketAddr::from(([10, 0, 0, 1], 15012)), identity: "spiffe://x/ns/a/sa/b".into() };
    let world = |limit_service| {
        let settings = MeshSettings { limit_service, ..MeshSettings::default() };
        World::new(Inputs { settings, resources: parsed.resources.clone(), ..Inputs::default() })
    };
    let (found, has_service) = filters(&world(Some(at)));
    assert!(has_service);
    let globals: Vec<&GlobalRateLimit> = found
        .iter()
        .filter_map(|filter| match filter {
            HttpFilter::GlobalRateLimit(limit) => Some(&**limit),
            _ => None,
        })
        .collect();
    let [quota, rate] = globals[..] else { panic!("{found:?}") };
    assert_eq!((&*quota.domain, &*quota.service.cluster), ("halcyon.dev/default/p", "halcyon-ratelimit"));
    assert_eq!(
        (quota.deny_on_error, quota.error_status, quota.timeout),
        (Fraction::ALL, 503, Some(Duration::from_millis(100)))
    );
    assert_eq!((rate.deny_on_error, rate.timeout), (Fraction::NONE, Some(Duration::from_secs(1))));
    assert!(!filters(&world(None)).1, "nobody knows where it is");
}

#[test]
fn a_config_map_with_limits_brings_the_service() {
    let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ratelimit-config}\ndata:\n  config.yaml: |\n    \
               domain: d\n    descriptors: []\n";
    let at =
        LimitServiceAt { address: SocketAddr::from(([10, 0, 0, 1], 15012)), identity: "spiffe://x/ns/a/sa/b".into() };
    let parsed = api::parse("f.yaml", &format!("{BOOKINFO}\n{map}"));
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    let settings = MeshSettings { limit_service: Some(at), ..MeshSettings::default() };
    let world = World::new(Inputs { settings, resources: parsed.resources, ..Inputs::default() });
    assert!(filters(&world).1);
}

#[test]
fn what_is_warned_about() {
    let warned = |documents: &str| {
        let world = world(&format!("{BOOKINFO}\n{documents}"), &["reviews/v1@3"]);
        let problems = translate::check(&world).into_iter().chain(translate::check_selection(&world));
        let codes = [Code::LimitNotReached, Code::NoMatchingWorkloadsFound];
        let of_ours = problems.filter(|problem| codes.contains(&problem.code));
        of_ours.map(|problem| format!("{}: {}", problem.path, problem.message)).collect::<Vec<_>>()
    };
    let one = "requests: 1, unit: second";
    for (spec, expected) in [
        (format!("{{limits: [{{{one}}}]}}"), vec![]),
        (
            format!("{{selector: {{matchLabels: {{app: nobody}}}}, limits: [{{{one}}}]}}"),
            vec!["spec.selector.matchLabels: no workload has `app=nobody`"],
        ),
        (
            format!("{{limits: [{{{one}, match: {{routes: [gone]}}}}]}}"),
            vec!["spec.limits[0].match.routes[0]: no VirtualService has a route called `gone`"],
        ),
        (
            format!("{{limits: [{{{one}, match: {{paths: [/a], notPaths: [/a]}}}}]}}"),
            vec![
                "spec.limits[0].match.paths: whatever `paths` asks for is excluded beside it: no request falls under this limit",
            ],
        ),
        (
            format!("{{limits: [{{{one}, by: [{{claim: sub}}]}}]}}"),
            vec![
                "spec.limits[0].by[0].claim: no RequestAuthentication reads the claim `sub` here: all requests share one count",
            ],
        ),
    ] {
        assert_eq!(warned(&policy("default", "p", &spec)), expected, "{spec}");
    }
}

#[test]
fn what_explain_says() {
    let spec = "{selector: {matchLabels: {app: reviews}}, limits: [{name: a, requests: 5, unit: minute, by: [{header: \
                x-user}]}, {name: b, requests: 1, unit: day, scope: global, match: {methods: [POST]}}]}";
    let world = world(&format!("{BOOKINFO}\n{}", policy("default", "p", spec)), &["reviews/v1@3", "productpage/v1@2"]);
    let from = sidecar("productpage/v1@2", 9080);
    let limits = |method: http::Method| {
        let question = Question {
            host: "reviews".into(),
            port: 9080,
            authority: None,
            server_name: None,
            method,
            path: "/".into(),
            headers: http::HeaderMap::new(),
        };
        let told = explain(&world, &from, &question);
        let step = told.steps.into_iter().find(|step| step.stage == "rate limit");
        step.map(|step| step.facts).unwrap_or_default()
    };
    let users = "at most 5 requests per minute for each header x-user, counted by each proxy \
                 (RateLimitPolicy/default/p, `a`)";
    let posts = "at most 1 requests per day, counted by the control plane (RateLimitPolicy/default/p, `b`)";
    assert_eq!(limits(http::Method::GET), [users]);
    assert_eq!(limits(http::Method::POST), [posts, users]);
}
