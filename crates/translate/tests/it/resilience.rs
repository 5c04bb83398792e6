//! Limits, outlier detection and slow start, as rules give them to clusters and listeners.

use std::time::Duration;

use model::limits::{ConnectionOptions, Http2Keepalive, ProxyVersion, RetryBudget, TcpKeepalive};
use model::{CircuitBreakers, Cluster, Config, NetworkFilter, OutlierDetection, SlowStart, TcpProxy};

use super::mesh::{BOOKINFO, config, sidecar, world};

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";

/// What productpage gets under a rule with this policy for reviews.
fn productpage(policy: &str) -> Config {
    under(&format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec: {{host: reviews, trafficPolicy: {policy}}}"
    ))
}

fn under(documents: &str) -> Config {
    let world = world(&format!("{BOOKINFO}\n---\n{documents}"), &["reviews/v1@3", "productpage/v1@2"]);
    config(&world, &sidecar("productpage/v1@2", 9080))
}

fn reviews(policy: &str) -> Cluster {
    (*productpage(policy).clusters[REVIEWS]).clone()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn circuit_breakers() {
    let none = CircuitBreakers::unlimited();
    for (policy, expected) in [
        ("{loadBalancer: {simple: RANDOM}}", None),
        ("{connectionPool: {http: {maxRetries: 0, http2MaxRequests: 0}}}", None),
        (
            "{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 2, http2MaxRequests: 3, maxRetries: 4}}}",
            Some(CircuitBreakers {
                max_connections: 1,
                max_pending_requests: 2,
                max_requests: 3,
                max_retries: 4,
                retry_budget: None,
            }),
        ),
        (
            "{retryBudget: {}}",
            Some(CircuitBreakers {
                retry_budget: Some(RetryBudget { percent: 20.0, min_concurrency: 3, interval: Duration::ZERO }),
                ..none.clone()
            }),
        ),
        (
            "{retryBudget: {percent: 5.5, minRetryConcurrency: 9, budgetInterval: 10s}, connectionPool: {http: {maxRetries: 7}}}",
            Some(CircuitBreakers {
                retry_budget: Some(RetryBudget { percent: 5.5, min_concurrency: 9, interval: Duration::from_secs(10) }),
                max_retries: 7,
                ..none
            }),
        ),
        // What is said for a port alone inherits nothing.
        ("{retryBudget: {}, portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: RANDOM}}]}", None),
    ] {
        assert_eq!(reviews(policy).circuit_breakers.as_deref(), expected.as_ref(), "{policy}");
    }
}

#[test]
fn how_connections_are_kept() {
    let all = "{connectionPool: {tcp: {maxConnectionDuration: 1h, tcpKeepalive: {probes: 3, time: 90s, interval: 5s}}, \
               http: {maxConcurrentStreams: 8, http2KeepAlive: {interval: 30s, timeout: 3s}}}}";
    let options = ConnectionOptions {
        tcp_keepalive: Some(TcpKeepalive { probes: Some(3), time: Some(90), interval: Some(5) }),
        max_duration: Some(secs(3600)),
        max_concurrent_streams: Some(8),
        http2_keepalive: Some(Http2Keepalive { interval: secs(30), timeout: secs(3) }),
        http1_trailers: false,
        proxy_header: None,
    };
    assert_eq!(reviews(all).connections.as_deref(), Some(&options));
    let by_system = reviews("{connectionPool: {tcp: {tcpKeepalive: {}}}}").connections.unwrap();
    assert_eq!(by_system.tcp_keepalive, Some(TcpKeepalive::default()), "probes as the system has them");
    assert_eq!(reviews("{connectionPool: {tcp: {tcpKeepalive: {time: 100ms}}}}").connections, None, "whole seconds");
    for (pool, expected) in [
        ("{tcp: {idleTimeout: 7s}}", 7),
        ("{tcp: {idleTimeout: 7s}, http: {idleTimeout: 9s}}", 9),
        ("{tcp: {maxConnections: 1}}", 3600),
    ] {
        let idle = reviews(&format!("{{connectionPool: {pool}}}")).idle_timeout;
        assert_eq!(idle, Some(secs(expected)), "{pool}");
    }
}

#[test]
fn outlier_detection() {
    let mut plain = OutlierDetection::default();
    plain.enforcing.success_rate = 0;
    let changed = |change: fn(&mut OutlierDetection)| {
        let mut found = plain.clone();
        change(&mut found);
        found
    };
    for (written, expected) in [
        ("{}", plain.clone()),
        ("{consecutive5xxErrors: 7}", changed(|o| o.consecutive_5xx = 7)),
        ("{consecutive5xxErrors: 0}", changed(|o| (o.consecutive_5xx, o.enforcing.consecutive_5xx) = (0, 0))),
        (
            "{consecutiveGatewayErrors: 3}",
            changed(|o| (o.consecutive_gateway_failure, o.enforcing.consecutive_gateway_failure) = (3, 100)),
        ),
        ("{consecutiveGatewayErrors: 0}", changed(|o| o.consecutive_gateway_failure = 0)),
        (
            "{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 8}",
            changed(|o| {
                (o.split_external_local_origin_errors, o.consecutive_local_origin_failure) = (true, 8);
                o.enforcing.local_origin_success_rate = 0;
            }),
        ),
        (
            "{interval: 1s, baseEjectionTime: 10m, maxEjectionPercent: 50}",
            changed(|o| {
                (o.interval, o.max_ejection_percent) = (secs(1), 50);
                (o.base_ejection_time, o.max_ejection_time) = (secs(600), secs(600));
            }),
        ),
        ("{outlierDetectionHttpErrorCodes: [429, 500]}", changed(|o| o.error_statuses = vec![429, 500])),
    ] {
        let cluster = reviews(&format!("{{outlierDetection: {written}}}"));
        assert_eq!(cluster.outlier_detection.as_deref(), Some(&expected), "{written}");
        assert_eq!(cluster.panic_percent, 0, "never, once the block is there");
    }
    let cluster = reviews("{outlierDetection: {minHealthPercent: 30}}");
    assert_eq!((cluster.panic_percent, cluster.outlier_detection.is_some()), (30, true));
    let cluster = reviews("{loadBalancer: {simple: RANDOM}}");
    assert_eq!((cluster.panic_percent, cluster.outlier_detection), (50, None));
}

#[test]
fn slow_start() {
    let minute = SlowStart::new(secs(60));
    for (balancer, expected) in [
        ("{warmup: {duration: 1m}}", Some(minute)),
        ("{simple: ROUND_ROBIN, warmupDurationSecs: 1m}", Some(minute)),
        (
            "{warmup: {duration: 1m, minimumPercent: 25, aggression: 1.5}}",
            Some(SlowStart { min_weight_percent: 25.0, aggression: 1.5, ..minute }),
        ),
        ("{simple: RANDOM, warmup: {duration: 1m}}", None),
        ("{simple: ROUND_ROBIN}", None),
    ] {
        let found = reviews(&format!("{{loadBalancer: {balancer}}}")).slow_start;
        assert_eq!(found.as_deref(), expected.as_ref(), "{balancer}");
    }
}

const RAW: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.org]
  addresses: [10.9.9.9]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.9.9.8, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec:
  host: db.example.org
  trafficPolicy: {connectionPool: {tcp: {idleTimeout: 5m, maxConnectionDuration: 2h}}}
  subsets:
  - {name: v1, labels: {version: v1}, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 9s}}}}
";

#[test]
fn raw_connections() {
    let to_v1 = "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db.example.org]
  tcp: [{route: [{destination: {host: db.example.org, subset: v1}}]}]
";
    let filter = |documents: &str| -> TcpProxy {
        let config = under(documents);
        let listener = &config.listeners["10.9.9.9_5432"];
        match &listener.chains[0].filter {
            NetworkFilter::Tcp(tcp) => tcp.clone(),
            other => panic!("{other:?}"),
        }
    };
    let whole = filter(RAW);
    assert_eq!((whole.idle_timeout, whole.max_duration), (Some(secs(300)), Some(secs(7200))));
    let subset = filter(&format!("{RAW}{to_v1}"));
    assert_eq!((subset.idle_timeout, subset.max_duration), (Some(secs(9)), None), "the block is replaced whole");
}

#[test]
fn tunnels_of_raw_connections() {
    let rule = |policy: &str, subset: &str| {
        let (entry, rest) = RAW.split_once("---").unwrap();
        let rule = rest
            .replace("trafficPolicy: {connectionPool: {tcp: {idleTimeout: 5m, maxConnectionDuration: 2h}}}", policy);
        format!("{entry}---{}", rule.replace("trafficPolicy: {connectionPool: {tcp: {idleTimeout: 9s}}}", subset))
    };
    let to = |routes: &str| {
        format!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: db}}\nspec: {{hosts: [db.example.org], tcp: [{{route: [{routes}]}}]}}"
        )
    };
    let [v1, whole] = [", subset: v1", ""].map(|subset| format!("destination: {{host: db.example.org{subset}}}"));
    let policy = "trafficPolicy: {tunnel: {targetHost: far.example.org, targetPort: 443}, portLevelSettings: [{port: {number: 5432}, loadBalancer: {simple: RANDOM}}]}";
    let own = "trafficPolicy: {tunnel: {protocol: POST, targetHost: '2001:db8::1', targetPort: 80}}";
    for (documents, expected) in [
        (rule("", ""), None),
        (rule(policy, ""), Some(("far.example.org:443", None))),
        (rule(policy, own), Some(("far.example.org:443", None))),
        (rule(policy, own) + &to(&format!("{{{v1}}}")), Some(("[2001:db8::1]:80", Some("/")))),
        (rule(policy, "") + &to(&format!("{{{v1}}}")), Some(("far.example.org:443", None))),
        (rule("", own) + &to(&format!("{{{v1}, weight: 1}}, {{{whole}, weight: 1}}")), None),
        (
            rule(policy, own) + &to(&format!("{{{v1}, weight: 1}}, {{{whole}, weight: 1}}")),
            Some(("far.example.org:443", None)),
        ),
    ] {
        let config = under(&documents);
        let NetworkFilter::Tcp(tcp) = &config.listeners["10.9.9.9_5432"].chains[0].filter else {
            panic!("{documents}")
        };
        let found = tcp.tunnel.as_ref().map(|tunnel| (&*tunnel.target, tunnel.post.as_deref()));
        assert_eq!(found, expected, "{documents}");
    }
}

#[test]
fn proxy_headers_of_clusters() {
    let header = |policy: &str| reviews(policy).connections.and_then(|options| options.proxy_header);
    for (policy, expected) in [
        ("{proxyProtocol: {}}", Some(ProxyVersion::V1)),
        ("{proxyProtocol: {version: V2}}", Some(ProxyVersion::V2)),
        // It cannot be said for a port, so it holds for all of them.
        (
            "{proxyProtocol: {version: V2}, portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: RANDOM}}]}",
            Some(ProxyVersion::V2),
        ),
        ("{loadBalancer: {simple: RANDOM}}", None),
    ] {
        assert_eq!(header(policy), expected, "{policy}");
    }
}

#[test]
fn what_comes_in() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: p}
spec: {host: productpage, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 5}}, outlierDetection: {}}}
";
    let sidecar = "
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s}
spec:
  workloadSelector: {labels: {app: productpage}}
  inboundConnectionPool: {tcp: {maxConnections: 9, connectTimeout: 2s}}
";
    let inbound = |documents: &str| under(documents).clusters["inbound|9080||"].clone();
    let by_rule = inbound(rule);
    assert_eq!(by_rule.circuit_breakers.as_ref().map(|limits| limits.max_requests), Some(5));
    assert_eq!((&by_rule.outlier_detection, by_rule.panic_percent), (&None, 50), "there is one program");
    let by_sidecar = inbound(&format!("{rule}{sidecar}"));
    let limits = by_sidecar.circuit_breakers.as_deref().unwrap();
    assert_eq!((limits.max_requests, limits.max_connections), (CircuitBreakers::UNLIMITED, 9));
    assert_eq!(by_sidecar.connect_timeout, secs(2));
}
