//! What can go wrong with a body or with a request sent, told so that the caller can decide about a retry.

use std::fmt;
use std::io;

use http::Request;

use crate::body::Body;

/// An HTTP/2 error code (RFC 9113, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    /// Graceful end.
    pub const NO_ERROR: Self = Self(0);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// Our own fault.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// Not processed at all: safe to retry.
    pub const REFUSED_STREAM: Self = Self(7);
    /// No longer wanted.
    pub const CANCEL: Self = Self(8);
    /// The tunnel's TCP connection was reset.
    pub const CONNECT_ERROR: Self = Self(10);
    /// The peer generates excessive load.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match NAMES.get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", self.0),
        }
    }
}

impl From<::h2::Reason> for Code {
    fn from(reason: ::h2::Reason) -> Self {
        Self(reason.into())
    }
}

impl From<Code> for ::h2::Reason {
    fn from(code: Code) -> Self {
        code.0.into()
    }
}

/// Whose connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one who opened a connection to us.
    Downstream,
    /// The one to whom we opened a connection.
    Upstream,
    /// Neither: the program itself ended the body.
    Local,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Local => "local",
        })
    }
}

/// Why a body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BodyErrorKind {
    /// The stream was reset with this code.
    #[error("stream reset: {0}")]
    Reset(Code),
    /// The connection closed before the body was whole.
    #[error("connection closed before the body was whole")]
    Closed,
    /// It took too long.
    #[error("body took too long")]
    Timeout,
    /// Longer than allowed.
    #[error("body is too large")]
    TooLarge,
    /// Bad chunk, bad trailer or a length that does not fit.
    #[error("body is malformed")]
    Malformed,
    /// It is not in the encoding that its head names.
    #[error("body is not in the encoding that its head names")]
    Encoding,
    /// Its source was dropped, or nobody waits for it any more.
    #[error("body was cancelled")]
    Cancelled,
}

/// A body that broke off: on which side and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{side}: {kind}")]
pub struct BodyError {
    /// Whose connection failed.
    pub side: Side,
    /// Why.
    pub kind: BodyErrorKind,
}

impl BodyError {
    /// An error of this side and kind.
    pub fn new(side: Side, kind: BodyErrorKind) -> Self {
        Self { side, kind }
    }

    pub(crate) fn from_h2(side: Side, error: &::h2::Error) -> Self {
        let kind = match error.reason() {
            Some(reason) if error.is_reset() && error.is_library() && reason == ::h2::Reason::PROTOCOL_ERROR => {
                BodyErrorKind::Malformed
            }
            Some(reason) if error.is_reset() => BodyErrorKind::Reset(reason.into()),
            _ => BodyErrorKind::Closed,
        };
        Self { side, kind }
    }

    /// The code with which to reset a stream whose body broke off this way.
    pub(crate) fn reset_code(&self) -> ::h2::Reason {
        match self.kind {
            BodyErrorKind::Cancelled => ::h2::Reason::CANCEL,
            BodyErrorKind::Reset(code) if code == Code::CANCEL => ::h2::Reason::CANCEL,
            _ => ::h2::Reason::INTERNAL_ERROR,
        }
    }
}

/// What went wrong with a request sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendErrorKind {
    /// The connection was closed, or is not ready for a request.
    #[error("connection closed")]
    Closed,
    /// Reading or writing failed.
    #[error("connection failed: {0}")]
    Io(io::ErrorKind),
    /// The peer reset the stream with this code (HTTP/2).
    #[error("stream reset: {0}")]
    Reset(Code),
    /// The peer refused the stream before it looked at it (HTTP/2 REFUSED_STREAM).
    #[error("stream refused")]
    RefusedStream,
    /// The peer said GOAWAY with this code, and this request is beyond what it will process (HTTP/2).
    #[error("peer goes away: {0}")]
    GoAway(Code),
    /// No answer to a keep-alive ping in time (HTTP/2).
    #[error("no answer to a keep-alive ping")]
    Timeout,
    /// The response breaks the protocol; the text says how.
    #[error("invalid response: {0}")]
    Protocol(&'static str),
    /// The body of the request broke off.
    #[error("request body: {0}")]
    Body(BodyError),
}

/// How far a failed request came: the ground on which a retry is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// No byte of it left us.
    NotSent,
    /// The peer said that it did not process it (REFUSED_STREAM, or beyond the last stream of a GOAWAY).
    Refused,
    /// Sent on a connection that had been idle and was closed before any byte of a response: the usual race with a
    /// peer's idle timeout. It was almost certainly not processed (RFC 9112, section 9.3.1).
    StaleConnection,
    /// Sent at least in part; the peer may have processed it.
    Sent,
    /// A part of the response was seen.
    ResponseStarted,
}

/// A request that got no response.
#[derive(thiserror::Error)]
#[error("{}", .0.kind)]
pub struct SendError(Box<Failure>);

struct Failure {
    kind: SendErrorKind,
    progress: Progress,
    whole: bool,
    request: Option<Request<Body>>,
}

impl SendError {
    pub(crate) fn new(kind: SendErrorKind, progress: Progress) -> Self {
        Self(Box::new(Failure { kind, progress, whole: false, request: None }))
    }

    /// Nothing left us, and the request is as it was.
    pub(crate) fn unsent(kind: SendErrorKind) -> Self {
        Self::new(kind, Progress::NotSent).whole_if(true)
    }

    pub(crate) fn whole_if(mut self, whole: bool) -> Self {
        self.0.whole = whole;
        self
    }

    /// Gives a request that was lent for sending to whoever gets the error, if it is worth something.
    pub(crate) fn giving_back(mut self, request: Request<Body>) -> Self {
        self.0.request = self.0.whole.then_some(request);
        self
    }

    pub(crate) fn from_h2(error: &::h2::Error) -> Self {
        let code = error.reason().map_or(Code::INTERNAL_ERROR, Code::from);
        let (kind, progress) = if error.is_reset() && error.is_remote() && code == Code::REFUSED_STREAM {
            (SendErrorKind::RefusedStream, Progress::Refused)
        } else if error.is_go_away() && error.is_remote() {
            // h2 fails a stream with the peer's GOAWAY only if its number is above the last one processed.
            (SendErrorKind::GoAway(code), Progress::Refused)
        } else if error.is_reset() && error.is_remote() {
            (SendErrorKind::Reset(code), Progress::Sent)
        } else if let Some(io) = error.get_io() {
            let kind = match io.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => SendErrorKind::Closed,
                kind => SendErrorKind::Io(kind),
            };
            (kind, Progress::Sent)
        } else if error.is_reset() || error.is_go_away() {
            (SendErrorKind::Protocol("not valid HTTP/2"), Progress::Sent)
        } else {
            (SendErrorKind::Closed, Progress::Sent)
        };
        Self::new(kind, progress)
    }

    /// What went wrong.
    pub fn kind(&self) -> &SendErrorKind {
        &self.0.kind
    }

    /// How far the request came.
    pub fn progress(&self) -> Progress {
        self.0.progress
    }

    /// Was any byte of a response seen?
    pub fn response_started(&self) -> bool {
        self.0.progress == Progress::ResponseStarted
    }

    /// Can the peer not have processed the request: never sent, refused, or lost on a stale connection?
    pub fn is_unprocessed(&self) -> bool {
        self.0.progress <= Progress::StaleConnection
    }

    /// Is the request that was lent as it was before, so that it can be sent again without a copy? That says nothing
    /// about whether the peer has seen it: see [`SendError::progress`].
    pub fn is_whole(&self) -> bool {
        self.0.whole
    }

    /// The request that was given to be sent, if nothing of it or its body was used: a retry then needs no copy.
    pub fn into_request(self) -> Option<Request<Body>> {
        self.0.request
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("kind", &self.0.kind)
            .field("progress", &self.0.progress)
            .field("has_request", &self.0.request.is_some())
            .finish()
    }
}
