//! Calls to a workload's own address: a cluster for each that was dialled, with the mesh's mutual TLS and the identity of that
//! workload. No proxy is sent them unasked.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::cluster::{self, Balancing, Discovery, Transport, UpstreamProtocol};
use model::{Cluster, Config, Endpoint, EndpointSet, LocalityEndpoints};

use crate::clusters::{mesh_alpn, mesh_tls};
use crate::names;
use crate::node::{Capture, Node, Role};
use crate::policy::Pool;
use crate::protocol::Protocol;
use crate::workload::Workload;
use crate::world::World;

/// Where a machine's own workloads are.
const LOCAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 64, 0, 0), 10);

/// The block of addresses in which others of the mesh are to be expected. Blocks are wide, so that they hardly ever change:
/// every proxy is told of them.
pub fn block(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(ip) if LOCAL.contains(&ip) => LOCAL.into(),
        IpAddr::V4(ip) => Ipv4Net::new_assert(ip, 16).trunc().into(),
        IpAddr::V6(ip) => Ipv6Net::new_assert(ip, 48).trunc().into(),
    }
}

/// Where a proxy has to ask for the cluster of what its program dialled. Those that are sent everything unasked do not ask.
pub fn asked_for(world: &World, node: &Node) -> Vec<IpNet> {
    let captures = matches!(node.role, Role::Sidecar { capture: Capture::Redirect { .. }, .. });
    if captures && node.ours && node.on_demand && world.settings.auto_mtls { world.blocks() } else { Vec::new() }
}

/// Adds the clusters of those addresses at which a workload takes the mesh's TLS.
pub fn add(config: &mut Config, world: &World, dialled: &BTreeSet<SocketAddr>) {
    for cluster in dialled.iter().filter_map(|at| of_address(world, *at)) {
        config.clusters.insert(cluster.name.clone(), Arc::new(cluster));
    }
}

fn of_address(world: &World, at: SocketAddr) -> Option<Cluster> {
    if !world.settings.auto_mtls {
        return None;
    }
    let there = world.at(at.ip()).filter_map(|workload| Some((workload, program_port(workload, at.port())?)));
    let found: Vec<_> = there.filter(|(workload, target)| world.takes_mesh_tls(workload, *target)).collect();
    let (workload, target) = *found.first()?;
    let served = world.served_by(workload, target);
    let undeclared = || Protocol::declared(None, None, None, target);
    let protocol = served.map_or_else(undeclared, |(_, port)| port.protocol);
    let spoken = match protocol {
        p if p.is_http2() => UpstreamProtocol::Http2,
        p if p.is_http() => UpstreamProtocol::Auto,
        _ => UpstreamProtocol::SameAsDownstream,
    };
    let identities = found.iter().filter_map(|(w, _)| world.identity(&w.namespace, &w.service_account)).collect();
    let sni = served.map(|(service, port)| names::outbound(port.number, "", &service.host));
    let tls = mesh_tls(world.with_aliases(identities), mesh_alpn(protocol, spoken), sni.as_deref());
    let workload = Some(workload.reference.clone());
    let endpoint = Endpoint { mesh_tls: true, workload, ..Endpoint::plain(at) };
    let name = cluster::of_workload(at);
    let group = LocalityEndpoints { endpoints: vec![endpoint], ..LocalityEndpoints::default() };
    let pool = Pool::read(world.settings.pool.as_ref(), None, world.settings.tcp_keepalive.as_ref());
    let mut cluster = Cluster {
        connect_timeout: pool.connect_timeout.unwrap_or(world.settings.connect_timeout),
        balancing: Balancing::RoundRobin,
        protocol: spoken,
        transport: Transport::MeshTls(tls),
        service: served.map(|(service, _)| service.reference()),
        ..Cluster::new(name.clone(), Discovery::Static(EndpointSet::new(name, vec![group])))
    };
    pool.apply(&mut cluster);
    Some(cluster)
}

/// The port of the program behind a port of a workload's address; none if its sidecar does not take connections there.
fn program_port(workload: &Workload, port: u16) -> Option<u16> {
    if workload.ports.is_empty() {
        return Some(port);
    }
    workload.ports.iter().find(|(_, at)| **at == port).map(|(target, _)| *target)
}
