//! SMI's TrafficTargets.

use super::{Ask, Asked, allowed, ask, read};

const ROUTES: &str = "
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: api}
spec:
  matches:
    - {name: metrics, pathRegex: /metrics, methods: ['*']}
    - {name: gets, pathRegex: '/v[0-9]', methods: [GET], headers: [{x-v: 'a.*'}]}
---
apiVersion: specs.smi-spec.io/v1alpha1
kind: HTTPRouteGroup
metadata: {name: early}
matches: [{name: all, pathRegex: '.*', methods: [GET]}]
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: {name: any}
spec: {matches: {ports: []}}
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: {name: db}
spec: {matches: {ports: [9090]}}
";

fn target(name: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: access.smi-spec.io/v1alpha3\nkind: TrafficTarget\nmetadata: {{name: {name}}}\nspec:\n  destination: {{kind: ServiceAccount, name: web}}\n  sources: [{{kind: ServiceAccount, name: a}}, {{kind: ServiceAccount, name: b, namespace: other}}]\n  rules: [{rules}]\n"
    )
}

const OF: Asked<'_> = Asked { labels: &[], account: "web", services: &[] };

#[test]
fn what_rules_allow() {
    let a = Some(("default", "a"));
    let raw = |port| Ask { http: None, port, ..ask(a, "GET", "/") };
    let with = |value| {
        let mut call = ask(a, "GET", "/v1/x");
        call.http.as_mut().unwrap().headers.push(("x-v", value));
        call
    };
    let (group, some) = ("{kind: HTTPRouteGroup, name: api}", "{kind: HTTPRouteGroup, name: api, matches: [metrics]}");
    let both = "{kind: TCPRoute, name: db}, {kind: HTTPRouteGroup, name: api}";
    for (rules, call, expected) in [
        (group, ask(a, "DELETE", "/metrics/more"), true),
        (group, ask(a, "DELETE", "/x/metrics"), false),
        (group, ask(Some(("other", "b")), "GET", "/metrics"), true),
        (group, ask(Some(("default", "b")), "GET", "/metrics"), false),
        (group, ask(None, "GET", "/metrics"), false),
        (group, with("abc"), true),
        (group, with("bc"), false),
        (some, with("abc"), false),
        (group, raw(8080), false),
        ("{kind: HTTPRouteGroup, name: early}", ask(a, "GET", "/x"), true),
        ("{kind: HTTPRouteGroup, name: early}", ask(a, "POST", "/x"), false),
        ("{kind: TCPRoute, name: any}", ask(a, "POST", "/x"), true),
        ("{kind: TCPRoute, name: any}", raw(1), true),
        ("{kind: TCPRoute, name: db}", raw(9090), true),
        ("{kind: TCPRoute, name: db}", raw(8080), false),
        (both, ask(a, "GET", "/metrics"), false),
        (both, Ask { port: 9090, ..ask(a, "GET", "/metrics") }, true),
        ("{kind: UDPRoute, name: any}", raw(9090), false),
        ("{kind: TCPRoute, name: gone}", raw(9090), false),
    ] {
        let world = read(&format!("{ROUTES}{}", target("t", rules)));
        assert_eq!(allowed(&world, &OF, &call), expected, "{rules}: {call:?}");
    }
}

/// Targets add to each other; an account that none names is open, unless its namespace says otherwise.
#[test]
fn defaults() {
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: default, annotations: {halcyon.dev/traffic-target-default: deny}}\n";
    let call = ask(Some(("default", "a")), "GET", "/metrics");
    let two = target("t", "{kind: UDPRoute, name: any}") + &target("u", "{kind: HTTPRouteGroup, name: api}");
    let other = Asked { account: "other", ..OF };
    for (text, of, expected) in [
        (String::new(), &OF, true),
        (namespace.to_owned(), &OF, false),
        (two.clone(), &OF, true),
        (two.clone(), &other, true),
        (format!("{two}{namespace}"), &other, false),
    ] {
        assert_eq!(allowed(&read(&format!("{ROUTES}{text}")), of, &call), expected, "{text}");
    }
}

/// The first version had no `spec`.
#[test]
fn the_first_version() {
    let text = "
---
apiVersion: access.smi-spec.io/v1alpha1
kind: TrafficTarget
metadata: {name: t}
destination: {kind: ServiceAccount, name: web, namespace: default, port: 8080}
sources: [{kind: ServiceAccount, name: a, namespace: default}]
specs: [{kind: HTTPRouteGroup, name: api, matches: [metrics]}]
";
    let world = read(&format!("{ROUTES}{text}"));
    let call = ask(Some(("default", "a")), "GET", "/metrics");
    assert!(allowed(&world, &OF, &call));
    assert!(!allowed(&world, &OF, &Ask { port: 1, ..call }));
}
