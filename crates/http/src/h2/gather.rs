//! Between codec and stream: what the codec writes while it is polled is gathered, and leaves with one write when its
//! owner says that the turn is over. The codec by itself writes once for each DATA frame.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::Io;

/// So much is gathered at most; then the codec has to wait until the stream takes some.
const ENOUGH: usize = 64 * 1024;

/// The end that the codec has.
pub(super) struct Gathered(Rc<RefCell<Gather>>);

/// The end by which the owner of the codec ends a turn.
pub(super) struct Turn(Rc<RefCell<Gather>>);

thread_local! {
    /// One buffer per worker: turns do not overlap, so a connection holds one of its own only for what the stream did not
    /// take.
    static SPARE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

struct Gather {
    io: Box<dyn Io>,
    /// Without room of its own unless there is something in it.
    pending: BytesMut,
    /// The stream has taken bytes that it may hold back until it is flushed, as TLS does.
    unflushed: bool,
    /// Why the stream takes no more, until the codec has been told.
    failed: Option<io::Error>,
}

/// Puts a gatherer above a stream.
pub(super) fn gather(io: Box<dyn Io>) -> (Gathered, Turn) {
    let shared = Rc::new(RefCell::new(Gather { io, pending: BytesMut::new(), unflushed: false, failed: None }));
    (Gathered(shared.clone()), Turn(shared))
}

impl Turn {
    /// Writes what was gathered, as far as the stream takes it; the task is woken when it takes more. Of a failure the
    /// codec learns at its next turn, which then comes at once.
    pub(super) fn end(&self, cx: &mut Context<'_>) {
        let gather = &mut *self.0.borrow_mut();
        if let Poll::Ready(Err(error)) = gather.poll_write_out(cx) {
            gather.pending = BytesMut::new();
            gather.failed = Some(error);
            cx.waker().wake_by_ref();
        }
    }
}

impl Gather {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let len = ready!(Pin::new(&mut self.io).poll_write(cx, &self.pending))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(len);
            self.unflushed = true;
        }
        if self.pending.capacity() > 0 {
            SPARE.set(Some(std::mem::take(&mut self.pending)));
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Makes room for `len` bytes, or waits for it.
    fn poll_room(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<()>> {
        if self.pending.len() + len > ENOUGH {
            ready!(self.poll_write_out(cx))?;
        }
        if self.pending.capacity() == 0 {
            self.pending = SPARE.take().unwrap_or_else(|| BytesMut::with_capacity(ENOUGH));
            self.pending.clear();
        }
        self.pending.reserve(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gathered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gather = &mut *self.0.borrow_mut();
        if let Some(error) = gather.failed.take() {
            return Poll::Ready(Err(error));
        }
        let len: usize = bufs.iter().map(|b| b.len()).sum();
        ready!(gather.poll_room(cx, len))?;
        bufs.iter().for_each(|b| gather.pending.extend_from_slice(b));
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing leaves before the turn is over.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.borrow_mut().failed.take().map_or(Ok(()), Err))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gather = &mut *self.0.borrow_mut();
        ready!(gather.poll_write_out(cx))?;
        Pin::new(&mut gather.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all that is written at once, as TLS does, and can be told to send it on or not.
    #[derive(Default)]
    struct Lagging(Rc<RefCell<Lag>>);

    #[derive(Default)]
    struct Lag {
        taken: usize,
        sent: usize,
        blocked: bool,
    }

    impl AsyncRead for Lagging {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Lagging {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.0.borrow_mut().taken += buf.len();
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let lag = &mut *self.0.borrow_mut();
            if lag.blocked {
                return Poll::Pending;
            }
            lag.sent = lag.taken;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_the_stream_has_taken_and_not_sent_leaves_at_a_later_turn() {
        let lag = Rc::new(RefCell::new(Lag { blocked: true, ..Lag::default() }));
        let (mut codec, turn) = gather(Box::new(Lagging(lag.clone())));
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut codec).poll_write(cx, b"hello").is_ready());
        turn.end(cx);
        assert_eq!((lag.borrow().taken, lag.borrow().sent), (5, 0));
        lag.borrow_mut().blocked = false;
        turn.end(cx);
        assert_eq!(lag.borrow().sent, 5);
    }
}
