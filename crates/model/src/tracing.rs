//! How exchanges become spans: which of them, with what, and who is told.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use crate::GrpcService;
use crate::matcher::Fraction;

/// How the exchanges of an HTTP proxy become spans (Envoy's `HttpConnectionManager.Tracing`). A trace that a caller has
/// begun goes on as it decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// The share of new traces that are recorded.
    pub random: Fraction,
    /// Of requests that ask for it (`x-client-trace-id`).
    pub client: Fraction,
    /// Of all that were chosen in one of these ways.
    pub overall: Fraction,
    /// Further tags.
    pub tags: Vec<Tag>,
    /// Longer paths are cut.
    pub most_path: u32,
    /// Who is told; nobody: contexts are read and sent on, and no more.
    pub sinks: Vec<SpanSink>,
}

impl Tracing {
    /// Envoy's default for [`Self::most_path`].
    pub const MOST_PATH: u32 = 256;
}

impl Default for Tracing {
    /// Envoy's defaults: every new trace, and nobody is told.
    fn default() -> Self {
        Self {
            random: Fraction::ALL,
            client: Fraction::ALL,
            overall: Fraction::ALL,
            tags: Vec::new(),
            most_path: Self::MOST_PATH,
            sinks: Vec::new(),
        }
    }
}

/// A tag that every span has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its key.
    pub name: Arc<str>,
    /// Its value.
    pub value: TagValue,
}

/// Where the value of a tag comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagValue {
    /// It is this.
    Literal(Arc<str>),
    /// A variable of the proxy's environment, or else this.
    Environment(Arc<str>, Option<Arc<str>>),
    /// A header of the request, or else this.
    RequestHeader(HeaderName, Option<Arc<str>>),
    /// A text with the operators of access logs.
    Format(Arc<str>),
}

/// Who is told of spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanSink {
    /// Where they go, and in which form.
    pub collector: Collector,
    /// The name under which the spans stand; empty: the workload's canonical name and its namespace. Only OTLP's settings
    /// have a place for it.
    pub service_name: Arc<str>,
    /// What is told besides the traces that are recorded. Only OTLP's settings have a place for it.
    pub tail: Option<Tail>,
}

/// Where spans go, and in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collector {
    /// OTLP over gRPC.
    Otlp(GrpcService),
    /// OTLP over HTTP, as protobuf.
    OtlpHttp(HttpService),
    /// Zipkin's API, version 2, as JSON.
    Zipkin(HttpService),
}

impl Collector {
    /// The cluster that is told.
    pub fn cluster(&self) -> &Arc<str> {
        match self {
            Self::Otlp(service) => &service.cluster,
            Self::OtlpHttp(service) | Self::Zipkin(service) => &service.cluster,
        }
    }
}

/// A service of HTTP that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpService {
    /// Its cluster.
    pub cluster: Arc<str>,
    /// The authority of requests; none: the cluster's name.
    pub authority: Option<Arc<str>>,
    /// The path of requests, with their query.
    pub path: PathAndQuery,
    /// How long it may take.
    pub timeout: Duration,
    /// What every request has in its head beside.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Exchanges that are told though their trace is not recorded, each for itself, where it ended so. Since all proxies on the
/// way of a request see that it failed or was slow, its way from the edge to there is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tail {
    /// Those that failed: 5xx, no response, or a gRPC status that is a server's fault.
    pub errors: bool,
    /// Those that took at least so long.
    pub slower_than: Option<Duration>,
}
