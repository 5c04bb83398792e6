//! A bounded channel of frames within one thread: the body whose source is the program itself.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::error::{BodyError, BodyErrorKind, Side};

/// The reader of the body is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads this body any more")]
pub struct SenderClosed;

/// Feeds a [`Body`](crate::Body) made by [`Body::channel`](crate::Body::channel). Dropped without
/// [`BodySender::finish`], the body fails as cancelled: a reader cannot take a broken body for a whole one.
pub struct BodySender(Rc<RefCell<Queue>>);

pub(super) struct Receiver(Rc<RefCell<Queue>>);

struct Queue {
    frames: VecDeque<Frame<Bytes>>,
    capacity: usize,
    end: Option<Result<(), BodyError>>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

pub(super) fn channel(capacity: usize) -> (BodySender, Receiver) {
    let queue = Rc::new(RefCell::new(Queue {
        frames: VecDeque::new(),
        capacity: capacity.max(1),
        end: None,
        reader_gone: false,
        reader: None,
        writer: None,
    }));
    (BodySender(queue.clone()), Receiver(queue))
}

impl BodySender {
    /// Waits for room and sends data.
    pub async fn send(&mut self, data: impl Into<Bytes>) -> Result<(), SenderClosed> {
        self.ready().await?;
        self.push(Frame::data(data.into()));
        Ok(())
    }

    /// Sends data if there is room now. `Ok(false)`: the channel is full and the data was not taken.
    pub fn try_send(&mut self, data: impl Into<Bytes>) -> Result<bool, SenderClosed> {
        let (gone, full) = {
            let queue = self.0.borrow();
            (queue.reader_gone, queue.frames.len() >= queue.capacity)
        };
        if gone {
            return Err(SenderClosed);
        }
        if !full {
            self.push(Frame::data(data.into()));
        }
        Ok(!full)
    }

    /// Waits until there is room for a frame.
    pub async fn ready(&mut self) -> Result<(), SenderClosed> {
        poll_fn(|cx| self.poll_ready(cx)).await
    }

    /// Polls for room for a frame.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SenderClosed>> {
        let mut queue = self.0.borrow_mut();
        if queue.reader_gone {
            return Poll::Ready(Err(SenderClosed));
        }
        if queue.frames.len() < queue.capacity {
            return Poll::Ready(Ok(()));
        }
        queue.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends the body well.
    pub fn finish(self) {
        self.end(Ok(()));
    }

    /// Ends the body with trailers.
    pub fn finish_with(mut self, trailers: HeaderMap) {
        self.push(Frame::trailers(trailers));
        self.end(Ok(()));
    }

    /// Ends the body with an error.
    pub fn abort(self, error: BodyError) {
        self.end(Err(error));
    }

    pub(super) fn push(&mut self, frame: Frame<Bytes>) {
        let mut queue = self.0.borrow_mut();
        queue.frames.push_back(frame);
        wake(&mut queue.reader);
    }

    fn end(&self, end: Result<(), BodyError>) {
        let mut queue = self.0.borrow_mut();
        if queue.end.is_none() {
            queue.end = Some(end);
            wake(&mut queue.reader);
        }
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        self.end(Err(BodyError::new(Side::Local, BodyErrorKind::Cancelled)));
    }
}

impl Receiver {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut queue = self.0.borrow_mut();
        if let Some(frame) = queue.frames.pop_front() {
            wake(&mut queue.writer);
            return Poll::Ready(Some(Ok(frame)));
        }
        match queue.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => {
                queue.end = Some(Ok(()));
                Poll::Ready(Some(Err(error)))
            }
            None => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let queue = self.0.borrow();
        queue.frames.is_empty() && queue.end == Some(Ok(()))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut queue = self.0.borrow_mut();
        queue.reader_gone = true;
        queue.frames.clear();
        wake(&mut queue.writer);
    }
}

fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}
