//! The body of a received HTTP/2 message. Reading a frame gives its bytes back to the flow-control window.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ::h2::RecvStream;
use bytes::Bytes;
use http_body::Frame;

use super::client::InFlight;
use super::pump::Cancel;
use super::tunnel::Tunnel;
use crate::error::{BodyError, Side};
use crate::upgrade::{OnUpgrade, Upgraded};

pub(crate) struct H2Body {
    stream: Option<RecvStream>,
    side: Side,
    left: Option<u64>,
    data_done: bool,
    done: bool,
    /// Counts the stream as long as its response is being read (client).
    in_flight: Option<InFlight>,
    /// Stops the request body that still goes on (client).
    cancel: Option<Rc<Cancel>>,
    tunnel: Option<TunnelSlot>,
}

/// The place where a tunnel's sending half and its reader meet.
pub(super) type TunnelSlot = Rc<RefCell<TunnelState>>;

pub(super) enum TunnelState {
    /// A response: the sending half waits to be taken.
    Granted(Option<::h2::SendStream<Bytes>>),
    /// A request: whoever waits for the answer, with the receiving half.
    Asked(Option<(tokio::sync::oneshot::Sender<Upgraded>, RecvStream)>),
}

impl H2Body {
    pub(super) fn new(stream: RecvStream, side: Side, declared: Option<u64>) -> Self {
        let left = if stream.is_end_stream() { Some(0) } else { declared };
        let done = stream.is_end_stream();
        Self { stream: Some(stream), side, left, data_done: false, done, in_flight: None, cancel: None, tunnel: None }
    }

    pub(super) fn with_tunnel(mut self, slot: TunnelSlot) -> Self {
        self.tunnel = Some(slot);
        self
    }

    pub(super) fn with_exchange(mut self, in_flight: InFlight, cancel: Option<Rc<Cancel>>) -> Self {
        if !self.done || self.tunnel.is_some() {
            self.in_flight = Some(in_flight);
        }
        self.cancel = cancel;
        self
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        while !self.data_done {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = stream.flow_control().release_capacity(data.len());
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    let last = stream.is_end_stream();
                    // An empty frame carries the end at most.
                    if data.is_empty() && !last {
                        continue;
                    }
                    if last {
                        self.finish();
                    }
                    return Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(self.fail(&error)),
                None => self.data_done = true,
            }
        }
        match ready!(stream.poll_trailers(cx)) {
            Ok(trailers) => {
                self.finish();
                Poll::Ready(trailers.map(|map| Ok(Frame::trailers(map))))
            }
            Err(error) => Poll::Ready(self.fail(&error)),
        }
    }

    /// A reset is an error even with NO_ERROR: before the end it would be a truncation.
    fn fail(&mut self, error: &::h2::Error) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.finish();
        Some(Err(BodyError::from_h2(self.side, error)))
    }

    fn finish(&mut self) {
        self.done = true;
        self.in_flight = None;
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.done
    }

    pub(crate) fn exact_len(&self) -> Option<u64> {
        if self.done { Some(0) } else { self.left }
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    pub(crate) fn on_upgrade(&mut self) -> Option<OnUpgrade> {
        let slot = self.tunnel.take()?;
        let stream = self.stream.take()?;
        self.done = true;
        let (sender, on_upgrade) = OnUpgrade::pair();
        match &mut *slot.borrow_mut() {
            TunnelState::Granted(send) => {
                let tunnel = Tunnel::new(stream, send.take()?, self.in_flight.take());
                let _ = sender.send(Upgraded::tunnel(tunnel));
            }
            TunnelState::Asked(asked) => *asked = Some((sender, stream)),
        }
        Some(on_upgrade)
    }
}

impl Drop for H2Body {
    fn drop(&mut self) {
        if !self.done
            && let Some(cancel) = &self.cancel
        {
            cancel.cancel();
        }
    }
}
