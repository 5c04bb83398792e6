//! The HTTP side of a filter chain (xDS `HttpConnectionManager`).

use std::sync::Arc;
use std::time::Duration;

use crate::extension::{Lua, Wasm};
use crate::tracing::Tracing;
use crate::{
    Access, AccessLog, AdaptiveConcurrency, Buffer, Compressor, DnsCache, Edge, ExtAuthz, Fault, Geo, GlobalRateLimit,
    HeaderMutation, HttpLimits, JwtAuthentication, LocalRateLimit, OAuth2, RouteConfiguration, ServerHeader,
    TargetRules,
};

/// How HTTP is read from downstream, filtered and routed.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpProxy {
    /// The prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// What downstream speaks.
    pub codec: Codec,
    /// Where routes come from.
    pub routes: RouteSource,
    /// The filters, in order; the router comes after the last and is not listed.
    pub filters: Vec<HttpFilter>,
    /// Logs.
    pub access_logs: Vec<AccessLog>,
    /// A connection without exchanges is closed after this (Envoy's default: one hour).
    pub idle_timeout: Option<Duration>,
    /// An exchange in which nothing moves is ended after this (Envoy's default: five minutes); none: never.
    pub stream_idle_timeout: Option<Duration>,
    /// A request's head must be whole within this; none: no limit.
    pub headers_timeout: Option<Duration>,
    /// How long the old work may go on in a drain (Envoy's default: five seconds).
    pub drain_timeout: Duration,
    /// Upgrades that are let through, such as `websocket`; `CONNECT` is one of them.
    pub upgrades: Vec<String>,
    /// Take the client's address from the connection and write `x-forwarded-for`; otherwise the header is trusted.
    pub use_remote_address: bool,
    /// What is done with `x-forwarded-client-cert`.
    pub forward_client_cert: ForwardClientCert,
    /// Whom else it believes about the client, and what it tells the next hop.
    pub edge: Edge,
    /// What is made of a request's target before anybody looks at it.
    pub target: TargetRules,
    /// How much and how long connections and exchanges may be.
    pub limits: HttpLimits,
    /// What becomes of the `server` header on responses.
    pub server: ServerHeader,
    /// Write `x-request-id` where it is missing.
    pub generate_request_id: bool,
    /// Trace contexts are read, continued and sent on, and exchanges become spans. None: they pass as they are.
    pub tracing: Option<Arc<Tracing>>,
}

impl HttpProxy {
    /// Envoy's defaults over these routes.
    pub fn new(stat_prefix: impl Into<Arc<str>>, routes: RouteSource) -> Self {
        Self {
            stat_prefix: stat_prefix.into(),
            codec: Codec::Auto,
            routes,
            filters: Vec::new(),
            access_logs: Vec::new(),
            idle_timeout: Some(Duration::from_secs(3600)),
            stream_idle_timeout: Some(Duration::from_secs(300)),
            headers_timeout: None,
            drain_timeout: Duration::from_secs(5),
            upgrades: Vec::new(),
            use_remote_address: false,
            forward_client_cert: ForwardClientCert::Sanitize,
            edge: Edge::default(),
            target: TargetRules::default(),
            limits: HttpLimits::default(),
            server: ServerHeader::Pass,
            generate_request_id: true,
            tracing: None,
        }
    }

    /// The clusters that its filters ask.
    pub fn asked_clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let limits = self.filters.iter().filter_map(|filter| match filter {
            HttpFilter::GlobalRateLimit(limits) => Some(&limits.service.cluster),
            _ => None,
        });
        let keys = self.filters.iter().filter_map(|filter| match filter {
            HttpFilter::Jwt(tokens) => Some(tokens.clusters()),
            _ => None,
        });
        let authorizers = self.filters.iter().filter_map(|filter| match filter {
            HttpFilter::ExtAuthz(asks) => Some(asks.service.cluster()),
            _ => None,
        });
        let providers = self.logins().map(|login| &login.token_endpoint.cluster);
        let spans = self.tracing.iter().flat_map(|tracing| &tracing.sinks).map(|sink| sink.collector.cluster());
        limits.chain(keys.flatten()).chain(authorizers).chain(providers).chain(spans)
    }

    /// The filters by which people log in.
    pub fn logins(&self) -> impl Iterator<Item = &Arc<OAuth2>> {
        self.filters.iter().filter_map(|filter| match filter {
            HttpFilter::OAuth2(login) => Some(login),
            _ => None,
        })
    }
}

/// What downstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// By ALPN or the HTTP/2 preface.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Where routes come from.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteSource {
    /// Route discovery, under this name.
    Rds(Arc<str>),
    /// Given here.
    Inline(Arc<RouteConfiguration>),
}

/// An HTTP filter.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpFilter {
    /// Injects faults: these for every route, unless the route brings its own.
    Fault(Option<Fault>),
    /// Answers browsers that ask whether they may call from another origin, by the rules of routes and virtual hosts.
    Cors,
    /// Refuses requests that are too many, as it counts itself; a route may bring limits of its own.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// Refuses requests that are too many, as a service counts.
    GlobalRateLimit(Arc<GlobalRateLimit>),
    /// Tells where clients are, before a route is chosen.
    Geo(Box<Geo>),
    /// Compresses responses.
    Compressor(Box<Compressor>),
    /// Makes gRPC of calls that browsers make (gRPC-Web), and of the answers what browsers can read.
    GrpcWeb,
    /// Changes headers.
    HeaderMutation(Box<HeaderMutation>),
    /// Waits for the whole of a request.
    Buffer(Buffer),
    /// Refuses requests beyond as many at once as their latency allows.
    AdaptiveConcurrency(Arc<AdaptiveConcurrency>),
    /// Refuses requests that rules of access do not let pass; a route may bring rules of its own.
    Access(Box<Access>),
    /// Says of requests to clusters [of hosts that they name](crate::cluster::Discovery::DynamicForward) why there is no
    /// address; without it such a cluster has no endpoint then.
    DynamicForward(DnsCache),
    /// Checks tokens.
    Jwt(Arc<JwtAuthentication>),
    /// Asks a service whether requests may pass.
    ExtAuthz(Arc<ExtAuthz>),
    /// Lets only those pass who have logged in.
    OAuth2(Arc<OAuth2>),
    /// A script of the user's.
    Lua(Arc<Lua>),
    /// A module of the user's.
    Wasm(Arc<Wasm>),
}

/// What is done with `x-forwarded-client-cert` (xDS `ForwardClientCertDetails`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardClientCert {
    /// Dropped.
    Sanitize,
    /// Passed on from mutual TLS.
    ForwardOnly,
    /// Ours appended to theirs on mutual TLS.
    AppendForward,
    /// Replaced by ours on mutual TLS.
    SanitizeSet,
    /// Passed on, whatever the connection.
    AlwaysForwardOnly,
}
