//! What access logs are told of.

use std::sync::Arc;

use model::access_log::{Comparison, LogFilter, Ordering};
use proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use proto::envoy::config::accesslog::v3::comparison_filter::Op;
use proto::envoy::config::accesslog::v3::extension_filter::ConfigType;
use proto::envoy::config::accesslog::v3::{AccessLogFilter, ComparisonFilter, ExtensionFilter, GrpcStatusFilter};
use proto::envoy::config::core::v3::RuntimeUInt32;
use proto::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;

use crate::decode::{self, At, Decoded, each, required, take, unpack};
use crate::expressions::{OWN_ANSWER, TERMINATED};

pub(super) fn filter(value: AccessLogFilter, at: &At<'_>) -> Decoded<LogFilter> {
    Ok(match required(value.filter_specifier, at)? {
        FilterSpecifier::StatusCodeFilter(filter) => {
            LogFilter::Status(comparison(filter.comparison, &at.field("status_code_filter"))?)
        }
        FilterSpecifier::DurationFilter(filter) => {
            LogFilter::Duration(comparison(filter.comparison, &at.field("duration_filter"))?)
        }
        FilterSpecifier::ResponseFlagFilter(filter) => {
            LogFilter::Flags(each(filter.flags, &at.field("response_flag_filter").field("flags"), flag)?)
        }
        FilterSpecifier::GrpcStatusFilter(filter) => grpc_status(filter, &at.field("grpc_status_filter"))?,
        FilterSpecifier::ExtensionFilter(filter) => expression(filter, &at.field("extension_filter"))?,
        FilterSpecifier::AndFilter(filters) => LogFilter::And(several(filters.filters, &at.field("and_filter"))?),
        FilterSpecifier::OrFilter(filters) => LogFilter::Or(several(filters.filters, &at.field("or_filter"))?),
        FilterSpecifier::NotHealthCheckFilter(_) => return Err(unsupported(at, "not_health_check_filter")),
        FilterSpecifier::TraceableFilter(_) => return Err(unsupported(at, "traceable_filter")),
        FilterSpecifier::RuntimeFilter(_) => return Err(unsupported(at, "runtime_filter")),
        FilterSpecifier::HeaderFilter(_) => return Err(unsupported(at, "header_filter")),
        FilterSpecifier::MetadataFilter(_) => return Err(unsupported(at, "metadata_filter")),
        FilterSpecifier::LogTypeFilter(_) => return Err(unsupported(at, "log_type_filter")),
    })
}

fn unsupported(at: &At<'_>, field: &str) -> crate::decode::DecodeError {
    at.field(field).unsupported(
        "status_code_filter, duration_filter, response_flag_filter, grpc_status_filter, and_filter, or_filter",
    )
}

fn several(filters: Vec<AccessLogFilter>, at: &At<'_>) -> Decoded<Vec<LogFilter>> {
    if filters.len() < 2 {
        return Err(at.field("filters").error(format!("has {}", filters.len()), "two filters at least"));
    }
    each(filters, &at.field("filters"), filter)
}

fn comparison(value: Option<ComparisonFilter>, at: &At<'_>) -> Decoded<Comparison> {
    let at = at.field("comparison");
    take!(required(value, &at)?, at, ComparisonFilter {
        used { op, value }
        harmless {}
        refused {}
    });
    let is = match Op::try_from(op) {
        Ok(Op::Eq) => Ordering::Equal,
        Ok(Op::Ge) => Ordering::AtLeast,
        Ok(Op::Le) => Ordering::AtMost,
        Ok(Op::Ne) => Ordering::NotEqual,
        Err(_) => return Err(at.field("op").error(format!("is {op}"), "EQ, GE, LE or NE")),
    };
    // There is no runtime here that could set it to another value.
    take!(required(value, &at.field("value"))?, at, RuntimeUInt32 {
        used { default_value }
        harmless { runtime_key }
        refused {}
    });
    Ok(Comparison { is, than: default_value })
}

/// Which flags there are, the proxy knows.
fn flag(code: String, at: &At<'_>) -> Decoded<Arc<str>> {
    if code.is_empty() { Err(at.error("is empty", "a response flag such as `UF`")) } else { Ok(code.into()) }
}

fn grpc_status(value: GrpcStatusFilter, at: &At<'_>) -> Decoded<LogFilter> {
    let code = |status: i32, at: &At<'_>| match u32::try_from(status) {
        Ok(code @ 0..=16) => Ok(code),
        _ => Err(at.error(format!("is {status}"), "a status of gRPC, 0 to 16")),
    };
    Ok(LogFilter::GrpcStatus { codes: each(value.statuses, &at.field("statuses"), code)?, exclude: value.exclude })
}

fn expression(value: ExtensionFilter, at: &At<'_>) -> Decoded<LogFilter> {
    let at = at.field("typed_config");
    let ConfigType::TypedConfig(any) = required(value.config_type, &at)?;
    take!(unpack::<ExpressionFilter>(&any, &at)?, at, ExpressionFilter {
        used { expression }
        harmless {}
        refused { cel_config }
    });
    match expression.as_str() {
        OWN_ANSWER => Ok(LogFilter::OwnAnswer),
        TERMINATED => Ok(LogFilter::Terminated),
        other => decode::expression(other, &at.field("expression")).map(LogFilter::Expression),
    }
}
