//! Logs that a service of gRPC takes (Envoy's `envoy.service.accesslog.v3.AccessLogService`).
//!
//! Workers leave entries in a bounded queue and go on; the side runtime carries them to the service, many at once. What
//! finds the queue full, or cannot be brought, is dropped and counted: no request ever waits for its log.

mod send;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use model::access_log::ServiceLog;
use proto::envoy::config::core::v3 as core;
use proto::envoy::data::accesslog::v3::{HttpAccessLogEntry, TcpAccessLogEntry};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::bootstrap::Node;

pub(crate) use send::follow;

/// So many entries wait at most, for each log.
const QUEUE: usize = 1000;

/// How long the end of the process waits for what is still to be told.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is told of one exchange or connection.
pub(crate) enum Message {
    /// Of a request.
    Http(Box<HttpAccessLogEntry>),
    /// Of a connection.
    Tcp(Box<TcpAccessLogEntry>),
}

/// Where entries of one log are left.
pub(crate) struct Sink {
    /// Its settings.
    pub log: Arc<ServiceLog>,
    queue: mpsc::Sender<Message>,
    counts: Arc<Counts>,
}

/// Of one log.
#[derive(Default)]
struct Counts {
    /// Entries that found no room and are not counted elsewhere yet.
    dropped: AtomicU64,
    /// Entries that are under way.
    under_way: AtomicU64,
}

impl Sink {
    /// Would an entry be taken?
    pub(crate) fn has_room(&self) -> bool {
        self.queue.capacity() > 0
    }

    /// Leaves what `message` makes, which is not asked if there is no room.
    pub(super) fn tell(&self, message: impl FnOnce() -> Message) {
        match self.queue.try_reserve() {
            Ok(place) => {
                self.counts.under_way.fetch_add(1, Relaxed);
                place.send(message());
            }
            Err(_) => {
                self.counts.dropped.fetch_add(1, Relaxed);
            }
        }
    }
}

/// A log that was opened, as the side runtime serves it.
pub(crate) struct Opened {
    log: Arc<ServiceLog>,
    queue: mpsc::Receiver<Message>,
    counts: Arc<Counts>,
    ending: watch::Receiver<bool>,
}

/// All logs of the process that services take.
pub(crate) struct Services {
    /// Who tells, for the service.
    node: core::Node,
    sinks: Mutex<Vec<Weak<Sink>>>,
    opens: mpsc::UnboundedSender<Opened>,
    opened: Mutex<Option<mpsc::UnboundedReceiver<Opened>>>,
    ending: watch::Sender<bool>,
}

impl Services {
    /// None yet.
    pub(crate) fn new(node: &Node) -> Self {
        let (opens, opened) = mpsc::unbounded_channel();
        let node = core::Node { id: node.id.clone(), cluster: node.cluster.clone(), ..core::Node::default() };
        Self {
            node,
            sinks: Mutex::default(),
            opens,
            opened: Mutex::new(Some(opened)),
            ending: watch::Sender::new(false),
        }
    }

    /// The sink of a log: one for all who have the same settings.
    pub(crate) fn open(&self, log: &Arc<ServiceLog>) -> Arc<Sink> {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|sink| sink.strong_count() > 0);
        let known = sinks.iter().filter_map(Weak::upgrade).find(|sink| *sink.log == **log);
        known.unwrap_or_else(|| {
            let (queue, entries) = mpsc::channel(QUEUE);
            let counts = Arc::<Counts>::default();
            let opened =
                Opened { log: log.clone(), queue: entries, counts: counts.clone(), ending: self.ending.subscribe() };
            // Who follows is there as long as the process.
            let _ = self.opens.send(opened);
            let sink = Arc::new(Sink { log: log.clone(), queue, counts });
            sinks.push(Arc::downgrade(&sink));
            sink
        })
    }

    /// The process ends: what waits goes out at once. Gives up after a time.
    pub(crate) async fn finish(&self) {
        self.ending.send_replace(true);
        let sinks: Vec<_> = {
            let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
            sinks.iter().filter_map(Weak::upgrade).collect()
        };
        let end = Instant::now() + FAREWELL;
        while sinks.iter().any(|sink| sink.counts.under_way.load(Relaxed) > 0) && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
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
        let sink = services.open(&log("a"));
        assert!(Arc::ptr_eq(&sink, &services.open(&log("a"))), "equal settings share a queue");
        assert!(!Arc::ptr_eq(&sink, &services.open(&log("b"))));
        for _ in 0..QUEUE {
            assert!(sink.has_room());
            sink.tell(|| Message::Tcp(Box::default()));
        }
        assert!(!sink.has_room());
        sink.tell(|| unreachable!("nothing is made for a full queue"));
        assert_eq!(sink.counts.dropped.load(Relaxed), 1);
    }
}
