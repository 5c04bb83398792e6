//! What a patch does to one resource.

use api::istio::{ApplyTo, PatchOperation};
use schema::{DynamicMessage, Field};
use xds::{DecodeError, Resource};

use super::change::{Lists, below, in_config, in_list, is_named, list, merge, merge_named, text};
use super::patch::Patch;
use super::place::{self, Side};

/// What a patch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nothing: it is meant for something else.
    Nothing,
    /// The resource is another one.
    Changed,
    /// The resource is to go.
    Gone,
}

impl From<bool> for Done {
    fn from(is_other: bool) -> Self {
        if is_other { Self::Changed } else { Self::Nothing }
    }
}

type Edited<T> = Result<T, DecodeError>;

/// A resource, as its message.
pub fn resource(patch: &Patch, of: &Resource, message: &mut DynamicMessage, side: &Side) -> Edited<Done> {
    match of {
        Resource::Cluster(of) => cluster(patch, message, side, of.service.as_ref().map(|service| &*service.host)),
        Resource::Listener(_) => listener(patch, message, side),
        Resource::Route(_) => table(patch, message, side),
        Resource::VirtualHost(name, _) => lone_host(patch, message, name.split('/').next().unwrap_or_default(), side),
        Resource::ApiListener(_)
        | Resource::Endpoints(_)
        | Resource::Secret(_)
        | Resource::Names(..)
        | Resource::Limits(_) => Ok(Done::Nothing),
    }
}

/// A cluster; `service` is the host of the one behind it.
fn cluster(patch: &Patch, cluster: &mut DynamicMessage, side: &Side, service: Option<&str>) -> Edited<Done> {
    let name = text(cluster, "name");
    if !place::is_cluster(patch, &name, service, side) {
        return Ok(Done::Nothing);
    }
    match (&patch.value, patch.operation) {
        (_, PatchOperation::Remove) => Ok(Done::Gone),
        (Some(value), _) if patch.merges() => with_socket(cluster, value, patch, &name).map(|()| Done::Changed),
        _ => Ok(Done::Nothing),
    }
}

/// A listener and all that is in it.
fn listener(patch: &Patch, listener: &mut DynamicMessage, side: &Side) -> Edited<Done> {
    if matches!(patch.apply_to, ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute) {
        return in_inline_tables(patch, listener, side);
    }
    if !place::is_listener(patch, listener, side) {
        return Ok(Done::Nothing);
    }
    match (patch.apply_to, patch.operation, &patch.value) {
        (ApplyTo::Listener, PatchOperation::Remove, _) => Ok(Done::Gone),
        (ApplyTo::Listener, _, Some(value)) if patch.merges() => {
            merge(listener, value, Lists::of(patch.operation));
            Ok(Done::Changed)
        }
        (ApplyTo::ListenerFilter, ..) => {
            let (name, anchor) = (text(listener, "name"), place::listener_filter(patch));
            let Some(filters) = list(listener, "listener_filters") else { return Ok(Done::Nothing) };
            in_filters(patch, filters, anchor, &name).map(Done::from)
        }
        (ApplyTo::FilterChain, PatchOperation::Add, Some(value)) => {
            let Some(chains) = list(listener, "filter_chains") else { return Ok(Done::Nothing) };
            chains.push(Field::Message(value.clone()));
            Ok(Done::Changed)
        }
        (ApplyTo::FilterChain | ApplyTo::NetworkFilter | ApplyTo::HttpFilter, ..) => in_chains(patch, listener),
        _ => Ok(Done::Nothing),
    }
}

const DEFAULT_CHAIN: &str = "default_filter_chain";

/// Does something to every chain of a listener; says whether anything is different.
fn each_chain(
    listener: &mut DynamicMessage,
    mut work: impl FnMut(&mut DynamicMessage) -> Edited<bool>,
) -> Edited<bool> {
    let mut is_other = false;
    for chain in list(listener, "filter_chains").into_iter().flatten().filter_map(Field::as_message_mut) {
        is_other |= work(chain)?;
    }
    if let Some(chain) = below(listener, DEFAULT_CHAIN) {
        is_other |= work(chain)?;
    }
    Ok(is_other)
}

/// The chains of a listener that are meant.
fn in_chains(patch: &Patch, listener: &mut DynamicMessage) -> Edited<Done> {
    let (whole, name) = (listener.clone(), text(listener, "name"));
    let is_meant = |chain: &DynamicMessage| place::is_chain(patch, chain, &whole);
    if patch.apply_to != ApplyTo::FilterChain || patch.operation != PatchOperation::Remove {
        let changed = each_chain(listener, |chain| Ok(is_meant(chain) && in_chain(patch, chain, &name)?))?;
        return Ok(changed.into());
    }
    let mut is_other = false;
    if let Some(chains) = list(listener, "filter_chains") {
        let before = chains.len();
        chains.retain(|chain| !chain.as_message().is_some_and(is_meant));
        is_other |= chains.len() != before;
    }
    if below(listener, DEFAULT_CHAIN).is_some_and(|chain| is_meant(chain)) {
        listener.clear_field_by_name(DEFAULT_CHAIN);
        is_other = true;
    }
    Ok(is_other.into())
}

fn in_chain(patch: &Patch, chain: &mut DynamicMessage, listener: &str) -> Edited<bool> {
    let anchor = place::network_filter(patch);
    match (patch.apply_to, &patch.value) {
        (ApplyTo::FilterChain, Some(value)) if patch.merges() => {
            with_socket(chain, value, patch, listener).map(|()| true)
        }
        (ApplyTo::NetworkFilter, _) => {
            let Some(filters) = list(chain, "filters") else { return Ok(false) };
            in_filters(patch, filters, anchor, listener)
        }
        (ApplyTo::HttpFilter, _) => {
            let filters = list(chain, "filters").into_iter().flatten();
            let managers = filters.filter(|it| is_named(it, MANAGER) && anchor.is_none_or(|name| is_named(it, name)));
            let mut is_other = false;
            for manager in managers.filter_map(Field::as_message_mut) {
                is_other |= in_config(manager, |config| {
                    let Some(filters) = list(config, "http_filters") else { return Ok(false) };
                    in_filters(patch, filters, place::http_filter(patch), listener)
                })?;
            }
            Ok(is_other)
        }
        _ => Ok(false),
    }
}

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// A list of filters: those with the anchor's name are changed, or what is next to it.
fn in_filters(patch: &Patch, filters: &mut Vec<Field>, anchor: Option<&str>, resource: &str) -> Edited<bool> {
    let Some(value) = patch.value.as_ref().filter(|_| patch.merges()) else {
        return Ok(in_list(filters, patch.operation, patch.value.as_ref(), anchor));
    };
    let mut is_other = false;
    let meant = filters.iter_mut().filter(|it| anchor.is_none_or(|name| is_named(it, name)));
    for filter in meant.filter_map(Field::as_message_mut) {
        merge_named(filter, value, Lists::of(patch.operation)).map_err(|problem| misfit(resource, problem))?;
        is_other = true;
    }
    Ok(is_other)
}

/// Merges what may have a transport socket: of one name they are merged too, else the new one takes its place.
fn with_socket(into: &mut DynamicMessage, value: &DynamicMessage, patch: &Patch, resource: &str) -> Edited<()> {
    const SOCKET: &str = "transport_socket";
    let (mut rest, lists) = (value.clone(), Lists::of(patch.operation));
    if let Some(Field::Message(theirs)) = rest.take_field_by_name(SOCKET) {
        let same = below(into, SOCKET).filter(|ours| text(ours, "name") == text(&theirs, "name"));
        match same {
            Some(ours) => merge_named(ours, &theirs, lists).map_err(|problem| misfit(resource, problem))?,
            None => into.set_field_by_name(SOCKET, Field::Message(theirs)),
        }
    }
    merge(into, &rest, lists);
    Ok(())
}

fn misfit(resource: &str, problem: String) -> DecodeError {
    let expected = "the type of what stands there".to_owned();
    DecodeError { resource: resource.to_owned(), path: "typed_config".to_owned(), problem, expected }
}

/// The route configurations that stand within a listener.
fn in_inline_tables(patch: &Patch, listener: &mut DynamicMessage, side: &Side) -> Edited<Done> {
    let changed = each_chain(listener, |chain| {
        let mut is_other = false;
        let filters = list(chain, "filters").into_iter().flatten().filter(|it| is_named(it, MANAGER));
        for manager in filters.filter_map(Field::as_message_mut) {
            is_other |= in_config(manager, |config| {
                let Some(inline) = below(config, "route_config") else { return Ok(false) };
                table(patch, inline, side).map(|done| done != Done::Nothing)
            })?;
        }
        Ok(is_other)
    })?;
    Ok(changed.into())
}

/// A route configuration and all that is in it.
fn table(patch: &Patch, table: &mut DynamicMessage, side: &Side) -> Edited<Done> {
    if !place::is_table(patch, &text(table, "name"), side) {
        return Ok(Done::Nothing);
    }
    if let (ApplyTo::RouteConfiguration, true, Some(value)) = (patch.apply_to, patch.merges(), &patch.value) {
        merge(table, value, Lists::of(patch.operation));
        return Ok(Done::Changed);
    }
    let Some(hosts) = list(table, "virtual_hosts") else { return Ok(Done::Nothing) };
    Ok(in_hosts(patch, hosts).into())
}

/// A virtual host that travels by itself, of the table of this name.
fn lone_host(patch: &Patch, host: &mut DynamicMessage, table: &str, side: &Side) -> Edited<Done> {
    let adds = patch.apply_to == ApplyTo::VirtualHost && patch.operation == PatchOperation::Add;
    if adds || !place::is_table(patch, table, side) {
        return Ok(Done::Nothing);
    }
    let mut hosts = vec![Field::Message(host.clone())];
    let is_other = in_hosts(patch, &mut hosts);
    match hosts.pop() {
        Some(Field::Message(changed)) if is_other => *host = changed,
        Some(_) => {}
        None => return Ok(Done::Gone),
    }
    Ok(is_other.into())
}

fn in_hosts(patch: &Patch, hosts: &mut Vec<Field>) -> bool {
    let is_meant = |host: &Field| host.as_message().is_some_and(|host| place::is_host(patch, host));
    let before = hosts.len();
    match (patch.apply_to, patch.operation, &patch.value) {
        (ApplyTo::VirtualHost, PatchOperation::Add, Some(value)) => hosts.push(Field::Message(value.clone())),
        (ApplyTo::VirtualHost, PatchOperation::Remove, _) => hosts.retain(|host| !is_meant(host)),
        (ApplyTo::VirtualHost | ApplyTo::HttpRoute, operation, value) => {
            let mut is_other = false;
            for host in hosts.iter_mut().filter(|host| is_meant(host)).filter_map(Field::as_message_mut) {
                is_other |= match (patch.apply_to, value) {
                    (ApplyTo::HttpRoute, _) => list(host, "routes").is_some_and(|routes| in_routes(patch, routes)),
                    (_, Some(value)) if patch.merges() => {
                        merge(host, value, Lists::of(operation));
                        true
                    }
                    (_, Some(value)) if operation == PatchOperation::Replace => {
                        *host = value.clone();
                        true
                    }
                    _ => false,
                };
            }
            return is_other;
        }
        _ => {}
    }
    hosts.len() != before
}

fn in_routes(patch: &Patch, routes: &mut Vec<Field>) -> bool {
    let is_meant = |route: &Field| route.as_message().is_some_and(|route| place::is_route(patch, route));
    let asks = place::asks_for_route(patch);
    let at = routes.iter().position(is_meant);
    let Some(value) = &patch.value else {
        let before = routes.len();
        if patch.operation == PatchOperation::Remove {
            routes.retain(|route| !is_meant(route));
        }
        return routes.len() != before;
    };
    if patch.merges() {
        let meant = routes.iter_mut().filter(|route| is_meant(route)).filter_map(Field::as_message_mut);
        return meant.map(|route| merge(route, value, Lists::of(patch.operation))).count() > 0;
    }
    let new = Field::Message(value.clone());
    match (patch.operation, at) {
        (PatchOperation::Add, _) => routes.push(new),
        (PatchOperation::InsertAfter, _) if !asks => routes.push(new),
        (PatchOperation::InsertBefore | PatchOperation::InsertFirst, _) if !asks => routes.insert(0, new),
        (PatchOperation::InsertFirst, Some(_)) => routes.insert(0, new),
        (PatchOperation::InsertBefore, Some(at)) => routes.insert(at, new),
        (PatchOperation::InsertAfter, Some(at)) => routes.insert(at + 1, new),
        _ => return false,
    }
    true
}
