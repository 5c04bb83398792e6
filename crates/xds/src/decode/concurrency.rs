//! The adaptive concurrency filter.

use std::time::Duration;

use model::AdaptiveConcurrency;
use model::concurrency::{Baseline, Measuring};
use proto::envoy::extensions::filters::http::adaptive_concurrency::v3 as wire;
use proto::envoy::extensions::filters::http::adaptive_concurrency::v3::adaptive_concurrency::ConcurrencyControllerConfig;
use proto::envoy::extensions::filters::http::adaptive_concurrency::v3::gradient_controller_config::{
    ConcurrencyLimitCalculationParams, MinimumRttCalculationParams,
};
use proto::envoy::r#type::v3::{HttpStatus, Percent};
use proto::google::protobuf::{self, UInt32Value};

use super::{At, Decoded, duration, percent, required, take};

pub(super) const ADAPTIVE_CONCURRENCY: &str =
    "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency";

/// Envoy counts in whole milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

pub(super) fn adaptive_concurrency(value: wire::AdaptiveConcurrency, at: &At<'_>) -> Decoded<AdaptiveConcurrency> {
    take!(value, at, wire::AdaptiveConcurrency {
        used { enabled, concurrency_limit_exceeded_status, concurrency_controller_config }
        harmless {}
        refused {}
    });
    let at_controller = at.field("gradient_controller_config");
    let ConcurrencyControllerConfig::GradientControllerConfig(controller) =
        required(concurrency_controller_config, &at_controller)?;
    Ok(AdaptiveConcurrency {
        enabled: super::enabled(enabled),
        status: status(concurrency_limit_exceeded_status, &at.field("concurrency_limit_exceeded_status"))?,
        ..gradient_controller(controller, &at_controller)?
    })
}

/// What is no error is taken as the default, as Envoy does.
fn status(value: Option<HttpStatus>, at: &At<'_>) -> Decoded<u16> {
    match value.map(|status| status.code) {
        Some(0) => Err(at.field("code").error("is missing", "a status of 400 to 599")),
        None | Some(..400) => Ok(AdaptiveConcurrency::STATUS),
        Some(code @ 400..600) => Ok(code as u16),
        Some(code) => Err(at.field("code").error(format!("is {code}"), "a status of 400 to 599")),
    }
}

fn gradient_controller(value: wire::GradientControllerConfig, at: &At<'_>) -> Decoded<AdaptiveConcurrency> {
    take!(value, at, wire::GradientControllerConfig {
        used { sample_aggregate_percentile, concurrency_limit_params, min_rtt_calc_params }
        harmless {}
        refused {}
    });
    let (at_limit, at_baseline) = (at.field("concurrency_limit_params"), at.field("min_rtt_calc_params"));
    take!(required(concurrency_limit_params, &at_limit)?, at_limit, ConcurrencyLimitCalculationParams {
        used { max_concurrency_limit, concurrency_update_interval, min_concurrency_limit }
        harmless {}
        refused {}
    });
    let at_update = at_limit.field("concurrency_update_interval");
    let update = time(required(concurrency_update_interval, &at_update)?, &at_update)?;
    let params = required(min_rtt_calc_params, &at_baseline)?;
    let percentile = AdaptiveConcurrency::PERCENTILE;
    Ok(AdaptiveConcurrency {
        percentile: share(sample_aggregate_percentile, percentile, &at.field("sample_aggregate_percentile"))?,
        max: count(max_concurrency_limit, &at_limit.field("max_concurrency_limit"))?
            .unwrap_or(AdaptiveConcurrency::MAX),
        lower_bound: count(min_concurrency_limit, &at_limit.field("min_concurrency_limit"))?,
        ..over_baseline(update, params, &at_baseline)?
    })
}

/// A baseline that is given is not measured.
fn over_baseline(update: Duration, value: MinimumRttCalculationParams, at: &At<'_>) -> Decoded<AdaptiveConcurrency> {
    take!(value, at, MinimumRttCalculationParams {
        used { interval, fixed_value, request_count, jitter, min_concurrency, buffer }
        harmless {}
        refused {}
    });
    let fixed = fixed_value.map(|value| time(value, &at.field("fixed_value"))).transpose()?;
    let interval = interval.map(|value| time(value, &at.field("interval"))).transpose()?;
    let requests = count(request_count, &at.field("request_count"))?.unwrap_or(Measuring::REQUESTS);
    let jitter_percent = share(jitter, Measuring::JITTER_PERCENT, &at.field("jitter"))?;
    let baseline = match (fixed, interval) {
        (Some(fixed), _) => Baseline::Fixed(fixed),
        (None, Some(interval)) => Baseline::Measured(Measuring { interval, jitter_percent, requests }),
        (None, None) => return Err(at.error("says no baseline", "`interval` or `fixed_value`")),
    };
    let min = count(min_concurrency, &at.field("min_concurrency"))?.unwrap_or(AdaptiveConcurrency::MIN);
    let buffer_percent = share(buffer, AdaptiveConcurrency::BUFFER_PERCENT, &at.field("buffer"))?;
    Ok(AdaptiveConcurrency { min, buffer_percent, ..AdaptiveConcurrency::new(update, baseline) })
}

fn time(value: protobuf::Duration, at: &At<'_>) -> Decoded<Duration> {
    match duration(value, at)? {
        time if time >= SHORTEST => Ok(time),
        time => Err(at.error(format!("is {}", base::format_duration(time)), "at least 1 ms")),
    }
}

fn count(value: Option<UInt32Value>, at: &At<'_>) -> Decoded<Option<u32>> {
    match value.map(|value| value.value) {
        Some(0) => Err(at.error("is 0", "one or more")),
        count => Ok(count),
    }
}

fn share(value: Option<Percent>, default: f64, at: &At<'_>) -> Decoded<f64> {
    value.map_or(Ok(default), |value| percent(value, at))
}
