//! EgressPolicy: which places outside of the mesh workloads may call.

use base::HostPattern;
use ipnet::IpNet;

use crate::decode::{Spanned, object};
use crate::istio::{ClientTlsMode, ClientTlsSettings, LabelSelector, check_host};
use crate::meta::check_selector;
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{ProtocolClass, is_dns_subdomain, protocol_class};

object! {
    /// The places outside of the mesh that workloads may call, and no others. It stands where an AuthorizationPolicy would: for
    /// its namespace, or in the root namespace for all. Where several select a workload, it may call what any of them allows.
    Exact struct EgressPolicy {
        /// The workloads by their labels; none means all.
        selector "selector": Option<LabelSelector>,
        /// The workloads by their service accounts: `name`, or `namespace/name`; none means all. With a `selector` both have
        /// to hold.
        accounts "accounts": Vec<Spanned<String>>,
        /// What they may call. None: nothing outside.
        rules "rules": Vec<Spanned<EgressRule>>,
    }
}

object! {
    /// Places, and how they may be called.
    Exact struct EgressRule {
        /// Hosts: whole names, or `*.suffix` for all names below one.
        hosts "hosts": Vec<Spanned<String>>,
        /// Blocks of addresses, or single ones, which are called as they are dialled.
        cidrs "cidrs": Vec<Spanned<String>>,
        /// The ports. None means for hosts 80 (HTTP) and 443 (TLS), for blocks every port.
        ports "ports": Vec<Spanned<EgressPort>>,
        /// The program speaks plain text, and the proxy speaks TLS to the hosts.
        tls "tls": Option<ClientTlsSettings>,
    }
}

object! {
    /// A port of a place.
    Exact struct EgressPort {
        /// The port that the program dials, 1 to 65535.
        number "number" (required): Spanned<u32>,
        /// What it speaks there: HTTP, HTTP2, GRPC, TLS, HTTPS or TCP.
        protocol "protocol" (required): Spanned<String>,
        /// The port that the proxy dials, if it is another.
        target_port "targetPort": Option<Spanned<u32>>,
    }
}

impl EgressPolicy {
    pub(crate) fn check(&self, report: &mut Report) {
        report.opt("selector", &self.selector, |selector, r| {
            check_selector("matchLabels", &selector.match_labels, r);
        });
        report.each("accounts", &self.accounts, |account, r| check_account(account, r));
        report.each("rules", &self.rules, |rule, r| rule.check(r));
    }
}

impl EgressRule {
    /// The blocks of addresses.
    pub fn blocks(&self) -> impl Iterator<Item = IpNet> {
        self.cidrs.iter().filter_map(|text| read_block(text))
    }

    fn check(&self, report: &mut Report) {
        if self.hosts.is_empty() && self.cidrs.is_empty() {
            report.error("the rule names no place").expected("`hosts` or `cidrs`");
        }
        report.each("hosts", &self.hosts, |host, r| check_place(host, r));
        report.each("cidrs", &self.cidrs, |block, r| {
            if read_block(block).is_none() {
                r.error(format!("{} is not a block of addresses", quoted(block)))
                    .expected("such as `203.0.113.0/24`, or one IP address");
            }
        });
        let mut before = Vec::new();
        report.each("ports", &self.ports, |port, r| {
            if before.contains(&port.number.value) {
                r.error(format!("the port {} stands in the list already", port.number.value))
                    .expected("each port once");
            }
            before.push(port.number.value);
            port.check(self, r);
        });
        self.check_tls(report);
    }

    /// TLS that the proxy begins needs a name to be asked for and proven, and a program that speaks plain text.
    fn check_tls(&self, report: &mut Report) {
        let plain = |port: &Spanned<EgressPort>| protocol_class(&port.protocol) != Some(ProtocolClass::Tls);
        report.opt("tls", &self.tls, |tls, r| {
            if !matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) {
                r.field("mode", |r| {
                    r.error("this is no TLS with a place outside of the mesh").expected("SIMPLE or MUTUAL");
                });
            }
            if self.hosts.iter().any(|host| host.starts_with('*')) {
                r.error("there is no one name to ask the server for").expected("whole names in `hosts`, without `*`");
            }
            if self.hosts.is_empty() {
                r.error("places that are known by their addresses are called as they are").expected("`hosts`");
            }
            if self.ports.is_empty() || !self.ports.iter().all(plain) {
                r.error("the proxy speaks TLS where the program speaks plain text")
                    .expected("`ports` of HTTP or TCP only, such as `{number: 80, protocol: HTTP, targetPort: 443}`");
            }
        });
    }
}

impl EgressPort {
    fn check(&self, rule: &EgressRule, report: &mut Report) {
        for (name, port) in [("number", Some(&self.number)), ("targetPort", self.target_port.as_ref())] {
            if let Some(port) = port.filter(|port| !(1..=65535).contains(&port.value)) {
                report.field(name, |r| {
                    r.error(format!("{} is not a port", port.value)).expected("1 to 65535");
                });
            }
        }
        let class = protocol_class(&self.protocol);
        let wild = rule.hosts.iter().find(|host| host.starts_with('*'));
        report.field("protocol", |r| match (class, wild) {
            _ if self.protocol.eq_ignore_ascii_case("UDP") => {
                r.error("datagrams do not pass through proxies, so they never leave")
                    .expected("HTTP, HTTP2, GRPC, TLS, HTTPS or TCP");
            }
            _ if class.is_none() || NOT_HERE.iter().any(|word| self.protocol.eq_ignore_ascii_case(word)) => {
                r.error(format!("{} is not a protocol", quoted(&self.protocol)))
                    .expected("HTTP, HTTP2, GRPC, TLS, HTTPS or TCP");
            }
            (Some(ProtocolClass::Opaque), Some(host)) => {
                r.error(format!("raw TCP names no host, so what falls under {} cannot be told", quoted(host)))
                    .expected("a protocol of HTTP or TLS, whole names in `hosts`, or `cidrs`");
            }
            _ => {}
        });
        let by_request = wild.is_some() && class == Some(ProtocolClass::Http);
        if self.target_port.is_some() && (rule.hosts.is_empty() || by_request) {
            let what = if by_request { "that requests name" } else { "that are known by their addresses" };
            report.field("targetPort", |r| {
                r.error(format!("places {what} are called as they are")).hint("remove it");
            });
        }
    }
}

/// Protocols of ports of proxies.
const NOT_HERE: [&str; 2] = ["HBONE", "HTTP_PROXY"];

/// Reads a block of addresses, or a single one.
fn read_block(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().map(|net| net.trunc()).or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

fn check_place(host: &Spanned<String>, report: &mut Report) {
    match check_host(host, report) {
        Some(HostPattern::Any) => {
            report
                .error("`*` names no place")
                .expected("a name, or `*.` and a name")
                .hint("`cidrs: [0.0.0.0/0, \"::/0\"]` allows all addresses");
        }
        Some(_) if host.parse::<std::net::IpAddr>().is_ok() => {
            report.error(format!("{} is an address", quoted(host))).expected("a name; addresses stand in `cidrs`");
        }
        Some(_) if !host.trim_end_matches('.').contains('.') => {
            report
                .error(format!("{} has no dot: it would be a service of the mesh", quoted(host)))
                .expected("the whole name of a place outside, such as `api.example.com`");
        }
        _ => {}
    }
}

fn check_account(account: &str, report: &mut Report) {
    let (namespace, name) = account.split_once('/').unwrap_or(("default", account));
    if !is_dns_subdomain(name) || !is_dns_subdomain(namespace) {
        report.error(format!("{} is not a service account", quoted(account))).expected("`name`, or `namespace/name`");
    }
}
