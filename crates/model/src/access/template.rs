//! Templates of paths, as Envoy's URI template matcher has them: `/shop/{id}/**`.
//!
//! `*` and `{name}` stand for one segment, `**` for any text with any number of segments, `{name=a/*}` for what stands behind
//! the sign; after the last operator a text such as `.png` may follow. Operators take the characters of a path (RFC 3986,
//! `pchar`), as in Envoy.

use std::sync::Arc;

/// A template of paths. Equal when its text is equal.
#[derive(Debug, Clone)]
pub struct PathTemplate {
    source: Arc<str>,
    parts: Box<[Part]>,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{template}` is no template of paths: {reason}")]
pub struct TemplateError {
    /// The text as given.
    pub template: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// No more variables may stand in one template.
const MAX_VARIABLES: usize = 5;
/// No name of a variable may be longer.
const MAX_NAME: usize = 16;

/// A piece of a template, in order. Slashes are part of texts, so that what comes after [`Part::One`] is a text that begins
/// with a slash, or the last text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    One,
    Rest,
}

impl PartialEq for PathTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for PathTemplate {}

impl PathTemplate {
    /// Reads Envoy's form.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        let mut reader = Reader::default();
        reader
            .read(source)
            .map(|()| Self { source: source.into(), parts: reader.parts.into() })
            .map_err(|reason| TemplateError { template: source.to_owned(), reason })
    }

    /// Reads the form of Istio's `paths`, in which the operators stand in braces: `{*}` and `{**}`.
    pub fn of_istio(source: &str) -> Result<Self, TemplateError> {
        let wrong = |reason| Err(TemplateError { template: source.to_owned(), reason });
        for segment in source.split('/') {
            if segment.contains(['{', '}', '*']) && !matches!(segment, "{*}" | "{**}") {
                return wrong("a segment is either text, or `{*}`, or `{**}`");
            }
        }
        let plain = source.replace("{**}", "**").replace("{*}", "*");
        Self::new(&plain).map_err(|error| TemplateError { template: source.to_owned(), ..error })
    }

    /// The text in Envoy's form.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Does a path without a query fit?
    pub fn matches(&self, path: &str) -> bool {
        let mut left = path;
        let mut parts = self.parts.iter();
        while let Some(part) = parts.next() {
            left = match part {
                Part::Text(text) => match left.strip_prefix(&**text) {
                    Some(left) => left,
                    None => return false,
                },
                Part::One => match parts.as_slice() {
                    [Part::Text(end)] if !end.starts_with('/') => {
                        return left.strip_suffix(&**end).is_some_and(|one| !one.is_empty() && is_plain(one, false));
                    }
                    _ => {
                        let (one, left) = left.split_at(left.find('/').unwrap_or(left.len()));
                        if one.is_empty() || !is_plain(one, false) {
                            return false;
                        }
                        left
                    }
                },
                // No operator comes after this one.
                Part::Rest => {
                    let end = match parts.as_slice() {
                        [Part::Text(end)] => end,
                        _ => "",
                    };
                    return left.strip_suffix(end).is_some_and(|rest| is_plain(rest, true));
                }
            };
        }
        left.is_empty()
    }

    /// The text with which every path begins that fits.
    pub(super) fn beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }
}

/// Only characters that operators take?
fn is_plain(text: &str, slashes: bool) -> bool {
    text.bytes().all(|byte| is_literal(byte) || b"*=".contains(&byte) || slashes && byte == b'/')
}

/// Stands in the text of a template for itself (`pchar` of RFC 3986 without `*` and `=`).
fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@".contains(&byte)
}

/// Reads a template from left to right.
#[derive(Default)]
struct Reader<'a> {
    parts: Vec<Part>,
    names: Vec<&'a str>,
    /// There was a `**`.
    rest: bool,
}

impl<'a> Reader<'a> {
    fn read(&mut self, source: &'a str) -> Result<(), &'static str> {
        let mut left = source.strip_prefix('/').ok_or("it begins with a slash")?;
        if !left.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("only visible ASCII characters stand in it");
        }
        self.text("/");
        while !left.is_empty() {
            left = match left.as_bytes()[0] {
                b'*' => self.operator(left)?,
                b'{' => self.variable(left)?,
                _ => self.literal(left)?,
            };
            left = match left.strip_prefix('/') {
                Some(next) => {
                    self.text("/");
                    next
                }
                None if left.is_empty() => left,
                None => match self.literal(left)? {
                    "" => "",
                    _ => return Err("what follows an operator in its segment ends the template"),
                },
            };
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Text(last)) => *last = format!("{last}{text}").into(),
            _ => self.parts.push(Part::Text(text.into())),
        }
    }

    /// Up to the next slash.
    fn literal<'t>(&mut self, left: &'t str) -> Result<&'t str, &'static str> {
        let (text, left) = left.split_at(left.find('/').unwrap_or(left.len()));
        if text.is_empty() || !text.bytes().all(is_literal) {
            return Err("a segment of text has letters, digits and `-._~%!$&'()+,;:@`");
        }
        self.text(text);
        Ok(left)
    }

    fn operator<'t>(&mut self, left: &'t str) -> Result<&'t str, &'static str> {
        if self.rest {
            return Err("nothing but text comes after `**`");
        }
        let (part, left) = match left.strip_prefix("**") {
            Some(left) => (Part::Rest, left),
            None => (Part::One, &left[1..]),
        };
        self.rest = part == Part::Rest;
        self.parts.push(part);
        Ok(left)
    }

    fn variable(&mut self, left: &'a str) -> Result<&'a str, &'static str> {
        let (inner, left) = left[1..].split_once('}').ok_or("a brace is not closed")?;
        let (name, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
        self.name(name)?;
        if pattern.is_empty() {
            return Err("a variable is of nothing");
        }
        let mut pattern = pattern;
        while !pattern.is_empty() {
            pattern = if pattern.starts_with('*') { self.operator(pattern)? } else { self.literal(pattern)? };
            pattern = match pattern.strip_prefix('/') {
                Some("") => return Err("what a variable is of ends with a slash"),
                Some(next) => {
                    self.text("/");
                    next
                }
                None if pattern.is_empty() => pattern,
                None => return Err("segments of a variable are text, `*` or `**`"),
            };
        }
        Ok(left)
    }

    fn name(&mut self, name: &'a str) -> Result<(), &'static str> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(word) {
            return Err("a variable has a name of letters, digits and underscores");
        }
        if name.len() > MAX_NAME {
            return Err("the name of a variable has 16 characters at most");
        }
        if self.names.contains(&name) {
            return Err("two variables have one name");
        }
        self.names.push(name);
        if self.names.len() > MAX_VARIABLES { Err("there are five variables at most") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits() {
        for (template, path, expected) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/", "/a/", true),
            ("/*", "/a", true),
            ("/*", "/", false),
            ("/*", "/a/b", false),
            ("/*", "/a=b", true),
            ("/*", "/%2f", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a//c", false),
            ("/a/*/c", "/a/b/x/c", false),
            ("/a/{id}/c", "/a/7/c", true),
            ("/a/{id=*}", "/a/7", true),
            ("/a/{id=b/*}/d", "/a/b/c/d", true),
            ("/a/{id=b/*}/d", "/a/x/c/d", false),
            ("/a/**", "/a/", true),
            ("/a/**", "/a", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a/b c", false),
            ("/**", "/", true),
            ("/**/z", "/a/b/z", true),
            ("/**/z", "/z", false),
            ("/**/z", "//z", true),
            ("/**/z", "/a/zz", false),
            ("/**.png", "/a/b.png", true),
            ("/**.png", "/.png", true),
            ("/*.png", "/.png", false),
            ("/*.png", "/b.png", true),
            ("/*.png", "/b.png.png", true),
            ("/*.png", "/a/b.png", false),
            ("/{a}.{b}", "/x.y", false),
            ("/{a=**}/x/y", "/1/2/x/y", true),
            ("/v1.0/*", "/v1x0/a", false),
        ] {
            match PathTemplate::new(template) {
                Ok(read) => assert_eq!(read.matches(path), expected, "{template} on {path}"),
                Err(error) => assert!(!expected && template == "/{a}.{b}", "{error}"),
            }
        }
    }

    #[test]
    fn what_is_none() {
        for (template, reason) in [
            ("a", "it begins with a slash"),
            ("/a b", "only visible ASCII characters stand in it"),
            ("/a//b", "a segment of text has letters"),
            ("/a*", "a segment of text has letters"),
            ("/a=b", "a segment of text has letters"),
            ("/**/*", "nothing but text comes after `**`"),
            ("/**/{a}", "nothing but text comes after `**`"),
            ("/*.a/b", "what follows an operator in its segment ends the template"),
            ("/***", "a segment of text has letters"),
            ("/{a", "a brace is not closed"),
            ("/{1a}", "a variable has a name"),
            ("/{*}", "a variable has a name"),
            ("/{a=}", "a variable is of nothing"),
            ("/{a=b/}", "what a variable is of ends with a slash"),
            ("/{a=*b}", "segments of a variable are text"),
            ("/{a}/{a}", "two variables have one name"),
            ("/{abcdefghijklmnopq}", "the name of a variable has 16"),
            ("/{a}/{b}/{c}/{d}/{e}/{f}", "there are five variables"),
        ] {
            let error = PathTemplate::new(template).expect_err(template);
            assert!(error.reason.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn in_the_form_of_istio() {
        let read = PathTemplate::of_istio("/a/{*}/{**}").unwrap();
        assert_eq!(read.as_str(), "/a/*/**");
        assert!(read.matches("/a/b/c/d") && !read.matches("/a/b"));
        for wrong in ["/a/{*}b", "/a/*", "/{name}", "/{**}/{*}", "/a{*"] {
            assert!(PathTemplate::of_istio(wrong).is_err(), "{wrong}");
        }
    }
}
