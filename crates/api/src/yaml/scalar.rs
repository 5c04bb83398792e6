//! Plain scalars: which of null, true or false, a number or text a word is (YAML 1.2 core schema, section 10.3.2).

use super::{Number, Value};

/// Resolves a scalar that stands without quotes and without a tag.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if integer(text).is_some() || float(text).is_some() => Value::Number(Number(text.to_owned())),
        _ => Value::String(text.to_owned()),
    }
}

/// Resolves a scalar with a tag of the core schema; `None` if the tag is not known or the text does not fit it.
pub(super) fn resolve_tagged(tag: &str, text: &str) -> Option<Value> {
    let plain = resolve(text);
    match tag {
        "str" => Some(Value::String(text.to_owned())),
        "int" | "float" => matches!(plain, Value::Number(_)).then_some(plain),
        "bool" => matches!(plain, Value::Bool(_)).then_some(plain),
        "null" => matches!(plain, Value::Null).then_some(plain),
        _ => None,
    }
}

/// A whole number: decimal, `0x` hexadecimal, `0o` octal, and octal with a bare leading zero (`0644`) as Kubernetes reads it.
pub(super) fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (radix, digits) = if let Some(hex) = digits.strip_prefix("0x") {
        (16, hex)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        (8, octal)
    } else if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|c| (b'0'..=b'7').contains(&c)) {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    i128::from_str_radix(digits, radix).ok().map(|n| n * sign)
}

/// A floating-point number of the core schema, `.inf` and `.nan` included. Whole decimal numbers count too.
pub(super) fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let negative = text.starts_with('-');
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    let begins = |c: u8| c.is_ascii_digit() || c == b'.';
    let fits = |c: u8| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E' | b'+' | b'-');
    if !unsigned.bytes().next().is_some_and(begins) || !unsigned.bytes().all(fits) || !has_digit(unsigned) {
        return None;
    }
    text.parse().ok()
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolution() {
        let number = |t: &str| Value::Number(Number(t.to_owned()));
        let text = |t: &str| Value::String(t.to_owned());
        for (input, expected) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("True", Value::Bool(true)),
            ("12", number("12")),
            ("-0.5e3", number("-0.5e3")),
            (".5", number(".5")),
            ("0x1F", number("0x1F")),
            ("1.0", number("1.0")),
            ("yes", text("yes")),
            ("1.2.3", text("1.2.3")),
            ("10s", text("10s")),
            ("e3", text("e3")),
            (".", text(".")),
            ("-", text("-")),
            ("1_000", text("1_000")),
            ("0x", text("0x")),
            ("--1", text("--1")),
            ("2024-01-01", text("2024-01-01")),
            ("Infinity", text("Infinity")),
        ] {
            assert_eq!(resolve(input), expected, "{input:?}");
        }
    }

    #[test]
    fn integers() {
        for (input, expected) in
            [("0644", Some(420)), ("0o17", Some(15)), ("-7", Some(-7)), ("08", Some(8)), ("1.5", None), ("+-1", None)]
        {
            assert_eq!(integer(input), expected, "{input:?}");
        }
    }
}
