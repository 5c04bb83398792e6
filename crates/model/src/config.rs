//! Everything one proxy runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{
    ApiListener, Cluster, ConnectionLimits, EndpointSet, Listener, NameTable, RouteConfiguration, Secret, VirtualHost,
};

/// The complete configuration of one proxy, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Listeners.
    pub listeners: BTreeMap<Arc<str>, Arc<Listener>>,
    /// What programs that read xDS themselves do with their calls; no proxy has any.
    pub api_listeners: BTreeMap<Arc<str>, Arc<ApiListener>>,
    /// Route configurations that listeners find by discovery.
    pub routes: BTreeMap<Arc<str>, Arc<RouteConfiguration>>,
    /// Virtual hosts that are found one by one, by `<route configuration>/<authority>` as they were asked for, or by
    /// `<route configuration>/<their name>` where all of them stand.
    pub virtual_hosts: BTreeMap<Arc<str>, Arc<VirtualHost>>,
    /// Clusters.
    pub clusters: BTreeMap<Arc<str>, Arc<Cluster>>,
    /// Endpoint sets that clusters find by discovery.
    pub endpoints: BTreeMap<Arc<str>, Arc<EndpointSet>>,
    /// Secrets.
    pub secrets: BTreeMap<Arc<str>, Arc<Secret>>,
    /// The names that DNS answers: [`NameTable::RESOURCE`], and tables of single services by their hosts.
    pub names: BTreeMap<Arc<str>, Arc<NameTable>>,
    /// Limits to the number of connections, usually one: [`ConnectionLimits::RESOURCE`].
    pub limits: BTreeMap<Arc<str>, Arc<ConnectionLimits>>,
}

/// The kinds of resource that a configuration consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceKind {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoints,
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`
    Route,
    /// `envoy.config.route.v3.VirtualHost`
    VirtualHost,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    Secret,
    /// `istio.networking.nds.v1.NameTable`
    Names,
    /// `envoy.service.runtime.v3.Runtime`, of which the limits to the number of connections are known.
    Runtime,
}

impl ResourceKind {
    /// All kinds, in the order in which they are pushed: make before break.
    pub const ALL: [Self; 8] = [
        Self::Cluster,
        Self::Endpoints,
        Self::Listener,
        Self::Route,
        Self::VirtualHost,
        Self::Secret,
        Self::Names,
        Self::Runtime,
    ];

    /// The short name people know: `CDS`, `EDS`, `LDS`, `RDS`, `VHDS`, `SDS`, `NDS`, `RTDS`.
    pub fn short(self) -> &'static str {
        match self {
            Self::Cluster => "CDS",
            Self::Endpoints => "EDS",
            Self::Listener => "LDS",
            Self::Route => "RDS",
            Self::VirtualHost => "VHDS",
            Self::Secret => "SDS",
            Self::Names => "NDS",
            Self::Runtime => "RTDS",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}
