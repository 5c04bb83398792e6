//! A resource of any kind, and the type URLs of the kinds.

use std::sync::Arc;

use model::cluster::Discovery;
use model::{
    ApiListener, Cluster, Config, ConnectionLimits, EndpointSet, Listener, NameTable, ResourceKind, RouteConfiguration,
    Secret, VirtualHost,
};

/// The type URL of the name table.
pub(crate) const NAME_TABLE_URL: &str = "type.googleapis.com/istio.networking.nds.v1.NameTable";

/// The type URL of the wrapper in which a server of the state of the world may put a resource.
pub(crate) const WRAPPER_URL: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// A decoded resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Resource {
    /// A cluster.
    Cluster(Arc<Cluster>),
    /// The endpoints of a cluster.
    Endpoints(Arc<EndpointSet>),
    /// A listener.
    Listener(Arc<Listener>),
    /// A listener for programs. It is only ever sent: our proxy refuses it.
    ApiListener(Arc<ApiListener>),
    /// A route configuration.
    Route(Arc<RouteConfiguration>),
    /// A virtual host that travels by itself, under the name of its resource: `<route configuration>/<authority>`. That
    /// name stands outside of its body.
    VirtualHost(Arc<str>, Arc<VirtualHost>),
    /// A secret.
    Secret(Arc<Secret>),
    /// Names for DNS, under the name of their resource, which stands outside of the body.
    Names(Arc<str>, Arc<NameTable>),
    /// Limits to the number of connections.
    Limits(Arc<ConnectionLimits>),
}

impl Resource {
    /// Its kind.
    pub fn kind(&self) -> ResourceKind {
        match self {
            Self::Cluster(_) => ResourceKind::Cluster,
            Self::Endpoints(_) => ResourceKind::Endpoints,
            Self::Listener(_) | Self::ApiListener(_) => ResourceKind::Listener,
            Self::Route(_) => ResourceKind::Route,
            Self::VirtualHost(..) => ResourceKind::VirtualHost,
            Self::Secret(_) => ResourceKind::Secret,
            Self::Names(..) => ResourceKind::Names,
            Self::Limits(_) => ResourceKind::Runtime,
        }
    }

    /// Its name.
    pub fn name(&self) -> Arc<str> {
        match self {
            Self::Cluster(it) => it.name.clone(),
            Self::Endpoints(it) => it.name.clone(),
            Self::Listener(it) => it.name.clone(),
            Self::ApiListener(it) => it.name.clone(),
            Self::Route(it) => it.name.clone(),
            Self::VirtualHost(name, _) => name.clone(),
            Self::Secret(it) => it.name.clone(),
            Self::Names(name, _) => name.clone(),
            Self::Limits(it) => it.name.clone(),
        }
    }

    /// The same under the name that stood beside it, for kinds whose body does not tell it. An empty one says nothing.
    #[must_use]
    pub fn under(self, name: &str) -> Self {
        match self {
            same if name.is_empty() => same,
            Self::VirtualHost(_, host) => Self::VirtualHost(name.into(), host),
            Self::Names(_, table) => Self::Names(name.into(), table),
            other => other,
        }
    }

    /// Puts it into a configuration, in place of one with its name.
    pub fn insert_into(self, config: &mut Config) {
        let name = self.name();
        match self {
            Self::Cluster(it) => drop(config.clusters.insert(name, it)),
            Self::Endpoints(it) => drop(config.endpoints.insert(name, it)),
            Self::Listener(it) => drop(config.listeners.insert(name, it)),
            Self::ApiListener(it) => drop(config.api_listeners.insert(name, it)),
            Self::Route(it) => drop(config.routes.insert(name, it)),
            Self::VirtualHost(_, it) => drop(config.virtual_hosts.insert(name, it)),
            Self::Secret(it) => drop(config.secrets.insert(name, it)),
            Self::Names(_, it) => drop(config.names.insert(name, it)),
            Self::Limits(it) => drop(config.limits.insert(name, it)),
        }
    }

    /// The endpoint set that a cluster waits for before it is used.
    pub(crate) fn waits_for_endpoints(&self) -> Option<Arc<str>> {
        match self {
            Self::Cluster(cluster) => match &cluster.discovery {
                Discovery::Eds(name) => Some(name.clone()),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Takes a resource out of a configuration.
pub fn remove_from(config: &mut Config, kind: ResourceKind, name: &str) {
    match kind {
        ResourceKind::Cluster => drop(config.clusters.remove(name)),
        ResourceKind::Endpoints => drop(config.endpoints.remove(name)),
        ResourceKind::Listener => {
            config.listeners.remove(name);
            config.api_listeners.remove(name);
        }
        ResourceKind::Route => drop(config.routes.remove(name)),
        ResourceKind::VirtualHost => drop(config.virtual_hosts.remove(name)),
        ResourceKind::Secret => drop(config.secrets.remove(name)),
        ResourceKind::Names => drop(config.names.remove(name)),
        ResourceKind::Runtime => drop(config.limits.remove(name)),
    }
}

/// The type URL of a kind, as it stands in requests, responses and envelopes.
pub fn type_url(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        ResourceKind::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        ResourceKind::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
        ResourceKind::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        ResourceKind::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
        ResourceKind::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        ResourceKind::Names => NAME_TABLE_URL,
        ResourceKind::Runtime => "type.googleapis.com/envoy.service.runtime.v3.Runtime",
    }
}

/// The kind that a type URL stands for, if we know it.
pub fn kind_of(url: &str) -> Option<ResourceKind> {
    ResourceKind::ALL.into_iter().find(|kind| type_url(*kind) == url)
}
