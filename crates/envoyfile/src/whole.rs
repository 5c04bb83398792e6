//! How what a file gives goes together: names that stand for one thing, clusters that routes name, addresses that can be
//! bound. Over xDS such things come one by one, so that there only the whole of a file can be asked for them.

use std::collections::HashMap;

use model::cluster::{Balancing, Cluster, Discovery};
use model::http_proxy::RouteSource;
use model::route::Action;
use model::{Address, FilterChain, HeaderChanges, HttpProxy, Listener, NetworkFilter};
use serde_json::Value;
use telemetry::log::LogFormat;
use xds::Resource;
use xds::decode::Bootstrap;

use crate::secrets;

/// Something that does not go together with the rest: where, what is wrong, and what was expected.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    pub path: String,
    pub problem: String,
}

type Checked = Result<(), Wrong>;

pub fn wrong(path: impl Into<String>, problem: impl Into<String>) -> Checked {
    Err(Wrong { path: path.into(), problem: problem.into() })
}

/// Does everything go together? `written` is the file as it was read, for what a message does not keep.
///
/// # Errors
/// [`Wrong`]: the first thing that does not.
pub fn check(bootstrap: &Bootstrap, written: &Value) -> Checked {
    let given = Given::of(&bootstrap.resources);
    names_once("secrets", given.secrets.iter().map(|secret| &*secret.name))?;
    names_once("clusters", given.clusters.iter().map(|cluster| &*cluster.name))?;
    for (index, secret) in given.secrets.iter().enumerate() {
        secrets::inline(secret, &format!("static_resources.secrets[{index}]"))?;
    }
    for (index, cluster) in given.clusters.iter().enumerate() {
        self::cluster(cluster, &format!("static_resources.clusters[{index}]"))?;
    }
    addresses_once(&given.listeners)?;
    for (index, listener) in given.listeners.iter().enumerate() {
        self::listener(listener, &given, &written["static_resources"]["listeners"][index], index)?;
    }
    match &bootstrap.control {
        Some(control) if !given.has_cluster(&control.cluster) => wrong(
            "dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name",
            format!("is `{}`, which is no cluster; expected one of `static_resources.clusters`", control.cluster),
        ),
        _ => Ok(()),
    }
}

/// What a file gives, by kind.
struct Given<'a> {
    secrets: Vec<&'a model::Secret>,
    clusters: Vec<&'a Cluster>,
    listeners: Vec<&'a Listener>,
}

impl<'a> Given<'a> {
    fn of(resources: &'a [Resource]) -> Self {
        let mut given = Self { secrets: Vec::new(), clusters: Vec::new(), listeners: Vec::new() };
        for resource in resources {
            match resource {
                Resource::Secret(secret) => given.secrets.push(secret),
                Resource::Cluster(cluster) => given.clusters.push(cluster),
                Resource::Listener(listener) => given.listeners.push(listener),
                _ => {}
            }
        }
        given
    }

    fn has_cluster(&self, name: &str) -> bool {
        self.clusters.iter().any(|cluster| *cluster.name == *name)
    }
}

fn names_once<'a>(kind: &str, names: impl Iterator<Item = &'a str>) -> Checked {
    let mut seen = HashMap::new();
    for (index, name) in names.enumerate() {
        if let Some(first) = seen.insert(name, index) {
            let path = format!("static_resources.{kind}[{index}].name");
            return wrong(path, format!("is `{name}`, as of {kind}[{first}]; expected each name once"));
        }
    }
    Ok(())
}

fn cluster(cluster: &Cluster, path: &str) -> Checked {
    secrets::of_upstream(&cluster.transport, &format!("{path}.transport_socket.typed_config.common_tls_context"))?;
    if cluster.balancing == Balancing::Provided && !cluster.discovery.is_by_itself() {
        let problem =
            "leaves the choice to the cluster, which makes none; expected the type ORIGINAL_DST, or another policy";
        return wrong(format!("{path}.lb_policy"), problem);
    }
    match &cluster.discovery {
        Discovery::LogicalDns(set) if set.iter().count() != 1 => {
            let problem = format!("have {} endpoints; expected one, or the type STRICT_DNS", set.iter().count());
            wrong(format!("{path}.load_assignment.endpoints"), problem)
        }
        Discovery::Static(set) => {
            for (group, locality) in set.localities.iter().enumerate() {
                for (index, endpoint) in locality.endpoints.iter().enumerate() {
                    if let Address::Host { host, .. } = &endpoint.address {
                        let place = format!("{path}.load_assignment.endpoints[{group}].lb_endpoints[{index}]");
                        let problem =
                            format!("is `{host}`; expected an IP address, or the type STRICT_DNS or LOGICAL_DNS");
                        return wrong(format!("{place}.endpoint.address.socket_address.address"), problem);
                    }
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// No two listeners may be bound to one address. Port 0 is another one each time.
fn addresses_once(listeners: &[&Listener]) -> Checked {
    for (index, listener) in listeners.iter().enumerate().filter(|(_, listener)| listener.bind) {
        let is_any = listener.address.socket_addr().is_some_and(|address| address.port() == 0);
        let same = |other: &&&Listener| other.bind && other.address == listener.address && other.name != listener.name;
        if let Some(other) = listeners[..index].iter().find(same).filter(|_| !is_any) {
            let path = format!("static_resources.listeners[{index}].address");
            return wrong(path, format!("is that of the listener `{}` too; expected another", other.name));
        }
    }
    Ok(())
}

fn listener(listener: &Listener, given: &Given<'_>, written: &Value, index: usize) -> Checked {
    let path = format!("static_resources.listeners[{index}]");
    if let Address::Host { host, .. } = &listener.address {
        return wrong(format!("{path}.address.socket_address.address"), format!("is `{host}`; expected an IP address"));
    }
    if listener.chains.is_empty() && listener.default_chain.is_none() {
        return wrong(format!("{path}.filter_chains"), "is empty; expected one or more, or a `default_filter_chain`");
    }
    for (number, chain) in listener.chains.iter().enumerate() {
        let place = format!("{path}.filter_chains[{number}]");
        if let Some(first) = listener.chains[..number].iter().position(|other| other.matches == chain.matches) {
            let problem = format!("is that of filter_chains[{first}] too; expected each match once");
            return wrong(format!("{place}.filter_chain_match"), problem);
        }
        self::chain(chain, given, &written["filter_chains"][number], &place)?;
    }
    match &listener.default_chain {
        Some(chain) => {
            self::chain(chain, given, &written["default_filter_chain"], &format!("{path}.default_filter_chain"))
        }
        None => Ok(()),
    }
}

fn chain(chain: &FilterChain, given: &Given<'_>, written: &Value, path: &str) -> Checked {
    for (index, name) in chain.matches.server_names.iter().enumerate() {
        if name.contains('*') && !name.starts_with("*.") {
            let problem = format!("is `{name}`; expected a name whose first label alone may be `*`");
            return wrong(format!("{path}.filter_chain_match.server_names[{index}]"), problem);
        }
    }
    if let Some(tls) = &chain.tls {
        secrets::of_downstream(tls, &format!("{path}.transport_socket.typed_config.common_tls_context"))?;
    }
    // Rules of access stand before it.
    let last = chain.access.len();
    let path = format!("{path}.filters[{last}].typed_config");
    let logs = match &chain.filter {
        NetworkFilter::Http(http) => {
            hosts_and_weights(http, &path)?;
            routes(http, given, &written["filters"][last]["typed_config"]["route_config"], &path)?;
            &http.access_logs
        }
        NetworkFilter::Tcp(tcp) => &tcp.access_logs,
    };
    for (index, log) in logs.iter().enumerate() {
        // A service takes entries, which have no form of their own.
        let model::access_log::LogTarget::File(file) = &log.to else { continue };
        if let Err(error) = log_format(&file.format) {
            return wrong(format!("{path}.access_log[{index}].typed_config"), error.to_string());
        }
    }
    Ok(())
}

fn log_format(format: &model::access_log::LogFormat) -> Result<(), telemetry::log::FormatError> {
    use model::access_log::LogFormat as Written;
    match format {
        Written::Default => Ok(()),
        Written::Text(text) => LogFormat::text(text).map(|_| ()),
        Written::Json(members) => {
            let members = members.iter().map(|(key, value)| (key.clone(), value.clone().into()));
            LogFormat::json(&Value::Object(members.collect())).map(|_| ())
        }
    }
}

/// No route may take the host off a request, and weights are counted in 32 bits.
fn hosts_and_weights(http: &HttpProxy, path: &str) -> Checked {
    let RouteSource::Inline(table) = &http.routes else { return Ok(()) };
    let removed = |changes: &HeaderChanges, path: String| match changes.remove().iter().position(|name| name == "host")
    {
        Some(index) => wrong(
            format!("{path}.request_headers_to_remove[{index}]"),
            "is `host`, which cannot be removed; expected another header",
        ),
        None => Ok(()),
    };
    for (at_host, host) in table.hosts.iter().enumerate() {
        let path = format!("{path}.route_config.virtual_hosts[{at_host}]");
        removed(&host.request_headers, path.clone())?;
        for (at_route, route) in host.routes.iter().enumerate() {
            let path = format!("{path}.routes[{at_route}]");
            removed(&route.request_headers, path.clone())?;
            let Action::Forward(forward) = &route.action else { continue };
            let sum: u64 = forward.clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
            if sum > u64::from(u32::MAX) {
                let problem = format!("have weights of {sum} together; expected at most {}", u32::MAX);
                return wrong(format!("{path}.route.weighted_clusters.clusters"), problem);
            }
        }
    }
    Ok(())
}

/// Envoy asks for the clusters of routes that stand in a listener, unless it is told not to.
fn routes(http: &HttpProxy, given: &Given<'_>, written: &Value, path: &str) -> Checked {
    let RouteSource::Inline(table) = &http.routes else { return Ok(()) };
    let said = written.get("validate_clusters").or_else(|| written.get("validateClusters"));
    if said == Some(&Value::Bool(false)) {
        return Ok(());
    }
    for (at_host, host) in table.hosts.iter().enumerate() {
        for (at_route, route) in host.routes.iter().enumerate() {
            let Action::Forward(forward) = &route.action else { continue };
            let named = forward.clusters.iter().map(|cluster| &*cluster.name);
            let named = named.chain(forward.mirrors.iter().map(|mirror| &*mirror.cluster));
            if let Some(name) = named.into_iter().find(|name| !given.has_cluster(name)) {
                return wrong(
                    format!("{path}.route_config.virtual_hosts[{at_host}].routes[{at_route}].route"),
                    format!(
                        "names the cluster `{name}`, which is not there; expected one of `static_resources.clusters`, or `validate_clusters: false`"
                    ),
                );
            }
        }
    }
    Ok(())
}
