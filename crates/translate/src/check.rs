//! What cannot work although every document is right by itself: names that nobody knows. People apply in any order, so
//! these are warnings, and they go away by themselves.

use std::collections::BTreeSet;

use api::istio::{Destination, Gateway, VirtualService};
use api::{Problem, Spanned};
use base::HostPattern;

use crate::names::{complete_gateway, complete_host};
use crate::servers::{self, Clash, Open, Over, host_part};
use crate::service::{Service, selected};
use crate::world::{Document, World};

/// Every reference that leads nowhere, with the place where it was written and what traffic gets that meets it.
pub fn check(world: &World) -> Vec<Problem> {
    let mut problems = Vec::new();
    for rule in world.virtual_services.iter() {
        let mut report =
            |problem: Problem, at: &Spanned<String>| problems.push(rule.resource.problem(problem, at.span));
        check_rule(world, rule, &mut report);
    }
    for rule in world.destination_rules.iter() {
        let host = &rule.spec().host;
        let whole = complete_host(&host.value, rule.namespace(), &world.settings.dns_domain);
        let known = match whole.parse::<HostPattern>() {
            Ok(HostPattern::Exact(exact)) => world.service_named(&exact).is_some(),
            Ok(wild) => world.services().any(|s| wild.matches(&s.host) || *s.host == *whole),
            Err(_) => false,
        };
        if !known {
            let problem = unknown_host(world, &host.value, &whole).path("spec.host");
            problems.push(
                rule.resource.problem(problem.hint("the rule has no effect until the service is there"), host.span),
            );
        }
    }
    for gateway in world.gateways.iter() {
        check_gateway(world, gateway, &mut problems);
    }
    check_servers(world, &mut problems);
    problems
}

fn check_rule(world: &World, rule: &Document<VirtualService>, report: &mut dyn FnMut(Problem, &Spanned<String>)) {
    let spec = rule.spec();
    for (i, host) in spec.hosts.iter().enumerate().filter(|(_, host)| spec.is_for_mesh() && !host.starts_with('*')) {
        let whole = complete_host(&host.value, rule.namespace(), &world.settings.dns_domain);
        if world.service(&whole).is_none() {
            let problem = unknown_host(world, &host.value, &whole).path(format!("spec.hosts[{i}]"));
            report(problem.hint("until it is there, sidecars do not apply these rules to it"), host);
        }
    }
    for (i, name) in spec.gateways.iter().enumerate().filter(|(_, name)| name.value != "mesh") {
        if !knows_gateway(world, &name.value, rule.namespace()) {
            let message = format!("the gateway `{}` is not known", name.value);
            let problem = Problem::warning(message).path(format!("spec.gateways[{i}]"));
            report(problem.hint("until it is applied, nothing reaches these rules through it"), name);
        }
    }
    for (i, http) in spec.http.iter().enumerate() {
        for (j, to) in http.route.iter().enumerate() {
            check_destination(
                world,
                rule,
                (Sent::Requests, &to.destination),
                &format!("spec.http[{i}].route[{j}].destination"),
                report,
            );
        }
        if let Some(mirror) = &http.mirror {
            check_destination(world, rule, (Sent::Copies, mirror), &format!("spec.http[{i}].mirror"), report);
        }
        for (j, mirror) in http.mirrors.iter().enumerate() {
            check_destination(
                world,
                rule,
                (Sent::Copies, &mirror.destination),
                &format!("spec.http[{i}].mirrors[{j}].destination"),
                report,
            );
        }
        if let Some(delegate) = &http.delegate {
            let namespace = if delegate.namespace.is_empty() { rule.namespace() } else { &delegate.namespace };
            if world.delegate(rule, delegate).is_none() {
                let message = format!("the VirtualService `{namespace}/{}` is not known", delegate.name);
                let problem = Problem::warning(message).path(format!("spec.http[{i}].delegate.name"));
                report(problem.expected("a VirtualService without hosts that is exported here"), &delegate.name);
            }
        }
    }
    for (i, route) in spec.tcp.iter().map(|t| &t.route).enumerate() {
        for (j, to) in route.iter().enumerate() {
            check_destination(
                world,
                rule,
                (Sent::Connections, &to.destination),
                &format!("spec.tcp[{i}].route[{j}].destination"),
                report,
            );
        }
    }
    for (i, route) in spec.tls.iter().map(|t| &t.route).enumerate() {
        for (j, to) in route.iter().enumerate() {
            check_destination(
                world,
                rule,
                (Sent::Connections, &to.destination),
                &format!("spec.tls[{i}].route[{j}].destination"),
                report,
            );
        }
    }
}

fn knows_gateway(world: &World, name: &str, namespace: &str) -> bool {
    let whole = complete_gateway(name, namespace);
    world.gateways.iter().any(|g| format!("{}/{}", g.namespace(), g.name()) == whole)
}

/// What is sent to a destination, and so what becomes of it while nobody is there.
#[derive(Clone, Copy)]
enum Sent {
    Requests,
    Copies,
    Connections,
}

impl Sent {
    fn fate(self) -> &'static str {
        match self {
            Self::Requests => "requests sent to it are answered 503 (flag NC)",
            Self::Copies => "copies of requests sent to it are lost",
            Self::Connections => "connections sent to it are closed (flag NC)",
        }
    }
}

fn check_destination(
    world: &World,
    rule: &Document<VirtualService>,
    (sent, to): (Sent, &Destination),
    path: &str,
    report: &mut dyn FnMut(Problem, &Spanned<String>),
) {
    let whole = complete_host(&to.host.value, rule.namespace(), &world.settings.dns_domain);
    let Some(service) = world.service(&whole) else {
        let problem = unknown_host(world, &to.host.value, &whole).path(format!("{path}.host"));
        return report(problem.hint(format!("until it is there, {}", sent.fate())), &to.host);
    };
    if !to.subset.is_empty() && !knows_subset(world, service, &to.subset.value) {
        let message = format!("no DestinationRule for `{}` defines the subset `{}`", service.host, to.subset);
        let problem = Problem::warning(message).path(format!("{path}.subset")).expected(subsets(world, service));
        report(problem.hint(format!("until one does, {}", sent.fate())), &to.subset);
    }
    match &to.port {
        Some(port) if service.port(port.number.value as u16).is_none() => {
            let message = format!("`{}` has no port {}", service.host, port.number);
            let problem = Problem::warning(message).path(format!("{path}.port.number")).expected(ports(service));
            let at = Spanned { value: String::new(), span: port.number.span };
            report(problem.hint(sent.fate()), &at);
        }
        _ => {}
    }
}

fn unknown_host(world: &World, written: &str, whole: &str) -> Problem {
    let name = |host: &str| host.split('.').next().unwrap_or_default().to_owned();
    let near = world.services().find(|s| name(&s.host) == name(whole));
    let problem = Problem::warning(match written == whole {
        true => format!("no service has the host `{written}`"),
        false => format!("no service has the host `{written}` (that is `{whole}`)"),
    });
    match near {
        Some(near) => problem.expected(format!("a known service, such as `{}`", near.host)),
        None => problem.expected("a Service, a ServiceEntry or a running workload of that name"),
    }
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

fn ports(service: &Service) -> String {
    let numbers: Vec<String> = service.ports.iter().map(|p| p.number.to_string()).collect();
    if numbers.is_empty() { "a service with ports".to_owned() } else { numbers.join(" or ") }
}

/// A server whose certificate is not there cannot take a connection.
fn check_gateway(world: &World, gateway: &Document<Gateway>, problems: &mut Vec<Problem>) {
    for (i, server) in gateway.spec().servers.iter().enumerate() {
        let Some(tls) = &server.tls else { continue };
        let names = tls.credential_names.iter().chain(Some(&tls.credential_name)).filter(|n| !n.is_empty());
        for name in names.filter(|n| !world.secrets.iter().any(|s| s.name() == n.value)) {
            let hosts: Vec<&str> = server.hosts.iter().map(|h| host_part(&h.value)).collect();
            let message = format!("there is no Secret `{}`", name.value);
            let problem = Problem::warning(message)
                .path(format!("spec.servers[{i}].tls.credentialName"))
                .expected("a Secret with `tls.crt` and `tls.key` in the gateway's namespace")
                .hint(format!("until it is there, TLS connections for {} are refused", hosts.join(", ")));
            problems.push(gateway.resource.problem(problem, name.span));
        }
    }
}

/// Servers that ask for the same port and host. A workload that one `Gateway` selects is selected by every other whose
/// selector asks for no more; which workloads there are is not known here.
fn check_servers(world: &World, problems: &mut Vec<Problem>) {
    let mut told = BTreeSet::new();
    for gateway in world.gateways.iter() {
        let together = world.gateways.iter().filter(|g| selected(&g.spec().selector, &gateway.spec().selector));
        for clash in servers::open(together).1 {
            let id = |open: &Open<'_>| (open.gateway.resource.key().to_string(), open.index);
            if told.insert((id(&clash.first), id(&clash.second))) {
                problems.push(clash_problem(&clash));
            }
        }
    }
}

fn clash_problem(clash: &Clash<'_>) -> Problem {
    let Clash { first, second, over } = clash;
    let at = |open: &Open<'_>, host: Option<&str>| {
        let position = |host| open.server.hosts.iter().position(|h| host_part(&h.value).eq_ignore_ascii_case(host));
        let (path, span) = match (host.and_then(position), &open.server.port) {
            (Some(i), _) => (format!(".hosts[{i}]"), open.server.hosts[i].span),
            (None, Some(port)) => (".port.number".to_owned(), port.number.span),
            (None, None) => (String::new(), Default::default()),
        };
        (format!("spec.servers[{}]{path}", open.index), span)
    };
    let (what, host, effect) = match over {
        Over::TlsHost(host) => (
            format!("the host `{host}` on port {}", second.port),
            Some(*host),
            "this server is left out, with all its hosts",
        ),
        Over::HttpHost(host) => {
            (format!("the host `{host}` on port {}", second.port), Some(*host), "the rules of both are joined")
        }
        Over::Port => (format!("port {} for another protocol", second.port), None, "this server is left out"),
    };
    let (path, span) = at(first, host);
    let there = first.gateway.resource.problem(Problem::warning("").path(path), span);
    let place = match there.line {
        0 => String::new(),
        line => format!(", {}:{line}", there.file),
    };
    let name = format!("{}/{}", first.gateway.namespace(), first.gateway.name());
    let message = format!("the Gateway `{name}` opens {what} already ({}{place})", there.path);
    let (path, span) = at(second, host);
    let problem = Problem::warning(message).path(path).expected("each host of a port in one server");
    second.gateway.resource.problem(problem.hint(effect), span)
}
