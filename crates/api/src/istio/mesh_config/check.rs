//! The rules for settings of the mesh and of proxies.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::{
    AccessLogEncoding, AuthorizerBody, ConnectionSettings, ExtensionProvider, MESH_CONFIG_KEY, MeshConfig,
    MeshProxyConfig, PROXY_CONFIG, ProxyHeaders,
};
use crate::Spanned;
use crate::decode::Decode;
use crate::enforced;
use crate::istio::destination_rule::check_failover;
use crate::istio::rules::{check_duration, check_port, check_visibility};
use crate::problem::quoted;
use crate::report::{Report, Step};
use crate::yaml::{Node, Value, read, read_inside};

/// Istio's bounds for making a connection.
const CONNECT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));
/// HTTP/2's least window.
const LEAST_WINDOW: u32 = 65_535;

/// Reads and checks the settings of the mesh that a ConfigMap holds. The walk must stand at the document.
pub(crate) fn check_config_map(document: &Node, report: &mut Report) {
    let Some(text) = document.get("data").and_then(|data| data.get(MESH_CONFIG_KEY)) else { return };
    report.along(vec![Step::Field("data"), Step::Key(MESH_CONFIG_KEY.to_owned())], |r| {
        check_text(text, r, |config: &MeshConfig, node, r| {
            config.check(r);
            warn_of_mesh(node, r);
        });
    });
}

/// Reads and checks the settings of a proxy that the annotations hold. The walk must stand above `metadata`.
pub(crate) fn check_annotations(above: &Node, report: &mut Report) {
    let annotations = above.get("metadata").and_then(|metadata| metadata.get("annotations"));
    let Some(text) = annotations.and_then(|annotations| annotations.get(PROXY_CONFIG)) else { return };
    let steps = vec![Step::Field("metadata"), Step::Field("annotations"), Step::Key(PROXY_CONFIG.to_owned())];
    report.along(steps, |r| {
        check_text(text, r, |config: &MeshProxyConfig, node, r| {
            config.check(r);
            enforced::warn(enforced::of_proxy_config(), node, r);
        });
    });
}

/// Warns of what has no effect in settings of the mesh. The walk must stand at them.
pub(crate) fn warn_of_mesh(mesh: &Node, report: &mut Report) {
    enforced::warn(enforced::of_mesh_config(), mesh, report);
    if let Some(entry) = crate::report::find(mesh, "defaultConfig") {
        report.field("defaultConfig", |r| enforced::warn(enforced::of_proxy_config(), &entry.value, r));
    }
}

/// Reads the document that stands as text in the field where the walk stands.
fn check_text<T: Decode>(node: &Node, report: &mut Report, check: impl FnOnce(&T, &Node, &mut Report)) {
    let Value::String(_) = &node.value else { return };
    let stream = read_inside(report.file(), node);
    let unreadable = !stream.problems.is_empty();
    stream.problems.into_iter().for_each(|problem| report.add(problem));
    match &stream.documents[..] {
        [] => {}
        _ if unreadable => {}
        [root] => report.inside(root, |r| {
            let Some(config) = T::decode(root, r) else { return };
            r.begin_checks();
            check(&config, root, r);
        }),
        [_, ..] => {
            report.error(format!("{} documents stand here", stream.documents.len())).expected("one");
        }
    }
}

fn check_trust_domains(name: &'static str, domains: &[Spanned<String>], report: &mut Report) {
    report.each(name, domains, |domain, r| {
        if domain.parse::<base::TrustDomain>().is_err() {
            r.error(format!("{} is no trust domain", quoted(domain)))
                .expected("1 to 255 of a-z, 0-9, `.`, `-`, `_`, such as `cluster.local`");
        }
    });
}

/// Bundles of SPIFFE are had by TLS only, and nobody says a password in their URLs (SPIFFE_Federation.md, section 5.2).
fn check_bundle_url(url: &str, report: &mut Report) {
    let authority = url.strip_prefix("https://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match authority {
        None | Some("") => {
            let error = report.error(format!("{} is no place of a SPIFFE bundle", quoted(url)));
            error.expected("a URL that begins with `https://` and names a host");
        }
        Some(authority) if authority.contains('@') => {
            report.error("the URL names a user").expected("a host, with a port or without");
        }
        Some(_) => {}
    }
}

/// Blocks of PEM, each with one value of DER. What is in them is seen by who uses them.
fn check_certificates(pem: &str, report: &mut Report) {
    let mut certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).peekable();
    let is_there = certificates.peek().is_some();
    if !is_there || certificates.any(|it| !it.is_ok_and(|der| is_one_value(&der))) {
        report
            .error("there is no readable certificate in it")
            .expected("PEM blocks that begin with `-----BEGIN CERTIFICATE-----`");
    }
}

/// A sequence of DER that fills these bytes.
fn is_one_value(der: &[u8]) -> bool {
    match der {
        [0x30, 0x82, a, b, rest @ ..] => rest.len() == usize::from(*a) << 8 | usize::from(*b),
        [0x30, 0x81, a, rest @ ..] => rest.len() == usize::from(*a),
        _ => false,
    }
}

impl MeshConfig {
    pub(crate) fn check(&self, report: &mut Report) {
        if let Some(limit) = self.connect_timeout
            && !(CONNECT.0..=CONNECT.1).contains(&limit)
        {
            report.field("connectTimeout", |r| {
                r.error("the limit is out of range").expected("from `1ms` to `1h`");
            });
        }
        for (name, port) in [
            ("proxyListenPort", self.proxy_listen_port),
            ("proxyInboundListenPort", self.proxy_inbound_listen_port),
            ("proxyHttpPort", self.proxy_http_port.filter(|port| *port > 0)),
        ] {
            report.opt(name, &port, |port, r| check_port(*port, r));
        }
        check_duration("dnsRefreshRate", self.dns_refresh_rate, report);
        report.opt("tcpKeepalive", &self.tcp_keepalive, |keepalive, r| {
            check_duration("time", keepalive.time, r);
            check_duration("interval", keepalive.interval, r);
        });
        self.check_access_log(report);
        check_trust_domains("trustDomainAliases", &self.trust_domain_aliases, report);
        report.each("caCertificates", &self.ca_certificates, |anchor, r| {
            check_trust_domains("trustDomains", &anchor.trust_domains, r);
            match (anchor.pem.trim(), anchor.spiffe_bundle_url.as_str()) {
                ("", "") => {
                    r.error("nothing says what is trusted").expected("roots in `pem`, or `spiffeBundleUrl`");
                }
                ("", url) => r.field("spiffeBundleUrl", |r| check_bundle_url(url, r)),
                (pem, "") => r.field("pem", |r| check_certificates(pem, r)),
                _ => _ = r.error("`pem` and `spiffeBundleUrl` exclude each other").expected("one of them"),
            }
        });
        for (name, list, of_services) in [
            ("defaultServiceExportTo", &self.default_service_export_to, true),
            ("defaultVirtualServiceExportTo", &self.default_virtual_service_export_to, false),
            ("defaultDestinationRuleExportTo", &self.default_destination_rule_export_to, false),
        ] {
            check_visibility(name, list, of_services, ".", report);
        }
        report.opt("localityLbSetting", &self.locality_lb_setting, |setting, r| setting.check(true, r));
        report.opt("zoneAwareLbSetting", &self.zone_aware_lb_setting, |setting, r| {
            check_failover(&setting.failover, r);
        });
        report.opt("defaultHttpRetryPolicy", &self.default_http_retry_policy, |retries, r| retries.check(r));
        report.opt("defaultInboundHttpRetryPolicy", &self.default_inbound_http_retry_policy, |retries, r| {
            retries.check(r);
        });
        report.opt("defaultTrafficPolicy", &self.default_traffic_policy, |policy, r| {
            r.opt("connectionPool", &policy.connection_pool, |pool, r| pool.check(r));
            r.opt("outlierDetection", &policy.outlier_detection, |outlier, r| outlier.check(r));
        });
        report.opt("defaultConfig", &self.default_config, MeshProxyConfig::check);
        report.each("extensionProviders", &self.extension_providers, ExtensionProvider::check);
    }

    fn check_access_log(&self, report: &mut Report) {
        let format = self.access_log_format.as_str();
        if self.access_log_encoding != Some(AccessLogEncoding::Json) || format.is_empty() {
            return;
        }
        report.field("accessLogFormat", |r| {
            let members = json_format(format);
            if members.is_none() {
                r.error("the format is no JSON object of texts").expected(
                    "an object whose values are texts with operators, such as `{\"status\": \"%RESPONSE_CODE%\"}`",
                );
            }
        });
    }
}

/// The members of the object that a JSON format holds, sorted; none if it is not one of texts.
pub(super) fn json_format(format: &str) -> Option<Vec<(String, String)>> {
    let stream = read("", format, &Default::default());
    let ([root], true) = (&stream.documents[..], stream.problems.is_empty()) else { return None };
    let Value::Mapping(entries) = &root.value else { return None };
    let members = entries.iter().map(|entry| Some((entry.key.clone(), entry.value.as_str()?.to_owned())));
    let mut members: Vec<(String, String)> = members.collect::<Option<_>>()?;
    members.sort();
    Some(members)
}

impl MeshConfig {
    /// The members of `accessLogFormat`, if it is an object of texts: with [`AccessLogEncoding::Json`] nothing else is.
    pub fn json_log_format(&self) -> Option<Vec<(String, String)>> {
        json_format(&self.access_log_format)
    }
}

impl MeshProxyConfig {
    pub(crate) fn check(&self, report: &mut Report) {
        for (name, port) in [
            ("proxyAdminPort", self.proxy_admin_port.filter(|port| *port > 0)),
            ("statusPort", self.status_port.filter(|port| *port > 0)),
        ] {
            report.opt(name, &port, |port, r| check_port(*port, r));
        }
        report.opt("readinessProbe", &self.readiness_probe, |probe, r| probe.check(r));
        report.opt("proxyHeaders", &self.proxy_headers, ProxyHeaders::check);
        report.opt("connectionSettings", &self.connection_settings, ConnectionSettings::check);
    }
}

impl ProxyHeaders {
    fn check(&self, report: &mut Report) {
        report.opt("server", &self.server, |server, r| {
            let is_text = |c: char| c.is_ascii_graphic() || c == ' ';
            if !server.value.chars().all(is_text) {
                r.field("value", |r| {
                    r.error(format!("{} is not the value of a header", quoted(&server.value)))
                        .expected("letters, digits, signs and blanks of ASCII");
                });
            }
        });
    }
}

impl ConnectionSettings {
    fn check(&self, report: &mut Report) {
        for (name, window) in [
            ("http2InitialStreamWindowSize", self.http2_initial_stream_window_size),
            ("http2InitialConnectionWindowSize", self.http2_initial_connection_window_size),
        ] {
            if window.is_some_and(|size| !(LEAST_WINDOW..=i32::MAX as u32).contains(&size)) {
                report.field(name, |r| {
                    r.error("the window is out of range").expected("a number from 65535 to 2147483647");
                });
            }
        }
        for (name, limit) in [
            ("httpMaxConcurrentStreams", self.http_max_concurrent_streams),
            ("listenerConnectionLimit", self.listener_connection_limit),
            ("globalDownstreamConnectionLimit", self.global_downstream_connection_limit),
        ] {
            if limit == Some(0) {
                report.field(name, |r| {
                    r.error("0 lets nobody in").expected("1 or more");
                });
            }
        }
    }
}

impl ExtensionProvider {
    fn check(&self, report: &mut Report) {
        report.opt("envoyExtAuthzHttp", &self.envoy_ext_authz_http, |http, r| {
            check_service(&http.service, http.port, r);
            check_answers(http.timeout, &http.status_on_error, http.include_request_body_in_check.as_ref(), r);
            if !http.path_prefix.is_empty() && !http.path_prefix.starts_with('/') {
                r.field("pathPrefix", |r| {
                    r.error(format!("{} is no path", quoted(&http.path_prefix)))
                        .expected("a path that begins with `/`");
                });
            }
        });
        report.opt("envoyExtAuthzGrpc", &self.envoy_ext_authz_grpc, |grpc, r| {
            check_service(&grpc.service, grpc.port, r);
            check_answers(grpc.timeout, &grpc.status_on_error, grpc.include_request_body_in_check.as_ref(), r);
        });
        report.opt("zipkin", &self.zipkin, |it, r| {
            check_service(&it.service, it.port, r);
            check_path(&it.path, r);
        });
        report.opt("opentelemetry", &self.opentelemetry, |it, r| {
            check_service(&it.service, it.port, r);
            r.opt("http", &it.http, |http, r| check_path(&http.path, r));
            if it.http.is_some() && it.grpc.is_some() {
                r.field("grpc", |r| {
                    r.warning("it has no effect beside `http`").expected("one of them");
                });
            }
        });
        report.opt("envoyHttpAls", &self.envoy_http_als, |log, r| check_service(&log.service, log.port, r));
        report.opt("envoyTcpAls", &self.envoy_tcp_als, |log, r| check_service(&log.service, log.port, r));
        report.opt("envoyOtelAls", &self.envoy_otel_als, |log, r| check_service(&log.service, log.port, r));
        report.opt("envoyFileAccessLog", &self.envoy_file_access_log, |log, r| {
            if log.path.is_empty() {
                r.field("path", |r| {
                    r.error("it is empty").expected("a file, such as `/dev/stdout`");
                });
            }
        });
    }
}

/// The service that a provider stands for.
fn check_service(service: &str, port: u32, report: &mut Report) {
    let host = service.split_once('/').map_or(service, |(_, host)| host);
    if host.is_empty() || host.contains('*') {
        report.field("service", |r| {
            r.error(format!("{} is no service", quoted(service))).expected("`host` or `namespace/host`, without `*`");
        });
    }
    report.field("port", |r| check_port(port, r));
}

/// Where a provider is told; empty means where that usually is.
fn check_path(path: &str, report: &mut Report) {
    // RFC 3986, 3.3 and 3.4.
    let stands_in_a_path = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/?".contains(c);
    if !(path.is_empty() || path.starts_with('/') && path.chars().all(stands_in_a_path)) {
        report.field("path", |r| {
            r.error(format!("{} is no path", quoted(path))).expected("one such as `/v1/traces`");
        });
    }
}

/// How a provider that decides answers.
fn check_answers(timeout: Option<Duration>, status: &str, body: Option<&AuthorizerBody>, report: &mut Report) {
    check_duration("timeout", timeout, report);
    if !(status.is_empty() || status.parse().is_ok_and(|status: u16| (200..600).contains(&status))) {
        report.field("statusOnError", |r| {
            r.error(format!("{} is no status of HTTP", quoted(status))).expected("a number from 200 to 599, as a text");
        });
    }
    if body.is_some_and(|body| body.max_request_bytes == 0) {
        report.field("includeRequestBodyInCheck", |r| {
            r.field("maxRequestBytes", |r| {
                r.error("the service is sent nothing of a body").expected("one byte or more");
            });
        });
    }
}
