//! Our own kinds, rule by rule.

fn policy(spec: &str, expected: &[&str]) {
    crate::check("halcyon.dev/v1alpha1", "ServicePolicy", spec, expected);
}

#[test]
fn service_policy() {
    policy("host: ratings\nloadBalancer: {peakEwma: {}}", &[]);
    policy("host: ratings\nloadBalancer: {peakEwma: {decay: 5s, initial: 100ms}}\nhealthCheck: {tcp: {}}", &[]);
    policy("host: ratings", &["warning : the policy asks for nothing"]);
    policy("loadBalancer: {peakEwma: {}}", &["error host: the field `host` is missing"]);
    policy(
        "host: a_b!\nloadBalancer: {peakEwma: {decay: 0s, initial: 1x, rtt: 1s}}",
        &[
            "error host: `a_b!` is not a host",
            "error loadBalancer.peakEwma.decay: 0 s is no time",
            "error loadBalancer.peakEwma.initial: `1x` is not a duration",
            "error loadBalancer.peakEwma.rtt: the field `rtt` is not known",
        ],
    );
    policy("host: a\nloadBalancer: {}", &["error loadBalancer.peakEwma: the field `peakEwma` is missing"]);
}

#[test]
fn hedging() {
    policy("host: a\nhedging: {delay: 50ms}", &[]);
    policy("host: a\nhedging: {delay: 50ms, requests: 5}", &[]);
    policy("host: a\nhedging: {}", &["error hedging.delay: the field `delay` is missing"]);
    for requests in [1, 6] {
        policy(
            &format!("host: a\nhedging: {{delay: 0s, requests: {requests}}}"),
            &[
                "error hedging.delay: 0 s is no time",
                &format!("error hedging.requests: {requests} requests cannot be sent for one"),
            ],
        );
    }
}

#[test]
fn health_checks() {
    let check = |spec: &str, expected: &[&str]| policy(&format!("host: a\nhealthCheck: {spec}"), expected);
    check(
        "{interval: 5s, timeout: 500ms, unhealthyThreshold: 2, healthyThreshold: 1, unhealthyInterval: 1s, http: {path: '/ok?x=1', host: b, headers: {x-from: mesh}, expectedStatuses: [204, 200-299], http2: true}}",
        &[],
    );
    check("{grpc: {service: a.B}}", &[]);
    for both in ["{}", "{tcp: {}, grpc: {}}"] {
        check(both, &["error healthCheck: it has to be said what is asked"]);
    }
    check(
        "{interval: 0s, unhealthyThreshold: 0, http: {path: ok, headers: {'a b': c}, expectedStatuses: [99, 300-200, many]}}",
        &[
            "error healthCheck.interval: 0 s is no time",
            "error healthCheck.unhealthyThreshold: 0 checks decide nothing",
            "error healthCheck.http.path: `ok` is not a path",
            "error healthCheck.http.headers[\"a b\"]: `a b` cannot be sent as a header",
            "error healthCheck.http.expectedStatuses[0]: `99` is neither a status nor a range of them",
            "error healthCheck.http.expectedStatuses[1]: `300-200` is neither a status nor a range of them",
            "error healthCheck.http.expectedStatuses[2]: `many` is neither a status nor a range of them",
        ],
    );
}

#[test]
fn concurrency_limits() {
    let limit = |spec: &str, expected: &[&str]| policy(&format!("host: a\nconcurrencyLimit: {spec}"), expected);
    limit("{}", &[]);
    limit(
        "{max: 200, min: 10, interval: 100ms, percentile: 99.5, tolerance: 10, status: 429, baseline: {interval: 5m, jitter: 0, requests: 100}}",
        &[],
    );
    limit("{baseline: {fixed: 20ms}}", &[]);
    limit(
        "{max: 0, min: 0, interval: 500us, percentile: 101, tolerance: -1, status: 302, baseline: {fixed: 0s, jitter: 200, requests: 0}}",
        &[
            "error concurrencyLimit.max: 0 lets nothing through",
            "error concurrencyLimit.min: 0 lets nothing through",
            "error concurrencyLimit.interval: 500us is too short",
            "error concurrencyLimit.percentile: 101 is no percentage",
            "error concurrencyLimit.tolerance: -1 is no percentage",
            "error concurrencyLimit.status: 302 says of no error",
            "error concurrencyLimit.baseline: a baseline that is given is not measured",
            "error concurrencyLimit.baseline.fixed: 0s is too short",
            "error concurrencyLimit.baseline.jitter: 200 is no percentage",
            "error concurrencyLimit.baseline.requests: 0 lets nothing through",
        ],
    );
    limit("{max: 2, min: 3}", &["error concurrencyLimit.max: 2 is less than the 3 of `min`"]);
    limit("{limit: 3}", &["error concurrencyLimit.limit: the field `limit` is not known"]);
}

/// What is wrong with a policy on rates, as it is told.
fn of_limits(spec: &str) -> Vec<String> {
    let head = "apiVersion: halcyon.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: p}\n";
    let parsed = api::parse("f.yaml", &format!("{head}spec: {spec}\n"));
    parsed.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn limits_of_rates() {
    let good = "{selector: {matchLabels: {app: a}}, limits: [{name: a, requests: 5, unit: minute, burst: 9, by: [{header: \
                x-user}, {claim: '[a.b][c]'}, {remoteAddress: {ipv4Bits: 24}}, {caller: namespace}], match: {hosts: \
                ['*.example.org'], paths: ['/a/*'], methods: [GET], headers: [{name: x, values: ['*']}], routes: [r]}, \
                response: {status: 420, headers: {x: y}}}, {requests: 0, unit: day, scope: global, onError: deny, timeout: \
                1s, cost: 3, dryRun: true}]}";
    assert_eq!(of_limits(good), Vec::<String>::new());
    let one = "requests: 1, unit: second";
    for (spec, expected) in [
        ("{limits: []}".to_owned(), "spec.limits: the list is empty"),
        ("{limits: [{requests: 1}]}".to_owned(), "spec.limits[0].unit: the field `unit` is missing"),
        ("{limits: [{requests: 1, unit: week}]}".to_owned(), "`week`"),
        ("{limits: [{unit: second}]}".to_owned(), "spec.limits[0].requests: the field `requests` is missing"),
        (format!("{{limits: [{{{one}}}, {{name: limit-0, {one}}}]}}"), "another limit is called `limit-0`"),
        (format!("{{limits: [{{{one}, name: 'a b'}}]}}"), "`a b` is not a name"),
        (format!("{{limits: [{{{one}, scope: global, burst: 2}}]}}"), "`burst` is for limits of `scope: local`"),
        (format!("{{limits: [{{{one}, timeout: 1s}}]}}"), "`timeout` is for limits of `scope: global`"),
        ("{limits: [{requests: 0, unit: day}]}".to_owned(), "0 lets nothing through"),
        (format!("{{limits: [{{{one}, by: [{{}}]}}]}}"), "exactly one of `caller`"),
        (format!("{{limits: [{{{one}, by: [{{header: a, query: b}}]}}]}}"), "exactly one of `caller`"),
        (format!("{{limits: [{{{one}, by: [{{header: a}}, {{header: a}}]}}]}}"), "stands in the list already"),
        (format!("{{limits: [{{{one}, by: [{{header: 'a b'}}]}}]}}"), "`a b` is not the name of a header"),
        (format!("{{limits: [{{{one}, by: [{{claim: a..b}}]}}]}}"), "`a..b` is not the path of a claim"),
        (format!("{{limits: [{{{one}, by: [{{remoteAddress: {{ipv4Bits: 33}}}}]}}]}}"), "an address has no 33 bits"),
        (format!("{{limits: [{{{one}, match: {{paths: ['a']}}}}]}}"), "`a` is not a path"),
        (format!("{{limits: [{{{one}, match: {{paths: ['/{{*}}']}}}}]}}"), "templates are not taken here"),
        (format!("{{limits: [{{{one}, match: {{hosts: ['a*b']}}}}]}}"), "`a*b` has a `*` that is not at its one end"),
        (format!("{{limits: [{{{one}, match: {{headers: [{{name: x}}]}}}}]}}"), "nothing is asked of the header"),
        (format!("{{limits: [{{{one}, response: {{status: 200}}}}]}}"), "200 says of no error"),
        (format!("{{limits: [{{{one}, burts: 2}}]}}"), "did you mean `burst`?"),
    ] {
        let told = of_limits(&spec);
        assert!(told.len() == 1 && told[0].contains(expected), "{spec}: {told:?}");
        assert!(told[0].starts_with("f.yaml:4:"), "{told:?}");
    }
}

#[test]
fn files_of_the_rate_limit_service() {
    let map = |text: &str| {
        let text: String = text.lines().map(|line| format!("    {line}\n")).collect();
        let document = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata:\n  c.yaml: |\n{text}");
        api::parse("f.yaml", &document).problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let one = |descriptor: &str| format!("domain: d\ndescriptors:\n- {descriptor}\n");
    let samples = "domain: echo-ratelimit\ndescriptors:\n- key: PATH\n  value: \"/\"\n  rate_limit:\n    unit: minute\n    \
                   requests_per_unit: 1\n- key: PATH\n  rate_limit:\n    unit: MINUTE\n    requests_per_unit: 100\n";
    assert_eq!(map(samples), Vec::<String>::new());
    for (text, expected) in [
        ("domain: ''\ndescriptors: []\n".to_owned(), "f.yaml:6:"),
        ("domain: halcyon.dev/a\ndescriptors: []\n".to_owned(), "belong to RateLimitPolicies"),
        (one("{value: a}"), "descriptors[0].key: the field `key` is missing"),
        (one("{key: a, rate_limit: {requests_per_unit: 1}}"), "the unit is missing (expected `second`, `minute`"),
        (one("{key: a, rate_limit: {unit: eon, requests_per_unit: 1}}"), "`eon`"),
        (one("{key: a, rate_limit: {unit: day, unlimited: true}}"), "what is unlimited has no unit"),
        (one("{key: a, rate_limt: {}}"), "did you mean `rate_limit`?"),
        (one("{key: a, quota_mode: true}"), "the field `quota_mode` is not known"),
        (one("{key: a}\n- {key: a}"), "`a` stands in the list already"),
        (one("{key: a, rate_limit: {unit: day, name: n, replaces: [{name: n}]}}"), "a limit cannot replace itself"),
        (one("{key: a, value: b, share_threshold: true}"), "only values that a `*` takes"),
        (one("{key: a, detailed_metric: true}"), "has no effect"),
    ] {
        let told = map(&text);
        assert!(told.len() == 1 && told[0].contains(expected), "{text}: {told:?}");
        assert!(told[0].starts_with("f.yaml:"), "{told:?}");
    }
}

#[test]
fn egress_policies() {
    let check = |spec: &str, expected: &[&str]| crate::check("halcyon.dev/v1alpha1", "EgressPolicy", spec, expected);
    check("{}", &[]);
    check(
        "selector: {matchLabels: {app: a}}\naccounts: [a, b/c]\nrules: [{hosts: [api.example.com, '*.example.org', a.b.]}, \
         {cidrs: [203.0.113.0/24, '2001:db8::1'], ports: [{number: 22, protocol: TCP}]}, {hosts: [a.b], tls: {mode: SIMPLE}, \
         ports: [{number: 80, protocol: HTTP, targetPort: 443}]}]",
        &[],
    );
    let rule = |rule: &str, expected: &[&str]| check(&format!("rules: [{rule}]"), expected);
    rule("{}", &["error rules[0]: the rule names no place"]);
    rule(
        "{hosts: ['*', a_b!, localhost, 192.0.2.1], cidrs: [10.0.0.0/40]}",
        &[
            "error rules[0].hosts[0]: `*` names no place",
            "error rules[0].hosts[1]: `a_b!` is not a host",
            "error rules[0].hosts[2]: `localhost` has no dot: it would be a service of the mesh",
            "error rules[0].hosts[3]: `192.0.2.1` is an address",
            "error rules[0].cidrs[0]: `10.0.0.0/40` is not a block of addresses",
        ],
    );
    rule(
        "{hosts: ['*.a.b'], ports: [{number: 0, protocol: HTTP}, {number: 5, protocol: TCP}, {number: 6, protocol: UDP}, \
         {number: 7, protocol: HBONE}, {number: 8, protocol: HTTP, targetPort: 9}]}",
        &[
            "error rules[0].ports[0].number: 0 is not a port",
            "error rules[0].ports[1].protocol: raw TCP names no host, so what falls under `*.a.b` cannot be told",
            "error rules[0].ports[2].protocol: datagrams do not pass through proxies, so they never leave",
            "error rules[0].ports[3].protocol: `HBONE` is not a protocol",
            "error rules[0].ports[4].targetPort: places that requests name are called as they are",
        ],
    );
    rule(
        "{hosts: ['*.a.b'], tls: {mode: ISTIO_MUTUAL}}",
        &[
            "error rules[0].tls.mode: this is no TLS with a place outside of the mesh",
            "error rules[0].tls: there is no one name to ask the server for",
            "error rules[0].tls: the proxy speaks TLS where the program speaks plain text",
        ],
    );
    check(
        "{accounts: [a/b/c], rule: []}",
        &["error accounts[0]: `a/b/c` is not a service account", "error rule: the field `rule` is not known"],
    );
}

#[test]
fn login_policy() {
    let check = |spec: &str, expected: &[&str]| crate::check("halcyon.dev/v1alpha1", "LoginPolicy", spec, expected);
    let client = "clientId: shop\nclientSecret: {name: s}";
    check(&format!("issuer: https://login.example\n{client}"), &[]);
    check(
        &format!(
            "selector: {{matchLabels: {{istio: ingressgateway}}}}\nhosts: [shop.example, '*.shop.example']\nauthorizationEndpoint: https://a.example/x\ntokenEndpoint: http://b.example:8080/y\nendSessionEndpoint: https://a.example/z\n{client}\nclientAuthentication: BASIC\nredirectPath: /back\nlogoutPath: /out\nscopes: [openid, email]\ncookies: {{domain: shop.example, sameSite: STRICT}}\npassThrough: {{paths: [/a, '/b/*', '*.css'], methods: [OPTIONS], headers: [{{name: x-a}}]}}\ndenyRedirect: {{headers: [{{name: x-a, value: b}}]}}\nforwardToken: ACCESS\ntimeout: 2s"
        ),
        &[],
    );
    check(
        "issuer: https://login.example",
        &["error clientId: the field `clientId` is missing", "error clientSecret: the field `clientSecret` is missing"],
    );
    check(client, &["error : nothing says where people log in"]);
    check(&format!("tokenEndpoint: https://b.example/y\n{client}"), &["error : nothing says where people log in"]);
    check(
        "issuer: login.example\nclientId: ''\nclientSecret: {name: s}\nhosts: ['*', 'a*b', 'http://a']\nredirectPath: back\nlogoutPath: /out?x",
        &[
            "error hosts[0]: `*` is no host",
            "error hosts[1]: `a*b` is no host",
            "error hosts[2]: `http://a` is no host",
            "error issuer: `login.example` is no URL",
            "error clientId: it is empty",
            "error redirectPath: `back` is no path",
            "error logoutPath: `/out?x` is no path",
        ],
    );
    check(
        &format!("issuer: https://a\n{client}\nredirectPath: /x\nlogoutPath: /x"),
        &["error logoutPath: it is the path that people come back to"],
    );
    check(
        &format!("issuer: https://a\n{client}\nscopes: [user]\nendSessionEndpoint: https://a/z"),
        &["error endSessionEndpoint: only OpenID Connect has one"],
    );
    check(
        &format!(
            "issuer: https://a\n{client}\npassThrough: {{paths: [a, '/a*b', '*', '/a?b'], headers: [{{name: 'a b'}}, {{name: a, value: \"b\\n\"}}]}}"
        ),
        &[
            "error passThrough.paths[0]: `a` is no path",
            "error passThrough.paths[1]: `/a*b` is no path",
            "error passThrough.paths[2]: `*` is no path",
            "error passThrough.paths[3]: `/a?b` is no path",
            "error passThrough.headers[0]: `a b` is no header",
            "error passThrough.headers[1]: its value cannot stand in a header",
        ],
    );
}
