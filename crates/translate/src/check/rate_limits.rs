//! Limits of rates that nothing reaches, or that count otherwise than they most likely are meant to.

use std::collections::{BTreeMap, BTreeSet};

use api::halcyon::{LimitFile, LimitScope, RateLimit, RateLimitPolicy, limit_files};
use api::yaml::Span;
use api::{Code, Problem, Spec};

use super::selection::{Inhabitants, labels_of};
use crate::protocol::Protocol;
use crate::service::{Backing, Service, selected};
use crate::world::{Document, World};

type Policy = Document<RateLimitPolicy>;

/// What policies say by themselves.
pub fn check(world: &World, problems: &mut Vec<Problem>) {
    let routes = route_names(world);
    for policy in world.rate_limit_policies.iter() {
        for (i, limit) in policy.spec().limits.iter().enumerate() {
            check_service(world, policy, i, limit, problems);
            check_routes(policy, i, limit, &routes, problems);
            check_contradictions(policy, i, limit, problems);
            check_claims(world, policy, i, limit, problems);
        }
    }
    check_domains(world, problems);
}

/// What they say of workloads that run or are described. `whole`: also where there are none at all.
pub fn check_selection(world: &World, whole: bool, problems: &mut Vec<Problem>) {
    let inhabitants = Inhabitants::of(world);
    for policy in world.rate_limit_policies.iter() {
        check_selector(&inhabitants, policy, whole, problems);
        check_tcp(world, policy, problems);
    }
}

fn note(policy: &Policy, code: Code, path: String, span: Span, message: String) -> Problem {
    policy.resource.problem(Problem::warning(message).code(code).path(path), span)
}

/// Nobody is asked where the control plane does not know how proxies reach it. What only checks knows no address either.
fn check_service(world: &World, policy: &Policy, index: usize, limit: &RateLimit, problems: &mut Vec<Problem>) {
    if limit.scope != LimitScope::Global || world.settings.limit_service.is_some() || !world.settings.is_served {
        return;
    }
    let path = format!("spec.limits[{index}].scope");
    let message = "no proxy knows where the control plane counts, which listens on all addresses".to_owned();
    let problem = note(policy, Code::LimitNotReached, path, Span::default(), message);
    problems.push(problem.hint("start it with `--ratelimit-address ADDRESS:PORT`; until then nothing is limited"));
}

/// Every name that a rule gives to a route.
fn route_names(world: &World) -> BTreeSet<&str> {
    let rules = world.virtual_services.iter().flat_map(|rule| &rule.spec().http);
    rules.map(|route| route.name.as_str()).filter(|name| !name.is_empty()).collect()
}

fn check_routes(policy: &Policy, index: usize, limit: &RateLimit, known: &BTreeSet<&str>, problems: &mut Vec<Problem>) {
    let asked = limit.match_.iter().flat_map(|asked| &asked.routes).enumerate();
    for (i, name) in asked.filter(|(_, name)| !known.contains(name.value.as_str())) {
        let path = format!("spec.limits[{index}].match.routes[{i}]");
        let message = format!("no VirtualService has a route called `{}`", name.value);
        let problem = note(policy, Code::LimitNotReached, path, name.span, message);
        problems.push(
            problem.hint("give a route of a gateway this `name`; requests at sidecars come by the route `default`"),
        );
    }
}

/// Every value of a field is one that must not be.
fn check_contradictions(policy: &Policy, index: usize, limit: &RateLimit, problems: &mut Vec<Problem>) {
    for (name, _, (values, not_values)) in limit.match_.iter().flat_map(|asked| asked.fields()) {
        let excluded = |value: &api::Spanned<String>| not_values.iter().any(|not| not.value == "*" || not == value);
        if let Some(first) = values.first().filter(|_| values.iter().all(excluded)) {
            let path = format!("spec.limits[{index}].match.{name}");
            let message =
                format!("whatever `{name}` asks for is excluded beside it: no request falls under this limit");
            problems.push(note(policy, Code::LimitNotReached, path, first.span, message).hint("remove one of the two"));
        }
    }
}

/// Without a RequestAuthentication no token is read, and all requests share the count of those without a claim.
fn check_claims(world: &World, policy: &Policy, index: usize, limit: &RateLimit, problems: &mut Vec<Problem>) {
    let root = &world.settings.root_namespace;
    let near = |namespace: &str| namespace == root || policy.namespace() == root || namespace == policy.namespace();
    if world.request_authentications.iter().any(|document| near(document.namespace())) {
        return;
    }
    for (i, claim) in limit.by.iter().enumerate().filter_map(|(i, key)| Some((i, key.claim.as_ref()?))) {
        let path = format!("spec.limits[{index}].by[{i}].claim");
        let message =
            format!("no RequestAuthentication reads the claim `{}` here: all requests share one count", claim.value);
        let problem = note(policy, Code::LimitNotReached, path, claim.span, message);
        problems.push(problem.hint("apply a RequestAuthentication with the issuer of the tokens"));
    }
}

/// The selector takes nobody.
fn check_selector(inhabitants: &Inhabitants<'_>, policy: &Policy, whole: bool, problems: &mut Vec<Problem>) {
    let labels = policy.spec().selector.as_ref().map(|selector| &selector.match_labels);
    if let Some(problem) = inhabitants.selects_nobody(policy.namespace(), labels, whole) {
        problems.push(policy.resource.problem(problem, Span::default()));
    }
}

/// Limits are for requests; all that some workloads have is connections.
fn check_tcp(world: &World, policy: &Policy, problems: &mut Vec<Problem>) {
    let root = &world.settings.root_namespace;
    let near = |namespace: &str| policy.namespace() == root || policy.namespace() == namespace;
    let selector = policy.spec().selector.as_ref();
    let takes = |labels: &&BTreeMap<String, String>| selector.is_none_or(|s| selected(&s.match_labels, labels));
    let is_meant = |service: &&&Service| {
        let backed = matches!(service.backing, Backing::Workloads(_));
        backed && near(&service.namespace) && labels_of(world, service).iter().any(takes)
    };
    let services: Vec<&Service> = world.services().map(|service| &**service).collect();
    let meant: Vec<&&Service> = services.iter().filter(is_meant).collect();
    let ports = || meant.iter().flat_map(|service| &service.ports).filter(|port| port.protocol != Protocol::Udp);
    let is_http = |protocol: Protocol| protocol.is_http() || protocol == Protocol::Auto;
    let of_gateway = selector.is_none() || world.gateways.iter().any(|gateway| takes(&&gateway.spec().selector));
    if of_gateway || ports().next().is_none() || ports().any(|port| is_http(port.protocol)) {
        return;
    }
    let names: Vec<&str> = meant.iter().map(|service| &*service.host).collect();
    let message = format!("requests are limited, and {} take raw TCP only", names.join(", "));
    let problem = note(policy, Code::LimitNotReached, "spec.selector".to_owned(), Span::default(), message);
    problems.push(problem.hint("declare the port to be HTTP (`appProtocol: http`) if it is"));
}

/// A domain in several ConfigMaps: one of them counts.
fn check_domains(world: &World, problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for resource in world.limit_maps.iter() {
        let Spec::ConfigMap(map) = &resource.spec else { continue };
        for (name, text) in limit_files(map) {
            let Ok(file) = LimitFile::read(name, text) else { continue };
            let of = format!("`{}` of `{}`", name, resource.key());
            if let Some(first) = seen.get(&file.domain.value) {
                let problem = Problem::warning(format!("{first} has limits of the domain `{}` too", file.domain.value))
                    .code(Code::LimitNotReached)
                    .path(format!("data[\"{name}\"]"))
                    .hint("only that one counts; write the limits of a domain into one file");
                problems.push(resource.problem(problem, Span::default()));
                continue;
            }
            seen.insert(file.domain.value, of);
        }
    }
}
