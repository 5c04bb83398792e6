//! The one body type of requests and responses, whatever its source: nothing, bytes in hand, the wire, a channel, or
//! one of these that was begun elsewhere or is changed on its way.
//!
//! No box per body and none per frame. A [`BodyWatch`] sees frames pass and the end, for counting and recording.

mod channel;
mod mapped;

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

pub use channel::{BodySender, SenderClosed};
pub use mapped::{BodyMap, Ending};

use crate::error::{BodyError, BodyErrorKind, Side};
use crate::h1::H1Body;
use crate::h2::H2Body;
use crate::upgrade::OnUpgrade;

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// Read to its end.
    Complete,
    /// It broke off.
    Failed(BodyError),
    /// Dropped by its reader before the end.
    Dropped,
}

/// Sees the frames of a body pass. One watch may serve many bodies; it is called in the reader's task.
pub trait BodyWatch {
    /// Data passed.
    fn data(&self, data: &[u8]);
    /// Trailers passed.
    fn trailers(&self, trailers: &HeaderMap);
    /// The body ended; called exactly once.
    fn end(&self, end: BodyEnd);
    /// Asked whenever the body makes its reader wait: ready ends the body with that error. For limits of time, so
    /// that a body that never waits costs no timer.
    fn poll_limit(&self, _cx: &mut Context<'_>) -> Poll<BodyErrorKind> {
        Poll::Pending
    }
}

/// The body of a request or response. Its frames are data ([`Bytes`]) and at most one set of trailers, the last.
pub struct Body {
    kind: Kind,
    /// Bytes that may still pass before the body is too large.
    allowance: u64,
    watch: Option<Rc<dyn BodyWatch>>,
}

enum Kind {
    Empty,
    Full(Bytes),
    H1(H1Body),
    H2(H2Body),
    Channel(channel::Receiver),
    Resumed(Box<Resumed>),
    Mapped(Box<mapped::Mapped>),
}

/// A body of which a part was read already.
struct Resumed {
    first: Bytes,
    rest: Body,
}

/// A body read whole.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// All data.
    pub data: Bytes,
    /// Its trailers, if there were any.
    pub trailers: Option<HeaderMap>,
}

impl Body {
    const fn of(kind: Kind) -> Self {
        Self { kind, allowance: u64::MAX, watch: None }
    }

    /// No data, no trailers.
    pub const fn empty() -> Self {
        Self::of(Kind::Empty)
    }

    /// These bytes.
    pub fn full(data: impl Into<Bytes>) -> Self {
        Self::of(Kind::Full(data.into()))
    }

    /// A body fed through a channel that holds at most `frames` frames before its sender has to wait.
    pub fn channel(frames: usize) -> (BodySender, Self) {
        let (sender, receiver) = channel::channel(frames);
        (sender, Self::of(Kind::Channel(receiver)))
    }

    /// `first`, and then what is left of `rest`: for data that was read before it was known what to do with the body.
    pub fn resumed(first: Bytes, rest: Body) -> Self {
        Self::of(Kind::Resumed(Box::new(Resumed { first, rest })))
    }

    /// `body` as `map` changes it on its way.
    pub fn mapped(body: Body, map: impl BodyMap + 'static) -> Self {
        Self::of(Kind::Mapped(Box::new(mapped::Mapped::new(body, map))))
    }

    pub(crate) fn h1(body: H1Body) -> Self {
        Self::of(Kind::H1(body))
    }

    pub(crate) fn h2(body: H2Body) -> Self {
        Self::of(Kind::H2(body))
    }

    /// Lets `watch` see what passes from now on. A body has one watch; setting another ends the first as dropped.
    pub fn on_frame(&mut self, watch: Rc<dyn BodyWatch>) {
        self.finish(BodyEnd::Dropped);
        self.watch = Some(watch);
    }

    /// From now on at most `bytes` may pass; then the body fails with [`BodyErrorKind::TooLarge`].
    pub fn limit(&mut self, bytes: u64) {
        self.allowance = bytes;
    }

    /// The byte stream that replaces HTTP on this connection or stream after an upgrade (RFC 9110, section 7.8) or
    /// CONNECT. On a served request: ask before answering; it resolves once the 101 (or 2xx to CONNECT) is written.
    /// On a response: ask after a 101 (or 2xx to CONNECT). `None` if nothing was asked or granted.
    pub fn on_upgrade(&mut self) -> Option<OnUpgrade> {
        match &mut self.kind {
            Kind::H1(body) => body.on_upgrade(),
            Kind::H2(body) => body.on_upgrade(),
            _ => None,
        }
    }

    /// Is there nothing more to read?
    pub fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(data) => data.is_empty(),
            Kind::H1(body) => body.is_end_stream(),
            Kind::H2(body) => body.is_end_stream(),
            Kind::Channel(receiver) => receiver.is_end_stream(),
            Kind::Resumed(body) => body.first.is_empty() && body.rest.is_end_stream(),
            Kind::Mapped(body) => body.is_end_stream(),
        }
    }

    /// How many bytes are to come, if that is known.
    pub fn exact_len(&self) -> Option<u64> {
        match &self.kind {
            Kind::Empty => Some(0),
            Kind::Full(data) => Some(data.len() as u64),
            Kind::H1(body) => body.exact_len(),
            Kind::H2(body) => body.exact_len(),
            Kind::Channel(receiver) => receiver.is_end_stream().then_some(0),
            Kind::Resumed(body) => Some(body.rest.exact_len()? + body.first.len() as u64),
            Kind::Mapped(body) => body.is_end_stream().then_some(0),
        }
    }

    /// The next frame; `None` at the end.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Reads everything. Fails with [`BodyErrorKind::TooLarge`] beyond `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Collected, BodyError> {
        self.allowance = self.allowance.min(limit as u64);
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        let mut trailers = None;
        while let Some(frame) = self.frame().await {
            match frame?.into_data() {
                Ok(data) if first.is_empty() => first = data,
                Ok(data) => {
                    if rest.is_empty() {
                        rest.extend_from_slice(&first);
                    }
                    rest.extend_from_slice(&data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok(Collected { data: if rest.is_empty() { first } else { rest.freeze() }, trailers })
    }

    /// Polls for the next frame; `Ready(None)` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.kind {
            Kind::Empty => None,
            Kind::Full(data) => {
                let data = std::mem::take(data);
                self.kind = Kind::Empty;
                (!data.is_empty()).then(|| Ok(Frame::data(data)))
            }
            Kind::H1(body) => match body.poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return self.wait(cx),
            },
            Kind::H2(body) => match body.poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return self.wait(cx),
            },
            Kind::Channel(receiver) => match receiver.poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return self.wait(cx),
            },
            Kind::Resumed(body) if !body.first.is_empty() => Some(Ok(Frame::data(std::mem::take(&mut body.first)))),
            Kind::Mapped(body) => match body.poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return self.wait(cx),
            },
            Kind::Resumed(body) => match body.rest.poll_next(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return self.wait(cx),
            },
        };
        Poll::Ready(self.observe(frame))
    }

    /// There is no frame yet; the watch may have had enough.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(watch) = &self.watch else { return Poll::Pending };
        let kind = ready!(watch.poll_limit(cx));
        Poll::Ready(Some(Err(self.broken_off(kind))))
    }

    fn observe(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) -> Option<Result<Frame<Bytes>, BodyError>> {
        if self.watch.is_none() && self.allowance == u64::MAX {
            return frame;
        }
        match &frame {
            None => self.finish(BodyEnd::Complete),
            Some(Err(error)) => self.finish(BodyEnd::Failed(*error)),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let len = data.len() as u64;
                    if len > self.allowance {
                        return Some(Err(self.broken_off(BodyErrorKind::TooLarge)));
                    }
                    if self.allowance != u64::MAX {
                        self.allowance -= len;
                    }
                }
                self.show(frame);
            }
        }
        frame
    }

    fn show(&mut self, frame: &Frame<Bytes>) {
        if let Some(watch) = &self.watch {
            match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => watch.data(data),
                (_, Some(trailers)) => watch.trailers(trailers),
                _ => {}
            }
        }
        // A reader that asks `is_end_stream` never polls again, so the end is told with the last frame.
        if frame.is_trailers() || self.is_end_stream() {
            self.finish(BodyEnd::Complete);
        }
    }

    /// Ends the body by our own decision; what feeds it is told by being dropped.
    fn broken_off(&mut self, kind: BodyErrorKind) -> BodyError {
        let error = BodyError::new(self.side(), kind);
        self.finish(BodyEnd::Failed(error));
        self.kind = Kind::Empty;
        error
    }

    pub(crate) fn side(&self) -> Side {
        match &self.kind {
            Kind::H1(body) => body.side(),
            Kind::H2(body) => body.side(),
            Kind::Resumed(body) => body.rest.side(),
            Kind::Mapped(body) => body.side(),
            Kind::Empty | Kind::Full(_) | Kind::Channel(_) => Side::Local,
        }
    }

    fn finish(&mut self, end: BodyEnd) {
        if let Some(watch) = self.watch.take() {
            watch.end(end);
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.watch.is_some() {
            let end = if self.is_end_stream() { BodyEnd::Complete } else { BodyEnd::Dropped };
            self.finish(end);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_next(cx)
    }

    fn is_end_stream(&self) -> bool {
        Body::is_end_stream(self)
    }

    fn size_hint(&self) -> SizeHint {
        self.exact_len().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Collected> for Body {
    /// What was read whole, once more.
    fn from(whole: Collected) -> Self {
        let Some(trailers) = whole.trailers else { return Self::full(whole.data) };
        let (mut sender, body) = Self::channel(2);
        if !whole.data.is_empty() {
            sender.push(Frame::data(whole.data));
        }
        sender.finish_with(trailers);
        body
    }
}

impl From<Bytes> for Body {
    fn from(data: Bytes) -> Self {
        Self::full(data)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.kind {
            Kind::Empty => "empty",
            Kind::Full(_) => "full",
            Kind::H1(_) => "http/1",
            Kind::H2(_) => "http/2",
            Kind::Channel(_) => "channel",
            Kind::Resumed(_) => "resumed",
            Kind::Mapped(_) => "mapped",
        };
        f.debug_struct("Body").field("source", &source).field("len", &self.exact_len()).finish()
    }
}
