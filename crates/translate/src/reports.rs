//! What proxies tell the control plane: requests and connections that came to nothing, in the words of Envoy's access log
//! service, so that `halcyon why` can say why.

use std::sync::{Arc, LazyLock};

use model::access_log::{Comparison, LogEntries, LogFilter, LogTarget, Ordering, ServiceLog};
use model::cluster::{Discovery, Transport, UpstreamProtocol};
use model::{AccessLog, Address, Cluster, Config, Direction, Endpoint, EndpointSet, GrpcService, LocalityEndpoints};

use crate::clusters::mesh_tls;
use crate::node::Node;
use crate::telemetries::{self, Traffic};
use crate::world::World;

/// The cluster by which proxies reach what the control plane is told by: of refusals by Envoy's access log service, of spans
/// by OTLP.
pub const SERVICE: &str = "halcyon-reports";
/// The name of the log.
pub const LOG: &str = "halcyon-refusals";

/// Flags of what went wrong between a proxy and others, or was refused by it. Who went away by itself has another.
const FLAGS: [&str; 21] = [
    "UH", "UF", "UO", "NR", "URX", "NC", "UT", "UR", "UC", "LR", "FI", "RL", "UAEX", "RLSE", "SI", "UMSDR", "DT",
    "UPE", "OM", "DF", "DPE",
];

static REQUESTS: LazyLock<AccessLog> = LazyLock::new(|| {
    let refused = LogFilter::Or(vec![
        LogFilter::Status(Comparison { is: Ordering::AtLeast, than: 400 }),
        // What is no answer of gRPC counts as UNKNOWN.
        LogFilter::GrpcStatus { codes: vec![0, 2], exclude: true },
    ]);
    let entries = LogEntries::Http { request_headers: Vec::new(), response_headers: Vec::new() };
    log(entries, LogFilter::And(vec![LogFilter::OwnAnswer, refused]))
});

static CONNECTIONS: LazyLock<AccessLog> = LazyLock::new(|| log(LogEntries::Tcp, LogFilter::Terminated));

fn log(entries: LogEntries, refused: LogFilter) -> AccessLog {
    let flags = LogFilter::Flags(FLAGS.iter().map(|flag| (*flag).into()).collect());
    let service = GrpcService::new(SERVICE);
    let log = ServiceLog {
        entries,
        name: LOG.into(),
        service,
        flush_interval: ServiceLog::FLUSH_INTERVAL,
        buffer_bytes: ServiceLog::BUFFER_BYTES,
    };
    AccessLog { to: LogTarget::Service(Arc::new(log)), filter: Some(Arc::new(LogFilter::Or(vec![flags, refused]))) }
}

/// The logs of what serves requests.
pub(crate) fn of_requests(world: &World, node: &Node, direction: Direction) -> Vec<AccessLog> {
    with(world, &REQUESTS, telemetries::logs(world, node, direction, Traffic::Http))
}

/// The logs of what carries connections, and of listeners.
pub(crate) fn of_connections(world: &World, node: &Node, direction: Direction) -> Vec<AccessLog> {
    with(world, &CONNECTIONS, telemetries::logs(world, node, direction, Traffic::Raw))
}

fn with(world: &World, report: &AccessLog, logs: Vec<AccessLog>) -> Vec<AccessLog> {
    let report = world.settings.is_told_of_refusals().then(|| report.clone());
    logs.into_iter().chain(report).collect()
}

/// Puts the service into the clusters of a proxy, if it is told anything.
pub(crate) fn add_service(config: &mut Config, world: &World) {
    let is_told = world.settings.is_told_of_refusals() || world.settings.is_told_of_spans();
    let Some(at) = world.settings.limit_service.as_ref().filter(|_| is_told) else {
        return;
    };
    let group = LocalityEndpoints {
        endpoints: vec![Endpoint::plain(Address::socket(at.address))],
        ..LocalityEndpoints::default()
    };
    let cluster = Cluster {
        connect_timeout: world.settings.connect_timeout,
        protocol: UpstreamProtocol::Http2,
        transport: Transport::Tls(mesh_tls([at.identity.clone()].into(), &["h2"], None)),
        ..Cluster::new(SERVICE, Discovery::Static(EndpointSet::new(SERVICE, vec![group])))
    };
    config.clusters.insert(cluster.name.clone(), Arc::new(cluster));
}
