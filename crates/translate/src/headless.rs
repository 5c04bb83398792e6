//! Headless services: they have no address of their own, so clients are told those of the workloads, and each reaches the
//! one that it dialled.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::{Config, NameTable};

use crate::names;
use crate::node::{Capture, Node, Role};
use crate::service::{Headless, Service};
use crate::workload::Workload;
use crate::world::World;

/// What the address that a program dialled has to do with the choice of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialled {
    /// Nothing.
    Ignored,
    /// It comes first if it is an endpoint's; otherwise one is chosen, as where a rule sends requests for another host here.
    Preferred,
    /// It is the endpoint, whatever it is: for proxies that know no better (Istio's way).
    Only,
}

impl Dialled {
    /// As `node` reaches a service. Where connections are not captured, what is dialled is a socket of the proxy itself.
    pub fn of(node: &Node, service: &Service) -> Self {
        match &node.role {
            Role::Sidecar { capture: Capture::Redirect { .. }, .. } if service.headless.is_some() => {
                if node.ours {
                    Self::Preferred
                } else {
                    Self::Only
                }
            }
            _ => Self::Ignored,
        }
    }
}

/// The addresses at which captured connections are meant for this service: its own, or those of its workloads, ready or not.
pub fn dialled_addresses(world: &World, service: &Service) -> BTreeSet<IpAddr> {
    let own = service.addresses.iter().copied();
    let members = service.headless.iter().flat_map(|_| members(world, service)).map(|member| member.address);
    own.chain(members).collect()
}

/// Adds the names of a headless service that DNS answers, as a table of its own: its host leads to all of its workloads that
/// are ready, and each of them has its own name below it.
pub fn add_names(config: &mut Config, world: &World, node: &Node, service: &Service) {
    let Some(Headless { unready }) = service.headless else { return };
    let found: Vec<Member<'_>> = members(world, service).filter(|member| member.ready || unready).collect();
    let all: BTreeSet<IpAddr> = found.iter().map(|member| member.address).collect();
    let mut table = BTreeMap::new();
    for form in names::short_forms(&service.host, &node.namespace, &world.settings.dns_domain) {
        for member in &found {
            if let Some(name) = member.name {
                table.insert(format!("{}.{form}", name.to_ascii_lowercase()), vec![member.address]);
            }
        }
        table.insert(form, all.iter().copied().collect());
    }
    config.names.insert(service.host.clone(), Arc::new(NameTable { names: table, limit: None }));
}

/// A workload of a headless service.
struct Member<'a> {
    /// None for what is written down by its address.
    name: Option<&'a str>,
    address: IpAddr,
    ready: bool,
}

fn members<'a>(world: &'a World, service: &'a Service) -> impl Iterator<Item = Member<'a>> {
    let running = world.workloads_of(service).map(|workload| Member {
        name: Some(&workload.name),
        address: workload.address,
        ready: is_ready(world, service, workload),
    });
    let written = world.entries_of(service).iter().filter_map(|entry| entry.address.parse().ok());
    running.chain(written.map(|address| Member { name: None, address, ready: true }))
}

/// A workload that waits does so at all of its doors.
fn is_ready(world: &World, service: &Service, workload: &Workload) -> bool {
    let by_service = service.ports.iter().filter_map(|port| port.endpoint(workload)?.address.socket_addr());
    let own = workload.ports.values().map(|port| SocketAddr::new(workload.address, *port));
    !by_service.chain(own).any(|door| world.withholds(&door))
}
