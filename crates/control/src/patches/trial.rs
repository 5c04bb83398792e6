//! Patches tried before they matter: each on a small configuration of every kind of resource, so that what our proxies do
//! not understand is said where the patch is written, when it is written.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::istio::{ApplyTo, FilterChainMatch, FilterMatch, ListenerMatch, ObjectMatch, PatchContext, PatchOperation};
use api::{Code, Problem, Resource};
use model::chain::ChainMatch;
use model::cluster::Discovery;
use model::http_proxy::{HttpFilter, RouteSource};
use model::listener::Inspect;
use model::route::{Action, Forward, PathMatch};
use model::{
    Address, Cluster, Config, Direction, FilterChain, HttpProxy, Listener, NetworkFilter, Route, RouteConfiguration,
    TcpProxy, VirtualHost,
};
use translate::{Node, World};

use super::change::text;
use super::patch::{Patch, compile, spec};
use super::place::{self, ISTIO, Side};
use super::{Patcher, apply};

/// As [`translate::check`], and what is wrong with EnvoyFilters.
pub fn check(world: &World) -> Vec<Problem> {
    let mut problems = translate::check(world);
    check_filters(world, &mut problems);
    problems
}

/// As [`translate::analyze`], and what is wrong with EnvoyFilters.
pub fn analyze(world: &World, resources: &[Arc<Resource>]) -> Vec<Problem> {
    let mut problems = translate::analyze(world, resources);
    let mut of_filters = Vec::new();
    check_filters(world, &mut of_filters);
    problems.extend(of_filters.into_iter().map(translate::by_code));
    problems
}

/// Patches that change nothing at any of these proxies, though their EnvoyFilters are for some of them.
pub fn check_live(world: &World, nodes: &[Node]) -> Vec<Problem> {
    let patcher = Patcher::default();
    let of_node = |node: &Node| {
        let outcomes = patcher.patch(world, node, &mut translate::translate(world, node), true);
        (world.envoy_filters_for(node), outcomes)
    };
    let live: Vec<_> = nodes.iter().map(of_node).collect();
    let mut problems = Vec::new();
    for filter in world.envoy_filters() {
        let is_for = |filters: &[&Arc<Resource>]| filters.iter().any(|it| Arc::ptr_eq(it, filter));
        let concerned: Vec<_> = live.iter().filter(|(filters, _)| is_for(filters)).map(|(_, made)| made).collect();
        if concerned.is_empty() {
            continue;
        }
        let key = filter.key();
        for patch in patcher.read(filter).iter().filter(|patch| is_tried(patch)) {
            let index = patch.index;
            let met = concerned.iter().any(|made| made.iter().any(|it| it.index == index && it.filter == key));
            if !met {
                let message =
                    format!("the patch changes nothing at the {} connected proxies that it is for", concerned.len());
                let problem = Problem::warning(message)
                    .code(Code::EnvoyFilterPatchChangesNothing)
                    .path(format!("spec.configPatches[{index}].match"))
                    .expected("a listener, route configuration or cluster that one of them has")
                    .hint("`halcyon proxy-config` shows the names");
                problems.push(filter.problem(problem, place_of(filter, index)));
            }
        }
    }
    problems
}

fn check_filters(world: &World, problems: &mut Vec<Problem>) {
    let all: Vec<(&Arc<Resource>, Vec<Result<Patch, _>>)> =
        world.envoy_filters().map(|filter| (filter, compile(filter))).collect();
    let values = all.iter().flat_map(|(_, patches)| patches).filter_map(|patch| patch.as_ref().ok()?.value.as_ref());
    let put_in: BTreeSet<String> = values.map(|value| text(value, "name")).collect();
    for (filter, patches) in &all {
        if spec(filter).is_some_and(|filter| !filter.target_refs.is_empty()) {
            let problem = Problem::warning("this is not enforced yet: the EnvoyFilter is for no proxy")
                .code(Code::NotEnforced)
                .path("spec.targetRefs")
                .expected("`workloadSelector`, or nothing");
            problems.push(filter.problem(problem, Default::default()));
        }
        for (index, patch) in patches.iter().enumerate() {
            let problem = match patch {
                Err((_, misfit)) => {
                    let at = if misfit.path == "." { String::new() } else { format!(".{}", misfit.path) };
                    let problem = Problem::error(format!("the value does not fit Envoy's schema: {}", misfit.problem));
                    Some(problem.path(format!("spec.configPatches[{index}].patch.value{at}")))
                }
                Ok(patch) => check_patch(patch, &patches[..index], &put_in),
            };
            problems.extend(problem.map(|problem| filter.problem(problem, place_of(filter, index))));
        }
    }
}

fn place_of(filter: &Resource, index: usize) -> api::yaml::Span {
    let written = spec(filter).and_then(|filter| filter.config_patches.get(index));
    let value = written.and_then(|patch| patch.patch.value.as_ref().map(|value| value.span));
    value.or_else(|| written.map(|patch| patch.apply_to.span)).unwrap_or_default()
}

/// What is wrong with a patch, if anything. Those before it may have put in what it asks for.
fn check_patch(
    patch: &Patch,
    before: &[Result<Patch, (usize, schema::Misfit)>],
    put_in: &BTreeSet<String>,
) -> Option<Problem> {
    let path = |below: &str| format!("spec.configPatches[{}]{below}", patch.index);
    let not_enforced = |why: &str, below: &str| {
        Some(Problem::warning(format!("this is not enforced: {why}")).code(Code::NotEnforced).path(path(below)))
    };
    match patch.apply_to {
        ApplyTo::Bootstrap => return not_enforced("what a proxy starts with is said by its command line", ".applyTo"),
        ApplyTo::ExtensionConfig => {
            return not_enforced("no filter here fetches its configuration; put the filter itself in", ".applyTo");
        }
        _ => {}
    }
    let matches = &patch.matches;
    if matches.waypoint.is_some() || matches.context == PatchContext::Waypoint {
        return not_enforced("there are no waypoints", ".match");
    }
    if matches.proxy.as_ref().is_some_and(|proxy| !proxy.metadata.is_empty()) {
        return not_enforced("our proxies tell no such metadata, so the patch holds at none", ".match.proxy.metadata");
    }
    if !place::holds_at_version(patch) {
        let why = format!("`proxyVersion` leaves out {ISTIO}, the version of Istio whose interface this is");
        return not_enforced(&why, ".match.proxy.proxyVersion");
    }
    let earlier = before.iter().filter_map(|patch| patch.as_ref().ok()).filter(|patch| puts_in(patch));
    let mut tried: Vec<Patch> = earlier.chain([patch]).map(relaxed).collect();
    tried.sort_by_key(Patch::phase);
    let outcomes = apply(&tried.iter().collect::<Vec<_>>(), &Side::default(), &mut small(), true);
    let mut own = outcomes.iter().filter(|outcome| outcome.index == patch.index).peekable();
    if own.peek().is_none() {
        let anchor = place::http_filter(patch).or(place::network_filter(patch)).or(place::listener_filter(patch))?;
        if put_in.contains(anchor) {
            return None;
        }
        let problem =
            Problem::warning(format!("no filter called `{anchor}` stands in our chains, so the patch changes nothing"));
        return Some(
            problem.code(Code::EnvoyFilterPatchChangesNothing).path(path(".match.listener")).expected(ANCHORS),
        );
    }
    let error = own.find_map(|outcome| outcome.refused.as_ref())?;
    let mut problem = Problem::warning(format!("the patch is left out: {} {}", error.path, error.problem))
        .code(Code::NotEnforced)
        .path(path(".patch.value"))
        .expected(error.expected.clone());
    if let Some(hint) = instead_of(patch) {
        problem = problem.hint(hint);
    }
    Some(problem)
}

const ANCHORS: &str = "envoy.filters.network.http_connection_manager or envoy.filters.network.tcp_proxy, and within the first \
                       envoy.filters.http.fault, envoy.filters.http.cors or envoy.filters.http.router";

/// Is it one that holds at proxies at all?
fn is_tried(patch: &Patch) -> bool {
    let matches = &patch.matches;
    let elsewhere = matches.waypoint.is_some() || matches.context == PatchContext::Waypoint || matches.proxy.is_some();
    !elsewhere && !matches!(patch.apply_to, ApplyTo::Bootstrap | ApplyTo::ExtensionConfig | ApplyTo::Invalid)
}

fn puts_in(patch: &Patch) -> bool {
    use PatchOperation::{Add, InsertAfter, InsertBefore, InsertFirst};
    matches!(patch.operation, Add | InsertAfter | InsertBefore | InsertFirst)
}

/// How people say it here in place of a patch.
fn instead_of(patch: &Patch) -> Option<&'static str> {
    let config =
        patch.value.as_ref()?.get_field_by_name("typed_config")?.as_message().map(|any| text(any, "type_url"))?;
    let name = config.rsplit('/').next()?;
    INSTEAD.iter().find(|(of, _)| *of == name).map(|(_, hint)| *hint)
}

const INSTEAD: [(&str, &str); 2] = [
    ("envoy.extensions.filters.http.rbac.v3.RBAC", "who may call whom is said by an AuthorizationPolicy"),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "tokens are checked as a RequestAuthentication says",
    ),
];

/// The patch on any resource of its kind that has the filter which it asks for.
fn relaxed(patch: &Patch) -> Patch {
    let listener = patch.matches.listener.as_ref().map(|asked| ListenerMatch {
        listener_filter: asked.listener_filter.clone(),
        filter_chain: asked.filter_chain.as_ref().map(|chain| FilterChainMatch {
            filter: chain
                .filter
                .as_ref()
                .map(|filter| FilterMatch { name: filter.name.clone(), sub_filter: filter.sub_filter.clone() }),
            ..FilterChainMatch::default()
        }),
        ..ListenerMatch::default()
    });
    Patch { matches: ObjectMatch { listener, ..ObjectMatch::default() }, ..patch.clone() }
}

/// A configuration with one resource of each kind.
fn small() -> Config {
    const NAME: &str = "outbound|80||trial";
    let route = Route {
        name: "default".into(),
        ..Route::new(PathMatch::Prefix("/".into()), Action::Forward(Box::new(Forward::to(NAME))))
    };
    let host = VirtualHost {
        name: "trial:80".into(),
        domains: vec!["trial".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    let table = RouteSource::Inline(Arc::new(RouteConfiguration::new("80", vec![host])));
    let http = HttpProxy { filters: vec![HttpFilter::Fault(None), HttpFilter::Cors], ..HttpProxy::new("trial", table) };
    let chain = |name: &str, port, filter| FilterChain {
        matches: ChainMatch { destination_port: Some(port), ..ChainMatch::default() },
        ..FilterChain::new(name, filter)
    };
    let listener = Listener {
        name: "0.0.0.0_80".into(),
        address: Address::socket(([0, 0, 0, 0], 80).into()),
        bind: true,
        use_original_destination: false,
        direction: Direction::Outbound,
        inspect: Inspect { tls: true, http: true, original_destination: true, ..Inspect::default() },
        chains: vec![
            chain("http", 80, NetworkFilter::Http(Box::new(http))),
            chain("tcp", 81, NetworkFilter::Tcp(TcpProxy::to(NAME))),
        ],
        default_chain: None,
        access_logs: Vec::new(),
        buffer_limit: None,
        ignores_common_limit: false,
    };
    let mut config = Config::default();
    config.listeners.insert(listener.name.clone(), Arc::new(listener));
    config.clusters.insert(NAME.into(), Arc::new(Cluster::new(NAME, Discovery::Eds(NAME.into()))));
    config
}
