//! Texts with wildcards at their ends, as policies write them.

use model::{Pattern, StringMatch};

/// A text: `*` alone stands for any that is not empty, at one end for any.
pub fn text(written: &str) -> Option<StringMatch> {
    Some(match written {
        "*" => not_empty()?,
        _ => match (written.strip_prefix('*'), written.strip_suffix('*')) {
            (Some(end), _) => StringMatch::Suffix { value: end.to_owned(), ignore_case: false },
            (None, Some(beginning)) => StringMatch::prefix(beginning),
            (None, None) => StringMatch::exact(written),
        },
    })
}

/// The same without regard to case.
pub fn any_case(written: &str) -> Option<StringMatch> {
    let mut text = text(written)?;
    match &mut text {
        StringMatch::Exact { ignore_case, .. }
        | StringMatch::Prefix { ignore_case, .. }
        | StringMatch::Suffix { ignore_case, .. }
        | StringMatch::Contains { ignore_case, .. } => *ignore_case = true,
        StringMatch::Regex(_) => {}
    }
    Some(text)
}

/// Any text but the empty one.
pub fn not_empty() -> Option<StringMatch> {
    pattern(".+")
}

/// A regular expression for the whole text.
pub fn pattern(source: &str) -> Option<StringMatch> {
    Pattern::new(source).ok().map(StringMatch::Regex)
}

/// A text that stands for itself in a regular expression.
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
