//! The command operators of a log format, by Envoy's names.

use super::time::TimeFormat;

/// How `%GRPC_STATUS%` writes a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GrpcStatusForm {
    /// `DeadlineExceeded`.
    #[default]
    Camel,
    /// `DEADLINE_EXCEEDED`.
    Snake,
    /// `4`.
    Number,
}

/// One command operator, compiled. Header names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // each is Envoy's operator of the same name; the list is the documentation
pub enum Operator {
    StartTime(TimeFormat),
    EmitTime(TimeFormat),
    Duration,
    RequestDuration,
    RequestTxDuration,
    ResponseDuration,
    ResponseTxDuration,
    Protocol,
    /// `%REQ(NAME?OTHER)%`: a request header, or the other if it is absent. Pseudo-headers are `:method`, `:path`,
    /// `:authority` and `:scheme`.
    Request {
        name: String,
        other: Option<String>,
    },
    /// `%RESP(NAME?OTHER)%`; the pseudo-header is `:status`.
    Response {
        name: String,
        other: Option<String>,
    },
    /// `%TRAILER(NAME?OTHER)%`: a trailer of the response.
    Trailer {
        name: String,
        other: Option<String>,
    },
    ResponseCode,
    ResponseCodeDetails,
    ConnectionTerminationDetails,
    ResponseFlags,
    ResponseFlagsLong,
    UpstreamTransportFailureReason,
    BytesReceived,
    BytesSent,
    UpstreamHost,
    UpstreamCluster,
    UpstreamLocalAddress,
    UpstreamRemoteAddress,
    UpstreamRequestAttemptCount,
    DownstreamLocalAddress,
    DownstreamLocalAddressWithoutPort,
    DownstreamLocalPort,
    DownstreamRemoteAddress,
    DownstreamRemoteAddressWithoutPort,
    DownstreamDirectRemoteAddress,
    DownstreamDirectRemoteAddressWithoutPort,
    RequestedServerName,
    RouteName,
    VirtualHostName,
    FilterChainName,
    DownstreamPeerUriSan,
    DownstreamLocalUriSan,
    DownstreamTlsVersion,
    DownstreamTlsCipher,
    GrpcStatus(GrpcStatusForm),
    TraceId,
    SpanId,
    ConnectionId,
    StreamId,
    AccessLogType,
    /// `%DYNAMIC_METADATA(NAMESPACE:KEY:KEY)%`.
    DynamicMetadata {
        namespace: String,
        path: Vec<String>,
    },
    /// What does not change while the program runs: `%HOSTNAME%`, `%ENVIRONMENT(X)%`. Never asked of
    /// [`Fields`](super::Fields).
    Fixed(Option<String>),
}

/// What an operator takes in brackets.
enum Argument {
    None(Operator),
    Time(fn(TimeFormat) -> Operator),
    Header(fn(String, Option<String>) -> Operator),
    Grpc,
    Metadata,
    Environment,
}

/// Every operator's name and what it takes.
fn table() -> Vec<(&'static str, Argument)> {
    use Argument::{Header, None, Time};
    vec![
        ("START_TIME", Time(Operator::StartTime)),
        ("EMIT_TIME", Time(Operator::EmitTime)),
        ("DURATION", None(Operator::Duration)),
        ("REQUEST_DURATION", None(Operator::RequestDuration)),
        ("REQUEST_TX_DURATION", None(Operator::RequestTxDuration)),
        ("RESPONSE_DURATION", None(Operator::ResponseDuration)),
        ("RESPONSE_TX_DURATION", None(Operator::ResponseTxDuration)),
        ("PROTOCOL", None(Operator::Protocol)),
        ("REQ", Header(|name, other| Operator::Request { name, other })),
        ("RESP", Header(|name, other| Operator::Response { name, other })),
        ("TRAILER", Header(|name, other| Operator::Trailer { name, other })),
        ("RESPONSE_CODE", None(Operator::ResponseCode)),
        ("RESPONSE_CODE_DETAILS", None(Operator::ResponseCodeDetails)),
        ("CONNECTION_TERMINATION_DETAILS", None(Operator::ConnectionTerminationDetails)),
        ("RESPONSE_FLAGS", None(Operator::ResponseFlags)),
        ("RESPONSE_FLAGS_LONG", None(Operator::ResponseFlagsLong)),
        ("UPSTREAM_TRANSPORT_FAILURE_REASON", None(Operator::UpstreamTransportFailureReason)),
        ("BYTES_RECEIVED", None(Operator::BytesReceived)),
        ("BYTES_SENT", None(Operator::BytesSent)),
        ("UPSTREAM_HOST", None(Operator::UpstreamHost)),
        ("UPSTREAM_CLUSTER", None(Operator::UpstreamCluster)),
        ("UPSTREAM_CLUSTER_RAW", None(Operator::UpstreamCluster)),
        ("UPSTREAM_LOCAL_ADDRESS", None(Operator::UpstreamLocalAddress)),
        ("UPSTREAM_REMOTE_ADDRESS", None(Operator::UpstreamRemoteAddress)),
        ("UPSTREAM_REQUEST_ATTEMPT_COUNT", None(Operator::UpstreamRequestAttemptCount)),
        ("DOWNSTREAM_LOCAL_ADDRESS", None(Operator::DownstreamLocalAddress)),
        ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", None(Operator::DownstreamLocalAddressWithoutPort)),
        ("DOWNSTREAM_LOCAL_PORT", None(Operator::DownstreamLocalPort)),
        ("DOWNSTREAM_REMOTE_ADDRESS", None(Operator::DownstreamRemoteAddress)),
        ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", None(Operator::DownstreamRemoteAddressWithoutPort)),
        ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", None(Operator::DownstreamDirectRemoteAddress)),
        ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", None(Operator::DownstreamDirectRemoteAddressWithoutPort)),
        ("REQUESTED_SERVER_NAME", None(Operator::RequestedServerName)),
        ("ROUTE_NAME", None(Operator::RouteName)),
        ("VIRTUAL_HOST_NAME", None(Operator::VirtualHostName)),
        ("FILTER_CHAIN_NAME", None(Operator::FilterChainName)),
        ("DOWNSTREAM_PEER_URI_SAN", None(Operator::DownstreamPeerUriSan)),
        ("DOWNSTREAM_LOCAL_URI_SAN", None(Operator::DownstreamLocalUriSan)),
        ("DOWNSTREAM_TLS_VERSION", None(Operator::DownstreamTlsVersion)),
        ("DOWNSTREAM_TLS_CIPHER", None(Operator::DownstreamTlsCipher)),
        ("GRPC_STATUS", Argument::Grpc),
        ("GRPC_STATUS_NUMBER", None(Operator::GrpcStatus(GrpcStatusForm::Number))),
        ("TRACE_ID", None(Operator::TraceId)),
        ("SPAN_ID", None(Operator::SpanId)),
        ("CONNECTION_ID", None(Operator::ConnectionId)),
        ("STREAM_ID", None(Operator::StreamId)),
        ("ACCESS_LOG_TYPE", None(Operator::AccessLogType)),
        ("DYNAMIC_METADATA", Argument::Metadata),
        ("HOSTNAME", None(Operator::Fixed(hostname()))),
        ("ENVIRONMENT", Argument::Environment),
    ]
}

/// Why `NAME(ARGUMENT)` is no operator.
pub(super) enum NotAnOperator {
    /// Not known; the nearest name that is.
    Unknown(&'static str),
    /// The argument is missing, wrong, or one too many; the text says what was expected.
    Argument(String),
}

/// Compiles `NAME` or `NAME(ARGUMENT)`.
pub(super) fn compile(name: &str, argument: Option<&str>) -> Result<Operator, NotAnOperator> {
    let table = table();
    let Some((_, takes)) = table.iter().find(|(known, _)| *known == name) else {
        let distance = |known: &str| strsim::damerau_levenshtein(known, name);
        let nearest = table.iter().map(|(known, _)| *known).min_by_key(|known| distance(known)).unwrap_or_default();
        return Err(NotAnOperator::Unknown(nearest));
    };
    let expected = |what: &str| NotAnOperator::Argument(what.to_owned());
    match (takes, argument) {
        (Argument::None(operator), None) => Ok(operator.clone()),
        (Argument::None(_), Some(_)) => Err(expected("no argument in brackets")),
        (Argument::Time(make), pattern) => {
            let format = TimeFormat::parse(pattern.unwrap_or_default());
            format
                .map(make)
                .map_err(|bad| NotAnOperator::Argument(format!("a time pattern; `{bad}` is not known in it")))
        }
        (Argument::Header(make), Some(names)) => {
            let (name, other) = match names.split_once('?') {
                Some((name, other)) => (name, Some(other)),
                None => (names, None),
            };
            if name.is_empty() || other == Some("") {
                return Err(expected("a header name, or two with `?` between"));
            }
            Ok(make(name.to_ascii_lowercase(), other.map(str::to_ascii_lowercase)))
        }
        (Argument::Header(_), None) => Err(expected("a header name in brackets")),
        (Argument::Grpc, form) => match form {
            None | Some("CAMEL_STRING") => Ok(Operator::GrpcStatus(GrpcStatusForm::Camel)),
            Some("SNAKE_STRING") => Ok(Operator::GrpcStatus(GrpcStatusForm::Snake)),
            Some("NUMBER") => Ok(Operator::GrpcStatus(GrpcStatusForm::Number)),
            Some(_) => Err(expected("CAMEL_STRING, SNAKE_STRING or NUMBER")),
        },
        (Argument::Metadata, Some(path)) if !path.is_empty() => {
            let mut parts = path.split(':').map(str::to_owned);
            let namespace = parts.next().unwrap_or_default();
            Ok(Operator::DynamicMetadata { namespace, path: parts.collect() })
        }
        (Argument::Metadata, _) => Err(expected("NAMESPACE or NAMESPACE:KEY in brackets")),
        (Argument::Environment, Some(name)) if !name.is_empty() => Ok(Operator::Fixed(std::env::var(name).ok())),
        (Argument::Environment, _) => Err(expected("the name of an environment variable in brackets")),
    }
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
