//! Hosts of VirtualServices: those that several rules of the mesh have, and those that no gateway opens.

use std::collections::{BTreeMap, BTreeSet};

use api::istio::VirtualService;
use api::{Code, Problem, Spanned};

use crate::gateway::opens;
use crate::names::complete_host;
use crate::service::Visibility;
use crate::world::{Document, World};

pub fn check(world: &World, problems: &mut Vec<Problem>) {
    check_shared(world, problems);
    for rule in world.virtual_services.iter() {
        check_opened(world, rule, problems);
    }
    check_subsets_behind_gateways(world, problems);
}

/// In the mesh rules are not merged: of several for one host that a client sees, the oldest counts.
fn check_shared(world: &World, problems: &mut Vec<Problem>) {
    let mut by_host: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    for (place, rule) in world.virtual_services.iter().enumerate().filter(|(_, rule)| rule.spec().is_for_mesh()) {
        for (i, host) in rule.spec().hosts.iter().enumerate() {
            let whole = complete_host(&host.value, rule.namespace(), &world.settings.dns_domain);
            by_host.entry(whole).or_default().push((place, i));
        }
    }
    for (host, places) in by_host.iter().filter(|(_, places)| places.len() > 1) {
        for (place, i) in places {
            let rule = &world.virtual_services[*place];
            let others: Vec<_> = places.iter().map(|(other, j)| (&world.virtual_services[*other], *j)).collect();
            let rivals: Vec<_> = others
                .iter()
                .filter(|(other, _)| other.resource.key() != rule.resource.key() && meet(world, rule, other))
                .collect();
            let Some((first, at)) = rivals.first() else { continue };
            let names: Vec<String> =
                rivals.iter().map(|(other, at)| place_of(other, &other.spec().hosts[*at])).collect();
            let wins = rule.age() < first.age();
            let message = format!("the host `{host}` has rules in {} too", names.join(" and "));
            let hint = match wins {
                true => "rules are not merged: these count, being the oldest; put all of them into one VirtualService"
                    .to_owned(),
                false => format!(
                    "rules are not merged: those of {} count, being older; put all of them into one VirtualService",
                    place_of(first, &first.spec().hosts[*at]),
                ),
            };
            let problem = Problem::warning(message)
                .code(Code::ConflictingMeshGatewayVirtualServiceHosts)
                .path(format!("spec.hosts[{i}]"))
                .hint(hint);
            problems.push(rule.resource.problem(problem, rule.spec().hosts[*i].span));
        }
    }
}

/// `VirtualService/default/reviews (rules.yaml:12)`
fn place_of(rule: &Document<VirtualService>, host: &Spanned<String>) -> String {
    let there = rule.resource.problem(Problem::warning(""), host.span);
    match there.line {
        0 => format!("`{}`", rule.resource.key()),
        line => format!("`{}` ({}:{line})", rule.resource.key(), there.file),
    }
}

/// Is there a namespace that sees both?
fn meet(world: &World, a: &Document<VirtualService>, b: &Document<VirtualService>) -> bool {
    match (visibility(world, a), visibility(world, b)) {
        (Visibility::Nowhere, _) | (_, Visibility::Nowhere) => false,
        (Visibility::Everywhere, _) | (_, Visibility::Everywhere) => true,
        (Visibility::Namespaces(a), Visibility::Namespaces(b)) => !a.is_disjoint(&b),
    }
}

fn visibility(world: &World, rule: &Document<VirtualService>) -> Visibility {
    let export_to = rule.spec().export_to.iter().map(|to| to.value.as_str());
    Visibility::read_or(export_to, &world.settings.export_to.virtual_services, rule.namespace())
}

/// A rule that is bound to a gateway which opens none of its hosts is never met there.
fn check_opened(world: &World, rule: &Document<VirtualService>, problems: &mut Vec<Problem>) {
    for (i, name) in rule.spec().gateways.iter().enumerate().filter(|(_, name)| name.value != "mesh") {
        let Some(gateway) = world.gateway_named(&name.value, rule.namespace()) else { continue };
        let hosts = rule.spec().hosts.iter();
        let mut whole_hosts =
            hosts.map(|host| complete_host(&host.value, rule.namespace(), &world.settings.dns_domain));
        if rule.spec().is_delegate() || whole_hosts.any(|host| opens(gateway, rule.namespace(), &host)) {
            continue;
        }
        let offered: BTreeSet<&str> =
            gateway.spec().servers.iter().flat_map(|server| &server.hosts).map(|host| host.value.as_str()).collect();
        let message = format!("the gateway `{}` opens none of the hosts of these rules", name.value);
        let problem = Problem::warning(message)
            .code(Code::VirtualServiceHostNotFoundInGateway)
            .path(format!("spec.gateways[{i}]"))
            .expected(format!("a host within {}", offered.into_iter().collect::<Vec<_>>().join(", ")))
            .hint(
                "nothing reaches these rules through it; add the host to a server of the Gateway, or correct `hosts`",
            );
        problems.push(rule.resource.problem(problem, name.span));
    }
}

/// A gateway sends requests by the rules that are bound to it: those of the mesh for the destination do not count there.
fn check_subsets_behind_gateways(world: &World, problems: &mut Vec<Problem>) {
    let mut split: BTreeMap<String, &Document<VirtualService>> = BTreeMap::new();
    for rule in world.virtual_services.iter().filter(|rule| rule.spec().is_for_mesh()) {
        let own: BTreeSet<String> = whole_hosts(world, rule).collect();
        let to_subsets =
            rule.spec().http.iter().flat_map(|http| &http.route).filter(|to| !to.destination.subset.is_empty());
        for to in to_subsets {
            let host = complete_host(&to.destination.host.value, rule.namespace(), &world.settings.dns_domain);
            if own.contains(&host) {
                split.entry(host).or_insert(rule);
            }
        }
    }
    for rule in world.virtual_services.iter().filter(|rule| rule.spec().gateways.iter().any(|g| g.value != "mesh")) {
        for (i, http) in rule.spec().http.iter().enumerate() {
            for (j, to) in http.route.iter().enumerate().filter(|(_, to)| to.destination.subset.is_empty()) {
                let host = complete_host(&to.destination.host.value, rule.namespace(), &world.settings.dns_domain);
                let Some(other) = split.get(&host).filter(|other| other.resource.key() != rule.resource.key()) else {
                    continue;
                };
                let message = format!("the subsets that `{}` chooses do not count here", other.resource.key());
                let problem = Problem::warning(message)
                    .code(Code::IngressRouteRulesNotAffected)
                    .path(format!("spec.http[{i}].route[{j}].destination"))
                    .hint("requests through the gateway go to all workloads of the host; name the subset here too");
                problems.push(rule.resource.problem(problem, to.destination.host.span));
            }
        }
    }
}

fn whole_hosts<'a>(world: &'a World, rule: &'a Document<VirtualService>) -> impl Iterator<Item = String> + 'a {
    rule.spec().hosts.iter().map(|host| complete_host(&host.value, rule.namespace(), &world.settings.dns_domain))
}
