//! A patch as it is applied: its value read by Envoy's schema.

use std::sync::Arc;

use api::istio::{ApplyTo, ConfigPatch, EnvoyFilter, ObjectMatch, PatchContext, PatchOperation};
use api::{Resource, ResourceKey, Spec};
use model::ResourceKind;
use schema::{DynamicMessage, Misfit};
use xds::DecodeError;

use super::Outcome;
use super::place::Side;

/// A patch.
#[derive(Debug, Clone)]
pub struct Patch {
    /// The EnvoyFilter.
    pub filter: ResourceKey,
    /// Which of its patches.
    pub index: usize,
    /// What it changes.
    pub apply_to: ApplyTo,
    /// How.
    pub operation: PatchOperation,
    /// Where.
    pub matches: ObjectMatch,
    /// What it puts in.
    pub value: Option<DynamicMessage>,
}

/// The patches of an EnvoyFilter, in its order; instead of one that does not fit the schema its number and what does not.
pub fn compile(resource: &Arc<Resource>) -> Vec<Result<Patch, (usize, Misfit)>> {
    let patches = spec(resource).map_or(&[][..], |filter| &filter.config_patches);
    let read = |(index, written): (usize, &ConfigPatch)| {
        let value = match (&written.patch.value, type_of(written.apply_to.value)) {
            (Some(value), Some(name)) => {
                Some(schema::message(name, value.value.0.clone()).map_err(|misfit| (index, misfit))?)
            }
            _ => None,
        };
        Ok(Patch {
            filter: resource.key(),
            index,
            apply_to: written.apply_to.value,
            operation: written.patch.operation.value,
            matches: written.matches.clone().unwrap_or_default(),
            value,
        })
    };
    patches.iter().enumerate().map(read).collect()
}

/// The fields of an EnvoyFilter.
pub fn spec(resource: &Resource) -> Option<&EnvoyFilter> {
    match &resource.spec {
        Spec::EnvoyFilter(filter) => Some(filter),
        _ => None,
    }
}

/// The type of a value; none where nothing is read.
fn type_of(place: ApplyTo) -> Option<&'static str> {
    Some(match place {
        ApplyTo::Listener => "envoy.config.listener.v3.Listener",
        ApplyTo::ListenerFilter => "envoy.config.listener.v3.ListenerFilter",
        ApplyTo::FilterChain => "envoy.config.listener.v3.FilterChain",
        ApplyTo::NetworkFilter => "envoy.config.listener.v3.Filter",
        ApplyTo::HttpFilter => "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
        ApplyTo::RouteConfiguration => "envoy.config.route.v3.RouteConfiguration",
        ApplyTo::VirtualHost => "envoy.config.route.v3.VirtualHost",
        ApplyTo::HttpRoute => "envoy.config.route.v3.Route",
        ApplyTo::Cluster => schema::CLUSTER,
        ApplyTo::Bootstrap => schema::BOOTSTRAP,
        ApplyTo::ExtensionConfig => "envoy.config.core.v3.TypedExtensionConfig",
        ApplyTo::Invalid => return None,
    })
}

impl Patch {
    /// Where it stands among others: what is changed first may be changed further by those after it.
    pub fn phase(&self) -> u8 {
        let (merges, adds) = (self.merges(), self.operation == PatchOperation::Add);
        match self.apply_to {
            ApplyTo::Listener => 0,
            ApplyTo::ListenerFilter => 1,
            ApplyTo::FilterChain if !adds => 2,
            ApplyTo::NetworkFilter if !merges => 3,
            ApplyTo::NetworkFilter => 4,
            ApplyTo::HttpFilter if !merges => 5,
            ApplyTo::HttpFilter => 6,
            ApplyTo::FilterChain => 7,
            ApplyTo::RouteConfiguration => 8,
            ApplyTo::VirtualHost if !adds => 9,
            ApplyTo::HttpRoute if merges || self.operation == PatchOperation::Remove => 10,
            ApplyTo::HttpRoute => 11,
            ApplyTo::VirtualHost => 12,
            ApplyTo::Cluster | ApplyTo::ExtensionConfig | ApplyTo::Bootstrap | ApplyTo::Invalid => 13,
        }
    }

    /// Does it merge its value into what is there?
    pub fn merges(&self) -> bool {
        matches!(self.operation, PatchOperation::Merge | PatchOperation::MergeAndReplaceList)
    }

    /// May it change resources of this kind? Route configurations may stand within listeners.
    pub fn concerns(&self, kind: ResourceKind) -> bool {
        let on_routes =
            matches!(self.apply_to, ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute);
        match kind {
            ResourceKind::Cluster => self.apply_to == ApplyTo::Cluster,
            ResourceKind::Route | ResourceKind::VirtualHost => on_routes,
            ResourceKind::Listener => {
                !matches!(self.apply_to, ApplyTo::Cluster | ApplyTo::Bootstrap | ApplyTo::ExtensionConfig)
            }
            ResourceKind::Endpoints | ResourceKind::Secret | ResourceKind::Names | ResourceKind::Runtime => false,
        }
    }

    /// The kind of the whole resource that it adds at such a proxy. Without a context that is for what goes out.
    pub fn adds(&self, side: &Side) -> Option<ResourceKind> {
        let here = match self.matches.context {
            PatchContext::Any => true,
            PatchContext::Gateway => side.is_gateway(),
            PatchContext::SidecarInbound | PatchContext::SidecarOutbound => !side.is_gateway(),
            PatchContext::Waypoint => false,
        };
        match self.apply_to {
            _ if self.operation != PatchOperation::Add || !here => None,
            ApplyTo::Cluster => Some(ResourceKind::Cluster),
            ApplyTo::Listener => Some(ResourceKind::Listener),
            _ => None,
        }
    }

    /// What became of it at a resource.
    pub fn outcome(&self, kind: ResourceKind, name: Arc<str>, refused: Option<DecodeError>) -> Outcome {
        Outcome { filter: self.filter.clone(), index: self.index, kind, name, refused }
    }
}
