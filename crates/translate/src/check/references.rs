//! Names that nobody knows: hosts, ports and subsets of destinations, gateways, delegates.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::istio::{Destination, VirtualService};
use api::{Code, Problem, Resource, Spanned};
use base::HostPattern;

use crate::names::complete_host;
use crate::service::Service;
use crate::world::{Document, World};

/// Every reference that leads nowhere.
pub fn check(world: &World, problems: &mut Vec<Problem>) {
    for rule in world.virtual_services.iter() {
        let mut report =
            |problem: Problem, at: &Spanned<String>| problems.push(rule.resource.problem(problem, at.span));
        check_rule(world, rule, &mut report);
    }
    for rule in world.destination_rules.iter() {
        check_host(world, &rule.resource, &rule.spec().host, Code::UnknownDestinationRuleHost, problems);
    }
    for policy in world.service_policies.iter() {
        check_host(world, &policy.resource, &policy.spec().host, Code::UnknownPolicyHost, problems);
    }
}

/// The host that the policies of a resource are for.
fn check_host(world: &World, resource: &Resource, host: &Spanned<String>, code: Code, problems: &mut Vec<Problem>) {
    let whole = complete_host(&host.value, resource.namespace(), &world.settings.dns_domain);
    let known = match whole.parse::<HostPattern>() {
        Ok(HostPattern::Exact(exact)) => world.service_named(&exact).is_some(),
        Ok(wild) => world.services().any(|s| wild.matches(&s.host) || *s.host == *whole),
        Err(_) => false,
    };
    if !known {
        let problem = unknown_host(world, &host.value, &whole).path("spec.host").code(code);
        problems.push(resource.problem(problem.hint("it has no effect until the service is there"), host.span));
    }
}

fn check_rule(world: &World, rule: &Document<VirtualService>, report: &mut dyn FnMut(Problem, &Spanned<String>)) {
    let spec = rule.spec();
    for (i, host) in spec.hosts.iter().enumerate().filter(|(_, host)| spec.is_for_mesh() && !host.starts_with('*')) {
        let whole = complete_host(&host.value, rule.namespace(), &world.settings.dns_domain);
        if world.service(&whole).is_none() {
            let problem =
                unknown_host(world, &host.value, &whole).path(format!("spec.hosts[{i}]")).code(Code::UnknownRuleHost);
            report(problem.hint("until it is there, sidecars do not apply these rules to it"), host);
        }
    }
    for (i, name) in spec.gateways.iter().enumerate().filter(|(_, name)| name.value != "mesh") {
        if world.gateway_named(&name.value, rule.namespace()).is_none() {
            let message = format!("the gateway `{}` is not known", name.value);
            let problem = unknown(message).path(format!("spec.gateways[{i}]"));
            report(problem.hint("until it is applied, nothing reaches these rules through it"), name);
        }
    }
    for (i, http) in spec.http.iter().enumerate() {
        for (j, to) in http.route.iter().enumerate() {
            check_destination(
                world,
                rule.namespace(),
                (Sent::Requests, &to.destination),
                &format!("spec.http[{i}].route[{j}].destination"),
                report,
            );
        }
        if let Some(mirror) = &http.mirror {
            check_destination(
                world,
                rule.namespace(),
                (Sent::Copies, mirror),
                &format!("spec.http[{i}].mirror"),
                report,
            );
        }
        for (j, mirror) in http.mirrors.iter().enumerate() {
            check_destination(
                world,
                rule.namespace(),
                (Sent::Copies, &mirror.destination),
                &format!("spec.http[{i}].mirrors[{j}].destination"),
                report,
            );
        }
        if let Some(delegate) = &http.delegate {
            let namespace = if delegate.namespace.is_empty() { rule.namespace() } else { &delegate.namespace };
            if world.delegate(rule, delegate).is_none() {
                let message = format!("the VirtualService `{namespace}/{}` is not known", delegate.name);
                let problem = unknown(message).path(format!("spec.http[{i}].delegate.name"));
                report(problem.expected("a VirtualService without hosts that is exported here"), &delegate.name);
            }
        }
    }
    let tcp = spec.tcp.iter().enumerate().map(|(i, rule)| (format!("spec.tcp[{i}]"), &rule.route));
    let tls = spec.tls.iter().enumerate().map(|(i, rule)| (format!("spec.tls[{i}]"), &rule.route));
    for (path, route) in tcp.chain(tls) {
        for (j, to) in route.iter().enumerate() {
            let path = format!("{path}.route[{j}].destination");
            check_destination(world, rule.namespace(), (Sent::Connections, &to.destination), &path, report);
        }
    }
}

/// What is sent to a destination, and so what becomes of it while nobody is there.
#[derive(Clone, Copy)]
pub enum Sent {
    Requests,
    Copies,
    Connections,
    /// Requests and connections to destinations that nobody knows.
    Unknown,
}

impl Sent {
    pub fn fate(self) -> &'static str {
        match self {
            Self::Unknown => "requests to unknown destinations are answered 503, connections are closed (flag NC)",
            Self::Requests => "requests sent to it are answered 503 (flag NC)",
            Self::Copies => "copies of requests sent to it are lost",
            Self::Connections => "connections sent to it are closed (flag NC)",
        }
    }
}

/// A destination that a document of a namespace names.
pub fn check_destination(
    world: &World,
    namespace: &str,
    (sent, to): (Sent, &Destination),
    path: &str,
    report: &mut dyn FnMut(Problem, &Spanned<String>),
) {
    let whole = complete_host(&to.host.value, namespace, &world.settings.dns_domain);
    let Some(service) = world.service(&whole) else {
        let problem = unknown_host(world, &to.host.value, &whole).path(format!("{path}.host"));
        return report(problem.hint(format!("until it is there, {}", sent.fate())), &to.host);
    };
    if !service.visible.includes(namespace) {
        let message = format!("the service `{}` is not exported to the namespace `{}`", service.host, namespace);
        let problem = unknown(message).path(format!("{path}.host"));
        return report(problem.hint(format!("clients there do not see it: {}", sent.fate())), &to.host);
    }
    if !to.subset.is_empty() && !knows_subset(world, service, &to.subset.value) {
        let message = format!("no DestinationRule for `{}` defines the subset `{}`", service.host, to.subset);
        let problem = unknown(message).path(format!("{path}.subset")).expected(subsets(world, service));
        report(problem.hint(format!("until one does, {}", sent.fate())), &to.subset);
    }
    match &to.port {
        Some(port) if service.port(port.number.value as u16).is_none() => {
            let message = format!("`{}` has no port {}", service.host, port.number);
            let problem = unknown(message).path(format!("{path}.port.number")).expected(ports(service));
            let at = Spanned { value: String::new(), span: port.number.span };
            report(problem.hint(sent.fate()), &at);
        }
        None if service.ports.len() > 1 => {
            let message = format!("`{}` has several ports, and the destination says none", service.host);
            let problem = Problem::warning(message)
                .code(Code::VirtualServiceDestinationPortSelectorRequired)
                .path(format!("{path}.port"))
                .expected(ports(service));
            report(problem.hint("without one, requests go to the port that the client dialled"), &to.host);
        }
        _ => {}
    }
}

pub fn unknown(message: impl Into<String>) -> Problem {
    Problem::warning(message).code(Code::ReferencedResourceNotFound)
}

pub fn unknown_host(world: &World, written: &str, whole: &str) -> Problem {
    let near = nearest_host(world, whole);
    let problem = unknown(match written == whole {
        true => format!("no service has the host `{written}`"),
        false => format!("no service has the host `{written}` (that is `{whole}`)"),
    });
    match near {
        Some(near) => problem.expected(format!("a known service, such as `{near}`")),
        None => problem.expected("a Service, a ServiceEntry or a running workload of that name"),
    }
}

/// The host of a service whose name has the same first part.
pub fn nearest_host<'a>(world: &'a World, whole: &str) -> Option<&'a Arc<str>> {
    let name = |host: &str| host.split('.').next().unwrap_or_default().to_owned();
    world.services().map(|service| &service.host).find(|host| name(host) == name(whole))
}

fn rules_of<'a>(world: &'a World, service: &'a Service) -> impl Iterator<Item = &'a str> {
    let of_host = world
        .policies_for(&service.host)
        .filter(|d| world.host_pattern(&d.spec().host.value, d.namespace()).is_some_and(|p| p.matches(&service.host)));
    of_host.flat_map(|d| &d.spec().subsets).map(|s| s.name.as_str())
}

fn knows_subset(world: &World, service: &Service, subset: &str) -> bool {
    rules_of(world, service).any(|name| name == subset)
}

fn subsets(world: &World, service: &Service) -> String {
    let names: BTreeSet<String> = rules_of(world, service).map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => "a DestinationRule with subsets".to_owned(),
        false => names.into_iter().collect::<Vec<_>>().join(" or "),
    }
}

pub fn ports(service: &Service) -> String {
    let numbers: Vec<String> = service.ports.iter().map(|p| p.number.to_string()).collect();
    if numbers.is_empty() { "a service with ports".to_owned() } else { numbers.join(" or ") }
}
