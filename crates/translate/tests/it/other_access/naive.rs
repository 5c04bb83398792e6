//! What old roles mean, written down from Istio 1.4 as plainly as possible; it knows nothing of how they are translated.

use api::Spanned;
use api::istio::{RbacConfig, RoleRule, RoleSubject, ServiceRole, ServiceRoleBinding};

use super::{Ask, Request};

pub struct Legacy {
    pub config: RbacConfig,
    pub roles: Vec<(String, ServiceRole)>,
    pub bindings: Vec<ServiceRoleBinding>,
}

/// May it pass at a service of the namespace `default`, whose workloads have the label `app` with its name?
pub fn allowed(legacy: &Legacy, service: &str, ask: &Ask) -> bool {
    let host = format!("{service}.default.svc.cluster.local");
    if !legacy.config.is_on(&host, "default") {
        return true;
    }
    legacy.bindings.iter().filter(|binding| binding.mode.as_str() == "ENFORCED").any(|binding| {
        let name = binding.role_ref.as_ref().map_or(binding.role.as_str(), |role| &role.name);
        let role = legacy.roles.iter().find(|(role, _)| role == name).map(|(_, role)| &role.rules);
        let rules = if binding.actions.is_empty() { role } else { Some(&binding.actions) };
        let what = rules.into_iter().flatten().any(|rule| does(rule, service, &host, ask));
        what && binding.subjects.iter().any(|subject| is(subject, ask))
    })
}

fn fits(text: &str, pattern: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => text.ends_with(end),
        (_, Some(beginning)) => text.starts_with(beginning),
        _ => text == pattern,
    }
}

fn any(text: &str, list: &[Spanned<String>]) -> bool {
    list.iter().any(|pattern| fits(text, pattern))
}

fn pair(text: Option<&str>, list: &[Spanned<String>], not: &[Spanned<String>]) -> bool {
    (list.is_empty() || text.is_some_and(|text| any(text, list))) && !text.is_some_and(|text| any(text, not))
}

fn does(rule: &RoleRule, service: &str, host: &str, ask: &Ask) -> bool {
    let ports = |list: &[Spanned<u32>]| list.iter().any(|port| port.value == u32::from(ask.port));
    let here = rule.services.is_empty() || any(host, &rule.services);
    let asks_for_http = !(rule.hosts.is_empty()
        && rule.not_hosts.is_empty()
        && rule.paths.is_empty()
        && rule.not_paths.is_empty()
        && rule.methods.is_empty()
        && rule.not_methods.is_empty())
        || rule.constraints.iter().any(|one| one.key.starts_with("request."));
    let constraints = rule.constraints.iter().all(|one| match one.key.as_str() {
        "destination.labels[app]" | "destination.name" => any(service, &one.values),
        "destination.port" => one.values.iter().any(|value| value.value == ask.port.to_string()),
        key => {
            let name = key.strip_prefix("request.headers[").unwrap().strip_suffix(']').unwrap();
            let found = ask.http.as_ref().and_then(|http| http.headers.iter().find(|(header, _)| *header == name));
            found.is_some_and(|(_, value)| any(value, &one.values))
        }
    });
    let here = here && (rule.ports.is_empty() || ports(&rule.ports)) && !ports(&rule.not_ports) && constraints;
    here && ask.http.as_ref().map_or(!asks_for_http, |http| requested(rule, http))
}

fn requested(rule: &RoleRule, http: &Request) -> bool {
    let without_query = http.path.split('?').next().unwrap();
    pair(Some(http.host), &rule.hosts, &rule.not_hosts)
        && !any(&http.host.to_lowercase(), &rule.not_hosts)
        && pair(Some(http.path), &rule.paths, &rule.not_paths)
        && !any(without_query, &rule.not_paths)
        && pair(Some(http.method), &rule.methods, &rule.not_methods)
}

fn is(subject: &RoleSubject, ask: &Ask) -> bool {
    let identity = ask.from.map(|(ns, sa)| format!("cluster.local/ns/{ns}/sa/{sa}"));
    let named = |name: &str| match name {
        "*" | "allUsers" => true,
        "allAuthenticatedUsers" => identity.is_some(),
        name => identity.as_deref().is_some_and(|identity| fits(identity, name)),
    };
    let names = |list: &[Spanned<String>]| list.iter().any(|name| named(name));
    let namespace = ask.from.map(|(namespace, _)| namespace);
    let block = |list: &[Spanned<String>]| {
        let ip: std::net::IpAddr = ask.source.parse().unwrap();
        list.iter()
            .any(|block| block.parse::<ipnet::IpNet>().map_or(block.value == ask.source, |block| block.contains(&ip)))
    };
    let properties = subject.properties.iter().all(|(key, value)| match key.as_str() {
        "source.principal" if value.value == "*" => identity.is_some(),
        "source.principal" => named(value),
        "source.namespace" => namespace.is_some_and(|namespace| fits(namespace, value)),
        key => {
            let name = key.strip_prefix("request.headers[").unwrap().strip_suffix(']').unwrap();
            let found = ask.http.as_ref().and_then(|http| http.headers.iter().find(|(header, _)| *header == name));
            found.is_some_and(|(_, found)| fits(found, value))
        }
    });
    (subject.user.is_empty() || named(&subject.user))
        && (subject.names.is_empty() || names(&subject.names))
        && !names(&subject.not_names)
        && pair(namespace, &subject.namespaces, &subject.not_namespaces)
        && (subject.ips.is_empty() || block(&subject.ips))
        && !block(&subject.not_ips)
        && properties
}
