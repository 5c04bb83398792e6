//! The incoming side of a sidecar: a listener for each port of the program, with mutual TLS as the policy says.

mod served;

use std::sync::Arc;

use model::chain::{ChainMatch, TransportKind};
use model::http_proxy::{ForwardClientCert, HttpFilter, RouteSource};
use model::listener::Inspect;
use model::route::{Action, Forward, PathMatch};
use model::tls::{DownstreamTls, OWN_CERTIFICATE, TlsVersions};
use model::{
    Config, Direction, FilterChain, HttpLimits, HttpProxy, Listener, NetworkFilter, Route, RouteConfiguration,
    TcpProxy, VirtualHost,
};

use crate::access::{self, Ports};
use crate::clusters::to_program;
use crate::names;
use crate::node::Node;
use crate::peer_authentication::Mode;
use crate::protocol::Protocol;
use crate::rate_limits::Limits;
use crate::reports;
use crate::routes::inbound_retry;
use crate::tracing::tracing;
use crate::trust;
use crate::world::World;

pub use served::{Served, served};

/// By these a client says that it means the mesh's TLS and carries HTTP; the others that it carries anything.
const MESH_HTTP: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
const MESH_TCP: [&str; 2] = ["istio", "istio-peer-exchange"];
const FOUND_HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// Adds listener and cluster of one port.
pub fn add(config: &mut Config, world: &World, node: &Node, port: Served) {
    let mode = world.mutual_tls(node, port.number);
    let mut cluster = to_program(world, port.number, port.program.clone(), port.protocol, port.service.clone());
    if let Some(pool) = &port.pool {
        cluster.connect_timeout = pool.connect_timeout.unwrap_or(cluster.connect_timeout);
        pool.apply(&mut cluster);
    }
    config.clusters.insert(cluster.name.clone(), Arc::new(cluster));
    let ports = Ports::of(port.number, port.bind.socket_addr().map(|at| at.port()));
    let number = port.number;
    let mut listener = listener(world, node, port, mode);
    // Whoever is refused counts for no limit.
    let limits = Limits::of(world, node);
    limits.add_service(config, world);
    limits.guard(&mut listener.chains);
    access::guard(world, node, Some(number), ports, &mut listener.chains);
    config.listeners.insert(listener.name.clone(), Arc::new(listener));
}

fn listener(world: &World, node: &Node, port: Served, mode: Mode) -> Listener {
    let sniffs = port.protocol == Protocol::Auto;
    let mut chains = Vec::new();
    match &port.tls {
        Some(tls) => chains.push(own_chain(world, node, &port, tls.clone())),
        None => {
            if mode != Mode::Disable {
                chains.extend(mesh_chains(world, node, &port, mode));
            }
            if mode != Mode::Strict {
                chains.extend(plain_chains(world, node, &port));
            }
        }
    }
    let ip = port.bind.socket_addr().map(|addr| addr.ip().to_string()).unwrap_or_default();
    // Where the program's server speaks first, a plain client waits for it: then the timeout decides.
    Listener {
        name: format!("inbound_{ip}_{}", port.number).into(),
        address: port.bind,
        bind: true,
        use_original_destination: false,
        direction: Direction::Inbound,
        inspect: Inspect {
            tls: mode != Mode::Disable || sniffs || port.tls.is_some(),
            http: sniffs && mode != Mode::Strict,
            timeout: world.settings.detection,
            continue_on_timeout: mode != Mode::Strict,
            ..Inspect::default()
        },
        chains,
        default_chain: None,
        access_logs: reports::of_connections(world, node, Direction::Inbound),
        buffer_limit: None,
        ignores_common_limit: false,
    }
}

/// The chain that ends TLS of the port's own. Who does not speak it is not let in.
fn own_chain(world: &World, node: &Node, port: &Served, tls: DownstreamTls) -> FilterChain {
    FilterChain {
        matches: ChainMatch { transport: Some(TransportKind::Tls), ..ChainMatch::default() },
        tls: Some(tls),
        ..FilterChain::new("own-tls", filter(world, node, port, port.protocol.is_http()))
    }
}

/// Chains that end the mesh's TLS. In STRICT every TLS client is held to it; otherwise only one that says by ALPN that
/// it means it, and other TLS passes to the program as it is.
fn mesh_chains(world: &World, node: &Node, port: &Served, mode: Mode) -> Vec<FilterChain> {
    let chain = |name: &str, protocols: &[&str], http: bool| FilterChain {
        matches: ChainMatch {
            transport: Some(TransportKind::Tls),
            application_protocols: protocols.iter().map(|p| p.to_string()).collect(),
            ..ChainMatch::default()
        },
        tls: Some(server_tls(world, if http { &["h2", "http/1.1"] } else { &["istio"] })),
        ..FilterChain::new(name, filter(world, node, port, http))
    };
    let strict = mode == Mode::Strict;
    let any: Vec<&str> = MESH_HTTP.into_iter().chain(MESH_TCP).collect();
    match port.protocol {
        Protocol::Auto => {
            vec![chain("mesh-http", &MESH_HTTP, true), chain("mesh-tcp", if strict { &[] } else { &MESH_TCP }, false)]
        }
        declared => vec![chain("mesh", if strict { &[] } else { &any }, declared.is_http())],
    }
}

fn plain_chains(world: &World, node: &Node, port: &Served) -> Vec<FilterChain> {
    let chain = |name: &str, transport, protocols: &[&str], http| FilterChain {
        matches: ChainMatch {
            transport,
            application_protocols: protocols.iter().map(|p| p.to_string()).collect(),
            ..ChainMatch::default()
        },
        ..FilterChain::new(name, filter(world, node, port, http))
    };
    let plain = Some(TransportKind::Plain);
    let own_tls = chain("tls", Some(TransportKind::Tls), &[], false);
    match port.protocol {
        Protocol::Auto => vec![chain("http", plain, &FOUND_HTTP, true), chain("tcp", plain, &[], false), own_tls],
        p => vec![chain("plain", plain, &[], p.is_http()), own_tls],
    }
}

/// Mutual TLS in which the client must have a certificate of the mesh.
fn server_tls(world: &World, alpn: &[&str]) -> DownstreamTls {
    DownstreamTls {
        certificates: vec![OWN_CERTIFICATE.into()],
        validation: Some(trust::of_peers(world)),
        require_client_certificate: true,
        alpn: alpn.iter().map(|p| p.to_string()).collect(),
        versions: TlsVersions::default(),
        cipher_suites: Vec::new(),
    }
}

fn filter(world: &World, node: &Node, port: &Served, http: bool) -> NetworkFilter {
    let cluster = names::inbound(port.number);
    if !http {
        return NetworkFilter::Tcp(TcpProxy {
            access_logs: reports::of_connections(world, node, Direction::Inbound),
            ..TcpProxy::to(cluster)
        });
    }
    let forward =
        Forward { retry: inbound_retry(world.settings.inbound_retries.as_ref()), ..Forward::to(cluster.clone()) };
    let table = RouteConfiguration::new(
        cluster.clone(),
        vec![VirtualHost {
            name: format!("inbound|http|{}", port.number).into(),
            domains: vec!["*".into()],
            routes: vec![Route {
                name: "default".into(),
                ..Route::new(PathMatch::Prefix("/".into()), Action::Forward(Box::new(forward)))
            }],
            ..VirtualHost::default()
        }],
    );
    let mut http = HttpProxy {
        access_logs: reports::of_requests(world, node, Direction::Inbound),
        upgrades: vec!["websocket".into()],
        forward_client_cert: ForwardClientCert::AppendForward,
        tracing: tracing(world, node, Direction::Inbound),
        target: world.settings.target,
        limits: HttpLimits { http10: true, ..HttpLimits::default() },
        filters: port.limit.iter().map(|limit| HttpFilter::AdaptiveConcurrency(limit.clone())).collect(),
        ..HttpProxy::new(format!("inbound_{}", port.bind), RouteSource::Inline(Arc::new(table)))
    };
    world.settings.proxy.for_sidecar(&mut http, true);
    NetworkFilter::Http(Box::new(http))
}
