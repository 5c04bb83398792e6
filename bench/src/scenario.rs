//! The table of what is measured. A new row is a new [`Scenario`] here; a new kind of figure is a new [`Measure`].

use serde::Serialize;

use crate::load::Shape;
use crate::peer::Mesh;
use crate::wire::Wire;

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
}

impl Path {
    /// What is read from the load.
    pub fn downstream(self) -> Wire {
        match self {
            Self::Http { downstream, .. } => downstream,
            Self::Tcp | Self::Pair => Wire::Http1,
        }
    }

    /// What the origin speaks.
    pub fn origin(self) -> Wire {
        match self {
            Self::Http { upstream, .. } => upstream,
            Self::Tcp | Self::Pair => Wire::Http1,
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub enum Measure {
    /// Under full load CPU per request and requests per second; then latency at half of what the slowest peer could do.
    Traffic {
        /// The load.
        shape: Shape,
        /// The body of each answer in bytes.
        body: usize,
    },
    /// Memory with so many connections, each of which has carried one request and is idle since.
    IdleConnections(usize),
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
            Self::Traffic { .. } => Figure::CpuPerRequest,
            Self::IdleConnections(_) | Self::Idle | Self::Mesh(_) => Figure::Rss,
            Self::Start => Figure::ToReady,
        }
    }

    /// How many connections the load holds open at once.
    pub fn connections(self) -> usize {
        match self {
            Self::Traffic { shape, .. } => shape.connections,
            Self::IdleConnections(count) => count,
            Self::Idle | Self::Start | Self::Mesh(_) => 1,
        }
    }

    /// The size of an answer's body in bytes.
    pub fn body(self) -> usize {
        match self {
            Self::Traffic { body, .. } => body,
            _ => KB,
        }
    }
}

/// A budget.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Of which figure.
    pub figure: Figure,
    /// Against whom.
    pub bound: Bound,
}

/// A figure that has a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Processor time for each request, in microseconds, user and system, of all processes on the path.
    CpuPerRequest,
    /// Its user part, by the kernel's coarse account.
    UserPerRequest,
    /// Its system part, likewise.
    SystemPerRequest,
    /// Answers per second under full load.
    RequestsPerSecond,
    /// Share of its core that the proxy used under full load, in percent. Well below 100: the load was at its end first.
    ProxyBusy,
    /// Core time that load and origin used under full load, in percent of one core. With one core for both, near 100 is
    /// their end.
    LoadBusy,
    /// Share of the proxy's core that others used meanwhile, in percent. Well above 0: the machine was not quiet.
    OthersBusy,
    /// Half of the requests at the fixed rate took at most so many milliseconds.
    P50,
    /// 99 of 100 did.
    P99,
    /// `P50` without what the way takes with no proxy at all.
    AddedP50,
    /// `P99` likewise.
    AddedP99,
    /// Resident memory in MB.
    Rss,
    /// The same, shared pages by their share.
    Pss,
    /// More resident memory in KB for each connection.
    PerConnection,
    /// Share of a core that is used with nothing to do, in percent.
    IdleCpu,
    /// Milliseconds from exec to the first answer.
    ToReady,
}

impl Figure {
    /// The head of its column.
    pub fn head(self) -> &'static str {
        match self {
            Self::CpuPerRequest => "CPU us/request",
            Self::UserPerRequest => "user us",
            Self::SystemPerRequest => "system us",
            Self::RequestsPerSecond => "requests/s",
            Self::ProxyBusy => "proxy core %",
            Self::LoadBusy => "load+origin %",
            Self::OthersBusy => "others on core %",
            Self::P50 => "p50 ms",
            Self::P99 => "p99 ms",
            Self::AddedP50 => "added p50 ms",
            Self::AddedP99 => "added p99 ms",
            Self::Rss => "RSS MB",
            Self::Pss => "PSS MB",
            Self::PerConnection => "KB/connection",
            Self::IdleCpu => "idle CPU %",
            Self::ToReady => "exec to ready ms",
        }
    }

    /// Whether its range over the rounds is shown too.
    pub fn is_told_apart(self) -> bool {
        !matches!(
            self,
            Self::UserPerRequest | Self::SystemPerRequest | Self::ProxyBusy | Self::LoadBusy | Self::OthersBusy
        )
    }

    /// Digits behind the point.
    pub fn digits(self) -> usize {
        match self {
            Self::RequestsPerSecond | Self::ProxyBusy | Self::LoadBusy | Self::OthersBusy => 0,
            Self::P50 | Self::P99 | Self::AddedP50 | Self::AddedP99 => 3,
            Self::IdleCpu => 2,
            _ => 1,
        }
    }
}

/// What a figure must not pass.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// This many times the figure of a peer.
    Times(f64, Peer),
    /// This value.
    Value(f64),
}

const fn times(figure: Figure, factor: f64, peer: Peer) -> Target {
    Target { figure, bound: Bound::Times(factor, peer) }
}

const fn value(figure: Figure, limit: f64) -> Target {
    Target { figure, bound: Bound::Value(limit) }
}

use Figure::{AddedP50, AddedP99, CpuPerRequest, Rss, ToReady};
use Peer::{Envoy, Haproxy};

const H1: Shape = Shape { wire: Wire::Http1, connections: 64, streams: 1 };
const H2: Shape = Shape { wire: Wire::Http2, connections: 10, streams: 32 };
const KB: usize = 1024;
const PLAIN: Path = Path::Http { downstream: Wire::Http1, upstream: Wire::Http1 };
const HTTP2_TARGETS: &[Target] = &[times(CpuPerRequest, 1.1, Haproxy), times(CpuPerRequest, 0.35, Envoy)];

/// All rows, in the order in which they run.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "h1",
        title: "HTTP/1.1 keep-alive, 64 connections, 1 KB",
        path: PLAIN,
        measure: Measure::Traffic { shape: H1, body: KB },
        targets: &[times(CpuPerRequest, 1.0, Haproxy), times(CpuPerRequest, 1.0 / 3.0, Envoy)],
    },
    Scenario {
        name: "h2-h1",
        title: "HTTP/2 in, HTTP/1.1 out, 10 x 32 streams, 1 KB",
        path: Path::Http { downstream: Wire::Http2, upstream: Wire::Http1 },
        measure: Measure::Traffic { shape: H2, body: KB },
        targets: HTTP2_TARGETS,
    },
    Scenario {
        name: "h2-h2",
        title: "HTTP/2 in and out, 10 x 32 streams, 1 KB",
        path: Path::Http { downstream: Wire::Http2, upstream: Wire::Http2 },
        measure: Measure::Traffic { shape: H2, body: KB },
        targets: HTTP2_TARGETS,
    },
    Scenario {
        name: "tcp",
        title: "TCP, 64 connections, 1 KB answers",
        path: Path::Tcp,
        measure: Measure::Traffic { shape: H1, body: KB },
        targets: &[times(CpuPerRequest, 1.0, Haproxy)],
    },
    Scenario {
        name: "mtls-pair",
        title: "Sidecar pair with mTLS, HTTP/1.1, 64 connections, 1 KB (CPU of both)",
        path: Path::Pair,
        measure: Measure::Traffic { shape: H1, body: KB },
        targets: &[
            times(CpuPerRequest, 1.0, Haproxy),
            times(CpuPerRequest, 0.25, Envoy),
            times(AddedP50, 0.5, Envoy),
            times(AddedP99, 0.5, Envoy),
        ],
    },
    Scenario {
        name: "idle-1000",
        title: "1,000 idle HTTP/1.1 connections",
        path: PLAIN,
        measure: Measure::IdleConnections(1000),
        targets: &[value(Rss, 12.0)],
    },
    Scenario { name: "idle", title: "Idle", path: PLAIN, measure: Measure::Idle, targets: &[value(Rss, 8.0)] },
    Scenario {
        name: "on-demand",
        title: "Sidecar in a mesh of 1,000 services of which it calls 5, on demand",
        path: PLAIN,
        measure: Measure::Mesh(Mesh { services: 1000, called: 5, on_demand: true }),
        targets: &[value(Rss, 10.0)],
    },
    Scenario {
        name: "on-demand-off",
        title: "The same, all of it at once",
        path: PLAIN,
        measure: Measure::Mesh(Mesh { services: 1000, called: 5, on_demand: false }),
        targets: &[],
    },
    Scenario {
        name: "start",
        title: "Start, from exec to the first answer",
        path: PLAIN,
        measure: Measure::Start,
        targets: &[value(ToReady, 50.0)],
    },
];
