//! A log format, compiled once: Envoy's format string, or a JSON object whose strings are such.

use serde_json::Value;

use super::Fields;
use super::operator::{self, NotAnOperator, Operator};
use super::slot::{Form, Slot, escape_into};

/// Why a text is no log format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The operator is not known.
    #[error("log format, character {at}: `%{name}%` is not a known operator: did you mean `%{nearest}%`?")]
    Unknown {
        /// Where it begins, counted in characters from 1.
        at: usize,
        /// As it was written.
        name: String,
        /// The known operator that is most like it.
        nearest: &'static str,
    },
    /// The operator's argument does not fit.
    #[error("log format, character {at}: `%{name}%` has a wrong argument: expected {expected}")]
    Argument {
        /// Where it begins.
        at: usize,
        /// The operator.
        name: String,
        /// What it takes.
        expected: String,
    },
    /// An operator is begun and not ended.
    #[error(
        "log format, character {at}: an operator is not ended: expected `%NAME%`, `%NAME(ARGUMENT):LENGTH%`, or `%%` for a percent sign"
    )]
    Open {
        /// Where it begins.
        at: usize,
    },
    /// A JSON format is not an object.
    #[error("log format: a JSON format is an object of names and format strings")]
    NotAnObject,
    /// An error within a member of a JSON format.
    #[error("log format, member `{path}`: {error}")]
    Member {
        /// The member's path, with dots.
        path: String,
        /// What is wrong.
        error: Box<FormatError>,
    },
}

/// A compiled log format. Lines end in a line feed.
#[derive(Debug, Clone, PartialEq)]
pub struct LogFormat(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(Vec<Part>),
    Json(Json),
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Value { operator: Operator, max_len: Option<usize> },
}

#[derive(Debug, Clone, PartialEq)]
enum Json {
    /// Already JSON.
    Literal(String),
    /// One operator alone: keeps its type.
    Value {
        operator: Operator,
        max_len: Option<usize>,
    },
    String(Vec<Part>),
    /// Names are escaped already.
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
}

const ENVOY_TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ",
    "\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n"
);

/// Istio's default line.
pub const ISTIO_TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% ",
    "%ROUTE_NAME%\n"
);

/// The members of Istio's default JSON log, each with its format string; and one of ours, which only our proxies fill: why
/// an exchange came to nothing, in words.
pub const ISTIO_JSON: [(&str, &str); 25] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("reason", "%DYNAMIC_METADATA(halcyon:reason)%"),
];

impl LogFormat {
    /// Compiles a format string. It brings its own line feed, as in Envoy; without one at its end, one is added.
    pub fn text(format: &str) -> Result<Self, FormatError> {
        let mut parts = parse(format)?;
        match parts.last_mut() {
            Some(Part::Text(last)) if last.ends_with('\n') => {}
            Some(Part::Text(last)) => last.push('\n'),
            _ => parts.push(Part::Text("\n".to_owned())),
        }
        Ok(Self(Node::Text(parts)))
    }

    /// Compiles a JSON format: strings are format strings, objects and arrays nest, all else stands as it is.
    /// A string of one operator alone keeps the operator's type, and is `null` when its value is absent.
    pub fn json(format: &Value) -> Result<Self, FormatError> {
        match format {
            Value::Object(_) => Ok(Self(Node::Json(json(format, "")?))),
            _ => Err(FormatError::NotAnObject),
        }
    }

    /// Envoy's default line.
    pub fn envoy_text() -> Self {
        Self::text(ENVOY_TEXT).expect("tested")
    }

    /// Istio's default line.
    pub fn istio_text() -> Self {
        Self::text(ISTIO_TEXT).expect("tested")
    }

    /// Istio's default JSON object, with our one member more.
    pub fn istio_json() -> Self {
        let members = ISTIO_JSON.iter().map(|(name, format)| ((*name).to_owned(), Value::from(*format)));
        Self::json(&Value::Object(members.collect())).expect("tested")
    }

    /// Every operator that it names.
    pub fn operators(&self) -> impl Iterator<Item = &Operator> {
        let mut found = Vec::new();
        match &self.0 {
            Node::Text(parts) => found.extend(parts.iter().filter_map(Part::operator)),
            Node::Json(json) => json.operators(&mut found),
        }
        found.into_iter()
    }

    /// What it says of one exchange, for what is no line: nothing is escaped, and there is no line feed at its end.
    pub fn said(&self, fields: &dyn Fields) -> String {
        let mut text = String::new();
        match &self.0 {
            Node::Text(parts) => parts.iter().for_each(|part| part.write(fields, &mut text, Form::Plain)),
            Node::Json(json) => json.write(fields, &mut text),
        }
        text.truncate(text.trim_end_matches('\n').len());
        text
    }

    /// Appends the line of one exchange, with its line feed.
    pub fn write(&self, fields: &dyn Fields, out: &mut String) {
        match &self.0 {
            Node::Text(parts) => parts.iter().for_each(|part| part.write(fields, out, Form::Text { json: false })),
            Node::Json(json) => {
                json.write(fields, out);
                out.push('\n');
            }
        }
    }
}

impl Part {
    fn operator(&self) -> Option<&Operator> {
        match self {
            Self::Text(_) => None,
            Self::Value { operator, .. } => Some(operator),
        }
    }

    fn write(&self, fields: &dyn Fields, out: &mut String, form: Form) {
        match self {
            Self::Text(text) if form == (Form::Text { json: true }) => escape_into(out, text, true),
            Self::Text(text) => out.push_str(text),
            Self::Value { operator, max_len } => fill(operator, *max_len, fields, out, form),
        }
    }
}

impl Json {
    fn operators<'a>(&'a self, found: &mut Vec<&'a Operator>) {
        match self {
            Self::Literal(_) => {}
            Self::Value { operator, .. } => found.push(operator),
            Self::String(parts) => found.extend(parts.iter().filter_map(Part::operator)),
            Self::Object(members) => members.iter().for_each(|(_, member)| member.operators(found)),
            Self::Array(items) => items.iter().for_each(|item| item.operators(found)),
        }
    }

    fn write(&self, fields: &dyn Fields, out: &mut String) {
        match self {
            Self::Literal(text) => out.push_str(text),
            Self::Value { operator, max_len } => fill(operator, *max_len, fields, out, Form::Value),
            Self::String(parts) => {
                out.push('"');
                parts.iter().for_each(|part| part.write(fields, out, Form::Text { json: true }));
                out.push('"');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, member)) in members.iter().enumerate() {
                    out.push_str(if at == 0 { "\"" } else { ",\"" });
                    out.push_str(name);
                    out.push_str("\":");
                    member.write(fields, out);
                }
                out.push('}');
            }
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(fields, out);
                }
                out.push(']');
            }
        }
    }
}

impl Operator {
    /// Reads one operator, such as `%REQ(:PATH)%`.
    ///
    /// # Errors
    /// It is none, or stands among other text.
    pub fn one(text: &str) -> Result<Self, FormatError> {
        let mut parts = parse(text)?;
        match (parts.pop(), parts.is_empty()) {
            (Some(Part::Value { operator, max_len: None }), true) => Ok(operator),
            _ => Err(FormatError::Open { at: 1 }),
        }
    }

    /// Its value alone; none: it is absent.
    pub fn value(&self, fields: &dyn Fields) -> Option<String> {
        let mut out = String::new();
        let mut slot = Slot::new(&mut out, Form::Text { json: false }, None);
        fields.put(self, &mut slot);
        slot.is_filled().then_some(out)
    }
}

fn fill(operator: &Operator, max_len: Option<usize>, fields: &dyn Fields, out: &mut String, form: Form) {
    let mut slot = Slot::new(out, form, max_len);
    match operator {
        Operator::Fixed(value) => slot.text(value.as_deref().unwrap_or_default()),
        operator => fields.put(operator, &mut slot),
    }
    slot.finish();
}

fn json(format: &Value, path: &str) -> Result<Json, FormatError> {
    let inner = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    Ok(match format {
        Value::String(text) => {
            let mut parts =
                parse(text).map_err(|error| FormatError::Member { path: path.to_owned(), error: error.into() })?;
            match parts.as_mut_slice() {
                [Part::Value { .. }] => match parts.pop() {
                    Some(Part::Value { operator, max_len }) => Json::Value { operator, max_len },
                    _ => Json::String(parts),
                },
                _ => Json::String(parts),
            }
        }
        Value::Object(members) => {
            let mut compiled = Vec::with_capacity(members.len());
            for (name, member) in members {
                let mut escaped = String::new();
                escape_into(&mut escaped, name, true);
                compiled.push((escaped, json(member, &inner(name))?));
            }
            Json::Object(compiled)
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            Json::Array(items.map(|(at, item)| json(item, &inner(&at.to_string()))).collect::<Result<_, _>>()?)
        }
        other => Json::Literal(other.to_string()),
    })
}

/// Cuts a format string into literal text and operators.
fn parse(format: &str) -> Result<Vec<Part>, FormatError> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = format;
    while let Some(percent) = rest.find('%') {
        text.push_str(&rest[..percent]);
        let at = format[..format.len() - rest.len() + percent].chars().count() + 1;
        rest = &rest[percent + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let (part, after) = command(rest, at)?;
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(part);
        rest = after;
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

/// Reads `NAME%`, `NAME(ARGUMENT)%` or `NAME(ARGUMENT):LENGTH%` after the first percent sign.
fn command(rest: &str, at: usize) -> Result<(Part, &str), FormatError> {
    let open = || FormatError::Open { at };
    let name_len = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).ok_or_else(open)?;
    let (name, mut rest) = rest.split_at(name_len);
    let mut argument = None;
    if let Some(after) = rest.strip_prefix('(') {
        let (inside, after) = after.split_once(')').ok_or_else(open)?;
        argument = Some(inside);
        rest = after;
    }
    let mut max_len = None;
    if let Some(after) = rest.strip_prefix(':') {
        let (digits, _) = after.split_once('%').ok_or_else(open)?;
        let length = digits.parse().map_err(|_| FormatError::Argument {
            at,
            name: name.to_owned(),
            expected: "a number of characters after `:`".to_owned(),
        })?;
        max_len = Some(length);
        rest = &after[digits.len()..];
    }
    let rest = rest.strip_prefix('%').ok_or_else(open)?;
    let operator = operator::compile(name, argument).map_err(|refused| match refused {
        NotAnOperator::Unknown(nearest) => FormatError::Unknown { at, name: name.to_owned(), nearest },
        NotAnOperator::Argument(expected) => FormatError::Argument { at, name: name.to_owned(), expected },
    })?;
    Ok((Part::Value { operator, max_len }, rest))
}
