//! The rules for a DestinationRule.

use std::collections::HashMap;

use super::super::rules::*;
use super::*;
use crate::code::Code;
use crate::meta::{Meta, check_labels, check_selector};
use crate::problem::quoted;
use crate::report::{Report, Step};
use crate::syntax::is_host_or_ip;

/// Maglev tables have fewer entries than this (Envoy's limit).
const LARGEST_TABLE: u64 = 5_000_011;

impl DestinationRule {
    pub(crate) fn check(&self, meta: &Meta, report: &mut Report) {
        report.field("host", |r| {
            check_host(&self.host, r);
        });
        let for_clients = self.workload_selector.is_some();
        report.opt("trafficPolicy", &self.traffic_policy, |policy, r| policy.check(for_clients, r));
        let mut seen = HashMap::new();
        report.each("subsets", &self.subsets, |subset, r| {
            if let Some(first) = seen.insert(subset.name.value.clone(), subset.name.span.line) {
                r.field("name", |r| {
                    let at = if first > 0 { format!("; the first is in line {first}") } else { String::new() };
                    r.error(format!("the subset {} is defined twice{at}", quoted(&subset.name)))
                        .hint("give one of them another name");
                });
            }
            r.field("name", |r| check_subset_name(&subset.name, r));
            check_labels("labels", &subset.labels, r);
            r.opt("trafficPolicy", &subset.traffic_policy, |policy, r| policy.check(for_clients, r));
        });
        check_export_to(&self.export_to, false, meta, report);
        self.check_selector(meta, report);
    }

    fn check_selector(&self, meta: &Meta, report: &mut Report) {
        let Some(selector) = &self.workload_selector else { return };
        report.field("workloadSelector", |r| {
            if selector.match_labels.is_empty() {
                r.warning("the selector names no label: the rule is for every client of the namespace");
            }
            check_selector("matchLabels", &selector.match_labels, r);
        });
        let own = |namespace: &str| namespace == "." || Some(namespace) == meta.namespace.as_deref();
        if self.export_to.iter().any(|e| !own(e)) {
            report.field("exportTo", |r| {
                r.error("a rule with `workloadSelector` is for its own namespace only")
                    .expected("`.`, or no `exportTo`");
            });
        }
    }
}

impl TrafficPolicy {
    fn check(&self, for_clients: bool, report: &mut Report) {
        let is_empty = *self == TrafficPolicy::default();
        if is_empty {
            report.error("the policy is empty").expected("at least one of its fields");
        }
        check_exclusive(&[("tunnel", self.tunnel.is_some()), ("proxyProtocol", self.proxy_protocol.is_some())], report);
        check_blocks(
            &self.load_balancer,
            &self.connection_pool,
            &self.outlier_detection,
            &self.tls,
            for_clients,
            report,
        );
        report.opt("tunnel", &self.tunnel, TunnelSettings::check);
        report.opt("retryBudget", &self.retry_budget, |budget, r| {
            check_fraction("percent", budget.percent, r);
        });
        let mut seen = HashMap::new();
        report.each("portLevelSettings", &self.port_level_settings, |policy, r| {
            policy.check(for_clients, r);
            let Some(port) = &policy.port else { return };
            if seen.insert(port.number.value, ()).is_some() {
                r.field("port", |r| {
                    r.warning(format!("the port {} is set twice; the first one counts", port.number))
                        .hint("join the two");
                });
            }
        });
    }
}

impl PortTrafficPolicy {
    fn check(&self, for_clients: bool, report: &mut Report) {
        match &self.port {
            Some(port) => report.field("port", |r| r.field("number", |r| check_port(port.number.value, r))),
            None => {
                report.error("the policy names no port").expected("`port: {number: ...}`");
            }
        }
        let blocks = (&self.load_balancer, &self.connection_pool, &self.outlier_detection, &self.tls);
        if let (None, None, None, None) = blocks {
            report
                .error("the policy is empty")
                .expected("`loadBalancer`, `connectionPool`, `outlierDetection` or `tls`");
        }
        check_blocks(blocks.0, blocks.1, blocks.2, blocks.3, for_clients, report);
    }
}

/// The four blocks that a policy and one for a port have in common.
fn check_blocks(
    balancer: &Option<LoadBalancerSettings>,
    pool: &Option<ConnectionPoolSettings>,
    outlier: &Option<OutlierDetection>,
    tls: &Option<ClientTlsSettings>,
    for_clients: bool,
    report: &mut Report,
) {
    report.opt("loadBalancer", balancer, |balancer, r| balancer.check(outlier.is_some(), r));
    report.opt("connectionPool", pool, ConnectionPoolSettings::check);
    report.opt("outlierDetection", outlier, OutlierDetection::check);
    report.opt("tls", tls, |tls, r| tls.check(for_clients, r));
}

impl TunnelSettings {
    fn check(&self, report: &mut Report) {
        if !matches!(self.protocol.as_str(), "" | "CONNECT" | "POST") {
            report.field("protocol", |r| {
                r.error(format!("{} is not a way to tunnel", quoted(&self.protocol))).expected("`CONNECT` or `POST`");
            });
        }
        if !is_host_or_ip(&self.target_host) {
            report.field("targetHost", |r| {
                r.error(format!("{} is not a host", quoted(&self.target_host))).expected("a DNS name or an IP address");
            });
        }
        report.field("targetPort", |r| check_port(self.target_port, r));
    }
}

impl LoadBalancerSettings {
    fn check(&self, has_outlier_detection: bool, report: &mut Report) {
        check_exclusive(
            &[("simple", self.simple.is_some()), ("consistentHash", self.consistent_hash.is_some())],
            report,
        );
        let (locality, zone) = (self.locality_lb_setting.is_some(), self.zone_aware_lb_setting.is_some());
        check_exclusive(&[("localityLbSetting", locality), ("zoneAwareLbSetting", zone)], report);
        check_exclusive(
            &[("warmup", self.warmup.is_some()), ("warmupDurationSecs", self.warmup_duration_secs.is_some())],
            report,
        );
        report.opt("consistentHash", &self.consistent_hash, ConsistentHashLb::check);
        report
            .opt("localityLbSetting", &self.locality_lb_setting, |setting, r| setting.check(has_outlier_detection, r));
        report.opt("zoneAwareLbSetting", &self.zone_aware_lb_setting, |setting, r| {
            check_failover(&setting.failover, r);
            if setting.min_cluster_size == Some(0) {
                r.field("minClusterSize", |r| {
                    r.error("0 is too small").expected("1 or more");
                });
            }
        });
        check_duration("warmupDurationSecs", self.warmup_duration_secs, report);
        report.opt("warmup", &self.warmup, |warmup, r| {
            check_duration("duration", warmup.duration, r);
            check_fraction("minimumPercent", warmup.minimum_percent, r);
            if warmup.aggression.is_some_and(|a| a <= 0.0) {
                r.field("aggression", |r| {
                    r.error("the curve needs a positive number").expected("a number above 0");
                });
            }
        });
        self.check_warmup_fits(report);
    }

    /// Only two rules of choice know shares that grow.
    fn check_warmup_fits(&self, report: &mut Report) {
        let name = if self.warmup.is_some() { "warmup" } else { "warmupDurationSecs" };
        let has_warmup = self.warmup.is_some() || self.warmup_duration_secs.is_some();
        let fits = matches!(
            self.simple.unwrap_or_default(),
            SimpleLb::Unspecified | SimpleLb::LeastConn | SimpleLb::LeastRequest | SimpleLb::RoundRobin
        );
        if has_warmup && (!fits || self.consistent_hash.is_some()) {
            report.field(name, |r| {
                r.warning("this has no effect with the chosen load balancer")
                    .expected("`simple: ROUND_ROBIN` or `simple: LEAST_REQUEST`");
            });
        }
    }
}

impl ConsistentHashLb {
    fn check(&self, report: &mut Report) {
        let keys = [
            ("httpHeaderName", !self.http_header_name.is_empty()),
            ("httpCookie", self.http_cookie.is_some()),
            ("useSourceIp", self.use_source_ip),
            ("httpQueryParameterName", !self.http_query_parameter_name.is_empty()),
        ];
        check_exclusive(&keys, report);
        if !keys.iter().any(|(_, is_set)| *is_set) {
            let found = report.warning("there is nothing to hash by: workloads are chosen by chance");
            found.expected("`httpHeaderName`, `httpCookie`, `useSourceIp` or `httpQueryParameterName`");
        }
        let old = self.minimum_ring_size.unwrap_or(0) > 0;
        check_exclusive(
            &[("ringHash", self.ring_hash.is_some()), ("maglev", self.maglev.is_some()), ("minimumRingSize", old)],
            report,
        );
        if old {
            report.field("minimumRingSize", |r| {
                r.warning("this is deprecated").hint("write `ringHash: {minimumRingSize: ...}`");
            });
        }
        report.opt("httpCookie", &self.http_cookie, |cookie, r| {
            if cookie.name.is_empty() {
                r.field("name", |r| {
                    r.error("the cookie has no name").expected("a name");
                });
            }
        });
        if let Some(size) = self.maglev.as_ref().and_then(|m| m.table_size) {
            report.along(vec![Step::Field("maglev"), Step::Field("tableSize")], |r| check_table_size(size, r));
        }
    }
}

fn check_table_size(size: u64, report: &mut Report) {
    let expected = format!("a prime below {LARGEST_TABLE}, such as 65537");
    if size >= LARGEST_TABLE {
        report.error(format!("the table is too large: {size}")).expected(expected);
    } else if !is_prime(size) {
        report.error(format!("{size} is not a prime")).expected(expected);
    }
}

fn is_prime(n: u64) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

impl LocalityLbSetting {
    pub(in crate::istio) fn check(&self, has_outlier_detection: bool, report: &mut Report) {
        let (distribute, failover) = (!self.distribute.is_empty(), !self.failover.is_empty());
        let priority = !self.failover_priority.is_empty();
        check_exclusive(&[("distribute", distribute), ("failover", failover)], report);
        check_exclusive(&[("distribute", distribute), ("failoverPriority", priority)], report);
        report.each("distribute", &self.distribute, |distribute, r| {
            r.field("from", |r| check_locality(&distribute.from, r));
            let total: u64 = distribute.to.values().map(|w| u64::from(*w)).sum();
            r.entries("to", &distribute.to, |locality, weight, r| {
                check_locality(locality, r);
                if !(1..=100).contains(weight) {
                    r.error(format!("{weight} is not a share")).expected("a number from 1 to 100");
                }
            });
            if total != 100 {
                r.field("to", |r| {
                    r.error(format!("the shares total {total}")).expected("100");
                });
            }
        });
        check_failover(&self.failover, report);
        let name = if failover { "failover" } else { "failoverPriority" };
        if (failover || priority) && !has_outlier_detection && self.enabled != Some(false) {
            report.field(name, |r| {
                r.warning("this has no effect without `outlierDetection`, which tells that a workload fails")
                    .hint("add `outlierDetection: {}` to the same policy");
            });
        }
    }
}

pub(in crate::istio) fn check_failover(failover: &[LocalityFailover], report: &mut Report) {
    report.each("failover", failover, |failover, r| {
        for (name, region) in [("from", &failover.from), ("to", &failover.to)] {
            r.field(name, |r| {
                if region.is_empty() || region.contains(['/', '*']) {
                    r.error(format!("{} is not a region", quoted(region)))
                        .expected("the name of a region, without zone and without `*`");
                }
            });
        }
        if failover.from == failover.to {
            r.error(format!("{} fails over to itself", quoted(&failover.from))).expected("two different regions");
        }
    });
}

fn check_locality(locality: &str, report: &mut Report) {
    let parts: Vec<&str> = locality.split('/').collect();
    let wild = parts.iter().position(|p| p.contains('*'));
    let wild_is_last = wild.is_none_or(|i| i + 1 == parts.len() && parts[i] == "*");
    if parts.len() > 3 || parts.iter().any(|p| p.is_empty()) || !wild_is_last {
        report
            .error(format!("{} is not a locality", quoted(locality)))
            .expected("`region/zone/subzone`, or a part of it with `*` at its end");
    }
}

impl ConnectionPoolSettings {
    pub(in crate::istio) fn check(&self, report: &mut Report) {
        if self.tcp.is_none() && self.http.is_none() {
            report.error("the connection pool is empty").expected("`tcp`, `http` or both");
        }
        report.opt("tcp", &self.tcp, |tcp, r| {
            check_duration("connectTimeout", tcp.connect_timeout, r);
            check_duration("maxConnectionDuration", tcp.max_connection_duration, r);
            check_duration("idleTimeout", tcp.idle_timeout, r);
            r.opt("tcpKeepalive", &tcp.tcp_keepalive, |keepalive, r| {
                check_duration("time", keepalive.time, r);
                check_duration("interval", keepalive.interval, r);
            });
        });
        report.opt("http", &self.http, |http, r| {
            check_duration("idleTimeout", http.idle_timeout, r);
            if http.use_client_protocol && http.h2_upgrade_policy == H2UpgradePolicy::Upgrade {
                r.error("`useClientProtocol` and `h2UpgradePolicy: UPGRADE` exclude each other")
                    .expected("one of them");
            }
            r.opt("http2KeepAlive", &http.http2_keep_alive, |keep_alive, r| {
                check_duration("interval", keep_alive.interval, r);
                check_duration("timeout", keep_alive.timeout, r);
                if keep_alive.interval.is_none() || keep_alive.timeout.is_none() {
                    r.error("the pings are not described whole").expected("both `interval` and `timeout`");
                }
            });
        });
    }
}

impl OutlierDetection {
    pub(in crate::istio) fn check(&self, report: &mut Report) {
        check_duration("interval", self.interval, report);
        check_duration("baseEjectionTime", self.base_ejection_time, report);
        check_whole_percent("maxEjectionPercent", self.max_ejection_percent, report);
        check_whole_percent("minHealthPercent", self.min_health_percent, report);
        if self.consecutive_errors.is_some() {
            report.field("consecutiveErrors", |r| {
                r.warning("this is deprecated").hint("write `consecutiveGatewayErrors` or `consecutive5xxErrors`");
            });
        }
        if self.consecutive_local_origin_failures.unwrap_or(0) > 0 && !self.split_external_local_origin_errors {
            report.field("consecutiveLocalOriginFailures", |r| {
                r.error("failures to connect are not counted apart")
                    .expected("`splitExternalLocalOriginErrors: true` beside it");
            });
        }
        report.each("outlierDetectionHttpErrorCodes", &self.outlier_detection_http_error_codes, |code, r| {
            if !(100..=599).contains(code) {
                r.error(format!("{code} is not a status of a response")).expected("a number from 100 to 599");
            }
        });
    }
}

impl ClientTlsSettings {
    fn check(&self, for_clients: bool, report: &mut Report) {
        let files = [
            ("clientCertificate", &self.client_certificate),
            ("privateKey", &self.private_key),
            ("caCertificates", &self.ca_certificates),
        ];
        let has_credential = !self.credential_name.is_empty();
        if matches!(self.mode, ClientTlsMode::Disable | ClientTlsMode::IstioMutual) {
            let credential = ("credentialName", &self.credential_name.value);
            for (name, _) in files.into_iter().chain([credential]).filter(|(_, file)| !file.is_empty()) {
                report.field(name, |r| {
                    r.warning(format!("this is not used in the mode {}", self.mode.as_str()))
                        .hint("use `mode: SIMPLE` or `mode: MUTUAL`, or remove the line");
                });
            }
            return;
        }
        if has_credential {
            for (name, _) in files.iter().filter(|(_, file)| !file.is_empty()) {
                report.field(name, |r| {
                    r.error(format!("`{name}` and `credentialName` exclude each other"))
                        .expected("the Secret, or files");
                });
            }
            if !for_clients {
                report.field("credentialName", |r| {
                    r.warning("this works at gateways only")
                        .hint("add `workloadSelector` to the rule to have it for sidecars");
                });
            }
        } else if self.mode == ClientTlsMode::Mutual {
            for (name, _) in files[..2].iter().filter(|(_, file)| file.is_empty()) {
                report
                    .error(format!("the mode MUTUAL needs `{name}`"))
                    .expected("`clientCertificate` and `privateKey`, or `credentialName`");
            }
        }
        self.check_verification(has_credential, report);
    }

    fn check_verification(&self, has_credential: bool, report: &mut Report) {
        if self.insecure_skip_verify == Some(true) {
            for (name, is_set) in [
                ("caCertificates", !self.ca_certificates.is_empty()),
                ("subjectAltNames", !self.subject_alt_names.is_empty()),
            ] {
                if is_set {
                    report.field(name, |r| {
                        r.error(format!("`{name}` and `insecureSkipVerify` exclude each other"))
                            .hint("remove `insecureSkipVerify`");
                    });
                }
            }
        } else if self.ca_certificates.is_empty() && !has_credential {
            let code = match report.here().contains("portLevelSettings") {
                true => Code::NoServerCertificateVerificationPortLevel,
                false => Code::NoServerCertificateVerificationDestinationLevel,
            };
            report
                .warning("no authority is named that the server's certificate has to come from")
                .code(code)
                .hint("add `caCertificates` or `credentialName`");
        }
    }
}

fn check_fraction(name: &'static str, percent: Option<f64>, report: &mut Report) {
    if let Some(percent) = percent.filter(|p| !(0.0..=100.0).contains(p)) {
        report.field(name, |r| {
            r.error(format!("{percent} is not a percentage")).expected("a number from 0 to 100");
        });
    }
}
