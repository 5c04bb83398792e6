//! Clusters and their endpoints: one for each port of each service, and one for each of its subsets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use model::cluster::{Balancing, Discovery, Localities, PANIC_PERCENT, Transport, UpstreamProtocol};
use model::endpoint::Health;
use model::route::HashKey;
use model::tcp_proxy::WeightedTarget;
use model::tls::{MESH_ROOTS, OWN_CERTIFICATE, SYSTEM_ROOTS, TlsVersions, UpstreamTls, Validation};
use model::{Address, Cluster, Config, DestinationService, Endpoint, EndpointSet, LocalityEndpoints, StringMatch};

use crate::direct;
use crate::headless::Dialled;
use crate::locality::{Near, Placed};
use crate::named;
use crate::names;
use crate::node::Node;
use crate::policy::{self, Http1, Policy, Pool, TlsChoice};
use crate::protocol::Protocol;
use crate::service::{Backing, FixedEndpoint, Service, ServicePort, Target};
use crate::world::World;

/// The secret of the mesh's trust bundle.
pub const TRUST_BUNDLE: &str = MESH_ROOTS;
/// What our mesh TLS for HTTP offers: the first two tell a server that mesh TLS is meant (Istio's names).
const HTTP_ALPN: [&str; 4] = ["istio-h2", "istio-http/1.1", "h2", "http/1.1"];
/// The same for who speaks HTTP/1.1 whatever the other side would like better: Envoy takes what is agreed on for granted.
const HTTP1_ALPN: [&str; 2] = ["istio-http/1.1", "http/1.1"];
/// The same for everything else.
const TCP_ALPN: [&str; 1] = ["istio"];

/// Adds the clusters and endpoints of a service, as `node` sees it.
pub fn add_service(config: &mut Config, world: &World, node: &Node, service: &Service) {
    let policies = world.policies(service, node);
    for port in service.ports.iter().filter(|p| p.protocol != Protocol::Udp) {
        let subsets = policies.subsets.iter().map(|s| (s.name.as_str(), Some(&s.labels), policies.of_subset(s, port)));
        let whole = std::iter::once(("", None, policies.of_port(port)));
        for (subset, labels, policy) in whole.chain(subsets) {
            let name = names::outbound(port.number, subset, &service.host);
            let members = Members { service, port, labels };
            let discovery = members.discovery((world, node), &policy, &name);
            if let Discovery::Eds(_) = discovery {
                config.endpoints.insert(name.clone(), Arc::new(members.set((world, node), &policy.near, &name)));
            }
            let mut cluster = cluster(name.clone(), discovery, (world, node), service, port, &policy);
            members.heed_dialled(&mut cluster, (world, node));
            config.clusters.insert(name, Arc::new(cluster));
        }
    }
}

/// The endpoint sets of a service alone, as `node` sees it: the same that [`add_service`] adds.
pub fn endpoint_sets(world: &World, node: &Node, service: &Service) -> Vec<EndpointSet> {
    if !matches!(service.backing, Backing::Workloads(_) | Backing::Fixed(_)) {
        return Vec::new();
    }
    let policies = world.policies(service, node);
    let mut sets = Vec::new();
    for port in service.ports.iter().filter(|p| p.protocol != Protocol::Udp) {
        let subsets = policies.subsets.iter().map(|s| (s.name.as_str(), Some(&s.labels), policies.of_subset(s, port)));
        let whole = std::iter::once(("", None, policies.of_port(port)));
        for (subset, labels, policy) in whole.chain(subsets) {
            let name = names::outbound(port.number, subset, &service.host);
            let members = Members { service, port, labels };
            if let Discovery::Eds(_) = members.discovery((world, node), &policy, &name) {
                sets.push(members.set((world, node), &policy.near, &name));
            }
        }
    }
    sets
}

/// The policy for a cluster, as `node` sees it; none if its service is not known.
pub fn policy_of(world: &World, node: &Node, cluster: &str) -> Option<Policy> {
    let (port, subset, host) = names::parts(cluster)?;
    let service = world.service_named(host)?;
    let (port, policies) = (service.port(port)?, world.policies(service, node));
    match policies.subsets.iter().find(|known| known.name.value == subset) {
        _ if subset.is_empty() => Some(policies.of_port(port)),
        Some(subset) => Some(policies.of_subset(subset, port)),
        None => None,
    }
}

/// What of a request to a cluster decides which endpoint takes it, if a hash of it does.
pub fn hash_key(world: &World, node: &Node, cluster: &str) -> Option<HashKey> {
    // In most meshes nobody asks for it.
    if !world.pairs.hashes {
        return None;
    }
    policy_of(world, node, cluster)?.hash
}

/// Does the client's address decide which endpoint of one of these takes a connection?
pub fn hashes_source(world: &World, node: &Node, clusters: &[WeightedTarget]) -> bool {
    clusters.iter().any(|to| hash_key(world, node, &to.cluster) == Some(HashKey::SourceIp))
}

fn cluster(
    name: Arc<str>,
    discovery: Discovery,
    (world, node): (&World, &Node),
    service: &Service,
    port: &ServicePort,
    policy: &Policy,
) -> Cluster {
    let passthrough = discovery.is_by_itself();
    let protocol = protocol(node, port, policy, service.external);
    let health_check = policy.health_check.clone().filter(|_| !passthrough);
    let health_check = health_check.map(|check| policy::of_service(check, &service.host));
    let mut cluster = Cluster {
        balancing: if passthrough { Balancing::Provided } else { policy.balancing.clone() },
        localities: if passthrough { Localities::Alike } else { policy.near.localities() },
        connect_timeout: policy.pool.connect_timeout.unwrap_or(world.settings.connect_timeout),
        protocol,
        transport: transport(world, service, mesh_alpn(port.protocol, protocol), policy, &name),
        outlier_detection: policy.outlier_detection.clone().map(Box::new),
        health_check: health_check.map(Box::new),
        slow_start: policy.slow_start.filter(|_| !passthrough).map(Box::new),
        panic_percent: policy.panic_percent,
        dns_refresh: world.settings.dns_refresh,
        service: Some(service.reference()),
        ..Cluster::new(name, discovery)
    };
    policy.pool.apply(&mut cluster);
    if policy.proxy_header.is_some() {
        cluster.connections.get_or_insert_default().proxy_header = policy.proxy_header;
    }
    cluster
}

/// Inside the mesh declared HTTP/1.1 travels over HTTP/2 wherever the other side agrees by ALPN, since the other side
/// knows from the declaration what the program speaks; unless a rule keeps it as it is. Where nothing is declared, what
/// came in has to go out. Envoy cannot choose by ALPN where some endpoints take no TLS, and speaks HTTP/1.1.
fn protocol(node: &Node, port: &ServicePort, policy: &Policy, external: bool) -> UpstreamProtocol {
    match port.protocol {
        _ if policy.use_client_protocol => UpstreamProtocol::SameAsDownstream,
        p if p.is_http2() || policy.http1 == Http1::Upgraded => UpstreamProtocol::Http2,
        Protocol::Auto => UpstreamProtocol::SameAsDownstream,
        _ if external || !node.ours || policy.http1 == Http1::Kept => UpstreamProtocol::Http1,
        _ => UpstreamProtocol::Auto,
    }
}

fn transport(world: &World, service: &Service, alpn: &[&str], policy: &Policy, cluster: &str) -> Transport {
    let mesh_tls = || mesh_tls(world.with_aliases(world.identities(service)), alpn, Some(cluster));
    match &policy.tls {
        None if service.external || !world.settings.auto_mtls => Transport::Plain,
        None => Transport::MeshTls(mesh_tls()),
        Some(TlsChoice::Disable) => Transport::Plain,
        Some(TlsChoice::Mesh { sni, names }) => {
            let mut tls = mesh_tls();
            if let Some(sni) = sni {
                tls.sni = Some(sni.clone());
            }
            if let (false, Some(validation)) = (names.is_empty(), &mut tls.validation) {
                validation.names = names.iter().map(StringMatch::exact).collect();
            }
            Transport::Tls(tls)
        }
        Some(TlsChoice::Own(tls)) => Transport::Tls(own_tls(tls.clone(), service)),
    }
}

/// TLS of the user's own, with what the service says where the rule does not: its host is asked for, and its
/// certificates' names are believed.
fn own_tls(mut tls: UpstreamTls, service: &Service) -> UpstreamTls {
    if tls.sni.is_none() && !service.host.starts_with('*') {
        tls.sni = Some(service.host.to_string());
    }
    if let Some(validation) = tls.validation.as_mut().filter(|v| v.names.is_empty()) {
        validation.names = service.certificate_names.iter().map(StringMatch::exact).collect();
        // The authorities of the web vouch for anybody: there the name that is asked for has to be proven.
        if validation.names.is_empty() && *validation.trust == *SYSTEM_ROOTS {
            validation.names = tls.sni.iter().map(StringMatch::exact).collect();
        }
    }
    tls
}

/// What the mesh's TLS offers by ALPN towards a port.
pub fn mesh_alpn(port: Protocol, protocol: UpstreamProtocol) -> &'static [&'static str] {
    match protocol {
        _ if !port.may_be_http() => &TCP_ALPN,
        UpstreamProtocol::Http1 => &HTTP1_ALPN,
        _ => &HTTP_ALPN,
    }
}

/// The mesh's mutual TLS: our certificate, and a server that is one of these identities (secure naming). `cluster` is the one
/// by whose name a gateway between networks would route.
pub fn mesh_tls(identities: BTreeSet<String>, alpn: &[&str], cluster: Option<&str>) -> UpstreamTls {
    UpstreamTls {
        certificate: Some(OWN_CERTIFICATE.into()),
        validation: Some(Validation {
            trust: TRUST_BUNDLE.into(),
            names: identities.into_iter().map(StringMatch::exact).collect(),
            pins: None,
        }),
        sni: cluster.map(mesh_sni),
        alpn: alpn.iter().map(|p| p.to_string()).collect(),
        versions: TlsVersions::default(),
    }
}

/// Adds the clusters of a service to which TLS of the mesh passes through, each under the server name that leads to it
/// (Istio's SNI-DNAT), and gives these names. The endpoints are those of the service's own clusters.
pub fn add_passed_through(config: &mut Config, world: &World, node: &Node, service: &Service) -> Vec<Arc<str>> {
    let policies = world.policies(service, node);
    let mut names = Vec::new();
    for port in service.ports.iter().filter(|p| p.protocol != Protocol::Udp) {
        let subsets = policies.subsets.iter().map(|s| (s.name.as_str(), Some(&s.labels), policies.of_subset(s, port)));
        for (subset, labels, policy) in std::iter::once(("", None, policies.of_port(port))).chain(subsets) {
            let own = names::outbound(port.number, subset, &service.host);
            let name: Arc<str> = mesh_sni(&own).into();
            let discovery = Members { service, port, labels }.by_backing((world, node), &policy.near, &own);
            // What the client of the mesh sends is for who ends its TLS.
            let policy = Policy { proxy_header: None, ..policy };
            let made = cluster(name.clone(), discovery, (world, node), service, port, &policy);
            let passed = Cluster { transport: Transport::Plain, protocol: UpstreamProtocol::Http1, ..made };
            config.clusters.insert(name.clone(), Arc::new(passed));
            names.push(name);
        }
    }
    names
}

/// `outbound_.9080_.v1_.reviews.default.svc.cluster.local`: Istio's server names, by which a gateway between networks routes.
fn mesh_sni(cluster: &str) -> String {
    cluster.replace('|', "_.")
}

/// The endpoints of a port of a service, or of a subset of them.
struct Members<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    labels: Option<&'a BTreeMap<String, String>>,
}

impl Members<'_> {
    fn discovery(&self, (world, node): (&World, &Node), policy: &Policy, name: &Arc<str>) -> Discovery {
        match Dialled::of(node, self.service) {
            Dialled::Only => Discovery::OriginalDestination,
            // It is dialled as it is anyway, and with what is known of it.
            Dialled::Ignored if policy.passthrough => Discovery::OriginalDestination,
            Dialled::Ignored | Dialled::Preferred => self.by_backing((world, node), &policy.near, name),
        }
    }

    fn by_backing(&self, (world, node): (&World, &Node), near: &Near, name: &Arc<str>) -> Discovery {
        match &self.service.backing {
            Backing::Workloads(_) | Backing::Fixed(_) => Discovery::Eds(name.clone()),
            Backing::Named if named::is_named(self.service, self.port) => {
                Discovery::DynamicForward(named::cache(world).into())
            }
            Backing::Passthrough | Backing::Named => Discovery::OriginalDestination,
            Backing::Dns(_, first_only) => {
                // A name that stands for one address has nothing that it could prefer.
                let near = if *first_only { &Near::Alike } else { near };
                let set = EndpointSet::new(name.clone(), near.arrange(self.given(world).into_iter(), node));
                if *first_only { Discovery::LogicalDns(set) } else { Discovery::StrictDns(set) }
            }
        }
    }

    /// All that are ready, as the client is to prefer them. Those that are not are there where they may be dialled.
    fn set(&self, (world, node): (&World, &Node), near: &Near, name: &Arc<str>) -> EndpointSet {
        let waits = |endpoint: &Endpoint| endpoint.address.socket_addr().is_some_and(|addr| world.withholds(&addr));
        let dialled = Dialled::of(node, self.service) == Dialled::Preferred;
        let found = self.registered(world).into_iter().filter_map(|mut member| {
            if waits(&member.endpoint) {
                member.endpoint.health = Health::Unhealthy;
                return dialled.then_some(member);
            }
            Some(member)
        });
        EndpointSet::new(name.clone(), near.arrange(found, node))
    }

    /// What a cluster has to do with the address that was dialled.
    fn heed_dialled(&self, cluster: &mut Cluster, (world, node): (&World, &Node)) {
        match Dialled::of(node, self.service) {
            Dialled::Ignored => {}
            Dialled::Preferred => {
                cluster.prefers_dialled = true;
                // Those that are not ready are there only to be dialled.
                if cluster.panic_percent == PANIC_PERCENT {
                    cluster.panic_percent = 0;
                }
            }
            // Nothing is known of an address here, so all have to be alike.
            Dialled::Only => {
                if let Transport::MeshTls(tls) = &cluster.transport {
                    let all = self.all_take_mesh_tls(world);
                    cluster.transport = if all { Transport::Tls(tls.clone()) } else { Transport::Plain };
                }
            }
        }
    }

    /// Does every one take the mesh's TLS?
    fn all_take_mesh_tls(&self, world: &World) -> bool {
        let members = self.registered(world);
        !members.is_empty() && members.iter().all(|member| member.endpoint.mesh_tls)
    }

    /// Endpoints of the registry, or given with the service as addresses.
    fn registered<'w>(&'w self, world: &'w World) -> Vec<Placed<'w>> {
        let Backing::Workloads(_) = &self.service.backing else { return self.given(world) };
        let fits = |labels| self.labels.is_none_or(|wanted| crate::service::selected(wanted, labels));
        let members = world.workloads_of(self.service).filter(|w| fits(&w.labels));
        let placed = members.filter_map(|w| {
            let endpoint = self.port.endpoint(w)?;
            let mesh_tls = endpoint.mesh_tls && world.takes_mesh_tls(w, self.port.on(w)?);
            let endpoint = Endpoint { mesh_tls, ..endpoint };
            Some(Placed { locality: &w.locality, endpoint, labels: &w.labels })
        });
        let mut placed: Vec<Placed<'w>> = placed.collect();
        placed.extend(self.fixed(world, world.entries_of(self.service)));
        placed
    }

    fn given<'w>(&'w self, world: &World) -> Vec<Placed<'w>> {
        let (Backing::Fixed(list) | Backing::Dns(list, _)) = &self.service.backing else { return Vec::new() };
        self.fixed(world, list)
    }

    fn fixed<'w>(&self, world: &World, list: &'w [FixedEndpoint]) -> Vec<Placed<'w>> {
        let fits = |labels| self.labels.is_none_or(|wanted| crate::service::selected(wanted, labels));
        let own = match &self.port.target {
            Target::Number(number) => *number,
            Target::Name(_) => self.port.number,
        };
        // One without an address lies behind the gateway of another network.
        let reachable = |e: &&FixedEndpoint| !e.address.is_empty();
        let members = list.iter().filter(|e| fits(&e.labels)).filter(reachable).map(|e| {
            // The port is called as in the service, or as the service calls that of its pods.
            let target = if let Target::Name(name) = &self.port.target { Some(name) } else { None };
            let named = self.port.name.iter().chain(target).find_map(|name| e.ports.get(name));
            let port = named.copied().unwrap_or(own);
            let address = match (e.address.strip_prefix("unix://"), e.address.parse()) {
                (Some(path), _) => Address::pipe(path),
                (None, Ok(ip)) => Address::socket(SocketAddr::new(ip, port)),
                (None, Err(_)) => Address::Host { host: e.address.as_str().into(), port },
            };
            let mesh_tls = !self.service.external && world.is_mesh_address(&e.address, port);
            let endpoint = Endpoint { weight: e.weight.max(1), mesh_tls, ..Endpoint::plain(address) };
            Placed { locality: &e.locality, endpoint, labels: &e.labels }
        });
        members.collect()
    }
}

/// The clusters of destinations that nobody knows.
pub fn add_unknown(config: &mut Config, world: &World, node: &Node) {
    let pool = Pool::read(world.settings.pool.as_ref(), None, world.settings.tcp_keepalive.as_ref());
    let mut passthrough = Cluster {
        connect_timeout: pool.connect_timeout.unwrap_or(world.settings.connect_timeout),
        balancing: Balancing::Provided,
        workloads: direct::asked_for(world, node).into(),
        protocol: UpstreamProtocol::SameAsDownstream,
        ..Cluster::new(names::PASSTHROUGH, Discovery::OriginalDestination)
    };
    pool.apply(&mut passthrough);
    let nowhere = EndpointSet::new(names::BLACK_HOLE, Vec::new());
    let black_hole = Cluster::new(names::BLACK_HOLE, Discovery::Static(nowhere));
    for cluster in [passthrough, black_hole] {
        config.clusters.insert(cluster.name.clone(), Arc::new(cluster));
    }
}

/// The cluster of the program itself, behind one of its ports.
pub fn to_program(
    world: &World,
    port: u16,
    program: Address,
    protocol: Protocol,
    service: Option<DestinationService>,
) -> Cluster {
    let name = names::inbound(port);
    let group = LocalityEndpoints { endpoints: vec![Endpoint::plain(program)], ..LocalityEndpoints::default() };
    Cluster {
        connect_timeout: world.settings.connect_timeout,
        protocol: match protocol {
            p if p.is_http2() => UpstreamProtocol::Http2,
            Protocol::Auto => UpstreamProtocol::SameAsDownstream,
            _ => UpstreamProtocol::Http1,
        },
        service,
        ..Cluster::new(name.clone(), Discovery::Static(EndpointSet::new(name, vec![group])))
    }
}
