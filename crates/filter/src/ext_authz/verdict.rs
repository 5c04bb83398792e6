//! What a service says of a request, whatever it speaks.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use model::headers::{HeaderWrite, WriteAction};

/// What a service says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The request may pass, changed like this.
    Allow(Box<Changes>),
    /// The client gets this.
    Deny(Answer),
    /// The service could not decide.
    Error(Option<Answer>),
}

/// An answer to the client.
#[derive(Debug)]
pub(super) struct Answer {
    /// None: as the filter has it.
    pub status: Option<StatusCode>,
    /// In place of those that answers have.
    pub headers: Vec<RawHeader>,
    pub body: Bytes,
}

/// A header as the service sent it: it may be none.
#[derive(Debug)]
pub(super) struct RawHeader {
    pub name: String,
    pub value: Vec<u8>,
    pub action: RawAction,
}

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RawAction {
    /// Written.
    Write(WriteAction),
    /// Added to what is there, if anything is.
    Join,
    /// Something that we do not know: nothing is done, where mistakes are not refused.
    Unknown,
}

impl RawHeader {
    pub fn new(name: impl Into<String>, value: impl Into<Vec<u8>>, action: RawAction) -> Self {
        Self { name: name.into(), value: value.into(), action }
    }

    /// None: HTTP has no such header.
    pub fn read(&self) -> Option<(HeaderName, HeaderValue)> {
        let name = HeaderName::from_bytes(self.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(&self.value).ok()?))
    }

    /// As it is written to responses.
    pub fn write(&self) -> Option<HeaderWrite> {
        let (name, value) = self.read()?;
        let action = match self.action {
            RawAction::Write(action) => action,
            RawAction::Join => WriteAction::Append,
            RawAction::Unknown => return None,
        };
        Some(HeaderWrite { name, value, action })
    }

    /// Does HTTP have such a header, and is it known what to do with it? Pseudo-headers count.
    pub fn is_valid(&self) -> bool {
        if self.action == RawAction::Unknown {
            return false;
        }
        let name = self.name.strip_prefix(':').unwrap_or(&self.name);
        HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_bytes(&self.value).is_ok()
    }
}

/// Changes to a request that may pass, and to its response.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Headers of the request.
    pub headers: Vec<RawHeader>,
    /// Headers that it loses.
    pub remove: Vec<String>,
    /// Headers of the response.
    pub response: Vec<RawHeader>,
    /// Parameters of its query.
    pub set_query: Vec<(String, String)>,
    /// Parameters that the query loses.
    pub remove_query: Vec<String>,
}

impl Changes {
    /// Do they change what a route may be chosen by?
    pub fn concern_routes(&self) -> bool {
        !(self.headers.is_empty()
            && self.remove.is_empty()
            && self.set_query.is_empty()
            && self.remove_query.is_empty())
    }

    /// The first header of the request that HTTP does not have, in Envoy's words.
    pub fn first_bad(&self) -> Option<String> {
        self.headers.iter().find_map(|RawHeader { name, value, .. }| {
            let bare = name.strip_prefix(':').unwrap_or(name);
            if HeaderName::from_bytes(bare.as_bytes()).is_err() {
                return Some(format!("invalid header name: {name}"));
            }
            HeaderValue::from_bytes(value).is_err().then(|| format!("invalid header value for: {name}"))
        })
    }

    /// Can all of them be made?
    pub fn are_valid(&self) -> bool {
        let encoded = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b));
        self.headers.iter().chain(&self.response).all(RawHeader::is_valid)
            && self.set_query.iter().all(|(key, value)| encoded(key) && encoded(value))
    }
}
