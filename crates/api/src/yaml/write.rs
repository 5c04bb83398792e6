//! JSON values to YAML text: block style, order kept, quotes only where a reader would else see something different.

use serde_json::Value as Json;

use super::{Value, scalar};

/// Writes `json` as one YAML document, with a newline at its end. What [`super::read`] reads from it is `json` again.
pub fn write(json: &Json) -> String {
    let mut out = String::new();
    match json {
        Json::Object(map) if !map.is_empty() => block(json, 0, &mut out),
        Json::Array(items) if !items.is_empty() => block(json, 0, &mut out),
        _ => {
            out.push_str(&inline(json));
            out.push('\n');
        }
    }
    out
}

/// Writes a list or mapping that is not empty, each line behind `indent` spaces.
fn block(json: &Json, indent: usize, out: &mut String) {
    match json {
        Json::Object(map) => {
            for (key, value) in map {
                pad(indent, out);
                entry(key, value, indent, out);
            }
        }
        Json::Array(items) => {
            for item in items {
                pad(indent, out);
                out.push_str("- ");
                list_item(item, indent + 2, out);
            }
        }
        _ => {}
    }
}

/// Writes `key: value` where the cursor is.
fn entry(key: &str, value: &Json, indent: usize, out: &mut String) {
    out.push_str(&text(key));
    out.push(':');
    match value {
        Json::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, indent + 2, out);
        }
        // As kubectl does: a list stands as deep as its key.
        Json::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(value, indent, out);
        }
        Json::String(s) if is_literal(s) => {
            out.push(' ');
            literal(s, indent + 2, out);
        }
        _ => {
            out.push(' ');
            out.push_str(&inline(value));
            out.push('\n');
        }
    }
}

/// Writes a list's item after its dash; its further lines stand behind `indent` spaces.
fn list_item(item: &Json, indent: usize, out: &mut String) {
    match item {
        Json::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    pad(indent, out);
                }
                entry(key, value, indent, out);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for (index, inner) in items.iter().enumerate() {
                if index > 0 {
                    pad(indent, out);
                }
                out.push_str("- ");
                list_item(inner, indent + 2, out);
            }
        }
        Json::String(s) if is_literal(s) => literal(s, indent, out),
        _ => {
            out.push_str(&inline(item));
            out.push('\n');
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn inline(json: &Json) -> String {
    match json {
        Json::Object(_) => "{}".to_owned(),
        Json::Array(_) => "[]".to_owned(),
        Json::String(s) => text(s),
        Json::Null | Json::Bool(_) | Json::Number(_) => json.to_string(),
    }
}

/// Words that older readers (YAML 1.1, as in many Kubernetes tools) take for true or false.
const OLD_BOOLEANS: [&str; 8] = ["y", "yes", "on", "n", "no", "off", "true", "false"];

/// Text on one line: plain where that is safe, else in double quotes.
fn text(s: &str) -> String {
    let plain_char =
        |c: char| c.is_ascii_alphanumeric() || "/._-+@%=~^$()".contains(c) || (c > '\u{a0}' && c.is_alphanumeric());
    let first = |c: char| c.is_ascii_alphanumeric() || c == '/' || c == '_' || c == '.';
    let inner = |(i, c): (usize, char)| {
        plain_char(c)
            || (c == ' ' && i + 1 < s.len())
            || (c == ':' && s[i + 1..].chars().next().is_some_and(|n| n != ' ' && plain_char(n)))
    };
    let plain = s.starts_with(first)
        && s.char_indices().all(inner)
        && !OLD_BOOLEANS.contains(&s.to_ascii_lowercase().as_str())
        && !s.starts_with("---")
        && !s.starts_with("...")
        && !is_old_scalar(s)
        && matches!(scalar::resolve(s), Value::String(_));
    // JSON's quoted form is YAML's double-quoted form, once the few characters that only YAML forbids are escaped.
    if plain { s.to_owned() } else { escape(&Json::String(s.to_owned()).to_string()) }
}

/// What a YAML 1.1 reader does not take for text: `1:30` is a number in base 60, `2026-01-31` a date.
fn is_old_scalar(s: &str) -> bool {
    let is_sexagesimal = s.contains(':') && s.bytes().all(|c| c.is_ascii_digit() || c == b':' || c == b'.');
    let is_date = s.as_bytes().get(..5).is_some_and(|head| head[4] == b'-' && head[..4].iter().all(u8::is_ascii_digit));
    is_sexagesimal || is_date
}

fn escape(json_text: &str) -> String {
    let mut out = String::with_capacity(json_text.len());
    for c in json_text.chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            _ => out.push(c),
        }
    }
    out
}

/// Is this text best shown as a literal block (`|`)? Only if the block gives back exactly the same text.
fn is_literal(s: &str) -> bool {
    let printable = |c: char| c == '\n' || c == '\t' || !(c.is_control() || ('\u{7f}'..='\u{9f}').contains(&c));
    s.trim_end_matches('\n').contains('\n')
        && !s.ends_with("\n\n")
        && !s.starts_with([' ', '\n', '\t'])
        && s.lines().all(|l| !l.ends_with([' ', '\t']))
        && s.chars().all(|c| printable(c) && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{85}'))
}

fn literal(s: &str, indent: usize, out: &mut String) {
    out.push_str(if s.ends_with('\n') { "|\n" } else { "|-\n" });
    for line in s.lines() {
        if !line.is_empty() {
            pad(indent, out);
        }
        out.push_str(line);
        out.push('\n');
    }
}
