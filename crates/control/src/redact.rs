//! Secrets in documents: taken out before a document is shown, compared in words, or written down.
//!
//! The data of a `Secret`; private keys in PEM wherever they stand; what Envoy marks as sensitive, where an EnvoyFilter
//! has it inline. Names of parts stay, so that people see what there is.

use std::collections::BTreeSet;

use api::Kind;
use serde_json::Value;

/// Takes secrets out of a document of this kind.
pub fn document(kind: Kind, document: &mut Value) {
    if kind == Kind::Secret {
        secret(document);
    }
    inline(document, false);
}

/// Both sides of a comparison without secrets; what is different in a secret is said, and not how.
pub fn pair(kind: Kind, before: Option<&Value>, after: Option<&Value>) -> (Option<Value>, Option<Value>) {
    let changed = match (kind, before, after) {
        (Kind::Secret, Some(before), Some(after)) => changed_parts(before, after),
        _ => BTreeSet::new(),
    };
    let clean = |value: &Value| {
        let mut value = value.clone();
        document(kind, &mut value);
        value
    };
    let (before, mut after) = (before.map(clean), after.map(clean));
    for (part, name) in changed {
        if let Some(Value::String(text)) = after.as_mut().and_then(|after| after.get_mut(part)?.get_mut(&name)) {
            *text = text.replacen("(redacted", "(redacted, changed", 1);
        }
    }
    (before, after)
}

const PARTS: [&str; 2] = ["data", "stringData"];

fn changed_parts(before: &Value, after: &Value) -> BTreeSet<(&'static str, String)> {
    let mut changed = BTreeSet::new();
    for part in PARTS {
        for (name, value) in after.get(part).and_then(Value::as_object).into_iter().flatten() {
            if before.get(part).and_then(|old| old.get(name)) != Some(value) {
                changed.insert((part, name.clone()));
            }
        }
    }
    changed
}

/// The copy of the whole in kubectl's annotation goes too.
fn secret(document: &mut Value) {
    for part in PARTS {
        match document.get_mut(part) {
            Some(Value::Object(values)) => values.iter_mut().for_each(|(_, value)| hide(value)),
            Some(other) => hide(other),
            None => {}
        }
    }
    if let Some(annotations) = document.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

fn hide(value: &mut Value) {
    let length = value.as_str().map_or(0, str::len);
    *value = format!("(redacted, {length} characters)").into();
}

/// Members that Envoy marks as sensitive, in both spellings. Those that name a file stay: `DestinationRule` has such.
const SENSITIVE: [&str; 10] = [
    "private_key",
    "privateKey",
    "password",
    "session_ticket_keys",
    "sessionTicketKeys",
    "hmac_secret",
    "hmacSecret",
    "token_secret",
    "generic_secret",
    "genericSecret",
];
const INLINE: [&str; 4] = ["inline_string", "inlineString", "inline_bytes", "inlineBytes"];

fn inline(value: &mut Value, in_sensitive: bool) {
    match value {
        Value::String(text) if text.contains("PRIVATE KEY-----") => hide(value),
        Value::Array(items) => items.iter_mut().for_each(|item| inline(item, in_sensitive)),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                if in_sensitive && INLINE.contains(&name.as_str()) {
                    hide(member);
                } else {
                    inline(member, in_sensitive || SENSITIVE.contains(&name.as_str()));
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_redacted() {
        let mut value = json!({
            "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "c2VjcmV0", "a": "b"}},
            "data": {"tls.key": "c2VjcmV0"}, "stringData": {"x": "secret"},
        });
        document(Kind::Secret, &mut value);
        let text = value.to_string();
        assert!(!text.contains("c2VjcmV0") && !text.contains(r#""secret""#), "{text}");
        assert!(text.contains("tls.key") && text.contains(r#""a":"b""#), "{text}");
    }

    #[test]
    fn inline_keys_of_other_kinds_too_and_no_file_names() {
        let mut value = json!({"spec": {
            "privateKey": "/etc/certs/key.pem",
            "patch": {"tls_certificates": [{"private_key": {"inline_string": "hush"}, "password": {"inlineBytes": "aHVzaA=="},
                "certificate_chain": {"inline_string": "a chain"}}]},
            "note": "-----BEGIN PRIVATE KEY-----\nhush\n",
        }});
        document(Kind::EnvoyFilter, &mut value);
        let text = value.to_string();
        assert!(!text.contains("hush") && !text.contains("aHVzaA"), "{text}");
        assert!(text.contains("key.pem") && text.contains("a chain"), "{text}");
    }

    #[test]
    fn a_change_is_said_and_not_shown() {
        let (old, new) = (json!({"data": {"a": "MQ==", "b": "MQ=="}}), json!({"data": {"a": "Mg==", "b": "MQ=="}}));
        let (old, new) = pair(Kind::Secret, Some(&old), Some(&new));
        assert_eq!(old.unwrap()["data"]["a"], "(redacted, 4 characters)");
        let new = new.unwrap();
        assert_eq!(new["data"]["a"], "(redacted, changed, 4 characters)");
        assert_eq!(new["data"]["b"], "(redacted, 4 characters)");
    }
}
