//! Authorization that a service decides: asked for each request (xDS `envoy.extensions.filters.http.ext_authz.v3`) or for
//! each connection (`envoy.extensions.filters.network.ext_authz.v3`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::{Fraction, GrpcService, MetadataMatch, StringMatch};

/// A service that is asked whether requests may pass.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtAuthz {
    /// The name under which the filter stands in its chain, and under which routes speak to it.
    pub name: Arc<str>,
    /// A further prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// The service.
    pub service: Authorizer,
    /// Requests pass if the service does not answer, or answers with a mistake.
    pub fail_open: bool,
    /// Requests that pass for that reason say so, in `x-envoy-auth-failure-mode-allowed`.
    pub tells_failure: bool,
    /// The status of requests that do not pass for that reason.
    pub error_status: u16,
    /// What the service is sent of bodies; none: nothing.
    pub body: Option<AskedBody>,
    /// A route is chosen anew if the service changes a request.
    pub reroute: bool,
    /// Changes that HTTP does not allow make the answer a mistake of ours (500); otherwise they are left out.
    pub validate: bool,
    /// What other filters have said under these names is told to a service of gRPC.
    pub metadata: Vec<Arc<str>>,
    /// The share of the requests that the service is asked about.
    pub enabled: Fraction,
    /// What filters must have said of a request for the service to be asked about it.
    pub enabled_by: Option<MetadataMatch>,
    /// Requests that the service is not asked about are refused with `error_status`.
    pub deny_when_off: bool,
    /// The client's certificate is told to a service of gRPC.
    pub peer_certificate: bool,
    /// The server name that the client asked for by TLS is told to a service of gRPC.
    pub server_name: bool,
    /// The key in the metadata of the proxy's node under which the labels stand that are told; empty: none are.
    pub labels_key: Arc<str>,
    /// The headers that the service is told; none: all to a service of gRPC, hardly any to one of HTTP.
    pub allowed: Option<Vec<StringMatch>>,
    /// Headers that it is not told.
    pub disallowed: Vec<StringMatch>,
    /// Headers are told one by one and byte for byte, not joined and cleaned.
    pub raw_headers: bool,
    /// What the service wants to be said of a request is said, for filters and logs.
    pub takes_metadata: bool,
    /// Bytes of its body that a refused client is sent; 0: all.
    pub max_denied_body: u32,
}

impl ExtAuthz {
    /// The name under which Istio puts it into chains, and under which it says what the service wants to be said.
    pub const NAME: &'static str = "envoy.filters.http.ext_authz";

    /// Envoy's defaults, asking this service.
    pub fn new(service: Authorizer) -> Self {
        Self {
            name: Self::NAME.into(),
            stat_prefix: "".into(),
            service,
            fail_open: false,
            tells_failure: false,
            error_status: 403,
            body: None,
            reroute: false,
            validate: false,
            metadata: Vec::new(),
            enabled: Fraction::ALL,
            enabled_by: None,
            deny_when_off: false,
            peer_certificate: false,
            server_name: false,
            labels_key: "".into(),
            allowed: None,
            disallowed: Vec::new(),
            raw_headers: false,
            takes_metadata: true,
            max_denied_body: 0,
        }
    }
}

/// The service that decides: in one of the proxy's clusters.
#[derive(Debug, Clone, PartialEq)]
pub enum Authorizer {
    /// It speaks `envoy.service.auth.v3.Authorization`.
    Grpc(GrpcAuthorizer),
    /// It answers requests of HTTP, with 200 if the client's may pass.
    Http(Box<HttpAuthorizer>),
}

impl Authorizer {
    /// The cluster that it is in.
    pub fn cluster(&self) -> &Arc<str> {
        match self {
            Self::Grpc(grpc) => &grpc.service.cluster,
            Self::Http(http) => &http.cluster,
        }
    }
}

/// A service of gRPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcAuthorizer {
    /// The service.
    pub service: GrpcService,
    /// How long it may take to answer; none: as long as it likes.
    pub timeout: Option<Duration>,
}

impl GrpcAuthorizer {
    /// Envoy's default for the answer.
    pub const TIMEOUT: Duration = Duration::from_millis(200);

    /// Envoy's defaults, in this cluster.
    pub fn new(cluster: impl Into<Arc<str>>) -> Self {
        Self { service: GrpcService::new(cluster), timeout: Some(Self::TIMEOUT) }
    }
}

/// A service of HTTP. It is asked with the client's own method and target.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpAuthorizer {
    /// The cluster.
    pub cluster: Arc<str>,
    /// Where the service is, as an URI; nothing but words.
    pub uri: String,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// What it is asked for.
    pub path: AskedPath,
    /// Headers that questions have beside, in place of the client's.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers of the answer that requests that pass get, in place of what they have.
    pub upstream: Vec<StringMatch>,
    /// Headers of the answer that are added to those of requests that pass, if these have them.
    pub upstream_append: Vec<StringMatch>,
    /// Headers of the answer that refused clients get; none: all.
    pub client: Vec<StringMatch>,
    /// Headers of the answer that clients get whose requests pass.
    pub client_on_success: Vec<StringMatch>,
    /// Headers of the answer that are said of the request, for filters and logs.
    pub metadata: Vec<StringMatch>,
}

impl HttpAuthorizer {
    /// Envoy's defaults, in this cluster.
    pub fn new(cluster: impl Into<Arc<str>>, uri: impl Into<String>, timeout: Duration) -> Self {
        Self {
            cluster: cluster.into(),
            uri: uri.into(),
            timeout,
            path: AskedPath::Prefixed(String::new()),
            headers: Vec::new(),
            upstream: Vec::new(),
            upstream_append: Vec::new(),
            client: Vec::new(),
            client_on_success: Vec::new(),
            metadata: Vec::new(),
        }
    }
}

/// What a service of HTTP is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedPath {
    /// The client's target after this.
    Prefixed(String),
    /// Always this.
    Fixed(String),
}

/// What the service is sent of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedBody {
    /// At most so many bytes.
    pub max_bytes: u32,
    /// Of a longer body the service is sent the begin; otherwise such requests are refused (413).
    pub partial: bool,
    /// It is sent as bytes, not as text (gRPC).
    pub raw: bool,
}

/// What a route says to the filter.
#[derive(Debug, Clone, PartialEq)]
pub enum ExtAuthzRule {
    /// The service is not asked.
    Off,
    /// It is told this beside.
    Told {
        /// What it is told of the route; what a virtual host says stands under it.
        extensions: BTreeMap<String, String>,
        /// What it is sent of bodies.
        body: BodyRule,
    },
}

/// What a route says of what the service is sent of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRule {
    /// As the filter has it.
    Same,
    /// Nothing.
    Off,
    /// This.
    Own(AskedBody),
}

/// A service of gRPC that is asked whether connections may stand.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionExtAuthz {
    /// The prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// The service.
    pub service: GrpcAuthorizer,
    /// Connections may stand if the service does not answer.
    pub fail_open: bool,
    /// What filters must have said of a connection for the service to be asked about it.
    pub enabled_by: Option<MetadataMatch>,
    /// The client's certificate is told.
    pub peer_certificate: bool,
    /// The server name that the client asked for by TLS is told.
    pub server_name: bool,
    /// The key in the metadata of the proxy's node under which the labels stand that are told; empty: none are.
    pub labels_key: Arc<str>,
    /// What other filters have said under these names is told.
    pub metadata: Vec<Arc<str>>,
}

impl ConnectionExtAuthz {
    /// Envoy's defaults, asking this service.
    pub fn new(stat_prefix: impl Into<Arc<str>>, service: GrpcAuthorizer) -> Self {
        Self {
            stat_prefix: stat_prefix.into(),
            service,
            fail_open: false,
            enabled_by: None,
            peer_certificate: false,
            server_name: false,
            labels_key: "".into(),
            metadata: Vec::new(),
        }
    }
}
