//! What a row is: who stands side by side, what stands between load and origin, and what is measured. The rows themselves
//! are in [`ALL`]; a new kind of row is a new [`Measure`].

mod figure;
mod table;

use serde::Serialize;

use crate::load::{Connecting, Probe, Shape};
use crate::peer::Mesh;
use crate::wire::{Exchange, Wire};

pub use figure::Figure;
pub use table::ALL;

/// The proxies that stand side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// Ours.
    Halcyon,
    /// Envoy.
    Envoy,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
}

impl Peer {
    /// Everyone, ours first.
    pub const ALL: [Self; 4] = [Self::Halcyon, Self::Envoy, Self::Haproxy, Self::Nginx];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Halcyon => "halcyon-proxy",
            Self::Envoy => "Envoy",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }
}

/// One row.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What people type.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// What stands between load and origin.
    pub path: Path,
    /// The load, and what is measured under it.
    pub measure: Measure,
    /// What our proxy must reach (the project's budgets).
    pub targets: &'static [Target],
}

/// What stands between load and origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// One proxy that reads `downstream` and speaks `upstream`.
    Http {
        /// What it reads.
        downstream: Wire,
        /// What it speaks to the origin.
        upstream: Wire,
    },
    /// One proxy that only passes bytes on.
    Tcp,
    /// Two proxies with mutual TLS 1.3 between them: HTTP/1.1 into the first and out of the second, between them the best
    /// that two of the kind can speak.
    Pair,
    /// One proxy that ends TLS without client certificates, as a gateway does: HTTP/1.1 in and out.
    Tls,
    /// One proxy with many virtual hosts, HTTP/1.1 in and out. It gets them over xDS if it speaks that, else as files.
    Services {
        /// How many virtual hosts.
        hosts: usize,
        /// How many clusters, each with one endpoint: as many as hosts, or one for all of them.
        clusters: usize,
    },
}

impl Path {
    /// What is read from the load.
    pub fn downstream(self) -> Wire {
        match self {
            Self::Http { downstream, .. } => downstream,
            Self::Tcp | Self::Pair | Self::Tls | Self::Services { .. } => Wire::Http1,
        }
    }

    /// What the origin speaks.
    pub fn origin(self) -> Wire {
        match self {
            Self::Http { upstream, .. } => upstream,
            Self::Tcp | Self::Pair | Self::Tls | Self::Services { .. } => Wire::Http1,
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub enum Measure {
    /// Under full load CPU per request and requests per second; then latency at half of what the slowest peer could do.
    Traffic(Shape),
    /// Under full load CPU per MB and MB per second.
    Bytes(Shape),
    /// Under full load CPU per connection and connections per second.
    Connections(Connecting),
    /// Memory with so many connections, each of which has carried one request and is idle since.
    IdleConnections(usize),
    /// Memory before, with and after so many connections, which carry requests in turn.
    Burst(usize),
    /// Memory for each of so many idle clusters with its virtual host.
    Clusters(usize),
    /// CPU per request with more and more virtual hosts.
    Hosts(Shape),
    /// Memory and CPU with nothing to do.
    Idle,
    /// From exec to the first answer through the proxy.
    Start,
    /// Memory of a sidecar in a mesh of many services, of which it calls a few.
    Mesh(Mesh),
}

impl Measure {
    /// The figure by which peers are compared first.
    pub fn main_figure(self) -> Figure {
        match self {
            Self::Traffic(_) => Figure::CpuPerRequest,
            Self::Bytes(_) => Figure::CpuPerMegabyte,
            Self::Connections(_) => Figure::CpuPerConnection,
            Self::IdleConnections(_) | Self::Idle | Self::Mesh(_) => Figure::Rss,
            Self::Burst(_) => Figure::RssAfter,
            Self::Clusters(_) => Figure::PerCluster,
            Self::Hosts(_) => Figure::Cpu10000Hosts,
            Self::Start => Figure::ToReady,
        }
    }

    /// The load, where it is steady and on connections that stay.
    pub fn shape(self) -> Option<Shape> {
        match self {
            Self::Traffic(shape) | Self::Bytes(shape) => Some(shape),
            _ => None,
        }
    }

    /// How many connections the load holds open at once.
    pub fn connections(self) -> usize {
        match self {
            Self::Traffic(shape) | Self::Bytes(shape) | Self::Hosts(shape) => shape.connections,
            Self::Connections(connecting) => connecting.at_once,
            Self::IdleConnections(count) | Self::Burst(count) => count,
            Self::Clusters(_) | Self::Idle | Self::Start | Self::Mesh(_) => 1,
        }
    }

    /// What each exchange is.
    pub fn exchange(self) -> Exchange {
        match self {
            Self::Traffic(shape) | Self::Bytes(shape) | Self::Hosts(shape) => shape.exchange,
            Self::Connections(connecting) => connecting.exchange,
            // What a mesh answers itself, to those whom it does not know.
            Self::Mesh(_) => Exchange::get(0),
            _ => Exchange::get(KB),
        }
    }
}

impl Scenario {
    /// The call that is answered when a peer stands on `path` and is ready: the last of its hosts, if there are several.
    pub fn probe(&self, path: Path) -> Probe {
        let (exchange, turn) = match path {
            Path::Services { hosts, .. } => (Exchange::get(self.measure.exchange().down).across(hosts), hosts - 1),
            _ => (self.measure.exchange(), 0),
        };
        Probe { wire: path.downstream(), exchange, turn, tls: path == Path::Tls }
    }
}

const KB: usize = 1024;

/// A budget.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Of which figure.
    pub figure: Figure,
    /// Against whom.
    pub bound: Bound,
}

/// What a figure must not pass.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// This many times the figure of a peer.
    Times(f64, Peer),
    /// This value.
    Value(f64),
    /// At least this many times the figure of a peer.
    AtLeast(f64, Peer),
    /// At least the highest figure of all others.
    Best,
}
