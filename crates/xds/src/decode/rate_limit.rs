//! What requests are counted by, and what both filters of rate limits share.

mod global;
mod local;

use std::time::Duration;

use model::rate_limit::{DescriptorAction, DescriptorRule, Fill, HostLimits};
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::config::route::v3 as wire;
use proto::envoy::config::route::v3::rate_limit::action::{
    ActionSpecifier, GenericKey, HeaderValueMatch, MaskedRemoteAddress, MetaData, QueryParameterValueMatch,
    QueryParameters, RequestHeaders, meta_data,
};
use proto::envoy::config::route::v3::rate_limit::{HitsAddend, XRateLimitOption};
use proto::envoy::extensions::common::ratelimit::v3 as common;
use proto::envoy::extensions::rate_limit_descriptors::expr::v3::Descriptor as Expression;
use proto::envoy::extensions::rate_limit_descriptors::expr::v3::descriptor::ExprSpecifier;
use proto::envoy::r#type::metadata::v3::MetadataKey;
use proto::envoy::r#type::metadata::v3::metadata_key::{PathSegment, path_segment};
use proto::envoy::r#type::v3::{HttpStatus, TokenBucket};
use proto::google::protobuf::{BoolValue, UInt32Value};

use super::{At, Decoded, duration, each, filled, matcher, required, take, type_name, unpack};
use crate::expressions;

pub(super) use global::{GLOBAL, GLOBAL_ROUTE, global, global_route};
pub(super) use local::{LOCAL, local, local_route};

/// The one extension that makes entries of descriptors.
const EXPRESSION: &str = "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor";
/// Envoy's highest number of a stage.
const LAST_STAGE: u32 = 10;
/// Envoy's shortest interval in which a limit fills up.
const SHORTEST_FILL: Duration = Duration::from_millis(50);
/// What Envoy allows one descriptor to count for.
const MOST_HITS: u64 = 1_000_000_000;

/// The rules of a route or a virtual host.
pub(super) fn route_rules(list: Vec<wire::RateLimit>, at: &At<'_>) -> Decoded<Vec<DescriptorRule>> {
    let on_route = |value: wire::RateLimit, at: &At<'_>| {
        at.refuse("hits_addend", &value.hits_addend)?;
        rule(value, at)
    };
    each(list, at, on_route)
}

/// The rules in a filter's own settings, which know no stages.
fn filter_rules(list: Vec<wire::RateLimit>, at: &At<'_>) -> Decoded<Vec<DescriptorRule>> {
    let in_filter = |value: wire::RateLimit, at: &At<'_>| {
        at.refuse("stage", &value.stage)?;
        at.refuse("disable_key", &value.disable_key)?;
        rule(value, at)
    };
    each(list, at, in_filter)
}

fn rule(value: wire::RateLimit, at: &At<'_>) -> Decoded<DescriptorRule> {
    take!(value, at, wire::RateLimit {
        used { stage, disable_key, actions, hits_addend, x_ratelimit_option }
        harmless {}
        refused { limit, apply_on_stream_done }
    });
    let at_hits = at.field("hits_addend");
    Ok(DescriptorRule {
        stage: stage_number(stage.map_or(0, |stage| stage.value), at)?,
        disable_key,
        actions: each(actions, &at.field("actions"), action)?,
        hits: hits_addend.map(|value| hits(value, &at_hits)).transpose()?,
        tells_limits: match XRateLimitOption::try_from(x_ratelimit_option) {
            Ok(XRateLimitOption::Unspecified) => None,
            Ok(XRateLimitOption::Off) => Some(false),
            Ok(XRateLimitOption::DraftVersion03) => Some(true),
            Err(_) => {
                let problem = format!("is {x_ratelimit_option}");
                return Err(at.field("x_ratelimit_option").error(problem, "UNSPECIFIED, OFF or DRAFT_VERSION_03"));
            }
        },
    })
}

fn stage_number(stage: u32, at: &At<'_>) -> Decoded<u32> {
    if stage <= LAST_STAGE { Ok(stage) } else { Err(at.field("stage").error(format!("is {stage}"), "at most 10")) }
}

fn hits(value: HitsAddend, at: &At<'_>) -> Decoded<u64> {
    take!(value, at, HitsAddend {
        used { number }
        harmless {}
        refused { format, is_negative_hits }
    });
    let at_number = at.field("number");
    match required(number, &at_number)?.value {
        hits @ 0..=MOST_HITS => Ok(hits),
        hits => Err(at_number.error(format!("is {hits}"), format!("at most {MOST_HITS}"))),
    }
}

fn action(value: wire::rate_limit::Action, at: &At<'_>) -> Decoded<DescriptorAction> {
    const EXPECTED: &str = "source_cluster, destination_cluster, request_headers, query_parameters, remote_address, \
                            masked_remote_address, generic_key, header_value_match, query_parameter_value_match, metadata or \
                            extension";
    match required(value.action_specifier, at)? {
        ActionSpecifier::SourceCluster(_) => Ok(DescriptorAction::SourceCluster),
        ActionSpecifier::DestinationCluster(_) => Ok(DescriptorAction::DestinationCluster),
        ActionSpecifier::RemoteAddress(_) => Ok(DescriptorAction::RemoteAddress),
        ActionSpecifier::RequestHeaders(value) => by_header(value, &at.field("request_headers")),
        ActionSpecifier::QueryParameters(value) => by_query(value, &at.field("query_parameters")),
        ActionSpecifier::MaskedRemoteAddress(value) => masked(value, &at.field("masked_remote_address")),
        ActionSpecifier::GenericKey(value) => fixed(value, &at.field("generic_key")),
        ActionSpecifier::HeaderValueMatch(value) => header_match(value, &at.field("header_value_match")),
        ActionSpecifier::QueryParameterValueMatch(value) => {
            query_match(value, &at.field("query_parameter_value_match"))
        }
        ActionSpecifier::Metadata(value) => metadata(value, &at.field("metadata")),
        #[allow(deprecated)]
        ActionSpecifier::DynamicMetadata(_) => Err(at.field("dynamic_metadata").unsupported(EXPECTED)),
        ActionSpecifier::Extension(value) => extension(value, &at.field("extension")),
        ActionSpecifier::RemoteAddressMatch(_) => Err(at.field("remote_address_match").unsupported(EXPECTED)),
    }
}

fn by_header(value: RequestHeaders, at: &At<'_>) -> Decoded<DescriptorAction> {
    take!(value, at, RequestHeaders {
        used { header_name, descriptor_key, skip_if_absent }
        harmless {}
        refused {}
    });
    let key = not_empty(descriptor_key, &at.field("descriptor_key"))?;
    Ok(DescriptorAction::Header { name: matcher::key(&header_name, &at.field("header_name"))?, key, skip_if_absent })
}

fn by_query(value: QueryParameters, at: &At<'_>) -> Decoded<DescriptorAction> {
    take!(value, at, QueryParameters {
        used { query_parameter_name, descriptor_key, skip_if_absent }
        harmless {}
        refused {}
    });
    let name = not_empty(query_parameter_name, &at.field("query_parameter_name"))?;
    Ok(DescriptorAction::Query { name, key: not_empty(descriptor_key, &at.field("descriptor_key"))?, skip_if_absent })
}

fn masked(value: MaskedRemoteAddress, at: &At<'_>) -> Decoded<DescriptorAction> {
    take!(value, at, MaskedRemoteAddress {
        used { v4_prefix_mask_len, v6_prefix_mask_len }
        harmless {}
        refused {}
    });
    let bits = |value: Option<UInt32Value>, most: u8, field: &str| match value.map_or(most.into(), |bits| bits.value) {
        bits if bits <= u32::from(most) => Ok(bits as u8),
        bits => Err(at.field(field).error(format!("is {bits}"), format!("at most {most}"))),
    };
    Ok(DescriptorAction::MaskedRemoteAddress {
        v4: bits(v4_prefix_mask_len, 32, "v4_prefix_mask_len")?,
        v6: bits(v6_prefix_mask_len, 128, "v6_prefix_mask_len")?,
    })
}

fn fixed(value: GenericKey, at: &At<'_>) -> Decoded<DescriptorAction> {
    // A default is for values with operators, which Envoy reads only if a flag of its runtime says so.
    take!(value, at, GenericKey {
        used { descriptor_value, descriptor_key }
        harmless { default_value }
        refused {}
    });
    Ok(DescriptorAction::Fixed {
        key: or_default(descriptor_key, "generic_key"),
        value: not_empty(descriptor_value, &at.field("descriptor_value"))?,
    })
}

/// Only what filters have said of the request.
fn metadata(value: MetaData, at: &At<'_>) -> Decoded<DescriptorAction> {
    take!(value, at, MetaData {
        used { descriptor_key, metadata_key, default_value, source, skip_if_absent }
        harmless {}
        refused {}
    });
    if source != meta_data::Source::Dynamic as i32 {
        return Err(at.field("source").error("is not DYNAMIC", "DYNAMIC, which filters of the request write"));
    }
    let at_key = at.field("metadata_key");
    let MetadataKey { key: filter, path } = required(metadata_key, &at_key)?;
    let segment = |one: PathSegment, at: &At<'_>| match one.segment {
        Some(path_segment::Segment::Key(name)) => not_empty(name, &at.field("key")),
        Some(path_segment::Segment::Index(_)) => Err(at.field("index").unsupported("a `key`")),
        None => Err(at.error("is empty", "a key")),
    };
    Ok(DescriptorAction::Metadata {
        key: not_empty(descriptor_key, &at.field("descriptor_key"))?,
        filter: not_empty(filter, &at_key.field("key"))?,
        path: each(filled(path, &at_key.field("path"))?, &at_key.field("path"), segment)?,
        default: default_value,
        skip_if_absent,
    })
}

/// Of Envoy's expressions those that stand for what is known here.
fn extension(value: TypedExtensionConfig, at: &At<'_>) -> Decoded<DescriptorAction> {
    let at_config = at.field("typed_config");
    let any = required(value.typed_config, &at_config)?;
    if type_name(&any.type_url) != EXPRESSION {
        let problem = format!("is of type `{}`", any.type_url);
        return Err(at_config.error(problem, format!("`{EXPRESSION}`")));
    }
    take!(unpack::<Expression>(&any, &at_config)?, at_config, Expression {
        used { descriptor_key, skip_if_error, expr_specifier }
        harmless {}
        refused {}
    });
    let fact = match expr_specifier {
        Some(ExprSpecifier::Text(text)) => expressions::fact_of(&text)
            .ok_or_else(|| at_config.field("text").error(format!("is `{text}`"), expressions::known()))?,
        _ => return Err(at_config.field("text").error("is missing", expressions::known())),
    };
    Ok(DescriptorAction::Fact {
        key: not_empty(descriptor_key, &at_config.field("descriptor_key"))?,
        fact,
        skip_if_absent: skip_if_error,
    })
}

fn header_match(value: HeaderValueMatch, at: &At<'_>) -> Decoded<DescriptorAction> {
    // As above.
    take!(value, at, HeaderValueMatch {
        used { descriptor_value, descriptor_key, expect_match, headers }
        harmless { default_value }
        refused {}
    });
    let at_headers = at.field("headers");
    let headers = filled(headers, &at_headers)?;
    Ok(DescriptorAction::HeaderMatch {
        key: or_default(descriptor_key, "header_match"),
        value: not_empty(descriptor_value, &at.field("descriptor_value"))?,
        expected: unless_false(expect_match),
        headers: each(headers, &at_headers, matcher::header)?,
    })
}

fn query_match(value: QueryParameterValueMatch, at: &At<'_>) -> Decoded<DescriptorAction> {
    // As above.
    take!(value, at, QueryParameterValueMatch {
        used { descriptor_value, descriptor_key, expect_match, query_parameters }
        harmless { default_value }
        refused {}
    });
    let at_parameters = at.field("query_parameters");
    let query_parameters = filled(query_parameters, &at_parameters)?;
    Ok(DescriptorAction::QueryMatch {
        key: or_default(descriptor_key, "query_match"),
        value: not_empty(descriptor_value, &at.field("descriptor_value"))?,
        expected: unless_false(expect_match),
        parameters: each(query_parameters, &at_parameters, matcher::query)?,
    })
}

fn not_empty(text: String, at: &At<'_>) -> Decoded<String> {
    if text.is_empty() { Err(at.error("is missing", "a text")) } else { Ok(text) }
}

fn or_default(key: String, default: &str) -> String {
    if key.is_empty() { default.to_owned() } else { key }
}

fn unless_false(value: Option<BoolValue>) -> bool {
    value.is_none_or(|value| value.value)
}

/// How a limit fills up.
fn fill(value: TokenBucket, at: &At<'_>) -> Decoded<Fill> {
    take!(value, at, TokenBucket {
        used { max_tokens, tokens_per_fill, fill_interval }
        harmless {}
        refused {}
    });
    let at_interval = at.field("fill_interval");
    let interval = duration(required(fill_interval, &at_interval)?, &at_interval)?;
    if interval < SHORTEST_FILL {
        return Err(at_interval.error(format!("is {interval:?}"), "at least 50 ms"));
    }
    match tokens_per_fill.map_or(1, |tokens| tokens.value) {
        0 => Err(at.field("tokens_per_fill").error("is 0", "one or more")),
        per_interval => Ok(Fill { max: max_tokens, per_interval, interval }),
    }
}

/// The status of an answer to a request that is one too many: what is no error is Envoy's 429.
fn limited_status(value: Option<HttpStatus>, at: &At<'_>) -> Decoded<u16> {
    match value.map_or(0, |status| status.code) {
        code if code < 400 => Ok(429),
        code @ 400..600 => Ok(code as u16),
        code => Err(at.error(format!("is {code}"), "a status of 400 to 599")),
    }
}

fn tells_limits(value: i32, at: &At<'_>) -> Decoded<bool> {
    match common::XRateLimitHeadersRfcVersion::try_from(value) {
        Ok(common::XRateLimitHeadersRfcVersion::Off) => Ok(false),
        Ok(common::XRateLimitHeadersRfcVersion::DraftVersion03) => Ok(true),
        Err(_) => Err(at.error(format!("is {value}"), "OFF or DRAFT_VERSION_03")),
    }
}

fn host_limits(value: i32, at: &At<'_>) -> Decoded<HostLimits> {
    match common::VhRateLimitsOptions::try_from(value) {
        Ok(common::VhRateLimitsOptions::Override) => Ok(HostLimits::Override),
        Ok(common::VhRateLimitsOptions::Include) => Ok(HostLimits::Include),
        Ok(common::VhRateLimitsOptions::Ignore) => Ok(HostLimits::Ignore),
        Err(_) => Err(at.error(format!("is {value}"), "OVERRIDE, INCLUDE or IGNORE")),
    }
}
