//! The rules for a VirtualService as a whole, and for its TLS and TCP rules.

use base::HostPattern;

use super::super::rules::*;
use super::{Destination, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute, VirtualService};
use crate::decode::Spanned;
use crate::meta::{Meta, check_labels};
use crate::problem::quoted;
use crate::report::{Report, Step};

impl VirtualService {
    pub(crate) fn check(&self, meta: &Meta, report: &mut Report) {
        let hosts = self.check_hosts(report);
        check_gateways(&self.gateways, report);
        check_export_to(&self.export_to, false, meta, report);
        if self.is_delegate() {
            self.check_delegate(report);
        }
        if self.http.is_empty() && self.tls.is_empty() && self.tcp.is_empty() {
            report.error("there is no rule").expected("at least one of `http`, `tls` and `tcp`");
        }
        self.check_http(report);
        report.each("tls", &self.tls, |route, r| {
            check_tls(route, &hosts, r);
            r.each("match", &route.match_, |m, r| self.check_reach_of_subnets(&m.destination_subnets, &m.gateways, r));
        });
        report.each("tcp", &self.tcp, |route, r| {
            check_tcp(route, r);
            r.each("match", &route.match_, |m, r| self.check_reach_of_subnets(&m.destination_subnets, &m.gateways, r));
        });
        self.check_reach(report);
    }

    /// At a gateway clients dial the gateway, and rules take any address, as in Istio.
    fn check_reach_of_subnets(&self, subnets: &[String], gateways: &[Spanned<String>], report: &mut Report) {
        let gateways = if gateways.is_empty() { &self.gateways } else { gateways };
        if !subnets.is_empty() && gateways.iter().any(|gateway| gateway.value != "mesh") {
            report.field("destinationSubnets", |r| {
                r.warning("at a gateway the rule takes connections to any address, as in Istio");
            });
        }
    }

    /// Checks the hosts and gives those that can be read.
    fn check_hosts(&self, report: &mut Report) -> Vec<HostPattern> {
        let mut seen: Vec<(HostPattern, &str)> = Vec::new();
        report.each("hosts", &self.hosts, |host, r| {
            let Some(pattern) = check_host(host, r) else { return };
            if pattern == HostPattern::Any && self.is_for_mesh() {
                let found =
                    r.error("`*` as a host would take all traffic of every sidecar").expected("a narrower host");
                found.hint("list `gateways` without `mesh` if the rule is for a gateway");
            }
            if let Some((_, first)) = seen.iter().find(|(p, _)| p.overlaps(&pattern)) {
                let message = match *first == host.as_str() {
                    true => format!("the host {} is listed twice", quoted(host)),
                    false => format!("the hosts {} and {} overlap", quoted(first), quoted(host)),
                };
                r.error(message).hint("keep the wider of the two, or put them into two VirtualServices");
            }
            seen.push((pattern, host.value.as_str()));
        });
        seen.into_iter().map(|(pattern, _)| pattern).collect()
    }

    /// Without hosts it can only be delegated to; then nothing but HTTP rules may stand in it.
    fn check_delegate(&self, report: &mut Report) {
        for (name, is_set) in
            [("gateways", !self.gateways.is_empty()), ("tls", !self.tls.is_empty()), ("tcp", !self.tcp.is_empty())]
        {
            if is_set {
                report.field(name, |r| {
                    let message =
                        format!("a VirtualService without `hosts` is one to delegate to, and cannot have `{name}`");
                    r.error(message).hint(format!("add `hosts`, or remove `{name}`"));
                });
            }
        }
    }
}

fn check_tls(route: &TlsRoute, hosts: &[HostPattern], report: &mut Report) {
    if route.match_.is_empty() {
        report.field("match", |r| {
            r.error("the rule matches nothing").expected("at least one match with `sniHosts`");
        });
    }
    report.each("match", &route.match_, |m, r| check_tls_match(m, hosts, r));
    check_routes(&route.route, report);
}

fn check_tls_match(m: &TlsMatchAttributes, hosts: &[HostPattern], report: &mut Report) {
    if m.sni_hosts.is_empty() {
        report.field("sniHosts", |r| {
            r.error("there is no server name").expected("at least one");
        });
    }
    report.each("sniHosts", &m.sni_hosts, |sni, r| {
        if sni.parse::<std::net::IpAddr>().is_ok() {
            r.warning(format!("{} is an address: clients send names only (RFC 6066)", quoted(sni)));
        } else if let Some(pattern) = check_host(sni, r)
            && !hosts.is_empty()
            && !hosts.iter().any(|h| h.covers(&pattern))
        {
            let listed = hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            r.error(format!("{} is not within the hosts of this VirtualService", quoted(sni)))
                .expected(format!("a part of: {listed}"));
        }
    });
    check_subnets("destinationSubnets", &m.destination_subnets, report);
    check_match_source(&m.port, &m.source_labels, &m.gateways, &m.source_namespace, report);
}

fn check_tcp(route: &TcpRoute, report: &mut Report) {
    report.each("match", &route.match_, |m, r| {
        check_subnets("destinationSubnets", &m.destination_subnets, r);
        if !m.source_subnet.is_empty() {
            r.field("sourceSubnet", |r| {
                let found =
                    r.warning("this is never enforced, in Istio neither: the rule matches clients of any address");
                found.hint("use `sourceLabels`, or an AuthorizationPolicy");
            });
        }
        check_match_source(&m.port, &m.source_labels, &m.gateways, &m.source_namespace, r);
    });
    check_routes(&route.route, report);
}

/// What all three kinds of rules say of the client and its way.
pub(super) fn check_match_source(
    port: &Option<Spanned<u32>>,
    source_labels: &std::collections::BTreeMap<String, String>,
    gateways: &[Spanned<String>],
    source_namespace: &str,
    report: &mut Report,
) {
    report.opt("port", port, |port, r| check_port(port.value, r));
    check_labels("sourceLabels", source_labels, report);
    check_gateways(gateways, report);
    if !source_namespace.is_empty() && !crate::syntax::is_dns_label(source_namespace) {
        report.field("sourceNamespace", |r| {
            r.error(format!("{} is not the name of a namespace", quoted(source_namespace)))
                .expected(crate::meta::DNS_LABEL);
        });
    }
}

fn check_routes(routes: &[RouteDestination], report: &mut Report) {
    if routes.is_empty() {
        report.error("the rule has no destination").expected("`route` with at least one destination");
    }
    report.each("route", routes, |route, r| check_route_destination(&route.destination, r));
    check_weights(routes.iter().map(|route| route.weight), report);
}

pub(super) fn check_route_destination(destination: &Destination, report: &mut Report) {
    report.field("destination", |r| check_destination(destination, r));
}

/// Checks the weights of the field `route`: relative to each other, but not all zero.
pub(super) fn check_weights(weights: impl Iterator<Item = Option<Spanned<u32>>>, report: &mut Report) {
    let weights: Vec<_> = weights.collect();
    let total: u64 = weights.iter().flatten().map(|w| u64::from(w.value)).sum();
    report.field("route", |r| match &weights[..] {
        [Some(only)] if only.value == 0 => r.down(Step::Index(0), |r| {
            r.field("weight", |r| {
                r.warning("the weight of a lone destination does not count: it gets everything");
            });
        }),
        [_, _, ..] if total == 0 => {
            r.error("no destination has a weight")
                .expected("at least one `weight` above 0")
                .hint("weights are relative: they need not total 100");
        }
        _ if total > u64::from(u32::MAX) => {
            r.error(format!("the weights total {total}")).expected(format!("at most {}", u32::MAX));
        }
        _ => {}
    });
}
