//! What is found out on the way of an exchange.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use base::TraceContext;
use filter::Places;
use mesh_http::grpc::GrpcStatus;
use mesh_http::{Body, head};
use model::{Cluster, Metadata, WorkloadRef};
use telemetry::ResponseFlags;
use tokio::time::Instant;
use upstream::{Endpoint, Exchange};

use crate::limits::{Limits, Over};
use crate::route_stats::RouteStats;

/// What is found out on the way.
#[derive(Default)]
pub(crate) struct Facts {
    /// The request's target as it came in; kept only for a log.
    pub target: Uri,
    /// Its authority; kept only for a log.
    pub authority: Option<HeaderValue>,
    /// Its headers after they were completed; kept only for a log.
    pub request_headers: Option<HeaderMap>,
    /// The response's headers; kept only for a log.
    pub response_headers: Option<HeaderMap>,
    /// The route's name.
    pub route: Option<Arc<str>>,
    /// The virtual host's name.
    pub virtual_host: Option<Arc<str>>,
    /// The cluster's name.
    pub cluster: Option<Arc<str>>,
    /// The cluster's settings, if it exists.
    pub cluster_config: Option<Arc<Cluster>>,
    /// The endpoint of the last try.
    pub endpoint: Option<Arc<Endpoint>>,
    /// The place on the endpoint, held until the end.
    pub exchange: Option<Exchange>,
    /// The places under limits of filters, held until the end.
    pub places: Places,
    /// Tries made.
    pub attempts: u32,
    /// The response's status; none if none was sent.
    pub status: Option<StatusCode>,
    /// Envoy's response flags.
    pub flags: ResponseFlags,
    /// Envoy's `RESPONSE_CODE_DETAILS`.
    pub details: Cow<'static, str>,
    /// What the transport said.
    pub transport_failure: Cow<'static, str>,
    /// The gRPC status, from head or trailers.
    pub grpc_status: Option<GrpcStatus>,
    /// From the try's start to the response's head.
    pub upstream_time: Option<Duration>,
    /// From the request's start to the response's head.
    pub head_time: Option<Duration>,
    /// The caller's workload, as it told on mutual TLS.
    pub source: Option<Rc<WorkloadRef>>,
    /// The upstream's workload, as it told on mutual TLS.
    pub destination: Option<Rc<WorkloadRef>>,
    /// The span of this hop.
    pub span: Option<TraceContext>,
    /// The caller asks why, and may.
    pub asks_why: bool,
    /// Why it was not answered by whom it was for, in words; kept only where somebody wants to know.
    pub reason: Option<Box<str>>,
    /// What filters said of it; kept only for a log.
    pub metadata: Option<Box<Metadata>>,
    /// The request's id; kept only where responses tell it.
    pub request_id: Option<Box<HeaderValue>>,
    pub(super) limits: Option<Limits>,
    pub(super) overdue: Option<Over>,
    pub(super) counted: Option<Box<Counted>>,
}

impl Facts {
    /// For who writes down what was asked for.
    pub(super) fn keep_target(&mut self, request: &Request<Body>) {
        self.target = request.uri().clone();
        self.authority = head::authority(request).and_then(|a| HeaderValue::from_str(a).ok());
    }
}

/// What few routes ask for: statistics of their own.
pub(super) struct Counted {
    pub(super) stats: Arc<RouteStats>,
    /// When the request was whole, as far as it is.
    pub(super) whole: Instant,
}
