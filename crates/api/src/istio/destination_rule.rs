//! DestinationRule: what holds for traffic to a host once it was routed there.

mod check;

pub(in crate::istio) use check::check_failover;

use std::collections::BTreeMap;
use std::time::Duration;

use super::PortSelector;
use crate::decode::{Spanned, choice, object};
use crate::meta::check_selector;
use crate::report::Report;

object! {
    /// Policies for traffic to a host (`networking.istio.io`).
    Istio struct DestinationRule {
        /// The host: a service's name, or `*.suffix`. A short name belongs to the rule's namespace.
        host "host" (required): Spanned<String>,
        /// For all of the host's workloads and ports.
        traffic_policy "trafficPolicy": Option<TrafficPolicy>,
        /// Named parts of the host's workloads.
        subsets "subsets": Vec<Subset>,
        /// Who sees the rule: namespaces, `.` for the own one, `*` for all. Empty means `*`.
        export_to "exportTo": Vec<Spanned<String>>,
        /// The clients that the rule is for; none means all.
        workload_selector "workloadSelector": Option<LabelSelector>,
    }
}

object! {
    /// Workloads by their labels (`istio.type.v1beta1.WorkloadSelector`).
    Istio struct LabelSelector {
        /// All of these have to be there.
        match_labels "matchLabels": BTreeMap<String, String>,
    }
}

/// For whom a document is: labels, or gateways of the Gateway API in their place.
pub(super) fn check_place(selector: Option<&LabelSelector>, has_targets: bool, report: &mut Report) {
    let Some(LabelSelector { match_labels }) = selector else { return };
    report.field("selector", |r| check_selector("matchLabels", match_labels, r));
    if has_targets && !match_labels.is_empty() {
        report.field("targetRefs", |r| {
            r.error("`selector` and `targetRefs` exclude each other").expected("one of them");
        });
    }
}

object! {
    /// A named part of a host's workloads.
    Istio struct Subset {
        /// The name, to which VirtualServices refer.
        name "name" (required): Spanned<String>,
        /// Labels that all of its workloads have.
        labels "labels": BTreeMap<String, String>,
        /// Overrides the rule's policy block by block.
        traffic_policy "trafficPolicy": Option<TrafficPolicy>,
    }
}

object! {
    /// A policy.
    Istio struct TrafficPolicy {
        /// How a workload is chosen.
        load_balancer "loadBalancer": Option<LoadBalancerSettings>,
        /// Limits on connections and requests.
        connection_pool "connectionPool": Option<ConnectionPoolSettings>,
        /// When a failing workload is left out for a while.
        outlier_detection "outlierDetection": Option<OutlierDetection>,
        /// TLS towards the host. Any setting turns automatic mutual TLS off.
        tls "tls": Option<ClientTlsSettings>,
        /// Policies for single ports, which inherit nothing.
        port_level_settings "portLevelSettings": Vec<PortTrafficPolicy>,
        /// A tunnel through another proxy.
        tunnel "tunnel": Option<TunnelSettings>,
        /// Tells the client's address by the PROXY protocol.
        proxy_protocol "proxyProtocol": Option<ProxyProtocol>,
        /// Limits retries relative to requests.
        retry_budget "retryBudget": Option<RetryBudget>,
    }
}

object! {
    /// The policy for one port.
    Istio struct PortTrafficPolicy {
        /// The service's port.
        port "port": Option<PortSelector>,
        /// How a workload is chosen.
        load_balancer "loadBalancer": Option<LoadBalancerSettings>,
        /// Limits on connections and requests.
        connection_pool "connectionPool": Option<ConnectionPoolSettings>,
        /// When a failing workload is left out for a while.
        outlier_detection "outlierDetection": Option<OutlierDetection>,
        /// TLS towards the port.
        tls "tls": Option<ClientTlsSettings>,
    }
}

object! {
    /// A tunnel through another proxy.
    Istio struct TunnelSettings {
        /// `CONNECT` (also when empty) or `POST`.
        protocol "protocol": String,
        /// The host at the tunnel's end.
        target_host "targetHost" (required): String,
        /// The port at the tunnel's end.
        target_port "targetPort" (required): u32,
    }
}

object! {
    /// The PROXY protocol.
    Istio struct ProxyProtocol {
        /// Its version.
        version "version": ProxyProtocolVersion,
    }
}

choice! {
    /// Versions of the PROXY protocol.
    enum ProxyProtocolVersion {
        /// The text form.
        V1 "V1",
        /// The binary form.
        V2 "V2",
    }
}

object! {
    /// Limits retries relative to requests.
    Istio struct RetryBudget {
        /// Share of requests that may be retries at once; none means 20.
        percent "percent": Option<f64>,
        /// Retries that may always run at once; none means 3.
        min_retry_concurrency "minRetryConcurrency": Option<u32>,
        /// Over which time requests count; zero means those under way only.
        budget_interval "budgetInterval": Option<Duration>,
    }
}

object! {
    /// How a workload is chosen.
    Istio struct LoadBalancerSettings {
        /// A rule that needs no settings; none means least requests.
        simple "simple": Option<SimpleLb>,
        /// By a hash, so that like requests go to the same workload.
        consistent_hash "consistentHash": Option<ConsistentHashLb>,
        /// By locality.
        locality_lb_setting "localityLbSetting": Option<LocalityLbSetting>,
        /// By zone, as evenly as the zones' sizes allow.
        zone_aware_lb_setting "zoneAwareLbSetting": Option<ZoneAwareLbSetting>,
        /// How long a new workload gets less. Deprecated.
        warmup_duration_secs "warmupDurationSecs": Option<Duration>,
        /// How a new workload's share grows.
        warmup "warmup": Option<Warmup>,
    }
}

choice! {
    /// Rules of choice that need no settings.
    enum SimpleLb {
        /// The mesh's default: least requests.
        Unspecified "UNSPECIFIED",
        /// The old name of least requests.
        LeastConn "LEAST_CONN",
        /// By chance.
        Random "RANDOM",
        /// The address that the client dialled.
        Passthrough "PASSTHROUGH",
        /// In turn.
        RoundRobin "ROUND_ROBIN",
        /// The one of two with fewer requests under way.
        LeastRequest "LEAST_REQUEST",
    }
}

object! {
    /// Choice by a hash: one key and one algorithm.
    Istio struct ConsistentHashLb {
        /// Key: a header's value.
        http_header_name "httpHeaderName": String,
        /// Key: a cookie's value.
        http_cookie "httpCookie": Option<HttpCookie>,
        /// Key: the client's address.
        use_source_ip "useSourceIp": bool,
        /// Key: a query parameter's value.
        http_query_parameter_name "httpQueryParameterName": String,
        /// Algorithm: ring hash, the default.
        ring_hash "ringHash": Option<RingHash>,
        /// Algorithm: Maglev.
        maglev "maglev": Option<Maglev>,
        /// The ring's least size. Deprecated: it stands in `ringHash`.
        minimum_ring_size "minimumRingSize": Option<u64>,
    }
}

object! {
    /// Ring hash.
    Istio struct RingHash {
        /// The ring's least size; none means 1024.
        minimum_ring_size "minimumRingSize": Option<u64>,
    }
}

object! {
    /// Maglev.
    Istio struct Maglev {
        /// The table's size, a prime; none means 65537.
        table_size "tableSize": Option<u64>,
    }
}

object! {
    /// A cookie to hash by.
    Istio struct HttpCookie {
        /// Its name.
        name "name" (required): String,
        /// Its path, if the proxy creates it.
        path "path": String,
        /// Its life, if the proxy creates it; zero makes it one of the session. None means that it is never created.
        ttl "ttl": Option<Duration>,
        /// Further attributes, if the proxy creates it.
        attributes "attributes": Vec<CookieAttribute>,
    }
}

object! {
    /// An attribute of a cookie, such as `SameSite`.
    Istio struct CookieAttribute {
        /// Its name.
        name "name" (required): String,
        /// Its value, if it has one.
        value "value": String,
    }
}

object! {
    /// How a new workload's share grows.
    Istio struct Warmup {
        /// How long it takes.
        duration "duration" (required): Option<Duration>,
        /// The share at its start in percent; none means 10.
        minimum_percent "minimumPercent": Option<f64>,
        /// The curve; none means 1, a straight line.
        aggression "aggression": Option<f64>,
    }
}

object! {
    /// Choice by locality.
    Istio struct LocalityLbSetting {
        /// Where the requests from a locality go, by share.
        distribute "distribute": Vec<LocalityDistribute>,
        /// Where they go when a region fails.
        failover "failover": Vec<LocalityFailover>,
        /// Labels whose equality brings workloads nearer, most important first.
        failover_priority "failoverPriority": Vec<String>,
        /// On or off; none means the mesh's default.
        enabled "enabled": Option<bool>,
    }
}

object! {
    /// Where the requests from a locality go.
    Istio struct LocalityDistribute {
        /// The clients' locality: `region/zone/subzone`, with `*` at its end for all below.
        from "from": String,
        /// Shares in percent by locality; they total 100.
        to "to": BTreeMap<String, u32>,
    }
}

object! {
    /// Where requests go when a region fails.
    Istio struct LocalityFailover {
        /// The region that fails.
        from "from": String,
        /// The region that takes over.
        to "to": String,
    }
}

object! {
    /// Choice by zone.
    Istio struct ZoneAwareLbSetting {
        /// On or off; none means on.
        enabled "enabled": Option<bool>,
        /// Where requests go when a region fails.
        failover "failover": Vec<LocalityFailover>,
        /// Labels whose equality brings workloads nearer, most important first.
        failover_priority "failoverPriority": Vec<String>,
        /// With fewer workloads than this, zones do not count; none means 6.
        min_cluster_size "minClusterSize": Option<u64>,
    }
}

object! {
    /// Limits on connections and requests.
    Istio struct ConnectionPoolSettings {
        /// For all connections.
        tcp "tcp": Option<TcpSettings>,
        /// For HTTP on top.
        http "http": Option<HttpSettings>,
    }
}

object! {
    /// Limits on connections.
    Istio struct TcpSettings {
        /// Connections at once; 0 and none mean no limit.
        max_connections "maxConnections": Option<u32>,
        /// How long a connect may take; none means 10 s.
        connect_timeout "connectTimeout": Option<Duration>,
        /// TCP keep-alive; none means that of the operating system.
        tcp_keepalive "tcpKeepalive": Option<TcpKeepalive>,
        /// The longest life of a connection.
        max_connection_duration "maxConnectionDuration": Option<Duration>,
        /// How long a connection may be silent; none means 1 h.
        idle_timeout "idleTimeout": Option<Duration>,
    }
}

object! {
    /// TCP keep-alive.
    Istio struct TcpKeepalive {
        /// Probes without an answer before the connection is given up.
        probes "probes": Option<u32>,
        /// Silence before the first probe.
        time "time": Option<Duration>,
        /// Time between probes.
        interval "interval": Option<Duration>,
    }
}

object! {
    /// Limits on HTTP requests. 0 means no limit everywhere.
    Istio struct HttpSettings {
        /// Requests that wait for a connection.
        http1_max_pending_requests "http1MaxPendingRequests": Option<u32>,
        /// Requests under way, whatever the version of HTTP.
        http2_max_requests "http2MaxRequests": Option<u32>,
        /// Requests on one connection; 1 turns keep-alive off.
        max_requests_per_connection "maxRequestsPerConnection": Option<u32>,
        /// Retries under way.
        max_retries "maxRetries": Option<u32>,
        /// How long a connection may be without a request; none means 1 h.
        idle_timeout "idleTimeout": Option<Duration>,
        /// Is HTTP/1.1 carried on as HTTP/2?
        h2_upgrade_policy "h2UpgradePolicy": H2UpgradePolicy,
        /// Keep the client's version of HTTP.
        use_client_protocol "useClientProtocol": bool,
        /// Streams at once on one HTTP/2 connection.
        max_concurrent_streams "maxConcurrentStreams": Option<u32>,
        /// HTTP/2 pings.
        http2_keep_alive "http2KeepAlive": Option<Http2KeepAlive>,
    }
}

choice! {
    /// Is HTTP/1.1 carried on as HTTP/2?
    enum H2UpgradePolicy {
        /// As the mesh has it.
        Default "DEFAULT",
        /// It is not.
        DoNotUpgrade "DO_NOT_UPGRADE",
        /// It is.
        Upgrade "UPGRADE",
    }
}

object! {
    /// HTTP/2 pings.
    Istio struct Http2KeepAlive {
        /// Time between pings.
        interval "interval": Option<Duration>,
        /// How long an answer may take.
        timeout "timeout": Option<Duration>,
    }
}

object! {
    /// When a failing workload is left out for a while. Off unless the block is there.
    Istio struct OutlierDetection {
        /// Deprecated.
        consecutive_errors "consecutiveErrors": Option<u32>,
        /// Count failures to connect apart from answers with an error.
        split_external_local_origin_errors "splitExternalLocalOriginErrors": bool,
        /// Failures to connect in a row; none means 5.
        consecutive_local_origin_failures "consecutiveLocalOriginFailures": Option<u32>,
        /// Answers 502, 503 or 504 in a row; none and 0 turn it off.
        consecutive_gateway_errors "consecutiveGatewayErrors": Option<u32>,
        /// Answers of 500 and more in a row; none means 5, 0 turns it off.
        consecutive_5xx_errors "consecutive5xxErrors": Option<u32>,
        /// Time between looks; none means 10 s.
        interval "interval": Option<Duration>,
        /// How long it is left out the first time; none means 30 s.
        base_ejection_time "baseEjectionTime": Option<Duration>,
        /// Share of workloads that may be left out; none and 0 mean 10.
        max_ejection_percent "maxEjectionPercent": Option<u32>,
        /// With a smaller share of healthy workloads none is left out; none means 0.
        min_health_percent "minHealthPercent": Option<u32>,
        /// Answers that count as errors, in place of 500 and more.
        outlier_detection_http_error_codes "outlierDetectionHttpErrorCodes": Vec<u32>,
    }
}

object! {
    /// TLS towards a host.
    Istio struct ClientTlsSettings {
        /// Whether, and who shows a certificate.
        mode "mode": ClientTlsMode,
        /// File of the client's certificate.
        client_certificate "clientCertificate": String,
        /// File of the client's key.
        private_key "privateKey": String,
        /// File of the authorities that vouch for the server.
        ca_certificates "caCertificates": String,
        /// Secret with the client's key, its certificate and the authorities.
        credential_name "credentialName": Spanned<String>,
        /// Names of which the server's certificate must hold one.
        subject_alt_names "subjectAltNames": Vec<String>,
        /// Server name to ask for.
        sni "sni": String,
        /// Take any certificate.
        insecure_skip_verify "insecureSkipVerify": Option<bool>,
        /// File of certificates that are revoked.
        ca_crl "caCrl": String,
    }
}

choice! {
    /// Whether TLS is used towards a host, and who shows a certificate.
    enum ClientTlsMode {
        /// No TLS.
        Disable "DISABLE",
        /// The server shows one.
        Simple "SIMPLE",
        /// Both show one.
        Mutual "MUTUAL",
        /// Both show that of the mesh.
        IstioMutual "ISTIO_MUTUAL",
    }
}
