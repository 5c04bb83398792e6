//! Where a patch holds: at which proxies, and at which listeners, chains, routes and clusters of theirs.

use std::collections::BTreeMap;

use api::istio::{ApplyTo, ClusterMatch, FilterChainMatch, ListenerMatch, PatchContext, RouteAction};
use regex::Regex;
use schema::DynamicMessage;
use translate::{Node, Role};

use super::change::text;
use super::patch::Patch;

/// The version of Istio whose interface this is: what `proxyVersion` is compared with.
pub const ISTIO: &str = "1.30.0";

/// What of a proxy patches ask for.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// A gateway's ports that are bound elsewhere than a `Gateway` says.
    gateway: Option<BTreeMap<u16, u16>>,
}

impl Side {
    /// Of a proxy.
    pub fn of(node: &Node) -> Self {
        match &node.role {
            Role::Gateway { ports, .. } => Self { gateway: Some(ports.clone()) },
            Role::Sidecar { .. } | Role::Program => Self::default(),
        }
    }

    /// Does it stand at the edge?
    pub fn is_gateway(&self) -> bool {
        self.gateway.is_some()
    }

    fn context(&self, inbound: bool) -> PatchContext {
        match (self.is_gateway(), inbound) {
            (true, _) => PatchContext::Gateway,
            (_, true) => PatchContext::SidecarInbound,
            (_, false) => PatchContext::SidecarOutbound,
        }
    }

    /// Is a port the one that is asked for, as it is bound or as a `Gateway` has it? 0 asks for any.
    fn is_port(&self, asked: u32, port: u32) -> bool {
        let bound = |asked: u32| {
            let ports = self.gateway.as_ref()?;
            ports.get(&u16::try_from(asked).ok()?).map(|bound| u32::from(*bound))
        };
        asked == 0 || asked == port || bound(asked) == Some(port)
    }
}

/// Does a patch hold at proxies, by what its condition says of them? Ours tell no metadata.
pub fn holds(patch: &Patch) -> bool {
    holds_at_version(patch) && patch.matches.proxy.as_ref().is_none_or(|proxy| proxy.metadata.is_empty())
}

/// Does it hold at this version?
pub fn holds_at_version(patch: &Patch) -> bool {
    let version = patch.matches.proxy.as_ref().map(|proxy| proxy.proxy_version.as_str()).unwrap_or_default();
    version.is_empty() || Regex::new(version).is_ok_and(|pattern| pattern.is_match(ISTIO))
}

fn in_context(patch: &Patch, side: &Side, inbound: bool) -> bool {
    let asked = patch.matches.context;
    asked == PatchContext::Any || asked == side.context(inbound)
}

/// Is this listener meant?
pub fn is_listener(patch: &Patch, listener: &DynamicMessage, side: &Side) -> bool {
    let name = text(listener, "name");
    let inbound = name.starts_with(INBOUND);
    if !in_context(patch, side, inbound) {
        return false;
    }
    let Some(asked) = &patch.matches.listener else { return true };
    is_listener_name(asked, &name, inbound)
        && (is_virtual(&name) || side.is_port(asked.port_number, port(listener, &name)))
}

/// Our listeners for what comes in have a port each, where Istio has chains of one listener.
const INBOUND: &str = "inbound_";
const ISTIO_INBOUND: &str = "virtualInbound";
const OUTBOUND: &str = "virtualOutbound";

fn is_virtual(name: &str) -> bool {
    name.starts_with(OUTBOUND)
}

fn is_listener_name(asked: &ListenerMatch, name: &str, inbound: bool) -> bool {
    match asked.name.as_str() {
        "" => true,
        ISTIO_INBOUND => inbound,
        OUTBOUND => is_virtual(name),
        asked => asked == name,
    }
}

/// The port that a listener stands for: the program's, for what comes in.
fn port(listener: &DynamicMessage, name: &str) -> u32 {
    if let Some(port) = name.strip_prefix(INBOUND).and_then(|rest| rest.rsplit('_').next()?.parse().ok()) {
        return port;
    }
    let socket = listener.get_field_by_name("address").and_then(|address| {
        address
            .as_message()?
            .get_field_by_name("socket_address")?
            .as_message()?
            .get_field_by_name("port_value")?
            .as_u32()
    });
    socket.unwrap_or_default()
}

/// Is this chain of a listener that is meant, meant?
pub fn is_chain(patch: &Patch, chain: &DynamicMessage, listener: &DynamicMessage) -> bool {
    let asked = patch.matches.listener.as_ref();
    let Some(FilterChainMatch { name, sni, transport_protocol, application_protocols, destination_port, .. }) =
        asked.and_then(|listener| listener.filter_chain.as_ref())
    else {
        return true;
    };
    let matches = chain.get_field_by_name("filter_chain_match").and_then(|it| it.as_message().cloned());
    let has = |field: &str, wanted: &str| {
        let values =
            matches.as_ref().and_then(|matches| matches.get_field_by_name(field)?.as_list().map(<[_]>::to_vec));
        values.is_some_and(|values| values.iter().any(|value| value.as_str() == Some(wanted)))
    };
    let own_port = matches.as_ref().and_then(|matches| {
        matches.get_field_by_name("destination_port")?.as_message()?.get_field_by_name("value")?.as_u32()
    });
    let port = own_port.filter(|port| *port != 0).unwrap_or_else(|| port(listener, &text(listener, "name")));
    (name.is_empty() || *name == text(chain, "name"))
        && (sni.is_empty() || has("server_names", sni))
        && (transport_protocol.is_empty()
            || matches.as_ref().is_some_and(|matches| text(matches, "transport_protocol") == *transport_protocol))
        && (application_protocols.is_empty()
            || application_protocols.split(',').all(|protocol| has("application_protocols", protocol.trim())))
        && (*destination_port == 0 || *destination_port == port)
}

/// The name of the listener filter that is asked for.
pub fn listener_filter(patch: &Patch) -> Option<&str> {
    patch.matches.listener.as_ref().map(|listener| listener.listener_filter.as_str()).filter(|name| !name.is_empty())
}

/// The name of the network filter that is asked for.
pub fn network_filter(patch: &Patch) -> Option<&str> {
    let chain = patch.matches.listener.as_ref()?.filter_chain.as_ref()?;
    chain.filter.as_ref().map(|filter| filter.name.as_str())
}

/// The name of the HTTP filter that is asked for.
pub fn http_filter(patch: &Patch) -> Option<&str> {
    let chain = patch.matches.listener.as_ref()?.filter_chain.as_ref()?;
    chain.filter.as_ref()?.sub_filter.as_ref().map(|filter| filter.name.as_str())
}

/// Is this route configuration meant? Its name is Istio's: a port, `inbound|port||`, `http.port` or
/// `https.port.name.gateway.namespace`.
pub fn is_table(patch: &Patch, name: &str, side: &Side) -> bool {
    if !in_context(patch, side, name.starts_with("inbound|")) {
        return false;
    }
    let Some(asked) = &patch.matches.route_configuration else { return true };
    let parts: Vec<&str> = name.split(['.', '|', ':']).collect();
    let port = match parts.as_slice() {
        ["http" | "https" | "inbound", port, ..] => port.parse().ok(),
        [port] => port.parse().ok(),
        [.., port] => port.parse().ok(),
        [] => None,
    };
    let gateway = match parts.as_slice() {
        ["https", _, _, gateway, namespace] => format!("{namespace}/{gateway}"),
        _ => String::new(),
    };
    (asked.name.is_empty() || asked.name == name)
        && (asked.port_number == 0 || port.is_some_and(|port| side.is_port(asked.port_number, port)))
        && (asked.port_name.is_empty() || parts.get(2) == Some(&asked.port_name.as_str()))
        && (asked.gateway.is_empty() || asked.gateway == gateway)
}

/// Is this virtual host of a table that is meant, meant?
pub fn is_host(patch: &Patch, host: &DynamicMessage) -> bool {
    let asked = patch.matches.route_configuration.as_ref().and_then(|table| table.vhost.as_ref());
    let Some(asked) = asked else { return true };
    let has_domain = || {
        let domains = host.get_field_by_name("domains").and_then(|list| list.as_list().map(<[_]>::to_vec));
        domains.is_some_and(|list| list.iter().any(|domain| domain.as_str() == Some(asked.domain_name.as_str())))
    };
    (asked.name.is_empty() || asked.name == text(host, "name")) && (asked.domain_name.is_empty() || has_domain())
}

/// Is a single route asked for?
pub fn asks_for_route(patch: &Patch) -> bool {
    let host = patch.matches.route_configuration.as_ref().and_then(|table| table.vhost.as_ref());
    host.is_some_and(|host| host.route.is_some())
}

/// Is this route of a virtual host that is meant, meant?
pub fn is_route(patch: &Patch, route: &DynamicMessage) -> bool {
    let host = patch.matches.route_configuration.as_ref().and_then(|table| table.vhost.as_ref());
    let Some(asked) = host.and_then(|host| host.route.as_ref()) else { return true };
    let does = match asked.action {
        RouteAction::Any => true,
        RouteAction::Route => route.has_field_by_name("route"),
        RouteAction::Redirect => route.has_field_by_name("redirect"),
        RouteAction::DirectResponse => route.has_field_by_name("direct_response"),
    };
    does && (asked.name.is_empty() || asked.name == text(route, "name"))
}

/// Is this cluster meant? Its name is Istio's: `direction|port|subset|host`.
pub fn is_cluster(patch: &Patch, name: &str, service: Option<&str>, side: &Side) -> bool {
    if patch.apply_to != ApplyTo::Cluster || !in_context(patch, side, name.starts_with("inbound|")) {
        return false;
    }
    let Some(asked) = &patch.matches.cluster else { return true };
    let ClusterMatch { port_number, service: host, subset, name: whole } = asked;
    if !whole.is_empty() {
        return whole == name;
    }
    let parts: Vec<&str> = name.splitn(4, '|').collect();
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    (*port_number == 0 || part(1).parse() == Ok(*port_number))
        && (subset.is_empty() || part(2) == subset)
        && (host.is_empty() || part(3) == host || service == Some(host))
}
