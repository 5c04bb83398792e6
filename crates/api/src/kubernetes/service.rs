//! Service: a name for a set of workloads.

use std::collections::{BTreeMap, HashSet};

use crate::decode::{IntOrString, Spanned, Unread, choice, object};
use crate::meta::{DNS_LABEL, check_labels};
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{is_dns_label, is_host_or_ip};

object! {
    /// A name for a set of workloads (core `v1`).
    Exact struct Service {
        /// How it can be reached.
        type_ "type": ServiceType,
        /// Its virtual address; `None` for a headless one.
        cluster_ip "clusterIP": String,
        /// Its virtual addresses by family.
        cluster_ips "clusterIPs": Vec<String>,
        /// Its ports.
        ports "ports": Vec<ServicePortSpec>,
        /// Labels of its workloads; empty if they are told in another way.
        selector "selector": BTreeMap<String, String>,
        /// The DNS name that it stands for, with the type `ExternalName`.
        external_name "externalName": String,
        /// Further addresses that lead to it.
        external_ips "externalIPs": Vec<String>,
        /// `None` or `ClientIP`.
        session_affinity "sessionAffinity": String,
        /// Settings of that.
        session_affinity_config "sessionAffinityConfig": Unread,
        /// The load balancer's address. Deprecated.
        load_balancer_ip "loadBalancerIP": String,
        /// Who makes the load balancer.
        load_balancer_class "loadBalancerClass": String,
        /// Who may use the load balancer.
        load_balancer_source_ranges "loadBalancerSourceRanges": Vec<String>,
        /// `Cluster` or `Local`, for traffic from outside.
        external_traffic_policy "externalTrafficPolicy": String,
        /// `Cluster` or `Local`, for traffic from inside.
        internal_traffic_policy "internalTrafficPolicy": String,
        /// The port of the load balancer's health check.
        health_check_node_port "healthCheckNodePort": Option<u32>,
        /// Count workloads before they are ready?
        publish_not_ready_addresses "publishNotReadyAddresses": bool,
        /// `IPv4`, `IPv6`.
        ip_families "ipFamilies": Vec<String>,
        /// `SingleStack`, `PreferDualStack` or `RequireDualStack`.
        ip_family_policy "ipFamilyPolicy": String,
        /// Give the load balancer ports on the nodes?
        allocate_load_balancer_node_ports "allocateLoadBalancerNodePorts": Option<bool>,
        /// Where requests prefer to go, such as `PreferSameZone`.
        traffic_distribution "trafficDistribution": String,
        /// Long out of use.
        topology_keys "topologyKeys": Vec<String>,
        /// Long out of use.
        ip_family "ipFamily": String,
    }
}

object! {
    /// A port of a service.
    Exact struct ServicePortSpec {
        /// A name; its first part may tell the protocol (`http-web`).
        name "name": Spanned<String>,
        /// The transport.
        protocol "protocol": TransportProtocol,
        /// What is spoken there.
        app_protocol "appProtocol": String,
        /// 1 to 65535.
        port "port" (required): Spanned<u32>,
        /// The workloads' port by number or name; none means the same.
        target_port "targetPort": Option<IntOrString>,
        /// The port on every node.
        node_port "nodePort": Option<u32>,
    }
}

choice! {
    /// How a service can be reached.
    enum ServiceType {
        /// At a virtual address inside.
        ClusterIp "ClusterIP",
        /// At a port of every node too.
        NodePort "NodePort",
        /// At a load balancer too.
        LoadBalancer "LoadBalancer",
        /// It is only another name of a DNS name.
        ExternalName "ExternalName",
    }
}

choice! {
    /// A transport protocol.
    enum TransportProtocol {
        /// TCP.
        Tcp "TCP",
        /// UDP.
        Udp "UDP",
        /// SCTP.
        Sctp "SCTP",
    }
}

impl Service {
    /// Has it no virtual address, so that clients see its workloads one by one?
    pub fn is_headless(&self) -> bool {
        std::iter::once(&self.cluster_ip).chain(&self.cluster_ips).any(|ip| ip == "None")
    }

    pub(crate) fn check(&self, report: &mut Report) {
        if self.type_ == ServiceType::ExternalName {
            if !is_host_or_ip(&self.external_name) {
                report.field("externalName", |r| {
                    r.error(format!("{} is not a DNS name", quoted(&self.external_name)))
                        .expected("the DNS name that the service stands for");
                });
            }
        } else if self.ports.is_empty() && !self.is_headless() {
            report.field("ports", |r| {
                r.error("the service has no port").expected("at least one port");
            });
        }
        let addresses = std::iter::once(&self.cluster_ip).chain(&self.cluster_ips);
        for address in
            addresses.filter(|a| !matches!(a.as_str(), "" | "None") && a.parse::<std::net::IpAddr>().is_err())
        {
            report.error(format!("{} is not an address", quoted(address))).expected("an IP address or `None`");
        }
        check_labels("selector", &self.selector, report);
        let choices = [
            ("sessionAffinity", &self.session_affinity, &["None", "ClientIP"][..]),
            ("trafficDistribution", &self.traffic_distribution, &["PreferClose", "PreferSameZone", "PreferSameNode"]),
        ];
        for (field, word, known) in choices {
            if !word.is_empty() && !known.contains(&word.as_str()) {
                report.field(field, |r| {
                    r.error(format!("{} is not known", quoted(word))).expected(format!("one of {}", known.join(", ")));
                });
            }
        }
        self.check_ports(report);
    }

    fn check_ports(&self, report: &mut Report) {
        let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
        report.each("ports", &self.ports, |port, r| {
            r.field("port", |r| {
                check_port(port.port.value, r);
                if !numbers.insert((port.port.value, port.protocol)) {
                    r.error(format!("the port {}/{} is listed twice", port.port, port.protocol.as_str()))
                        .expected("each port once");
                }
            });
            r.field("name", |r| {
                if port.name.is_empty() && self.ports.len() > 1 {
                    r.error("the port has no name").expected("a name, since the service has several ports");
                } else if !port.name.is_empty() && !is_dns_label(&port.name) {
                    r.error(format!("{} is not the name of a port", quoted(&port.name))).expected(DNS_LABEL);
                } else if !port.name.is_empty() && !names.insert(port.name.value.clone()) {
                    r.error(format!("two ports are called {}", quoted(&port.name))).expected("each name once");
                }
            });
            r.opt("targetPort", &port.target_port, |target, r| match target {
                IntOrString::Int(number) => check_port(*number, r),
                IntOrString::String(name) if name.parse::<u32>().is_ok() => {
                    r.error(format!("{} is a number in quotes", quoted(name)))
                        .expected("a number, or the name of a port")
                        .hint("remove the quotes");
                }
                IntOrString::String(name) => check_port_name(name, r),
            });
            r.opt("nodePort", &port.node_port, |port, r| {
                // 0 asks Kubernetes to choose.
                if *port != 0 {
                    check_port(*port, r);
                }
            });
        });
    }
}

pub(super) fn check_port(port: u32, report: &mut Report) {
    if !(1..=65535).contains(&port) {
        report.error(format!("{port} is not a port")).expected("a number from 1 to 65535");
    }
}

/// Names of containers' ports (IANA service names): at most 15 characters, with a letter among them.
pub(super) fn check_port_name(name: &str, report: &mut Report) {
    if name.len() > 15 || !is_dns_label(name) || !name.bytes().any(|c| c.is_ascii_alphabetic()) {
        report
            .error(format!("{} is not the name of a port", quoted(name)))
            .expected("at most 15 of a-z, 0-9 and `-`, with a letter among them");
    }
}
