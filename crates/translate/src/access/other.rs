//! Access as others write it: Istio's kinds up to 1.5, Consul's intentions, SMI's TrafficTargets. What each says is asked beside
//! AuthorizationPolicies and beside each other: a call has to be allowed by every kind that has a rule for the workload.

pub mod intentions;
pub mod legacy;
pub mod targets;

use std::sync::Arc;

use api::Resource;
use api::istio::AccessAction;
use api::yaml::Span;
use model::StringMatch;
use model::access::{Action, Condition, Policy, Principal, Rules, Source};

use super::{Layer, Ports, Subject};
use crate::node::{Node, Role};
use crate::service::{Backing, selected};
use crate::world::World;

/// Rules of one kind, and where each was written.
pub struct OtherLayer {
    /// The rules.
    pub layer: Layer,
    /// Where they were written, by their names.
    pub places: Vec<(Arc<str>, Whence)>,
    /// The documents that concern the workload.
    pub documents: Vec<Arc<Resource>>,
}

/// Where a rule was written.
#[derive(Debug, Clone)]
pub struct Whence {
    /// The document.
    pub document: Arc<Resource>,
    /// What it is within the document, such as `rule`; empty if it is the document as a whole.
    pub part: &'static str,
    /// Its number.
    pub index: usize,
    /// Its place.
    pub span: Span,
    /// The document by which it is for somebody, if that is another.
    pub by: Option<Arc<Resource>>,
}

/// A rule with its name and place.
pub struct Made {
    name: Arc<str>,
    policy: Policy,
    whence: Whence,
}

/// Everything that is asked at a workload beside AuthorizationPolicies, in the order in which it is asked.
pub fn layers(world: &World, subject: Subject<'_>, tcp: bool, ports: Ports) -> Vec<OtherLayer> {
    let legacy = legacy::layer(world, subject, tcp, ports);
    let intentions = intentions::layers(world, subject, tcp);
    let targets = targets::layer(world, subject, tcp, ports);
    legacy.into_iter().chain(intentions).chain(targets).collect()
}

/// The account of a proxy's workload, and the services that lead to a port of its program. A gateway is what a service of its
/// namespace selects, if that is but one (Istio 1.4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The account.
    pub account: Option<String>,
    /// The hosts of the services.
    pub services: Vec<Arc<str>>,
}

impl Standing {
    /// That of a proxy, for a port of its program; a gateway has none.
    pub fn of(world: &World, node: &Node, port: Option<u16>) -> Self {
        let own = world.at(node.address).find(|workload| workload.namespace == node.namespace);
        let account = own.map(|workload| workload.service_account.clone());
        let proven = || node.identity.as_ref().and_then(|id| id.service_account().map(str::to_owned));
        let services = match (&node.role, port) {
            (Role::Gateway { .. }, _) => {
                let near = world.services().filter(|service| service.namespace == node.namespace);
                let leading = near.filter(|service| match &service.backing {
                    Backing::Workloads(labels) => !labels.is_empty() && selected(labels, &node.labels),
                    _ => false,
                });
                let all: Vec<Arc<str>> = leading.map(|service| service.host.clone()).collect();
                if all.len() == 1 { all } else { Vec::new() }
            }
            (_, Some(port)) => {
                let services = world.inbound_services(node.address, &node.namespace, port);
                let mut hosts: Vec<Arc<str>> = services.map(|(service, _)| service.host.clone()).collect();
                hosts.dedup();
                hosts
            }
            _ => Vec::new(),
        };
        Self { account: account.or_else(proven), services }
    }
}

/// The layer of rules of one action.
fn layer_of(action: AccessAction, made: Vec<Made>, documents: Vec<Arc<Resource>>) -> OtherLayer {
    let places = made.iter().map(|made| (made.name.clone(), made.whence.clone())).collect();
    OtherLayer {
        layer: Layer { action, provider: None, rules: Some(rules(action, made)), shadow: None },
        places,
        documents,
    }
}

fn rules(action: AccessAction, made: Vec<Made>) -> Arc<Rules> {
    let mut policies: Vec<(Arc<str>, Policy)> = made.into_iter().map(|made| (made.name, made.policy)).collect();
    policies.sort_by(|a, b| a.0.cmp(&b.0));
    let action = if action == AccessAction::Deny { Action::Deny } else { Action::Allow };
    Arc::new(Rules { action, policies })
}

/// Whoever has an identity of the mesh.
fn of_mesh(world: &World) -> Principal {
    named(world, "", StringMatch::prefix)
}

/// Who has an identity of the mesh that begins so, or is so.
fn named(world: &World, rest: &str, text: fn(String) -> StringMatch) -> Principal {
    let of_domain =
        |domain: &str| Condition::Is(Source::Authenticated(Some(text(format!("spiffe://{domain}/{rest}")))));
    either(world.trust_domains().into_iter().map(of_domain).collect())
}

/// One of these; without any it never holds.
fn either<T>(mut any: Vec<Condition<T>>) -> Condition<T> {
    match any.len() {
        0 => Condition::Not(Box::new(Condition::Any)),
        1 => any.remove(0),
        _ => Condition::Either(any),
    }
}

/// All of these.
fn all<T>(mut all: Vec<Condition<T>>) -> Condition<T> {
    match all.len() {
        0 => Condition::Any,
        1 => all.remove(0),
        _ => Condition::All(all),
    }
}

fn not<T>(condition: Condition<T>) -> Condition<T> {
    Condition::Not(Box::new(condition))
}

/// What becomes of calls of which no rule says anything, by an annotation of the namespace, else of the root's.
pub fn refuses_by_default(world: &World, annotation: &str, namespace: &str) -> bool {
    let said = |name: &str| {
        let of = world.namespaces.iter().find(|namespace| namespace.name() == name)?;
        of.resource.meta.annotations.get(annotation).cloned()
    };
    said(namespace).or_else(|| said(&world.settings.root_namespace)).as_deref() == Some("deny")
}

/// The documents without repetition, in their order.
fn once<'a>(documents: impl Iterator<Item = &'a Arc<Resource>>) -> Vec<Arc<Resource>> {
    let mut all: Vec<Arc<Resource>> = Vec::new();
    for document in documents {
        if !all.iter().any(|known| Arc::ptr_eq(known, document)) {
            all.push(document.clone());
        }
    }
    all
}
