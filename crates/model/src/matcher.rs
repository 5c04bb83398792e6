//! Matching of text and chance: strings, patterns, headers, query parameters, fractions.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::header::AsHeaderName;
use http::{HeaderMap, HeaderName, HeaderValue};

/// A regular expression with RE2's syntax, for whole texts or (made by [`Pattern::search`]) for parts of them.
/// Equal when its source is equal.
#[derive(Clone)]
pub struct Pattern {
    source: Arc<str>,
    regex: regex::Regex,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a regular expression (RE2 syntax): {reason}")]
pub struct PatternError {
    /// The text as given.
    pub pattern: String,
    /// What the parser says, on one line.
    pub reason: String,
}

/// Compiled size above which a pattern is refused, in bytes.
const MAX_COMPILED: usize = 1 << 20;

impl Pattern {
    /// Compiles `source` to match whole texts.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        Self::compile(source, &format!("^(?:{source})$"))
    }

    /// Compiles `source` to match anywhere in a text.
    pub fn search(source: &str) -> Result<Self, PatternError> {
        Self::compile(source, source)
    }

    fn compile(source: &str, compiled: &str) -> Result<Self, PatternError> {
        let regex =
            regex::RegexBuilder::new(compiled).dot_matches_new_line(true).size_limit(MAX_COMPILED).build().map_err(
                |e| PatternError {
                    pattern: source.to_owned(),
                    reason: e.to_string().lines().last().unwrap_or_default().trim().to_owned(),
                },
            )?;
        Ok(Self { source: source.into(), regex })
    }

    /// The text it was made from.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Every match in `text` becomes `substitution`, in which `\1` stands for a capture, as in RE2.
    pub fn replace_all(&self, text: &str, substitution: &str) -> String {
        self.regex.replace_all(text, re2_substitution(substitution)).into_owned()
    }

    /// Does it match `text`?
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// RE2's `\1` in the words of the crate regex, whose own `$` is made literal.
fn re2_substitution(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some(digit) if digit.is_ascii_digit() => out.push_str(&format!("${{{digit}}}")),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}
impl Eq for Pattern {}
impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
    }
}
impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}

/// How one text is compared (xDS `StringMatcher`). `ignore_case` concerns ASCII letters and never patterns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StringMatch {
    /// The same text.
    Exact {
        /// The text.
        value: String,
        /// Without regard to case.
        ignore_case: bool,
    },
    /// Begins with the text.
    Prefix {
        /// The text.
        value: String,
        /// Without regard to case.
        ignore_case: bool,
    },
    /// Ends with the text.
    Suffix {
        /// The text.
        value: String,
        /// Without regard to case.
        ignore_case: bool,
    },
    /// Has the text somewhere.
    Contains {
        /// The text.
        value: String,
        /// Without regard to case.
        ignore_case: bool,
    },
    /// The whole text matches a regular expression.
    Regex(Pattern),
}

impl StringMatch {
    /// The same text, case and all.
    pub fn exact(value: impl Into<String>) -> Self {
        Self::Exact { value: value.into(), ignore_case: false }
    }

    /// Begins with this text, case and all.
    pub fn prefix(value: impl Into<String>) -> Self {
        Self::Prefix { value: value.into(), ignore_case: false }
    }

    /// Does `text` match?
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact { value, ignore_case: false } => text == value,
            Self::Exact { value, ignore_case: true } => text.eq_ignore_ascii_case(value),
            Self::Prefix { value, ignore_case } => starts_with(text.as_bytes(), value.as_bytes(), *ignore_case),
            Self::Suffix { value, ignore_case } => {
                let (text, value) = (text.as_bytes(), value.as_bytes());
                text.len() >= value.len() && same(&text[text.len() - value.len()..], value, *ignore_case)
            }
            Self::Contains { value, ignore_case: false } => text.contains(value.as_str()),
            Self::Contains { value, ignore_case: true } => {
                value.is_empty()
                    || text.as_bytes().windows(value.len()).any(|w| w.eq_ignore_ascii_case(value.as_bytes()))
            }
            Self::Regex(pattern) => pattern.is_match(text),
        }
    }
}

/// Does `text` begin with `prefix`?
pub(crate) fn starts_with(text: &[u8], prefix: &[u8], ignore_case: bool) -> bool {
    text.len() >= prefix.len() && same(&text[..prefix.len()], prefix, ignore_case)
}

fn same(a: &[u8], b: &[u8], ignore_case: bool) -> bool {
    if ignore_case { a.eq_ignore_ascii_case(b) } else { a == b }
}

/// Which part of a request's head a header match looks at: HTTP/2's pseudo-headers stand beside the real ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HeaderKey {
    /// `:method`
    Method,
    /// `:authority`, or `Host` in HTTP/1.
    Authority,
    /// `:scheme`
    Scheme,
    /// `:path`, with its query.
    Path,
    /// A header.
    Name(HeaderName),
}

impl HeaderKey {
    /// Reads a name; pseudo-headers have their colon.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            ":method" => Self::Method,
            ":authority" => Self::Authority,
            ":scheme" => Self::Scheme,
            ":path" => Self::Path,
            name if name.eq_ignore_ascii_case("host") => Self::Authority,
            name => Self::Name(HeaderName::from_bytes(name.as_bytes()).ok()?),
        })
    }

    /// The name as xDS writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Method => ":method",
            Self::Authority => ":authority",
            Self::Scheme => ":scheme",
            Self::Path => ":path",
            Self::Name(name) => name.as_str(),
        }
    }
}

/// What is asked of a header.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ValueMatch {
    /// It is there (true) or not (false).
    Present(bool),
    /// Its value matches.
    Text(StringMatch),
    /// Its value is a whole number in `start..end`.
    Range {
        /// The first number that matches.
        start: i64,
        /// The first number after.
        end: i64,
    },
}

/// A condition on one header (xDS `HeaderMatcher`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderMatch {
    /// The header.
    pub key: HeaderKey,
    /// The condition.
    pub value: ValueMatch,
    /// The condition must not hold.
    pub invert: bool,
    /// An absent header counts as an empty one, instead of never matching.
    pub missing_as_empty: bool,
}

impl HeaderMatch {
    /// A plain, not inverted condition on the text of a header.
    pub fn text(key: HeaderKey, text: StringMatch) -> Self {
        Self { key, value: ValueMatch::Text(text), invert: false, missing_as_empty: false }
    }

    /// Does a header with this value (none: absent) meet the condition? An absent header fails a condition on its
    /// value whether inverted or not, unless it counts as empty (Envoy's rule).
    pub fn matches(&self, value: Option<&str>) -> bool {
        let value = if self.missing_as_empty { Some(value.unwrap_or("")) } else { value };
        let met = match (&self.value, value) {
            (ValueMatch::Present(wanted), _) => value.is_some() == *wanted,
            (_, None) => return false,
            (ValueMatch::Text(text), Some(value)) => text.matches(value),
            (ValueMatch::Range { start, end }, Some(value)) => {
                value.parse::<i64>().is_ok_and(|n| (*start..*end).contains(&n))
            }
        };
        met != self.invert
    }

    /// Do the fields of this name meet the condition? Of one that comes several times each value is looked at by itself, and
    /// one that is as asked is enough, so that nobody hides a value behind another (Envoy since 1.37, CVE-2026-26308).
    pub fn matches_fields(&self, headers: &HeaderMap, name: &HeaderName) -> bool {
        let mut values = headers.get_all(name).iter().map(field_text).peekable();
        if values.peek().is_none() {
            return self.matches(None);
        }
        values.any(|value| self.matches(Some(&value)) != self.invert) != self.invert
    }
}

/// What is asked of a query parameter (no ranges: xDS has none here).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QueryValue {
    /// It is there (true) or not (false).
    Present(bool),
    /// Its value matches.
    Text(StringMatch),
}

/// A condition on one query parameter (xDS `QueryParameterMatcher`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueryMatch {
    /// The parameter's name, compared as it stands in the URL.
    pub name: String,
    /// The condition.
    pub value: QueryValue,
}

impl QueryMatch {
    /// Does the query string meet the condition? Of a repeated parameter the first counts, as in Envoy.
    pub fn matches(&self, query: Option<&str>) -> bool {
        let found = query.and_then(|query| {
            query.split('&').find_map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (name == self.name).then_some(value)
            })
        });
        match &self.value {
            QueryValue::Present(wanted) => found.is_some() == *wanted,
            QueryValue::Text(text) => found.is_some_and(|value| text.matches(value)),
        }
    }
}

/// All values of a header as one text: one value is borrowed, several are joined by commas (RFC 9110, section 5.3).
pub fn header_text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<Cow<'_, str>> {
    let mut values = headers.get_all(name).iter().map(field_text);
    let first = values.next()?;
    Some(values.fold(first, |joined, value| joined + "," + value))
}

/// A value as text: UTF-8, or else a character for each byte (ISO 8859-1), so that nothing is hidden from conditions.
pub fn field_text(value: &HeaderValue) -> Cow<'_, str> {
    let bytes = value.as_bytes();
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().copied().map(char::from).collect(), Cow::Borrowed)
}

/// A share of something, in millionths. `Fraction::percent(12.5)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fraction(u32);

impl Fraction {
    /// All of it.
    pub const ALL: Self = Self(1_000_000);
    /// None of it.
    pub const NONE: Self = Self(0);

    /// Millionths, at most one million.
    pub fn millionths(value: u32) -> Self {
        Self(value.min(1_000_000))
    }

    /// Hundredths, from 0.0 to 100.0; outside of that the nearer end.
    pub fn percent(value: f64) -> Self {
        Self((value.clamp(0.0, 100.0) * 10_000.0).round() as u32)
    }

    /// The share in millionths.
    pub fn as_millionths(self) -> u32 {
        self.0
    }

    /// Is an even draw from the whole range of `u64` within the share?
    pub fn takes(self, draw: u64) -> bool {
        draw % 1_000_000 < u64::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let any_case = |value: &str| StringMatch::Prefix { value: value.into(), ignore_case: true };
        for (matcher, text, expected) in [
            (StringMatch::exact("a"), "a", true),
            (StringMatch::exact("a"), "A", false),
            (StringMatch::Exact { value: "a".into(), ignore_case: true }, "A", true),
            (StringMatch::prefix("/foo"), "/foobar", true),
            (any_case("/foo"), "/FOObar", true),
            (StringMatch::Suffix { value: "bar".into(), ignore_case: false }, "foobar", true),
            (StringMatch::Contains { value: "OB".into(), ignore_case: true }, "foobar", true),
            (StringMatch::Regex(Pattern::new("v[12]").unwrap()), "v1", true),
            (StringMatch::Regex(Pattern::new("v[12]").unwrap()), "v12", false),
            (StringMatch::Regex(Pattern::new("a|b").unwrap()), "ab", false),
        ] {
            assert_eq!(matcher.matches(text), expected, "{matcher:?} on {text}");
        }
    }

    #[test]
    fn patterns_refuse_what_re2_has_not() {
        assert!(Pattern::new("(?=a)").is_err());
        assert!(Pattern::new(r"(a)\1").is_err());
        assert!(Pattern::new("a{1000}{1000}").is_err());
    }

    #[test]
    fn headers_absent_and_inverted() {
        let matcher = |value, invert, missing_as_empty| HeaderMatch {
            key: HeaderKey::parse("x").unwrap(),
            value,
            invert,
            missing_as_empty,
        };
        let text = || ValueMatch::Text(StringMatch::exact("v"));
        for (matcher, value, expected) in [
            (matcher(text(), false, false), Some("v"), true),
            (matcher(text(), false, false), None, false),
            (matcher(text(), true, false), Some("w"), true),
            (matcher(text(), true, false), None, false),
            (matcher(text(), true, true), None, true),
            (matcher(ValueMatch::Text(StringMatch::exact("")), false, true), None, true),
            (matcher(ValueMatch::Present(true), false, false), Some(""), true),
            (matcher(ValueMatch::Present(true), true, false), None, true),
            (matcher(ValueMatch::Present(false), false, false), None, true),
            (matcher(ValueMatch::Range { start: 1, end: 5 }, false, false), Some("4"), true),
            (matcher(ValueMatch::Range { start: 1, end: 5 }, false, false), Some("5"), false),
        ] {
            assert_eq!(matcher.matches(value), expected, "{matcher:?} on {value:?}");
        }
    }

    #[test]
    fn queries() {
        let matcher = |value| QueryMatch { name: "a".into(), value };
        let one = matcher(QueryValue::Text(StringMatch::exact("1")));
        for (query, expected) in [
            (Some("a=1"), true),
            (Some("b=2&a=1"), true),
            (Some("a=2&a=1"), false),
            (Some("aa=1"), false),
            (None, false),
        ] {
            assert_eq!(one.matches(query), expected, "{query:?}");
        }
        assert!(matcher(QueryValue::Present(true)).matches(Some("a")));
    }

    #[test]
    fn fractions() {
        assert_eq!(Fraction::percent(12.5).as_millionths(), 125_000);
        assert!(Fraction::ALL.takes(999_999) && !Fraction::NONE.takes(0));
        assert_eq!((0..1_000_000u64).filter(|d| Fraction::percent(0.01).takes(*d)).count(), 100);
    }
}
