//! Changes to headers.

use http::{HeaderName, HeaderValue};
use model::HeaderChanges;
use model::headers::{HeaderWrite, WriteAction};
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::core::v3::HeaderValueOption;
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::google::protobuf::BoolValue;

use super::{At, Decoded, each, required, take};

/// Changes from the two lists in which they travel; `add` and `remove` are the names of these.
pub(super) fn changes(
    write: Vec<HeaderValueOption>,
    remove: Vec<String>,
    at: &At<'_>,
    [add_field, remove_field]: [&str; 2],
) -> Decoded<HeaderChanges> {
    let written = each(write, &at.field(add_field), header_write)?;
    let removed = each(remove, &at.field(remove_field), |text, at| name(&text, at))?;
    Ok(HeaderChanges::new(removed, written.into_iter().flatten().collect()))
}

/// The lists of requests and responses, as nearly every message of routes names them.
pub(super) const REQUEST: [&str; 2] = ["request_headers_to_add", "request_headers_to_remove"];
pub(super) const RESPONSE: [&str; 2] = ["response_headers_to_add", "response_headers_to_remove"];

/// A header's name.
pub(super) fn name(text: &str, at: &At<'_>) -> Decoded<HeaderName> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) => Ok(name),
        Err(_) => Err(at.error(format!("is {text:?}"), "a header's name; pseudo-headers cannot be changed")),
    }
}

/// Nothing, when Envoy would write nothing: an empty value that is not to be kept.
#[allow(deprecated)]
pub(super) fn header_write(value: HeaderValueOption, at: &At<'_>) -> Decoded<Option<HeaderWrite>> {
    take!(value, at, HeaderValueOption {
        used { header, append, append_action, keep_empty_value }
        harmless {}
        refused {}
    });
    let at_header = at.field("header");
    take!(required(header, &at_header)?, at_header, core::HeaderValue {
        used { key, value, raw_value }
        harmless {}
        refused {}
    });
    let (raw, at_value) = if raw_value.is_empty() {
        (value.into_bytes(), at_header.field("value"))
    } else {
        (raw_value, at_header.field("raw_value"))
    };
    if raw.is_empty() && !keep_empty_value {
        return Ok(None);
    }
    let value = HeaderValue::from_bytes(&literal(&raw, &at_value)?)
        .map_err(|_| at_value.error("has a control character", "a header's value"))?;
    Ok(Some(HeaderWrite {
        name: name(&key, &at_header.field("key"))?,
        value,
        action: action(append, append_action, &at.field("append_action"))?,
    }))
}

fn action(append: Option<BoolValue>, action: i32, at: &At<'_>) -> Decoded<WriteAction> {
    match (append, HeaderAppendAction::try_from(action)) {
        // The older way of saying it.
        (Some(BoolValue { value: false }), Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => Ok(WriteAction::Overwrite),
        (_, Ok(HeaderAppendAction::AppendIfExistsOrAdd)) => Ok(WriteAction::Append),
        (_, Ok(HeaderAppendAction::AddIfAbsent)) => Ok(WriteAction::AddIfAbsent),
        (_, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => Ok(WriteAction::Overwrite),
        (_, Ok(HeaderAppendAction::OverwriteIfExists)) => Ok(WriteAction::OverwriteIfThere),
        (_, Err(_)) => Err(at.error(format!("is {action}"), "what to do with a header that is there already")),
    }
}

/// A value without operators: `%%` stands for `%`, and a lone one begins an operator.
pub(super) fn literal(raw: &[u8], at: &At<'_>) -> Decoded<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'%' && bytes.next_if_eq(&b'%').is_none() {
            return Err(at.error("has a command operator", "a literal value, with `%%` for a percent sign"));
        }
        out.push(byte);
    }
    Ok(out)
}
