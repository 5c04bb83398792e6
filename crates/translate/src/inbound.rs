//! The incoming side of a sidecar: a listener for each port of the program, with mutual TLS as the policy says.

use std::sync::Arc;

use model::chain::{ChainMatch, TransportKind};
use model::http_proxy::{ForwardClientCert, HttpFilter, RouteSource};
use model::listener::Inspect;
use model::route::{Action, Forward, PathMatch};
use model::tls::{DownstreamTls, OWN_CERTIFICATE, TlsVersions, Validation};
use model::{
    AdaptiveConcurrency, Address, Config, Direction, FilterChain, HttpLimits, HttpProxy, Listener, NetworkFilter,
    Route, RouteConfiguration, TcpProxy, VirtualHost,
};

use crate::clusters::{TRUST_BUNDLE, to_program};
use crate::names;
use crate::node::{InboundPort, Node};
use crate::outbound::logs;
use crate::peer_authentication::Mode;
use crate::policy::{Pool, concurrency_limit};
use crate::protocol::Protocol;
use crate::routes::inbound_retry;
use crate::service::{Service, ServicePort};
use crate::world::World;

/// By these a client says that it means the mesh's TLS and carries HTTP; the others that it carries anything.
const MESH_HTTP: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
const MESH_TCP: [&str; 2] = ["istio", "istio-peer-exchange"];
const FOUND_HTTP: [&str; 3] = ["http/1.0", "http/1.1", "h2c"];

/// Adds listener and cluster of one port.
pub fn add(config: &mut Config, world: &World, node: &Node, port: &InboundPort) {
    let service = world.inbound_service(node, port.target);
    let undeclared = || Protocol::declared(None, None, None, port.target);
    let protocol = service.map_or_else(undeclared, |(_, port)| port.protocol);
    let mode = world.mutual_tls(node, port.target);
    let mut cluster = to_program(world, node, port.target, protocol, service.map(|(service, _)| service.reference()));
    if let Some(pool) = pool(world, node, service) {
        cluster.connect_timeout = pool.connect_timeout.unwrap_or(cluster.connect_timeout);
        pool.apply(&mut cluster);
    }
    config.clusters.insert(cluster.name.clone(), Arc::new(cluster));
    let policy = world.inbound_limit(node.address, &node.namespace, port.target);
    let limit = policy.and_then(|policy| policy.spec().concurrency_limit.as_ref());
    let limit = limit.map(|limit| Arc::new(concurrency_limit(limit)));
    let listener = Incoming { world, port, protocol, limit }.listener(mode);
    config.listeners.insert(listener.name.clone(), Arc::new(listener));
}

/// Limits on what comes in: those of the `Sidecar`, else those that clients of the service have.
fn pool(world: &World, node: &Node, service: Option<(&Service, &ServicePort)>) -> Option<Pool> {
    if let Some(written) = world.inbound_pool(node) {
        return Some(Pool::read(Some(written), None, None));
    }
    service.map(|(service, port)| world.policies(service, node).of_port(port).pool)
}

/// What one port of the program takes.
struct Incoming<'a> {
    world: &'a World,
    port: &'a InboundPort,
    protocol: Protocol,
    /// How many requests at once.
    limit: Option<Arc<AdaptiveConcurrency>>,
}

impl Incoming<'_> {
    fn listener(&self, mode: Mode) -> Listener {
        let Self { world, port, .. } = *self;
        let sniffs = self.protocol == Protocol::Auto;
        let mut chains = Vec::new();
        if mode != Mode::Disable {
            chains.extend(self.mesh_chains(mode));
        }
        if mode != Mode::Strict {
            chains.extend(self.plain_chains());
        }
        // Where the program's server speaks first, a plain client waits for it: then the timeout decides.
        Listener {
            name: format!("inbound_{}_{}", port.bind.ip(), port.target).into(),
            address: Address::socket(port.bind),
            bind: true,
            use_original_destination: false,
            direction: Direction::Inbound,
            inspect: Inspect {
                tls: mode != Mode::Disable || sniffs,
                http: sniffs && mode != Mode::Strict,
                timeout: world.settings.detection,
                continue_on_timeout: mode != Mode::Strict,
                ..Inspect::default()
            },
            chains,
            default_chain: None,
            access_logs: logs(world),
        }
    }

    /// Chains that end the mesh's TLS. In STRICT every TLS client is held to it; otherwise only one that says by ALPN that
    /// it means it, and other TLS passes to the program as it is.
    fn mesh_chains(&self, mode: Mode) -> Vec<FilterChain> {
        let chain = |name: &str, protocols: &[&str], http: bool| FilterChain {
            name: name.into(),
            matches: ChainMatch {
                transport: Some(TransportKind::Tls),
                application_protocols: protocols.iter().map(|p| p.to_string()).collect(),
                ..ChainMatch::default()
            },
            tls: Some(server_tls(if http { &["h2", "http/1.1"] } else { &["istio"] })),
            filter: self.filter(http),
        };
        let strict = mode == Mode::Strict;
        let any: Vec<&str> = MESH_HTTP.into_iter().chain(MESH_TCP).collect();
        match self.protocol {
            Protocol::Auto => {
                let tcp: &[&str] = if strict { &[] } else { &MESH_TCP };
                vec![chain("mesh-http", &MESH_HTTP, true), chain("mesh-tcp", tcp, false)]
            }
            declared => vec![chain("mesh", if strict { &[] } else { &any }, declared.is_http())],
        }
    }

    fn plain_chains(&self) -> Vec<FilterChain> {
        let chain = |name: &str, transport, protocols: &[&str], http| FilterChain {
            name: name.into(),
            matches: ChainMatch {
                transport,
                application_protocols: protocols.iter().map(|p| p.to_string()).collect(),
                ..ChainMatch::default()
            },
            tls: None,
            filter: self.filter(http),
        };
        let plain = Some(TransportKind::Plain);
        let own_tls = chain("tls", Some(TransportKind::Tls), &[], false);
        match self.protocol {
            Protocol::Auto => vec![chain("http", plain, &FOUND_HTTP, true), chain("tcp", plain, &[], false), own_tls],
            p => vec![chain("plain", plain, &[], p.is_http()), own_tls],
        }
    }

    fn filter(&self, http: bool) -> NetworkFilter {
        let Self { world, port, .. } = *self;
        let cluster = names::inbound(port.target);
        if !http {
            return NetworkFilter::Tcp(TcpProxy { access_logs: logs(world), ..TcpProxy::to(cluster) });
        }
        let mut http = HttpProxy {
            access_logs: logs(world),
            upgrades: vec!["websocket".into()],
            forward_client_cert: ForwardClientCert::AppendForward,
            tracing: true,
            target: world.settings.target,
            limits: HttpLimits { http10: true, ..HttpLimits::default() },
            filters: self.limit.iter().map(|limit| HttpFilter::AdaptiveConcurrency(limit.clone())).collect(),
            ..HttpProxy::new(format!("inbound_{}", port.bind), RouteSource::Inline(Arc::new(routes(world, port))))
        };
        world.settings.proxy.for_sidecar(&mut http, true);
        NetworkFilter::Http(Box::new(http))
    }
}

/// Everything to the program.
fn routes(world: &World, port: &InboundPort) -> RouteConfiguration {
    let cluster = names::inbound(port.target);
    let forward =
        Forward { retry: inbound_retry(world.settings.inbound_retries.as_ref()), ..Forward::to(cluster.clone()) };
    RouteConfiguration::new(
        cluster,
        vec![VirtualHost {
            name: format!("inbound|http|{}", port.target).into(),
            domains: vec!["*".into()],
            routes: vec![Route {
                name: "default".into(),
                ..Route::new(PathMatch::Prefix("/".into()), Action::Forward(Box::new(forward)))
            }],
            ..VirtualHost::default()
        }],
    )
}

/// Mutual TLS in which the client must have a certificate of the mesh.
fn server_tls(alpn: &[&str]) -> DownstreamTls {
    DownstreamTls {
        certificates: vec![OWN_CERTIFICATE.into()],
        validation: Some(Validation::by(TRUST_BUNDLE)),
        require_client_certificate: true,
        alpn: alpn.iter().map(|p| p.to_string()).collect(),
        versions: TlsVersions::default(),
        cipher_suites: Vec::new(),
    }
}
