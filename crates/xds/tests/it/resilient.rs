//! What a cluster says of limits and of the health of its endpoints, for the property tests.

use model::health_check::{HttpProbe, Probe};
use model::limits::{ConnectionOptions, Http2Keepalive, ProxyVersion, RetryBudget, TcpKeepalive};
use model::outlier::{Enforcing, FailurePercentage, SuccessRate};

use super::*;

fn percent() -> impl Strategy<Value = f64> {
    (0u32..=1000).prop_map(|tenths| f64::from(tenths) / 10.0)
}

fn circuit_breakers() -> impl Strategy<Value = Option<Box<CircuitBreakers>>> {
    let limit = || prop_oneof![Just(CircuitBreakers::UNLIMITED), 0u32..5000];
    let interval = prop_oneof![Just(Duration::ZERO), some_time()];
    let budget = (percent(), 0u32..9, interval).prop_map(|(percent, min_concurrency, interval)| RetryBudget {
        percent,
        min_concurrency,
        interval,
    });
    ((limit(), limit(), limit(), limit()), of(budget)).prop_map(|(limits, retry_budget)| {
        let (max_connections, max_pending_requests, max_requests, max_retries) = limits;
        let limits = CircuitBreakers { max_connections, max_pending_requests, max_requests, max_retries, retry_budget };
        (!limits.is_unlimited()).then(|| Box::new(limits))
    })
}

fn connections() -> impl Strategy<Value = ConnectionOptions> {
    let probes = (of(1u32..9), of(1u32..9000), of(1u32..90)).prop_map(|(probes, time, interval)| TcpKeepalive {
        probes,
        time,
        interval,
    });
    let pings = (some_time(), some_time()).prop_map(|(interval, timeout)| Http2Keepalive { interval, timeout });
    let header = of(select(vec![ProxyVersion::V1, ProxyVersion::V2]));
    (of(probes), of(some_time()), of(1u32..9999), of(pings), (any::<bool>(), header)).prop_map(
        |(tcp_keepalive, max_duration, max_concurrent_streams, http2_keepalive, (http1_trailers, proxy_header))| {
            ConnectionOptions {
                tcp_keepalive,
                max_duration,
                max_concurrent_streams,
                http2_keepalive,
                http1_trailers,
                proxy_header,
            }
        },
    )
}

fn outlier_detection() -> impl Strategy<Value = OutlierDetection> {
    let numbers = any::<[u32; 8]>();
    let shares = vec(0u32..=100, 9);
    let times = (some_time(), some_time(), some_time(), some_time());
    (numbers, shares, times, any::<[bool; 3]>(), vec(100u16..600, 0..3)).prop_map(
        |(numbers, shares, times, flags, error_statuses)| OutlierDetection {
            consecutive_5xx: numbers[0],
            consecutive_gateway_failure: numbers[1],
            consecutive_local_origin_failure: numbers[2],
            split_external_local_origin_errors: flags[0],
            interval: times.0,
            base_ejection_time: times.1,
            max_ejection_time: times.1 + times.2,
            max_ejection_time_jitter: times.3,
            max_ejection_percent: shares[0],
            always_eject_one: flags[1],
            health_check_unejects: flags[2],
            success_rate: SuccessRate {
                minimum_hosts: numbers[3],
                request_volume: numbers[4],
                stdev_factor: numbers[5],
            },
            failure_percentage: FailurePercentage {
                threshold: shares[1],
                minimum_hosts: numbers[6],
                request_volume: numbers[7],
            },
            enforcing: Enforcing {
                consecutive_5xx: shares[2],
                consecutive_gateway_failure: shares[3],
                consecutive_local_origin_failure: shares[4],
                success_rate: shares[5],
                local_origin_success_rate: shares[6],
                failure_percentage: shares[7],
                failure_percentage_local_origin: shares[8],
            },
            error_statuses,
        },
    )
}

fn slow_start() -> impl Strategy<Value = SlowStart> {
    (some_time(), 1u32..50, percent()).prop_map(|(window, tenths, min_weight_percent)| SlowStart {
        window,
        aggression: f64::from(tenths) / 10.0,
        min_weight_percent,
    })
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let ranges = || vec((100u16..300, 300u16..=600), 0..3);
    let methods = vec![http::Method::GET, http::Method::HEAD, http::Method::POST, http::Method::PATCH];
    let optional = || prop_oneof![Just(String::new()), text()];
    let by_http = (optional(), text(), select(methods), header_changes(), (ranges(), ranges()), any::<bool>());
    let by_http = (by_http, of(string_match())).prop_map(
        |((host, path, method, headers, (expected, retriable), http2), service)| {
            Probe::Http(Box::new(HttpProbe { host, path, method, headers, expected, retriable, http2, service }))
        },
    );
    let bytes = || vec(any::<u8>(), 1..5);
    let probe = prop_oneof![
        by_http,
        (prop_oneof![Just(Vec::new()), bytes()], vec(bytes(), 0..3))
            .prop_map(|(send, receive)| Probe::Tcp { send, receive }),
        (optional(), optional()).prop_map(|(service, authority)| Probe::Grpc { service, authority }),
    ];
    let times = vec(some_time(), 5);
    let optional_times = vec(of(some_time()), 4);
    (probe, times, optional_times, (1u32..9, 1u32..9, 0u32..200), any::<bool>()).prop_map(
        |(probe, times, optional, numbers, reuse_connection)| HealthCheck {
            initial_jitter: times[2],
            interval_jitter: times[3],
            interval_jitter_percent: numbers.2,
            no_traffic_interval: times[4],
            no_traffic_healthy_interval: optional[0],
            unhealthy_interval: optional[1],
            unhealthy_edge_interval: optional[2],
            healthy_edge_interval: optional[3],
            reuse_connection,
            ..HealthCheck::new(times[0], times[1], (numbers.0, numbers.1), probe)
        },
    )
}

/// What a cluster says of limits and of the health of its endpoints.
pub fn resilience() -> BoxedStrategy<Cluster> {
    let checks = of(health_check());
    (circuit_breakers(), connections(), of(outlier_detection()), of(slow_start()), 0u8..=100, checks)
        .prop_map(|(circuit_breakers, connections, outlier_detection, slow_start, panic_percent, check)| Cluster {
            circuit_breakers,
            connections: Some(Box::new(connections)),
            outlier_detection: outlier_detection.map(Box::new),
            slow_start: slow_start.map(Box::new),
            panic_percent,
            health_check: check.map(Box::new),
            ..Cluster::new("", Discovery::OriginalDestination)
        })
        .boxed()
}

/// Without what the other settings do not go together with.
pub fn fitting(mut cluster: Cluster) -> Cluster {
    let grows = matches!(
        cluster.balancing,
        Balancing::RoundRobin | Balancing::LeastRequest { .. } | Balancing::BiasedLeastRequest { .. }
    );
    if !grows {
        cluster.slow_start = None;
    }
    if let (false, Localities::Zones(zones)) =
        (grows || cluster.balancing == Balancing::Random, &mut cluster.localities)
    {
        (zones.own_takes_all_from, zones.by_weight) = (None, false);
    }
    if let (UpstreamProtocol::Http1, Some(options)) = (cluster.protocol, &mut cluster.connections) {
        options.max_concurrent_streams = None;
        options.http2_keepalive = None;
    }
    if let (UpstreamProtocol::Http2, Some(options)) = (cluster.protocol, &mut cluster.connections) {
        options.http1_trailers = false;
    }
    cluster.connections.take_if(|options| **options == ConnectionOptions::default());
    cluster
}
