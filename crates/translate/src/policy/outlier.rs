//! Outlier detection and slow start, by Istio's rules for what is not said.

use api::istio::{LoadBalancerSettings, OutlierDetection, Warmup};
use model::SlowStart;
use model::cluster::{Balancing, PANIC_PERCENT};

/// Below this share of available workloads all of them are used. Once outlier detection is on, never, unless the rule
/// says so.
pub fn panic_percent(written: Option<&OutlierDetection>) -> u8 {
    match written {
        None => PANIC_PERCENT,
        Some(written) => written.min_health_percent.unwrap_or(0).min(100) as u8,
    }
}

/// Off unless the block is there. Success rates never count.
pub fn outlier_detection(written: &OutlierDetection) -> model::OutlierDetection {
    let mut found = model::OutlierDetection::default();
    let share = |limit: u32| if limit > 0 { 100 } else { 0 };
    found.enforcing.success_rate = 0;
    if let Some(limit) = written.consecutive_5xx_errors {
        (found.consecutive_5xx, found.enforcing.consecutive_5xx) = (limit, share(limit));
    }
    if let Some(limit) = written.consecutive_gateway_errors {
        (found.consecutive_gateway_failure, found.enforcing.consecutive_gateway_failure) = (limit, share(limit));
    }
    if written.split_external_local_origin_errors {
        found.split_external_local_origin_errors = true;
        found.enforcing.local_origin_success_rate = 0;
        if let Some(limit) = written.consecutive_local_origin_failures.filter(|limit| *limit > 0) {
            found.consecutive_local_origin_failure = limit;
        }
    }
    if let Some(interval) = written.interval.filter(|d| !d.is_zero()) {
        found.interval = interval;
    }
    if let Some(base) = written.base_ejection_time.filter(|d| !d.is_zero()) {
        found.base_ejection_time = base;
        found.max_ejection_time = base.max(model::OutlierDetection::MAX_EJECTION_TIME);
    }
    if let Some(percent) = written.max_ejection_percent.filter(|percent| *percent > 0) {
        found.max_ejection_percent = percent.min(100);
    }
    let statuses = written.outlier_detection_http_error_codes.iter();
    found.error_statuses = statuses.filter_map(|code| u16::try_from(*code).ok()).collect();
    found
}

/// How the share of a new workload grows: for workloads that are chosen in turn or by requests under way.
pub fn slow_start(written: Option<&LoadBalancerSettings>, balancing: &Balancing) -> Option<SlowStart> {
    if !matches!(balancing, Balancing::RoundRobin | Balancing::LeastRequest { .. }) {
        return None;
    }
    let written = written?;
    let Some(Warmup { duration, minimum_percent, aggression }) = &written.warmup else {
        return written.warmup_duration_secs.filter(|window| !window.is_zero()).map(SlowStart::new);
    };
    let default = SlowStart::new(duration.filter(|window| !window.is_zero())?);
    Some(SlowStart {
        min_weight_percent: minimum_percent.unwrap_or(default.min_weight_percent),
        aggression: aggression.filter(|a| *a > 0.0).unwrap_or(default.aggression),
        ..default
    })
}
