//! Access logs: which file and format a listener or HTTP proxy has, and what stands for each operator.

mod entry;
pub(crate) mod otlp;
mod outcome;
pub(crate) mod service;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ::http::{HeaderMap, Version};
use base::TraceContext;
use model::AccessLog;
use model::access_log::{FileLog, LogFilter, LogFormat as Format, LogTarget, Outcome};
use telemetry::log::{Fields, LogFormat, Operator, Slot};
use telemetry::{LogSink, LogWriter, ResponseFlags, SinkOptions, Target};

use crate::connection::Downstream;
use crate::edge;
use crate::inspect::Seen;
use crate::live::ListenerPlan;
use crate::node::Shared;
use crate::reason;
use crate::record::{Refused, Summary, TcpRecord};
use crate::tcp::End;
use crate::worker::Worker;
use otlp::ToOtlp;
use service::{Message, Sink};

/// All open log files of the process.
#[derive(Default)]
pub(crate) struct Sinks(Mutex<HashMap<String, Arc<LogSink>>>);

impl Sinks {
    fn open(&self, path: &str) -> std::io::Result<Arc<LogSink>> {
        let mut sinks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = sinks.get(path) {
            return Ok(open.clone());
        }
        let target = if path == "/dev/stdout" { Target::Stdout } else { Target::File(PathBuf::from(path)) };
        let sink = Arc::new(LogSink::open(target, SinkOptions::default())?);
        sinks.insert(path.to_owned(), sink.clone());
        Ok(sink)
    }

    /// Opens all files anew, after they were moved away.
    pub(crate) fn reopen(&self) {
        self.each(LogSink::reopen);
    }

    /// Waits until all lines are out. Blocks.
    pub(crate) fn flush(&self) {
        self.each(LogSink::flush);
    }

    fn each(&self, of: impl Fn(&LogSink)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|sink| of(sink));
    }
}

impl std::fmt::Debug for Sinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sinks")
    }
}

/// The logs of one listener or HTTP proxy, compiled.
#[derive(Default)]
pub(crate) struct AccessLogs {
    files: Vec<ToFile>,
    services: Vec<ToService>,
    otlp: Vec<ToOtlp>,
    is_empty: bool,
    tell_reasons: bool,
    tell_metadata: bool,
}

struct ToFile {
    sink: Arc<LogSink>,
    format: LogFormat,
    filter: Option<Arc<LogFilter>>,
}

struct ToService {
    sink: Arc<Sink>,
    filter: Option<Arc<LogFilter>>,
    /// It is told of nothing that the upstream answered and that has no flag, so that little has to be asked of most.
    only_failures: bool,
}

impl AccessLogs {
    /// Those that are named; the default one where no file is.
    ///
    /// # Errors
    /// A format is wrong, a file cannot be opened, or a filter asks for a flag that there is not; the text says which and why.
    pub(crate) fn new(named: &[AccessLog], shared: &Shared) -> Result<Self, String> {
        let mut logs = Self::default();
        for log in named {
            let filter = log.filter.clone();
            if let Some(filter) = &filter {
                outcome::check(filter).map_err(|error| format!("access log {}: {error}", log.to))?;
            }
            match &log.to {
                LogTarget::File(file) => logs.files.push(to_file(file, filter, &shared.sinks)?),
                LogTarget::Service(log) => logs.services.push(ToService {
                    only_failures: filter.as_ref().is_some_and(|filter| !filter.takes_answers_of_upstreams()),
                    sink: shared.log_services.logs.open(log),
                    filter,
                }),
                LogTarget::Otlp(log) => {
                    let to = ToOtlp::new(log, filter, &shared.otlp_logs);
                    logs.otlp.push(to.map_err(|error| format!("access log {}: {error}", log.name))?);
                }
            }
        }
        if let (true, Some(file)) = (logs.files.is_empty(), &shared.access_log) {
            logs.files.push(to_file(file, None, &shared.sinks)?);
        }
        let no_lines = logs.files.is_empty() && logs.otlp.is_empty();
        logs.is_empty = no_lines && logs.services.iter().all(|log| log.only_failures);
        let (reasons, metadata) = (logs.operators().any(is_reason), logs.operators().any(is_metadata));
        (logs.tell_reasons, logs.tell_metadata) = (reasons, metadata);
        Ok(logs)
    }

    /// Every operator that one of them names.
    fn operators(&self) -> impl Iterator<Item = &Operator> {
        let of_files = self.files.iter().flat_map(|file| file.format.operators());
        of_files.chain(self.otlp.iter().flat_map(ToOtlp::operators))
    }

    /// Is nothing told of what goes well?
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Is somebody told of what goes wrong, who has room for it?
    pub(crate) fn tell_failures(&self) -> bool {
        self.services.iter().any(|log| log.sink.has_room())
    }

    /// Does one of them tell why a request came to nothing?
    pub(crate) fn tell_reasons(&self) -> bool {
        self.tell_reasons || self.tell_failures()
    }

    /// Does one of them tell what filters said?
    pub(crate) fn tell_metadata(&self) -> bool {
        self.tell_metadata
    }

    /// An HTTP exchange is over.
    pub(crate) fn exchange(&self, writers: &Writers, summary: &Summary<'_>) {
        self.write(writers, summary, summary, (summary.begun_at, summary.facts.span));
        self.tell(summary, |log| entry::exchange(summary, log));
    }

    /// A raw connection is over.
    pub(crate) fn connection(&self, writers: &Writers, record: &TcpRecord<'_>, end: &End) {
        let raw = Raw { record, end };
        self.write(writers, &raw, &raw, (record.begun_at, None));
        self.tell(&raw, |_| entry::connection(&raw));
    }

    /// Rules of access refused a connection.
    pub(crate) fn denied(&self, writers: &Writers, denied: &Denied<'_>) {
        self.write(writers, denied, denied, (denied.begun_at, None));
        self.tell(denied, |_| entry::denied(denied));
    }

    /// A connection was closed before any filter saw it.
    pub(crate) fn refused(&self, worker: &Worker, plan: &ListenerPlan, seen: &Seen, why: &Refused<'_>) {
        let unseen = Unseen { plan, seen, why, at: SystemTime::now() };
        self.write(&worker.writers, &unseen, &unseen, (unseen.at, None));
        self.tell(&unseen, |_| entry::unseen(&unseen));
    }

    /// Writes lines and records of something that began then, as a span.
    fn write(
        &self,
        writers: &Writers,
        fields: &dyn Fields,
        outcome: &dyn Outcome,
        (begun_at, span): (SystemTime, Option<TraceContext>),
    ) {
        let takes = |filter: &Option<Arc<LogFilter>>| filter.as_ref().is_none_or(|filter| filter.takes(outcome));
        for file in self.files.iter().filter(|file| takes(&file.filter)) {
            writers.line(&file.sink, |out| file.format.write(fields, out));
        }
        self.otlp.iter().filter(|log| takes(&log.filter)).for_each(|log| log.tell(fields, begun_at, span));
    }

    fn tell(&self, outcome: &dyn Outcome, message: impl Fn(&Sink) -> Message) {
        for log in &self.services {
            if log.only_failures && !outcome.is_own_answer() && !outcome.is_terminated() && !outcome.has_flag(None) {
                continue;
            }
            if log.filter.as_ref().is_none_or(|filter| filter.takes(outcome)) {
                log.sink.tell(|| message(&log.sink));
            }
        }
    }
}

fn to_file(file: &FileLog, filter: Option<Arc<LogFilter>>, sinks: &Sinks) -> Result<ToFile, String> {
    let format = compile(&file.format).map_err(|e| format!("access log {}: {e}", file.path))?;
    let sink = sinks
        .open(&file.path)
        .map_err(|e| format!("access log {}: {e}; expected a file that can be appended to", file.path))?;
    Ok(ToFile { sink, format, filter })
}

impl std::fmt::Debug for AccessLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessLogs({}, {})", self.files.len(), self.services.len())
    }
}

fn is_metadata(operator: &Operator) -> bool {
    matches!(operator, Operator::DynamicMetadata { .. }) && !is_reason(operator)
}

fn is_reason(operator: &Operator) -> bool {
    let Operator::DynamicMetadata { namespace, path } = operator else { return false };
    namespace == reason::METADATA.0 && matches!(path.as_slice(), [key] if key == reason::METADATA.1)
}

fn compile(format: &Format) -> Result<LogFormat, telemetry::log::FormatError> {
    match format {
        Format::Default => Ok(LogFormat::istio_text()),
        Format::Text(text) => LogFormat::text(text),
        Format::Json(members) => {
            let members = members.iter().map(|(key, value)| (key.clone(), value.clone().into()));
            LogFormat::json(&serde_json::Value::Object(members.collect()))
        }
    }
}

/// One worker's ways into the logs.
#[derive(Default)]
pub(crate) struct Writers(RefCell<HashMap<*const LogSink, LogWriter>>);

impl Writers {
    fn line(&self, sink: &Arc<LogSink>, line: impl FnOnce(&mut String)) {
        // Sinks live as long as the process, so an address stands for one sink only.
        self.0.borrow_mut().entry(Arc::as_ptr(sink)).or_insert_with(|| sink.writer()).line(line);
    }
}

impl Fields for Summary<'_> {
    fn put(&self, operator: &Operator, slot: &mut Slot<'_>) {
        let facts = self.facts;
        match operator {
            Operator::StartTime(format) => slot.time(format, self.begun_at),
            Operator::EmitTime(format) => slot.time(format, SystemTime::now()),
            Operator::Duration => slot.millis(self.duration),
            Operator::ResponseDuration => optional_millis(slot, facts.head_time),
            Operator::ResponseTxDuration => {
                optional_millis(slot, facts.head_time.map(|head| self.duration.saturating_sub(head)));
            }
            Operator::Protocol => slot.text(self.protocol()),
            Operator::Request { name, other } => {
                if !self.request_field(name, slot)
                    && let Some(other) = other
                {
                    self.request_field(other, slot);
                }
            }
            Operator::Response { name, other } => {
                let headers = facts.response_headers.as_ref();
                if !put_header(headers, name, slot)
                    && let Some(other) = other
                {
                    put_header(headers, other, slot);
                }
            }
            Operator::ResponseCode => slot.number(facts.status.map_or(0, |s| s.as_u16().into())),
            Operator::ResponseCodeDetails => slot.text(&facts.details),
            Operator::ResponseFlags | Operator::ResponseFlagsLong => slot.flags(operator, facts.flags),
            Operator::UpstreamTransportFailureReason => slot.text(&facts.transport_failure),
            Operator::BytesReceived => slot.number(self.request_bytes),
            Operator::BytesSent => slot.number(self.response_bytes),
            Operator::UpstreamHost | Operator::UpstreamRemoteAddress => {
                if let Some(endpoint) = &facts.endpoint {
                    slot.display(endpoint);
                }
            }
            Operator::UpstreamCluster => slot.text(facts.cluster.as_deref().unwrap_or_default()),
            Operator::UpstreamLocalAddress => put_local(facts.exchange.as_ref(), slot),
            Operator::UpstreamRequestAttemptCount => slot.number(facts.attempts.into()),
            Operator::RouteName => slot.text(facts.route.as_deref().unwrap_or_default()),
            Operator::VirtualHostName => slot.text(facts.virtual_host.as_deref().unwrap_or_default()),
            Operator::GrpcStatus(form) => {
                if let Some(status) = facts.grpc_status {
                    slot.grpc_status(*form, status.0, status.name());
                }
            }
            Operator::TraceId => put(slot, facts.span.map(|span| span.trace)),
            Operator::SpanId => put(slot, facts.span.map(|span| span.span)),
            Operator::DownstreamRemoteAddress => {
                let direct = self.conn.downstream.source;
                let seen = facts
                    .request_headers
                    .as_ref()
                    .map(|h| edge::client_address(h, &self.conn.plan().proxy, &self.conn.caller));
                match seen.filter(|ip| *ip != direct.ip()) {
                    Some(client) => slot.display(SocketAddr::new(client, 0)),
                    None => slot.display(direct),
                }
            }
            Operator::DownstreamRemoteAddressWithoutPort => {
                let headers = facts.request_headers.as_ref();
                let direct = self.conn.downstream.source.ip();
                slot.display(
                    headers.map_or(direct, |h| edge::client_address(h, &self.conn.plan().proxy, &self.conn.caller)),
                );
            }
            operator if is_reason(operator) => slot.text(facts.reason.as_deref().unwrap_or_default()),
            Operator::DynamicMetadata { namespace, path } => {
                let value = facts.metadata.as_ref().and_then(|metadata| metadata.get(namespace, path));
                put(slot, value.map(ToString::to_string).as_deref());
            }
            other => self.conn.downstream.put(other, slot),
        }
    }
}

impl Summary<'_> {
    /// What the downstream spoke, as logs name it.
    pub(crate) fn protocol(&self) -> &'static str {
        match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            _ => "HTTP/1.1",
        }
    }

    fn request_field(&self, name: &str, slot: &mut Slot<'_>) -> bool {
        match name {
            ":method" => slot.text(self.method.as_str()),
            ":path" | "x-envoy-original-path" if self.facts.target.path().is_empty() => return false,
            ":path" => slot.text(self.facts.target.path_and_query().map_or("/", |p| p.as_str())),
            ":authority" => slot.bytes(self.facts.authority.as_ref().map(|a| a.as_bytes()).unwrap_or_default()),
            ":scheme" => match &self.facts.request_headers {
                Some(headers) => slot.text(edge::scheme(headers)),
                None => return false,
            },
            name => return put_header(self.facts.request_headers.as_ref(), name, slot),
        }
        true
    }
}

/// What every kind of connection knows.
impl Fields for Downstream {
    fn put(&self, operator: &Operator, slot: &mut Slot<'_>) {
        match operator {
            Operator::DownstreamLocalAddress => slot.display(self.destination),
            Operator::DownstreamLocalAddressWithoutPort => slot.display(self.destination.ip()),
            Operator::DownstreamLocalPort => slot.number(self.destination.port().into()),
            Operator::DownstreamRemoteAddress | Operator::DownstreamDirectRemoteAddress => slot.display(self.source),
            Operator::DownstreamRemoteAddressWithoutPort | Operator::DownstreamDirectRemoteAddressWithoutPort => {
                slot.display(self.source.ip());
            }
            Operator::RequestedServerName => slot.text(self.server_name.as_deref().unwrap_or_default()),
            Operator::DownstreamPeerUriSan => slot.text(self.principal.as_deref().unwrap_or_default()),
            Operator::DownstreamLocalUriSan => slot.text(self.local_principal.as_deref().unwrap_or_default()),
            Operator::DownstreamTlsVersion => put(slot, self.tls.as_ref().map(|tls| tls.version.as_str())),
            Operator::DownstreamTlsCipher => put(slot, self.tls.as_ref().map(|tls| tls.cipher)),
            Operator::FilterChainName => slot.text(&self.chain),
            Operator::ConnectionId => slot.number(self.id),
            _ => {}
        }
    }
}

/// A raw connection.
struct Raw<'a> {
    record: &'a TcpRecord<'a>,
    end: &'a End,
}

impl Fields for Raw<'_> {
    fn put(&self, operator: &Operator, slot: &mut Slot<'_>) {
        let Self { record, end } = self;
        match operator {
            Operator::StartTime(format) => slot.time(format, record.begun_at),
            Operator::EmitTime(format) => slot.time(format, SystemTime::now()),
            Operator::Duration => slot.millis(record.duration()),
            Operator::ResponseCode => slot.number(0),
            Operator::ConnectionTerminationDetails | Operator::ResponseCodeDetails => slot.text(end.details),
            Operator::ResponseFlags | Operator::ResponseFlagsLong => slot.flags(operator, end.flags),
            Operator::UpstreamTransportFailureReason => slot.text(&end.reason),
            Operator::BytesReceived => slot.number(record.counters.to_upstream()),
            Operator::BytesSent => slot.number(record.counters.to_downstream()),
            Operator::UpstreamHost | Operator::UpstreamRemoteAddress => {
                put(slot, record.exchange.as_ref().map(|e| e.endpoint()));
            }
            Operator::UpstreamCluster => slot.text(record.cluster.as_deref().unwrap_or_default()),
            Operator::UpstreamLocalAddress => put_local(record.exchange.as_ref(), slot),
            other => record.downstream.put(other, slot),
        }
    }
}

/// A connection that rules of access refused, or a service.
pub(crate) struct Denied<'a> {
    /// The connection.
    pub downstream: &'a Downstream,
    /// When it came.
    pub begun_at: SystemTime,
    /// Envoy's details.
    pub details: &'a str,
    /// Why, in words; only where a log tells it.
    pub reason: Option<&'a str>,
    /// What is recorded of it.
    pub flags: ResponseFlags,
}

impl Fields for Denied<'_> {
    fn put(&self, operator: &Operator, slot: &mut Slot<'_>) {
        match operator {
            Operator::StartTime(format) => slot.time(format, self.begun_at),
            Operator::EmitTime(format) => slot.time(format, SystemTime::now()),
            Operator::Duration => slot.millis(self.begun_at.elapsed().unwrap_or_default()),
            Operator::ResponseCode | Operator::BytesReceived | Operator::BytesSent => slot.number(0),
            Operator::ConnectionTerminationDetails | Operator::ResponseCodeDetails => slot.text(self.details),
            Operator::ResponseFlags | Operator::ResponseFlagsLong => slot.flags(operator, self.flags),
            operator if is_reason(operator) => slot.text(self.reason.unwrap_or_default()),
            other => self.downstream.put(other, slot),
        }
    }
}

/// A connection that no filter saw.
struct Unseen<'a> {
    plan: &'a ListenerPlan,
    seen: &'a Seen,
    why: &'a Refused<'a>,
    at: SystemTime,
}

impl Fields for Unseen<'_> {
    fn put(&self, operator: &Operator, slot: &mut Slot<'_>) {
        let (flags, details, reason): (ResponseFlags, _, _) = self.why.facts();
        match operator {
            Operator::StartTime(format) | Operator::EmitTime(format) => slot.time(format, self.at),
            Operator::Duration | Operator::BytesReceived | Operator::BytesSent | Operator::ResponseCode => {
                slot.number(0);
            }
            Operator::ResponseCodeDetails | Operator::ConnectionTerminationDetails => slot.text(details),
            Operator::ResponseFlags | Operator::ResponseFlagsLong => slot.flags(operator, flags),
            Operator::UpstreamTransportFailureReason => slot.text(reason),
            Operator::DownstreamLocalAddress => slot.display(self.seen.destination),
            Operator::DownstreamLocalPort => slot.number(self.seen.destination.port().into()),
            Operator::DownstreamRemoteAddress | Operator::DownstreamDirectRemoteAddress => {
                slot.display(self.seen.source);
            }
            Operator::RequestedServerName => slot.text(self.seen.server_name.as_deref().unwrap_or_default()),
            Operator::RouteName => slot.text(&self.plan.config.name),
            _ => {}
        }
    }
}

fn put_header(headers: Option<&HeaderMap>, name: &str, slot: &mut Slot<'_>) -> bool {
    match headers.and_then(|headers| headers.get(name)) {
        Some(value) => {
            slot.bytes(value.as_bytes());
            true
        }
        None => false,
    }
}

fn put(slot: &mut Slot<'_>, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        slot.display(value);
    }
}

fn optional_millis(slot: &mut Slot<'_>, time: Option<Duration>) {
    if let Some(time) = time {
        slot.millis(time);
    }
}

fn put_local(exchange: Option<&upstream::Exchange>, slot: &mut Slot<'_>) {
    put(slot, exchange.and_then(|e| e.connection()?.local.as_ref()));
}
