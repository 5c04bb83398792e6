//! Why no response came, or no connection stands: whose doing, what kind, and may it be tried again.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use mesh_http::{BodyError, Code, Progress, SendError, SendErrorKind};
use model::retry::RetryOn;

use crate::endpoint::Endpoint;

/// An attempt that failed.
#[derive(Debug)]
pub struct Failure {
    /// The kind.
    pub kind: FailureKind,
    /// The endpoint that was chosen, unless there was none to choose.
    pub endpoint: Option<Arc<Endpoint>>,
    /// How far the request came.
    pub progress: Progress,
    /// The request is as it was, so that it can be sent again without a copy.
    pub whole: bool,
    /// What the transport says, in a few words (Envoy's `UPSTREAM_TRANSPORT_FAILURE_REASON`); empty if there is
    /// nothing to say beyond the kind.
    pub reason: Cow<'static, str>,
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The cluster has no endpoint that could take it.
    NoEndpoint,
    /// A circuit breaker is open: as much is in use as may be.
    Overflow,
    /// No connection could be made, or its TLS handshake failed.
    ConnectFailed,
    /// No connection stood within the cluster's connect timeout, TLS included.
    ConnectTimeout,
    /// The connection broke before the response began.
    Closed,
    /// The upstream reset the stream with this code.
    Reset(Code),
    /// The upstream said that it did not process the request.
    Refused,
    /// The upstream broke the protocol.
    Protocol,
    /// The body of the request broke off: the downstream's doing.
    RequestBody(BodyError),
    /// The request cannot be put into the upstream's protocol: it names no host.
    BadRequest,
}

impl FailureKind {
    /// Envoy's response flag; none for what the downstream did.
    pub fn flag(self) -> Option<&'static str> {
        match self {
            Self::NoEndpoint => Some("UH"),
            Self::Overflow => Some("UO"),
            Self::ConnectFailed | Self::ConnectTimeout => Some("UF"),
            Self::Closed => Some("UC"),
            Self::Reset(_) | Self::Refused => Some("UR"),
            Self::Protocol => Some("UPE"),
            Self::RequestBody(_) | Self::BadRequest => None,
        }
    }

    /// Did the request not even get a connection?
    pub fn is_unconnected(self) -> bool {
        matches!(self, Self::NoEndpoint | Self::Overflow | Self::ConnectFailed | Self::ConnectTimeout)
    }

    /// The reset reason in Envoy's words, as they stand in response bodies and (with `_` for blanks) in
    /// `RESPONSE_CODE_DETAILS`.
    pub fn reset_reason(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no healthy upstream",
            Self::Overflow => "overflow",
            Self::ConnectFailed => "remote connection failure",
            Self::ConnectTimeout => "connection timeout",
            Self::Closed => "connection termination",
            Self::Reset(_) => "remote reset",
            Self::Refused => "remote refused stream reset",
            Self::Protocol => "protocol error",
            Self::RequestBody(_) => "request body broke off",
            Self::BadRequest => "request names no host",
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, reason: impl Into<Cow<'static, str>>) -> Box<Self> {
        Box::new(Self { kind, endpoint: None, progress: Progress::NotSent, whole: true, reason: reason.into() })
    }

    pub(crate) fn at(mut self: Box<Self>, endpoint: &Arc<Endpoint>) -> Box<Self> {
        self.endpoint = Some(endpoint.clone());
        self
    }

    pub(crate) fn from_send(error: SendError) -> Box<Self> {
        let (kind, reason) = match error.kind() {
            SendErrorKind::Closed => (FailureKind::Closed, Cow::Borrowed("")),
            SendErrorKind::Io(io) => (FailureKind::Closed, io.to_string().into()),
            SendErrorKind::Reset(code) => (FailureKind::Reset(*code), code.to_string().into()),
            SendErrorKind::RefusedStream => (FailureKind::Refused, "".into()),
            SendErrorKind::GoAway(code) => (FailureKind::Refused, format!("peer goes away: {code}").into()),
            SendErrorKind::Timeout => (FailureKind::Closed, "no answer to a keep-alive ping".into()),
            SendErrorKind::Protocol(what) => (FailureKind::Protocol, (*what).into()),
            SendErrorKind::Body(body) => (FailureKind::RequestBody(*body), "".into()),
        };
        let (progress, whole) = (error.progress(), error.is_whole());
        let kind = match kind {
            FailureKind::Protocol if progress == Progress::NotSent => FailureKind::BadRequest,
            kind => kind,
        };
        Box::new(Self { kind, endpoint: None, progress, whole, reason })
    }

    /// Can the upstream not have processed the request?
    pub fn is_unprocessed(&self) -> bool {
        self.progress <= Progress::StaleConnection
    }

    /// Is it worth another try under these conditions? The rules are those of Envoy's router for resets: without an
    /// endpoint, at an open circuit breaker, and for what the downstream did, never.
    pub fn retriable(&self, on: &RetryOn) -> bool {
        match self.kind {
            FailureKind::NoEndpoint | FailureKind::Overflow | FailureKind::RequestBody(_) | FailureKind::BadRequest => {
                return false;
            }
            _ if on.reset || on.any_5xx || on.gateway_error => return true,
            _ => {}
        }
        match self.kind {
            FailureKind::ConnectFailed | FailureKind::ConnectTimeout if on.connect_failure => true,
            FailureKind::Refused if on.refused_stream => true,
            _ => on.reset_before_request && self.progress == Progress::NotSent,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.reset_reason())?;
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_by_condition() {
        use FailureKind::*;
        let failure = |kind, progress| Failure { progress, ..*Failure::new(kind, "") };
        for (on, kind, progress, expected) in [
            ("5xx", Closed, Progress::Sent, true),
            ("5xx", NoEndpoint, Progress::NotSent, false),
            ("gateway-error", ConnectFailed, Progress::NotSent, true),
            ("reset", Reset(Code::CANCEL), Progress::Sent, true),
            ("connect-failure", ConnectFailed, Progress::NotSent, true),
            ("connect-failure", ConnectTimeout, Progress::NotSent, true),
            ("connect-failure", Closed, Progress::Sent, false),
            ("refused-stream", Refused, Progress::Refused, true),
            ("refused-stream", Reset(Code::CANCEL), Progress::Sent, false),
            ("reset-before-request", Closed, Progress::NotSent, true),
            ("reset-before-request", Closed, Progress::Sent, false),
            ("retriable-4xx", Closed, Progress::Sent, false),
            ("5xx", BadRequest, Progress::NotSent, false),
            ("5xx,reset,connect-failure", Overflow, Progress::NotSent, false),
        ] {
            let verdict = failure(kind, progress).retriable(&RetryOn::parse(on).0);
            assert_eq!(verdict, expected, "{on} on {kind:?} {progress:?}");
        }
    }
}
