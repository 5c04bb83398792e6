//! Retry policies.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;
use model::RetryPolicy;
use model::retry::{RateLimitedBackOff, ResetFormat, RetryDetails, RetryOn};
use proto::envoy::config::route::v3 as wire;
use proto::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeaderFormat, RetryBackOff, RetryHostPredicate, RetryPriority,
    retry_host_predicate::ConfigType, retry_priority,
};
use proto::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;

use super::{At, Decoded, duration, each, limit, matcher, required, take, type_name, unpack};

/// Envoy's defaults: 25 ms, and ten times that.
const BASE: Duration = Duration::from_millis(25);
/// Envoy's default for the longest wait that an answer may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

pub(super) fn retry_policy(value: wire::RetryPolicy, at: &At<'_>) -> Decoded<RetryPolicy> {
    take!(value, at, wire::RetryPolicy {
        used {
            retry_on, num_retries, per_try_timeout, retry_host_predicate, host_selection_retry_max_attempts,
            retriable_status_codes, retry_back_off, retriable_headers, retriable_request_headers,
            per_try_idle_timeout, rate_limited_retry_back_off, retry_priority,
        }
        harmless {}
        refused { retry_options_predicates, refresh_cluster_on_retry }
    });
    let (base_interval, max_interval) = back_off(retry_back_off, &at.field("retry_back_off"))?;
    let predicates = each(retry_host_predicate, &at.field("retry_host_predicate"), previous_hosts)?;
    let at_wait = at.field("rate_limited_retry_back_off");
    let more = RetryDetails {
        headers: each(retriable_headers, &at.field("retriable_headers"), matcher::header)?,
        request_headers: each(retriable_request_headers, &at.field("retriable_request_headers"), matcher::header)?,
        per_try_idle_timeout: limit(per_try_idle_timeout, None, &at.field("per_try_idle_timeout"))?,
        rate_limited: rate_limited_retry_back_off.map(|value| rate_limited(value, &at_wait)).transpose()?,
    };
    Ok(RetryPolicy {
        on: conditions(&retry_on, retriable_status_codes, at)?,
        attempts: num_retries.map_or(1, |number| number.value),
        per_try_timeout: limit(per_try_timeout, None, &at.field("per_try_timeout"))?,
        base_interval,
        max_interval,
        host_selection_attempts: host_selection(host_selection_retry_max_attempts, at)?,
        avoid_previous_hosts: !predicates.is_empty(),
        avoid_previous_priorities: {
            let at = at.field("retry_priority");
            retry_priority.map(|value| previous_priorities(value, &at)).transpose()?
        },
        more: (more != RetryDetails::default()).then(|| Box::new(more)),
    })
}

fn rate_limited(value: RateLimitedRetryBackOff, at: &At<'_>) -> Decoded<RateLimitedBackOff> {
    take!(value, at, RateLimitedRetryBackOff {
        used { reset_headers, max_interval }
        harmless {}
        refused {}
    });
    let reset_headers = each(reset_headers, &at.field("reset_headers"), |header, at| {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| at.field("name").error(format!("is {:?}", header.name), "a header's name"))?;
        match ResetHeaderFormat::try_from(header.format) {
            Ok(ResetHeaderFormat::Seconds) => Ok((name, ResetFormat::Seconds)),
            Ok(ResetHeaderFormat::UnixTimestamp) => Ok((name, ResetFormat::UnixTimestamp)),
            Err(_) => Err(at.field("format").error(format!("is {}", header.format), "SECONDS or UNIX_TIMESTAMP")),
        }
    })?;
    let at_max = at.field("max_interval");
    let max_interval = max_interval.map_or(Ok(LONGEST_WAIT), |value| duration(value, &at_max))?;
    Ok(RateLimitedBackOff { reset_headers, max_interval })
}

fn conditions(text: &str, codes: Vec<u32>, at: &At<'_>) -> Decoded<RetryOn> {
    let (mut on, unknown) = RetryOn::parse(text);
    if let Some(name) = unknown.first() {
        return Err(at.field("retry_on").error(format!("has `{name}`"), "conditions that Envoy knows"));
    }
    on.status_codes = each(codes, &at.field("retriable_status_codes"), |code, at| {
        u16::try_from(code).map_err(|_| at.error(format!("is {code}"), "an HTTP status"))
    })?;
    Ok(on)
}

fn back_off(value: Option<RetryBackOff>, at: &At<'_>) -> Decoded<(Duration, Duration)> {
    let Some(value) = value else { return Ok((BASE, BASE * 10)) };
    let at_base = at.field("base_interval");
    let base = duration(required(value.base_interval, &at_base)?, &at_base)?;
    if base.is_zero() {
        return Err(at_base.error("is zero", "more than zero"));
    }
    let at_max = at.field("max_interval");
    let max = match value.max_interval {
        None => base.saturating_mul(10),
        Some(value) => duration(value, &at_max)?,
    };
    if max < base {
        return Err(at_max.error("is less than the base interval", "as much or more"));
    }
    Ok((base, max))
}

fn host_selection(value: i64, at: &At<'_>) -> Decoded<u32> {
    let at = at.field("host_selection_retry_max_attempts");
    match u32::try_from(value) {
        // Not said.
        Ok(0) => Ok(1),
        Ok(value) => Ok(value),
        Err(_) => Err(at.error(format!("is {value}"), "a number of attempts")),
    }
}

fn previous_priorities(value: RetryPriority, at: &At<'_>) -> Decoded<NonZeroU32> {
    const KNOWN: &str = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig";
    let any = match value.config_type {
        Some(retry_priority::ConfigType::TypedConfig(any)) if type_name(&any.type_url) == KNOWN => any,
        _ => {
            let expected = "`envoy.retry_priorities.previous_priorities`";
            return Err(at.error(format!("is `{}`", value.name), expected));
        }
    };
    let at = at.field("typed_config");
    let frequency = unpack::<PreviousPrioritiesConfig>(&any, &at)?.update_frequency;
    let above_zero = u32::try_from(frequency).ok().and_then(NonZeroU32::new);
    above_zero.ok_or_else(|| at.field("update_frequency").error(format!("is {frequency}"), "1 or more"))
}

fn previous_hosts(value: RetryHostPredicate, at: &At<'_>) -> Decoded<()> {
    const KNOWN: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    match value.config_type {
        Some(ConfigType::TypedConfig(any)) if type_name(&any.type_url) == KNOWN => Ok(()),
        // Istio names it and leaves the settings out.
        None if value.name == "envoy.retry_host_predicates.previous_hosts" => Ok(()),
        _ => Err(at.error(format!("is `{}`", value.name), "`envoy.retry_host_predicates.previous_hosts`")),
    }
}
