//! The requests that a limit is for, as conditions on headers: that is what Envoy's descriptors can ask.

use api::Spanned;
use api::halcyon::{LimitHeader, RateLimitMatch};
use model::StringMatch;
use model::matcher::{HeaderKey, HeaderMatch, ValueMatch};

use crate::access::text::{literal, pattern};

/// What stands for any text. A path ends where its query begins.
const ANY: &str = ".*";
const ANY_PATH: &str = "[^?]*";
const QUERY: &str = r"(?:\?.*)?";

/// All of these have to hold.
pub fn headers(asked: &RateLimitMatch) -> Vec<HeaderMatch> {
    let mut all = Vec::new();
    for (name, _, (values, not_values)) in asked.fields() {
        let key = match name {
            "hosts" => HeaderKey::Authority,
            "methods" => HeaderKey::Method,
            _ => HeaderKey::Path,
        };
        pair(&mut all, &key, values, not_values);
    }
    for LimitHeader { name, values, not_values } in &asked.headers {
        if let Some(key) = HeaderKey::parse(name) {
            pair(&mut all, &key, values, not_values);
        }
    }
    all
}

/// One of the values, and none of those that must not be; what is not there is none of these.
fn pair(all: &mut Vec<HeaderMatch>, key: &HeaderKey, values: &[Spanned<String>], not_values: &[Spanned<String>]) {
    let condition = |invert: bool| {
        move |text: StringMatch| HeaderMatch {
            key: key.clone(),
            value: ValueMatch::Text(text),
            invert,
            missing_as_empty: invert,
        }
    };
    all.extend(either(key, values).map(condition(false)));
    all.extend(either(key, not_values).map(condition(true)));
}

/// One of these texts; none if there are none.
fn either(key: &HeaderKey, values: &[Spanned<String>]) -> Option<StringMatch> {
    if values.is_empty() {
        return None;
    }
    let any = if *key == HeaderKey::Path { ANY_PATH } else { ANY };
    let one = |value: &Spanned<String>| match (value.strip_prefix('*'), value.strip_suffix('*')) {
        (Some(""), _) => format!(".{any}"),
        (Some(end), _) => format!("{any}{}", literal(end)),
        (None, Some(beginning)) => format!("{}{any}", literal(beginning)),
        (None, None) => literal(value),
    };
    let alternatives = values.iter().map(one).collect::<Vec<_>>().join("|");
    let source = match key {
        HeaderKey::Authority => format!("(?i:{alternatives})"),
        HeaderKey::Path => format!("(?:{alternatives}){QUERY}"),
        _ => format!("(?:{alternatives})"),
    };
    pattern(&source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Spanned<String>> {
        text.split_terminator(' ').map(|value| Spanned { value: value.to_owned(), ..Spanned::default() }).collect()
    }

    #[test]
    fn whom_texts_take() {
        for (key, values, text, expected) in [
            (":path", "/a", "/a", true),
            (":path", "/a", "/a?x=/b", true),
            (":path", "/a", "/ab", false),
            (":path", "/a/*", "/a/b/c?d", true),
            (":path", "/a/*", "/a", false),
            (":path", "*.jpg", "/x.jpg?y", true),
            (":path", "*.jpg", "/x?y=.jpg", false),
            (":path", "/a.b", "/axb", false),
            (":path", "/a /b", "/b", true),
            (":path", "*", "/", true),
            (":authority", "*.Example.org", "a.example.ORG", true),
            (":authority", "example.org", "example.org:80", false),
            (":authority", "example.org*", "example.org:80", true),
            (":method", "GET HEAD", "HEAD", true),
            (":method", "GET HEAD", "HEADER", false),
            (":method", "GET", "get", false),
            ("x-plan", "free*", "freemium", true),
            ("x-plan", "*", "", false),
        ] {
            let key = HeaderKey::parse(key).expect("a header");
            let found = either(&key, &list(values)).expect("some").matches(text);
            assert_eq!(found, expected, "{key:?} {values} for {text}");
        }
    }

    #[test]
    fn what_must_not_be() {
        let asked = RateLimitMatch {
            headers: vec![LimitHeader { name: list("x-plan").remove(0), values: vec![], not_values: list("gold") }],
            ..RateLimitMatch::default()
        };
        let made = headers(&asked);
        let matches = |value| made.iter().all(|one| one.matches(value));
        assert_eq!([Some("gold"), Some("free"), None].map(matches), [false, true, true]);
    }
}
