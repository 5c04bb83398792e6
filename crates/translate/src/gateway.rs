//! A gateway: the ports and hosts that `Gateway` documents open, and the rules that are bound to them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::Kind;
use api::istio::{
    Gateway, Server, ServerTlsMode, ServerTlsSettings, TlsProtocol, VirtualService, base64_hash, hex_hash,
};
use base::HostPattern;
use model::chain::ChainMatch;
use model::http_proxy::RouteSource;
use model::listener::{ExpectHeader, Inspect};
use model::route::{Action, PathMatch, Redirect};
use model::tcp_proxy::WeightedTarget;
use model::tls::{
    CIPHER_SUITES, CertificatePins, DownstreamTls, OWN_CERTIFICATE, SecretFiles, TlsVersion, TlsVersions, Validation,
};
use model::{
    Address, Config, Direction, FilterChain, HttpProxy, Listener, NetworkFilter, Route, RouteConfiguration,
    ServerHeader,
};

use crate::access::{self, Ports};
use crate::clusters::{self, TRUST_BUNDLE};
use crate::edge::GatewayEdge;
use crate::ingress;
use crate::logins;
use crate::names::{complete_gateway, complete_host};
use crate::node::{Node, Role};
use crate::outbound::http_proxy;
use crate::rate_limits::Limits;
use crate::raw;
use crate::reports;
use crate::routes::{At, Reading, catch_all_last, exported, gateway_host, routes, tcp_rule, tls_rules, weighted};
use crate::secrets;
use crate::servers::{self, Open, Opener, host_part, is_plain_http, openers, protocol};
use crate::service::selected;
use crate::world::{Document, World};

/// The name of the route that sends plain requests to TLS.
const HTTPS_REDIRECT: &str = "https-redirect";

/// Adds the listeners and routes of every `Gateway` that selects the proxy.
pub fn add(
    config: &mut Config,
    world: &World,
    node: &Node,
    (bind, ports): (IpAddr, &BTreeMap<u16, u16>),
    edge: &GatewayEdge,
) {
    let (by_door, _) = servers::open(selecting(world, node), Some(bind));
    for ((port, told), servers) in by_door {
        let at = SocketAddr::new(told.unwrap_or(bind), ports.get(&port).copied().unwrap_or(port));
        add_port(config, world, node, at, &servers);
    }
    let settings = world.proxy_settings(node);
    // Whoever is refused counts for no limit.
    let limits = Limits::of(world, node);
    limits.add_service(config, world);
    let logins = logins::filters(config, world, node);
    for listener in config.listeners.values_mut() {
        let listener = Arc::make_mut(listener);
        if edge.proxy_protocol || settings.proxy_protocol() {
            listener.inspect.proxy_header = ExpectHeader::Required;
        }
        listener.buffer_limit = settings.buffer_of_gateway(edge);
        for chain in &mut listener.chains {
            if let NetworkFilter::Http(http) = &mut chain.filter {
                settings.for_gateway(edge, http);
            }
        }
        limits.guard(&mut listener.chains);
        access::guard(world, node, None, Ports::default(), &mut listener.chains);
        listener.chains.iter_mut().for_each(|chain| chain.put_first(&logins));
    }
}

/// The gateways that select the proxy, the oldest first.
pub fn selecting<'a>(world: &'a World, node: &'a Node) -> impl Iterator<Item = Opener<'a>> {
    openers(world).into_iter().filter(|gateway| selected(gateway.selector, &node.labels))
}

fn add_port(config: &mut Config, world: &World, node: &Node, at: SocketAddr, servers: &[Open<'_>]) {
    let (plain_http, others): (Vec<Open<'_>>, Vec<Open<'_>>) = servers.iter().partition(|s| is_plain_http(s.server));
    let mut chains = Vec::new();
    if let Some(first) = plain_http.first() {
        let name: Arc<str> = format!("http.{}{}", first.port, of_bind(first)).into();
        chains.push(chain(&name, ChainMatch::default(), None, http(world, node, name.clone())));
        let table = route_table(world, node, name, &plain_http);
        config.routes.insert(table.name.clone(), Arc::new(table));
    }
    for open in others {
        chains.extend(server_chains(config, world, node, open));
    }
    let listener = Listener {
        name: format!("{}_{}", at.ip(), at.port()).into(),
        address: Address::socket(at),
        bind: true,
        use_original_destination: false,
        direction: Direction::Outbound,
        inspect: Inspect { tls: chains.iter().any(|c| !c.matches.server_names.is_empty()), ..Inspect::default() },
        chains,
        default_chain: None,
        access_logs: reports::of_connections(world, node, Direction::Outbound),
        buffer_limit: None,
        ignores_common_limit: false,
    };
    config.listeners.insert(listener.name.clone(), Arc::new(listener));
}

/// The chains of a server that is not plain HTTP: TLS that is ended here, TLS that passes through by server name, raw TCP.
fn server_chains(config: &mut Config, world: &World, node: &Node, open: Open<'_>) -> Vec<FilterChain> {
    let server_names: Vec<String> =
        open.server.hosts.iter().map(|h| host_part(&h.value).to_ascii_lowercase()).filter(|h| h != "*").collect();
    let of_ingress = if open.gateway.is_ingress() { "ingress~" } else { "" };
    let (title, namespace) = (open.gateway.name(), open.gateway.namespace());
    let (port, index, bind) = (open.port, open.index, of_bind(&open));
    let name: Arc<str> = format!("https.{port}.{index}.{of_ingress}{title}.{namespace}{bind}").into();
    let tls = open.server.tls.as_ref().and_then(|settings| server_tls(settings, protocol(open.server) == "HTTPS"));
    match (protocol(open.server).as_str(), tls) {
        ("HTTPS", Some(tls)) => {
            let table = route_table(world, node, name.clone(), &[open]);
            config.routes.insert(name.clone(), Arc::new(table));
            let matches = ChainMatch { server_names, ..ChainMatch::default() };
            vec![chain(&name, matches, Some(tls), http(world, node, name.clone()))]
        }
        ("HTTPS" | "TLS", None) => {
            let mut chains = passed_through(world, node, open);
            if open.server.tls.as_ref().is_some_and(|tls| tls.mode == ServerTlsMode::AutoPassthrough) {
                chains.extend(by_service(config, world, node, open));
            }
            chains
        }
        (_, tls) => {
            let clusters = tcp_targets(world, node, open);
            let matches = ChainMatch { server_names, ..ChainMatch::default() };
            if clusters.is_empty() { Vec::new() } else { vec![chain(&name, matches, tls, raw(world, node, clusters))] }
        }
    }
}

/// What the names of a server's routes and chains end in, as Istio has it: `.10.0.0.1` for one with an address of its own.
fn of_bind(open: &Open<'_>) -> String {
    open.bind.map(|bind| format!(".{bind}")).unwrap_or_default()
}

fn chain(name: &str, matches: ChainMatch, tls: Option<DownstreamTls>, filter: NetworkFilter) -> FilterChain {
    FilterChain { matches, tls, ..FilterChain::new(name, filter) }
}

fn raw(world: &World, node: &Node, clusters: Vec<WeightedTarget>) -> NetworkFilter {
    let first = clusters[0].cluster.clone();
    NetworkFilter::Tcp(raw::to_clusters(world, node, first, clusters))
}

fn http(world: &World, node: &Node, routes: Arc<str>) -> NetworkFilter {
    NetworkFilter::Http(Box::new(HttpProxy {
        use_remote_address: true,
        server: ServerHeader::Overwrite("halcyon".to_owned()),
        ..http_proxy(world, node, RouteSource::Rds(routes))
    }))
}

/// The route table of some servers: hosts that they open, and of these the ones that rules name.
fn route_table(world: &World, node: &Node, name: Arc<str>, servers: &[Open<'_>]) -> RouteConfiguration {
    let mut by_domain: BTreeMap<String, Vec<Route>> = BTreeMap::new();
    for open in servers.iter().filter(|open| !open.gateway.is_ingress()) {
        // Who comes by TLS is there already.
        if is_plain_http(open.server) && open.server.tls.as_ref().is_some_and(|tls| tls.https_redirect) {
            for host in &open.server.hosts {
                by_domain.entry(host_part(&host.value).to_ascii_lowercase()).or_default().push(to_https());
            }
            continue;
        }
        let gateway = open.gateway.full_name();
        // Where the client is comes first.
        let (by_place, others): (Vec<_>, Vec<_>) = bound(world, node, &gateway).partition(|rule| is_by_place(rule));
        for rule in by_place.into_iter().filter(|_| tells_places(node)).chain(others) {
            let reading =
                Reading { world, node, namespace: rule.namespace(), gateway: Some(&gateway), port: open.port };
            let made = routes(&world.http_rules(rule), reading);
            for host in &rule.spec().hosts {
                let host = complete_host(&host.value, rule.namespace(), &world.settings.dns_domain);
                for domain in opened(open, rule.namespace(), &host) {
                    by_domain.entry(domain).or_default().extend(made.iter().cloned());
                }
            }
        }
    }
    let port = servers.first().map_or(0, |open| open.port);
    for (domain, routes) in of_ingresses(world, node, port, servers) {
        by_domain.entry(domain).or_default().extend(routes);
    }
    let hosts = by_domain.into_iter().map(|(domain, mut routes)| {
        // One server that redirects a host is enough, whatever others have for it (Istio's rule).
        if let Some(redirect) = routes.iter().position(|route| *route.name == *HTTPS_REDIRECT) {
            routes = vec![routes.swap_remove(redirect)];
        }
        catch_all_last(&mut routes);
        gateway_host(format!("{domain}:{port}").into(), domain, routes)
    });
    RouteConfiguration::new(name, hosts.collect())
}

/// The routes by domain of the Ingresses, as far as their servers open them. Of a host and a wider one that both lead to a
/// domain the host counts.
fn of_ingresses(world: &World, node: &Node, port: u16, servers: &[Open<'_>]) -> BTreeMap<String, Vec<Route>> {
    let servers: Vec<&Open<'_>> = servers.iter().filter(|open| open.gateway.is_ingress()).collect();
    if servers.is_empty() {
        return BTreeMap::new();
    }
    let mut found = BTreeMap::<String, ((u8, usize), Vec<Route>)>::new();
    for (host, routes) in ingress::hosts(world, node, port) {
        let Ok(pattern) = host.parse::<HostPattern>() else { continue };
        let domains = servers.iter().flat_map(|open| opened(open, open.gateway.namespace(), &host));
        for domain in domains {
            if found.get(&domain).is_none_or(|(rank, _)| *rank < pattern.specificity()) {
                found.insert(domain, (pattern.specificity(), routes.clone()));
            }
        }
    }
    found.into_iter().map(|(domain, (_, routes))| (domain, routes)).collect()
}

fn is_by_place(rule: &Document<VirtualService>) -> bool {
    rule.resource.kind == Kind::GeoRoute
}

/// Does the gateway know where clients are? Else the headers that tell it would be the clients' own claims.
fn tells_places(node: &Node) -> bool {
    matches!(&node.role, Role::Gateway { edge, .. } if edge.geo_database.is_some())
}

/// The rules that are bound to a gateway.
pub fn bound<'a>(
    world: &'a World,
    node: &'a Node,
    gateway: &'a str,
) -> impl Iterator<Item = &'a Document<VirtualService>> {
    world.virtual_services.iter().filter(move |rule| {
        let names = &rule.spec().gateways;
        let named = names.iter().any(|name| complete_gateway(&name.value, rule.namespace()) == gateway);
        named && !rule.spec().is_delegate() && exported(world, rule, node)
    })
}

/// Does any server of a gateway open a rule's host?
pub fn opens(gateway: &Document<Gateway>, rule_namespace: &str, host: &str) -> bool {
    let mut servers = gateway.spec().servers.iter();
    servers.any(|server| !opened_by(server, gateway.namespace(), rule_namespace, host).is_empty())
}

fn opened(open: &Open<'_>, rule_namespace: &str, host: &str) -> Vec<String> {
    opened_by(open.server, open.gateway.namespace(), rule_namespace, host)
}

/// What of a rule's host a server opens: the narrower of the two names, if one covers the other. A server's host may be
/// for rules of one namespace only.
fn opened_by(server: &Server, gateway_namespace: &str, rule_namespace: &str, host: &str) -> Vec<String> {
    let Ok(wanted) = host.parse::<HostPattern>() else { return Vec::new() };
    let narrow = server.hosts.iter().filter_map(|written| {
        let namespace = written.value.split_once('/').map(|(namespace, _)| namespace);
        let for_rule = match namespace {
            None | Some("*") => true,
            Some(".") => rule_namespace == gateway_namespace,
            Some(namespace) => rule_namespace == namespace,
        };
        let offered: HostPattern = host_part(&written.value).parse().ok()?;
        match () {
            _ if !for_rule => None,
            _ if offered.covers(&wanted) => Some(wanted.to_string()),
            _ if wanted.covers(&offered) => Some(offered.to_string()),
            _ => None,
        }
    });
    let mut domains: Vec<String> = narrow.collect();
    domains.sort();
    domains.dedup();
    domains
}

fn to_https() -> Route {
    let redirect = Redirect {
        status: 301,
        scheme: Some("https".to_owned()),
        host: None,
        port: None,
        path: None,
        strip_query: false,
    };
    Route { name: HTTPS_REDIRECT.into(), ..Route::new(PathMatch::Prefix("/".into()), Action::Redirect(redirect)) }
}

/// TLS that passes through: a chain for each TLS rule, by its server names.
fn passed_through(world: &World, node: &Node, open: Open<'_>) -> Vec<FilterChain> {
    let gateway = open.gateway.full_name();
    let mut chains = Vec::new();
    for rule in bound(world, node, &gateway) {
        let reading = Reading { world, node, namespace: rule.namespace(), gateway: Some(&gateway), port: open.port };
        for (mut server_names, clusters) in tls_rules(rule.spec(), reading, At::Own) {
            server_names.retain(|sni| !opened(&open, rule.namespace(), sni).is_empty());
            if !server_names.is_empty() {
                let matches = ChainMatch { server_names, ..ChainMatch::default() };
                chains.push(chain(&format!("tls.{}", rule.name()), matches, None, raw(world, node, clusters)));
            }
        }
    }
    chains
}

/// Is there a server by whose server names all services are reached?
pub fn opens_all_services(gateway: &Gateway) -> bool {
    let auto = |tls: &ServerTlsSettings| tls.mode == ServerTlsMode::AutoPassthrough;
    gateway.servers.iter().any(|server| server.tls.as_ref().is_some_and(auto))
}

/// TLS of the mesh that passes through to the service, port and subset that its server name spells out: those of the
/// services that the gateway sees and whose hosts the server opens.
fn by_service(config: &mut Config, world: &World, node: &Node, open: Open<'_>) -> Vec<FilterChain> {
    let mut chains = Vec::new();
    for service in world.visible(node).into_iter().filter(|service| !service.external) {
        if opened(&open, &service.namespace, &service.host).is_empty() {
            continue;
        }
        for name in clusters::add_passed_through(config, world, node, &service) {
            let matches = ChainMatch { server_names: vec![name.to_ascii_lowercase()], ..ChainMatch::default() };
            chains.push(chain(
                &name,
                matches,
                None,
                raw(world, node, vec![WeightedTarget { cluster: name.clone(), weight: 1 }]),
            ));
        }
    }
    chains
}

fn tcp_targets(world: &World, node: &Node, open: Open<'_>) -> Vec<WeightedTarget> {
    let gateway = open.gateway.full_name();
    let targets = bound(world, node, &gateway).filter_map(|rule| {
        let reading = Reading { world, node, namespace: rule.namespace(), gateway: Some(&gateway), port: open.port };
        let tcp = tcp_rule(rule.spec(), reading, At::Own)?;
        Some(weighted(&tcp.route, reading)).filter(|targets| !targets.is_empty())
    });
    targets.into_iter().next().unwrap_or_default()
}

/// TLS that is ended by a gateway, or a sidecar that is told so; none for the modes that pass it through.
pub fn server_tls(settings: &ServerTlsSettings, http: bool) -> Option<DownstreamTls> {
    let mode = settings.mode;
    if matches!(mode, ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough) {
        return None;
    }
    let mesh = mode == ServerTlsMode::IstioMutual;
    let asks = !matches!(mode, ServerTlsMode::Simple);
    let skips = !mesh && settings.insecure_skip_verify == Some(true);
    let alpn: &[&str] = if http { &["h2", "http/1.1"] } else { &[] };
    let cipher_suites = cipher_suites(settings);
    let max = version(settings.max_protocol_version).unwrap_or(TlsVersion::V1_3);
    let min = version(settings.min_protocol_version).unwrap_or(TlsVersion::V1_2);
    // Who names only suites that are not spoken leaves nothing for 1.2.
    let nothing_for_1_2 = !settings.cipher_suites.is_empty() && cipher_suites.is_empty();
    Some(DownstreamTls {
        certificates: if mesh { vec![OWN_CERTIFICATE.into()] } else { certificates(settings) },
        validation: (asks && !skips).then(|| Validation {
            trust: if mesh { TRUST_BUNDLE.into() } else { roots(settings) },
            names: settings.subject_alt_names.iter().map(model::StringMatch::exact).collect(),
            pins: pins(settings),
        }),
        require_client_certificate: asks && mode != ServerTlsMode::OptionalMutual,
        alpn: alpn.iter().map(|p| p.to_string()).collect(),
        versions: TlsVersions { min: if nothing_for_1_2 { max } else { min }, max },
        cipher_suites,
    })
}

fn cipher_suites(settings: &ServerTlsSettings) -> Vec<String> {
    settings.cipher_suites.iter().filter(|suite| CIPHER_SUITES.contains(&suite.as_str())).cloned().collect()
}

/// Hashes that cannot be read were refused when the document came in; should one be here, nothing has it.
fn pins(settings: &ServerTlsSettings) -> Option<Box<CertificatePins>> {
    let pins = CertificatePins {
        certificates: settings.verify_certificate_hash.iter().map(|h| hex_hash(h).unwrap_or_default()).collect(),
        keys: settings.verify_certificate_spki.iter().map(|h| base64_hash(h).unwrap_or_default()).collect(),
    };
    (pins != CertificatePins::default()).then(|| Box::new(pins))
}

/// Older versions than 1.2 are refused by validation, and `TLS_AUTO` leaves it to the default.
fn version(written: TlsProtocol) -> Option<TlsVersion> {
    match written {
        TlsProtocol::Tlsv1_2 => Some(TlsVersion::V1_2),
        TlsProtocol::Tlsv1_3 => Some(TlsVersion::V1_3),
        _ => None,
    }
}

fn certificates(settings: &ServerTlsSettings) -> Vec<Arc<str>> {
    let names = settings.credential_names.iter().chain(Some(&settings.credential_name)).filter(|n| !n.is_empty());
    let held = names.map(|name| secrets::certificate(&name.value));
    let pair = |chain: &str, key: &str| (!chain.is_empty()).then(|| SecretFiles::Certificate { chain, key }.name());
    let single = pair(&settings.server_certificate, &settings.private_key);
    let several = settings.tls_certificates.iter().filter_map(|c| pair(&c.server_certificate, &c.private_key));
    held.chain(single).chain(several).collect()
}

fn roots(settings: &ServerTlsSettings) -> Arc<str> {
    let certificates = settings.credential_names.iter().filter(|_| settings.client_roots().is_none());
    let mut named = [&settings.ca_cert_credential_name, &settings.credential_name].into_iter().chain(certificates);
    match named.find(|name| !name.is_empty()) {
        Some(name) => secrets::roots(&name.value),
        None => {
            let crl = Some(settings.ca_crl.as_str()).filter(|crl| !crl.is_empty());
            SecretFiles::Roots { roots: settings.client_roots().unwrap_or_default(), crl }.name()
        }
    }
}
