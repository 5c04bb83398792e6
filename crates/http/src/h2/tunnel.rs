//! The byte stream within a CONNECT stream: DATA frames both ways (RFC 9113, section 8.5).

use std::io;
use std::task::{Context, Poll, ready};

use ::h2::{Reason, RecvStream, SendStream};
use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

use super::client::InFlight;

pub(crate) struct Tunnel {
    recv: RecvStream,
    send: SendStream<Bytes>,
    ahead: Bytes,
    read_closed: bool,
    write_closed: bool,
    _in_flight: Option<InFlight>,
}

const LARGEST_WRITE: usize = 64 * 1024;

impl Tunnel {
    pub(super) fn new(recv: RecvStream, send: SendStream<Bytes>, in_flight: Option<InFlight>) -> Self {
        Self { recv, send, ahead: Bytes::new(), read_closed: false, write_closed: false, _in_flight: in_flight }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.ahead.is_empty() {
            match ready!(self.recv.poll_data(cx)) {
                Some(Ok(data)) => self.ahead = data,
                Some(Err(error)) => return Poll::Ready(read_error(&error)),
                None => {
                    self.read_closed = true;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let len = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..len]);
        self.ahead.advance(len);
        let _ = self.recv.flow_control().release_capacity(len);
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(data.len().min(LARGEST_WRITE));
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(&error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let len = self.send.capacity().min(data.len()).min(LARGEST_WRITE);
        let sent = self.send.send_data(Bytes::copy_from_slice(&data[..len]), false);
        Poll::Ready(sent.map(|()| len).map_err(|error| io_error(&error)))
    }

    /// Half-closes our direction.
    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.write_closed, true) {
            return Ok(());
        }
        self.send.send_data(Bytes::new(), true).map_err(|error| io_error(&error))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if !self.write_closed || !self.read_closed {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

/// A peer that stops in good order is no error.
fn read_error(error: &::h2::Error) -> io::Result<()> {
    match error.reason() {
        Some(Reason::NO_ERROR | Reason::CANCEL) if error.is_reset() => Ok(()),
        _ => Err(io_error(error)),
    }
}

fn io_error(error: &::h2::Error) -> io::Error {
    match error.get_io() {
        Some(io) => io.kind().into(),
        None => io::ErrorKind::ConnectionReset.into(),
    }
}
