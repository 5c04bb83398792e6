//! A configuration in few lines, for goldens that people can read.

use std::fmt::Write;

use model::cluster::{Discovery, Transport};
use model::route::Action;
use model::{Config, FilterChain, NetworkFilter, Route, RouteConfiguration};

/// Listeners and their chains.
pub fn listeners(config: &Config) -> String {
    let mut text = String::new();
    for listener in config.listeners.values() {
        let bound = if listener.bind { "" } else { " (not bound)" };
        writeln!(text, "{} at {}{bound}", listener.name, listener.address).unwrap();
        listener.chains.iter().for_each(|c| writeln!(text, "  {}", chain(c)).unwrap());
        listener.default_chain.iter().for_each(|c| writeln!(text, "  else {}", chain(c)).unwrap());
    }
    text
}

fn chain(chain: &FilterChain) -> String {
    let m = &chain.matches;
    let mut text = format!("{}:", chain.name);
    m.transport.iter().for_each(|t| write!(text, " {t:?}").unwrap());
    m.destination_ranges.iter().for_each(|net| write!(text, " to {net}").unwrap());
    m.server_names.iter().for_each(|name| write!(text, " sni {name}").unwrap());
    m.application_protocols.iter().for_each(|p| write!(text, " {p}").unwrap());
    if let Some(tls) = &chain.tls {
        write!(text, " [tls {} alpn {}", tls.certificates.join(","), tls.alpn.join(",")).unwrap();
        if tls.require_client_certificate {
            text.push_str(", mutual");
        }
        text.push(']');
    }
    match &chain.filter {
        NetworkFilter::Http(http) => match &http.routes {
            model::http_proxy::RouteSource::Rds(name) => write!(text, " -> http by {name}").unwrap(),
            model::http_proxy::RouteSource::Inline(table) => {
                write!(text, " -> http to {}", route(&table.hosts[0].routes[0])).unwrap()
            }
        },
        NetworkFilter::Tcp(tcp) => {
            let to: Vec<_> = tcp.clusters.iter().map(|c| format!("{} x{}", c.cluster, c.weight)).collect();
            write!(text, " -> tcp to {}", to.join(", ")).unwrap();
        }
    }
    text
}

/// One table of routes.
pub fn routes(table: &RouteConfiguration) -> String {
    let mut text = String::new();
    for host in &table.hosts {
        writeln!(text, "{} [{}]", host.name, host.domains.join(" ")).unwrap();
        host.routes.iter().for_each(|r| writeln!(text, "  {}", route(r)).unwrap());
    }
    text
}

fn route(route: &Route) -> String {
    let m = &route.matches;
    let mut text = format!("{:?}", m.path);
    for header in &m.headers {
        let not = if header.invert { "not " } else { "" };
        write!(text, " {not}{} {:?}", header.key.as_str(), header.value).unwrap();
    }
    m.query.iter().for_each(|q| write!(text, " ?{} {:?}", q.name, q.value).unwrap());
    for said in &m.metadata {
        let not = if said.invert { "not " } else { "" };
        write!(text, " {not}{} of {} {:?}", said.path.join("|"), said.filter, said.value).unwrap();
    }
    route.stat_prefix.iter().for_each(|name| write!(text, " counted as {name}").unwrap());
    route.fault.iter().for_each(|f| write!(text, " fault {f:?}").unwrap());
    route.filters.iter().flat_map(|rules| &rules.cors).for_each(|c| write!(text, " {c:?}").unwrap());
    match &route.action {
        Action::Forward(forward) => {
            let to: Vec<_> = forward.clusters.iter().map(|c| format!("{} x{}", c.name, c.weight)).collect();
            write!(text, " -> {}", to.join(", ")).unwrap();
            forward.timeout.iter().for_each(|t| write!(text, " timeout {t:?}").unwrap());
            match &forward.retry {
                Some(retry) => write!(text, " retry {} on {}", retry.attempts, retry.on.to_list()).unwrap(),
                None => text.push_str(" no retry"),
            }
            forward.path_rewrite.iter().for_each(|r| write!(text, " path {r:?}").unwrap());
            forward.mirrors.iter().for_each(|m| write!(text, " mirror {} {:?}", m.cluster, m.share).unwrap());
        }
        other => write!(text, " -> {other:?}").unwrap(),
    }
    text
}

/// Clusters with what lies before their endpoints, and the endpoints.
pub fn clusters(config: &Config) -> String {
    let mut text = String::new();
    for cluster in config.clusters.values() {
        let transport = match &cluster.transport {
            Transport::Plain => "plain".to_owned(),
            Transport::Tls(tls) => {
                format!("tls {:?} names {:?}", tls.sni, tls.validation.as_ref().map(|v| v.names.len()))
            }
            Transport::MeshTls(tls) => {
                format!(
                    "mesh tls {} names {}",
                    tls.sni.as_deref().unwrap_or(""),
                    tls.validation.as_ref().map_or(0, |v| v.names.len())
                )
            }
        };
        let set = match &cluster.discovery {
            Discovery::Eds(name) => config.endpoints.get(name).map(|set| &**set),
            Discovery::Static(set) | Discovery::StrictDns(set) | Discovery::LogicalDns(set) => Some(set),
            Discovery::OriginalDestination | Discovery::DynamicForward(_) => None,
        };
        let endpoints: Vec<_> = set.into_iter().flat_map(|set| set.iter()).map(|e| e.address.to_string()).collect();
        let (protocol, balancing) = (cluster.protocol, &cluster.balancing);
        writeln!(text, "{}: {protocol:?} {balancing:?} {transport} [{}]", cluster.name, endpoints.join(" ")).unwrap();
    }
    text
}
