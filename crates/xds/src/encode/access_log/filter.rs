//! What access logs are told of.

use model::access_log::{Comparison, LogFilter, Ordering};
use proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use proto::envoy::config::accesslog::v3::comparison_filter::Op;
use proto::envoy::config::accesslog::v3::extension_filter::ConfigType;
use proto::envoy::config::accesslog::v3::{
    AccessLogFilter, AndFilter, ComparisonFilter, DurationFilter, ExtensionFilter, GrpcStatusFilter, OrFilter,
    ResponseFlagFilter, StatusCodeFilter,
};
use proto::envoy::config::core::v3::RuntimeUInt32;
use proto::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;

use crate::encode::pack;
use crate::expressions::{OWN_ANSWER, TERMINATED};

/// Envoy asks for the name of a number that could be set at run time; it has none here.
const RUNTIME_KEY: &str = "halcyon.unset";

pub(super) fn filter(filter: &LogFilter) -> AccessLogFilter {
    let all = |filters: &[LogFilter]| filters.iter().map(self::filter).collect();
    let specifier = match filter {
        LogFilter::Status(with) => {
            FilterSpecifier::StatusCodeFilter(StatusCodeFilter { comparison: Some(comparison(*with)) })
        }
        LogFilter::Duration(with) => {
            FilterSpecifier::DurationFilter(DurationFilter { comparison: Some(comparison(*with)) })
        }
        LogFilter::Flags(flags) => FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter {
            flags: flags.iter().map(|f| (**f).to_owned()).collect(),
        }),
        LogFilter::GrpcStatus { codes, exclude } => FilterSpecifier::GrpcStatusFilter(GrpcStatusFilter {
            statuses: codes.iter().map(|code| *code as i32).collect(),
            exclude: *exclude,
        }),
        LogFilter::OwnAnswer => expression(OWN_ANSWER),
        LogFilter::Terminated => expression(TERMINATED),
        LogFilter::Expression(it) => expression(it.text()),
        LogFilter::And(filters) => FilterSpecifier::AndFilter(AndFilter { filters: all(filters) }),
        LogFilter::Or(filters) => FilterSpecifier::OrFilter(OrFilter { filters: all(filters) }),
    };
    AccessLogFilter { filter_specifier: Some(specifier) }
}

fn comparison(with: Comparison) -> ComparisonFilter {
    let op = match with.is {
        Ordering::Equal => Op::Eq,
        Ordering::AtLeast => Op::Ge,
        Ordering::AtMost => Op::Le,
        Ordering::NotEqual => Op::Ne,
    };
    let value = RuntimeUInt32 { default_value: with.than, runtime_key: RUNTIME_KEY.to_owned() };
    ComparisonFilter { op: op as i32, value: Some(value) }
}

fn expression(text: &str) -> FilterSpecifier {
    let config = ExpressionFilter { expression: text.to_owned(), ..ExpressionFilter::default() };
    FilterSpecifier::ExtensionFilter(ExtensionFilter {
        name: "envoy.access_loggers.extension_filters.cel".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&config))),
    })
}
