//! The proxy that a configuration is made for, as the control plane knows it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::SpiffeId;
use model::{Locality, WorkloadRef};

use crate::edge::GatewayEdge;

/// A proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its xDS node id.
    pub id: Arc<str>,
    /// Sidecar or gateway.
    pub role: Role,
    /// Its namespace.
    pub namespace: String,
    /// The labels of the workload that it stands beside, or its own if it is a gateway.
    pub labels: BTreeMap<String, String>,
    /// Its proven identity; none on a plain connection.
    pub identity: Option<SpiffeId>,
    /// The address at which others reach it.
    pub address: IpAddr,
    /// Where it runs.
    pub locality: Locality,
    /// Its names in telemetry.
    pub workload: Arc<WorkloadRef>,
    /// It is our own proxy: it may be sent what only we understand.
    pub ours: bool,
    /// It finds virtual hosts and clusters when it needs them, so route configurations need not hold all of them.
    pub on_demand: bool,
}

/// What a proxy stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// Beside one workload.
    Sidecar {
        /// What the workload listens on.
        ports: Vec<InboundPort>,
        /// How its outgoing connections are captured.
        capture: Capture,
    },
    /// It is no proxy: a program that reads xDS itself (proxyless gRPC), and only calls.
    Program,
    /// At the edge of the mesh; it has no workload.
    Gateway {
        /// Where a `Gateway`'s ports are bound.
        bind: IpAddr,
        /// Ports bound elsewhere than a `Gateway` says, for who may not bind low ports: `80 → 8080`.
        ports: BTreeMap<u16, u16>,
        /// The place where it stands.
        edge: GatewayEdge,
    },
}

/// A port of the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundPort {
    /// The port on which the program listens.
    pub target: u16,
    /// Where the sidecar listens for it.
    pub bind: SocketAddr,
}

/// How outgoing connections reach the sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capture {
    /// Every connection is redirected; the program lives in the network namespace of that name.
    Redirect {
        /// The namespace's name, in xDS addresses.
        netns: Arc<str>,
        /// The sockets that connections are redirected to, inside of it: one for each IP version.
        outbound: Vec<SocketAddr>,
    },
    /// Nothing is redirected: each upstream that the program uses has a local address.
    Upstreams(Vec<LocalUpstream>),
}

/// An upstream under a local address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalUpstream {
    /// The service's host, short or whole.
    pub host: String,
    /// The service's port.
    pub port: u16,
    /// Where the sidecar listens for it.
    pub bind: SocketAddr,
}

impl Node {
    /// Its name for people, `productpage-v1.default`: of an id in Istio's form the part that names it.
    pub fn title(&self) -> &str {
        let mut parts = self.id.split('~');
        parts.nth(2).filter(|_| parts.next().is_some()).unwrap_or(&self.id)
    }

    /// The namespace the program lives in, if it is not the proxy's own.
    pub fn netns(&self) -> Option<&Arc<str>> {
        match &self.role {
            Role::Sidecar { capture: Capture::Redirect { netns, .. }, .. } => Some(netns),
            _ => None,
        }
    }
}
