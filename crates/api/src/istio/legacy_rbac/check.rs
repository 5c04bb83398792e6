//! Rules of the old kinds of access. What Istio 1.4 refused is an error, and so is what it read past, which let more pass
//! than was written.

use super::keys::PROPERTY_FORMS;
use super::{
    ALL_USERS, ConstraintKey, RBAC_CONFIG_NAME, RbacConfig, RbacMode, RbacTarget, RoleConstraint, RoleRule,
    RoleSubject, ServiceRole, ServiceRoleBinding, is_property_key,
};
use crate::decode::Spanned;
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{is_dns_label, is_header_name};

impl RbacConfig {
    pub(crate) fn check(&self, report: &mut Report) {
        let targets = [
            ("inclusion", &self.inclusion, RbacMode::OnWithInclusion),
            ("exclusion", &self.exclusion, RbacMode::OnWithExclusion),
        ];
        for (name, target, mode) in targets {
            if self.mode == mode && target.is_none() {
                report.field(name, |r| {
                    r.error(format!("the mode {} asks for `{name}`", mode.as_str()))
                        .expected("services, namespaces or both")
                        .hint(format!("`{name}: {{}}` is none at all"));
                });
            } else if self.mode != mode && target.is_some() {
                let message = format!("with the mode {} this has no effect", self.mode.as_str());
                report.field(name, |r| {
                    r.warning(message).expected(format!("the mode {}", mode.as_str()));
                });
            }
            report.opt(name, target, RbacTarget::check);
        }
    }

    /// There is but one switch, whose name says so.
    pub(crate) fn check_name(name: &str, report: &mut Report) {
        if name != RBAC_CONFIG_NAME {
            report.field("name", |r| {
                r.error(format!("{} is not the switch", quoted(name))).expected(format!("`{RBAC_CONFIG_NAME}`"));
            });
        }
    }
}

impl RbacTarget {
    fn check(&self, report: &mut Report) {
        report.each("namespaces", &self.namespaces, |name, r| {
            if !is_dns_label(name) {
                r.error(format!("{} is not the name of a namespace", quoted(name)))
                    .expected("a name, without wildcards");
            }
        });
        report.each("services", &self.services, |host, r| {
            if host.contains('*') || host.is_empty() {
                r.error(format!("{} names no service: wildcards do not count here", quoted(host)))
                    .expected("the whole host of a service");
            } else if !host.contains('.') {
                r.warning(format!("{} is not the whole host of a service, and others are not compared", quoted(host)))
                    .expected(format!("such as `{}.default.svc.cluster.local`", host.value));
            }
        });
    }
}

impl ServiceRole {
    pub(crate) fn check(&self, report: &mut Report) {
        if self.rules.is_empty() {
            report.field("rules", |r| _ = r.error("the role has no rule").expected("at least one"));
        }
        report.each("rules", &self.rules, |rule, r| rule.check(r));
    }
}

impl RoleRule {
    fn check(&self, report: &mut Report) {
        let pairs = [
            ("methods", "notMethods", self.methods.len(), self.not_methods.len()),
            ("ports", "notPorts", self.ports.len(), self.not_ports.len()),
        ];
        for (name, not, values, not_values) in pairs {
            if values > 0 && not_values > 0 {
                report.field(not, |r| {
                    r.error(format!("`{name}` and `{not}` exclude each other")).expected("one of them");
                });
            }
        }
        for (name, list) in [("ports", &self.ports), ("notPorts", &self.not_ports)] {
            report.each(name, list, |port, r| {
                if port.value > u32::from(u16::MAX) {
                    r.error(format!("{} is not a port", port.value)).expected("a number from 0 to 65535");
                }
            });
        }
        let texts = [
            ("services", &self.services),
            ("hosts", &self.hosts),
            ("notHosts", &self.not_hosts),
            ("paths", &self.paths),
            ("notPaths", &self.not_paths),
            ("methods", &self.methods),
            ("notMethods", &self.not_methods),
        ];
        texts.iter().for_each(|(name, list)| check_texts(name, list, report));
        report.each("services", &self.services, |service, r| {
            if !service.is_empty() && !service.contains(['.', '*']) {
                r.warning(format!("{} is not the whole host of a service, so no service is meant", quoted(service)))
                    .expected(format!("such as `{0}.default.svc.cluster.local` or `{0}.*`", service.value));
            }
        });
        self.check_constraints(report);
    }

    fn check_constraints(&self, report: &mut Report) {
        let has_ports = !self.ports.is_empty() || !self.not_ports.is_empty();
        report.each("constraints", &self.constraints, |constraint, r| {
            constraint.check(r);
            let same = |other: &&RoleConstraint| other.key == constraint.key;
            let first = self.constraints.iter().find(same);
            if first.is_some_and(|first| !std::ptr::eq(first, constraint)) {
                r.field("key", |r| {
                    let message =
                        format!("{} is asked for twice, and only one of them would count", quoted(&constraint.key));
                    r.error(message).hint("keep one of the two");
                });
            }
            if has_ports && constraint.key.value == "destination.port" {
                r.field("key", |r| {
                    r.error("ports are said twice").expected("`ports`, `notPorts` or this constraint");
                });
            }
        });
    }
}

impl RoleConstraint {
    fn check(&self, report: &mut Report) {
        if self.values.is_empty() {
            report.field("values", |r| _ = r.error("the constraint names no value").expected("at least one"));
        }
        check_texts("values", &self.values, report);
        let Some(key) = ConstraintKey::read(&self.key) else {
            report.field("key", |r| {
                _ = r.error(format!("{} is not known", quoted(&self.key))).expected(ConstraintKey::FORMS);
            });
            return;
        };
        use crate::istio::ConditionKey::{DestinationIp, DestinationPort, RequestHeader};
        match key {
            ConstraintKey::Condition(RequestHeader(name)) => check_header(name, report),
            ConstraintKey::Condition(DestinationIp) => report.each("values", &self.values, |ip, r| check_block(ip, r)),
            ConstraintKey::Condition(DestinationPort) => report.each("values", &self.values, |port, r| {
                if port.parse::<u16>().is_err() {
                    r.error(format!("{} is not a port", quoted(port))).expected("a number from 0 to 65535");
                }
            }),
            _ => {}
        }
    }
}

impl ServiceRoleBinding {
    pub(crate) fn check(&self, report: &mut Report) {
        if self.subjects.is_empty() {
            report.field("subjects", |r| _ = r.error("the binding is for nobody").expected("at least one subject"));
        }
        report.each("subjects", &self.subjects, |subject, r| subject.check(r));
        let ways = [
            ("roleRef", self.role_ref.is_some()),
            ("role", !self.role.is_empty()),
            ("actions", !self.actions.is_empty()),
        ];
        let said: Vec<&str> = ways.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        match said[..] {
            [_] => {}
            [] => _ = report.error("the binding is to no role").expected("`roleRef`, `role` or `actions`"),
            [first, second, ..] => {
                report.error(format!("`{first}` and `{second}` exclude each other")).expected("one of them");
            }
        }
        report.opt("roleRef", &self.role_ref, |role, r| {
            if role.kind != "ServiceRole" {
                r.field("kind", |r| {
                    _ = r.error(format!("{} cannot be bound", quoted(&role.kind))).expected("`ServiceRole`")
                });
            }
            if role.name.is_empty() {
                r.field("name", |r| _ = r.error("the role has no name").expected("the name of a ServiceRole"));
            }
        });
        if self.role.value == "/" {
            report.field("role", |r| _ = r.error("the role has no name").expected("`/` and a name, or a name"));
        }
        report.each("actions", &self.actions, |rule, r| rule.check(r));
    }
}

impl RoleSubject {
    fn check(&self, report: &mut Report) {
        if *self == Self::default() {
            report.error("the subject is nobody").expected("at least one field");
        }
        for (name, list) in [("names", &self.names), ("notNames", &self.not_names)] {
            report.each(name, list, |value, r| {
                if value.value == "*" {
                    r.error("`*` does not say whether callers without an identity are meant")
                        .expected(format!("`{ALL_USERS}` or `{}`", super::ALL_AUTHENTICATED_USERS));
                }
            });
        }
        let texts = [
            ("names", &self.names),
            ("notNames", &self.not_names),
            ("groups", &self.groups),
            ("notGroups", &self.not_groups),
            ("namespaces", &self.namespaces),
            ("notNamespaces", &self.not_namespaces),
        ];
        texts.iter().for_each(|(name, list)| check_texts(name, list, report));
        for (name, list) in [("ips", &self.ips), ("notIps", &self.not_ips)] {
            report.each(name, list, |ip, r| check_block(ip, r));
        }
        self.check_properties(report);
    }

    fn check_properties(&self, report: &mut Report) {
        let twice = [
            ("source.principal", "names", self.names.is_empty()),
            ("request.auth.claims[groups]", "groups", self.groups.is_empty()),
            ("source.namespace", "namespaces", self.namespaces.is_empty()),
            ("source.ip", "ips", self.ips.is_empty()),
        ];
        report.entries("properties", &self.properties, |key, value, r| {
            if !is_property_key(key) {
                r.error(format!("{} is not known: nobody would be meant", quoted(key))).expected(PROPERTY_FORMS);
            }
            if let Some((_, field, _)) = twice.iter().find(|(of, _, empty)| of == key && !empty) {
                r.error(format!("this is said by `{field}` too")).expected("one of the two");
            }
            if value.is_empty() {
                r.error("the text is empty").expected("a value");
            }
            if key == "source.ip" {
                check_block(value, r);
            }
            if let Some(name) = key.strip_prefix("request.headers[").and_then(|name| name.strip_suffix(']')) {
                check_name(name, r);
            }
        });
    }
}

fn check_texts(name: &'static str, list: &[Spanned<String>], report: &mut Report) {
    report.each(name, list, |value, r| {
        if value.is_empty() {
            r.error("the text is empty").expected("a value").hint("`*` stands for any");
        }
    });
}

fn check_header(name: &str, report: &mut Report) {
    report.field("key", |r| check_name(name, r));
}

fn check_name(name: &str, report: &mut Report) {
    if !is_header_name(name.strip_prefix(':').unwrap_or(name)) {
        report.error(format!("{} is not a header", quoted(name))).expected("the name of a header");
    }
}

fn check_block(text: &str, report: &mut Report) {
    if text.parse::<std::net::IpAddr>().is_err() && text.parse::<ipnet::IpNet>().is_err() {
        report
            .error(format!("{} is not an address", quoted(text)))
            .expected("an IP address, or a block such as `10.0.0.0/8`");
    }
}
