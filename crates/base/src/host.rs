//! Host names as rules write them: exact, wildcard prefix (`*.example.org`), or all (`*`).

use std::fmt;
use std::str::FromStr;

/// Why a text is no host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host: expected a DNS name, `*.` and a DNS name, or `*`")]
pub struct HostError(String);

/// A host as an Istio rule names it. Compared without regard to case (RFC 4343).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This name only, in lower case.
    Exact(String),
    /// `*.suffix`: every name that ends in `.suffix`; the stored text is `.suffix`, in lower case.
    Suffix(String),
    /// `*`: every name.
    Any,
}

impl HostPattern {
    /// Does `host` (no port) fall under this pattern?
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name.eq_ignore_ascii_case(host),
            Self::Suffix(suffix) => ends_with_ignore_case(host, suffix),
        }
    }

    /// Does every name under `other` fall under this pattern too?
    pub fn covers(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Suffix(a), Self::Exact(b)) => b.len() > a.len() && b.ends_with(a.as_str()),
            (Self::Suffix(a), Self::Suffix(b)) => b.ends_with(a.as_str()),
            _ => false,
        }
    }

    /// Is there a name that falls under both?
    pub fn overlaps(&self, other: &HostPattern) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Orders patterns from the most to the least specific: exact, then longer suffixes first, then `*`.
    pub fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Exact(name) => (2, name.len()),
            Self::Suffix(suffix) => (1, suffix.len()),
            Self::Any => (0, 0),
        }
    }
}

fn ends_with_ignore_case(text: &str, suffix: &str) -> bool {
    let (text, suffix) = (text.as_bytes(), suffix.as_bytes());
    text.len() > suffix.len() && text[text.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
}

impl FromStr for HostPattern {
    type Err = HostError;
    fn from_str(text: &str) -> Result<Self, HostError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (wild, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if !is_host_name(name) {
            return Err(HostError(text.to_owned()));
        }
        let name = name.to_ascii_lowercase();
        Ok(if wild { Self::Suffix(format!(".{name}")) } else { Self::Exact(name) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Is `name` a DNS name (RFC 1123 labels, underscores allowed as in practice) or an IP address?
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.len() <= 253 && name.split('.').all(label)) || name.parse::<std::net::IpAddr>().is_ok()
}

/// Splits an authority (`Host` header or `:authority`) into host and port (RFC 3986, section 3.2).
/// Brackets of an IPv6 literal are kept; a port that is no number is kept with the host.
pub fn split_authority(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn matching() {
        for (pattern, name, expected) in [
            ("reviews", "reviews", true),
            ("Reviews", "reVIEWS", true),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "a.b.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "aexample.org", false),
            ("*", "anything", true),
        ] {
            assert_eq!(host(pattern).matches(name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn covering() {
        for (a, b, expected) in [
            ("*", "*.a.b", true),
            ("*.b", "*.a.b", true),
            ("*.a.b", "*.b", false),
            ("*.b", "a.b", true),
            ("*.b", "b", false),
            ("a.b", "a.b", true),
        ] {
            assert_eq!(host(a).covers(&host(b)), expected, "{a} covers {b}");
        }
    }

    #[test]
    fn refused() {
        for text in ["", "a..b", "*a.b", "a b", "*.", "-a", "a.*.b"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn authorities() {
        for (text, expected) in [
            ("a", ("a", None)),
            ("a:80", ("a", Some(80))),
            ("[::1]:80", ("[::1]", Some(80))),
            ("[::1]", ("[::1]", None)),
            ("::1", ("::1", None)),
            ("a:b", ("a:b", None)),
        ] {
            assert_eq!(split_authority(text), expected, "{text}");
        }
    }
}
