//! The body of a received message, read from its connection when it is polled: no task and no queue between.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::framing::Length;
use crate::error::{BodyError, BodyErrorKind, Side};
use crate::upgrade::OnUpgrade;

/// A connection as its bodies see it. `exchange` numbers the exchanges of a connection: a body that outlived its own
/// may not read the next one's bytes.
pub(super) trait Source {
    fn poll_body(
        &self,
        exchange: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Frame<Bytes>, bool), BodyErrorKind>>>;
    /// The body was dropped before its end.
    fn abandon(&self, exchange: u64);
    fn on_upgrade(&self, exchange: u64) -> Option<OnUpgrade>;
    fn side(&self) -> Side;
}

pub(crate) struct H1Body {
    source: Rc<dyn Source>,
    exchange: u64,
    left: Option<u64>,
    done: bool,
    /// Nothing to read as a body, but the connection may become a byte stream.
    tunnel: bool,
}

impl H1Body {
    pub(super) fn new(source: Rc<dyn Source>, exchange: u64, length: Length, tunnel: bool) -> Self {
        let left = match length {
            Length::None => Some(0),
            Length::Exact(n) => Some(n),
            Length::Chunked | Length::UntilClose => None,
        };
        Self { source, exchange, left, done: left == Some(0), tunnel }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let Some(polled) = ready!(self.source.poll_body(self.exchange, cx)) else {
            self.done = true;
            return Poll::Ready(None);
        };
        match polled {
            Ok((frame, last)) => {
                self.done = last;
                if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
                    *left -= data.len() as u64;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Err(kind) => {
                self.done = true;
                Poll::Ready(Some(Err(BodyError::new(self.side(), kind))))
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.done
    }

    pub(crate) fn exact_len(&self) -> Option<u64> {
        if self.done { Some(0) } else { self.left }
    }

    pub(crate) fn side(&self) -> Side {
        self.source.side()
    }

    pub(crate) fn on_upgrade(&self) -> Option<OnUpgrade> {
        if self.tunnel { self.source.on_upgrade(self.exchange) } else { None }
    }
}

impl Drop for H1Body {
    fn drop(&mut self) {
        if !self.done || self.tunnel {
            self.source.abandon(self.exchange);
        }
    }
}
