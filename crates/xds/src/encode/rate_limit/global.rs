//! Limits that a service keeps.

use model::rate_limit::{GlobalRateLimit, GlobalRateLimitRoute, RequestType};
use model::{Fraction, GrpcService};
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use proto::envoy::extensions::filters::http::ratelimit::v3 as wire;
use proto::google::protobuf::Any;

use super::{host_limits, rules, status, tells_limits};
use crate::encode::grpc_service::grpc_service;
use crate::encode::{headers, limit as time_limit, matcher, pack};

/// The name under which the filter stands in chains, and under which routes speak to it.
pub(in crate::encode) const GLOBAL_FILTER: &str = "envoy.filters.http.ratelimit";

pub(in crate::encode) fn global(limit: &GlobalRateLimit) -> Any {
    let share = |share: Fraction| (share != Fraction::ALL).then(|| matcher::runtime_percent(share));
    let deny = limit.deny_on_error;
    pack(&wire::RateLimit {
        domain: limit.domain.to_string(),
        stage: limit.stage,
        request_type: match limit.requests {
            RequestType::Both => "",
            RequestType::Internal => "internal",
            RequestType::External => "external",
        }
        .to_owned(),
        timeout: time_limit(limit.timeout, Some(GlobalRateLimit::TIMEOUT)),
        failure_mode_deny: deny == Fraction::ALL,
        failure_mode_deny_percent: (deny != Fraction::ALL && deny != Fraction::NONE)
            .then(|| matcher::runtime_percent(deny)),
        rate_limited_as_resource_exhausted: limit.resource_exhausted,
        rate_limit_service: Some(service(&limit.service)),
        enable_retry_after_header: limit.retry_after,
        enable_x_ratelimit_headers: tells_limits(limit.tells_limits),
        disable_x_envoy_ratelimited_header: !limit.tells_limited,
        rate_limited_status: status(limit.status, 429),
        response_headers_to_add: headers::writes(&limit.response_headers),
        status_on_error: status(limit.error_status, 500),
        filter_enabled: share(limit.enabled),
        filter_enforced: share(limit.enforced),
        rate_limits: rules(&limit.rules),
        ..wire::RateLimit::default()
    })
}

fn service(service: &GrpcService) -> RateLimitServiceConfig {
    RateLimitServiceConfig {
        grpc_service: Some(grpc_service(service)),
        transport_api_version: core::ApiVersion::V3 as i32,
    }
}

pub(in crate::encode) fn global_route(route: &GlobalRateLimitRoute) -> Any {
    pack(&wire::RateLimitPerRoute {
        vh_rate_limits: host_limits(route.host_limits),
        rate_limits: rules(&route.rules),
        domain: route.domain.as_deref().unwrap_or_default().to_owned(),
        ..wire::RateLimitPerRoute::default()
    })
}
