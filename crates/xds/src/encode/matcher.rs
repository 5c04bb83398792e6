//! Matching of texts, headers and query parameters, and shares.

use model::matcher::{HeaderMatch, QueryMatch, QueryValue, ValueMatch};
use model::metadata::MetadataValue;
use model::{Fraction, MetadataMatch, Pattern, StringMatch};
use proto::envoy::config::core::v3::RuntimeFractionalPercent;
use proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use proto::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use proto::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher};
use proto::envoy::r#type::matcher::v3::metadata_matcher::{PathSegment, path_segment::Segment};
use proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use proto::envoy::r#type::matcher::v3::{
    DoubleMatcher, ListMatcher, MetadataMatcher, OrMatcher, RegexMatcher, StringMatcher, ValueMatcher, double_matcher,
    list_matcher,
};
use proto::envoy::r#type::v3::{DoubleRange, FractionalPercent, Int64Range, fractional_percent::DenominatorType};

pub(super) fn string(text: &StringMatch) -> StringMatcher {
    let (pattern, ignore_case) = match text {
        StringMatch::Exact { value, ignore_case } => (MatchPattern::Exact(value.clone()), *ignore_case),
        StringMatch::Prefix { value, ignore_case } => (MatchPattern::Prefix(value.clone()), *ignore_case),
        StringMatch::Suffix { value, ignore_case } => (MatchPattern::Suffix(value.clone()), *ignore_case),
        StringMatch::Contains { value, ignore_case } => (MatchPattern::Contains(value.clone()), *ignore_case),
        StringMatch::Regex(pattern) => (MatchPattern::SafeRegex(regex(pattern)), false),
    };
    StringMatcher { ignore_case, match_pattern: Some(pattern) }
}

pub(super) fn regex(pattern: &Pattern) -> RegexMatcher {
    RegexMatcher { regex: pattern.as_str().to_owned(), engine_type: None }
}

pub(super) fn header(header: &HeaderMatch) -> HeaderMatcher {
    let specifier = match &header.value {
        ValueMatch::Present(present) => HeaderMatchSpecifier::PresentMatch(*present),
        ValueMatch::Text(text) => HeaderMatchSpecifier::StringMatch(string(text)),
        ValueMatch::Range { start, end } => HeaderMatchSpecifier::RangeMatch(Int64Range { start: *start, end: *end }),
    };
    HeaderMatcher {
        name: header.key.as_str().to_owned(),
        invert_match: header.invert,
        treat_missing_header_as_empty: header.missing_as_empty,
        header_match_specifier: Some(specifier),
    }
}

pub(super) fn query(query: &QueryMatch) -> QueryParameterMatcher {
    let specifier = match &query.value {
        QueryValue::Present(present) => QueryParameterMatchSpecifier::PresentMatch(*present),
        QueryValue::Text(text) => QueryParameterMatchSpecifier::StringMatch(string(text)),
    };
    QueryParameterMatcher { name: query.name.clone(), query_parameter_match_specifier: Some(specifier) }
}

pub(super) fn metadata(condition: &MetadataMatch) -> MetadataMatcher {
    let segment = |key: &String| PathSegment { segment: Some(Segment::Key(key.clone())) };
    MetadataMatcher {
        filter: condition.filter.clone(),
        path: condition.path.iter().map(segment).collect(),
        value: Some(metadata_value(&condition.value)),
        invert: condition.invert,
    }
}

fn metadata_value(value: &MetadataValue) -> ValueMatcher {
    use proto::envoy::r#type::matcher::v3::value_matcher::{MatchPattern as Pattern, NullMatch};
    let number = |pattern| Pattern::DoubleMatch(DoubleMatcher { match_pattern: Some(pattern) });
    let pattern = match value {
        MetadataValue::Null => Pattern::NullMatch(NullMatch {}),
        MetadataValue::Number(it) => number(double_matcher::MatchPattern::Exact(*it)),
        MetadataValue::Range { start, end } => {
            number(double_matcher::MatchPattern::Range(DoubleRange { start: *start, end: *end }))
        }
        MetadataValue::Text(text) => Pattern::StringMatch(string(text)),
        MetadataValue::Bool(wanted) => Pattern::BoolMatch(*wanted),
        MetadataValue::Present(wanted) => Pattern::PresentMatch(*wanted),
        MetadataValue::OneOf(member) => {
            let member = list_matcher::MatchPattern::OneOf(Box::new(metadata_value(member)));
            Pattern::ListMatch(Box::new(ListMatcher { match_pattern: Some(member) }))
        }
        MetadataValue::Any(any) => {
            Pattern::OrMatch(OrMatcher { value_matchers: any.iter().map(metadata_value).collect() })
        }
    };
    ValueMatcher { match_pattern: Some(pattern) }
}

pub(super) fn percent(share: Fraction) -> FractionalPercent {
    FractionalPercent { numerator: share.as_millionths(), denominator: DenominatorType::Million as i32 }
}

pub(super) fn runtime_percent(share: Fraction) -> RuntimeFractionalPercent {
    RuntimeFractionalPercent { default_value: Some(percent(share)), runtime_key: String::new() }
}
