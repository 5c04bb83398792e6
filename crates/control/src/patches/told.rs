//! Patches as `explain` tells of them: which change what a request meets, in the order in which they are applied, and why
//! the others do not.

use std::sync::Arc;

use api::Resource;
use api::istio::{ApplyTo, PatchContext};
use model::ResourceKind;
use translate::{Node, Role, World};

use super::patch::{Patch, compile, spec};
use super::place::{self, ISTIO};
use super::{Outcome, Patcher};
use crate::v1::{ExplainedStep, PassedOver};

/// The EnvoyFilters that could concern a request that meets these resources of a proxy's configuration; none if there are
/// none that the proxy's namespace or the root namespace has.
pub fn told(world: &World, node: &Node, met: &[(ResourceKind, Arc<str>)]) -> Option<ExplainedStep> {
    let node = Node { on_demand: false, ..node.clone() };
    let is_near = |filter: &&Arc<Resource>| {
        let namespace = filter.key().namespace.unwrap_or_default();
        namespace == node.namespace || namespace == world.settings.root_namespace
    };
    let near: Vec<&Arc<Resource>> = world.envoy_filters().filter(is_near).collect();
    if near.is_empty() || node.role == Role::Program {
        return None;
    }
    let own = world.envoy_filters_for(&node);
    let outcomes = Patcher::default().patch(world, &node, &mut translate::translate(world, &node), true);
    let mut patches: Vec<(&Arc<Resource>, Patch)> = own.iter().copied().flat_map(read).collect();
    patches.sort_by_key(|(_, patch)| patch.phase());
    let mut step = ExplainedStep { stage: "patches".to_owned(), ..ExplainedStep::default() };
    for (filter, patch) in &patches {
        match fate(patch, &outcomes, met) {
            Ok(changed) => step.facts.push(format!("{} changes {changed}", title(filter, patch))),
            Err(reason) => step.others.push(PassedOver { name: title(filter, patch), reason }),
        }
    }
    for filter in near.into_iter().filter(|filter| !own.iter().any(|it| Arc::ptr_eq(it, filter))) {
        let reason = not_for(filter).to_owned();
        step.others.push(PassedOver { name: format!("{} ({})", filter.key(), filter.origin), reason });
    }
    step.name = match step.facts.len() {
        0 => "none changes what the request meets".to_owned(),
        count => format!("{count} of EnvoyFilters, in this order; the steps above are those without them"),
    };
    Some(step)
}

fn read(filter: &Arc<Resource>) -> impl Iterator<Item = (&Arc<Resource>, Patch)> {
    // What does not fit the schema was refused when it was applied.
    compile(filter).into_iter().filter_map(Result::ok).map(move |patch| (filter, patch))
}

/// `EnvoyFilter/a/f (f.yaml:3) spec.configPatches[0] (CLUSTER MERGE)`
fn title(filter: &Resource, patch: &Patch) -> String {
    let (place, operation) = (patch.apply_to.as_str(), patch.operation.as_str());
    format!("{} ({}) spec.configPatches[{}] ({place} {operation})", filter.key(), filter.origin, patch.index)
}

/// What a patch changes of what is met, or why nothing.
fn fate(patch: &Patch, outcomes: &[Outcome], met: &[(ResourceKind, Arc<str>)]) -> Result<String, String> {
    let own: Vec<&Outcome> =
        outcomes.iter().filter(|it| it.index == patch.index && it.filter == patch.filter).collect();
    let is_met = |it: &&&Outcome| met.iter().any(|(kind, name)| *kind == it.kind && *name == it.name);
    let named = |list: &[&Outcome]| {
        let names: Vec<String> = list.iter().take(3).map(|it| format!("{} `{}`", noun(it.kind), it.name)).collect();
        let more = list.len().saturating_sub(3);
        names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    };
    let here: Vec<&Outcome> = own.iter().filter(is_met).copied().collect();
    if let Some((at, error)) = here.iter().find_map(|it| Some((it, it.refused.as_ref()?))) {
        let place = format!("{} `{}`", noun(at.kind), at.name);
        return Err(format!("left out at the {place}: {} {}; expected {}", error.path, error.problem, error.expected));
    }
    match (here.is_empty(), own.is_empty()) {
        (false, _) => Ok(format!("the {}", named(&here))),
        (true, false) => Err(format!("is for what the request does not meet: the {}", named(&own))),
        (true, true) => Err(nowhere(patch)),
    }
}

/// Why a patch changes nothing at all at the caller's proxy.
fn nowhere(patch: &Patch) -> String {
    let matches = &patch.matches;
    if matches!(patch.apply_to, ApplyTo::Bootstrap | ApplyTo::ExtensionConfig | ApplyTo::Invalid) {
        return format!("`applyTo: {}` has no effect here", patch.apply_to.as_str());
    }
    if !place::holds_at_version(patch) {
        return format!("`match.proxy.proxyVersion` leaves out {ISTIO}, the version of Istio whose interface this is");
    }
    if !place::holds(patch) {
        return "`match.proxy.metadata` asks for what our proxies do not tell".to_owned();
    }
    if matches.waypoint.is_some() || matches.context == PatchContext::Waypoint {
        return "there are no waypoints".to_owned();
    }
    format!("its `match` fits nothing that the caller's proxy has (context {})", matches.context.as_str())
}

/// Why an EnvoyFilter of a namespace that is looked at is for others.
fn not_for(filter: &Resource) -> &'static str {
    match spec(filter) {
        Some(filter) if !filter.target_refs.is_empty() => "`targetRefs` has no effect here: it is for no proxy",
        _ => "its `workloadSelector` selects others",
    }
}

fn noun(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Cluster => "cluster",
        ResourceKind::Listener => "listener",
        ResourceKind::Route => "routes",
        ResourceKind::VirtualHost => "virtual host",
        ResourceKind::Endpoints => "endpoints",
        ResourceKind::Secret => "secret",
        ResourceKind::Names => "names",
        ResourceKind::Runtime => "runtime",
    }
}
