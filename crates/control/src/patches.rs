//! Patches: what EnvoyFilters change in the configurations of proxies.
//!
//! Owns how patches are read (by Envoy's schema), where each of them holds and what it does. A resource is changed in its
//! wire form and read back, so a patch can do what our proxies understand; one that they do not understand is left out and
//! named, and the rest holds. The semantics are Istio's, apart from what `docs/envoyfilter.md` says.

mod change;
mod edit;
mod patch;
mod place;
mod told;
mod trial;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use api::ResourceKey;
use model::{Config, ResourceKind};
use prost::Message;
use proto::google::protobuf::Any;
use schema::DynamicMessage;
use translate::{Common, Node, Role, World};
use xds::{DecodeError, Resource};

use edit::Done;
use patch::{Patch, compile};
use place::Side;

pub use told::told;
pub use trial::{analyze, check, check_live};

/// What translation makes, with what EnvoyFilters change in it. Reads each EnvoyFilter once.
#[derive(Default)]
pub struct Patcher {
    read: Mutex<HashMap<ResourceKey, (Arc<api::Resource>, Arc<[Patch]>)>>,
}

/// What became of a patch at one resource.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The EnvoyFilter.
    pub filter: ResourceKey,
    /// Which of its patches.
    pub index: usize,
    /// The kind of the resource.
    pub kind: ResourceKind,
    /// The resource.
    pub name: Arc<str>,
    /// Why it was left out there; none: it was taken.
    pub refused: Option<DecodeError>,
}

impl Patcher {
    /// As [`translate::translate`].
    pub fn translate(&self, world: &World, node: &Node) -> Config {
        let mut config = translate::translate(world, node);
        self.patch(world, node, &mut config, true);
        config
    }

    /// As [`translate::common`].
    pub fn common(&self, world: &World, node: &Node) -> Common {
        let mut common = translate::common(world, node);
        self.patch(world, node, &mut common.config, true);
        common
    }

    /// As [`translate::own`].
    pub fn own(&self, world: &World, node: &Node, secrets: &[Arc<str>]) -> Config {
        let mut config = translate::own(world, node, secrets);
        self.patch(world, node, &mut config, false);
        config
    }

    /// As [`translate::workloads`].
    pub fn workloads(&self, world: &World, node: &Node, dialled: &BTreeSet<SocketAddr>) -> Config {
        let mut config = translate::workloads(world, dialled);
        self.patch(world, node, &mut config, false);
        config
    }

    /// Changes what a proxy is sent by the EnvoyFilters that are for it. With `adds` whole resources may be added: that is
    /// for one part of what it is sent.
    pub fn patch(&self, world: &World, node: &Node, config: &mut Config, adds: bool) -> Vec<Outcome> {
        // Programs are no proxies.
        if node.role == Role::Program {
            return Vec::new();
        }
        let filters = world.envoy_filters_for(node);
        if filters.is_empty() {
            return Vec::new();
        }
        let read: Vec<Arc<[Patch]>> = filters.into_iter().map(|filter| self.read(filter)).collect();
        let mut patches: Vec<&Patch> = read.iter().flat_map(|patches| patches.iter()).collect();
        patches.retain(|patch| place::holds(patch));
        patches.sort_by_key(|patch| patch.phase());
        apply(&patches, &Side::of(node), config, adds)
    }

    fn read(&self, filter: &Arc<api::Resource>) -> Arc<[Patch]> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let known = read.get(&filter.key()).filter(|(of, _)| Arc::ptr_eq(of, filter));
        if let Some((_, patches)) = known {
            return patches.clone();
        }
        // What does not fit the schema was refused when it was applied.
        let patches: Arc<[Patch]> = compile(filter).into_iter().filter_map(Result::ok).collect();
        read.insert(filter.key(), (filter.clone(), patches.clone()));
        patches
    }
}

/// Changes a configuration by patches that are in the order of their phases.
fn apply(patches: &[&Patch], side: &Side, config: &mut Config, adds: bool) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for resource in taken(config) {
        match run(patches, &resource, side, &mut outcomes) {
            Ran::Same => resource.insert_into(config),
            Ran::Other(other) => other.insert_into(config),
            Ran::Gone => {}
        }
    }
    if adds {
        add_resources(patches, side, config, &mut outcomes);
    }
    outcomes
}

/// Whole listeners and clusters.
fn add_resources(patches: &[&Patch], side: &Side, config: &mut Config, outcomes: &mut Vec<Outcome>) {
    for patch in patches {
        let (Some(kind), Some(value)) = (patch.adds(side), &patch.value) else { continue };
        let any = wire(kind, value);
        let read = xds::decode::resource(kind, &any);
        let name = change::text(value, "name").into();
        outcomes.push(patch.outcome(kind, name, read.as_ref().err().cloned()));
        if let Ok(resource) = read {
            resource.insert_into(config);
        }
    }
}

/// Takes out the resources that patches may change.
fn taken(config: &mut Config) -> Vec<Resource> {
    let clusters = std::mem::take(&mut config.clusters).into_values().map(Resource::Cluster);
    let listeners = std::mem::take(&mut config.listeners).into_values().map(Resource::Listener);
    let tables = std::mem::take(&mut config.routes).into_values().map(Resource::Route);
    let hosts = std::mem::take(&mut config.virtual_hosts).into_iter();
    let hosts = hosts.map(|(name, host)| Resource::VirtualHost(name, host));
    clusters.chain(listeners).chain(tables).chain(hosts).collect()
}

/// What patches made of a resource.
enum Ran {
    Same,
    Other(Resource),
    Gone,
}

/// Changes one resource, patch by patch: each has to leave something that can be read.
fn run(patches: &[&Patch], resource: &Resource, side: &Side, outcomes: &mut Vec<Outcome>) -> Ran {
    let (kind, name) = (resource.kind(), resource.name());
    let mut concerned = patches.iter().filter(|patch| patch.concerns(kind)).peekable();
    if concerned.peek().is_none() {
        return Ran::Same;
    }
    let any = xds::encode::resource(resource);
    let Some(mut message) = schema::decode(&any.type_url, &any.value) else { return Ran::Same };
    let mut ran = Ran::Same;
    for patch in concerned {
        let mut next = message.clone();
        let done = match edit::resource(patch, resource, &mut next, side) {
            Ok(Done::Nothing) => continue,
            Ok(Done::Gone) => Ok(None),
            Ok(Done::Changed) => xds::decode::resource(kind, &wire(kind, &next)).map(Some),
            Err(error) => Err(error),
        };
        outcomes.push(patch.outcome(kind, name.clone(), done.as_ref().err().cloned()));
        match done {
            Ok(Some(other)) => (message, ran) = (next, Ran::Other(other.under(&name))),
            Ok(None) => return Ran::Gone,
            Err(_) => {}
        }
    }
    ran
}

fn wire(kind: ResourceKind, message: &DynamicMessage) -> Any {
    Any { type_url: xds::type_url(kind).to_owned(), value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests;
