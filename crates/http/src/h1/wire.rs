//! Both directions of one connection: bytes received and not yet used, bytes to be sent and not yet written.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::framing::{Decoded, Decoder};
use crate::error::BodyErrorKind;
use crate::io::{Io, poll_read_scratch};

const FIRST_READ: usize = 16 * 1024;
const LARGEST_READ: usize = 128 * 1024;

pub(super) struct Wire {
    /// `None` once closed or handed over to an upgrade.
    io: Option<Box<dyn Io>>,
    pub(super) inbox: BytesMut,
    pub(super) out: Outbox,
    pub(super) decoder: Decoder,
    pub(super) peer_closed: bool,
    /// Bytes that the stream below has taken since the connection began.
    pub(super) written: u64,
    /// `100 Continue` is owed when the body is first asked for.
    pub(super) continue_due: bool,
    /// The incoming body could not be understood, so nothing after it can be.
    pub(super) broken: bool,
    read_len: usize,
    /// Who waits for the body; woken when the body is taken away from under it.
    reader: Option<Waker>,
}

impl Wire {
    pub(super) fn new(io: Box<dyn Io>, ahead: Bytes) -> Self {
        Self {
            io: Some(io),
            inbox: BytesMut::from(ahead),
            out: Outbox::default(),
            decoder: Decoder::Done,
            peer_closed: false,
            written: 0,
            continue_due: false,
            broken: false,
            read_len: FIRST_READ,
            reader: None,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.io.is_none()
    }

    /// Gives the stream up: dropped, or for an upgrade.
    pub(super) fn take_io(&mut self) -> Option<(Bytes, Box<dyn Io>)> {
        let io = self.io.take()?;
        Some((std::mem::take(&mut self.inbox).freeze(), io))
    }

    pub(super) fn close(&mut self) {
        self.io = None;
        self.detach_reader();
    }

    /// Wakes whoever waits for a body that will not come any more.
    pub(super) fn detach_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Reads once through the worker's scratch buffer: for heads, and for noticing that the peer closed.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { io: Some(io), inbox, .. } = self else { return Poll::Ready(Ok(0)) };
        if inbox.is_empty() && inbox.capacity() > 0 {
            *inbox = BytesMut::new();
        }
        let len = ready!(poll_read_scratch(io, cx, |bytes| inbox.extend_from_slice(bytes)))?;
        self.peer_closed |= len == 0;
        Poll::Ready(Ok(len))
    }

    /// Reads once straight into the inbox: for bodies.
    fn poll_fill_body(&mut self, cx: &mut Context<'_>, wanting: usize) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(0)) };
        let room = wanting.clamp(512, self.read_len);
        self.inbox.reserve(room);
        let len = ready!(pin!(io.read_buf(&mut self.inbox)).poll(cx))?;
        if len >= self.read_len {
            self.read_len = (self.read_len * 2).min(LARGEST_READ);
        }
        self.peer_closed |= len == 0;
        Poll::Ready(Ok(len))
    }

    /// The next frame of the incoming body, and whether it is the last.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Frame<Bytes>, bool), BodyErrorKind>>> {
        loop {
            let wanting = match self.decoder.decode(&mut self.inbox) {
                Ok(Decoded::Data(data)) => {
                    return Poll::Ready(Some(Ok((Frame::data(data), self.decoder.is_done()))));
                }
                Ok(Decoded::Trailers(map)) => return Poll::Ready(Some(Ok((Frame::trailers(map), true)))),
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::Wanting(wanting)) => wanting,
                Err(kind) => return Poll::Ready(Some(Err(self.broken(kind)))),
            };
            if std::mem::take(&mut self.continue_due) {
                self.out.small().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                // A failed write shows again when the body is read or the answer is written.
                let _ = self.poll_flush(cx);
            }
            match self.poll_fill_body(cx, wanting) {
                Poll::Ready(Ok(0)) => match self.decoder.close() {
                    Ok(()) => return Poll::Ready(None),
                    Err(kind) => return Poll::Ready(Some(Err(self.broken(kind)))),
                },
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Some(Err(self.broken(BodyErrorKind::Closed)))),
                Poll::Pending => {
                    if !self.reader.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                        self.reader = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn broken(&mut self, kind: BodyErrorKind) -> BodyErrorKind {
        self.broken = true;
        self.decoder = Decoder::Exact(u64::MAX);
        kind
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        if self.out.is_empty() {
            return Pin::new(io).poll_flush(cx);
        }
        while !self.out.is_empty() {
            let len = ready!(self.out.poll_write(io, cx))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += len as u64;
            self.out.advance(len);
        }
        Pin::new(io).poll_flush(cx)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Frees what an idle connection does not need, save `keep` bytes for what comes out next.
    pub(super) fn rest(&mut self, keep: usize) {
        self.read_len = FIRST_READ;
        self.reader = None;
        self.out.rest(keep);
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
    }
}

/// Bytes to be written, in order: small pieces copied together, one large piece not copied, small pieces after it.
#[derive(Default)]
pub(super) struct Outbox {
    front: Vec<u8>,
    front_at: usize,
    large: Bytes,
    back: Vec<u8>,
}

/// A piece below this is copied: cheaper than one more entry in a vectored write.
const COPY_BELOW: usize = 4 * 1024;
const ENOUGH: usize = 64 * 1024;

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.front_at == self.front.len() && self.large.is_empty() && self.back.is_empty()
    }

    /// Should the source of more wait until this is written?
    pub(super) fn is_crowded(&self) -> bool {
        !self.large.is_empty() || self.front.len() - self.front_at > ENOUGH
    }

    /// Where small pieces go.
    pub(super) fn small(&mut self) -> &mut Vec<u8> {
        if self.large.is_empty() { &mut self.front } else { &mut self.back }
    }

    pub(super) fn push(&mut self, data: Bytes) {
        if data.len() < COPY_BELOW || !self.large.is_empty() {
            self.small().extend_from_slice(&data);
        } else {
            self.large = data;
        }
    }

    fn poll_write(&self, io: &mut Box<dyn Io>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let parts = [&self.front[self.front_at..], &self.large[..], &self.back[..]];
        let io = Pin::new(io);
        if io.is_write_vectored() && parts.iter().filter(|p| !p.is_empty()).count() > 1 {
            return io.poll_write_vectored(cx, &parts.map(IoSlice::new));
        }
        let first = parts.into_iter().find(|p| !p.is_empty()).unwrap_or_default();
        io.poll_write(cx, first)
    }

    fn advance(&mut self, mut len: usize) {
        let front = len.min(self.front.len() - self.front_at);
        self.front_at += front;
        len -= front;
        let large = len.min(self.large.len());
        self.large.advance(large);
        len -= large;
        self.back.drain(..len);
        if self.front_at == self.front.len() {
            self.front.clear();
            self.front_at = 0;
            if self.large.is_empty() {
                self.large = Bytes::new();
                // An empty one has the smaller room, or none.
                if !self.back.is_empty() {
                    std::mem::swap(&mut self.front, &mut self.back);
                }
            }
        }
    }

    fn rest(&mut self, keep: usize) {
        if self.is_empty() {
            self.back = Vec::new();
            if self.front.capacity() > keep {
                self.front = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outbox_keeps_order_whatever_is_taken() {
        let large = Bytes::from(vec![b'L'; COPY_BELOW]);
        for step in [1, 3, 1000, 5000, 10_000] {
            let mut out = Outbox::default();
            out.small().extend_from_slice(b"head");
            out.push(large.clone());
            out.small().extend_from_slice(b"tail");
            out.push(Bytes::from_static(b"end"));
            let expected = [b"head", &large[..], b"tailend"].concat();
            let mut seen = Vec::new();
            while !out.is_empty() {
                let parts = [&out.front[out.front_at..], &out.large[..], &out.back[..]].concat();
                let len = step.min(parts.len());
                seen.extend_from_slice(&parts[..len]);
                out.advance(len);
            }
            assert!(seen == expected, "step {step}");
        }
    }
}
