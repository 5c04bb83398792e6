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
