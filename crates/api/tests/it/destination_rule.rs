//! DestinationRule, rule by rule (rows 31 to 54 of the reference).

fn check(spec: &str, expected: &[&str]) {
    crate::check("networking.istio.io/v1beta1", "DestinationRule", spec, expected);
}

/// A DestinationRule for `a` with this policy, on one line.
fn policy(policy: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|e| e.replacen(" ~", " trafficPolicy.", 1)).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(&format!("host: a\ntrafficPolicy: {policy}"), &expected);
}

#[test]
fn host_subsets_and_selector() {
    check(
        "host: a\nsubsets:\n- {name: v1, labels: {version: v1}}\n- {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
        &[],
    );
    check(
        "host: a\nsubsets:\n- {name: v1}\n- {name: v1}\n- {name: V3, labels: {version: 1.0}}\n- {}",
        &[
            "error subsets[2].labels.version: the number `1.0` stands here",
            "error subsets[3].name: the field `name` is missing",
            "error subsets[1].name: the subset `v1` is defined twice; the first is in line 8",
            "error subsets[2].name: `V3` is not the name of a subset",
        ],
    );
    check("subsets: []", &["error host: the field `host` is missing"]);
    check("host: a\nworkloadSelector: {matchLabels: {app: x}}\nexportTo: ['.']", &[]);
    check(
        "host: a\nworkloadSelector: {matchLabels: {app: '*'}}\nexportTo: [other]",
        &[
            "error workloadSelector.matchLabels: a selector cannot hold wildcards",
            "error exportTo: a rule with `workloadSelector` is for its own namespace only",
        ],
    );
    check(
        "host: a\nworkloadSelector: {}",
        &["warning workloadSelector: the selector names no label: the rule is for every client of the namespace"],
    );
}

#[test]
fn ports() {
    policy("{portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}", &[]);
    policy(
        "{portLevelSettings: [{loadBalancer: {simple: RANDOM}}, {port: {number: 80}}]}",
        &["error ~portLevelSettings[0]: the policy names no port", "error ~portLevelSettings[1]: the policy is empty"],
    );
    policy(
        "{portLevelSettings: [{port: {number: 80}, tls: {}}, {port: {number: 80}, tls: {}}]}",
        &["warning ~portLevelSettings[1].port: the port 80 is set twice; the first one counts"],
    );
    check("host: a\ntrafficPolicy: {}", &["error trafficPolicy: the policy is empty"]);
}

#[test]
fn load_balancing() {
    let with = |lb: &str, expected: &[&str]| policy(&format!("{{loadBalancer: {lb}}}"), expected);
    with("{simple: LEAST_REQUEST, warmup: {duration: 30s, minimumPercent: 20, aggression: 1.5}}", &[]);
    with("{simple: ROUND_ROBBIN}", &["error ~loadBalancer.simple: `ROUND_ROBBIN` is not known here"]);
    with(
        "{simple: RANDOM, consistentHash: {useSourceIp: true}}",
        &["error ~loadBalancer: `simple` and `consistentHash` exclude each other"],
    );
    with(
        "{consistentHash: {httpCookie: {name: user, ttl: 0s, attributes: [{name: SameSite, value: Lax}]}, maglev: {tableSize: 65537}}}",
        &[],
    );
    with(
        "{consistentHash: {httpHeaderName: a, useSourceIp: true, maglev: {tableSize: 65536}}}",
        &[
            "error ~loadBalancer.consistentHash: `httpHeaderName` and `useSourceIp` exclude each other",
            "error ~loadBalancer.consistentHash.maglev.tableSize: 65536 is not a prime",
        ],
    );
    with(
        "{consistentHash: {maglev: {tableSize: 5000011}}}",
        &[
            "warning ~loadBalancer.consistentHash: there is nothing to hash by: workloads are chosen by chance",
            "error ~loadBalancer.consistentHash.maglev.tableSize: the table is too large: 5000011",
        ],
    );
    with(
        "{consistentHash: {useSourceIp: true, minimumRingSize: 1024, ringHash: {}}}",
        &[
            "error ~loadBalancer.consistentHash: `ringHash` and `minimumRingSize` exclude each other",
            "warning ~loadBalancer.consistentHash.minimumRingSize: this is deprecated",
        ],
    );
    with(
        "{consistentHash: {httpCookie: {ttl: 1s}}}",
        &["error ~loadBalancer.consistentHash.httpCookie.name: the field `name` is missing"],
    );
    with(
        "{simple: RANDOM, warmupDurationSecs: 30s}",
        &["warning ~loadBalancer.warmupDurationSecs: this has no effect with the chosen load balancer"],
    );
    with(
        "{warmup: {minimumPercent: 101}}",
        &[
            "error ~loadBalancer.warmup.duration: the field `duration` is missing",
            "error ~loadBalancer.warmup.minimumPercent: 101 is not a percentage",
        ],
    );
}

#[test]
fn localities() {
    let with = |lb: &str, expected: &[&str]| {
        policy(&format!("{{outlierDetection: {{}}, loadBalancer: {{localityLbSetting: {lb}}}}}"), expected)
    };
    with("{distribute: [{from: us/east/*, to: {us/east/*: 80, us/west/*: 20}}]}", &[]);
    with(
        "{distribute: [{from: 'us/*/b', to: {us: 0, eu: 99}}]}",
        &[
            "error ~loadBalancer.localityLbSetting.distribute[0].from: `us/*/b` is not a locality",
            "error ~loadBalancer.localityLbSetting.distribute[0].to.us: 0 is not a share",
            "error ~loadBalancer.localityLbSetting.distribute[0].to: the shares total 99",
        ],
    );
    with("{failover: [{from: us, to: eu}]}", &[]);
    with(
        "{failover: [{from: us/east, to: '*'}, {from: us, to: us}]}",
        &[
            "error ~loadBalancer.localityLbSetting.failover[0].from: `us/east` is not a region",
            "error ~loadBalancer.localityLbSetting.failover[0].to: `*` is not a region",
            "error ~loadBalancer.localityLbSetting.failover[1]: `us` fails over to itself",
        ],
    );
    with(
        "{distribute: [{from: a, to: {a: 100}}], failover: [{from: us, to: eu}]}",
        &["error ~loadBalancer.localityLbSetting: `distribute` and `failover` exclude each other"],
    );
    policy(
        "{loadBalancer: {localityLbSetting: {failoverPriority: [topology.kubernetes.io/region]}}}",
        &[
            "warning ~loadBalancer.localityLbSetting.failoverPriority: this has no effect without `outlierDetection`, which tells that a workload fails",
        ],
    );
    policy(
        "{loadBalancer: {localityLbSetting: {enabled: true}, zoneAwareLbSetting: {minClusterSize: 0}}}",
        &[
            "error ~loadBalancer: `localityLbSetting` and `zoneAwareLbSetting` exclude each other",
            "error ~loadBalancer.zoneAwareLbSetting.minClusterSize: 0 is too small",
        ],
    );
}

#[test]
fn pools_and_outliers() {
    policy(
        "{connectionPool: {tcp: {maxConnections: 1, connectTimeout: 30ms, tcpKeepalive: {time: 7200s, interval: 75s, probes: 3}}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 1, maxRequestsPerConnection: 1, maxRetries: 0, idleTimeout: 1h, maxConcurrentStreams: 9, http2KeepAlive: {interval: 1s, timeout: 1s}}}}",
        &[],
    );
    policy("{connectionPool: {}}", &["error ~connectionPool: the connection pool is empty"]);
    policy(
        "{connectionPool: {tcp: {connectTimeout: 0s, maxConnections: -1}}}",
        &[
            "error ~connectionPool.tcp.maxConnections: the number `-1` does not fit here",
            "error ~connectionPool.tcp.connectTimeout: the duration is zero",
        ],
    );
    policy(
        "{connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: yes}}}",
        &["error ~connectionPool.http: `useClientProtocol` and `h2UpgradePolicy: UPGRADE` exclude each other"],
    );
    policy(
        "{outlierDetection: {consecutive5xxErrors: 7, consecutive_gateway_errors: 3, interval: 5m, baseEjectionTime: 15m, maxEjectionPercent: 100, minHealthPercent: 0, outlierDetectionHttpErrorCodes: [500, 429]}}",
        &[],
    );
    policy(
        "{outlierDetection: {consecutiveErrors: 7, consecutiveLocalOriginFailures: 5, maxEjectionPercent: 101, outlierDetectionHttpErrorCodes: [600]}}",
        &[
            "error ~outlierDetection.maxEjectionPercent: 101 is not a percentage",
            "warning ~outlierDetection.consecutiveErrors: this is deprecated",
            "error ~outlierDetection.consecutiveLocalOriginFailures: failures to connect are not counted apart",
            "error ~outlierDetection.outlierDetectionHttpErrorCodes[0]: 600 is not a status of a response",
        ],
    );
    policy(
        "{connectionPool: {http: {http2KeepAlive: {interval: 1s}}}}",
        &["error ~connectionPool.http.http2KeepAlive: the pings are not described whole"],
    );
    policy("{retryBudget: {percent: 25.0, minRetryConcurrency: 5, budgetInterval: 0ms}}", &[]);
    policy("{retryBudget: {percent: 101}}", &["error ~retryBudget.percent: 101 is not a percentage"]);
}

#[test]
fn tls_tunnel_and_proxy_protocol() {
    policy("{tls: {mode: ISTIO_MUTUAL}}", &[]);
    policy(
        "{tls: {mode: ISTIO_MUTUAL, clientCertificate: /c}}",
        &["warning ~tls.clientCertificate: this is not used in the mode ISTIO_MUTUAL"],
    );
    policy(
        "{tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, sni: a, subjectAltNames: [a]}}",
        &[],
    );
    policy(
        "{tls: {mode: MUTUAL, caCertificates: /ca}}",
        &["error ~tls: the mode MUTUAL needs `clientCertificate`", "error ~tls: the mode MUTUAL needs `privateKey`"],
    );
    policy(
        "{tls: {mode: SIMPLE}}",
        &["warning ~tls: no authority is named that the server's certificate has to come from"],
    );
    policy(
        "{tls: {mode: SIMPLE, credentialName: s, caCertificates: /ca}}",
        &[
            "error ~tls.caCertificates: `caCertificates` and `credentialName` exclude each other",
            "warning ~tls.credentialName: this works at gateways only",
        ],
    );
    policy(
        "{tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}}",
        &["error ~tls.subjectAltNames: `subjectAltNames` and `insecureSkipVerify` exclude each other"],
    );
    policy("{proxyProtocol: {version: V2}}", &[]);
    policy(
        "{tunnel: {protocol: GET, targetHost: 'a b', targetPort: 0}, proxyProtocol: {}}",
        &[
            "error trafficPolicy: `tunnel` and `proxyProtocol` exclude each other",
            "error ~tunnel.protocol: `GET` is not a way to tunnel",
            "error ~tunnel.targetHost: `a b` is not a host",
            "error ~tunnel.targetPort: 0 is not a port",
        ],
    );
}
