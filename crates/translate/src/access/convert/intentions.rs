//! Intentions: what is allowed where the rest is refused, what is refused where the rest may pass.

use api::consul::{ANY, IntentionAction};
use api::istio::{AccessAction, AccessFrom, AccessRule, AccessSource};
use api::{INTENTION_DEFAULT, Problem};

use super::{Converted, Written, at_ports, beside, compatible, ports, selector, texts};
use crate::access::other::intentions::Intention;
use crate::access::other::refuses_by_default;
use crate::service::Service;
use crate::world::World;

/// Converts what is enforced.
pub fn convert(world: &World, into: &mut Converted) {
    for service in world.services() {
        let intentions = world.intentions(&service.namespace, &service.name);
        let Some(first) = intentions.first() else { continue };
        let refuses = refuses_by_default(world, INTENTION_DEFAULT, &service.namespace);
        let Some(labels) = selector(service) else { continue };
        let (numbers, names) = ports(service, false);
        let is_shared = refuses && shares(world, service, &numbers);
        if is_shared || !names.is_empty() || numbers.is_empty() || refuses && beside(world, service).next().is_some() {
            let message = format!(
                "at `{}` it cannot be said by a policy: its ports are numbered by each workload, or another service or \
                 AuthorizationPolicy is for the same workloads, and policies that allow are joined",
                service.host
            );
            let problem = Problem::error(message).path("spec.destination").hint("keep the intentions");
            into.losses.push(first.document.resource.problem(problem, first.document.spec().destination.name.span));
            continue;
        }
        let policy = Written {
            name: format!("intentions-{}", service.name),
            namespace: service.namespace.clone(),
            selector: labels.clone(),
            action: if refuses { AccessAction::Allow } else { AccessAction::Deny },
            dry_run: false,
            comment: format!(
                "Who may call {}; whoever is not named {}.",
                service.host,
                if refuses { "may not" } else { "may" }
            ),
            rules: rules(world, &intentions, refuses, &numbers, into),
        };
        into.policies.push(policy);
    }
}

/// Is there another service for the same ports?
fn shares(world: &World, service: &Service, numbers: &[u16]) -> bool {
    let labels = selector(service).cloned().unwrap_or_default();
    world.services().any(|other| {
        let same = || ports(other, false).0.iter().any(|port| numbers.contains(port));
        other.host != service.host
            && other.namespace == service.namespace
            && selector(other).is_some_and(|of_other| compatible(of_other, &labels))
            && same()
    })
}

fn rules(
    world: &World,
    intentions: &[Intention<'_>],
    refuses: bool,
    numbers: &[u16],
    into: &mut Converted,
) -> Vec<(String, AccessRule)> {
    let domain = world.settings.trust_domain.as_str();
    let mut rules = Vec::new();
    for one in intentions {
        let action = one.source.action.unwrap_or_else(|| {
            let message = "permissions for requests are not converted: all that the source sends is refused";
            let problem = Problem::warning(message).path(format!("spec.sources[{}].permissions", one.index));
            into.losses.push(one.document.resource.problem(problem.hint("less may pass than before"), one.source.span));
            IntentionAction::Deny
        });
        if (action == IntentionAction::Allow) != refuses {
            continue;
        }
        let before = intentions.iter().filter(|other| other.precedence > one.precedence && overlaps(one, other));
        let excluded: Vec<String> = before.map(|other| principal(domain, other)).collect();
        let source = AccessSource {
            principals: texts(&[principal(domain, one)]),
            not_principals: texts(&excluded),
            ..AccessSource::default()
        };
        let resource = &one.document.resource;
        let comment = format!("source {} of {} ({})", one.index, resource.key(), resource.origin);
        rules.push((comment, AccessRule { from: Some(vec![AccessFrom { source }]), ..at_ports(numbers) }));
    }
    if !refuses {
        let source = AccessSource { not_principals: texts(&[format!("{domain}/*")]), ..AccessSource::default() };
        let rule = AccessRule { from: Some(vec![AccessFrom { source }]), ..at_ports(numbers) };
        rules.push(("callers without an identity of the mesh".to_owned(), rule));
    }
    rules
}

/// May a caller be meant by both?
fn overlaps(one: &Intention<'_>, other: &Intention<'_>) -> bool {
    let same = |a: &str, b: &str| a == ANY || b == ANY || a == b;
    same(one.namespace, other.namespace) && same(one.name, other.name)
}

fn principal(domain: &str, one: &Intention<'_>) -> String {
    match (one.namespace, one.name) {
        (ANY, _) => format!("{domain}/*"),
        (namespace, ANY) => format!("{domain}/ns/{namespace}/*"),
        (namespace, name) => format!("{domain}/ns/{namespace}/sa/{name}"),
    }
}
