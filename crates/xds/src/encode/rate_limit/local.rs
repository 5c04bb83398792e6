//! Limits that are kept in the proxy.

use model::rate_limit::{LocalDescriptor, LocalRateLimit};
use model::{Fraction, HeaderChanges};
use proto::envoy::extensions::common::ratelimit::v3::LocalRateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::extensions::filters::http::local_ratelimit::v3 as wire;
use proto::google::protobuf::Any;

use super::{fill, host_limits, rules, status, tells_limits, unless_true};
use crate::encode::{headers, matcher, number, pack};

/// The name under which the filter stands in chains, and under which routes speak to it.
pub(in crate::encode) const LOCAL_FILTER: &str = "envoy.filters.http.local_ratelimit";

pub(in crate::encode) fn local(limit: &LocalRateLimit) -> Any {
    let share = |share: Fraction| (share != Fraction::NONE).then(|| matcher::runtime_percent(share));
    let written = |changes: &HeaderChanges| headers::writes(changes);
    pack(&wire::LocalRateLimit {
        stat_prefix: limit.stat_prefix.to_string(),
        status: status(limit.status, 429),
        token_bucket: limit.fill.as_ref().map(fill),
        filter_enabled: share(limit.enabled),
        filter_enforced: share(limit.enforced),
        request_headers_to_add_when_not_enforced: written(&limit.request_headers),
        response_headers_to_add: written(&limit.response_headers),
        descriptors: limit.descriptors.iter().map(descriptor).collect(),
        stage: limit.stage,
        local_rate_limit_per_downstream_connection: limit.per_connection,
        enable_retry_after_header: limit.retry_after,
        enable_x_ratelimit_headers: tells_limits(limit.tells_limits),
        vh_rate_limits: host_limits(limit.host_limits),
        always_consume_default_token_bucket: unless_true(limit.always_counts),
        rate_limited_as_resource_exhausted: limit.resource_exhausted,
        rate_limits: rules(&limit.rules),
        max_dynamic_descriptors: match limit.max_values {
            LocalRateLimit::MAX_VALUES => None,
            most => number(most),
        },
        ..wire::LocalRateLimit::default()
    })
}

fn descriptor(descriptor: &LocalDescriptor) -> LocalRateLimitDescriptor {
    let entry = |(key, value): &(String, String)| Entry { key: key.clone(), value: value.clone() };
    LocalRateLimitDescriptor {
        entries: descriptor.entries.iter().map(entry).collect(),
        token_bucket: Some(fill(&descriptor.fill)),
        ..LocalRateLimitDescriptor::default()
    }
}
