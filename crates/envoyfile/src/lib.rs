//! An Envoy bootstrap file, YAML or JSON, read by Envoy's own schema, so that our proxy can stand where Envoy stood.
//!
//! Owns the way from text to Envoy's `Bootstrap` message, with the path of whatever does not fit, and whether what a file
//! gives goes together. What of the message the proxy can run is for `xds::decode::bootstrap` to say. Knows no running proxy.
//!
//! ```
//! let text = "
//! admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
//! static_resources:
//!   clusters:
//!   - name: origin
//!     connect_timeout: 1s
//!     load_assignment: {cluster_name: origin, endpoints: []}
//! ";
//! let bootstrap = envoyfile::parse("envoy.yaml", text).unwrap();
//! assert_eq!(bootstrap.resources.len(), 1);
//! let error = envoyfile::parse("envoy.yaml", "admin: {adress: {}}").unwrap_err();
//! assert!(error.to_string().starts_with("envoy.yaml: admin: unrecognized field name"), "{error}");
//! ```

mod secrets;
mod whole;

use std::path::{Path, PathBuf};

use prost::Message;
use proto::envoy::config::bootstrap::v3 as wire;
use proto::google::protobuf::{Struct, value::Kind};
use serde_json::Value;
use whole::Wrong;
use xds::decode::{Bootstrap, DecodeError};

pub use proto::envoy::config::core::v3::Node as WireNode;

/// Why a bootstrap file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("{path}: cannot be read: {source}; expected an Envoy bootstrap file, YAML or JSON")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is neither YAML nor JSON.
    #[error("{file}: {problem}; expected an Envoy bootstrap, YAML or JSON")]
    Syntax {
        /// Which.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// It does not fit Envoy's schema.
    #[error("{file}: {path}: {problem}")]
    Schema {
        /// Which.
        file: String,
        /// Where in it.
        path: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// What it gives does not go together, or with the files that it names.
    #[error("{file}: {path}: {problem}")]
    Whole {
        /// Which.
        file: String,
        /// Where in it.
        path: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// It asks for what this proxy does not do.
    #[error("{file}: {}: {}; expected {}", .error.path, .error.problem, .error.expected)]
    Unsupported {
        /// Which.
        file: String,
        /// Where and what.
        error: Box<DecodeError>,
    },
}

/// Reads a bootstrap file.
///
/// # Errors
/// [`FileError`]: what is wrong, and where.
pub fn load(path: &Path) -> Result<Bootstrap, FileError> {
    let text = std::fs::read_to_string(path).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    parse(&path.display().to_string(), &text)
}

/// Reads the text of a bootstrap file; `file` is for messages.
///
/// # Errors
/// As [`load`].
pub fn parse(file: &str, text: &str) -> Result<Bootstrap, FileError> {
    let syntax = |problem: String| FileError::Syntax { file: file.to_owned(), problem };
    let value: Value = serde_saphyr::from_str(text).map_err(|e| syntax(one_line(&e.to_string())))?;
    if !value.is_object() {
        return Err(syntax("is no mapping".to_owned()));
    }
    let whole = |Wrong { path, problem }| FileError::Whole { file: file.to_owned(), path, problem };
    let mut message = read(file, value.clone())?;
    secrets::fill_in(&mut message).map_err(whole)?;
    let bootstrap = xds::decode::bootstrap(message)
        .map_err(|error| FileError::Unsupported { file: file.to_owned(), error: Box::new(error) })?;
    whole::check(&bootstrap, &value).map_err(whole)?;
    Ok(bootstrap)
}

fn read(file: &str, value: Value) -> Result<wire::Bootstrap, FileError> {
    let message = schema::message(schema::BOOTSTRAP, value).and_then(|message| {
        schema::check(&message)?;
        Ok(message)
    });
    let message = message.map_err(|misfit| FileError::Schema {
        file: file.to_owned(),
        path: misfit.path,
        problem: misfit.problem,
    })?;
    let bytes = message.encode_to_vec();
    wire::Bootstrap::decode(&*bytes).map_err(|e| FileError::Syntax { file: file.to_owned(), problem: e.to_string() })
}

/// What the reader says, without the picture of the place that it draws and what only its callers can do.
fn one_line(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default().trim();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    first.split(", set DuplicateKeyPolicy").next().unwrap_or(first).to_owned()
}

/// Metadata of a node as JSON.
pub fn json_of(fields: &Struct) -> serde_json::Map<String, Value> {
    fields.fields.iter().map(|(key, value)| (key.clone(), json_of_value(value.kind.as_ref()))).collect()
}

fn json_of_value(kind: Option<&Kind>) -> Value {
    match kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::NumberValue(value)) => serde_json::Number::from_f64(*value).map_or(Value::Null, Value::Number),
        Some(Kind::StringValue(value)) => Value::String(value.clone()),
        Some(Kind::ListValue(list)) => list.values.iter().map(|value| json_of_value(value.kind.as_ref())).collect(),
        Some(Kind::StructValue(fields)) => Value::Object(json_of(fields)),
    }
}
