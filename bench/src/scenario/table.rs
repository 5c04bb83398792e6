//! The rows, in the order in which they run. A new row is a new [`Scenario`] here.

use super::Figure::{
    AddedP50, AddedP99, AfterBurst, ConnectionsPerCore, CpuPerRequest, HostsRatio, PerCluster, Rss, SystemCalls,
    ThroughputPerCore, ToReady,
};
use super::Peer::{Envoy, Haproxy};
use super::{Bound, Figure, KB, Measure, Path, Peer, Scenario, Target};
use crate::load::{Connecting, Handshake, Shape};
use crate::peer::Mesh;
use crate::wire::{Exchange, Wire};

const fn times(figure: Figure, factor: f64, peer: Peer) -> Target {
    Target { figure, bound: Bound::Times(factor, peer) }
}

const fn value(figure: Figure, limit: f64) -> Target {
    Target { figure, bound: Bound::Value(limit) }
}

const fn at_least(figure: Figure, peer: Peer) -> Target {
    Target { figure, bound: Bound::AtLeast(1.0, peer) }
}

/// HTTP/1.1 on 64 connections.
const fn h1(exchange: Exchange) -> Shape {
    Shape { wire: Wire::Http1, connections: 64, streams: 1, exchange }
}

/// HTTP/2 on 10 connections with 32 streams each.
const fn h2(exchange: Exchange) -> Shape {
    Shape { wire: Wire::Http2, connections: 10, streams: 32, exchange }
}

/// Large bodies, a few at once.
const fn large(wire: Wire, connections: usize, exchange: Exchange) -> Measure {
    Measure::Bytes(Shape { wire, connections, streams: 1, exchange })
}

const fn connections(handshake: Option<Handshake>) -> Measure {
    Measure::Connections(Connecting { at_once: 64, exchange: Exchange::get(KB), handshake })
}

const MB: usize = 1_000_000;
/// What the body of a small POST is, and a gRPC message.
const SMALL: usize = 128;
const PLAIN: Path = Path::Http { downstream: Wire::Http1, upstream: Wire::Http1 };
const HTTP2: Path = Path::Http { downstream: Wire::Http2, upstream: Wire::Http2 };
const HTTP2_TARGETS: &[Target] = &[times(CpuPerRequest, 1.1, Haproxy), times(CpuPerRequest, 0.35, Envoy)];
const BEST: &[Target] = &[Target { figure: ThroughputPerCore, bound: Bound::Best }];
const HANDSHAKES: &[Target] = &[at_least(ConnectionsPerCore, Envoy), at_least(ConnectionsPerCore, Haproxy)];

/// All rows.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "h1",
        title: "HTTP/1.1 keep-alive, 64 connections, 1 KB",
        path: PLAIN,
        measure: Measure::Traffic(h1(Exchange::get(KB))),
        // "About 4" system calls.
        targets: &[times(CpuPerRequest, 1.0, Haproxy), times(CpuPerRequest, 1.0 / 3.0, Envoy), value(SystemCalls, 4.5)],
    },
    Scenario {
        name: "h2-h1",
        title: "HTTP/2 in, HTTP/1.1 out, 10 x 32 streams, 1 KB",
        path: Path::Http { downstream: Wire::Http2, upstream: Wire::Http1 },
        measure: Measure::Traffic(h2(Exchange::get(KB))),
        targets: HTTP2_TARGETS,
    },
    Scenario {
        name: "h2-h2",
        title: "HTTP/2 in and out, 10 x 32 streams, 1 KB",
        path: HTTP2,
        measure: Measure::Traffic(h2(Exchange::get(KB))),
        targets: HTTP2_TARGETS,
    },
    Scenario {
        name: "h2-h2-post",
        title: "HTTP/2 in and out, 10 x 32 streams, POST of 128 bytes, 1 KB",
        path: HTTP2,
        measure: Measure::Traffic(h2(Exchange::post(SMALL, KB))),
        targets: HTTP2_TARGETS,
    },
    Scenario {
        name: "grpc-unary",
        title: "gRPC calls, 10 x 32 at once, 128 bytes each way",
        path: HTTP2,
        measure: Measure::Traffic(h2(Exchange::unary(SMALL, SMALL))),
        targets: HTTP2_TARGETS,
    },
    Scenario {
        name: "grpc-stream",
        title: "gRPC messages on 10 x 32 long streams, 128 bytes each way (a request is a message and its answer)",
        path: HTTP2,
        measure: Measure::Traffic(h2(Exchange::stream(SMALL, SMALL))),
        targets: HTTP2_TARGETS,
    },
    Scenario {
        name: "tcp",
        title: "TCP, 64 connections, 1 KB answers",
        path: Path::Tcp,
        measure: Measure::Traffic(h1(Exchange::get(KB))),
        targets: &[times(CpuPerRequest, 1.0, Haproxy)],
    },
    Scenario {
        name: "mtls-pair",
        title: "Sidecar pair with mTLS, HTTP/1.1, 64 connections, 1 KB (CPU of both)",
        path: Path::Pair,
        measure: Measure::Traffic(h1(Exchange::get(KB))),
        targets: &[
            times(CpuPerRequest, 1.0, Haproxy),
            times(CpuPerRequest, 0.25, Envoy),
            times(AddedP50, 0.5, Envoy),
            times(AddedP99, 0.5, Envoy),
        ],
    },
    Scenario {
        name: "h1-1mb-down",
        title: "HTTP/1.1, answers of 1 MB, 16 connections",
        path: PLAIN,
        measure: large(Wire::Http1, 16, Exchange::get(MB)),
        targets: BEST,
    },
    Scenario {
        name: "h1-1mb-up",
        title: "HTTP/1.1, requests of 1 MB, 16 connections",
        path: PLAIN,
        measure: large(Wire::Http1, 16, Exchange::post(MB, KB)),
        targets: BEST,
    },
    Scenario {
        name: "h1-100mb",
        title: "HTTP/1.1, streams of 100 MB, 4 connections",
        path: PLAIN,
        measure: large(Wire::Http1, 4, Exchange::get(100 * MB)),
        targets: BEST,
    },
    Scenario {
        name: "h2-100mb",
        title: "HTTP/2 in and out, streams of 100 MB, 4 connections",
        path: HTTP2,
        measure: large(Wire::Http2, 4, Exchange::get(100 * MB)),
        targets: BEST,
    },
    Scenario {
        name: "tcp-100mb",
        title: "TCP, streams of 100 MB, 4 connections",
        path: Path::Tcp,
        measure: large(Wire::Http1, 4, Exchange::get(100 * MB)),
        targets: BEST,
    },
    Scenario {
        name: "connections",
        title: "New connections, plain, one request of 1 KB each",
        path: PLAIN,
        measure: connections(None),
        targets: &[at_least(ConnectionsPerCore, Haproxy)],
    },
    Scenario {
        name: "tls-full",
        title: "New connections, full TLS 1.3 handshake (ECDSA P-256, X25519), one request of 1 KB each",
        path: Path::Tls,
        measure: connections(Some(Handshake::Full)),
        targets: HANDSHAKES,
    },
    Scenario {
        name: "tls-resumed",
        title: "New connections, resumed TLS 1.3 handshake (ticket, X25519), one request of 1 KB each",
        path: Path::Tls,
        measure: connections(Some(Handshake::Resumed)),
        targets: HANDSHAKES,
    },
    Scenario {
        name: "hosts",
        title: "HTTP/1.1, 64 connections, 1 KB, requests spread over 10 to 10,000 virtual hosts",
        path: Path::Services { hosts: 10, clusters: 1 },
        measure: Measure::Hosts(h1(Exchange::get(KB))),
        targets: &[value(HostsRatio, 1.1)],
    },
    Scenario {
        name: "clusters-10000",
        title: "10,000 idle clusters with a virtual host each, pushed in full",
        path: Path::Services { hosts: 10_000, clusters: 10_000 },
        measure: Measure::Clusters(10_000),
        targets: &[value(PerCluster, 2048.0)],
    },
    Scenario {
        name: "idle-1000",
        title: "1,000 idle HTTP/1.1 connections",
        path: PLAIN,
        measure: Measure::IdleConnections(1000),
        targets: &[value(Rss, 12.0)],
    },
    Scenario {
        name: "idle-10000",
        title: "10,000 idle HTTP/1.1 connections",
        path: PLAIN,
        measure: Measure::IdleConnections(10_000),
        targets: &[value(Rss, 40.0)],
    },
    Scenario {
        name: "burst-10000",
        title: "After a burst of 10,000 HTTP/1.1 connections has gone",
        path: PLAIN,
        measure: Measure::Burst(10_000),
        targets: &[value(AfterBurst, 1.2)],
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
