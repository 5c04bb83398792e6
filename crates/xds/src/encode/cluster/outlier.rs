//! When an endpoint that fails is left out.

use model::OutlierDetection;
use proto::envoy::config::cluster::v3 as wire;
use proto::envoy::config::common::matcher::v3::match_predicate::{MatchSet, Rule};
use proto::envoy::config::common::matcher::v3::{HttpHeadersMatch, MatchPredicate};
use proto::envoy::config::route::v3::HeaderMatcher;
use proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use proto::envoy::extensions::upstreams::http::v3::http_protocol_options as options;
use proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use proto::google::protobuf::BoolValue;

use crate::encode::{duration, flag, number};

/// All is said, so that nobody's defaults matter.
pub(super) fn outlier_detection(found: &OutlierDetection) -> wire::OutlierDetection {
    let OutlierDetection { success_rate, failure_percentage, enforcing, .. } = found;
    wire::OutlierDetection {
        consecutive_5xx: number(found.consecutive_5xx),
        interval: Some(duration(found.interval)),
        base_ejection_time: Some(duration(found.base_ejection_time)),
        max_ejection_percent: number(found.max_ejection_percent),
        enforcing_consecutive_5xx: number(enforcing.consecutive_5xx),
        enforcing_success_rate: number(enforcing.success_rate),
        success_rate_minimum_hosts: number(success_rate.minimum_hosts),
        success_rate_request_volume: number(success_rate.request_volume),
        success_rate_stdev_factor: number(success_rate.stdev_factor),
        consecutive_gateway_failure: number(found.consecutive_gateway_failure),
        enforcing_consecutive_gateway_failure: number(enforcing.consecutive_gateway_failure),
        split_external_local_origin_errors: found.split_external_local_origin_errors,
        consecutive_local_origin_failure: number(found.consecutive_local_origin_failure),
        enforcing_consecutive_local_origin_failure: number(enforcing.consecutive_local_origin_failure),
        enforcing_local_origin_success_rate: number(enforcing.local_origin_success_rate),
        failure_percentage_threshold: number(failure_percentage.threshold),
        enforcing_failure_percentage: number(enforcing.failure_percentage),
        enforcing_failure_percentage_local_origin: number(enforcing.failure_percentage_local_origin),
        failure_percentage_minimum_hosts: number(failure_percentage.minimum_hosts),
        failure_percentage_request_volume: number(failure_percentage.request_volume),
        max_ejection_time: Some(duration(found.max_ejection_time)),
        max_ejection_time_jitter: Some(duration(found.max_ejection_time_jitter)),
        successful_active_health_check_uneject_host: Some(BoolValue { value: found.health_check_unejects }),
        always_eject_one_host: flag(found.always_eject_one),
        ..wire::OutlierDetection::default()
    }
}

/// The statuses that count as errors; they travel with the options of HTTP.
pub(super) fn error_statuses(found: Option<&OutlierDetection>) -> Option<options::OutlierDetection> {
    let mut rules: Vec<_> = found?.error_statuses.iter().map(|status| one_status(*status)).collect();
    let matcher = match rules.len() {
        0 => return None,
        1 => rules.remove(0),
        _ => MatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) },
    };
    Some(options::OutlierDetection { error_matcher: Some(matcher) })
}

fn one_status(status: u16) -> MatchPredicate {
    let text = StringMatcher { match_pattern: Some(MatchPattern::Exact(status.to_string())), ignore_case: false };
    let header = HeaderMatcher {
        name: ":status".into(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(text)),
        ..HeaderMatcher::default()
    };
    MatchPredicate { rule: Some(Rule::HttpResponseHeadersMatch(HttpHeadersMatch { headers: vec![header] })) }
}
