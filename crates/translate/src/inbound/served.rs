//! The ports that a sidecar serves: those of the program as its services describe them, or what a `Sidecar` says in their
//! place. How connections to them are taken is not decided here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use api::istio::{CaptureMode, IngressListener};
use model::tls::DownstreamTls;
use model::{AdaptiveConcurrency, Address, DestinationService};

use crate::gateway::server_tls;
use crate::node::{Capture, InboundPort, Node};
use crate::peer_authentication::Mode;
use crate::policy::{Pool, concurrency_limit};
use crate::protocol::Protocol;
use crate::world::World;

/// A port that a sidecar serves.
pub struct Served {
    /// Its number, by which policies mean it.
    pub number: u16,
    /// What is spoken there, once TLS of its own is ended.
    pub protocol: Protocol,
    /// Where the sidecar listens.
    pub bind: Address,
    /// Where the program listens.
    pub program: Address,
    /// The service that it belongs to.
    pub service: Option<DestinationService>,
    /// Limits.
    pub pool: Option<Pool>,
    /// How many requests at once, by how long they take.
    pub limit: Option<Arc<AdaptiveConcurrency>>,
    /// TLS of its own, in place of the mesh's.
    pub tls: Option<DownstreamTls>,
}

/// The ports that a sidecar serves. Where a `Sidecar` lists some, of the others those of a captured program stay open, and
/// what is spoken there is found out (Istio passes such connections on).
pub fn served(world: &World, node: &Node, ports: &[InboundPort], capture: &Capture) -> Vec<Served> {
    let listed = world.ingress(node);
    if listed.is_empty() {
        return ports.iter().map(|port| described(world, node, port)).collect();
    }
    let captured = matches!(capture, Capture::Redirect { .. });
    let is_listed = |number: u16| listed.iter().any(|entry| self::number(entry) == Some(number));
    let others = ports.iter().filter(|port| captured && !is_listed(port.target)).map(|port| Served {
        protocol: undeclared(port.target),
        service: None,
        pool: world.inbound_pool(node).map(|pool| Pool::read(Some(pool), None, None)),
        ..described(world, node, port)
    });
    listed.iter().filter_map(|entry| said(world, node, ports, entry)).chain(others).collect()
}

/// A port as its service describes it. Its limits are those of the `Sidecar`, else those that clients of the service have.
fn described(world: &World, node: &Node, port: &InboundPort) -> Served {
    let service = world.inbound_service(node, port.target);
    let written = world.inbound_pool(node).map(|pool| Pool::read(Some(pool), None, None));
    Served {
        number: port.target,
        protocol: service.map_or_else(|| undeclared(port.target), |(_, port)| port.protocol),
        bind: Address::socket(port.bind),
        program: inside(node, SocketAddr::from((Ipv4Addr::LOCALHOST, port.target))),
        service: service.map(|(service, _)| service.reference()),
        pool: written.or_else(|| service.map(|(service, port)| world.policies(service, node).of_port(port).pool)),
        limit: limit(world, node, port.target),
        tls: None,
    }
}

fn limit(world: &World, node: &Node, number: u16) -> Option<Arc<AdaptiveConcurrency>> {
    let policy = world.inbound_limit(node.address, &node.namespace, number)?;
    policy.spec().concurrency_limit.as_ref().map(|limit| Arc::new(concurrency_limit(limit)))
}

/// A port as a `Sidecar` says it.
fn said(world: &World, node: &Node, ports: &[InboundPort], entry: &IngressListener) -> Option<Served> {
    let number = number(entry)?;
    let protocol = match entry.port.as_ref()?.protocol.as_str() {
        "" => undeclared(number),
        word => Protocol::parse(word).unwrap_or(Protocol::Tcp),
    };
    // TLS of the mesh counts more.
    let own = entry.tls.as_ref().filter(|_| world.mutual_tls(node, number) == Mode::Disable);
    let tls = own.and_then(|settings| server_tls(settings, protocol == Protocol::Https));
    let pool = entry.connection_pool.as_ref().or_else(|| world.inbound_pool(node));
    let service = world.inbound_service(node, number);
    (protocol != Protocol::Udp).then(|| Served {
        number,
        protocol: match (protocol, &tls) {
            (Protocol::Https, Some(_)) => Protocol::Http,
            (Protocol::Tls, Some(_)) => Protocol::Tcp,
            (protocol, _) => protocol,
        },
        bind: door(node, ports, entry, number),
        program: program(node, &entry.default_endpoint, number),
        service: service.map(|(service, _)| service.reference()),
        pool: pool
            .map(|pool| Pool::read(Some(pool), None, None))
            .or_else(|| service.map(|(service, port)| world.policies(service, node).of_port(port).pool)),
        limit: limit(world, node, number),
        tls,
    })
}

fn number(entry: &IngressListener) -> Option<u16> {
    entry.port.as_ref().map(|port| port.number.value as u16)
}

fn undeclared(port: u16) -> Protocol {
    Protocol::declared(None, None, None, port)
}

/// Where the sidecar listens: at the workload's address, which others dial and which is the sidecar's alone, unless a
/// listener that captures nothing names another. A loopback address is that of the program.
fn door(node: &Node, ports: &[InboundPort], entry: &IngressListener, number: u16) -> Address {
    let named: Option<IpAddr> = entry.bind.parse().ok().filter(|_| entry.capture_mode == CaptureMode::None);
    match named.filter(|ip| !ip.is_unspecified() && *ip != node.address) {
        Some(ip) if ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST => inside(node, (ip, number).into()),
        Some(ip) => Address::socket((ip, number).into()),
        None => {
            let registered = ports.iter().find(|port| port.target == number).map(|port| port.bind);
            Address::socket(registered.unwrap_or_else(|| (node.address, number).into()))
        }
    }
}

/// Where the program listens, as `defaultEndpoint` says it: on loopback, at its own address (`0.0.0.0`), or at a Unix
/// socket. In a namespace its own address is the dummy one; of IPv6 there is none everywhere.
fn program(node: &Node, written: &str, number: u16) -> Address {
    if let Some(path) = written.strip_prefix("unix://") {
        return Address::pipe_in(path, node.netns());
    }
    let (host, port) = written.rsplit_once(':').unwrap_or(("", ""));
    let port = port.parse().unwrap_or(number);
    let own = |of_namespace: IpAddr| if node.netns().is_some() { of_namespace } else { node.address };
    let ip: IpAddr = match host {
        "0.0.0.0" => own(base::dummy::IPV4.into()),
        "[::]" => own(Ipv6Addr::LOCALHOST.into()),
        "[::1]" => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    match ip == node.address {
        true => Address::socket((ip, port).into()),
        false => inside(node, (ip, port).into()),
    }
}

/// An address on the program's side.
fn inside(node: &Node, addr: SocketAddr) -> Address {
    Address::Socket { addr, netns: node.netns().cloned() }
}
