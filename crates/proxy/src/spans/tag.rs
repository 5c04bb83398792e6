//! Tags of one's own.

use std::borrow::Cow;
use std::sync::Arc;

use model::tracing::{self, TagValue};
use telemetry::log::LogFormat;

use crate::record::Summary;

/// A tag, compiled.
pub(super) struct Tag {
    /// Its key.
    pub name: Arc<str>,
    value: Value,
}

enum Value {
    /// The same for every span.
    Fixed(Option<Arc<str>>),
    /// It depends on the exchange.
    Header(http::HeaderName, Option<Arc<str>>),
    Format(LogFormat),
}

impl Tag {
    /// The environment is that of the process, and does not change.
    ///
    /// # Errors
    /// An operator is wrong; the text says where.
    pub(super) fn new(tag: &tracing::Tag) -> Result<Self, String> {
        let value = match &tag.value {
            TagValue::Literal(value) => Value::Fixed(Some(value.clone())),
            TagValue::Environment(name, or) => {
                Value::Fixed(std::env::var(&**name).ok().map(Into::into).or_else(|| or.clone()))
            }
            TagValue::RequestHeader(name, or) => Value::Header(name.clone(), or.clone()),
            TagValue::Format(text) => {
                let format = LogFormat::text(text).map_err(|error| format!("tag {} of spans: {error}", tag.name))?;
                Value::Format(format)
            }
        };
        Ok(Self { name: tag.name.clone(), value })
    }

    /// Its value for the span of an exchange; empty if it has none.
    pub(super) fn value<'a>(&'a self, summary: &'a Summary<'_>) -> Cow<'a, str> {
        match &self.value {
            Value::Fixed(value) => value.as_deref().unwrap_or_default().into(),
            Value::Header(name, or) => {
                let value = summary.facts.request_headers.as_ref().and_then(|headers| headers.get(name));
                let text = value.map(|value| String::from_utf8_lossy(value.as_bytes()));
                text.or(or.as_deref().map(Cow::from)).unwrap_or_default()
            }
            Value::Format(format) => format.said(summary).into(),
        }
    }
}
