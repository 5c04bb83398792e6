//! Istio's old roles and Consul's intentions as AuthorizationPolicies. What cannot be said by one is left out where that lets
//! less pass, and told; nothing is written that would let more pass than the original.

mod intentions;
mod legacy;
mod yaml;

use std::collections::BTreeMap;

use api::istio::{AccessAction, AccessOperation, AccessRule, AccessTo, AuthorizationPolicy};
use api::{Problem, Spanned};

use crate::service::{Backing, Service, Target};
use crate::world::{Document, World};

/// What became of the documents.
#[derive(Debug, Default)]
pub struct Converted {
    /// The policies, in the order in which they are to be written.
    pub policies: Vec<Written>,
    /// What could not be kept, each with the document and the place.
    pub losses: Vec<Problem>,
}

/// A policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its workloads; none: all of the namespace.
    pub selector: BTreeMap<String, String>,
    /// What becomes of whom it takes.
    pub action: AccessAction,
    /// It is only tried.
    pub dry_run: bool,
    /// What it is for, for people.
    pub comment: String,
    /// Its rules, each with where it comes from.
    pub rules: Vec<(String, AccessRule)>,
}

impl Written {
    /// The document.
    pub fn to_yaml(&self) -> String {
        yaml::document(self)
    }
}

/// Converts everything that is there. Kinds that would have to be allowed by one another are refused: policies that allow
/// are joined, so more would pass.
pub fn convert(world: &World) -> Converted {
    let mut converted = Converted::default();
    let is_on = world.rbac_config().is_some_and(|config| config.spec().mode != api::istio::RbacMode::Off);
    let first = |problem: &str, document: &api::Resource| {
        document.problem(
            Problem::error(problem).hint("convert the files of one kind at a time"),
            api::yaml::Span::default(),
        )
    };
    const TOGETHER: &str = "roles and intentions have to allow a call both, which policies that allow cannot say";
    match (is_on, world.other_access.intentions.first()) {
        (true, Some(document)) => converted.losses.push(first(TOGETHER, &document.resource)),
        _ => {
            legacy::convert(world, &mut converted);
            intentions::convert(world, &mut converted);
        }
    }
    for target in world.other_access.targets.iter() {
        let message = "targets are for accounts, and policies for labels: it is not converted";
        let problem = Problem::error(message).path("kind").hint("keep it: TrafficTargets are enforced beside policies");
        converted.losses.push(target.resource.problem(problem, api::yaml::Span::default()));
    }
    converted
}

/// The labels by which a service selects, if it does.
fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    match &service.backing {
        Backing::Workloads(labels) if !labels.is_empty() => Some(labels),
        _ => None,
    }
}

/// The ports of the program that a service leads to. Those that each workload numbers for itself are told of as lost.
fn ports(service: &Service, http_only: bool) -> (Vec<u16>, Vec<&str>) {
    let (mut numbers, mut names) = (Vec::new(), Vec::new());
    for port in service.ports.iter().filter(|port| !http_only || port.protocol.is_http()) {
        match &port.target {
            Target::Number(number) if !numbers.contains(number) => numbers.push(*number),
            Target::Number(_) => {}
            Target::Name(name) => names.push(name.as_str()),
        }
    }
    (numbers, names)
}

/// May a workload have both sets of labels?
fn compatible(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> bool {
    one.iter().all(|(key, value)| other.get(key).is_none_or(|of_other| of_other == value))
}

/// AuthorizationPolicies that decide something, and may be for workloads of a service.
fn beside<'w>(world: &'w World, service: &Service) -> impl Iterator<Item = &'w AuthorizationPolicy> {
    let root = &world.settings.root_namespace;
    let labels = selector(service).cloned().unwrap_or_default();
    let near = |policy: &Document<AuthorizationPolicy>| {
        let selector = policy.spec().selector.as_ref();
        let decides = policy.spec().action != AccessAction::Audit
            && !AuthorizationPolicy::is_dry_run(&policy.resource.meta)
            && policy.spec().targets().next().is_none();
        decides && selector.is_none_or(|selector| compatible(&selector.match_labels, &labels))
    };
    world.authorization_policies.of([root, &service.namespace], near).into_iter().map(|policy| policy.spec())
}

/// A rule for these ports, whatever is done there.
fn at_ports(ports: &[u16]) -> AccessRule {
    let operation = AccessOperation { ports: texts(ports), ..AccessOperation::default() };
    AccessRule { to: Some(vec![AccessTo { operation }]), ..AccessRule::default() }
}

fn texts<T: ToString>(values: &[T]) -> Vec<Spanned<String>> {
    values.iter().map(|value| Spanned { value: value.to_string(), ..Spanned::default() }).collect()
}
