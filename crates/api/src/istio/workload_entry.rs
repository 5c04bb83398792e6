//! WorkloadEntry: a workload that no platform tells of, such as a virtual machine.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::rules::check_port;
use crate::decode::{Spanned, object};
use crate::meta::{DNS_LABEL, check_labels};
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{is_dns_label, is_dns_subdomain, is_host_or_ip};

object! {
    /// A workload (`networking.istio.io`); also an endpoint of a ServiceEntry.
    Istio struct WorkloadEntry {
        /// An IP address, a DNS name, or `unix://` and a path.
        address "address": Spanned<String>,
        /// Ports by the name that they have in the service.
        ports "ports": BTreeMap<String, u32>,
        /// Labels, by which subsets and selectors find it.
        labels "labels": BTreeMap<String, String>,
        /// The network that it is in; workloads of one network reach each other directly.
        network "network": String,
        /// `region/zone/subzone`.
        locality "locality": String,
        /// Its share, relative to others.
        weight "weight": Option<u32>,
        /// The service account of its identity.
        service_account "serviceAccount": String,
    }
}

/// What an endpoint's address may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addresses {
    /// IP addresses and paths of sockets.
    Fixed,
    /// IP addresses and DNS names.
    Names,
    /// Any of these.
    Any,
}

impl WorkloadEntry {
    pub(crate) fn check(&self, report: &mut Report) {
        self.check_as(Addresses::Any, None, report);
    }

    /// Checks it as a part of a service whose ports are called `service_ports`, if it is known.
    pub(super) fn check_as(&self, addresses: Addresses, service_ports: Option<&[&str]>, report: &mut Report) {
        let address = self.address.as_str();
        if address.is_empty() {
            self.check_absent_address(addresses, report);
        } else {
            report.field("address", |r| check_address(address, addresses, r));
        }
        self.check_rest(service_ports, report);
    }

    /// Checks everything but the address.
    pub(super) fn check_rest(&self, service_ports: Option<&[&str]>, report: &mut Report) {
        let address = self.address.as_str();
        if address.starts_with("unix://") && !self.ports.is_empty() {
            report.field("ports", |r| {
                r.error("a socket with a path has no ports").hint("remove the ports");
            });
        }
        report.entries("ports", &self.ports, |name, port, r| {
            check_port(*port, r);
            if !is_dns_label(name) {
                r.error(format!("{} is not the name of a port", quoted(name))).expected(DNS_LABEL);
            } else if service_ports.is_some_and(|names| !names.contains(&name.as_str())) {
                r.error(format!("the service has no port {}", quoted(name)))
                    .expected("a name from the ServiceEntry's `ports`");
            }
        });
        check_labels("labels", &self.labels, report);
        self.check_locality(report);
        if !self.service_account.is_empty() && !is_dns_subdomain(&self.service_account) {
            report.field("serviceAccount", |r| {
                r.error(format!("{} is not the name of a service account", quoted(&self.service_account)))
                    .hint("write its name only, without namespace or `spiffe://`");
            });
        }
    }

    /// Istio lets a network stand for the address, save where addresses are looked up. The gateway of that network
    /// would be dialled then, and we dial none.
    fn check_absent_address(&self, addresses: Addresses, report: &mut Report) {
        if addresses == Addresses::Names {
            report.error("the workload has no address").expected("an IP address or a DNS name in `address`");
        } else if self.network.is_empty() {
            report
                .error("the workload has neither `address` nor `network`")
                .expected("`address`, with which connections are made to it");
        } else {
            let network = quoted(&self.network);
            report
                .warning(format!("the workload has no address, only the network {network}: it gets no traffic"))
                .expected("`address`: gateways between networks are not dialled")
                .hint("add the address at which its sidecar, or a gateway before it, is reached");
        }
    }

    fn check_locality(&self, report: &mut Report) {
        let parts: Vec<&str> = self.locality.split('/').collect();
        if !self.locality.is_empty() && (parts.len() > 3 || parts.iter().any(|p| p.is_empty())) {
            report.field("locality", |r| {
                r.error(format!("{} is not a locality", quoted(&self.locality)))
                    .expected("`region/zone/subzone`, or its first parts");
            });
        }
    }
}

fn check_address(address: &str, addresses: Addresses, report: &mut Report) {
    if let Some(path) = address.strip_prefix("unix://") {
        if addresses == Addresses::Names {
            report
                .error("a path of a socket cannot be looked up")
                .expected("an IP address or a DNS name")
                .hint("use `resolution: STATIC`");
        } else if !path.starts_with(['/', '@']) || path.ends_with('/') {
            report
                .error(format!("{} is not a path of a socket", quoted(path)))
                .expected("an absolute path of a file, or `@` and a name");
        }
    } else if addresses == Addresses::Fixed {
        if address.parse::<IpAddr>().is_err() {
            report
                .error(format!("{} is not an IP address", quoted(address)))
                .expected("an IP address")
                .hint("use `resolution: DNS` for names");
        }
    } else if !is_host_or_ip(address) {
        report
            .error(format!("{} is not an address", quoted(address)))
            .expected("an IP address or a DNS name")
            .hint("a port stands in `ports`");
    }
}
