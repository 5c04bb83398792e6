//! TrafficExtension and WasmPlugin: filters of users among those of the proxies that they select.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use api::istio::{
    ExtensionMatch, ExtensionPhase, FailStrategy, PluginType, TrafficExtension, VariableSource, WasmConfig,
};
use model::access::{Action, Compiled, Rules};
use model::extension::{Lua, Script, Wasm, WasmCode, WasmFailure};
use model::http_proxy::{HttpFilter, RouteSource};
use model::{Access, Address, Config, Direction, FilterChain, Listener, NetworkFilter};

use crate::node::{Node, Role};
use crate::service::selected;
use crate::world::{Document, World};

/// How long a module may take to come.
const FETCH: Duration = Duration::from_secs(30);

impl World {
    /// The extensions of a proxy in the order in which they stand within a phase: by priority, then by age.
    pub(crate) fn extensions<'a>(&'a self, node: &'a Node) -> Vec<&'a Document<TrafficExtension>> {
        let near = |namespace: &str| namespace == node.namespace || namespace == self.settings.root_namespace;
        // Those that name gateways of the Gateway API, or other targets, are for none of ours.
        let for_node = |spec: &TrafficExtension| {
            let labels = spec.selector.as_ref().map(|selector| &selector.match_labels);
            spec.target_refs.is_empty() && labels.is_none_or(|labels| selected(labels, &node.labels))
        };
        let mut all: Vec<_> = self.extensions.iter().filter(|it| near(it.namespace()) && for_node(it.spec())).collect();
        all.sort_by_key(|it| Reverse(it.spec().priority.unwrap_or_default()));
        all
    }
}

/// Puts the extensions of a proxy into its chains of HTTP.
pub(crate) fn add(config: &mut Config, world: &World, node: &Node) {
    let extensions = world.extensions(node);
    if extensions.is_empty() || node.role == Role::Program {
        return;
    }
    let filters: Vec<_> = extensions.iter().filter_map(|it| Some((it.spec(), filter(it, node.ours)?))).collect();
    for listener in config.listeners.values_mut() {
        let listener = Arc::make_mut(listener);
        let (direction, address) = (listener.direction, port(listener));
        for chain in listener.chains.iter_mut().chain(&mut listener.default_chain) {
            let port = port_of(chain).or(address);
            let of = |phase: &[ExtensionPhase]| {
                let taken = filters.iter().filter(|(spec, _)| {
                    phase.contains(&spec.phase) && takes(&spec.match_, direction != Direction::Inbound, port)
                });
                taken.map(|(_, filter)| filter.clone()).collect()
            };
            let phases = Phases {
                authn: of(&[ExtensionPhase::Authn]),
                authz: of(&[ExtensionPhase::Authz]),
                stats: [of(&[ExtensionPhase::Stats]), of(&[ExtensionPhase::Unspecified])].concat(),
            };
            if let NetworkFilter::Http(http) = &mut chain.filter {
                phases.insert(&mut http.filters, node, direction);
            }
        }
    }
}

/// Extensions by where they stand.
struct Phases {
    authn: Vec<HttpFilter>,
    authz: Vec<HttpFilter>,
    stats: Vec<HttpFilter>,
}

impl Phases {
    /// In Istio's order: who decides instead, `AUTHN`, tokens, `AUTHZ`, rules of access, `STATS` and those without a phase.
    fn insert(self, filters: &mut Vec<HttpFilter>, node: &Node, direction: Direction) {
        let is_sidecar = matches!(node.role, Role::Sidecar { .. });
        if is_sidecar && direction != Direction::Inbound {
            // What they make of a request is what an EgressPolicy decides on.
            filters.splice(0..0, self.authn.into_iter().chain(self.authz).chain(self.stats));
            return;
        }
        let behind = |wanted: fn(&HttpFilter) -> bool| filters.iter().rposition(wanted).map_or(0, |at| at + 1);
        let start = behind(|filter| {
            matches!(
                filter,
                HttpFilter::Geo(_)
                    | HttpFilter::Compressor(_)
                    | HttpFilter::GrpcWeb
                    | HttpFilter::OAuth2(_)
                    | HttpFilter::ExtAuthz(_)
            )
        });
        let tokens = behind(|filter| matches!(filter, HttpFilter::Jwt(_))).max(start);
        let rules = behind(|filter| matches!(filter, HttpFilter::Access(_))).max(tokens);
        filters.splice(rules..rules, self.stats);
        filters.splice(tokens..tokens, self.authz);
        filters.splice(start..start, self.authn);
    }
}

/// Does traffic of this side and to this port pass an extension?
fn takes(matches: &[ExtensionMatch], client: bool, port: Option<u16>) -> bool {
    let one = |it: &ExtensionMatch| {
        let to_port = it.ports.is_empty() || it.ports.iter().any(|wanted| Some(wanted.number) == port);
        it.mode.takes(client) && to_port
    };
    matches.is_empty() || matches.iter().any(one)
}

/// The port that a chain of requests leads to: that of the program, or that of the services.
fn port_of(chain: &FilterChain) -> Option<u16> {
    let NetworkFilter::Http(http) = &chain.filter else { return None };
    let name = match &http.routes {
        RouteSource::Rds(name) => name,
        RouteSource::Inline(table) => &table.name,
    };
    // `inbound|9080||`, `80`, `egress_80`
    name.split(['|', '_']).find_map(|part| part.parse().ok())
}

fn port(listener: &Listener) -> Option<u16> {
    match &listener.address {
        Address::Socket { addr, .. } => Some(addr.port()),
        _ => None,
    }
}

/// The filter of a document; none if it is no filter of requests.
fn filter(document: &Document<TrafficExtension>, ours: bool) -> Option<HttpFilter> {
    let name: Arc<str> = format!("{}.{}", document.namespace(), document.name()).into();
    let spec = document.spec();
    if let Some(script) = &spec.lua {
        return Some(HttpFilter::Lua(Arc::new(Lua {
            name: name.clone(),
            stat_prefix: "".into(),
            script: Some(Script::Text(script.inline_code.value.as_str().into())),
            named: Default::default(),
            reroutes: true,
            context: None,
        })));
    }
    let module = spec.wasm.as_ref().filter(|module| module.kind != PluginType::Network)?;
    let wasm = wasm(name, module);
    match wasm.code {
        // Envoy would have to know a cluster to fetch from. Where the module must not be missing, nobody passes.
        WasmCode::Remote { .. } if !ours => (wasm.failure != WasmFailure::Open).then(|| nobody(wasm.name)),
        _ => Some(HttpFilter::Wasm(Arc::new(wasm))),
    }
}

fn nobody(name: Arc<str>) -> HttpFilter {
    let rules = Rules { action: Action::Allow, policies: Vec::new() };
    HttpFilter::Access(Box::new(Access { name, rules: Some(Arc::new(Compiled::new(rules))), ..Access::default() }))
}

fn wasm(name: Arc<str>, module: &WasmConfig) -> Wasm {
    let configuration = module.plugin_config.as_ref().map(|tree| tree.0.to_string()).unwrap_or_default();
    let variables = || module.vm_config.iter().flat_map(|vm| &vm.env);
    let inline = variables().filter(|it| it.value_from == VariableSource::Inline);
    let host = variables().filter(|it| it.value_from == VariableSource::Host);
    Wasm {
        plugin: name.clone(),
        name,
        root_id: module.plugin_name.as_str().into(),
        vm_id: "".into(),
        code: code(module),
        configuration: configuration.into(),
        vm_configuration: Default::default(),
        environment: inline.map(|it| (it.name.as_str().into(), it.value.as_str().into())).collect(),
        host_environment: host.map(|it| it.name.as_str().into()).collect(),
        reads_while_paused: false,
        failure: match module.fail_strategy {
            FailStrategy::Close => WasmFailure::Closed,
            FailStrategy::Open => WasmFailure::Open,
            FailStrategy::Reload => WasmFailure::Reload,
        },
    }
}

/// Without a scheme it is an image; its digest is that of its manifest.
fn code(module: &WasmConfig) -> WasmCode {
    let (scheme, rest) = module.url.value.split_once("://").unwrap_or(("oci", &module.url.value));
    if scheme == "file" {
        return WasmCode::File(rest.into());
    }
    let digest = Some(module.sha256.as_str()).filter(|digest| !digest.is_empty());
    let (uri, sha256) = match scheme {
        "oci" if !rest.contains('@') => (digest.map(|it| format!("oci://{rest}@sha256:{it}")), None),
        "oci" => (None, None),
        _ => (None, digest.map(Arc::from)),
    };
    WasmCode::Remote { uri: uri.unwrap_or_else(|| format!("{scheme}://{rest}")).into(), sha256, timeout: FETCH }
}
