//! A body on its way out over one HTTP/2 stream, as fast as the peer's windows allow.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use ::h2::{Reason, SendStream};
use bytes::{Buf, Bytes};

use crate::body::Body;
use crate::error::BodyError;

/// Moves a body to a stream. Ready when its end is given to the codec.
pub(super) struct Pump {
    body: Body,
    stream: SendStream<Bytes>,
    /// Data taken from the body that the window has no room for yet.
    held: Bytes,
}

/// Why a body did not get out.
#[derive(Debug)]
pub(super) enum Stuck {
    /// The peer reset the stream, or its connection is gone.
    Peer,
    /// The body broke off; the stream has been reset.
    Body(BodyError),
}

impl Pump {
    pub(super) fn new(body: Body, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, held: Bytes::new() }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stuck>> {
        loop {
            if !self.held.is_empty() {
                ready!(self.poll_send(cx))?;
                if self.held.is_empty() && self.body.is_end_stream() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            match self.body.poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() && !self.body.is_end_stream() => {}
                    Ok(data) if data.is_empty() => return Poll::Ready(self.end()),
                    Ok(data) => self.held = data,
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Poll::Ready(self.stream.send_trailers(trailers).map_err(|_| Stuck::Peer));
                    }
                },
                Poll::Ready(Some(Err(error))) => {
                    self.stream.send_reset(error.reset_code());
                    return Poll::Ready(Err(Stuck::Body(error)));
                }
                Poll::Ready(None) => return Poll::Ready(self.end()),
                Poll::Pending => return self.poll_reset(cx),
            }
        }
    }

    fn end(&mut self) -> Result<(), Stuck> {
        self.stream.send_data(Bytes::new(), true).map_err(|_| Stuck::Peer)
    }

    /// Sends what the window takes of `held`.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stuck>> {
        let room = match self.stream.capacity() {
            0 => ready!(self.poll_room(cx))?,
            room => room,
        };
        let piece = self.held.split_to(room.min(self.held.len()));
        let last = !self.held.has_remaining() && self.body.is_end_stream();
        Poll::Ready(self.stream.send_data(piece, last).map_err(|_| Stuck::Peer))
    }

    /// Waits until the windows take some of `held`.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Stuck>> {
        // The codec tells of room that it finds at once by waking whoever waits for the stream: that is this very
        // task, which would run a second time for nothing. So nobody waits meanwhile.
        if self.stream.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready() {
            return Poll::Ready(Err(Stuck::Peer));
        }
        self.stream.reserve_capacity(self.held.len());
        loop {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(room))) => return Poll::Ready(Ok(room)),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Stuck::Peer)),
                // The same waker is told of a reset, which then ends the wait.
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stuck>> {
        self.stream.poll_reset(cx).map(|_| Err(Stuck::Peer))
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

/// Tells a detached pump that its exchange is over.
#[derive(Default)]
pub(super) struct Cancel {
    cancelled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Cancel {
    pub(super) fn cancel(&self) {
        self.cancelled.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A request body that goes on after the response has begun.
pub(super) struct Detached {
    pub(super) pump: Pump,
    pub(super) cancel: Rc<Cancel>,
}

impl Future for Detached {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.cancel.cancelled.get() {
            self.pump.reset(Reason::CANCEL);
            return Poll::Ready(());
        }
        self.cancel.waker.replace(Some(cx.waker().clone()));
        self.pump.poll(cx).map(|_| ())
    }
}
