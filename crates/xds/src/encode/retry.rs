//! Retry policies.

use model::RetryPolicy;
use model::retry::{RateLimitedBackOff, ResetFormat, RetryDetails};
use proto::envoy::config::route::v3 as wire;
use proto::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff, RetryHostPredicate, RetryPriority,
    retry_host_predicate, retry_priority,
};
use proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use proto::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;

use super::{duration, matcher, number, pack};

pub(super) fn retry_policy(retry: &RetryPolicy) -> wire::RetryPolicy {
    let none = RetryDetails::default();
    let more = retry.more.as_deref().unwrap_or(&none);
    let previous_hosts = retry.avoid_previous_hosts.then(|| RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".into(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(pack(&PreviousHostsPredicate {}))),
    });
    wire::RetryPolicy {
        retry_on: retry.on.to_list(),
        num_retries: number(retry.attempts),
        per_try_timeout: retry.per_try_timeout.map(duration),
        retry_host_predicate: previous_hosts.into_iter().collect(),
        retry_priority: retry.avoid_previous_priorities.map(|every| RetryPriority {
            name: "envoy.retry_priorities.previous_priorities".into(),
            config_type: Some(retry_priority::ConfigType::TypedConfig(pack(&PreviousPrioritiesConfig {
                update_frequency: i32::try_from(every.get()).unwrap_or(i32::MAX),
            }))),
        }),
        host_selection_retry_max_attempts: retry.host_selection_attempts.into(),
        retriable_status_codes: retry.on.status_codes.iter().map(|code| u32::from(*code)).collect(),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(duration(retry.base_interval)),
            max_interval: Some(duration(retry.max_interval)),
        }),
        retriable_headers: more.headers.iter().map(matcher::header).collect(),
        retriable_request_headers: more.request_headers.iter().map(matcher::header).collect(),
        per_try_idle_timeout: more.per_try_idle_timeout.map(duration),
        rate_limited_retry_back_off: more.rate_limited.as_ref().map(rate_limited),
        ..wire::RetryPolicy::default()
    }
}

fn rate_limited(back_off: &RateLimitedBackOff) -> RateLimitedRetryBackOff {
    let header = |(name, format): &(http::HeaderName, ResetFormat)| ResetHeader {
        name: name.to_string(),
        format: match format {
            ResetFormat::Seconds => ResetHeaderFormat::Seconds,
            ResetFormat::UnixTimestamp => ResetHeaderFormat::UnixTimestamp,
        } as i32,
    };
    RateLimitedRetryBackOff {
        reset_headers: back_off.reset_headers.iter().map(header).collect(),
        max_interval: Some(duration(back_off.max_interval)),
    }
}
