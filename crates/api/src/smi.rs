//! Rules on access of the Service Mesh Interface: `TrafficTarget` (`access.smi-spec.io`), and the routes that it names
//! (`specs.smi-spec.io`).

use std::collections::BTreeMap;

use crate::decode::{Decode, Spanned, object};
use crate::problem::quoted;
use crate::report::{Report, Step};
use crate::syntax::{is_header_name, regex_error};
use crate::yaml::{Node, Value};

object! {
    /// Who may do what at workloads of an account.
    Istio struct TrafficTarget {
        /// The account of the workloads that are called.
        destination "destination" (required): TargetAccount,
        /// Who calls: one of these.
        sources "sources": Vec<Spanned<TargetAccount>>,
        /// What may be done; in v1alpha1 it is called `specs`.
        rules "rules": Vec<Spanned<TargetRule>>,
        /// The same, as v1alpha1 has it.
        specs "specs": Vec<Spanned<TargetRule>>,
    }
}

object! {
    /// An account.
    Istio struct TargetAccount {
        /// `ServiceAccount`.
        kind "kind": Spanned<String>,
        /// Its name.
        name "name" (required): Spanned<String>,
        /// Its namespace; that of the document if none is said.
        namespace "namespace": Spanned<String>,
        /// The one port of the program that is meant (of destinations in v1alpha1 and v1alpha2).
        port "port": Option<u16>,
    }
}

object! {
    /// What may be done: a route of the same namespace.
    Istio struct TargetRule {
        /// `HTTPRouteGroup`, `TCPRoute` or `UDPRoute`.
        kind "kind" (required): Spanned<String>,
        /// Its name.
        name "name" (required): Spanned<String>,
        /// Which of the group's matches; none: all of them.
        matches "matches": Vec<Spanned<String>>,
    }
}

object! {
    /// Requests by name.
    Istio struct HttpRouteGroup {
        /// Each with its name: one of these.
        matches "matches": Vec<Spanned<HttpRouteMatch>>,
    }
}

object! {
    /// Requests: all fields must hold.
    Istio struct HttpRouteMatch {
        /// The name.
        name "name" (required): Spanned<String>,
        /// A regular expression (RE2) with which the path begins.
        path_regex "pathRegex": String,
        /// One of these methods; `*` is any.
        methods "methods": Vec<Spanned<String>>,
        /// Headers, each with a regular expression (RE2) for its whole value.
        headers "headers": HeaderPatterns,
    }
}

/// Patterns by the names of headers: a mapping, or a list of mappings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeaderPatterns(pub BTreeMap<String, String>);

impl Decode for HeaderPatterns {
    fn decode(node: &Node, report: &mut Report) -> Option<Self> {
        let Value::Sequence(items) = &node.value else { return BTreeMap::decode(node, report).map(Self) };
        let mut all = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let Some(some) = report.down(Step::Index(index), |r| BTreeMap::<String, String>::decode(item, r)) else {
                continue;
            };
            for (name, pattern) in some {
                if all.insert(name.clone(), pattern).is_some() {
                    report.down(Step::Index(index), |r| {
                        r.error(format!("the header {} is named twice", quoted(&name))).expected("each once");
                    });
                }
            }
        }
        Some(Self(all))
    }
}

object! {
    /// Connections.
    Istio struct PortRoute {
        /// Which.
        matches "matches": PortMatches,
    }
}

object! {
    /// Connections by port.
    Istio struct PortMatches {
        /// Ports of the program; none: all of them.
        ports "ports": Vec<Spanned<u16>>,
        /// The name of the match.
        name "name": String,
    }
}

/// The kinds that rules name.
pub const HTTP_ROUTE_GROUP: &str = "HTTPRouteGroup";
/// Connections.
pub const TCP_ROUTE: &str = "TCPRoute";
/// Datagrams.
pub const UDP_ROUTE: &str = "UDPRoute";

impl TrafficTarget {
    /// What may be done, by either name.
    pub fn all_rules(&self) -> impl Iterator<Item = &Spanned<TargetRule>> {
        self.rules.iter().chain(&self.specs)
    }

    pub(crate) fn check(&self, report: &mut Report) {
        report.field("destination", |r| self.destination.check(r));
        if self.sources.is_empty() {
            report.field("sources", |r| _ = r.error("nobody is named").expected("at least one account"));
        }
        report.each("sources", &self.sources, |source, r| {
            source.check(r);
            if source.port.is_some() {
                r.field("port", |r| _ = r.error("callers have no port of their own").expected("none"));
            }
        });
        if self.all_rules().next().is_none() {
            report.field("rules", |r| _ = r.error("nothing may be done").expected("at least one route"));
        }
        report.each("rules", &self.rules, |rule, r| rule.check(r));
        report.each("specs", &self.specs, |rule, r| rule.check(r));
    }
}

impl TargetAccount {
    fn check(&self, report: &mut Report) {
        if !self.kind.is_empty() && self.kind.value != "ServiceAccount" {
            report.field("kind", |r| {
                r.error(format!("{} is not who calls or is called", quoted(&self.kind))).expected("`ServiceAccount`");
            });
        }
    }
}

impl TargetRule {
    fn check(&self, report: &mut Report) {
        let kind = self.kind.as_str();
        if ![HTTP_ROUTE_GROUP, TCP_ROUTE, UDP_ROUTE].contains(&kind) {
            report.field("kind", |r| {
                r.error(format!("{} is no kind of route", quoted(kind)))
                    .expected(format!("`{HTTP_ROUTE_GROUP}`, `{TCP_ROUTE}` or `{UDP_ROUTE}`"));
            });
        } else if kind != HTTP_ROUTE_GROUP && !self.matches.is_empty() {
            report.field("matches", |r| _ = r.error(format!("a {kind} has no matches with names")).expected("none"));
        } else if kind == UDP_ROUTE {
            report.field("kind", |r| {
                r.warning("UDP does not pass through proxies: this rule allows nothing");
            });
        }
    }
}

impl HttpRouteGroup {
    pub(crate) fn check(&self, report: &mut Report) {
        if self.matches.is_empty() {
            report.field("matches", |r| _ = r.warning("the group has no match: it allows nothing"));
        }
        report.each("matches", &self.matches, |one, r| {
            if self.matches.iter().find(|other| other.name == one.name).is_some_and(|first| !std::ptr::eq(first, one)) {
                r.field("name", |r| _ = r.error(format!("{} is named twice", quoted(&one.name))).expected("each once"));
            }
            one.check(r);
        });
    }
}

impl HttpRouteMatch {
    fn check(&self, report: &mut Report) {
        const METHODS: [&str; 10] =
            ["*", "GET", "HEAD", "PUT", "POST", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
        check_regex("pathRegex", &self.path_regex, report);
        report.each("methods", &self.methods, |method, r| {
            if !METHODS.contains(&method.as_str()) {
                r.error(format!("{} is not a method", quoted(method))).expected(METHODS.join(", "));
            }
        });
        report.entries("headers", &self.headers.0, |name, pattern, r| {
            if !is_header_name(name.strip_prefix(':').unwrap_or(name)) {
                r.error(format!("{} is not a header", quoted(name))).expected("the name of a header");
            }
            if let Some(reason) = regex_error(pattern) {
                r.error(reason).expected("a regular expression in RE2's language");
            }
        });
    }
}

fn check_regex(name: &'static str, regex: &str, report: &mut Report) {
    if let Some(reason) = regex_error(regex).filter(|_| !regex.is_empty()) {
        report.field(name, |r| _ = r.error(reason).expected("a regular expression in RE2's language"));
    }
}
