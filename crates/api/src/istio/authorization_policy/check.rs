//! Rules of an AuthorizationPolicy. What Istio refuses is an error; what it takes but can never hold is a warning.

use std::net::IpAddr;

use super::template::{fault, is_path_template};
use super::{
    AccessAction, AccessCondition, AccessOperation, AccessRule, AccessSource, AuthorizationPolicy, ConditionKey,
    KeyFault, TargetRef,
};
use crate::decode::{Spanned, nearest};
use crate::meta::check_selector;
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{is_dns_label, is_dns_subdomain, is_header_name};

/// Accounts in one list, and bytes of each, as Istio has it.
const MOST_ACCOUNTS: usize = 16;
const LONGEST_ACCOUNT: usize = 320;

impl AuthorizationPolicy {
    pub(crate) fn check(&self, namespace: &str, report: &mut Report) {
        report.opt("selector", &self.selector, |selector, r| {
            check_selector("matchLabels", &selector.match_labels, r);
        });
        self.check_targets(namespace, report);
        self.check_action(report);
        report.each("rules", &self.rules, |rule, r| {
            rule.check(r);
            if self.action == AccessAction::Custom {
                rule.check_custom(r);
            }
        });
    }

    fn check_targets(&self, namespace: &str, report: &mut Report) {
        let ways = [
            ("selector", self.selector.as_ref().is_some_and(|selector| !selector.match_labels.is_empty())),
            ("targetRef", self.target_ref.is_some()),
            ("targetRefs", !self.target_refs.is_empty()),
        ];
        let named: Vec<&str> = ways.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        if let [first, second, ..] = named[..] {
            report.field(ways.iter().find(|(name, _)| *name == second).map_or("targetRefs", |(name, _)| name), |r| {
                r.error(format!("`{first}` and `{second}` exclude each other")).expected("one of them");
            });
        }
        report.opt("targetRef", &self.target_ref, |target, r| check_target(target, namespace, r));
        report.each("targetRefs", &self.target_refs, |target, r| check_target(target, namespace, r));
    }

    fn check_action(&self, report: &mut Report) {
        let action = self.action.as_str();
        if self.rules.is_empty() && self.action != AccessAction::Allow {
            report.field("rules", |r| {
                r.error(format!("a policy with the action {action} and without rules would never be met"))
                    .expected("at least one rule")
                    .hint("`rules: [{}]` takes every request");
            });
        }
        match (&self.provider, self.action) {
            (None, AccessAction::Custom) => {
                report.error("the action CUSTOM does not say who decides").expected("`provider` with a `name`");
            }
            (Some(provider), AccessAction::Custom) if provider.name.is_empty() => report.field("provider", |r| {
                r.error("the provider has no name").expected("`name`: one of the mesh's `extensionProviders`");
            }),
            (Some(_), action) if action != AccessAction::Custom => report.field("provider", |r| {
                r.error(format!("nobody is asked with the action {}", action.as_str()))
                    .expected("`provider` with the action CUSTOM only");
            }),
            _ => {}
        }
    }
}

/// A target that a policy may have. Istio knows no other.
fn check_target(target: &TargetRef, namespace: &str, report: &mut Report) {
    const KINDS: [(&str, &str); 4] = [
        ("Gateway", "gateway.networking.k8s.io"),
        ("GatewayClass", "gateway.networking.k8s.io"),
        ("Service", ""),
        ("ServiceEntry", "networking.istio.io"),
    ];
    if target.name.is_empty() {
        report.field("name", |r| _ = r.error("the target has no name").expected("the name of a resource"));
    }
    let group = if target.group == "core" { "" } else { target.group.as_str() };
    if !KINDS.contains(&(target.kind.as_str(), group)) {
        let kind = format!("{}/{}", target.group, target.kind);
        report.field("kind", |r| {
            r.error(format!("{} cannot be a target", quoted(kind.trim_start_matches('/'))))
                .expected("a Gateway or GatewayClass of `gateway.networking.k8s.io`, a Service, or a ServiceEntry of `networking.istio.io`");
        });
    }
    if !target.namespace.is_empty() && target.namespace != namespace {
        report.field("namespace", |r| {
            r.error("a policy is for targets of its own namespace").expected(format!("`{namespace}`, or nothing"));
        });
    }
}

impl AccessRule {
    fn check(&self, report: &mut Report) {
        let lists = [
            ("from", self.from.as_ref().map(Vec::len)),
            ("to", self.to.as_ref().map(Vec::len)),
            ("when", self.when.as_ref().map(Vec::len)),
        ];
        for (name, length) in lists {
            if length == Some(0) {
                report.field(name, |r| {
                    r.error("the list is empty")
                        .expected("at least one entry")
                        .hint("remove the field to ask for nothing");
                });
            }
        }
        report.each("from", self.from.as_deref().unwrap_or_default(), |from, r| {
            r.field("source", |r| from.source.check(r));
        });
        report.each("to", self.to.as_deref().unwrap_or_default(), |to, r| {
            r.field("operation", |r| to.operation.check(r));
        });
        report.each("when", self.when.as_deref().unwrap_or_default(), AccessCondition::check);
    }

    /// The service that decides is asked before tokens are read and identities told apart, so these conditions do not fit.
    fn check_custom(&self, report: &mut Report) {
        let refuse = |what: &str, r: &mut Report| {
            r.error(format!("{what} cannot be asked for with the action CUSTOM"))
                .expected("conditions on addresses, hosts, ports, methods, paths and headers");
        };
        report.each("from", self.from.as_deref().unwrap_or_default(), |from, r| {
            r.field("source", |r| {
                for (name, not, (values, not_values)) in from.source.fields() {
                    let of_address = matches!(name, "ipBlocks" | "remoteIpBlocks");
                    for (name, list) in [(name, values), (not, not_values)] {
                        if !of_address && !list.is_empty() {
                            r.field(name, |r| refuse(&format!("`{name}`"), r));
                        }
                    }
                }
            });
        });
        report.each("when", self.when.as_deref().unwrap_or_default(), |condition, r| {
            let Ok(key) = ConditionKey::read(&condition.key) else { return };
            if key.is_identity() || key.is_http() && !matches!(key, ConditionKey::RequestHeader(_)) {
                r.field("key", |r| refuse(&quoted(&condition.key), r));
            }
        });
    }
}

impl AccessSource {
    fn check(&self, report: &mut Report) {
        let fields = self.fields();
        if fields.iter().all(|(_, _, (values, not_values))| values.is_empty() && not_values.is_empty()) {
            report.error("the source asks for nothing").expected("at least one field, such as `principals`");
        }
        for (name, not, (values, not_values)) in fields {
            for (name, list) in [(name, values), (not, not_values)] {
                let check = match name.trim_start_matches("not").to_ascii_lowercase().as_str() {
                    "principals" => check_principal,
                    "namespaces" => check_namespace,
                    "serviceaccounts" => check_account,
                    "ipblocks" | "remoteipblocks" => check_block,
                    _ => check_wildcard,
                };
                each_value(name, list, check, report);
            }
        }
        self.check_accounts(report);
    }

    fn check_accounts(&self, report: &mut Report) {
        let has = |lists: [&[Spanned<String>]; 2]| lists.iter().any(|list| !list.is_empty());
        if !has([&self.service_accounts, &self.not_service_accounts]) {
            return;
        }
        let others = [
            ("principals", has([&self.principals, &self.not_principals])),
            ("namespaces", has([&self.namespaces, &self.not_namespaces])),
        ];
        for (other, _) in others.iter().filter(|(_, is)| *is) {
            report.error(format!("`serviceAccounts` and `{other}` exclude each other")).expected("one of them");
        }
        for (name, list) in
            [("serviceAccounts", &self.service_accounts), ("notServiceAccounts", &self.not_service_accounts)]
        {
            if list.len() > MOST_ACCOUNTS {
                report.field(name, |r| {
                    r.error(format!("{} accounts are too many", list.len()))
                        .expected(format!("at most {MOST_ACCOUNTS}"));
                });
            }
        }
    }
}

impl AccessOperation {
    fn check(&self, report: &mut Report) {
        let fields = self.fields();
        if fields.iter().all(|(_, _, (values, not_values))| values.is_empty() && not_values.is_empty()) {
            report.error("the operation asks for nothing").expected("at least one field, such as `methods`");
        }
        for (name, not, (values, not_values)) in fields {
            for (list_name, list) in [(name, values), (not, not_values)] {
                let check = match name {
                    "hosts" => check_host,
                    "methods" => check_method,
                    "paths" => check_path,
                    _ => check_port,
                };
                each_value(list_name, list, check, report);
            }
        }
    }
}

impl AccessCondition {
    fn check(&self, report: &mut Report) {
        if self.values.is_empty() && self.not_values.is_empty() {
            report.error("the condition names no value").expected("`values`, `notValues` or both");
        }
        let key = match ConditionKey::read(&self.key) {
            Ok(key) => key,
            Err(fault) => return self.refuse_key(fault, report),
        };
        if let ConditionKey::RequestHeader(name) = key
            && !is_header_name(name.strip_prefix(':').unwrap_or(name))
        {
            report.field("key", |r| {
                _ = r.error(format!("{} is not a header", quoted(name))).expected("the name of a header")
            });
        }
        let check = match key {
            ConditionKey::SourceIp | ConditionKey::RemoteIp | ConditionKey::DestinationIp => check_block,
            ConditionKey::DestinationPort => check_port,
            ConditionKey::SourcePrincipal => check_principal,
            ConditionKey::SourceNamespace => check_namespace,
            ConditionKey::SourceServiceAccount => check_account,
            _ => check_wildcard,
        };
        each_value("values", &self.values, check, report);
        each_value("notValues", &self.not_values, check, report);
    }

    fn refuse_key(&self, fault: KeyFault, report: &mut Report) {
        let key = self.key.as_str();
        let forms: Vec<String> = ConditionKey::forms().collect();
        report.field("key", |r| match fault {
            _ if key.is_empty() => _ = r.error("the condition names nothing to look at").expected(forms.join(", ")),
            KeyFault::Replaced(now) => {
                r.error(format!("{} is a key of an older interface", quoted(key))).expected(now);
            }
            KeyFault::WithoutName => {
                r.error(format!("{} does not say which one", quoted(key)))
                    .expected("a name in brackets behind it, such as `request.headers[x-user]`");
            }
            KeyFault::Unknown => {
                let found = r.error(format!("{} is not known", quoted(key))).expected(forms.join(", "));
                let names: Vec<&str> = forms.iter().map(|form| form.split('[').next().unwrap_or(form)).collect();
                if let Some(near) = nearest(key.split('[').next().unwrap_or(key), &names) {
                    found.hint(format!("did you mean `{near}`?"));
                }
            }
        });
    }
}

/// Checks every value of a list.
fn each_value(name: &'static str, list: &[Spanned<String>], check: fn(&str, &mut Report), report: &mut Report) {
    report.each(name, list, |value, r| match value.is_empty() {
        true => _ = r.error("the text is empty").expected("a value").hint("`*` stands for any that is not empty"),
        false => check(value, r),
    });
}

/// A `*` counts at one end only.
fn check_wildcard(text: &str, report: &mut Report) {
    let inner = text.strip_prefix('*').or_else(|| text.strip_suffix('*')).unwrap_or(text);
    if inner.contains('*') {
        report
            .warning(format!("in {} only a `*` at one end stands for any text, the other for itself", quoted(text)))
            .expected("`text`, `text*`, `*text` or `*`");
    }
}

fn check_principal(text: &str, report: &mut Report) {
    const FORM: &str = "`TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`";
    let parts: Vec<&str> = text.split('/').collect();
    let is_whole = matches!(parts[..], [_, "ns", _, "sa", _]);
    if let Some(rest) = text.strip_prefix("spiffe://") {
        let message = format!("{} takes nobody: identities stand here without `spiffe://`", quoted(text));
        report.warning(message).expected(FORM).hint(format!("write `{rest}`"));
    } else if !is_whole && !text.starts_with('*') && !text.ends_with('*') {
        report.warning(format!("{} takes nobody: no identity is called so", quoted(text))).expected(FORM);
    } else {
        check_wildcard(text, report);
    }
}

fn check_namespace(text: &str, report: &mut Report) {
    if !is_dns_label(&text.replace('*', "a")) {
        report
            .error(format!("{} is not the name of a namespace", quoted(text)))
            .expected("a name, in which `*` stands for any text");
    }
}

fn check_account(text: &str, report: &mut Report) {
    let (namespace, account) = text.split_once('/').unwrap_or(("default", text));
    if text.contains('*') {
        report.error("accounts have no wildcards").expected("`account` or `namespace/account`");
    } else if text.len() > LONGEST_ACCOUNT || !is_dns_label(namespace) || !is_dns_subdomain(account) {
        report
            .error(format!("{} does not name a service account", quoted(text)))
            .expected(format!("`account` or `namespace/account`, of at most {LONGEST_ACCOUNT} characters"));
    }
}

fn check_block(text: &str, report: &mut Report) {
    if text.parse::<IpAddr>().is_err() && text.parse::<ipnet::IpNet>().is_err() {
        report
            .error(format!("{} is not an address", quoted(text)))
            .expected("an IP address, or a block such as `10.0.0.0/8`");
    }
}

fn check_port(text: &str, report: &mut Report) {
    match text.parse::<u16>() {
        Ok(0) => _ = report.warning("no connection is to port 0: this is never met"),
        Ok(_) => {}
        Err(_) => _ = report.error(format!("{} is not a port", quoted(text))).expected(super::super::rules::PORT),
    }
}

fn check_host(text: &str, report: &mut Report) {
    if text.contains('/') {
        report
            .warning(format!("{} is not the host of any request", quoted(text)))
            .expected("a host, with its port if clients name one: `example.com`, `example.com:8080`, `example.com*`");
    } else {
        check_wildcard(text, report);
    }
}

fn check_method(text: &str, report: &mut Report) {
    if text.bytes().any(|c| c.is_ascii_lowercase()) {
        report
            .warning(format!("{} is met by no usual request: methods are in capitals", quoted(text)))
            .expected(format!("`{}`", text.to_ascii_uppercase()));
    } else {
        check_wildcard(text, report);
    }
}

fn check_path(text: &str, report: &mut Report) {
    if is_path_template(text) {
        if let Some(fault) = fault(text) {
            report
                .error(format!("{} is not a template of paths: {fault}", quoted(text)))
                .expected("such as `/foo/{*}/bar/{**}`");
        }
    } else if text.contains(['?', '#']) {
        report
            .warning(format!("{} takes no request: the query is not part of the path", quoted(text)))
            .expected("the path alone");
    } else if !text.starts_with(['/', '*']) {
        report
            .warning(format!("{} takes no request: paths begin with `/`", quoted(text)))
            .expected(format!("`/{text}`"));
    } else {
        check_wildcard(text, report);
    }
}
