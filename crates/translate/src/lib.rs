//! The heart of the control plane: all resources at one version and one node in, the configuration of its proxy out.
//!
//! Pure: no I/O, no clock, no chance; it does not know the wire nor where resources come from. [`World`] is everything at
//! one version; [`translate`] makes a proxy's configuration of it; [`check`] says what in it cannot work, with the place
//! where the user wrote it.

mod check;
mod clusters;
mod gateway;
mod inbound;
mod names;
mod node;
mod outbound;
mod peer_authentication;
mod policy;
mod protocol;
mod routes;
mod scope;
mod secrets;
mod servers;
pub mod service;
mod settings;
pub mod vips;
pub mod workload;
mod world;

use std::sync::Arc;

use model::{Config, NameTable};

pub use check::check;
pub use node::{Capture, InboundPort, LocalUpstream, Node, Role};
pub use peer_authentication::Mode;
pub use protocol::Protocol;
use service::Service;
pub use settings::{MeshSettings, OutboundPolicy};
pub use workload::Workload;
pub use world::{Inputs, World};

/// The configuration of one proxy.
pub fn translate(world: &World, node: &Node) -> Config {
    let mut config = Config::default();
    clusters::add_unknown(&mut config);
    let visible = world.visible(node);
    for service in &visible {
        clusters::add_service(&mut config, world, node, service);
    }
    match &node.role {
        Role::Sidecar { ports, capture } => {
            for port in ports {
                inbound::add(&mut config, world, node, port);
            }
            match capture {
                Capture::Redirect { netns, outbound } => {
                    outbound::add_captured(&mut config, world, node, &visible, netns, outbound);
                    add_names(&mut config, world, node, &visible);
                }
                Capture::Upstreams(upstreams) => outbound::add_upstreams(&mut config, world, node, &visible, upstreams),
            }
        }
        Role::Gateway { bind, ports } => gateway::add(&mut config, world, node, *bind, ports),
    }
    secrets::add(&mut config, world, node);
    config
}

/// The names that the program may ask for: every form of every visible service's host.
fn add_names(config: &mut Config, world: &World, node: &Node, visible: &[&Arc<Service>]) {
    let mut table = NameTable::default();
    for service in visible {
        for form in names::short_forms(&service.host, &node.namespace, &world.settings.dns_domain) {
            if !service.addresses.is_empty() {
                table.names.entry(form).or_insert_with(|| service.addresses.clone());
            }
        }
    }
    config.names.insert(NameTable::RESOURCE.into(), Arc::new(table));
}
