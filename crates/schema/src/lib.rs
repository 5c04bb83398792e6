//! Envoy's own schema at run time: JSON values as messages, by the names of fields, for text that people wrote for Envoy.
//!
//! Owns the schema, the way from a value to a message, and the bounds that the schema sets to values, with the path of
//! whatever does not fit. What of a message can be run is for `xds::decode` to say. Knows no other crate of ours.
//!
//! ```
//! let cluster = schema::message(schema::CLUSTER, serde_json::json!({"name": "origin", "connect_timeout": "1s"})).unwrap();
//! assert_eq!(cluster.get_field_by_name("name").unwrap().as_str(), Some("origin"));
//! let misfit = schema::message(schema::CLUSTER, serde_json::json!({"nmae": "origin"})).unwrap_err();
//! assert!(misfit.problem.starts_with("unrecognized field name"), "{misfit}");
//! ```

mod rules;

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MessageDescriptor};
use serde::de::DeserializeSeed;
use serde_json::{Map, Value};

pub use prost_reflect::{DynamicMessage, ReflectMessage, Value as Field};
pub use rules::check;

/// A bootstrap file.
pub const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
/// A cluster.
pub const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

/// The schema, as cargo's build has it from the package with Envoy's messages.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.bin"));
    DescriptorPool::decode(bytes).expect("the schema was encoded by the build")
});

/// Envelopes that name another type and hold its fields (`xds.type.v3.TypedStruct`, and by its older name).
const TYPED_STRUCTS: [&str; 2] = ["udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"];

/// A value that does not fit the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Misfit {
    /// Where in the value; `.` is the whole of it.
    pub path: String,
    /// What is wrong, and what was expected.
    pub problem: String,
}

/// The type of this full name, such as [`CLUSTER`].
pub fn descriptor(name: &str) -> Option<MessageDescriptor> {
    POOL.get_message_by_name(name)
}

/// A value as a message: every field has to be one of the schema, in its own or in JSON's spelling.
///
/// # Errors
/// [`Misfit`]: what does not fit, and where.
pub fn message(name: &str, mut value: Value) -> Result<DynamicMessage, Misfit> {
    let whole = |problem: String| Misfit { path: ".".to_owned(), problem };
    let descriptor = descriptor(name).ok_or_else(|| whole(format!("there is no type `{name}`")))?;
    unfold(&mut value);
    let mut track = serde_path_to_error::Track::new();
    let read: Result<DynamicMessage, _> =
        descriptor.deserialize(serde_path_to_error::Deserializer::new(value, &mut track));
    read.map_err(|error| Misfit { path: track.path().to_string(), problem: in_words(&error.to_string()) })
}

/// The message that an envelope holds; none if its type is not of the schema, or the bytes are none of it.
pub fn decode(type_url: &str, bytes: &[u8]) -> Option<DynamicMessage> {
    DynamicMessage::decode(descriptor(type_url.rsplit('/').next()?)?, bytes).ok()
}

/// Puts the fields of typed structs where the structs are, so that they are read by the schema of the type that they name.
fn unfold(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(inner) = typed_struct(fields) {
                *fields = inner;
            }
            fields.values_mut().for_each(unfold);
        }
        Value::Array(items) => items.iter_mut().for_each(unfold),
        _ => {}
    }
}

fn typed_struct(fields: &Map<String, Value>) -> Option<Map<String, Value>> {
    let of = fields.get("@type")?.as_str()?;
    if !TYPED_STRUCTS.iter().any(|name| of.ends_with(name)) {
        return None;
    }
    let named = fields.get("type_url").or_else(|| fields.get("typeUrl"))?.clone();
    let inner = fields.get("value").and_then(Value::as_object).cloned().unwrap_or_default();
    Some(std::iter::once(("@type".to_owned(), named)).chain(inner).collect())
}

/// The reader's words, with what to do where it is an extension that nobody knows.
fn in_words(error: &str) -> String {
    let text = error.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    match text.strip_prefix("message '").and_then(|rest| rest.strip_suffix("' not found")) {
        Some(name) => format!("is of type `{name}`, which is no extension that this proxy knows"),
        None => format!("{text}{}", EXPECTED.iter().find(|(begin, _)| text.starts_with(begin)).map_or("", |it| it.1)),
    }
}

/// What was expected, where the reader does not say it.
const EXPECTED: [(&str, &str); 3] = [
    ("unrecognized field name", "; expected a field that Envoy's schema has here"),
    ("unrecognized enum value", "; expected a word that Envoy's schema has here"),
    ("multiple fields provided for oneof", "; expected one of them"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn typed_structs_are_what_they_name() {
        let filter = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter";
        let of = |config: Value| message(filter, json!({"name": "x", "typed_config": config}));
        let buffer = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer";
        let plain = of(json!({"@type": buffer, "max_request_bytes": 7})).unwrap();
        for name in TYPED_STRUCTS {
            let folded = json!({"@type": format!("type.googleapis.com/{name}"), "type_url": buffer, "value": {"max_request_bytes": 7}});
            assert_eq!(of(folded).unwrap(), plain, "{name}");
        }
        let misfit = of(json!({"@type": buffer, "max_bytes": 7})).unwrap_err();
        assert!(misfit.problem.contains("max_bytes"), "{misfit}");
    }
}
