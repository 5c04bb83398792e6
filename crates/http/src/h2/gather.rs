//! Between codec and stream: what the codec writes while it is polled is gathered, and leaves with one write when its
//! owner says that the turn is over. The codec by itself writes once for each DATA frame.

use std::cell::RefCell;
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

struct Gather {
    io: Box<dyn Io>,
    pending: BytesMut,
    /// Why the stream takes no more, until the codec has been told.
    failed: Option<io::Error>,
}

/// Puts a gatherer above a stream.
pub(super) fn gather(io: Box<dyn Io>) -> (Gathered, Turn) {
    let shared = Rc::new(RefCell::new(Gather { io, pending: BytesMut::new(), failed: None }));
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
        if self.pending.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.pending.is_empty() {
            let len = ready!(Pin::new(&mut self.io).poll_write(cx, &self.pending))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(len);
        }
        // An idle connection holds no buffer.
        self.pending = BytesMut::new();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Makes room for `len` bytes, or waits for it.
    fn poll_room(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<()>> {
        let fits = self.pending.len() + len <= ENOUGH;
        if fits { Poll::Ready(Ok(())) } else { self.poll_write_out(cx) }
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
        gather.pending.reserve(len);
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
