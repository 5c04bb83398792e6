//! ServiceEntry: a service that no platform tells of, inside the mesh or outside.

use std::collections::{BTreeMap, HashSet};

use super::WorkloadEntry;
use super::rules::{check_exclusive, check_export_to, check_host, check_port, check_protocol};
use super::workload_entry::Addresses;
use crate::decode::{Spanned, choice, object};
use crate::meta::{DNS_LABEL, Meta, check_selector};
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{ProtocolClass, is_dns_label, protocol_class};

object! {
    /// A service (`networking.istio.io`).
    Istio struct ServiceEntry {
        /// Its names.
        hosts "hosts" (required): Vec<Spanned<String>>,
        /// Its virtual addresses, or blocks of them.
        addresses "addresses": Vec<Spanned<String>>,
        /// Its ports.
        ports "ports": Vec<ServicePort>,
        /// Inside the mesh or outside.
        location "location": Location,
        /// How its workloads are found.
        resolution "resolution": Resolution,
        /// Its workloads, one by one.
        endpoints "endpoints": Vec<WorkloadEntry>,
        /// Its workloads by labels, in its namespace.
        workload_selector "workloadSelector": Option<WorkloadSelector>,
        /// Who sees it: namespaces, `.` for the own one, `*` for all, `~` for nobody. Empty means `*`.
        export_to "exportTo": Vec<Spanned<String>>,
        /// Names of which a workload's certificate must hold one.
        subject_alt_names "subjectAltNames": Vec<String>,
    }
}

object! {
    /// A port of a service.
    Istio struct ServicePort {
        /// 1 to 65535.
        number "number" (required): Spanned<u32>,
        /// What is spoken there; empty means that it is found out.
        protocol "protocol": String,
        /// A name, unique in the service.
        name "name" (required): Spanned<String>,
        /// The workloads' port, if it is another.
        target_port "targetPort": Option<u32>,
    }
}

object! {
    /// Workloads by their labels (`istio.networking.v1alpha3.WorkloadSelector`).
    Istio struct WorkloadSelector {
        /// All of these have to be there.
        labels "labels": BTreeMap<String, String>,
    }
}

choice! {
    /// Is a service part of the mesh?
    enum Location {
        /// It is not: no mutual TLS.
        MeshExternal "MESH_EXTERNAL",
        /// It is.
        MeshInternal "MESH_INTERNAL",
    }
}

choice! {
    /// How the workloads of a service are found.
    enum Resolution {
        /// They are not: the address that the client dialled is used.
        None "NONE",
        /// By the given endpoints.
        Static "STATIC",
        /// By DNS; all answers count.
        Dns "DNS",
        /// By DNS; the first answer counts.
        DnsRoundRobin "DNS_ROUND_ROBIN",
        /// By DNS, for the name of each request; for hosts with a wildcard.
        DynamicDns "DYNAMIC_DNS",
    }
}

impl ServiceEntry {
    pub(crate) fn check(&self, meta: &Meta, report: &mut Report) {
        self.check_hosts(report);
        self.check_addresses(report);
        self.check_ports(report);
        self.check_workloads(report);
        self.check_tcp(report);
        self.check_unclaimed(report);
        check_export_to(&self.export_to, true, meta, report);
    }

    fn check_hosts(&self, report: &mut Report) {
        if self.hosts.is_empty() {
            report.field("hosts", |r| {
                r.error("the service has no name").expected("at least one host");
            });
        }
        let looked_up =
            matches!(self.resolution, Resolution::Dns | Resolution::DnsRoundRobin) && self.endpoints.is_empty();
        report.each("hosts", &self.hosts, |host, r| {
            if host.value == "*" {
                r.error("`*` would be the name of everything").expected("a DNS name, or `*.` and a DNS name");
                return;
            }
            check_host(host, r);
            if host.starts_with('*') && looked_up {
                let message = format!("{} cannot be looked up in DNS", quoted(host));
                r.error(message)
                    .expected("a name without wildcard, or `endpoints`")
                    .hint("`resolution: DYNAMIC_DNS` looks up the name of each request");
            } else if !host.starts_with('*') && self.resolution == Resolution::DynamicDns {
                r.error("`resolution: DYNAMIC_DNS` is for hosts with a wildcard")
                    .expected("`*.` and a DNS name")
                    .hint("use `resolution: DNS`");
            }
        });
    }

    fn check_addresses(&self, report: &mut Report) {
        let blocks = matches!(self.resolution, Resolution::None | Resolution::Static);
        report.each("addresses", &self.addresses, |address, r| {
            let text = address.as_str();
            if text.parse::<ipnet::IpNet>().is_err() && text.parse::<std::net::IpAddr>().is_err() {
                r.error(format!("{} is not an address", quoted(text)))
                    .expected("an IP address, or a block such as `10.0.0.0/8`");
            } else if text.contains('/') && !blocks {
                r.error("a block of addresses has no meaning with this resolution")
                    .expected("an IP address, or `resolution: NONE` or `STATIC`");
            }
        });
        if self.resolution == Resolution::DynamicDns && !self.addresses.is_empty() {
            report.field("addresses", |r| {
                r.error("`resolution: DYNAMIC_DNS` has no addresses").hint("remove them");
            });
        }
    }

    fn check_ports(&self, report: &mut Report) {
        let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
        report.each("ports", &self.ports, |port, r| {
            r.field("number", |r| {
                check_port(port.number.value, r);
                if !numbers.insert(port.number.value) {
                    r.error(format!("the port {} is listed twice", port.number)).expected("each port once");
                }
            });
            r.field("name", |r| {
                if !is_dns_label(&port.name) {
                    r.error(format!("{} is not the name of a port", quoted(&port.name))).expected(DNS_LABEL);
                } else if !names.insert(port.name.value.clone()) {
                    r.error(format!("two ports are called {}", quoted(&port.name))).expected("each name once");
                }
            });
            check_protocol(&port.protocol, r);
            r.opt("targetPort", &port.target_port, |target, r| {
                check_port(*target, r);
                match self.resolution {
                    Resolution::None => {
                        r.warning("this has no effect with `resolution: NONE`: the client's port is used");
                    }
                    Resolution::DynamicDns => {
                        r.warning("this has no effect with `resolution: DYNAMIC_DNS`: the port that the request names is used");
                    }
                    _ => {}
                }
            });
        });
    }

    fn check_workloads(&self, report: &mut Report) {
        let (endpoints, selected) = (!self.endpoints.is_empty(), self.workload_selector.is_some());
        check_exclusive(&[("endpoints", endpoints), ("workloadSelector", selected)], report);
        report.opt("workloadSelector", &self.workload_selector, |selector, r| {
            if selector.labels.is_empty() {
                r.warning("the selector names no label: it takes every workload of the namespace");
            }
            check_selector("labels", &selector.labels, r);
            if self.resolution != Resolution::Static {
                r.warning(format!("workloads by labels do not fit `resolution: {}`", self.resolution.as_str()))
                    .hint("use `resolution: STATIC`");
            }
        });
        if endpoints && self.resolution == Resolution::None {
            report.field("endpoints", |r| {
                r.error("`resolution: NONE` has no endpoints").expected("`resolution: STATIC` or `DNS`");
            });
        }
        if endpoints && self.resolution == Resolution::DynamicDns {
            report.field("endpoints", |r| {
                r.warning(
                    "with `resolution: DYNAMIC_DNS` these have no effect: the host that a request names is dialled",
                )
                .hint("remove them");
            });
        }
        if self.resolution == Resolution::DnsRoundRobin && self.endpoints.len() > 1 {
            report.field("endpoints", |r| {
                r.error("`resolution: DNS_ROUND_ROBIN` has one endpoint")
                    .expected("at most one")
                    .hint("use `resolution: DNS`");
            });
        }
        let ports: Vec<&str> = self.ports.iter().map(|p| p.name.as_str()).collect();
        let addresses = if self.resolution == Resolution::Static { Addresses::Fixed } else { Addresses::Names };
        report.each("endpoints", &self.endpoints, |endpoint, r| {
            endpoint.check_as(addresses, Some(&ports), r);
            if endpoint.address.starts_with("unix://") && ports.len() != 1 {
                r.error("a socket with a path serves one port").expected("exactly one port in the ServiceEntry");
            }
        });
    }

    /// Plain connections carry no name: only their address tells services apart.
    fn check_tcp(&self, report: &mut Report) {
        let class = |port: &ServicePort| protocol_class(&port.protocol).unwrap_or(ProtocolClass::Opaque);
        let Some(index) = self.ports.iter().position(|p| class(p) == ProtocolClass::Opaque) else { return };
        let port = &self.ports[index];
        if self.hosts.len() > 1 && self.resolution != Resolution::None {
            report.field("hosts", |r| {
                let message = format!(
                    "several hosts share the port {}, where the client's wish for one of them cannot be seen",
                    port.number
                );
                r.error(message).expected("one host per ServiceEntry, or a protocol of HTTP or TLS");
            });
        } else if self.addresses.is_empty() && !self.is_without_address() {
            report.along(vec![crate::report::Step::Field("ports"), crate::report::Step::Index(index)], |r| {
                let message = format!("without `addresses`, connections to the port {} are told apart only if the client asks the mesh's DNS", port.number);
                r.warning(message).hint("add `addresses`, or a protocol of HTTP or TLS");
            });
        }
    }

    /// Do its hosts have no address at all? They are given none where the client's own counts, and to wildcards.
    fn is_without_address(&self) -> bool {
        let own = matches!(self.resolution, Resolution::None | Resolution::DynamicDns);
        let listed = self.resolution == Resolution::Static || !self.endpoints.is_empty();
        let wild = listed && self.hosts.iter().all(|host| host.starts_with('*'));
        (own || wild) && self.addresses.is_empty()
    }

    /// Istio would take every connection to such a port, whatever its destination; we take none. With DYNAMIC_DNS it takes none
    /// either.
    fn check_unclaimed(&self, report: &mut Report) {
        let class = |port: &ServicePort| protocol_class(&port.protocol).unwrap_or(ProtocolClass::Opaque);
        // Where each host is looked up, the name in a handshake tells it too.
        let looked_up = self.resolution == Resolution::DynamicDns;
        let is_named = |port: &ServicePort| match class(port) {
            ProtocolClass::Http => true,
            ProtocolClass::Tls => looked_up,
            ProtocolClass::Opaque => false,
        };
        let is_udp = |port: &ServicePort| port.protocol.eq_ignore_ascii_case("UDP");
        if self.hosts.is_empty() || !self.is_without_address() {
            return;
        }
        report.each("ports", &self.ports, |port, r| {
            if !is_named(port) && !is_udp(port) {
                let message = format!(
                    "without `addresses`, connections to the port {} go where those to unknown destinations go",
                    port.number
                );
                r.warning(message)
                    .expected("`addresses` with IP addresses, or a protocol of HTTP")
                    .hint("with ALLOW_ANY they reach what was dialled, with REGISTRY_ONLY they are closed (Istio would take all connections to the port)");
            }
        });
    }
}
