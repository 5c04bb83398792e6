//! The fault filter's settings.

use model::fault::{Abort, AbortAnswer, Delay};
use model::{Fault, Fraction};
use proto::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier};
use proto::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType};
use proto::envoy::r#type::v3::FractionalPercent;

use super::{At, Decoded, duration, matcher, take};

pub(super) const HTTP_FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";

pub(super) fn fault(value: HttpFault, at: &At<'_>) -> Decoded<Fault> {
    // There is no runtime here that could overrule the values; the others concern statistics and logs.
    take!(value, at, HttpFault {
        used { delay, abort }
        harmless {
            delay_percent_runtime, abort_percent_runtime, delay_duration_runtime, abort_http_status_runtime,
            max_active_faults_runtime, response_rate_limit_percent_runtime, abort_grpc_status_runtime,
            disable_downstream_cluster_stats, filter_metadata,
        }
        refused { upstream_cluster, headers, downstream_nodes, max_active_faults, response_rate_limit }
    });
    Ok(Fault {
        delay: delay.map(|value| fault_delay(value, &at.field("delay"))).transpose()?,
        abort: abort.map(|value| fault_abort(value, &at.field("abort"))).transpose()?,
    })
}

fn fault_delay(value: FaultDelay, at: &At<'_>) -> Decoded<Delay> {
    take!(value, at, FaultDelay {
        used { percentage, fault_delay_secifier }
        harmless {}
        refused {}
    });
    match fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(long)) => {
            Ok(Delay { duration: duration(long, &at.field("fixed_delay"))?, share: share(percentage, at)? })
        }
        Some(FaultDelaySecifier::HeaderDelay(_)) => Err(at.field("header_delay").unsupported("`fixed_delay`")),
        None => Err(at.field("fixed_delay").error("is missing", "a duration")),
    }
}

fn fault_abort(value: FaultAbort, at: &At<'_>) -> Decoded<Abort> {
    take!(value, at, FaultAbort {
        used { percentage, error_type }
        harmless {}
        refused { response_body }
    });
    let answer = match error_type {
        Some(ErrorType::HttpStatus(status)) if (200..600).contains(&status) => AbortAnswer::Http(status as u16),
        Some(ErrorType::HttpStatus(status)) => {
            return Err(at.field("http_status").error(format!("is {status}"), "a status of 200 to 599"));
        }
        Some(ErrorType::GrpcStatus(status)) => AbortAnswer::Grpc(status),
        Some(ErrorType::HeaderAbort(_)) => {
            return Err(at.field("header_abort").unsupported("`http_status` or `grpc_status`"));
        }
        None => return Err(at.error("has no answer", "`http_status` or `grpc_status`")),
    };
    Ok(Abort { answer, share: share(percentage, at)? })
}

/// Envoy: no share said is none at all.
fn share(value: Option<FractionalPercent>, at: &At<'_>) -> Decoded<Fraction> {
    value.map_or(Ok(Fraction::NONE), |value| matcher::percent(value, &at.field("percentage")))
}
