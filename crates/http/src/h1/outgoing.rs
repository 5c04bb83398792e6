//! A message on its way out: its head as bytes, then its body pumped frame by frame, never more than fits.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, Request, StatusCode, Version, request, response};
use http_body::Frame;

use super::framing::Encoder;
use super::wire::Wire;
use crate::body::Body;
use crate::error::{BodyError, BodyErrorKind, Side};
use crate::head::{Marks, has_token};

/// Why a message did not get out.
#[derive(Debug)]
pub(super) enum Stuck {
    Io(io::Error),
    Body(BodyError),
}

/// A body and how it is wrapped. Ready when all is written.
pub(super) struct Outgoing {
    body: Body,
    encoder: Encoder,
    /// Trailers are written.
    trailers: bool,
    ended: bool,
    /// A frame was taken from the body: it can no longer be given back.
    pub(super) touched: bool,
}

impl Outgoing {
    pub(super) fn new(body: Body, encoder: Encoder, trailers: bool) -> Self {
        Self { body, encoder, trailers, ended: encoder == Encoder::None, touched: false }
    }

    /// Has the wire got all that the message needs, even if its body has not said so yet?
    pub(super) fn is_whole(&self) -> bool {
        self.ended || self.encoder == Encoder::Exact(0)
    }

    pub(super) fn into_body(self) -> Body {
        self.body
    }

    /// Moves the body to the wire until it is all written, or one side has to be waited for.
    pub(super) fn poll(&mut self, wire: &RefCell<Wire>, cx: &mut Context<'_>) -> Poll<Result<(), Stuck>> {
        loop {
            // The wire is not held while the body is polled: the body may come from this very connection.
            if self.ended || wire.borrow().out.is_crowded() {
                ready!(wire.borrow_mut().poll_flush(cx)).map_err(Stuck::Io)?;
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match self.body.poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.touched = true;
                    self.encode(frame, &mut wire.borrow_mut()).map_err(Stuck::Body)?;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.touched = true;
                    // What came before it is given to the peer, which then sees that the rest is missing.
                    let _ = wire.borrow_mut().poll_flush(cx);
                    return Poll::Ready(Err(Stuck::Body(error)));
                }
                Poll::Ready(None) => self.end(None, &mut wire.borrow_mut()).map_err(Stuck::Body)?,
                Poll::Pending => {
                    ready!(wire.borrow_mut().poll_flush(cx)).map_err(Stuck::Io)?;
                    return Poll::Pending;
                }
            }
        }
    }

    fn encode(&mut self, frame: Frame<Bytes>, wire: &mut Wire) -> Result<(), BodyError> {
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => return Ok(()),
            Ok(data) => data,
            Err(frame) => return self.end(frame.into_trailers().ok(), wire),
        };
        match &mut self.encoder {
            Encoder::None => {}
            Encoder::UntilClose => wire.out.push(data),
            Encoder::Exact(left) => {
                // More than declared would be read as the next message.
                *left = left.checked_sub(data.len() as u64).ok_or_else(misfit)?;
                wire.out.push(data);
            }
            Encoder::Chunked => {
                push_hex(wire.out.small(), data.len());
                wire.out.push(data);
                wire.out.small().extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>, wire: &mut Wire) -> Result<(), BodyError> {
        self.ended = true;
        match self.encoder {
            Encoder::Exact(left) if left > 0 => Err(misfit()),
            Encoder::Chunked => {
                let out = wire.out.small();
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().filter(|_| self.trailers).flatten() {
                    field(out, name.as_str(), value.as_bytes());
                }
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn misfit() -> BodyError {
    BodyError::new(Side::Local, BodyErrorKind::Malformed)
}

/// Writes a request head; says how the body is to be wrapped.
pub(super) fn request_head(out: &mut Vec<u8>, request: &Request<Body>) -> Encoder {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    match (uri.authority(), uri.path_and_query()) {
        (Some(authority), _) if method == Method::CONNECT => out.extend_from_slice(authority.as_str().as_bytes()),
        (_, Some(path)) => {
            if path.as_str().starts_with('?') {
                out.push(b'/');
            }
            out.extend_from_slice(path.as_str().as_bytes());
        }
        _ => out.push(b'/'),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let marks = fields(out, headers);
    if !marks.any(Marks::HOST) {
        field(out, "host", uri.authority().map_or("", |a| a.as_str()).as_bytes());
    }
    if marks.any(Marks::UPGRADE) {
        out.extend_from_slice(b"connection: upgrade\r\n");
    }
    let body = request.body();
    let encoder = match body.exact_len().or_else(|| declared(headers, marks)) {
        _ if method == Method::CONNECT => Encoder::None,
        // Without a body a length says nothing, save where a method may have one (RFC 9110, section 8.6).
        Some(0) => {
            let never = matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::TRACE);
            if !never || marks.any(Marks::CONTENT_LENGTH) {
                out.extend_from_slice(b"content-length: 0\r\n");
            }
            Encoder::None
        }
        Some(len) => {
            content_length(out, len);
            Encoder::Exact(len)
        }
        None => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Encoder::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    encoder
}

/// What the answer depends on besides itself.
pub(super) struct Asked {
    pub(super) head: bool,
    pub(super) connect: bool,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
}

impl Asked {
    pub(super) fn of(parts: &request::Parts, keep_alive: bool) -> Self {
        Self {
            head: parts.method == Method::HEAD,
            connect: parts.method == Method::CONNECT,
            version: parts.version,
            keep_alive,
        }
    }
}

/// Writes a response head; says how the body is to be wrapped, and whether the connection may be used again.
pub(super) fn response_head(out: &mut Vec<u8>, parts: &response::Parts, body: &Body, asked: &Asked) -> (Encoder, bool) {
    let status = parts.status;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
    let marks = fields(out, &parts.headers);
    if status == StatusCode::SWITCHING_PROTOCOLS || (asked.connect && status.is_success()) {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            out.extend_from_slice(b"connection: upgrade\r\n");
        }
        out.extend_from_slice(b"\r\n");
        return (Encoder::None, false);
    }
    let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let declared = declared(&parts.headers, marks);
    let encoder = if bodiless || asked.head {
        if let Some(len) = declared.or(body.exact_len().filter(|len| *len > 0))
            && status != StatusCode::NO_CONTENT
        {
            content_length(out, len);
        }
        Encoder::None
    } else if let Some(len) = body.exact_len().or(declared) {
        content_length(out, len);
        Encoder::Exact(len)
    } else if asked.version == Version::HTTP_10 {
        Encoder::UntilClose
    } else {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        Encoder::Chunked
    };
    let says_close = marks.any(Marks::CONNECTION) && has_token(&parts.headers, &header::CONNECTION, "close");
    let keep = asked.keep_alive && !says_close && encoder != Encoder::UntilClose;
    match (keep, asked.version) {
        (false, _) => out.extend_from_slice(b"connection: close\r\n"),
        (true, Version::HTTP_10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    (encoder, keep)
}

fn declared(headers: &HeaderMap, marks: Marks) -> Option<u64> {
    let has = marks.any(Marks::CONTENT_LENGTH);
    has.then(|| headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()).flatten()
}

/// Writes all fields save those that belong to this connection, which the codec writes itself; says what there is.
fn fields(out: &mut Vec<u8>, headers: &HeaderMap) -> Marks {
    let mut marks = Marks::default();
    out.reserve(headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() + ROOM);
    for (name, value) in headers {
        marks.add(name);
        match *name {
            header::CONNECTION | header::TRANSFER_ENCODING | header::CONTENT_LENGTH => {}
            _ if name == "keep-alive" || name == "proxy-connection" => {}
            _ => field(out, name.as_str(), value.as_bytes()),
        }
    }
    marks
}

/// What the codec itself adds to the fields of a head, usually.
const ROOM: usize = 64;

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn content_length(out: &mut Vec<u8>, len: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = len;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    field(out, "content-length", &digits[at..]);
}

fn push_hex(out: &mut Vec<u8>, value: usize) {
    let digits = (usize::BITS - value.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[value >> (digit * 4) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}
