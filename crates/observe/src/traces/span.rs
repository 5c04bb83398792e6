//! A span, whoever sent it in whatever form.

use serde::{Deserialize, Serialize};

use crate::names::clip;

/// Attributes of a span or event, and events of a span, are no more.
const MOST_ATTRIBUTES: usize = 128;
const MOST_EVENTS: usize = 64;
/// A value is no longer, in characters.
const MOST_VALUE: usize = 2_048;

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum SpanKind {
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

impl SpanKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// A span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// The key under which it is kept.
    #[serde(skip)]
    pub trace: u128,
    pub id: u64,
    /// 0: none.
    pub parent: u64,
    pub service: String,
    pub namespace: String,
    pub name: String,
    pub kind: SpanKind,
    /// Microseconds since 1970.
    pub start_us: u64,
    pub duration_us: u64,
    pub error: bool,
    pub message: String,
    pub attributes: Vec<(String, String)>,
    pub events: Vec<Event>,
}

/// Something that happened within a span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub at_us: u64,
    pub name: String,
    pub attributes: Vec<(String, String)>,
}

impl Span {
    /// Names made printable, everything cut to its bound.
    pub fn bounded(mut self) -> Self {
        for name in [&mut self.service, &mut self.namespace, &mut self.name] {
            *name = clip(name);
        }
        if self.service.is_empty() {
            self.service = "unknown".to_owned();
        }
        self.message = cut(&self.message);
        bound(&mut self.attributes);
        self.events.truncate(MOST_EVENTS);
        for event in &mut self.events {
            event.name = clip(&event.name);
            bound(&mut event.attributes);
        }
        self
    }

    /// About the memory that it takes.
    pub fn bytes(&self) -> usize {
        let of =
            |attributes: &[(String, String)]| attributes.iter().map(|(k, v)| k.len() + v.len() + 48).sum::<usize>();
        let events = self.events.iter().map(|event| event.name.len() + 56 + of(&event.attributes)).sum::<usize>();
        let names = self.service.len() + self.namespace.len() + self.name.len() + self.message.len();
        std::mem::size_of::<Self>() + names + of(&self.attributes) + events
    }

    pub fn end_us(&self) -> u64 {
        self.start_us.saturating_add(self.duration_us)
    }

    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(k, _)| k == key).map(|(_, value)| &**value)
    }

    /// The status of the answer, by HTTP or gRPC.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        ["http.response.status_code", "http.status_code", "rpc.grpc.status_code", "grpc.status_code"]
            .into_iter()
            .filter_map(|key| self.attribute(key))
    }
}

fn bound(attributes: &mut Vec<(String, String)>) {
    attributes.truncate(MOST_ATTRIBUTES);
    for (key, value) in attributes {
        (*key, *value) = (clip(key), cut(value));
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MOST_VALUE).collect()
}

/// An id of a trace in hexadecimal digits: 16 or 32 of them, not all 0.
pub(crate) fn trace_id(text: &str) -> Option<u128> {
    let fits = matches!(text.len(), 16 | 32) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|id| fits && *id != 0)
}

/// An id of a span: 16 hexadecimal digits, not all 0.
pub(crate) fn span_id(text: &str) -> Option<u64> {
    let fits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|id| fits && *id != 0)
}
