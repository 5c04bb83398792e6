//! Limits that a service keeps.

use model::rate_limit::{GlobalRateLimit, GlobalRateLimitRoute, RequestType};
use model::{Fraction, GrpcService, HeaderChanges};
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::core::v3::RuntimeFractionalPercent;
use proto::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use proto::envoy::extensions::filters::http::ratelimit::v3 as wire;
use proto::envoy::r#type::v3::HttpStatus;

use super::{filter_rules, host_limits, limited_status, not_empty, stage_number, tells_limits};
use crate::decode::{At, Decoded, grpc_service, headers, limit, matcher, required, take};

/// The filter.
pub(in crate::decode) const GLOBAL: &str = "envoy.extensions.filters.http.ratelimit.v3.RateLimit";
/// What routes say to it.
pub(in crate::decode) const GLOBAL_ROUTE: &str = "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute";

pub(in crate::decode) fn global(value: wire::RateLimit, at: &At<'_>) -> Decoded<GlobalRateLimit> {
    // A prefix of statistics; and where Envoy keeps what filters tell each other, of which there is nothing here.
    take!(value, at, wire::RateLimit {
        used {
            domain, stage, request_type, timeout, failure_mode_deny, rate_limited_as_resource_exhausted,
            rate_limit_service, enable_x_ratelimit_headers, disable_x_envoy_ratelimited_header, rate_limited_status,
            response_headers_to_add, status_on_error, filter_enabled, filter_enforced, failure_mode_deny_percent,
            rate_limits, enable_retry_after_header,
        }
        harmless { stat_prefix, metadata_namespace }
        refused {}
    });
    let at_service = at.field("rate_limit_service");
    let at_headers = "response_headers_to_add";
    let share = |value: Option<RuntimeFractionalPercent>, default, name: &str| {
        value.map_or(Ok(default), |share| matcher::runtime_percent(share, &at.field(name)))
    };
    let deny = if failure_mode_deny { Fraction::ALL } else { Fraction::NONE };
    let written: HeaderChanges = headers::changes(response_headers_to_add, Vec::new(), at, [at_headers, ""])?;
    Ok(GlobalRateLimit {
        policy: None,
        domain: not_empty(domain, &at.field("domain"))?.into(),
        stage: stage_number(stage, at)?,
        requests: request_kind(&request_type, &at.field("request_type"))?,
        service: service(required(rate_limit_service, &at_service)?, &at_service)?,
        timeout: limit(timeout, Some(GlobalRateLimit::TIMEOUT), &at.field("timeout"))?,
        deny_on_error: share(failure_mode_deny_percent, deny, "failure_mode_deny_percent")?,
        error_status: error_status(status_on_error, &at.field("status_on_error"))?,
        status: limited_status(rate_limited_status, &at.field("rate_limited_status"))?,
        resource_exhausted: rate_limited_as_resource_exhausted,
        tells_limits: tells_limits(enable_x_ratelimit_headers, &at.field("enable_x_ratelimit_headers"))?,
        retry_after: enable_retry_after_header,
        tells_limited: !disable_x_envoy_ratelimited_header,
        response_headers: written,
        enabled: share(filter_enabled, Fraction::ALL, "filter_enabled")?,
        enforced: share(filter_enforced, Fraction::ALL, "filter_enforced")?,
        rules: filter_rules(rate_limits, &at.field("rate_limits"))?,
    })
}

fn request_kind(text: &str, at: &At<'_>) -> Decoded<RequestType> {
    match text {
        "" | "both" => Ok(RequestType::Both),
        "internal" => Ok(RequestType::Internal),
        "external" => Ok(RequestType::External),
        other => Err(at.error(format!("is {other:?}"), "`internal`, `external`, `both` or none")),
    }
}

fn error_status(value: Option<HttpStatus>, at: &At<'_>) -> Decoded<u16> {
    match value.map_or(0, |status| status.code) {
        0 => Ok(500),
        code @ 200..600 => Ok(code as u16),
        code => Err(at.error(format!("is {code}"), "a status of 200 to 599")),
    }
}

fn service(value: RateLimitServiceConfig, at: &At<'_>) -> Decoded<GrpcService> {
    take!(value, at, RateLimitServiceConfig {
        used { grpc_service, transport_api_version }
        harmless {}
        refused {}
    });
    // Unsaid is version 3 too, as for Envoy, and as Istio's own samples leave it.
    if ![core::ApiVersion::V3 as i32, core::ApiVersion::Auto as i32].contains(&transport_api_version) {
        return Err(at.field("transport_api_version").error("is not V3", "V3, or nothing"));
    }
    let at = at.field("grpc_service");
    // The filter has a timeout of its own, which is the one that Envoy takes.
    let (service, _) = grpc_service::grpc_service(required(grpc_service, &at)?, &at)?;
    Ok(service)
}

pub(in crate::decode) fn global_route(value: wire::RateLimitPerRoute, at: &At<'_>) -> Decoded<GlobalRateLimitRoute> {
    // Envoy hides `override_option` from its users; those of its values that say the same as `vh_rate_limits` are taken.
    take!(value, at, wire::RateLimitPerRoute {
        used { vh_rate_limits, override_option, rate_limits, domain }
        harmless {}
        refused {}
    });
    use wire::rate_limit_per_route::OverrideOptions;
    let limits = match OverrideOptions::try_from(override_option) {
        Ok(OverrideOptions::Default) => vh_rate_limits,
        // The other enumeration begins one lower.
        Ok(option) => option as i32 - 1,
        Err(_) => {
            let problem = format!("is {override_option}");
            return Err(at
                .field("override_option")
                .error(problem, "DEFAULT, OVERRIDE_POLICY, INCLUDE_POLICY or IGNORE_POLICY"));
        }
    };
    Ok(GlobalRateLimitRoute {
        host_limits: host_limits(limits, &at.field("vh_rate_limits"))?,
        rules: filter_rules(rate_limits, &at.field("rate_limits"))?,
        domain: (!domain.is_empty()).then(|| domain.into()),
    })
}
