//! What is made of a request's target before anybody looks at it: the normal form of its path, and its authority without
//! port or dot.

use std::borrow::Cow;

/// What is made of a request's target before anybody looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetRules {
    /// Escaped slashes and backslashes (`%2F`, `%5C`), before everything else.
    pub escaped_slashes: EscapedSlashes,
    /// The path gets its normal form (RFC 3986, save that the case of escapes stays); one that has none is refused.
    pub normalize: bool,
    /// Slashes that follow each other become one.
    pub merge_slashes: bool,
    /// The port of the authority is taken off.
    pub strip_port: StripPort,
    /// A dot at the end of the authority's host is taken off.
    pub strip_dot: bool,
}

impl TargetRules {
    /// Is the path looked at at all?
    pub fn concern_path(&self) -> bool {
        self.normalize || self.merge_slashes || self.escaped_slashes != EscapedSlashes::Keep
    }

    /// Is the authority?
    pub fn concern_authority(&self) -> bool {
        self.strip_dot || self.strip_port != StripPort::Never
    }
}

/// What becomes of a path with escaped slashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EscapedSlashes {
    /// It stays as it is.
    #[default]
    Keep,
    /// The request is refused.
    Reject,
    /// They are unescaped, and the client is sent there.
    Redirect,
    /// They are unescaped.
    Forward,
}

/// When the port of an authority is taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StripPort {
    /// Never.
    #[default]
    Never,
    /// If it is the one that the client dialled.
    Matching,
    /// Always.
    Any,
}

/// What the rules make of a path.
#[derive(Debug, PartialEq, Eq)]
pub enum PathVerdict {
    /// It stays as it is.
    Same,
    /// It becomes this.
    Changed(String),
    /// The client is sent to this.
    Redirect(String),
    /// It has no normal form, or what is not taken.
    Refused,
}

impl TargetRules {
    /// Applies the rules to a path with its query, which stays as it is: slashes are unescaped, then the path gets its
    /// normal form, then slashes are merged, as Envoy has it.
    pub fn path(&self, whole: &str) -> PathVerdict {
        let (path, query) = whole.split_at(whole.find('?').unwrap_or(whole.len()));
        let mut now = Cow::Borrowed(path);
        let mut redirect = false;
        if self.escaped_slashes != EscapedSlashes::Keep
            && let Some(unescaped) = unescape_slashes(path)
        {
            match self.escaped_slashes {
                EscapedSlashes::Reject => return PathVerdict::Refused,
                EscapedSlashes::Redirect => redirect = true,
                EscapedSlashes::Forward | EscapedSlashes::Keep => {}
            }
            now = Cow::Owned(unescaped);
        }
        if self.normalize {
            let Some(normal) = normal_form(&now) else { return PathVerdict::Refused };
            if *normal != *now {
                now = Cow::Owned(normal.into_owned());
            }
        }
        if self.merge_slashes && now.contains("//") {
            now = Cow::Owned(merge_slashes(&now));
        }
        match now {
            Cow::Borrowed(_) => PathVerdict::Same,
            Cow::Owned(path) if redirect => PathVerdict::Redirect(path + query),
            Cow::Owned(path) => PathVerdict::Changed(path + query),
        }
    }

    /// The authority without what the rules take off, if they take something off. `dialled` is the port that the client
    /// dialled.
    pub fn authority<'a>(&self, authority: &'a str, dialled: u16) -> Option<Cow<'a, str>> {
        let (mut host, mut port) = split_port(authority);
        let strip = match self.strip_port {
            StripPort::Never => false,
            StripPort::Any => true,
            StripPort::Matching => port.is_some_and(|port| port.parse() == Ok(dialled)),
        };
        port = port.filter(|_| !strip);
        if self.strip_dot {
            host = host.strip_suffix('.').filter(|host| !host.is_empty()).unwrap_or(host);
        }
        let now = match port {
            None => Cow::Borrowed(host),
            Some(port) => Cow::Owned(format!("{host}:{port}")),
        };
        (now != authority).then_some(now)
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    }
}

/// None if there is no escaped slash or backslash.
fn unescape_slashes(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let (written, used) = match after.as_bytes().get(1..3) {
            Some(b"2F" | b"2f") => ('/', 3),
            Some(b"5C" | b"5c") => ('\\', 3),
            _ => ('%', 1),
        };
        out.push(written);
        rest = &after[used..];
    }
    out.push_str(rest);
    (out.len() < path.len()).then_some(out)
}

/// The path without dot segments, with slashes for backslashes, without escapes that are not needed and with those that
/// are. None if it holds an escaped zero byte. What is no path (`*`) stays.
fn normal_form(path: &str) -> Option<Cow<'_, str>> {
    let normal = |b: u8| !matches!(b, b'%' | b'\\') && !needs_escape(b);
    if !path.starts_with('/') || (path.bytes().all(normal) && !path.contains("/.")) {
        return Some(Cow::Borrowed(path));
    }
    let bytes = path.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match (byte, escaped(&bytes[at..])) {
            (b'%', Some(0)) => return None,
            (b'%', Some(value)) if is_unreserved(value) => {
                plain.push(value);
                at += 2;
            }
            (b'\\', _) => plain.push(b'/'),
            _ if needs_escape(byte) => plain.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => plain.push(byte),
        }
    }
    String::from_utf8(without_dots(&plain)).ok().map(Cow::Owned)
}

fn needs_escape(byte: u8) -> bool {
    matches!(byte, 0..=b' ' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | 0x7f..=0xff)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The byte that two digits stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

/// RFC 3986, section 5.2.4. A dot segment is one with parameters (`..;x`), too: some servers do not look at these.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path[1..].split(|b| *b == b'/').peekable();
    while let Some(segment) = segments.next() {
        match segment.split(|b| *b == b';').next() {
            Some(b".") => {}
            Some(b"..") => drop(kept.pop()),
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            kept.push(b"");
        }
    }
    let mut out = vec![b'/'];
    out.extend(kept.join(&b'/'));
    out
}

fn merge_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        let rules = TargetRules { normalize: true, ..TargetRules::default() };
        for (path, expected) in [
            ("/a/b?c=/../d", None),
            ("/a.b/..c/.d", Some("/a.b/..c/.d")),
            ("/a/./b/../c", Some("/a/c")),
            ("/a/..", Some("/")),
            ("/../../a", Some("/a")),
            ("/a/.", Some("/a/")),
            ("/a/..;/b", Some("/b")),
            ("/a/.;x=1/%2e%2E;y/b", Some("/b")),
            ("/a/b/..;x", Some("/a/")),
            ("/a;x/..b;/c", None),
            ("/a//../b", Some("/a/b")),
            ("/%61%2e%2E/%2e%2e/b", Some("/b")),
            ("/a%2fb%2F", None),
            ("/a%zz%4", None),
            ("/%c3%A9", None),
            ("/a\\b?\\", Some("/a/b?\\")),
            ("/a{b}", Some("/a%7Bb%7D")),
            ("//a", None),
            ("*", None),
        ] {
            let expected = match expected {
                Some(other) if other != path => PathVerdict::Changed(other.to_owned()),
                _ => PathVerdict::Same,
            };
            assert_eq!(rules.path(path), expected, "{path}");
        }
        assert_eq!(rules.path("/a%00"), PathVerdict::Refused);
    }

    #[test]
    fn slashes() {
        use PathVerdict::{Changed, Redirect, Refused, Same};
        let merge = TargetRules { merge_slashes: true, ..TargetRules::default() };
        let all = |escaped_slashes| TargetRules { escaped_slashes, normalize: true, ..merge };
        for (rules, path, expected) in [
            (merge, "//a///b/?c=//", Changed("/a/b/?c=//".into())),
            (merge, "/a/b", Same),
            (merge, "/a%2f%2fb", Same),
            (all(EscapedSlashes::Keep), "/a%2f", Same),
            (all(EscapedSlashes::Reject), "/a%2F", Refused),
            (all(EscapedSlashes::Reject), "/a?b=%2F", Same),
            (all(EscapedSlashes::Redirect), "/a%2f..%5Cb?c", Redirect("/b?c".into())),
            (all(EscapedSlashes::Redirect), "/a//b", Changed("/a/b".into())),
            (all(EscapedSlashes::Forward), "/a%2F%2fb", Changed("/a/b".into())),
            (all(EscapedSlashes::Forward), "/a%41%", Changed("/aA%".into())),
        ] {
            assert_eq!(rules.path(path), expected, "{rules:?} {path}");
        }
    }

    #[test]
    fn authorities() {
        let rules = |strip_port, strip_dot| TargetRules { strip_port, strip_dot, ..TargetRules::default() };
        for (rules, authority, expected) in [
            (rules(StripPort::Never, false), "a:80", None),
            (rules(StripPort::Matching, false), "a:80", Some("a")),
            (rules(StripPort::Matching, false), "a:81", None),
            (rules(StripPort::Any, false), "a:81", Some("a")),
            (rules(StripPort::Any, false), "[::1]:81", Some("[::1]")),
            (rules(StripPort::Any, false), "[::1]", None),
            (rules(StripPort::Never, true), "a.:80", Some("a:80")),
            (rules(StripPort::Any, true), "a.:80", Some("a")),
            (rules(StripPort::Any, true), ".", None),
        ] {
            assert_eq!(rules.authority(authority, 80).as_deref(), expected, "{rules:?} {authority}");
        }
    }
}
