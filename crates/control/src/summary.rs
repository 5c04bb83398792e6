//! A configuration for people: the names of its resources, and a few lines on what each says. Never a secret.

use model::cluster::{Discovery, Localities, Transport, UpstreamProtocol};
use model::endpoint::Health;
use model::http_proxy::{HttpFilter, RouteSource};
use model::listener::{Direction, FilterChain, Guard, NetworkFilter};
use model::route::{Action, Route};
use model::secret::SecretValue;
use model::{
    ApiListener, CircuitBreakers, Cluster, Config, ConnectionLimits, EndpointSet, Listener, NameTable,
    OutlierDetection, ResourceKind, RouteConfiguration, Secret, VirtualHost,
};

use crate::v1::{ConfigResource, KindConfig};

/// Every resource, by kind in the order of sending.
pub fn kinds(config: &Config) -> Vec<KindConfig> {
    ResourceKind::ALL.into_iter().map(|kind| one_kind(config, kind)).collect()
}

fn one_kind(config: &Config, kind: ResourceKind) -> KindConfig {
    let resources = match kind {
        ResourceKind::Cluster => each(&config.clusters, cluster),
        ResourceKind::Endpoints => each(&config.endpoints, endpoints),
        ResourceKind::Listener => {
            each(&config.listeners, listener).into_iter().chain(each(&config.api_listeners, api_listener)).collect()
        }
        ResourceKind::Route => each(&config.routes, routes),
        ResourceKind::VirtualHost => each(&config.virtual_hosts, virtual_host),
        ResourceKind::Secret => each(&config.secrets, secret),
        ResourceKind::Names => each(&config.names, names),
        ResourceKind::Runtime => each(&config.limits, connection_limits),
    };
    KindConfig { kind: kind.short().to_owned(), resources }
}

fn each<T>(
    resources: &std::collections::BTreeMap<std::sync::Arc<str>, std::sync::Arc<T>>,
    summary: fn(&T) -> Vec<String>,
) -> Vec<ConfigResource> {
    let one = |(name, resource): (&std::sync::Arc<str>, &std::sync::Arc<T>)| ConfigResource {
        name: name.to_string(),
        summary: summary(resource),
    };
    resources.iter().map(one).collect()
}

fn cluster(cluster: &Cluster) -> Vec<String> {
    let discovery = match &cluster.discovery {
        Discovery::Eds(name) => format!("endpoints: discovered as {name}"),
        Discovery::Static(set) => format!("endpoints: {}", endpoints(set).join(", ")),
        Discovery::StrictDns(set) => format!("endpoints: all addresses of {}", endpoints(set).join(", ")),
        Discovery::LogicalDns(set) => format!("endpoints: an address of {}", endpoints(set).join(", ")),
        Discovery::OriginalDestination => "endpoints: where the connection was going".to_owned(),
        Discovery::DynamicForward(_) => "endpoints: the host that a request names".to_owned(),
    };
    let protocol = match cluster.protocol {
        UpstreamProtocol::Http1 => "HTTP/1.1",
        UpstreamProtocol::Http2 => "HTTP/2",
        UpstreamProtocol::Auto => "as agreed by ALPN",
        UpstreamProtocol::SameAsDownstream => "as the caller's",
    };
    let tls = match &cluster.transport {
        Transport::Plain => "none".to_owned(),
        Transport::Tls(tls) => format!("always{}", sni(tls.sni.as_deref())),
        Transport::MeshTls(tls) => format!("mutual, to endpoints of the mesh{}", sni(tls.sni.as_deref())),
    };
    let localities = match cluster.localities {
        Localities::Alike => "",
        Localities::Weighted => ", localities by weight",
        Localities::Zones(_) => ", the own zone first",
    };
    let dialled = if cluster.prefers_dialled { ", after the one that was dialled" } else { "" };
    let balancing = format!("balancing: {}{localities}{dialled}", cluster.balancing);
    let blocks: Vec<String> = cluster.workloads.iter().map(ToString::to_string).collect();
    let workloads = (!blocks.is_empty()).then(|| format!("workloads are asked for in: {}", blocks.join(", ")));
    let check = cluster.health_check.as_ref().map(|check| format!("health check: {check}"));
    let header = cluster.connections.as_ref().and_then(|options| options.proxy_header);
    let header = if header.is_some() { ", after a PROXY header" } else { "" };
    let lines = [discovery, format!("TLS: {tls}{header}"), format!("protocol: {protocol}"), balancing];
    let limits = cluster.circuit_breakers.as_deref().and_then(breakers);
    let outliers = cluster.outlier_detection.as_deref().map(outliers);
    lines.into_iter().chain(workloads).chain(check).chain(limits).chain(outliers).collect()
}

/// What is at most under way, if something is limited.
fn breakers(at_most: &CircuitBreakers) -> Option<String> {
    let limits = [
        (at_most.max_connections, "connections"),
        (at_most.max_pending_requests, "waiting requests"),
        (at_most.max_requests, "requests"),
        (at_most.max_retries, "retries"),
    ];
    let set = limits.into_iter().filter(|(limit, _)| *limit != CircuitBreakers::UNLIMITED);
    let words: Vec<String> = set.map(|(limit, what)| format!("{limit} {what}")).collect();
    (!words.is_empty()).then(|| format!("at most: {}", words.join(", ")))
}

fn outliers(of: &OutlierDetection) -> String {
    let after = match of.consecutive_5xx {
        0 => "failures".to_owned(),
        count => format!("{count} errors in a row"),
    };
    let (interval, out, share) = (of.interval, of.base_ejection_time, of.max_ejection_percent);
    format!("left out after {after}: for {out:?}, looked at every {interval:?}, at most {share} %")
}

fn sni(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(", asking for {name}"))
}

fn endpoints(set: &EndpointSet) -> Vec<String> {
    let mut lines = Vec::new();
    for group in &set.localities {
        for endpoint in &group.endpoints {
            let mut line = endpoint.address.to_string();
            if let Some(workload) = &endpoint.workload {
                line += &format!(" {}.{}", workload.name, workload.namespace);
            }
            let health = match endpoint.health {
                Health::Healthy => "",
                Health::Unhealthy => " unhealthy",
                Health::Draining => " draining",
                Health::Degraded => " degraded",
            };
            line += health;
            line += if endpoint.mesh_tls { " mutual TLS" } else { "" };
            if endpoint.weight != 1 {
                line += &format!(" weight {}", endpoint.weight);
            }
            if group.priority != 0 {
                line += &format!(" priority {}", group.priority);
            }
            lines.push(line);
        }
    }
    lines
}

fn listener(listener: &Listener) -> Vec<String> {
    let direction = match listener.direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
        Direction::Unspecified => "gateway",
    };
    let bind = if listener.bind { "" } else { " (not bound: reached by the original destination)" };
    let mut lines = vec![format!("{direction} on {}{bind}", listener.address)];
    lines.extend(listener.chains.iter().map(chain));
    lines.extend(listener.default_chain.iter().map(|c| format!("otherwise, {}", chain(c))));
    lines
}

fn api_listener(listener: &ApiListener) -> Vec<String> {
    let RouteSource::Rds(routes) = &listener.http.routes else { return Vec::new() };
    vec![format!("a program's own calls, by the routes {routes}")]
}

fn chain(chain: &FilterChain) -> String {
    let matches = &chain.matches;
    let mut when: Vec<String> = Vec::new();
    when.extend(matches.destination_port.map(|port| format!("port {port}")));
    when.extend(
        (!matches.destination_ranges.is_empty())
            .then(|| matches.destination_ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")),
    );
    when.extend((!matches.server_names.is_empty()).then(|| format!("for {}", matches.server_names.join(" or "))));
    when.extend(matches.transport.map(|t| {
        match t {
            model::chain::TransportKind::Plain => "plain",
            model::chain::TransportKind::Tls => "TLS",
        }
        .to_owned()
    }));
    when.extend((!matches.application_protocols.is_empty()).then(|| matches.application_protocols.join(" or ")));
    let when = if when.is_empty() { "any".to_owned() } else { when.join(", ") };
    let tls = match &chain.tls {
        None => "",
        Some(tls) if tls.require_client_certificate => " ends mutual TLS,",
        Some(_) => " ends TLS,",
    };
    let to = match &chain.filter {
        NetworkFilter::Http(http) => match &http.routes {
            RouteSource::Rds(name) => format!("HTTP by the routes {name}{}", limits(&http.filters)),
            RouteSource::Inline(routes) => {
                format!("HTTP by its own routes ({}){}", hosts(routes), limits(&http.filters))
            }
        },
        NetworkFilter::Tcp(tcp) => {
            let to: Vec<String> =
                tcp.clusters.iter().map(|to| share(&to.cluster, to.weight, tcp.clusters.len())).collect();
            let tunnel = tcp.tunnel.as_ref().map(|tunnel| format!(", through a tunnel to {}", tunnel.target));
            format!("TCP to {}{}", to.join(", "), tunnel.unwrap_or_default())
        }
    };
    let rules = chain.access.iter().filter(|guard| matches!(guard, Guard::Rules(_))).count();
    let mut asked = match rules {
        0 => String::new(),
        1 => " asks rules of access,".to_owned(),
        count => format!(" asks {count} sets of rules of access,"),
    };
    for guard in &chain.access {
        if let Guard::Service(asks) = guard {
            asked += &format!(" asks {},", asks.service.service.cluster);
        }
    }
    format!("{when}:{tls}{asked} {to}")
}

/// What comes in at once, and by whose tokens.
fn limits(filters: &[HttpFilter]) -> String {
    let limit = |filter: &HttpFilter| match filter {
        HttpFilter::AdaptiveConcurrency(limit) => Some(format!(", {limit}")),
        HttpFilter::Access(access) => access.rules.as_ref().map(|rules| {
            let rules = rules.rules();
            format!(", {} by {} rules of access", rules.action, rules.policies.len())
        }),
        HttpFilter::OAuth2(login) => Some(format!(", after login at {}", login.authorization_endpoint)),
        HttpFilter::ExtAuthz(asks) => Some(format!(", asked of {}", asks.service.cluster())),
        HttpFilter::Jwt(tokens) => {
            let issuers: Vec<&str> = tokens.providers.values().map(|provider| provider.issuer.as_str()).collect();
            Some(format!(", tokens of {}", issuers.join(" and ")))
        }
        HttpFilter::Lua(script) => Some(format!(", through the script {}", script.name)),
        HttpFilter::Wasm(module) => Some(format!(", through the module {}", module.name)),
        _ => None,
    };
    filters.iter().filter_map(limit).collect()
}

fn hosts(routes: &RouteConfiguration) -> String {
    let count: usize = routes.hosts.iter().map(|host| host.routes.len()).sum();
    format!("{} hosts, {count} routes", routes.hosts.len())
}

fn share(cluster: &str, weight: u32, of: usize) -> String {
    if of == 1 { cluster.to_owned() } else { format!("{cluster} ({weight})") }
}

fn routes(routes: &RouteConfiguration) -> Vec<String> {
    let own = routes.hosts.iter().flat_map(virtual_host);
    let more = routes.on_demand.then(|| "other hosts on demand, by the name that a request asks for".to_owned());
    own.chain(more).collect()
}

fn virtual_host(host: &VirtualHost) -> Vec<String> {
    let mut lines = vec![format!("host {}", host.domains.join(", "))];
    lines.extend(host.routes.iter().map(|r| format!("  {}", route(r))));
    lines
}

fn route(route: &Route) -> String {
    let matches = &route.matches;
    let mut line = matches.path.to_string();
    for header in &matches.headers {
        line += &format!(" if {header}");
    }
    for query in &matches.query {
        line += &format!(" if the query's {query}");
    }
    line += " -> ";
    line += &match &route.action {
        Action::Forward(forward) => {
            let to = forward.clusters.iter().map(|to| share(&to.name, to.weight, forward.clusters.len()));
            to.collect::<Vec<_>>().join(", ")
        }
        Action::Redirect(redirect) => format!("redirect {}", redirect.status),
        Action::Respond(respond) => format!("answer {}", respond.status),
    };
    if let Action::Forward(forward) = &route.action {
        line += &forward.timeout.map_or_else(String::new, |t| format!(", at most {}", base::format_duration(t)));
        line += if forward.retry.is_some() { ", retried" } else { "" };
        line += if forward.mirrors.is_empty() { "" } else { ", mirrored" };
    }
    line += if route.fault.is_some() { ", with faults" } else { "" };
    line
}

fn secret(secret: &Secret) -> Vec<String> {
    match &secret.value {
        SecretValue::Certificate { .. } => vec!["certificate and key (not shown)".to_owned()],
        SecretValue::Generic(_) => vec!["a secret (not shown)".to_owned()],
        SecretValue::Trust { by_domain, .. } => {
            let mut lines = vec!["roots of trust".to_owned()];
            lines.extend(by_domain.iter().map(|(domain, _)| format!("and those of {domain}")));
            lines
        }
    }
}

fn names(table: &NameTable) -> Vec<String> {
    let one = |(name, ips): (&String, &Vec<std::net::IpAddr>)| {
        let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
        format!("{name} {}", ips.join(" "))
    };
    let limit = table.limit.iter().map(|limit| {
        let names = if limit.names.is_empty() { "none".to_owned() } else { limit.names.join(" ") };
        format!("other names that may be asked for, by the EgressPolicy {}: {names}", limit.policies)
    });
    limit.chain(table.names.iter().map(one)).collect()
}

fn connection_limits(limits: &ConnectionLimits) -> Vec<String> {
    let common = limits.common.map(|most| format!("at most {most} connections to all listeners"));
    let by_listener = limits.by_listener.iter().map(|(name, most)| format!("at most {most} connections to {name}"));
    common.into_iter().chain(by_listener).collect()
}
