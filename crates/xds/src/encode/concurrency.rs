//! The adaptive concurrency filter.

use model::AdaptiveConcurrency;
use model::concurrency::{Baseline, Measuring};
use proto::envoy::config::core::v3::RuntimeFeatureFlag;
use proto::envoy::extensions::filters::http::adaptive_concurrency::v3 as wire;
use proto::envoy::extensions::filters::http::adaptive_concurrency::v3::adaptive_concurrency::ConcurrencyControllerConfig;
use proto::envoy::extensions::filters::http::adaptive_concurrency::v3::gradient_controller_config::{
    ConcurrencyLimitCalculationParams, MinimumRttCalculationParams,
};
use proto::envoy::r#type::v3::{HttpStatus, Percent};
use proto::google::protobuf::BoolValue;

use super::{duration, number};

pub(super) fn adaptive_concurrency(limit: &AdaptiveConcurrency) -> wire::AdaptiveConcurrency {
    let controller = wire::GradientControllerConfig {
        sample_aggregate_percentile: percent(limit.percentile),
        concurrency_limit_params: Some(ConcurrencyLimitCalculationParams {
            max_concurrency_limit: number(limit.max),
            concurrency_update_interval: Some(duration(limit.update_interval)),
            min_concurrency_limit: limit.lower_bound.and_then(number),
        }),
        min_rtt_calc_params: Some(baseline(limit)),
    };
    wire::AdaptiveConcurrency {
        // Envoy asks for a key.
        enabled: (!limit.enabled).then(|| RuntimeFeatureFlag {
            default_value: Some(BoolValue { value: false }),
            runtime_key: "adaptive_concurrency.enabled".to_owned(),
        }),
        concurrency_limit_exceeded_status: (limit.status != AdaptiveConcurrency::STATUS)
            .then(|| HttpStatus { code: limit.status.into() }),
        concurrency_controller_config: Some(ConcurrencyControllerConfig::GradientControllerConfig(controller)),
    }
}

fn baseline(limit: &AdaptiveConcurrency) -> MinimumRttCalculationParams {
    let common = MinimumRttCalculationParams {
        min_concurrency: number(limit.min),
        buffer: percent(limit.buffer_percent),
        ..MinimumRttCalculationParams::default()
    };
    match limit.baseline {
        Baseline::Fixed(time) => MinimumRttCalculationParams { fixed_value: Some(duration(time)), ..common },
        Baseline::Measured(Measuring { interval, jitter_percent, requests }) => MinimumRttCalculationParams {
            interval: Some(duration(interval)),
            jitter: percent(jitter_percent),
            request_count: number(requests),
            ..common
        },
    }
}

fn percent(value: f64) -> Option<Percent> {
    Some(Percent { value })
}
