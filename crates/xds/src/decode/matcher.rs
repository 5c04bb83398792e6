//! Matching of texts, headers and query parameters, and shares.

use model::matcher::{HeaderKey, HeaderMatch, QueryMatch, QueryValue, ValueMatch};
use model::metadata::MetadataValue;
use model::{Fraction, MetadataMatch, Pattern, StringMatch};
use proto::envoy::config::core::v3::RuntimeFractionalPercent;
use proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use proto::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use proto::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher};
use proto::envoy::r#type::matcher::v3::metadata_matcher::path_segment::Segment;
use proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use proto::envoy::r#type::matcher::v3::{
    MetadataMatcher, RegexMatcher, StringMatcher, ValueMatcher, double_matcher, list_matcher,
};
use proto::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};

use super::{At, Decoded, each, filled, required, take};

pub(super) fn string(value: StringMatcher, at: &At<'_>) -> Decoded<StringMatch> {
    take!(value, at, StringMatcher {
        used { ignore_case, match_pattern }
        harmless {}
        refused {}
    });
    Ok(match required(match_pattern, at)? {
        MatchPattern::Exact(value) => StringMatch::Exact { value, ignore_case },
        MatchPattern::Prefix(value) => StringMatch::Prefix { value, ignore_case },
        MatchPattern::Suffix(value) => StringMatch::Suffix { value, ignore_case },
        MatchPattern::Contains(value) => StringMatch::Contains { value, ignore_case },
        MatchPattern::SafeRegex(value) => StringMatch::Regex(regex(value, &at.field("safe_regex"))?),
        MatchPattern::Custom(_) => {
            return Err(at.field("custom").unsupported("exact, prefix, suffix, contains or safe_regex"));
        }
    })
}

/// A pattern for whole texts.
pub(super) fn regex(value: RegexMatcher, at: &At<'_>) -> Decoded<Pattern> {
    compiled(value, at, Pattern::new)
}

/// A pattern for parts of texts.
pub(super) fn search(value: RegexMatcher, at: &At<'_>) -> Decoded<Pattern> {
    compiled(value, at, Pattern::search)
}

fn compiled(
    value: RegexMatcher,
    at: &At<'_>,
    compile: impl Fn(&str) -> Result<Pattern, model::matcher::PatternError>,
) -> Decoded<Pattern> {
    // There is one engine.
    take!(value, at, RegexMatcher {
        used { regex }
        harmless { engine_type }
        refused {}
    });
    compile(&regex).map_err(|error| at.field("regex").error(error.to_string(), "a pattern in RE2's syntax"))
}

pub(super) fn header(value: HeaderMatcher, at: &At<'_>) -> Decoded<HeaderMatch> {
    take!(value, at, HeaderMatcher {
        used { name, invert_match, treat_missing_header_as_empty, header_match_specifier }
        harmless {}
        refused {}
    });
    let key = key(&name, &at.field("name"))?;
    let value = match header_match_specifier {
        // Envoy: without a condition the header must be there.
        None => ValueMatch::Present(true),
        Some(specifier) => header_value(specifier, at)?,
    };
    Ok(HeaderMatch { key, value, invert: invert_match, missing_as_empty: treat_missing_header_as_empty })
}

/// The part of a head that a name stands for.
pub(super) fn key(name: &str, at: &At<'_>) -> Decoded<HeaderKey> {
    HeaderKey::parse(name)
        .ok_or_else(|| at.error(format!("is {name:?}"), "a header's name, or one of HTTP/2's pseudo-headers"))
}

#[allow(deprecated)]
fn header_value(specifier: HeaderMatchSpecifier, at: &At<'_>) -> Decoded<ValueMatch> {
    let ignore_case = false;
    Ok(ValueMatch::Text(match specifier {
        HeaderMatchSpecifier::PresentMatch(present) => return Ok(ValueMatch::Present(present)),
        HeaderMatchSpecifier::RangeMatch(range) => {
            return Ok(ValueMatch::Range { start: range.start, end: range.end });
        }
        HeaderMatchSpecifier::StringMatch(text) => string(text, &at.field("string_match"))?,
        HeaderMatchSpecifier::ExactMatch(value) => StringMatch::Exact { value, ignore_case },
        HeaderMatchSpecifier::PrefixMatch(value) => StringMatch::Prefix { value, ignore_case },
        HeaderMatchSpecifier::SuffixMatch(value) => StringMatch::Suffix { value, ignore_case },
        HeaderMatchSpecifier::ContainsMatch(value) => StringMatch::Contains { value, ignore_case },
        HeaderMatchSpecifier::SafeRegexMatch(value) => StringMatch::Regex(regex(value, &at.field("safe_regex_match"))?),
    }))
}

pub(super) fn query(value: QueryParameterMatcher, at: &At<'_>) -> Decoded<QueryMatch> {
    take!(value, at, QueryParameterMatcher {
        used { name, query_parameter_match_specifier }
        harmless {}
        refused {}
    });
    let value = match query_parameter_match_specifier {
        None => QueryValue::Present(true),
        Some(QueryParameterMatchSpecifier::PresentMatch(present)) => QueryValue::Present(present),
        Some(QueryParameterMatchSpecifier::StringMatch(text)) => {
            QueryValue::Text(string(text, &at.field("string_match"))?)
        }
    };
    Ok(QueryMatch { name, value })
}

/// A condition on what filters say of an exchange.
pub(super) fn metadata(value: MetadataMatcher, at: &At<'_>) -> Decoded<MetadataMatch> {
    take!(value, at, MetadataMatcher {
        used { filter, path, value, invert }
        harmless {}
        refused {}
    });
    let filter = named(filter, &at.field("filter"))?;
    let at_path = at.field("path");
    let path = each(filled(path, &at_path)?, &at_path, |segment, at| {
        let Segment::Key(key) = required(segment.segment, at)?;
        named(key, &at.field("key"))
    })?;
    let value = required(value, &at.field("value"))?;
    Ok(MetadataMatch { filter, path, value: metadata_value(value, &at.field("value"))?, invert })
}

fn named(name: String, at: &At<'_>) -> Decoded<String> {
    if name.is_empty() { Err(at.error("is empty", "a name")) } else { Ok(name) }
}

fn metadata_value(value: ValueMatcher, at: &At<'_>) -> Decoded<MetadataValue> {
    use proto::envoy::r#type::matcher::v3::value_matcher::MatchPattern as Pattern;
    Ok(match required(value.match_pattern, at)? {
        Pattern::NullMatch(_) => MetadataValue::Null,
        Pattern::DoubleMatch(number) => match required(number.match_pattern, &at.field("double_match"))? {
            double_matcher::MatchPattern::Exact(number) => MetadataValue::Number(number),
            double_matcher::MatchPattern::Range(range) => MetadataValue::Range { start: range.start, end: range.end },
        },
        Pattern::StringMatch(text) => MetadataValue::Text(string(text, &at.field("string_match"))?),
        Pattern::BoolMatch(wanted) => MetadataValue::Bool(wanted),
        Pattern::PresentMatch(wanted) => MetadataValue::Present(wanted),
        Pattern::ListMatch(list) => {
            let at = at.field("list_match");
            let list_matcher::MatchPattern::OneOf(member) = required(list.match_pattern, &at)?;
            MetadataValue::OneOf(Box::new(metadata_value(*member, &at.field("one_of"))?))
        }
        Pattern::OrMatch(any) => {
            MetadataValue::Any(each(any.value_matchers, &at.field("or_match.value_matchers"), metadata_value)?)
        }
    })
}

/// A share; more than all is all.
pub(super) fn percent(value: FractionalPercent, at: &At<'_>) -> Decoded<Fraction> {
    let per_unit = match DenominatorType::try_from(value.denominator) {
        Ok(DenominatorType::Hundred) => 10_000,
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
        Err(_) => {
            let problem = format!("is {}", value.denominator);
            return Err(at.field("denominator").error(problem, "HUNDRED, TEN_THOUSAND or MILLION"));
        }
    };
    Ok(Fraction::millionths(value.numerator.saturating_mul(per_unit)))
}

pub(super) fn runtime_percent(value: RuntimeFractionalPercent, at: &At<'_>) -> Decoded<Fraction> {
    // There is no runtime here that could overrule the default.
    take!(value, at, RuntimeFractionalPercent {
        used { default_value }
        harmless { runtime_key }
        refused {}
    });
    let at = at.field("default_value");
    percent(required(default_value, &at)?, &at)
}
