//! Where and how a finished exchange is written down.

/// An access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// A file's path; `/dev/stdout` is standard output.
    pub path: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of an access-log line, in Envoy's command operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFormat {
    /// Envoy's default text.
    Default,
    /// A text with operators; it brings its own line end.
    Text(String),
    /// A JSON object, key by key in ascending order (the wire knows no other), each value a text with operators.
    Json(Vec<(String, String)>),
}
