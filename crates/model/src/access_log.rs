//! Where and how a finished exchange is written down, or told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use expression::Expression;
use http::HeaderName;

use crate::GrpcService;

/// An access log: who is told, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Who is told.
    pub to: LogTarget,
    /// Of what alone; none: of everything.
    pub filter: Option<Arc<LogFilter>>,
}

/// Who is told of finished exchanges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// A file.
    File(FileLog),
    /// A service of gRPC, by Envoy's protocol.
    Service(Arc<ServiceLog>),
    /// A service of gRPC, by OTLP.
    Otlp(Arc<OtlpLog>),
}

/// A log in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLog {
    /// The file's path; `/dev/stdout` is standard output.
    pub path: String,
    /// The form of a line.
    pub format: LogFormat,
}

impl From<FileLog> for AccessLog {
    fn from(file: FileLog) -> Self {
        Self { to: LogTarget::File(file), filter: None }
    }
}

/// A log that Envoy's access log service takes (`envoy.service.accesslog.v3`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceLog {
    /// What is told.
    pub entries: LogEntries,
    /// The log's name, by which the service tells it from others.
    pub name: Arc<str>,
    /// The service, a cluster of this proxy.
    pub service: GrpcService,
    /// Entries wait no longer than this for others to go with.
    pub flush_interval: Duration,
    /// So many bytes of entries go at once.
    pub buffer_bytes: u32,
}

impl ServiceLog {
    /// [`Self::flush_interval`] where nothing is said (Envoy `buffer_flush_interval`).
    pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
    /// [`Self::buffer_bytes`] where nothing is said (Envoy `buffer_size_bytes`).
    pub const BUFFER_BYTES: u32 = 16_384;
}

/// A log that a service takes by OTLP (`opentelemetry.proto.collector.logs.v1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpLog {
    /// The log's name.
    pub name: Arc<str>,
    /// The service, a cluster of this proxy.
    pub service: GrpcService,
    /// The body of records: a text with operators.
    pub body: Option<String>,
    /// Attributes of records: their keys, and texts with operators.
    pub attributes: Vec<(String, String)>,
    /// The log and the proxy are named beside the records.
    pub is_named: bool,
    /// Records wait no longer than this for others to go with.
    pub flush_interval: Duration,
    /// So many bytes of records go at once.
    pub buffer_bytes: u32,
}

/// What a service is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEntries {
    /// Requests.
    Http {
        /// These headers of requests are told besides.
        request_headers: Vec<HeaderName>,
        /// These headers of responses are told besides.
        response_headers: Vec<HeaderName>,
    },
    /// Connections.
    Tcp,
}

/// What a log is told of (xDS `AccessLogFilter`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFilter {
    /// The response's status, 0 if there is none.
    Status(Comparison),
    /// How long the exchange took, in milliseconds.
    Duration(Comparison),
    /// One of these flags, in Envoy's short codes, is set; of none: any.
    Flags(Vec<Arc<str>>),
    /// The gRPC status, which follows from that of HTTP where there is none.
    GrpcStatus {
        /// Codes of gRPC.
        codes: Vec<u32>,
        /// All but these.
        exclude: bool,
    },
    /// The proxy answered, not the upstream.
    OwnAnswer,
    /// The connection was ended for a reason that has a name.
    Terminated,
    /// This is true (CEL).
    Expression(Expression),
    /// All of these; two at least.
    And(Vec<LogFilter>),
    /// One of these; two at least.
    Or(Vec<LogFilter>),
}

/// A number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// How.
    pub is: Ordering,
    /// With this.
    pub than: u32,
}

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordering {
    /// It is the same.
    Equal,
    /// It is as large, or larger.
    AtLeast,
    /// It is as large, or smaller.
    AtMost,
    /// It is another.
    NotEqual,
}

impl Comparison {
    /// Does it hold of a number?
    pub fn holds(self, number: u64) -> bool {
        let than = u64::from(self.than);
        match self.is {
            Ordering::Equal => number == than,
            Ordering::AtLeast => number >= than,
            Ordering::AtMost => number <= than,
            Ordering::NotEqual => number != than,
        }
    }
}

/// What filters look at.
pub trait Outcome {
    /// The response's status; 0: none was sent, or it is no HTTP.
    fn status(&self) -> u16;
    /// How long it took.
    fn duration(&self) -> Duration;
    /// Is this flag set? None: any.
    fn has_flag(&self, flag: Option<&str>) -> bool;
    /// The gRPC status, also where HTTP's stands for it.
    fn grpc_status(&self) -> u32;
    /// The proxy answered.
    fn is_own_answer(&self) -> bool;
    /// The connection was ended for a reason that has a name.
    fn is_terminated(&self) -> bool;
    /// Is an expression true of it?
    fn holds(&self, expression: &Expression) -> bool;
}

impl LogFilter {
    /// Is the log told of it?
    pub fn takes(&self, of: &dyn Outcome) -> bool {
        match self {
            Self::Status(comparison) => comparison.holds(of.status().into()),
            Self::Duration(comparison) => {
                comparison.holds(u64::try_from(of.duration().as_millis()).unwrap_or(u64::MAX))
            }
            Self::Flags(flags) if flags.is_empty() => of.has_flag(None),
            Self::Flags(flags) => flags.iter().any(|flag| of.has_flag(Some(flag))),
            Self::GrpcStatus { codes, exclude } => codes.contains(&of.grpc_status()) != *exclude,
            Self::OwnAnswer => of.is_own_answer(),
            Self::Terminated => of.is_terminated(),
            Self::Expression(expression) => of.holds(expression),
            Self::And(all) => all.iter().all(|filter| filter.takes(of)),
            Self::Or(some) => some.iter().any(|filter| filter.takes(of)),
        }
    }

    /// Can it take an exchange that the upstream answered, without a flag? Where it cannot, nothing of such exchanges has to
    /// be kept.
    pub fn takes_answers_of_upstreams(&self) -> bool {
        match self {
            Self::Flags(_) | Self::OwnAnswer | Self::Terminated => false,
            Self::Status(_) | Self::Duration(_) | Self::GrpcStatus { .. } | Self::Expression(_) => true,
            Self::And(all) => all.iter().all(Self::takes_answers_of_upstreams),
            Self::Or(some) => some.iter().any(Self::takes_answers_of_upstreams),
        }
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.write_str(&file.path),
            Self::Service(log) => write!(f, "{} at the cluster {}", log.name, log.service.cluster),
            Self::Otlp(log) => write!(f, "{} at the cluster {}", log.name, log.service.cluster),
        }
    }
}

/// The form of an access-log line, in Envoy's command operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFormat {
    /// Envoy's default text.
    Default,
    /// A text with operators; it brings its own line end.
    Text(String),
    /// A JSON object, key by key in ascending order (the wire knows no other), each value a text with operators.
    Json(Vec<(String, String)>),
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Done {
        status: u16,
        flags: &'static [&'static str],
        grpc: u32,
        own: bool,
    }

    impl Outcome for Done {
        fn status(&self) -> u16 {
            self.status
        }
        fn duration(&self) -> Duration {
            Duration::from_millis(20)
        }
        fn has_flag(&self, flag: Option<&str>) -> bool {
            flag.map_or(!self.flags.is_empty(), |flag| self.flags.contains(&flag))
        }
        fn grpc_status(&self) -> u32 {
            self.grpc
        }
        fn is_own_answer(&self) -> bool {
            self.own
        }
        fn is_terminated(&self) -> bool {
            false
        }
        fn holds(&self, _: &Expression) -> bool {
            false
        }
    }

    #[test]
    fn what_filters_take() {
        let status = |is, than| LogFilter::Status(Comparison { is, than });
        let refused = LogFilter::Or(vec![
            LogFilter::Flags(vec!["UF".into(), "NR".into()]),
            LogFilter::And(vec![
                LogFilter::OwnAnswer,
                LogFilter::Or(vec![
                    status(Ordering::AtLeast, 400),
                    LogFilter::GrpcStatus { codes: vec![0, 2], exclude: true },
                ]),
            ]),
        ]);
        let done = |status, flags, grpc, own| Done { status, flags, grpc, own };
        for (outcome, expected) in [
            (done(200, &[], 0, false), false),
            (done(404, &[], 12, false), false),
            (done(403, &[], 7, true), true),
            (done(200, &[], 7, true), true),
            (done(301, &[], 2, true), false),
            (done(503, &["UF"], 14, false), true),
            (done(0, &["DC"], 2, false), false),
        ] {
            assert_eq!(refused.takes(&outcome), expected, "{} {:?}", outcome.status, outcome.flags);
        }
        assert!(!refused.takes_answers_of_upstreams());
        assert!(status(Ordering::Equal, 200).takes_answers_of_upstreams());
        let of = |is| status(is, 400).takes(&done(404, &[], 0, false));
        assert_eq!(
            [Ordering::Equal, Ordering::AtLeast, Ordering::AtMost, Ordering::NotEqual].map(of),
            [false, true, false, true]
        );
        assert!(LogFilter::Flags(vec![]).takes(&done(0, &["DC"], 0, false)));
        assert!(LogFilter::Duration(Comparison { is: Ordering::AtMost, than: 20 }).takes(&done(0, &[], 0, false)));
    }
}
