//! Limits to how many requests are taken: what a request is counted by, limits that are kept in this proxy, and limits
//! that a service keeps for many proxies (Envoy's filters `local_ratelimit` and `ratelimit`).
//!
//! A request is counted by its [`Descriptor`]s, which [`DescriptorRule`]s make of it ([`descriptor`]).

pub mod descriptor;
mod local;

use std::sync::Arc;
use std::time::Duration;

use crate::{Fraction, GrpcService, HeaderChanges};

pub use descriptor::{Descriptor, DescriptorAction, DescriptorRule, HostLimits, RequestFact, Rules, Seen};
pub use local::{Fill, LocalDescriptor, LocalRateLimit};

/// Limits that a service keeps, asked over gRPC (xDS `envoy.extensions.filters.http.ratelimit.v3.RateLimit`).
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalRateLimit {
    /// The limit of ours that this is (`namespace/policy/limit`), by which answers name it; none: it is Envoy's alone.
    pub policy: Option<Arc<str>>,
    /// The domain of its limits at the service.
    pub domain: Arc<str>,
    /// Only rules of routes with this number count.
    pub stage: u32,
    /// Whose requests are counted.
    pub requests: RequestType,
    /// The service.
    pub service: GrpcService,
    /// How long it may take to answer; none: as long as it likes.
    pub timeout: Option<Duration>,
    /// The share of the requests that are refused when the service does not answer.
    pub deny_on_error: Fraction,
    /// The status of a request that is refused since the service does not answer.
    pub error_status: u16,
    /// The status of a request that is one too many.
    pub status: u16,
    /// gRPC callers are told `RESOURCE_EXHAUSTED`, not `UNAVAILABLE`.
    pub resource_exhausted: bool,
    /// Responses tell what is left, in `x-ratelimit-*`.
    pub tells_limits: bool,
    /// An answer of status 429 tells when to try again, in `retry-after`.
    pub retry_after: bool,
    /// Answers to requests that are one too many say so, in `x-envoy-ratelimited`.
    pub tells_limited: bool,
    /// Further headers of these answers.
    pub response_headers: HeaderChanges,
    /// The share of the requests that the service is asked about.
    pub enabled: Fraction,
    /// The share of those that are refused if they are too many.
    pub enforced: Fraction,
    /// What requests are counted by, in place of what routes say.
    pub rules: Vec<DescriptorRule>,
}

impl GlobalRateLimit {
    /// Envoy's default for the answer of the service.
    pub const TIMEOUT: Duration = Duration::from_millis(20);

    /// Envoy's defaults, asking this cluster.
    pub fn new(domain: impl Into<Arc<str>>, cluster: impl Into<Arc<str>>) -> Self {
        Self {
            policy: None,
            domain: domain.into(),
            stage: 0,
            requests: RequestType::Both,
            service: GrpcService::new(cluster),
            timeout: Some(Self::TIMEOUT),
            deny_on_error: Fraction::NONE,
            error_status: 500,
            status: 429,
            resource_exhausted: false,
            tells_limits: false,
            retry_after: false,
            tells_limited: true,
            response_headers: HeaderChanges::default(),
            enabled: Fraction::ALL,
            enforced: Fraction::ALL,
            rules: Vec::new(),
        }
    }
}

/// The names under which filters that are limits of ours stand in chains begin so; the limit's own follows.
pub const OWN_FILTERS: &str = "halcyon.dev/rate-limit/";

/// Whose requests are counted; internal ones have `x-envoy-internal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestType {
    /// All of them.
    Both,
    /// Those from inside.
    Internal,
    /// Those from outside.
    External,
}

/// What a route or a virtual host says on limits that a service keeps (xDS `RateLimitPerRoute`).
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalRateLimitRoute {
    /// Do the virtual host's rules count?
    pub host_limits: HostLimits,
    /// What requests are counted by, in place of what the filter, the route and its virtual host say.
    pub rules: Vec<DescriptorRule>,
    /// The domain, in place of the filter's.
    pub domain: Option<Arc<str>>,
}
