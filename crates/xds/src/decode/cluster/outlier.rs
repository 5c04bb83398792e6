//! When an endpoint that fails is left out.

use std::time::Duration;

use model::OutlierDetection;
use model::outlier::{Enforcing, FailurePercentage, SuccessRate};
use proto::envoy::config::cluster::v3 as wire;
use proto::envoy::config::common::matcher::v3::HttpHeadersMatch;
use proto::envoy::config::common::matcher::v3::{MatchPredicate, match_predicate::Rule};
use proto::envoy::config::route::v3::HeaderMatcher;
use proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use proto::google::protobuf::{self, UInt32Value};

use crate::decode::{At, Decoded, duration, take};

pub(super) fn outlier_detection(value: wire::OutlierDetection, at: &At<'_>) -> Decoded<OutlierDetection> {
    take!(value, at, wire::OutlierDetection {
        used {
            consecutive_5xx, interval, base_ejection_time, max_ejection_percent, enforcing_consecutive_5xx,
            enforcing_success_rate, success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor,
            consecutive_gateway_failure, enforcing_consecutive_gateway_failure, split_external_local_origin_errors,
            consecutive_local_origin_failure, enforcing_consecutive_local_origin_failure,
            enforcing_local_origin_success_rate, failure_percentage_threshold, enforcing_failure_percentage,
            enforcing_failure_percentage_local_origin, failure_percentage_minimum_hosts,
            failure_percentage_request_volume, max_ejection_time, max_ejection_time_jitter,
            successful_active_health_check_uneject_host, always_eject_one_host,
        }
        harmless {}
        refused { monitors, detect_degraded_hosts }
    });
    let or = |value: Option<UInt32Value>, default: u32| value.map_or(default, |value| value.value);
    let share = |value: Option<UInt32Value>, default, name: &'static str| match or(value, default) {
        share @ 0..=100 => Ok(share),
        much => Err(at.field(name).error(format!("is {much}"), "a percentage from 0 to 100")),
    };
    let default = OutlierDetection::default();
    let (rate, failures, enforce) = (default.success_rate, default.failure_percentage, default.enforcing);
    let base_ejection_time = positive(base_ejection_time, default.base_ejection_time, &at.field("base_ejection_time"))?;
    let at_max = at.field("max_ejection_time");
    let longest = OutlierDetection::MAX_EJECTION_TIME.max(base_ejection_time);
    let max_ejection_time = positive(max_ejection_time, longest, &at_max)?;
    if max_ejection_time < base_ejection_time {
        return Err(at_max.error("is shorter than `base_ejection_time`", "at least as much"));
    }
    Ok(OutlierDetection {
        consecutive_5xx: or(consecutive_5xx, default.consecutive_5xx),
        consecutive_gateway_failure: or(consecutive_gateway_failure, default.consecutive_gateway_failure),
        consecutive_local_origin_failure: or(
            consecutive_local_origin_failure,
            default.consecutive_local_origin_failure,
        ),
        split_external_local_origin_errors,
        interval: positive(interval, default.interval, &at.field("interval"))?,
        base_ejection_time,
        max_ejection_time,
        max_ejection_time_jitter: max_ejection_time_jitter
            .map_or(Ok(Duration::ZERO), |value| duration(value, &at.field("max_ejection_time_jitter")))?,
        max_ejection_percent: share(max_ejection_percent, default.max_ejection_percent, "max_ejection_percent")?,
        always_eject_one: always_eject_one_host.is_some_and(|value| value.value),
        health_check_unejects: successful_active_health_check_uneject_host.is_none_or(|value| value.value),
        success_rate: SuccessRate {
            minimum_hosts: or(success_rate_minimum_hosts, rate.minimum_hosts),
            request_volume: or(success_rate_request_volume, rate.request_volume),
            stdev_factor: or(success_rate_stdev_factor, rate.stdev_factor),
        },
        failure_percentage: FailurePercentage {
            threshold: share(failure_percentage_threshold, failures.threshold, "failure_percentage_threshold")?,
            minimum_hosts: or(failure_percentage_minimum_hosts, failures.minimum_hosts),
            request_volume: or(failure_percentage_request_volume, failures.request_volume),
        },
        enforcing: Enforcing {
            consecutive_5xx: share(enforcing_consecutive_5xx, enforce.consecutive_5xx, "enforcing_consecutive_5xx")?,
            consecutive_gateway_failure: share(
                enforcing_consecutive_gateway_failure,
                enforce.consecutive_gateway_failure,
                "enforcing_consecutive_gateway_failure",
            )?,
            consecutive_local_origin_failure: share(
                enforcing_consecutive_local_origin_failure,
                enforce.consecutive_local_origin_failure,
                "enforcing_consecutive_local_origin_failure",
            )?,
            success_rate: share(enforcing_success_rate, enforce.success_rate, "enforcing_success_rate")?,
            local_origin_success_rate: share(
                enforcing_local_origin_success_rate,
                enforce.local_origin_success_rate,
                "enforcing_local_origin_success_rate",
            )?,
            failure_percentage: share(
                enforcing_failure_percentage,
                enforce.failure_percentage,
                "enforcing_failure_percentage",
            )?,
            failure_percentage_local_origin: share(
                enforcing_failure_percentage_local_origin,
                enforce.failure_percentage_local_origin,
                "enforcing_failure_percentage_local_origin",
            )?,
        },
        error_statuses: Vec::new(),
    })
}

fn positive(value: Option<protobuf::Duration>, default: Duration, at: &At<'_>) -> Decoded<Duration> {
    match value.map_or(Ok(default), |value| duration(value, at))? {
        Duration::ZERO => Err(at.error("is zero", "more than zero")),
        value => Ok(value),
    }
}

/// The statuses that count as errors. Of the many things that a predicate can say, the model knows those that Istio says.
pub(super) fn error_statuses(value: MatchPredicate, at: &At<'_>) -> Decoded<Vec<u16>> {
    let rules = match value.rule {
        Some(Rule::OrMatch(set)) => set.rules,
        rule => vec![MatchPredicate { rule }],
    };
    rules.into_iter().map(|rule| one_status(rule).ok_or_else(|| at.unsupported(STATUSES))).collect()
}

const STATUSES: &str = "exact values of the response header `:status`, one or several by `or_match`";

fn one_status(rule: MatchPredicate) -> Option<u16> {
    let Some(Rule::HttpResponseHeadersMatch(HttpHeadersMatch { headers })) = rule.rule else { return None };
    let [header] = <[HeaderMatcher; 1]>::try_from(headers).ok()?;
    let HeaderMatcher { name, invert_match: false, header_match_specifier, .. } = header else { return None };
    let Some(HeaderMatchSpecifier::StringMatch(StringMatcher { match_pattern: Some(pattern), .. })) =
        header_match_specifier
    else {
        return None;
    };
    match pattern {
        MatchPattern::Exact(text) if name == ":status" => text.parse().ok().filter(|code| (100..600).contains(code)),
        _ => None,
    }
}
