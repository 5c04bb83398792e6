//! When an endpoint that fails is left out for a while. Defaults are Envoy's.

use std::time::Duration;

/// When an endpoint that fails is left out for a while (xDS `OutlierDetection`). Enforcing shares are in percent: how
/// often a finding is acted upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Answers of 5xx in a row; 0: never.
    pub consecutive_5xx: u32,
    /// Answers of 502, 503 and 504 in a row; 0: never.
    pub consecutive_gateway_failure: u32,
    /// Failures on our side (no connection, no answer) in a row, if they are counted apart; 0: never.
    pub consecutive_local_origin_failure: u32,
    /// Failures on our side are counted apart from answers.
    pub split_external_local_origin_errors: bool,
    /// Time between looks at success rates and at those that are out.
    pub interval: Duration,
    /// How long an endpoint is out the first time; the second time twice as long, and so on.
    pub base_ejection_time: Duration,
    /// The longest time out.
    pub max_ejection_time: Duration,
    /// Up to so much is added by chance, so that not all return at once.
    pub max_ejection_time_jitter: Duration,
    /// The share of endpoints that may be out, in percent.
    pub max_ejection_percent: u32,
    /// One may be out whatever that share is.
    pub always_eject_one: bool,
    /// A good active health check brings an endpoint back.
    pub health_check_unejects: bool,
    /// Ejection by success rate.
    pub success_rate: SuccessRate,
    /// Ejection by share of failures.
    pub failure_percentage: FailurePercentage,
    /// Enforcing shares.
    pub enforcing: Enforcing,
    /// Statuses that count as errors, in place of 5xx.
    pub error_statuses: Vec<u16>,
}

/// Ejection of those whose success rate is below the mean of all by so many standard deviations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuccessRate {
    /// Endpoints with enough requests, without which nobody is ejected.
    pub minimum_hosts: u32,
    /// Requests in an interval that are enough.
    pub request_volume: u32,
    /// Thousandths of a standard deviation.
    pub stdev_factor: u32,
}

/// Ejection of those with a share of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailurePercentage {
    /// The share, in percent.
    pub threshold: u32,
    /// Endpoints with enough requests, without which nobody is ejected.
    pub minimum_hosts: u32,
    /// Requests in an interval that are enough.
    pub request_volume: u32,
}

/// How often a finding is acted upon, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enforcing {
    /// Answers of 5xx in a row.
    pub consecutive_5xx: u32,
    /// Gateway errors in a row.
    pub consecutive_gateway_failure: u32,
    /// Failures on our side in a row.
    pub consecutive_local_origin_failure: u32,
    /// Success rate of answers.
    pub success_rate: u32,
    /// Success rate on our side.
    pub local_origin_success_rate: u32,
    /// Share of failed answers.
    pub failure_percentage: u32,
    /// Share of failures on our side.
    pub failure_percentage_local_origin: u32,
}

impl OutlierDetection {
    /// Envoy's longest time out, unless the base is longer.
    pub const MAX_EJECTION_TIME: Duration = Duration::from_secs(300);
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_failure: 5,
            consecutive_local_origin_failure: 5,
            split_external_local_origin_errors: false,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Self::MAX_EJECTION_TIME,
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one: false,
            health_check_unejects: true,
            success_rate: SuccessRate { minimum_hosts: 5, request_volume: 100, stdev_factor: 1900 },
            failure_percentage: FailurePercentage { threshold: 85, minimum_hosts: 5, request_volume: 50 },
            enforcing: Enforcing {
                consecutive_5xx: 100,
                consecutive_gateway_failure: 0,
                consecutive_local_origin_failure: 100,
                success_rate: 100,
                local_origin_success_rate: 100,
                failure_percentage: 0,
                failure_percentage_local_origin: 0,
            },
            error_statuses: Vec::new(),
        }
    }
}
