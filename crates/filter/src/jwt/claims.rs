//! What of a good token is told: to the upstream in headers, to other filters and to routes in metadata.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use model::jwt::{ClaimHeader, JwtProvider};
use model::metadata::{self, Fields};
use serde_json::{Map, Value};

use crate::jwt::token::Token;

/// Takes off what only tokens may say.
pub(super) fn sanitize(provider: &JwtProvider, headers: &mut HeaderMap) {
    let of_claims = provider.claims_to_headers.iter().map(|claim| &claim.header);
    for name in provider.payload_header.iter().chain(of_claims) {
        headers.remove(name);
    }
}

/// Tells the upstream. Gives whether a claim was told.
pub(super) fn tell(provider: &JwtProvider, token: &Token<'_>, headers: &mut HeaderMap) -> bool {
    if let Some(name) = &provider.payload_header {
        let bare = token.payload_text.trim_end_matches('=');
        let padding = if provider.pad_payload { (4 - bare.len() % 4) % 4 } else { 0 };
        let text =
            if provider.pad_payload { format!("{bare}{}", "=".repeat(padding)) } else { token.payload_text.into() };
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(name, value);
        }
    }
    let mut told = false;
    for claim in &provider.claims_to_headers {
        if let Some(value) = claim_value(claim, &token.payload) {
            headers.append(&claim.header, value);
            told = true;
        }
    }
    told
}

/// A claim as a header's value; what has none has no header.
fn claim_value(claim: &ClaimHeader, payload: &Map<String, Value>) -> Option<HeaderValue> {
    let (first, rest) = claim.claim.split_first()?;
    let value = rest.iter().try_fold(payload.get(first)?, |value, name| value.get(name))?;
    let text = match value {
        Value::Null => return None,
        Value::Bool(it) => it.to_string(),
        Value::Number(number) => number_text(number.as_f64()?),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => STANDARD.encode(value.to_string()),
    };
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}

/// A whole number as such, others with six digits after the point, as Envoy writes them.
fn number_text(number: f64) -> String {
    if number >= 0.0 && number < u64::MAX as f64 && number.fract() == 0.0 {
        (number as u64).to_string()
    } else {
        format!("{number:.6}")
    }
}

/// Says in metadata what the provider wants said.
pub(super) fn say(provider: &JwtProvider, token: &Token<'_>, said: &mut Fields) {
    if let Some(key) = &provider.header_in_metadata {
        said.insert(key.clone(), metadata::Value::Fields(fields(&token.header)));
    }
    if let Some(key) = &provider.payload_in_metadata {
        let mut payload = fields(&token.payload);
        for name in &provider.space_delimited {
            if let Some(value) = payload.get_mut(name)
                && let metadata::Value::Text(text) = value
            {
                let parts = text.split(' ').filter(|part| !part.is_empty());
                *value = metadata::Value::List(parts.map(|part| metadata::Value::Text(part.to_owned())).collect());
            }
        }
        said.insert(key.clone(), metadata::Value::Fields(payload));
    }
}

fn fields(map: &Map<String, Value>) -> Fields {
    map.iter().map(|(key, value)| (key.clone(), value_of(value))).collect()
}

fn value_of(value: &Value) -> metadata::Value {
    match value {
        Value::Null => metadata::Value::Null,
        Value::Bool(it) => metadata::Value::Bool(*it),
        Value::Number(number) => metadata::Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => metadata::Value::Text(text.clone()),
        Value::Array(list) => metadata::Value::List(list.iter().map(value_of).collect()),
        Value::Object(map) => metadata::Value::Fields(fields(map)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_as_headers() {
        let payload = serde_json::json!({
            "s": "text", "e": "", "i": 7, "f": 1.5, "n": -1, "b": true, "z": null, "l": ["a", 1], "o": {"p": {"q": "r"}},
            "nl": "a\nb",
        });
        let payload = payload.as_object().unwrap();
        for (path, expected) in [
            ("s", Some("text")),
            ("e", None),
            ("i", Some("7")),
            ("f", Some("1.500000")),
            ("n", Some("-1.000000")),
            ("b", Some("true")),
            ("z", None),
            ("l", Some("WyJhIiwxXQ==")),
            ("o.p.q", Some("r")),
            ("o.q", None),
            ("s.p", None),
            // No claim may end a header and begin another.
            ("nl", None),
        ] {
            let claim = path.split('.').map(str::to_owned).collect();
            let value = claim_value(&ClaimHeader { header: http::HeaderName::from_static("x"), claim }, payload);
            assert_eq!(value.as_ref().map(|value| value.to_str().unwrap()), expected, "{path}");
        }
    }
}
