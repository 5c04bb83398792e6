//! Logs that a service of gRPC takes (Envoy's `envoy.service.accesslog.v3.AccessLogService`).

mod send;

use std::sync::Arc;

use model::access_log::ServiceLog;
use proto::envoy::config::core::v3 as core;
use proto::envoy::data::accesslog::v3::{HttpAccessLogEntry, TcpAccessLogEntry};

use crate::bootstrap::Node;
use crate::outlet::{Outlet, Outlets};

pub(crate) use send::follow;

/// So many entries wait at most, for each log.
const QUEUE: usize = 1000;

/// What is told of one exchange or connection.
pub(crate) enum Message {
    /// Of a request.
    Http(Box<HttpAccessLogEntry>),
    /// Of a connection.
    Tcp(Box<TcpAccessLogEntry>),
}

/// Where entries of one log are left.
pub(crate) type Sink = Outlet<Arc<ServiceLog>, Message>;

/// All logs of the process that services take.
pub(crate) struct Services {
    /// Who tells, for the service.
    node: core::Node,
    /// The logs.
    pub logs: Outlets<Arc<ServiceLog>, Message>,
}

impl Services {
    /// None yet.
    pub(crate) fn new(node: &Node) -> Self {
        let node = core::Node { id: node.id.clone(), cluster: node.cluster.clone(), ..core::Node::default() };
        Self { node, logs: Outlets::new(QUEUE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::GrpcService;
    use model::access_log::LogEntries;

    fn log(name: &str) -> Arc<ServiceLog> {
        Arc::new(ServiceLog {
            entries: LogEntries::Tcp,
            name: name.into(),
            service: GrpcService::new("logs"),
            flush_interval: ServiceLog::FLUSH_INTERVAL,
            buffer_bytes: ServiceLog::BUFFER_BYTES,
        })
    }

    #[test]
    fn what_finds_no_room_is_counted_and_not_made() {
        let services = Services::new(&Node::default());
        let sink = services.logs.open(&log("a"));
        assert!(Arc::ptr_eq(&sink, &services.logs.open(&log("a"))), "equal settings share a queue");
        assert!(!Arc::ptr_eq(&sink, &services.logs.open(&log("b"))));
        for _ in 0..QUEUE {
            assert!(sink.has_room());
            sink.tell(|| Message::Tcp(Box::default()));
        }
        assert!(!sink.has_room());
        sink.tell(|| unreachable!("nothing is made for a full queue"));
        assert_eq!(sink.dropped(), 1);
    }
}
