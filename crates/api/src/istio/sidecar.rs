//! Sidecar: what the proxies of a namespace or workload reach and serve.

use std::collections::HashSet;

use super::rules::{check_destination, check_host, check_port, check_protocol};
use super::{ConnectionPoolSettings, Destination, ServerTlsMode, ServerTlsSettings, WorkloadSelector};
use crate::decode::{Spanned, choice, object};
use crate::meta::{DNS_LABEL, Meta, check_selector};
use crate::problem::quoted;
use crate::report::{Report, Step};
use crate::syntax::{ProtocolClass, is_dns_label, protocol_class};

object! {
    /// What proxies reach and serve (`networking.istio.io`).
    Istio struct Sidecar {
        /// The workloads; none means all of the namespace.
        workload_selector "workloadSelector": Option<WorkloadSelector>,
        /// Ports that they serve, in place of what their services say.
        ingress "ingress": Vec<IngressListener>,
        /// Hosts that they reach.
        egress "egress": Vec<EgressListener>,
        /// Limits on what they serve.
        inbound_connection_pool "inboundConnectionPool": Option<ConnectionPoolSettings>,
        /// What becomes of traffic to unknown destinations.
        outbound_traffic_policy "outboundTrafficPolicy": Option<OutboundTrafficPolicy>,
    }
}

object! {
    /// A port that workloads serve.
    Istio struct IngressListener {
        /// The port.
        port "port" (required): Option<SidecarPort>,
        /// The address to listen at; empty means the workload's.
        bind "bind": String,
        /// How traffic gets there.
        capture_mode "captureMode": CaptureMode,
        /// Where the workload listens: `127.0.0.1:port`, `0.0.0.0:port`, `unix://path`.
        default_endpoint "defaultEndpoint": String,
        /// TLS towards clients, in place of the mesh's.
        tls "tls": Option<ServerTlsSettings>,
        /// Limits.
        connection_pool "connectionPool": Option<ConnectionPoolSettings>,
    }
}

object! {
    /// Hosts that workloads reach.
    Istio struct EgressListener {
        /// The port; none means all ports that no other entry names.
        port "port": Option<SidecarPort>,
        /// The address to listen at.
        bind "bind": String,
        /// How traffic gets there.
        capture_mode "captureMode": CaptureMode,
        /// `namespace/host`; `.` is the own namespace, `*` any, `~` none.
        hosts "hosts" (required): Vec<Spanned<String>>,
    }
}

object! {
    /// A port of a sidecar.
    Istio struct SidecarPort {
        /// 1 to 65535; 0 with a socket that has a path.
        number "number": Spanned<u32>,
        /// What is spoken there.
        protocol "protocol": String,
        /// A name.
        name "name": String,
        /// Without effect.
        target_port "targetPort": Option<u32>,
    }
}

choice! {
    /// How traffic gets to a listener.
    enum CaptureMode {
        /// As the workload is set up.
        Default "DEFAULT",
        /// It is redirected.
        Iptables "IPTABLES",
        /// The client connects to the listener itself.
        None "NONE",
    }
}

object! {
    /// What becomes of traffic to unknown destinations.
    Istio struct OutboundTrafficPolicy {
        /// The rule.
        mode "mode": OutboundMode,
        /// Where such traffic goes, if it may go on.
        egress_proxy "egressProxy": Option<Destination>,
    }
}

choice! {
    /// What becomes of traffic to unknown destinations.
    enum OutboundMode {
        /// It is refused.
        RegistryOnly "REGISTRY_ONLY",
        /// It may go on.
        AllowAny "ALLOW_ANY",
    }
}

impl Sidecar {
    pub(crate) fn check(&self, meta: &Meta, report: &mut Report) {
        report.opt("workloadSelector", &self.workload_selector, |selector, r| {
            if selector.labels.is_empty() {
                r.warning("the selector names no label: it takes every workload of the namespace");
            }
            check_selector("labels", &selector.labels, r);
        });
        let is_empty = self.ingress.is_empty() && self.egress.is_empty();
        if is_empty && self.outbound_traffic_policy.is_none() && self.inbound_connection_pool.is_none() {
            report
                .error("the Sidecar is empty")
                .expected("`egress`, `ingress`, `outboundTrafficPolicy` or `inboundConnectionPool`");
        }
        let mut ports = HashSet::new();
        report.each("ingress", &self.ingress, |listener, r| {
            listener.check(r);
            check_unique(&mut ports, &listener.port, r);
        });
        report.opt("inboundConnectionPool", &self.inbound_connection_pool, ConnectionPoolSettings::check);
        self.check_egress(meta, report);
        report.opt("outboundTrafficPolicy", &self.outbound_traffic_policy, OutboundTrafficPolicy::check);
    }

    fn check_egress(&self, meta: &Meta, report: &mut Report) {
        let mut ports = HashSet::new();
        let last = self.egress.len().saturating_sub(1);
        report.field("egress", |r| {
            for (index, listener) in self.egress.iter().enumerate() {
                r.down(Step::Index(index), |r| {
                    if listener.port.is_none() && index != last {
                        r.error("an entry without `port` takes all traffic that is left, and is not the last one")
                            .expected("one such entry at most, as the last");
                    }
                    listener.check(meta, r);
                    check_unique(&mut ports, &listener.port, r);
                });
            }
        });
    }
}

fn check_unique(ports: &mut HashSet<u32>, port: &Option<SidecarPort>, report: &mut Report) {
    if let Some(port) = port.as_ref().filter(|p| p.number.value > 0)
        && !ports.insert(port.number.value)
    {
        report.field("port", |r| {
            r.field("number", |r| {
                r.error(format!("the port {} is listed twice", port.number)).expected("each port once");
            })
        });
    }
}

impl IngressListener {
    fn check(&self, report: &mut Report) {
        report.opt("port", &self.port, |port, r| {
            port.check(r);
            r.field("number", |r| check_port(port.number.value, r));
        });
        check_bind(&self.bind, false, report);
        if !self.default_endpoint.is_empty() {
            report.field("defaultEndpoint", |r| check_endpoint(&self.default_endpoint, r));
        }
        report.opt("tls", &self.tls, |tls, r| self.check_tls(tls, r));
        report.opt("connectionPool", &self.connection_pool, |pool, r| {
            pool.check(r);
            let class = self.port.as_ref().and_then(|p| protocol_class(&p.protocol));
            if pool.http.is_some() && class != Some(ProtocolClass::Http) {
                r.field("http", |r| {
                    r.warning("this has no effect: the port's protocol is not one of HTTP");
                });
            }
        });
    }

    fn check_tls(&self, tls: &ServerTlsSettings, report: &mut Report) {
        for (name, is_set) in [
            ("subjectAltNames", !tls.subject_alt_names.is_empty()),
            ("httpsRedirect", tls.https_redirect),
            ("credentialName", !tls.credential_name.is_empty()),
            ("credentialNames", !tls.credential_names.is_empty()),
            ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ] {
            if is_set {
                report.field(name, |r| {
                    r.error("a sidecar does not support this").hint("remove the line");
                });
            }
        }
        if matches!(tls.mode, ServerTlsMode::IstioMutual | ServerTlsMode::AutoPassthrough) {
            report.field("mode", |r| {
                r.error(format!("a sidecar's port cannot have the mode {}", tls.mode.as_str()))
                    .expected("`SIMPLE` or `MUTUAL`");
            });
        }
        let protocol = self.port.as_ref().map(|port| port.protocol.as_str()).unwrap_or_default();
        if protocol_class(protocol).is_some_and(|class| class != ProtocolClass::Tls) {
            report
                .error(format!("a port of the protocol {protocol} cannot end TLS"))
                .expected("`protocol: HTTPS` or `protocol: TLS`");
        }
        tls.check(report);
    }
}

impl EgressListener {
    fn check(&self, meta: &Meta, report: &mut Report) {
        report.opt("port", &self.port, |port, r| {
            port.check(r);
            if port.number.value == 0 && !self.bind.starts_with("unix://") {
                r.field("number", |r| {
                    r.error("the port has no number")
                        .expected("a number from 1 to 65535, or a `bind` of `unix://` and a path");
                });
            } else if port.number.value > 65535 {
                r.field("number", |r| check_port(port.number.value, r));
            }
            let is_opened = self.capture_mode == CaptureMode::None || self.bind.starts_with("unix://");
            if port.is_http_proxy() && !is_opened {
                r.field("protocol", |r| {
                    r.warning("no socket is opened for this proxy: it takes only connections that are redirected, and those to loopback never are")
                        .hint("write `captureMode: NONE`, and programs find it at 127.0.0.1");
                });
            }
        });
        if self.bind.starts_with("unix://") && self.capture_mode == CaptureMode::Iptables {
            report.field("captureMode", |r| {
                r.error("nothing can be redirected to a socket with a path").expected("`DEFAULT` or `NONE`");
            });
        }
        let has_number = self.port.as_ref().is_some_and(|port| port.number.value > 0);
        check_bind(&self.bind, !has_number, report);
        if self.hosts.is_empty() {
            report.field("hosts", |r| {
                r.error("the entry reaches nothing").expected("at least one host, such as `./*`");
            });
        }
        self.check_hosts(meta, report);
    }

    fn check_hosts(&self, meta: &Meta, report: &mut Report) {
        let own = meta.namespace.as_deref().unwrap_or_default();
        let mut seen: Vec<(&str, &str)> = Vec::new();
        report.field("hosts", |r| {
            for (index, entry) in self.hosts.iter().enumerate() {
                r.down(Step::Index(index), |r| {
                    let Some((namespace, host)) = entry.split_once('/') else {
                        let hint = format!("write `*/{}` for a host of any namespace", entry.value);
                        r.error(format!("{} names no namespace", quoted(entry)))
                            .expected("`namespace/host`")
                            .hint(hint);
                        return;
                    };
                    let namespace = if namespace == "." { own } else { namespace };
                    check_egress_namespace(namespace, r);
                    check_host(host, r);
                    if seen.iter().any(|(n, h)| (*n == namespace || *n == "*") && (*h == host || *h == "*")) {
                        r.warning(format!("{} is already covered by an entry above", quoted(entry))).hint("remove it");
                    }
                    seen.push((namespace, host));
                });
            }
        });
    }
}

/// A namespace, `*` for any, `~` for none, or `~` and a namespace to leave that one out.
fn check_egress_namespace(namespace: &str, report: &mut Report) {
    let name = namespace.strip_prefix('~').unwrap_or(namespace);
    let is_wild = matches!(namespace, "*" | "~");
    if !is_wild && !is_dns_label(name) {
        report
            .error(format!("{} is not a namespace", quoted(namespace)))
            .expected("a namespace, `.`, `*` or `~` before the `/`");
    }
}

impl SidecarPort {
    /// Does it take requests for any host, as an HTTP proxy?
    pub fn is_http_proxy(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("HTTP_PROXY")
    }

    fn check(&self, report: &mut Report) {
        check_protocol(&self.protocol, report);
        if !self.name.is_empty() && !is_dns_label(&self.name) {
            report.field("name", |r| {
                r.error(format!("{} is not the name of a port", quoted(&self.name))).expected(DNS_LABEL);
            });
        }
        if self.target_port.is_some_and(|p| p > 0) {
            report.field("targetPort", |r| {
                r.error("a sidecar has no target port").hint("use `defaultEndpoint`");
            });
        }
    }
}

impl OutboundTrafficPolicy {
    fn check(&self, report: &mut Report) {
        report.opt("egressProxy", &self.egress_proxy, |proxy, r| {
            if self.mode != OutboundMode::AllowAny {
                r.error("nothing goes on in the mode REGISTRY_ONLY").expected("`mode: ALLOW_ANY`");
            }
            check_destination(proxy, r);
            if proxy.port.is_none() {
                r.error("the egress proxy has no port").expected("`port: {number: ...}`");
            }
        });
    }
}

/// A listener of a port with a number has an IP address.
fn check_bind(bind: &str, may_be_path: bool, report: &mut Report) {
    let is_path = may_be_path && bind.strip_prefix("unix://").is_some_and(|path| path.starts_with(['/', '@']));
    if !bind.is_empty() && !is_path && bind.parse::<std::net::IpAddr>().is_err() {
        report.field("bind", |r| {
            r.error(format!("{} is not an address here", quoted(bind))).expected(match may_be_path {
                true => "an IP address, or `unix://` and an absolute path",
                false => "an IP address",
            });
        });
    }
}

fn check_endpoint(endpoint: &str, report: &mut Report) {
    const EXPECTED: &str =
        "`127.0.0.1:port`, `[::1]:port`, `0.0.0.0:port`, `[::]:port`, `:port` or `unix://` and a path";
    let good = match endpoint.strip_prefix("unix://") {
        Some(path) => path.starts_with(['/', '@']),
        None => endpoint.rsplit_once(':').is_some_and(|(host, port)| {
            matches!(host, "" | "127.0.0.1" | "0.0.0.0" | "[::1]" | "[::]") && port.parse::<u16>().is_ok_and(|p| p > 0)
        }),
    };
    if !good {
        report.error(format!("{} is not an endpoint of the workload", quoted(endpoint))).expected(EXPECTED);
    }
}
