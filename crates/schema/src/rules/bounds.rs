//! A value against its rules. A rule that the schema does not use anywhere is not known here.

use std::fmt::Display;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};
use regex::Regex;

use super::Checked;

/// May the field not be missing?
pub fn required(rules: &DynamicMessage) -> bool {
    ["message", "any", "duration"].into_iter().any(|kind| flag(rules, kind, "required"))
}

/// Is what the message holds not looked at?
pub fn skipped(rules: &DynamicMessage) -> bool {
    flag(rules, "message", "skip")
}

/// The rules of what a list or map holds.
pub fn inner(rules: &DynamicMessage, kind: &str, part: &str) -> Option<DynamicMessage> {
    set(&set(rules, kind)?.as_message()?.clone(), part)?.as_message().cloned()
}

/// How much a list or map holds.
pub fn whole(value: &Value, rules: Option<&DynamicMessage>) -> Checked {
    let of = |kind| rules.and_then(|rules| set(rules, kind)?.as_message().cloned());
    let (length, least, most) = match value {
        Value::List(items) => {
            let Some(rules) = of("repeated") else { return Ok(()) };
            if flag_of(&rules, "ignore_empty") && items.is_empty() {
                return Ok(());
            }
            if flag_of(&rules, "unique") && items.iter().enumerate().any(|(at, item)| items[..at].contains(item)) {
                return Err("has an item twice; expected each once".to_owned());
            }
            (items.len(), count(&rules, "min_items"), count(&rules, "max_items"))
        }
        Value::Map(entries) => {
            let Some(rules) = of("map") else { return Ok(()) };
            (entries.len(), count(&rules, "min_pairs"), count(&rules, "max_pairs"))
        }
        _ => return Ok(()),
    };
    within(length as u64, least, most, "items", || format!("has {length} items"))
}

/// A single value.
pub fn single(value: &Value, field: &FieldDescriptor, rules: Option<&DynamicMessage>) -> Checked {
    let Some(rules) = rules else { return Ok(()) };
    for (kind, rules) in rules.fields() {
        let Some(rules) = rules.as_message() else { continue };
        match (kind.name(), unwrapped(value)) {
            ("string", Value::String(text)) => string(&text, rules)?,
            ("bytes", Value::Bytes(bytes)) => {
                let length = bytes.len() as u64;
                within(length, count(rules, "min_len"), count(rules, "max_len"), "bytes", || shown_length(length))?;
            }
            ("enum", Value::EnumNumber(number)) => member(number, field, rules)?,
            ("bool", Value::Bool(value)) => constant(value, set(rules, "const").and_then(|it| it.as_bool()))?,
            ("duration", Value::Message(span)) => ordered(seconds(&span), rules, seconds_of, |s| format!("{s}s"))?,
            ("any", Value::Message(envelope)) => of_type(&envelope, rules)?,
            (_, value) => {
                if let Some(number) = number(&value) {
                    ordered(number, rules, self::number, |number| number.to_string())?;
                }
            }
        }
    }
    Ok(())
}

/// What a wrapper such as `UInt32Value` holds, and what is no wrapper as it is.
fn unwrapped(value: &Value) -> Value {
    let wrapped = value.as_message().filter(|message| {
        let name = message.descriptor().full_name().to_owned();
        name.starts_with("google.protobuf.") && name.ends_with("Value") && name != "google.protobuf.Value"
    });
    match wrapped.and_then(|message| message.get_field_by_name("value").map(|it| it.into_owned())) {
        Some(inner) if !matches!(inner, Value::List(_)) => inner,
        _ => value.clone(),
    }
}

fn string(text: &str, rules: &DynamicMessage) -> Checked {
    if text.is_empty() && flag_of(rules, "ignore_empty") {
        return Ok(());
    }
    let (characters, bytes) = (text.chars().count() as u64, text.len() as u64);
    let (least, most) = (count(rules, "min_len"), count(rules, "max_len"));
    within(characters, least, most, "characters", || shown_length_of_text(characters, "characters"))?;
    let (least, most) = (count(rules, "min_bytes"), count(rules, "max_bytes"));
    within(bytes, least, most, "bytes", || shown_length_of_text(bytes, "bytes"))?;
    let said = |name: &str| set(rules, name).and_then(|it| it.as_str().map(str::to_owned));
    let rule = |holds: bool, expected: String| {
        if holds { Ok(()) } else { Err(format!("is {text:?}; expected {expected}")) }
    };
    if let Some(prefix) = said("prefix") {
        rule(text.starts_with(&prefix), format!("a text that begins with {prefix:?}"))?;
    }
    if let Some(pattern) = said("pattern") {
        // A pattern that is beyond our engine is not looked at.
        let holds = Regex::new(&pattern).map_or(true, |regex| regex.is_match(text));
        rule(holds, format!("a text that fits `{pattern}`"))?;
    }
    let listed = |name: &str| set(rules, name).and_then(|it| it.as_list().map(<[Value]>::to_vec)).unwrap_or_default();
    let allowed = listed("in");
    let names: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
    rule(names.is_empty() || names.contains(&text), format!("one of {}", names.join(", ")))?;
    rule(!listed("not_in").iter().any(|it| it.as_str() == Some(text)), "another text".to_owned())?;
    match set(rules, "well_known_regex").and_then(|it| it.as_enum_number()) {
        Some(HEADER_NAME) => rule(is_header_name(text, is_strict(rules)), "a header's name".to_owned()),
        Some(HEADER_VALUE) => rule(is_header_value(text, is_strict(rules)), "a header's value".to_owned()),
        _ => Ok(()),
    }
}

const HEADER_NAME: i32 = 1;
const HEADER_VALUE: i32 = 2;

fn is_strict(rules: &DynamicMessage) -> bool {
    rules.get_field_by_name("strict").and_then(|it| it.as_bool()).unwrap_or(true)
}

fn is_header_name(text: &str, strict: bool) -> bool {
    const MARKS: &[u8] = b"!#$%&'*+-.^_|~`";
    let name = text.strip_prefix(':').unwrap_or(text);
    match strict {
        true => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || MARKS.contains(&b)),
        false => is_header_value(text, false),
    }
}

fn is_header_value(text: &str, strict: bool) -> bool {
    match strict {
        true => !text.bytes().any(|b| b != b'\t' && (b < 0x20 || b == 0x7f)),
        false => !text.bytes().any(|b| matches!(b, 0 | b'\n' | b'\r')),
    }
}

fn member(number: i32, field: &FieldDescriptor, rules: &DynamicMessage) -> Checked {
    let Kind::Enum(values) = field.kind() else { return Ok(()) };
    if flag_of(rules, "defined_only") && values.get_value(number).is_none() {
        return Err(format!("is {number}; expected a value that is defined"));
    }
    let named = |number: i32| values.get_value(number).map_or(number.to_string(), |value| value.name().to_owned());
    let listed = |name: &str| set(rules, name).and_then(|it| it.as_list().map(<[Value]>::to_vec)).unwrap_or_default();
    let numbers = |name: &str| listed(name).iter().filter_map(Value::as_i32).collect::<Vec<i32>>();
    let allowed = numbers("in");
    if !allowed.is_empty() && !allowed.contains(&number) {
        let names: Vec<String> = allowed.into_iter().map(named).collect();
        return Err(format!("is {}; expected one of {}", named(number), names.join(", ")));
    }
    match numbers("not_in").contains(&number) {
        true => Err(format!("is {}; expected another value", named(number))),
        false => Ok(()),
    }
}

fn constant(value: bool, expected: Option<bool>) -> Checked {
    match expected {
        Some(expected) if expected != value => Err(format!("is {value}; expected {expected}")),
        _ => Ok(()),
    }
}

fn of_type(envelope: &DynamicMessage, rules: &DynamicMessage) -> Checked {
    let url = envelope.get_field_by_name("type_url").map(|it| it.as_str().unwrap_or_default().to_owned());
    let url = url.unwrap_or_default();
    let allowed = set(rules, "in").and_then(|it| it.as_list().map(<[Value]>::to_vec)).unwrap_or_default();
    match allowed.is_empty() || allowed.iter().any(|it| it.as_str() == Some(&url)) {
        true => Ok(()),
        false => Err(format!("is of type `{url}`; expected another")),
    }
}

/// A number, or a span of time in seconds, against lower and upper bounds.
fn ordered(
    value: f64,
    rules: &DynamicMessage,
    read: impl Fn(&Value) -> Option<f64>,
    show: impl Fn(f64) -> String,
) -> Checked {
    if value == 0.0 && flag_of(rules, "ignore_empty") {
        return Ok(());
    }
    let mut holds = true;
    let mut expected = Vec::new();
    type Holds = fn(f64, f64) -> bool;
    let bounds: [(&str, &str, Holds); 5] = [
        ("gt", "more than", |value, bound| value > bound),
        ("gte", "at least", |value, bound| value >= bound),
        ("lt", "less than", |value, bound| value < bound),
        ("lte", "at most", |value, bound| value <= bound),
        ("const", "exactly", |value, bound| value == bound),
    ];
    for (name, words, compare) in bounds {
        if let Some(bound) = set(rules, name).and_then(|bound| read(&bound)) {
            holds &= compare(value, bound);
            expected.push(format!("{words} {}", show(bound)));
        }
    }
    if holds { Ok(()) } else { Err(format!("is {}; expected {}", show(value), expected.join(" and "))) }
}

fn number(value: &Value) -> Option<f64> {
    Some(match value {
        Value::I32(value) => f64::from(*value),
        Value::U32(value) => f64::from(*value),
        Value::I64(value) => *value as f64,
        Value::U64(value) => *value as f64,
        Value::F32(value) => f64::from(*value),
        Value::F64(value) => *value,
        _ => return None,
    })
}

fn seconds_of(value: &Value) -> Option<f64> {
    value.as_message().map(seconds)
}

fn seconds(span: &DynamicMessage) -> f64 {
    let part = |name| span.get_field_by_name(name).and_then(|value| number(&value)).unwrap_or_default();
    part("seconds") + part("nanos") / 1e9
}

/// Is a length within its bounds?
fn within(length: u64, least: Option<u64>, most: Option<u64>, unit: &str, shown: impl Fn() -> String) -> Checked {
    let expected = |words: &str, bound: u64| match (unit, bound) {
        ("items", _) => format!("{words} {bound}"),
        (_, 1) => format!("{words} 1 {}", unit.trim_end_matches('s')),
        _ => format!("{words} {bound} {unit}"),
    };
    match (least, most) {
        (Some(least), _) if length < least => Err(format!("{}; expected {}", shown(), expected("at least", least))),
        (_, Some(most)) if length > most => Err(format!("{}; expected {}", shown(), expected("at most", most))),
        _ => Ok(()),
    }
}

fn shown_length(length: u64) -> String {
    shown_length_of_text(length, "bytes")
}

fn shown_length_of_text(length: u64, unit: impl Display) -> String {
    if length == 0 { "is empty".to_owned() } else { format!("has {length} {unit}") }
}

fn set(message: &DynamicMessage, name: &str) -> Option<Value> {
    let field = message.descriptor().get_field_by_name(name)?;
    message.has_field(&field).then(|| message.get_field(&field).into_owned())
}

fn flag(rules: &DynamicMessage, kind: &str, name: &str) -> bool {
    set(rules, kind).is_some_and(|rules| rules.as_message().is_some_and(|rules| flag_of(rules, name)))
}

fn flag_of(rules: &DynamicMessage, name: &str) -> bool {
    set(rules, name).and_then(|value| value.as_bool()) == Some(true)
}

fn count(rules: &DynamicMessage, name: &str) -> Option<u64> {
    set(rules, name).and_then(|value| value.as_u64())
}
