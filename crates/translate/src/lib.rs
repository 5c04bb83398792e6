//! The heart of the control plane: all resources at one version and one node in, the configuration of its proxy out.
//!
//! Pure: no I/O, no clock, no chance; it does not know the wire nor where resources come from. [`World`] is everything at
//! one version; [`translate`] makes a proxy's configuration of it; [`check`] says what in it cannot work, with the place
//! where the user wrote it. For many proxies and many versions there is a cheaper way to the same: what proxies have in
//! common is made once for each scope ([`common`], [`own`]), [`World::next`] makes a version from the one before, and its
//! [`Change`] says who is concerned.

pub mod access;
mod check;
mod clusters;
pub mod deciding;
mod direct;
mod edge;
mod egress;
pub mod explain;
mod extensions;
mod federation;
mod gateway;
mod headless;
mod inbound;
mod ingress;
pub mod inventory;
mod kin;
pub mod locality;
pub mod logins;
mod named;
mod names;
mod node;
mod outbound;
mod peer_authentication;
mod policy;
mod program;
mod protocol;
pub mod rate_limits;
mod raw;
pub mod reports;
mod routes;
mod scope;
mod secrets;
mod servers;
pub mod service;
mod settings;
mod start;
mod telemetries;
mod tokens;
mod tracing;
mod trust;
pub mod vips;
pub mod workload;
mod world;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use model::{Config, EndpointSet, NameTable};

pub use check::{analyze, by_code, check, check_selection};
pub use clusters::TRUST_BUNDLE;
pub use edge::{Compression, GatewayEdge, ProxySettings};
pub use federation::{BundleServer, Federation, FetchedBundle, FetchedBundles, HadBundle};
pub use ingress::IngressSettings;
pub use node::{Capture, InboundPort, LocalUpstream, Node, Role};
pub use peer_authentication::Mode;
pub use protocol::Protocol;
use service::Service;
pub use settings::{ExportTo, LimitServiceAt, MeshSettings, OutboundPolicy, istio_json};
pub use start::{StartSettings, Starting};
pub use trust::{further_roots, roots_of};
pub use workload::Workload;
pub use world::{Change, Edit, FetchedKeys, Inputs, KeySets, MeshTrust, World};

/// The configuration of one proxy: what it has in common with others, and its own.
pub fn translate(world: &World, node: &Node) -> Config {
    let Common { mut config, secrets, .. } = common(world, node);
    let own = own(world, node, &secrets);
    config.listeners.extend(own.listeners);
    config.routes.extend(own.routes);
    config.clusters.extend(own.clusters);
    config.endpoints.extend(own.endpoints);
    config.secrets.extend(own.secrets);
    config.limits.extend(own.limits);
    config
}

/// What proxies of one scope have in common.
#[derive(Debug, Default)]
pub struct Common {
    /// Clusters, endpoints, names, and listeners and routes for captured connections.
    pub config: Config,
    /// The services that they see.
    pub seen: BTreeSet<Arc<str>>,
    /// The secrets that this names. They belong to each proxy.
    pub secrets: Vec<Arc<str>>,
}

/// What a proxy has in common with all of its scope ([`World::scope`]), which may stand for it here.
pub fn common(world: &World, node: &Node) -> Common {
    let mut config = Config::default();
    let visible = world.visible(node);
    for service in &visible {
        clusters::add_service(&mut config, world, node, service);
    }
    match node.role {
        Role::Program => program::adapt(&mut config, world, node, &visible),
        _ => clusters::add_unknown(&mut config, world, node),
    }
    if let Some(egress) = world.egress(node) {
        egress.originate(&mut config);
        egress::add_cluster(&mut config, &egress);
    }
    if let Role::Sidecar { capture: Capture::Redirect { netns, outbound }, .. } = &node.role {
        outbound::add_captured(&mut config, world, node, &visible, netns, outbound);
        add_names(&mut config, world, node, &visible);
    }
    telemetries::count(&mut config, world, node);
    extensions::add(&mut config, world, node);
    let seen = visible.into_iter().map(|service| service.host.clone()).collect();
    let secrets = secrets::named(&config);
    Common { config, seen, secrets }
}

/// What is a proxy's own: its incoming side, what stands at its own addresses, the cluster of its own workload, and secrets,
/// also those of these names.
pub fn own(world: &World, node: &Node, secrets: &[Arc<str>]) -> Config {
    let mut config = Config::default();
    match &node.role {
        Role::Sidecar { ports, capture } => {
            for port in inbound::served(world, node, ports, capture) {
                inbound::add(&mut config, world, node, port);
            }
            match capture {
                Capture::Redirect { netns, outbound } => {
                    outbound::add_captures(&mut config, world, node, netns, outbound);
                }
                Capture::Upstreams(upstreams) => {
                    let visible = world.visible(node);
                    outbound::add_upstreams(&mut config, world, node, &visible, upstreams);
                    outbound::add_opened(&mut config, world, node, &visible);
                }
            }
        }
        Role::Program => {}
        Role::Gateway { bind, ports, edge } => {
            gateway::add(&mut config, world, node, (*bind, ports), edge);
        }
    }
    telemetries::count(&mut config, world, node);
    extensions::add(&mut config, world, node);
    kin::add(&mut config, world, node);
    if node.role != Role::Program {
        reports::add_service(&mut config, world);
        world.proxy_settings(node).limit(&mut config);
    }
    secrets::add(&mut config, world, node, secrets);
    config
}

/// The clusters of workloads that a proxy of ours asks for by the addresses that its program dialled
/// ([`model::cluster::of_workload`]). They belong to no service's policies, and nothing else names them.
pub fn workloads(world: &World, dialled: &BTreeSet<SocketAddr>) -> Config {
    let mut config = Config::default();
    direct::add(&mut config, world, dialled);
    config
}

/// The endpoint sets of one service, as a scope sees it; none if it does not.
pub fn endpoints(world: &World, scope: &Node, host: &str) -> Vec<Arc<EndpointSet>> {
    let Some(service) = world.service_named(host).and_then(|service| world.seen(service, scope)) else {
        return Vec::new();
    };
    let mut sets = clusters::endpoint_sets(world, scope, &service);
    if scope.role == Role::Program {
        sets.iter_mut().for_each(program::weigh);
    }
    sets.into_iter().map(Arc::new).collect()
}

/// The names that the program may ask for: every form of every visible service's host. Those of headless services, whose
/// addresses come and go, stand in tables of their own.
fn add_names(config: &mut Config, world: &World, node: &Node, visible: &[Arc<Service>]) {
    let mut table = NameTable::default();
    for service in visible {
        headless::add_names(config, world, node, service);
        for form in names::short_forms(&service.host, &node.namespace, &world.settings.dns_domain) {
            if !service.addresses.is_empty() {
                table.names.entry(form).or_insert_with(|| service.addresses.clone());
            }
        }
    }
    table.limit = world.egress(node).map(|egress| egress.limit());
    config.names.insert(NameTable::RESOURCE.into(), Arc::new(table));
}
