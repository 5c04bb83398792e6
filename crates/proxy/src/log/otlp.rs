//! Logs that a service takes by OTLP.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::TraceContext;
use model::access_log::{LogFilter, LogFormat as Format, OtlpLog};
use prost::Message as _;
use proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use proto::opentelemetry::proto::common::v1::AnyValue;
use proto::opentelemetry::proto::common::v1::any_value::Value;
use proto::opentelemetry::proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use telemetry::log::{Fields, FormatError, LogFormat, Operator};
use telemetry::{Counter, DeclareError, Desc};

use super::compile;
use crate::live::{Live, View};
use crate::node::Shared;
use crate::otlp;
use crate::outlet::{Opened, Outlet, Outlets};
use crate::unary;

/// The method of the service.
const METHOD: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// The service may take this long for what it is sent at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many records wait at most, for each log.
const QUEUE: usize = 1000;
/// So many records go at once at most.
const AT_ONCE: usize = 250;

/// All logs of the process that services take by OTLP.
pub(crate) struct OtlpLogs(pub Outlets<Arc<OtlpLog>, LogRecord>);

impl Default for OtlpLogs {
    fn default() -> Self {
        Self(Outlets::new(QUEUE))
    }
}

/// A log, compiled.
pub(super) struct ToOtlp {
    sink: Arc<Outlet<Arc<OtlpLog>, LogRecord>>,
    body: Option<LogFormat>,
    attributes: Vec<(String, LogFormat)>,
    pub(super) filter: Option<Arc<LogFilter>>,
}

impl ToOtlp {
    pub(super) fn new(
        log: &Arc<OtlpLog>,
        filter: Option<Arc<LogFilter>>,
        logs: &OtlpLogs,
    ) -> Result<Self, FormatError> {
        let text = |text: &String| compile(&Format::Text(text.clone()));
        let attribute = |(key, value): &(String, String)| Ok((key.clone(), text(value)?));
        Ok(Self {
            sink: logs.0.open(log),
            body: log.body.as_ref().map(text).transpose()?,
            attributes: log.attributes.iter().map(attribute).collect::<Result<_, FormatError>>()?,
            filter,
        })
    }

    /// Every operator that it names.
    pub(super) fn operators(&self) -> impl Iterator<Item = &Operator> {
        let attributes = self.attributes.iter().map(|(_, format)| format);
        self.body.iter().chain(attributes).flat_map(LogFormat::operators)
    }

    /// Leaves the record of something that began then, as this span.
    pub(super) fn tell(&self, fields: &dyn Fields, begun_at: SystemTime, span: Option<TraceContext>) {
        self.sink.tell(|| {
            let nanos =
                |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
            LogRecord {
                time_unix_nano: nanos(begun_at),
                observed_time_unix_nano: nanos(SystemTime::now()),
                body: self.body.as_ref().map(|body| AnyValue { value: Some(Value::StringValue(body.said(fields))) }),
                attributes: self.attributes.iter().map(|(key, it)| otlp::attribute(key, it.said(fields))).collect(),
                trace_id: span.map(|span| span.trace.0.to_be_bytes().to_vec()).unwrap_or_default(),
                span_id: span.map(|span| span.span.0.to_be_bytes().to_vec()).unwrap_or_default(),
                flags: u32::from(span.is_some_and(|span| span.sampled == Some(true))),
                ..LogRecord::default()
            }
        });
    }
}

/// The way to services.
struct Way {
    live: Arc<Live>,
    upstream: Rc<upstream::Worker>,
    shared: Arc<Shared>,
    written: Counter,
    dropped: Counter,
}

/// Serves every log that is opened from now on. The first call counts.
///
/// # Errors
/// A statistic is declared in two ways.
pub(crate) fn follow(shared: &Arc<Shared>, live: &Arc<Live>) -> Result<(), DeclareError> {
    let Some(mut opened) = shared.otlp_logs.0.opened() else { return Ok(()) };
    let shard = shared.registry.shard();
    let counter = |name, help| Ok(shard.counters(Desc::new(name, help))?.with(&[]));
    let written = counter("envoy_access_logs_open_telemetry_access_log_logs_written", "Records that services took.")?;
    let dropped = counter("envoy_access_logs_open_telemetry_access_log_logs_dropped", "Records that no service got.")?;
    let upstream = upstream::Worker::new(shared.dialer(), &shard)?;
    let way = Rc::new(Way { live: live.clone(), upstream, shared: shared.clone(), written, dropped });
    tokio::task::spawn_local(async move {
        // The shard is what is counted in: it stays as long as anything is.
        let _shard = shard;
        while let Some(log) = opened.recv().await {
            tokio::task::spawn_local(serve(way.clone(), log));
        }
    });
    Ok(())
}

/// Carries records until nobody leaves any more.
async fn serve(way: Rc<Way>, mut opened: Opened<Arc<OtlpLog>, LogRecord>) {
    let log = opened.settings.clone();
    loop {
        let mut bytes = 0;
        let has_room = |record: &LogRecord| {
            bytes += record.encoded_len();
            bytes < log.buffer_bytes as usize
        };
        let Some((_, batch)) = opened.next(log.flush_interval, AT_ONCE, has_room).await else { break };
        let count = batch.len() as u64;
        match way.bring(&log, batch).await {
            Ok(()) => way.written.add(count),
            Err(problem) => {
                tracing::debug!("access log {}: {count} records are dropped: {problem}", log.name);
                way.dropped.add(count);
            }
        }
        way.dropped.add(opened.take_dropped());
        opened.done(count);
    }
    way.dropped.add(opened.take_dropped());
}

impl Way {
    async fn bring(&self, log: &OtlpLog, log_records: Vec<LogRecord>) -> Result<(), String> {
        let shared = &self.shared;
        // Envoy's builtin labels.
        let builtin = [
            ("log_name", &*log.name),
            ("zone_name", &*shared.locality.zone),
            ("cluster_name", &*shared.service_cluster),
            ("node_name", &*shared.node),
        ];
        let name = otlp::service_name(shared, "");
        let resource = otlp::resource(shared, &name, builtin.into_iter().filter(|_| log.is_named));
        let scope_logs = vec![ScopeLogs { scope: Some(otlp::scope()), log_records, schema_url: String::new() }];
        let resource_logs = vec![ResourceLogs { resource: Some(resource), scope_logs, schema_url: String::new() }];
        let message = ExportLogsServiceRequest { resource_logs }.encode_to_vec().into();
        let call = filter::Call { service: &log.service, path: METHOD, message, timeout: Some(PATIENCE) };
        unary::call(&View::new(self.live.load(), self.upstream.clone()), call).await.map(drop)
    }
}
