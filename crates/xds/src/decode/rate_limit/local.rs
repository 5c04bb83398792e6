//! Limits that are kept in this proxy.

use model::rate_limit::{LocalDescriptor, LocalRateLimit};
use model::{Fraction, HeaderChanges};
use proto::envoy::config::core::v3::RuntimeFractionalPercent;
use proto::envoy::extensions::common::ratelimit::v3::LocalRateLimitDescriptor;
use proto::envoy::extensions::filters::http::local_ratelimit::v3 as wire;

use super::{fill, filter_rules, host_limits, limited_status, stage_number, tells_limits, unless_false};
use crate::decode::{At, Decoded, each, filled, headers, matcher, required, take};

/// The filter, and what routes say to it.
pub(in crate::decode) const LOCAL: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";

/// What a route or a virtual host says: whole settings, with a limit.
pub(in crate::decode) fn local_route(value: wire::LocalRateLimit, at: &At<'_>) -> Decoded<LocalRateLimit> {
    if value.token_bucket.is_none() {
        return Err(at.field("token_bucket").error("is missing", "a token bucket"));
    }
    local(value, at)
}

pub(in crate::decode) fn local(value: wire::LocalRateLimit, at: &At<'_>) -> Decoded<LocalRateLimit> {
    take!(value, at, wire::LocalRateLimit {
        used {
            stat_prefix, status, token_bucket, filter_enabled, filter_enforced,
            request_headers_to_add_when_not_enforced, response_headers_to_add, descriptors, stage,
            local_rate_limit_per_downstream_connection, enable_x_ratelimit_headers, vh_rate_limits,
            always_consume_default_token_bucket, rate_limited_as_resource_exhausted, rate_limits,
            max_dynamic_descriptors, enable_retry_after_header,
        }
        harmless {}
        refused { local_cluster_rate_limit }
    });
    if stat_prefix.is_empty() {
        return Err(at.field("stat_prefix").error("is missing", "a prefix"));
    }
    let at_bucket = at.field("token_bucket");
    let at_values = at.field("max_dynamic_descriptors");
    let written = |list, name| -> Decoded<HeaderChanges> { headers::changes(list, Vec::new(), at, [name, ""]) };
    Ok(LocalRateLimit {
        policy: None,
        stat_prefix: stat_prefix.into(),
        status: limited_status(status, &at.field("status"))?,
        fill: token_bucket.map(|value| fill(value, &at_bucket)).transpose()?,
        descriptors: own_descriptors(descriptors, &at.field("descriptors"))?,
        always_counts: unless_false(always_consume_default_token_bucket),
        enabled: share(filter_enabled, &at.field("filter_enabled"))?,
        enforced: share(filter_enforced, &at.field("filter_enforced"))?,
        request_headers: written(request_headers_to_add_when_not_enforced, "request_headers_to_add_when_not_enforced")?,
        response_headers: written(response_headers_to_add, "response_headers_to_add")?,
        tells_limits: tells_limits(enable_x_ratelimit_headers, &at.field("enable_x_ratelimit_headers"))?,
        retry_after: enable_retry_after_header,
        resource_exhausted: rate_limited_as_resource_exhausted,
        per_connection: local_rate_limit_per_downstream_connection,
        stage: stage_number(stage, at)?,
        host_limits: host_limits(vh_rate_limits, &at.field("vh_rate_limits"))?,
        rules: filter_rules(rate_limits, &at.field("rate_limits"))?,
        max_values: match max_dynamic_descriptors.map_or(LocalRateLimit::MAX_VALUES, |most| most.value) {
            0 => return Err(at_values.error("is 0", "one or more")),
            most => most,
        },
    })
}

/// Nobody, unless it is said.
fn share(value: Option<RuntimeFractionalPercent>, at: &At<'_>) -> Decoded<Fraction> {
    value.map_or(Ok(Fraction::NONE), |share| matcher::runtime_percent(share, at))
}

fn own_descriptors(list: Vec<LocalRateLimitDescriptor>, at: &At<'_>) -> Decoded<Vec<LocalDescriptor>> {
    let all = each(list, at, descriptor)?;
    for (index, one) in all.iter().enumerate() {
        if all[..index].iter().any(|before| before.entries == one.entries) {
            return Err(at.index(index).field("entries").error("are those of another descriptor", "each list once"));
        }
    }
    Ok(all)
}

fn descriptor(value: LocalRateLimitDescriptor, at: &At<'_>) -> Decoded<LocalDescriptor> {
    take!(value, at, LocalRateLimitDescriptor {
        used { entries, token_bucket }
        harmless {}
        refused { shadow_mode }
    });
    let at_bucket = at.field("token_bucket");
    Ok(LocalDescriptor {
        entries: filled(entries, &at.field("entries"))?.into_iter().map(|entry| (entry.key, entry.value)).collect(),
        fill: fill(required(token_bucket, &at_bucket)?, &at_bucket)?,
    })
}
