//! Selectors and subsets that take no workload, of those that run and those that Deployments, Pods and WorkloadEntries
//! describe.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::istio::Sidecar;
use api::{Code, Problem};

use crate::names::complete_host;
use crate::service::{Backing, Service, Target, selected};
use crate::world::{Document, World};

type Labels = BTreeMap<String, String>;

/// `whole`: also of what is in nobody's way, such as a subset that no rule names.
pub fn check(world: &World, whole: bool, problems: &mut Vec<Problem>) {
    check_subsets(world, whole, problems);
    check_sidecars(world, problems);
}

/// A subset that takes none of its host's workloads answers 503. Of a host without any workload there is less to say: they
/// may be started yet.
fn check_subsets(world: &World, whole: bool, problems: &mut Vec<Problem>) {
    for rule in world.destination_rules.iter().filter(|rule| !rule.spec().subsets.is_empty()) {
        let pattern = world.host_pattern(&rule.spec().host.value, rule.namespace());
        let Some(service) = pattern.and_then(|pattern| world.service_named(&pattern.to_string())) else { continue };
        let members = labels_of(world, service);
        if members.is_empty() && !(whole && matches!(service.backing, Backing::Workloads(_))) {
            continue;
        }
        for (i, subset) in rule.spec().subsets.iter().enumerate() {
            let is_named = || whole || is_named(world, service, &subset.name);
            if members.iter().any(|labels| selected(&subset.labels, labels)) || !is_named() {
                continue;
            }
            let wanted = pairs(&subset.labels);
            let problem =
                Problem::warning(format!("the subset `{}` selects no workload of `{}`", subset.name, service.host))
                    .code(Code::DestinationRuleSubsetNotSelectPods)
                    .path(format!("spec.subsets[{i}].labels"))
                    .expected(format!("a workload with {wanted}; {}", nearest(&subset.labels, &members)))
                    .hint("requests sent to it are answered 503 (flag UH)");
            problems.push(rule.resource.problem(problem, subset.name.span));
        }
    }
}

/// Does a rule send anything to this subset?
fn is_named(world: &World, service: &Service, subset: &str) -> bool {
    world.virtual_services.iter().any(|rule| {
        let spec = rule.spec();
        let http = spec.http.iter().flat_map(|http| {
            let mirrors = http.mirror.iter().chain(http.mirrors.iter().map(|mirror| &mirror.destination));
            http.route.iter().map(|to| &to.destination).chain(mirrors)
        });
        let raw = spec.tcp.iter().map(|tcp| &tcp.route).chain(spec.tls.iter().map(|tls| &tls.route)).flatten();
        let mut all = http.chain(raw.map(|to| &to.destination)).filter(|to| to.subset.value == subset);
        all.any(|to| complete_host(&to.host.value, rule.namespace(), &world.settings.dns_domain) == *service.host)
    })
}

/// The labels of a service's workloads, running or described.
pub fn labels_of<'a>(world: &'a World, service: &'a Service) -> Vec<&'a Labels> {
    match &service.backing {
        Backing::Workloads(selector) => {
            let of_service = |labels: &&Labels| !selector.is_empty() && selected(selector, labels);
            let running = world.workloads_of(service).map(|workload| &workload.labels);
            running.chain(world.described(&service.namespace).filter(of_service)).collect()
        }
        Backing::Fixed(endpoints) | Backing::Dns(endpoints, _) => {
            endpoints.iter().map(|e| &e.labels).filter(|labels| !labels.is_empty()).collect()
        }
        Backing::Passthrough | Backing::Named => Vec::new(),
    }
}

/// The workloads of a service, running or described, by their labels and accounts, each kind once.
pub fn members_of<'a>(world: &'a World, service: &'a Service) -> BTreeSet<(&'a Labels, Option<&'a str>)> {
    match &service.backing {
        Backing::Workloads(selector) => {
            let of_service = |(labels, _): &(&Labels, &str)| !selector.is_empty() && selected(selector, labels);
            let running = world.workloads_of(service).map(|w| (&w.labels, w.service_account.as_str()));
            let described = world.described_accounts(&service.namespace).filter(of_service);
            running.chain(described).map(|(labels, account)| (labels, Some(account))).collect()
        }
        Backing::Fixed(endpoints) | Backing::Dns(endpoints, _) => {
            let described = endpoints.iter().filter(|endpoint| !endpoint.labels.is_empty());
            described.map(|endpoint| (&endpoint.labels, endpoint.service_account.as_deref())).collect()
        }
        Backing::Passthrough | Backing::Named => BTreeSet::new(),
    }
}

/// The hosts of the services that lead to a port of workloads that a service has, by name.
pub fn services_at(world: &World, service: &Service, labels: &Labels, port: u16) -> Vec<Arc<str>> {
    let leads = |other: &&Arc<Service>| {
        let selects = match &other.backing {
            Backing::Workloads(selector) => !selector.is_empty() && selected(selector, labels),
            _ => false,
        };
        let is_there = other.ports.iter().any(|at| at.target == Target::Number(port));
        other.host == service.host || other.namespace == service.namespace && selects && is_there
    };
    world.services().filter(leads).map(|service| service.host.clone()).collect()
}

/// What the labels that a subset asks for look like on the workloads that there are.
fn nearest(wanted: &Labels, members: &[&Labels]) -> String {
    let key = wanted.iter().find(|(key, value)| !members.iter().any(|labels| labels.get(*key) == Some(value)));
    let Some((key, _)) = key else { return "no workload has all of these".to_owned() };
    let values: BTreeSet<&str> = members.iter().filter_map(|labels| labels.get(key)).map(String::as_str).collect();
    match values.is_empty() {
        true => format!("its workloads have no label `{key}`"),
        false => format!("its workloads have `{key}` {}", values.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

/// A Sidecar's selector takes workloads of its namespace; one workload belongs to one Sidecar.
fn check_sidecars(world: &World, problems: &mut Vec<Problem>) {
    let selectors: Vec<(&Document<Sidecar>, &Labels)> = world
        .sidecars
        .iter()
        .filter_map(|sidecar| Some((sidecar, &sidecar.spec().workload_selector.as_ref()?.labels)))
        .filter(|(_, labels)| !labels.is_empty())
        .collect();
    for (sidecar, labels) in &selectors {
        let all: Vec<&Labels> =
            world.described(sidecar.namespace()).chain(world.running(sidecar.namespace())).collect();
        let taken: Vec<&&Labels> = all.iter().filter(|own| selected(labels, own)).collect();
        if taken.is_empty() && !all.is_empty() {
            let message = format!("no workload of the namespace `{}` has {}", sidecar.namespace(), pairs(labels));
            let problem = Problem::warning(message)
                .code(Code::ReferencedResourceNotFound)
                .path("spec.workloadSelector.labels")
                .hint("this Sidecar has no effect until there is one");
            problems.push(sidecar.resource.problem(problem, Default::default()));
        }
        let rivals: Vec<String> = selectors
            .iter()
            .filter(|(other, _)| other.namespace() == sidecar.namespace() && other.name() != sidecar.name())
            .filter(|(_, others)| taken.iter().any(|own| selected(others, own)))
            .map(|(other, _)| format!("`{}` ({})", other.resource.key(), other.resource.origin))
            .collect();
        if !rivals.is_empty() {
            let problem = Problem::warning(format!("other Sidecars select the same workloads: {}", rivals.join(", ")))
                .code(Code::ConflictingSidecarWorkloadSelectors)
                .path("spec.workloadSelector.labels")
                .hint("the oldest of them counts; give each workload one Sidecar");
            problems.push(sidecar.resource.problem(problem, Default::default()));
        }
    }
}

/// Who runs or is described, by namespace; labels that many have stand there once.
pub struct Inhabitants<'w> {
    world: &'w World,
    by_namespace: BTreeMap<&'w str, BTreeSet<&'w Labels>>,
}

impl<'w> Inhabitants<'w> {
    /// Looks at all of them.
    pub fn of(world: &'w World) -> Self {
        let mut by_namespace = BTreeMap::<&str, BTreeSet<&Labels>>::new();
        for (namespace, labels) in world.inhabitants() {
            by_namespace.entry(namespace).or_default().insert(labels);
        }
        Self { world, by_namespace }
    }

    /// The selector of a policy takes nobody, of those in its namespace, or in all if that is the root's. `whole`: also if
    /// nobody is there at all.
    pub fn selects_nobody(&self, namespace: &str, labels: Option<&Labels>, whole: bool) -> Option<Problem> {
        let of_root = namespace == self.world.settings.root_namespace;
        let near = self
            .by_namespace
            .iter()
            .filter(|_| of_root)
            .chain(self.by_namespace.get_key_value(namespace).filter(|_| !of_root));
        let mut all = near.flat_map(|(_, labels)| labels).peekable();
        let none = Labels::new();
        let labels = labels.unwrap_or(&none);
        if all.peek().is_none() && !whole || all.any(|own| selected(labels, own)) {
            return None;
        }
        // Gateways are started beside what is described; a policy for one names it by the same labels as a Gateway.
        if self.world.gateways.iter().any(|gateway| selected(labels, &gateway.spec().selector)) {
            return None;
        }
        let (message, path) = match labels.is_empty() {
            true if whole => (format!("there is no workload in the namespace `{namespace}`"), "metadata.namespace"),
            true => return None,
            false => (format!("no workload has {}", pairs(labels)), "spec.selector.matchLabels"),
        };
        let problem = Problem::warning(message).code(Code::NoMatchingWorkloadsFound).path(path);
        Some(problem.hint("it has no effect until there is one"))
    }
}

/// `app=reviews, version=v9`
pub fn pairs(labels: &Labels) -> String {
    labels.iter().map(|(key, value)| format!("`{key}={value}`")).collect::<Vec<_>>().join(", ")
}
