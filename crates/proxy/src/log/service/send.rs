//! Entries on their way to the service, on the side runtime.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::access_log::ServiceLog;
use prost::Message as _;
use proto::envoy::config::core::v3 as core;
use proto::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use proto::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, Identifier, LogEntries, TcpAccessLogEntries,
};
use telemetry::{Counter, DeclareError, Desc, Family, Shard};
use tokio::time::sleep_until;

use super::Message;
use crate::live::{Live, View};
use crate::node::Shared;
use crate::outlet::Opened;
use crate::unary;

/// The method of the service.
const METHOD: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
/// The service may take this long for what it is sent at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a failure, once more; then what could not be brought is dropped.
const AGAIN: Duration = Duration::from_secs(1);
/// So many entries go at once at most. What comes faster than this in an interval finds the queue full in the end, so that
/// a flood of refusals is told of, and not carried on.
const AT_ONCE: usize = 250;

/// What is counted of it, by the names of Envoy.
#[derive(Clone)]
struct Counters {
    written: Counter,
    dropped: Counter,
}

struct Families {
    written: Family<Counter>,
    dropped: Family<Counter>,
}

impl Families {
    fn declare(shard: &Shard) -> Result<Self, DeclareError> {
        let counter = |name, help| shard.counters(Desc::new(name, help).labels(&["log_name"]));
        Ok(Self {
            written: counter("envoy_access_logs_grpc_access_log_logs_written", "Entries that services took.")?,
            dropped: counter("envoy_access_logs_grpc_access_log_logs_dropped", "Entries that no service got.")?,
        })
    }

    fn of(&self, log: &str) -> Counters {
        Counters { written: self.written.with(&[log]), dropped: self.dropped.with(&[log]) }
    }
}

/// The way to services.
struct Way {
    live: Arc<Live>,
    upstream: Rc<upstream::Worker>,
    node: core::Node,
}

/// Serves every log that is opened from now on. The first call counts.
///
/// # Errors
/// A statistic is declared in two ways.
pub(crate) fn follow(shared: &Arc<Shared>, live: &Arc<Live>) -> Result<(), DeclareError> {
    let services = &shared.log_services;
    let Some(mut opened) = services.logs.opened() else { return Ok(()) };
    let shard = shared.registry.shard();
    let families = Families::declare(&shard)?;
    let upstream = upstream::Worker::new(shared.dialer(), &shard)?;
    let way = Rc::new(Way { live: live.clone(), upstream, node: services.node.clone() });
    tokio::task::spawn_local(async move {
        // The shard is what is counted in: it stays as long as anything is.
        let _shard = shard;
        while let Some(log) = opened.recv().await {
            let counters = families.of(&log.settings.name);
            tokio::task::spawn_local(serve(way.clone(), log, counters));
        }
    });
    Ok(())
}

/// Carries entries until nobody leaves any more.
async fn serve(way: Rc<Way>, mut opened: Opened<Arc<ServiceLog>, Message>, counters: Counters) {
    let log = opened.settings.clone();
    loop {
        let mut bytes = 0;
        let has_room = |message: &Message| {
            bytes += size(message);
            bytes < log.buffer_bytes as usize
        };
        let Some((begun, batch)) = opened.next(log.flush_interval, AT_ONCE, has_room).await else { break };
        let count = batch.len() as u64;
        match way.bring(&log, batch).await {
            Ok(()) => counters.written.add(count),
            Err(problem) => {
                tracing::debug!("access log {}: {count} entries are dropped: {problem}", log.name);
                counters.dropped.add(count);
            }
        }
        counters.dropped.add(opened.take_dropped());
        opened.done(count);
        // A full batch was gathered in no time.
        if count >= AT_ONCE as u64 && !opened.is_ending() {
            sleep_until(begun + log.flush_interval).await;
        }
    }
    counters.dropped.add(opened.take_dropped());
}

fn size(message: &Message) -> usize {
    match message {
        Message::Http(entry) => entry.encoded_len(),
        Message::Tcp(entry) => entry.encoded_len(),
    }
}

impl Way {
    /// Brings entries, of one kind after the other. A call is a stream of its own, of one message, so that the service's
    /// answer says that it has them.
    async fn bring(&self, log: &ServiceLog, batch: Vec<Message>) -> Result<(), String> {
        let (mut http, mut tcp) = (Vec::new(), Vec::new());
        for message in batch {
            match message {
                Message::Http(entry) => http.push(*entry),
                Message::Tcp(entry) => tcp.push(*entry),
            }
        }
        if !http.is_empty() {
            self.call(log, LogEntries::HttpLogs(HttpAccessLogEntries { log_entry: http })).await?;
        }
        if !tcp.is_empty() {
            self.call(log, LogEntries::TcpLogs(TcpAccessLogEntries { log_entry: tcp })).await?;
        }
        Ok(())
    }

    async fn call(&self, log: &ServiceLog, entries: LogEntries) -> Result<(), String> {
        let identifier = Identifier { node: Some(self.node.clone()), log_name: log.name.to_string() };
        let message = StreamAccessLogsMessage { identifier: Some(identifier), log_entries: Some(entries) };
        let message: Bytes = message.encode_to_vec().into();
        if self.once(log, message.clone()).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(AGAIN).await;
        self.once(log, message).await
    }

    async fn once(&self, log: &ServiceLog, message: Bytes) -> Result<(), String> {
        let call = filter::Call { service: &log.service, path: METHOD, message, timeout: Some(PATIENCE) };
        unary::call(&View::new(self.live.load(), self.upstream.clone()), call).await.map(drop)
    }
}
