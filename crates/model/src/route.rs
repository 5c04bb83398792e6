//! Route configurations, virtual hosts and routes, and how a request finds its route.

mod find;
mod hash;
mod rewrite;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::buffer::BufferRule;
use crate::compression::CompressorRule;
use crate::ext_authz::ExtAuthzRule;
use crate::extension::LuaRule;
use crate::jwt::JwtRouteRule;
use crate::matcher::{HeaderMatch, QueryMatch};
use crate::mutation::Mutations;
use crate::rate_limit::{DescriptorRule, GlobalRateLimitRoute};
use crate::{
    Access, Cors, Fault, Fraction, HeaderChanges, LocalRateLimit, Metadata, MetadataMatch, Pattern, RetryPolicy,
};

pub use find::header_matches;
pub(crate) use find::header_value;
pub use find::{Found, HostIndex, Mismatch, NotFound, find, find_host, find_in, host_name, path_matches};
pub use hash::{HashCookie, HashKey, HashPolicy, hash_of, hash_of_source, hash_of_text};
pub use rewrite::{redirect_location, rewritten_path};

/// A table of routes (xDS `RouteConfiguration`).
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfiguration {
    /// Its name.
    pub name: Arc<str>,
    /// The virtual hosts; no domain stands in two of them.
    pub hosts: Vec<VirtualHost>,
    /// A port in the request's authority is not looked at.
    pub ignore_port: bool,
    /// Further virtual hosts are found one by one, by the authority that a request asks for (xDS VHDS). Those that
    /// stand here are for what turns out to have none.
    pub on_demand: bool,
}

impl RouteConfiguration {
    /// A table that does not look at ports.
    pub fn new(name: impl Into<Arc<str>>, hosts: Vec<VirtualHost>) -> Self {
        Self { name: name.into(), hosts, ignore_port: true, on_demand: false }
    }

    /// The clusters that its own virtual hosts name; some perhaps twice.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.hosts.iter().flat_map(VirtualHost::clusters)
    }
}

/// The routes of some domains.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VirtualHost {
    /// Its name.
    pub name: Arc<str>,
    /// Exact names, `*.suffix`, `prefix.*`, or `*`; in lower case.
    pub domains: Vec<String>,
    /// The routes; the first that matches is taken.
    pub routes: Vec<Route>,
    /// Changes to requests, after the route's own.
    pub request_headers: HeaderChanges,
    /// Changes to responses, after the route's own.
    pub response_headers: HeaderChanges,
    /// What it says to filters, where its routes say nothing.
    pub filters: Option<Box<FilterRules>>,
    /// The upstream is told the number of the try (`x-envoy-attempt-count`).
    pub tries_to_upstream: bool,
    /// The client is told how many tries were made (`x-envoy-attempt-count`).
    pub tries_to_client: bool,
}

impl VirtualHost {
    /// The clusters that its routes name, mirrors among them; some perhaps twice.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let forwards = self.routes.iter().filter_map(|route| match &route.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Respond(_) => None,
        });
        forwards.flat_map(|to| to.clusters.iter().map(|c| &c.name).chain(to.mirrors.iter().map(|m| &m.cluster)))
    }
}

/// One route.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name, for logs.
    pub name: Arc<str>,
    /// The name of its statistics; none: it has none of its own.
    pub stat_prefix: Option<Arc<str>>,
    /// When it is taken.
    pub matches: RouteMatch,
    /// What happens.
    pub action: Action,
    /// Changes to requests.
    pub request_headers: HeaderChanges,
    /// Changes to responses.
    pub response_headers: HeaderChanges,
    /// Faults for this route, in place of the filter's own.
    pub fault: Option<Fault>,
    /// What it says to other filters. Most routes say nothing, and hold no room for it.
    pub filters: Option<Box<FilterRules>>,
}

/// What a route or a virtual host says to filters, each in place of what the filter itself was told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FilterRules {
    /// To the CORS filter.
    pub cors: Option<Cors>,
    /// To the filter that counts itself: limits in place of the filter's own.
    pub local_rate_limit: Option<Arc<LocalRateLimit>>,
    /// To the filter that lets a service count.
    pub global_rate_limit: Option<Box<GlobalRateLimitRoute>>,
    /// What requests are counted by. Of a route: only if it forwards.
    pub rate_limits: Vec<DescriptorRule>,
    /// Of a route: its virtual host's rules count too (Envoy's `include_vh_rate_limits`).
    pub include_host_rate_limits: bool,
    /// To filters that may stand in a chain more than once, by the names that they have there.
    pub named: BTreeMap<Arc<str>, FilterRule>,
}

/// What is said to one filter.
#[derive(Debug, Clone, PartialEq)]
pub enum FilterRule {
    /// To a compressor.
    Compressor(CompressorRule),
    /// To a header mutation filter.
    HeaderMutation(Mutations),
    /// To a buffer.
    Buffer(BufferRule),
    /// To a filter of access: these rules in place of its own, or none at all.
    Access(Option<Arc<Access>>),
    /// To a filter that checks tokens.
    Jwt(JwtRouteRule),
    /// To a filter that asks a service whether requests may pass.
    ExtAuthz(ExtAuthzRule),
    /// To a script.
    Lua(Arc<LuaRule>),
}

impl FilterRules {
    /// Boxed if there is anything in them.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

impl Route {
    /// A nameless route on the path alone.
    pub fn new(path: PathMatch, action: Action) -> Self {
        Self {
            name: "".into(),
            stat_prefix: None,
            matches: RouteMatch::new(path),
            action,
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            fault: None,
            filters: None,
        }
    }
}

/// When a route is taken: all of it must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteMatch {
    /// The path, without its query.
    pub path: PathMatch,
    /// The path's case is not looked at (not for patterns).
    pub ignore_case: bool,
    /// Headers.
    pub headers: Box<[HeaderMatch]>,
    /// Query parameters.
    pub query: Box<[QueryMatch]>,
    /// What filters said of the exchange before the route is chosen.
    pub metadata: Box<[MetadataMatch]>,
    /// Only this share of the requests.
    pub share: Option<Fraction>,
}

impl RouteMatch {
    /// Every request with such a path.
    pub fn new(path: PathMatch) -> Self {
        let (headers, query, metadata) = Default::default();
        Self { path, ignore_case: false, headers, query, metadata, share: None }
    }
}

/// How a path is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// Begins with this text: `/foo` takes `/foobar` too.
    Prefix(String),
    /// Whole segments: `/foo` takes `/foo` and `/foo/bar`, not `/foobar`. No slash at the end.
    SegmentPrefix(String),
    /// This path.
    Exact(String),
    /// The whole path matches.
    Regex(Pattern),
    /// A `CONNECT` request.
    Connect,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// It is sent to a cluster.
    Forward(Box<Forward>),
    /// It is redirected.
    Redirect(Redirect),
    /// It is answered here.
    Respond(DirectResponse),
}

/// An answer given by the proxy itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectResponse {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// How a request is sent to a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Where to; one, or several by weight.
    pub clusters: Vec<WeightedCluster>,
    /// Limit for the whole exchange, all tries together; none: no limit.
    pub timeout: Option<Duration>,
    /// A `grpc-timeout` header may shorten the timeout, up to this; `Some(0)`: to any length; none: it is not read.
    pub max_grpc_timeout: Option<Duration>,
    /// What a `grpc-timeout` is shortened by, if it is longer: so that the caller hears from us before it gives up.
    pub grpc_timeout_offset: Option<Duration>,
    /// Limit for the exchange however well it goes, in place of the listener's; `Some(0)`: none.
    pub max_stream_duration: Option<Duration>,
    /// Ends an exchange in which nothing moves, in place of the listener's.
    pub idle_timeout: Option<Duration>,
    /// When to try again; none: never.
    pub retry: Option<RetryPolicy>,
    /// A try that passes its own time goes on, and the next one of the policy joins it; the first answer that is not worth
    /// another try counts (Envoy's `HedgePolicy`).
    pub hedge_on_per_try_timeout: bool,
    /// What the matched prefix, or the whole path, becomes.
    pub path_rewrite: Option<PathRewrite>,
    /// What the authority becomes.
    pub host_rewrite: Option<HostRewrite>,
    /// Copies that go elsewhere.
    pub mirrors: Vec<Mirror>,
    /// What of a request decides which endpoint takes it, where the cluster chooses by a hash.
    pub hash: Box<[HashPolicy]>,
}

impl Forward {
    /// All to one cluster, with no timeout and no retry.
    pub fn to(cluster: impl Into<Arc<str>>) -> Self {
        Self {
            clusters: vec![WeightedCluster::new(cluster, 1)],
            timeout: None,
            max_grpc_timeout: None,
            grpc_timeout_offset: None,
            max_stream_duration: None,
            idle_timeout: None,
            retry: None,
            hedge_on_per_try_timeout: false,
            path_rewrite: None,
            host_rewrite: None,
            mirrors: Vec::new(),
            hash: Box::default(),
        }
    }

    /// The cluster for a request, by an even draw.
    pub fn pick(&self, draw: u64) -> Option<&WeightedCluster> {
        match &self.clusters[..] {
            [only] => Some(only),
            many => pick_weighted(many.iter().map(|c| (c, c.weight)), draw),
        }
    }
}

/// Picks by weight. None when all weights are zero.
pub(crate) fn pick_weighted<T>(items: impl Iterator<Item = (T, u32)> + Clone, draw: u64) -> Option<T> {
    let total: u64 = items.clone().map(|(_, weight)| u64::from(weight)).sum();
    let mut left = draw.checked_rem(total)?;
    for (item, weight) in items {
        match left.checked_sub(u64::from(weight)) {
            Some(rest) => left = rest,
            None => return Some(item),
        }
    }
    None
}

/// A cluster and its share.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedCluster {
    /// The cluster.
    pub name: Arc<str>,
    /// Its share, relative to the others'.
    pub weight: u32,
    /// Changes to requests, before the route's.
    pub request_headers: HeaderChanges,
    /// Changes to responses, before the route's.
    pub response_headers: HeaderChanges,
}

impl WeightedCluster {
    /// A share without header changes.
    pub fn new(name: impl Into<Arc<str>>, weight: u32) -> Self {
        Self {
            name: name.into(),
            weight,
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
        }
    }
}

/// What a path becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// The matched prefix (or the whole path, for other matches) becomes this.
    Prefix(String),
    /// Every match of the pattern becomes the substitution, with `\1` for captures.
    Regex {
        /// What is looked for, anywhere in the path (made by [`Pattern::search`]).
        pattern: Pattern,
        /// What it becomes.
        substitution: String,
    },
}

/// What the authority becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRewrite {
    /// This text.
    Literal(String),
    /// The host name of the chosen endpoint.
    Upstream,
}

/// A copy of some requests that goes elsewhere; its answer is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where to.
    pub cluster: Arc<str>,
    /// For which share.
    pub share: Fraction,
}

/// A redirect; what is not set stays as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// The new scheme.
    pub scheme: Option<String>,
    /// The new host.
    pub host: Option<String>,
    /// The new port.
    pub port: Option<u16>,
    /// What the path becomes.
    pub path: Option<RedirectPath>,
    /// Drop the query.
    pub strip_query: bool,
}

/// What a redirect makes of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectPath {
    /// The whole path (a query in it replaces the old one).
    Full(String),
    /// The matched prefix.
    Prefix(String),
}

/// A request's head as matching looks at it.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// `Host` or `:authority`, with its port.
    pub authority: &'a str,
    /// The path, without its query.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What filters have said of the exchange so far, if any did.
    pub metadata: Option<&'a Metadata>,
}

impl<'a> RequestView<'a> {
    /// A `GET` without headers: for questions asked without a request at hand.
    pub fn get(authority: &'a str, path: &'a str) -> Self {
        static NONE: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        Self { method: &Method::GET, scheme: "http", authority, path, query, headers: &NONE, metadata: None }
    }
}
