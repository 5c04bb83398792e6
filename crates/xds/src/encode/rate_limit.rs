//! What requests are counted by, and what both filters of rate limits share.

mod expression;
mod global;
mod local;

use model::rate_limit::{DescriptorAction, DescriptorRule, Fill, HostLimits};
use proto::envoy::config::route::v3 as wire;
use proto::envoy::config::route::v3::rate_limit::action::{
    ActionSpecifier, DestinationCluster, GenericKey, HeaderValueMatch, MaskedRemoteAddress, MetaData,
    QueryParameterValueMatch, QueryParameters, RemoteAddress, RequestHeaders, SourceCluster, meta_data,
};
use proto::envoy::config::route::v3::rate_limit::{Action, HitsAddend, XRateLimitOption};
use proto::envoy::extensions::common::ratelimit::v3::{VhRateLimitsOptions, XRateLimitHeadersRfcVersion};
use proto::envoy::r#type::metadata::v3::MetadataKey;
use proto::envoy::r#type::metadata::v3::metadata_key::{PathSegment, path_segment};
use proto::envoy::r#type::v3::{HttpStatus, TokenBucket};
use proto::google::protobuf::{BoolValue, UInt64Value};

use super::{duration, matcher, number};

pub(super) use global::{GLOBAL_FILTER, global, global_route};
pub(super) use local::{LOCAL_FILTER, local};

pub(super) fn rules(rules: &[DescriptorRule]) -> Vec<wire::RateLimit> {
    rules.iter().map(rule).collect()
}

fn rule(rule: &DescriptorRule) -> wire::RateLimit {
    wire::RateLimit {
        stage: if rule.stage > 0 { number(rule.stage) } else { None },
        disable_key: rule.disable_key.clone(),
        actions: rule.actions.iter().map(|one| Action { action_specifier: Some(action(one)) }).collect(),
        hits_addend: rule.hits.map(|value| HitsAddend { number: Some(UInt64Value { value }), ..HitsAddend::default() }),
        x_ratelimit_option: match rule.tells_limits {
            None => XRateLimitOption::Unspecified,
            Some(false) => XRateLimitOption::Off,
            Some(true) => XRateLimitOption::DraftVersion03,
        } as i32,
        ..wire::RateLimit::default()
    }
}

fn action(action: &DescriptorAction) -> ActionSpecifier {
    match action {
        DescriptorAction::SourceCluster => ActionSpecifier::SourceCluster(SourceCluster {}),
        DescriptorAction::DestinationCluster => ActionSpecifier::DestinationCluster(DestinationCluster {}),
        DescriptorAction::RemoteAddress => ActionSpecifier::RemoteAddress(RemoteAddress {}),
        DescriptorAction::Header { name, key, skip_if_absent } => ActionSpecifier::RequestHeaders(RequestHeaders {
            header_name: name.as_str().to_owned(),
            descriptor_key: key.clone(),
            skip_if_absent: *skip_if_absent,
        }),
        DescriptorAction::Query { name, key, skip_if_absent } => ActionSpecifier::QueryParameters(QueryParameters {
            query_parameter_name: name.clone(),
            descriptor_key: key.clone(),
            skip_if_absent: *skip_if_absent,
        }),
        DescriptorAction::MaskedRemoteAddress { v4, v6 } => ActionSpecifier::MaskedRemoteAddress(MaskedRemoteAddress {
            v4_prefix_mask_len: number((*v4).into()),
            v6_prefix_mask_len: number((*v6).into()),
        }),
        DescriptorAction::Fixed { key, value } => ActionSpecifier::GenericKey(GenericKey {
            descriptor_value: value.clone(),
            descriptor_key: key.clone(),
            ..GenericKey::default()
        }),
        DescriptorAction::Metadata { key, filter, path, default, skip_if_absent } => {
            let segment = |name: &String| PathSegment { segment: Some(path_segment::Segment::Key(name.clone())) };
            ActionSpecifier::Metadata(MetaData {
                descriptor_key: key.clone(),
                metadata_key: Some(MetadataKey { key: filter.clone(), path: path.iter().map(segment).collect() }),
                default_value: default.clone(),
                source: meta_data::Source::Dynamic as i32,
                skip_if_absent: *skip_if_absent,
            })
        }
        DescriptorAction::Fact { key, fact, skip_if_absent } => {
            ActionSpecifier::Extension(expression::extension(key, *fact, *skip_if_absent))
        }
        DescriptorAction::HeaderMatch { key, value, expected, headers } => {
            ActionSpecifier::HeaderValueMatch(HeaderValueMatch {
                descriptor_value: value.clone(),
                descriptor_key: key.clone(),
                expect_match: unless_true(*expected),
                headers: headers.iter().map(matcher::header).collect(),
                ..HeaderValueMatch::default()
            })
        }
        DescriptorAction::QueryMatch { key, value, expected, parameters } => {
            ActionSpecifier::QueryParameterValueMatch(QueryParameterValueMatch {
                descriptor_value: value.clone(),
                descriptor_key: key.clone(),
                expect_match: unless_true(*expected),
                query_parameters: parameters.iter().map(matcher::query).collect(),
                ..QueryParameterValueMatch::default()
            })
        }
    }
}

/// A flag that is on when it is absent.
fn unless_true(value: bool) -> Option<BoolValue> {
    (!value).then_some(BoolValue { value })
}

fn fill(fill: &Fill) -> TokenBucket {
    TokenBucket {
        max_tokens: fill.max,
        tokens_per_fill: number(fill.per_interval),
        fill_interval: Some(duration(fill.interval)),
    }
}

/// A status that is left out when it is Envoy's default.
fn status(status: u16, default: u16) -> Option<HttpStatus> {
    (status != default).then(|| HttpStatus { code: status.into() })
}

fn tells_limits(tells: bool) -> i32 {
    if tells { XRateLimitHeadersRfcVersion::DraftVersion03 as i32 } else { XRateLimitHeadersRfcVersion::Off as i32 }
}

fn host_limits(limits: HostLimits) -> i32 {
    match limits {
        HostLimits::Override => VhRateLimitsOptions::Override as i32,
        HostLimits::Include => VhRateLimitsOptions::Include as i32,
        HostLimits::Ignore => VhRateLimitsOptions::Ignore as i32,
    }
}
