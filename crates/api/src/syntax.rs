//! The small languages inside fields: DNS names, label keys and values, header names, ports, regular expressions.

/// RFC 1123 label in lower case: names of namespaces, services, ports and subsets.
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_part(text)
}

/// RFC 1123 subdomain in lower case: names of most Kubernetes objects.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_part)
}

fn is_dns_part(text: &str) -> bool {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !text.is_empty() && text.bytes().all(legal) && !text.starts_with('-') && !text.ends_with('-')
}

/// The name part of a label key, and a label's value when it is not empty.
fn is_label_word(text: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= 63 && text.bytes().all(legal) && edge(bytes.first()) && edge(bytes.last())
}

/// A label or annotation key: an optional DNS prefix with a slash, and a name of at most 63.
pub(crate) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(&prefix.to_ascii_lowercase()) && is_label_word(name),
        None => is_label_word(text),
    }
}

/// A label value: empty, or at most 63 letters, digits, `-`, `_`, `.`, with a letter or digit at both ends.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_word(text)
}

/// A header's name: an RFC 9110 token.
pub(crate) fn is_header_name(text: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    !text.is_empty() && text.bytes().all(legal)
}

/// A header's value: no control characters but the tab (RFC 9110, section 5.5).
pub(crate) fn is_header_value(text: &str) -> bool {
    text.bytes().all(|c| c == b'\t' || !c.is_ascii_control())
}

/// Host or IP address: what an endpoint's address, an egress proxy or a tunnel's target may be.
pub(crate) fn is_host_or_ip(text: &str) -> bool {
    base::host::is_host_name(text.strip_suffix('.').unwrap_or(text))
}

/// The protocols that a port may declare (Istio's names, compared without regard to case).
pub(crate) const PROTOCOLS: [&str; 13] = [
    "HTTP",
    "HTTPS",
    "HTTP2",
    "GRPC",
    "GRPC-WEB",
    "TCP",
    "TLS",
    "UDP",
    "MONGO",
    "MYSQL",
    "REDIS",
    "HBONE",
    "HTTP_PROXY",
];

/// What a declared protocol lets a proxy see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProtocolClass {
    Http,
    Tls,
    Opaque,
}

/// The class of a declared protocol; `None` if there is no such protocol.
pub(crate) fn protocol_class(text: &str) -> Option<ProtocolClass> {
    let upper = text.to_ascii_uppercase();
    if !PROTOCOLS.contains(&upper.as_str()) {
        return None;
    }
    Some(match upper.as_str() {
        "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" | "HTTP_PROXY" => ProtocolClass::Http,
        "HTTPS" | "TLS" => ProtocolClass::Tls,
        _ => ProtocolClass::Opaque,
    })
}

/// Regular expressions are refused past this length, as Istio does.
pub(crate) const LONGEST_REGEX: usize = 1024;

/// Why `text` is no regular expression that the proxy takes (RE2's language, as the crate `regex` has it).
pub(crate) fn regex_error(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("the regular expression is empty".to_owned());
    }
    if text.len() > LONGEST_REGEX {
        return Some(format!("the regular expression has {} bytes; the limit is {LONGEST_REGEX}", text.len()));
    }
    let error = regex::Regex::new(text).err()?;
    // The last line of the crate's message holds the reason; those before it draw the expression.
    let reason = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Some(format!("not a regular expression: {reason}"))
}

/// The status codes of gRPC by name, each at the place of its number (grpc/doc/statuscodes.md).
pub(crate) const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(rule(text), "{text:?} must be good");
        }
        for text in bad {
            assert!(!rule(text), "{text:?} must be bad");
        }
    }

    #[test]
    fn names() {
        let long = "a".repeat(64);
        check(is_dns_label, &["a", "v1", "a-b"], &["", "-a", "a-", "A", "a.b", "a_b", &long]);
        check(is_dns_subdomain, &["a", "a.b-c"], &["", ".a", "a..b", "A"]);
        check(is_label_key, &["app", "app.kubernetes.io/name", "a_b"], &["", "/a", "a/", "a/b/c", "-a", &long]);
        check(is_label_value, &["", "v1", "1.0_x"], &["a b", "-", "a/b", &long]);
        check(is_header_name, &["x-user", "X_Y"], &["", "a b", ":path", "ä"]);
        check(is_host_or_ip, &["a.b", "10.0.0.1", "::1", "a.b."], &["", "a b", "*.a", "."]);
    }

    #[test]
    fn regexes() {
        for (text, good) in [("^/a.*$", true), ("(?i)x|y", true), ("(", false), ("", false), ("(?=x)", false)] {
            assert_eq!(regex_error(text).is_none(), good, "{text}");
        }
        assert!(regex_error(&"a".repeat(1025)).is_some());
    }
}
