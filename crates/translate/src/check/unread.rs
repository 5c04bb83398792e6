//! What translation does not read, as far as analysis has something to say of it: selectors that take nobody, claims of
//! tokens that nobody reads, patches of EnvoyFilters that do not take.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::istio::{ApplyTo, EnvoyFilter, PatchOperation};
use api::{Code, Kind, Problem, Resource};

use super::selection::pairs;
use crate::service::selected;
use crate::world::{Document, World};

pub fn check(world: &World, resources: &[Arc<Resource>], problems: &mut Vec<Problem>) {
    check_selectors(world, resources, problems);
    check_telemetries(world, resources, problems);
    check_claims(world, resources, problems);
    world.envoy_filters.iter().for_each(|filter| check_patches(filter, problems));
}

/// The labels that a document selects by.
fn selector(resource: &Resource) -> BTreeMap<String, String> {
    resource.texts_at("/spec/selector/matchLabels")
}

/// Namespaces in which a document's selector takes workloads: every one for documents of the root namespace.
fn takes_nobody(world: &World, resource: &Resource, labels: &BTreeMap<String, String>) -> bool {
    let of_root = resource.namespace() == world.settings.root_namespace;
    let namespaces: Vec<&str> = if of_root { world.namespaces() } else { vec![resource.namespace()] };
    let mut all = namespaces.iter().flat_map(|namespace| world.described(namespace).chain(world.running(namespace)));
    !all.any(|own| selected(labels, own))
}

fn check_selectors(world: &World, resources: &[Arc<Resource>], problems: &mut Vec<Problem>) {
    const KINDS: [Kind; 4] =
        [Kind::RequestAuthentication, Kind::PeerAuthentication, Kind::WasmPlugin, Kind::TrafficExtension];
    for resource in resources.iter().filter(|resource| KINDS.contains(&resource.kind)) {
        let labels = selector(resource);
        let by_target = resource.has("/spec/targetRef") || resource.has("/spec/targetRefs");
        if !by_target && takes_nobody(world, resource, &labels) {
            let message = match labels.is_empty() {
                true => format!("there is no workload in the namespace `{}`", resource.namespace()),
                false => format!("no workload has {}", pairs(&labels)),
            };
            let problem = Problem::warning(message)
                .code(Code::NoMatchingWorkloadsFound)
                .path(if labels.is_empty() { "metadata.namespace" } else { "spec.selector.matchLabels" })
                .hint("it has no effect until there is one");
            problems.push(resource.problem(problem, Default::default()));
        }
    }
}

/// Of the Telemetries of a namespace one has no selector, and each workload is selected by one.
fn check_telemetries(world: &World, resources: &[Arc<Resource>], problems: &mut Vec<Problem>) {
    let all: Vec<(&Arc<Resource>, BTreeMap<String, String>)> =
        resources.iter().filter(|r| r.kind == Kind::Telemetry).map(|r| (r, selector(r))).collect();
    for (resource, labels) in &all {
        let together = |own: &BTreeMap<String, String>| {
            let mut workloads = world.described(resource.namespace()).chain(world.running(resource.namespace()));
            workloads.any(|workload| selected(labels, workload) && selected(own, workload))
        };
        let rivals: Vec<String> = all
            .iter()
            .filter(|(other, _)| other.namespace() == resource.namespace() && other.key() != resource.key())
            .filter(|(_, own)| own.is_empty() == labels.is_empty() && (labels.is_empty() || together(own)))
            .map(|(other, _)| format!("`{}` ({})", other.key(), other.origin))
            .collect();
        if !rivals.is_empty() {
            let (what, code) = match labels.is_empty() {
                true => ("have no selector either", Code::MultipleTelemetriesWithoutWorkloadSelectors),
                false => ("select the same workloads", Code::ConflictingTelemetryWorkloadSelectors),
            };
            let problem = Problem::warning(format!("other Telemetries {what}: {}", rivals.join(", ")));
            let problem = problem.code(code).hint("put them into one document");
            problems.push(resource.problem(problem, Default::default()));
        }
    }
}

/// Claims are those of tokens that a RequestAuthentication reads at the gateway.
fn check_claims(world: &World, resources: &[Arc<Resource>], problems: &mut Vec<Problem>) {
    let readers: Vec<&Arc<Resource>> = resources.iter().filter(|r| r.kind == Kind::RequestAuthentication).collect();
    for rule in world.virtual_services.iter() {
        let conditions = rule.spec().http.iter().enumerate();
        let mut claims = conditions.flat_map(|(i, http)| {
            let names = http.match_.iter().flat_map(|m| m.headers.keys().chain(m.without_headers.keys()));
            names
                .filter(|name| name.starts_with("@request.auth.claims") || name.starts_with("[@request.auth.claims]"))
                .map(move |n| (i, n))
        });
        let Some((i, claim)) = claims.next() else { continue };
        for name in rule.spec().gateways.iter().filter(|name| name.value != "mesh") {
            let Some(gateway) = world.gateway_named(&name.value, rule.namespace()) else { continue };
            let reads = |reader: &&&Arc<Resource>| {
                let near =
                    reader.namespace() == gateway.namespace() || reader.namespace() == world.settings.root_namespace;
                near && selected(&selector(reader), &gateway.spec().selector)
            };
            if readers.iter().find(reads).is_none() {
                let message = format!(
                    "the rule asks for the claim `{claim}`, and no RequestAuthentication reads tokens at `{}`",
                    gateway.full_name()
                );
                let problem = Problem::warning(message)
                    .code(Code::JwtClaimBasedRoutingWithoutRequestAuthN)
                    .path(format!("spec.http[{i}].match"))
                    .expected(format!("a RequestAuthentication that selects {}", pairs(&gateway.spec().selector)))
                    .hint("the rule never matches");
                problems.push(rule.resource.problem(problem, name.span));
            }
        }
    }
}

/// Patches that do nothing, or only for as long as others stand where they do (Istio's rules).
fn check_patches(filter: &Document<EnvoyFilter>, problems: &mut Vec<Problem>) {
    let has_priority = filter.spec().priority != 0;
    let mut of_version: Vec<&str> = Vec::new();
    for (i, written) in filter.spec().config_patches.iter().enumerate() {
        use PatchOperation::{Add, InsertAfter, InsertBefore, Remove, Replace};
        let (place, operation) = (written.apply_to.value, written.patch.operation.value);
        let name =
            written.patch.value.as_ref().and_then(|value| value.value.0.get("name")?.as_str()).unwrap_or_default();
        let on_routes = matches!(place, ApplyTo::RouteConfiguration | ApplyTo::HttpRoute);
        let replaceable = matches!(place, ApplyTo::HttpFilter | ApplyTo::NetworkFilter | ApplyTo::VirtualHost);
        let code = match operation {
            Add if on_routes => Some(Code::EnvoyFilterUsesAddOperationIncorrectly),
            Remove if on_routes => Some(Code::EnvoyFilterUsesRemoveOperationIncorrectly),
            Replace if !replaceable => Some(Code::EnvoyFilterUsesReplaceOperationIncorrectly),
            InsertBefore | InsertAfter | Replace | Remove if has_priority => None,
            InsertBefore | InsertAfter | Replace | Remove if of_version.contains(&name) => {
                Some(Code::EnvoyFilterUsesRelativeOperationWithProxyVersion)
            }
            InsertBefore | InsertAfter | Replace | Remove => Some(Code::EnvoyFilterUsesRelativeOperation),
            _ => None,
        };
        if let Some(code) = code {
            let problem = Problem::warning(format!("{} on {}: {}", operation.as_str(), place.as_str(), code.summary()))
                .code(code)
                .path(format!("spec.configPatches[{i}].patch.operation"));
            problems.push(filter.resource.problem(problem, Default::default()));
        }
        let proxy = written.matches.as_ref().and_then(|matches| matches.proxy.as_ref());
        if proxy.is_some_and(|proxy| !proxy.proxy_version.is_empty()) {
            of_version.push(name);
        }
    }
}
