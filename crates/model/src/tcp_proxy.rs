//! Raw TCP to a cluster.

use std::sync::Arc;
use std::time::Duration;

use crate::dynamic_forward::ServerNameForward;
use crate::{AccessLog, HeaderChanges};

/// The network filter that joins a connection to an upstream one (xDS `TcpProxy`).
#[derive(Debug, Clone, PartialEq)]
pub struct TcpProxy {
    /// The prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// Where connections go; one cluster, or several by weight.
    pub clusters: Vec<WeightedTarget>,
    /// A connection with nothing to carry is closed after this (Envoy's default: one hour).
    pub idle_timeout: Option<Duration>,
    /// A connection is closed after this, whatever it carries.
    pub max_duration: Option<Duration>,
    /// Connections do not go to the endpoint itself, but through it as an HTTP proxy.
    pub tunnel: Option<Box<Tunnel>>,
    /// To clusters [of hosts that are named](crate::cluster::Discovery::DynamicForward): which host is in the server name.
    pub server_name_forward: Option<Box<ServerNameForward>>,
    /// The client's address decides which endpoint takes a connection, where the cluster chooses by a hash.
    pub hash_source: bool,
    /// Logs.
    pub access_logs: Vec<AccessLog>,
}

/// A tunnel through an HTTP proxy (xDS `TcpProxy.TunnelingConfig`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Its end, as the proxy is told it: a host, mostly with a port.
    pub target: Arc<str>,
    /// It is made by a POST to this path, whose body and whose answer's body are the bytes; none: by CONNECT.
    pub post: Option<Arc<str>>,
    /// Further headers of the request.
    pub headers: HeaderChanges,
}

/// A cluster and its share of connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedTarget {
    /// The cluster.
    pub cluster: Arc<str>,
    /// Its share, relative to the others'.
    pub weight: u32,
}

impl TcpProxy {
    /// Everything to one cluster.
    pub fn to(cluster: impl Into<Arc<str>>) -> Self {
        let cluster = cluster.into();
        Self {
            stat_prefix: cluster.clone(),
            clusters: vec![WeightedTarget { cluster, weight: 1 }],
            idle_timeout: Some(Duration::from_secs(3600)),
            max_duration: None,
            tunnel: None,
            server_name_forward: None,
            hash_source: false,
            access_logs: Vec::new(),
        }
    }

    /// The cluster for a connection, by an even draw.
    pub fn pick(&self, draw: u64) -> Option<&Arc<str>> {
        crate::route::pick_weighted(self.clusters.iter().map(|t| (t, t.weight)), draw).map(|t| &t.cluster)
    }
}
