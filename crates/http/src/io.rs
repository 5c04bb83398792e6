//! The byte stream below a codec: any tokio stream, with bytes that were read too early put back in front.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a codec needs of a stream. Boxed once per connection, so that the codecs are compiled once.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// A stream whose first bytes were read already.
pub(crate) struct Prefixed {
    prefix: Bytes,
    io: Box<dyn Io>,
}

impl Prefixed {
    pub(crate) fn new(prefix: Bytes, io: Box<dyn Io>) -> Self {
        Self { prefix, io }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let len = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..len]);
        self.prefix.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

const SCRATCH_LEN: usize = 16 * 1024;

thread_local! {
    /// One read buffer per worker: an idle connection holds none of its own.
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Reads once into the worker's scratch buffer and hands what came to `take`. Zero bytes mean the end of the stream.
pub(crate) fn poll_read_scratch(
    io: &mut dyn Io,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]),
) -> Poll<io::Result<usize>> {
    let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; SCRATCH_LEN].into_boxed_slice());
    let mut buf = ReadBuf::new(&mut scratch);
    let polled = Pin::new(io).poll_read(cx, &mut buf);
    let len = buf.filled().len();
    if len > 0 && matches!(polled, Poll::Ready(Ok(()))) {
        take(buf.filled());
    }
    SCRATCH.set(Some(scratch));
    ready!(polled)?;
    Poll::Ready(Ok(len))
}
