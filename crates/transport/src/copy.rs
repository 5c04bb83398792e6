//! Copy bytes both ways between two streams until both have ended.
//!
//! Half-close is kept: the end of one direction is passed on while the other runs. Memory is bounded by one buffer per
//! direction, and an idle direction holds none: buffers come from a pool of the worker and go back when nothing waits.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::stream::Stream;

/// Bytes per buffer: two full TLS records.
const BUFFER: usize = 32 * 1024;
/// How many buffers a worker keeps for the next connection (1 MB).
const POOLED: usize = 32;

/// Bytes passed on so far, readable while the copy runs. One copy writes, anybody may read.
#[derive(Debug, Default)]
pub struct Counters {
    to_upstream: AtomicU64,
    to_downstream: AtomicU64,
}

impl Counters {
    /// Bytes written to the upstream.
    pub fn to_upstream(&self) -> u64 {
        self.to_upstream.load(Ordering::Relaxed)
    }

    /// Bytes written to the downstream.
    pub fn to_downstream(&self) -> u64 {
        self.to_downstream.load(Ordering::Relaxed)
    }
}

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who connected to us.
    Downstream,
    /// To whom we connected.
    Upstream,
}

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading.
    Read,
    /// Writing, or passing on the end.
    Write,
}

/// Why a copy ended before both sides did.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Nothing moved either way for this long.
    #[error("no bytes either way for {0:?}")]
    Idle(Duration),
    /// One end failed.
    #[error("{operation:?} on the {side:?} side failed: {source}")]
    Failed {
        /// Whose fault.
        side: Side,
        /// Doing what.
        operation: Operation,
        /// What the stream says.
        source: io::Error,
    },
}

/// Copies until both directions have ended. Bytes read ahead in either stream go first.
///
/// A TLS peer that closes without saying so (no `close_notify`) counts as ended: what frames the payload is not ours to judge.
/// With `idle`, a pause of that length in both directions ends it.
///
/// # Errors
/// [`CopyError`]. On return, and when the future is dropped (drain), both streams are closed.
#[expect(clippy::manual_async_fn, reason = "an async function would hold its arguments twice")]
pub fn both(
    mut downstream: Stream,
    mut upstream: impl AsyncRead + AsyncWrite + Unpin,
    counters: &Counters,
    idle: Option<Duration>,
) -> impl Future<Output = Result<(), CopyError>> {
    async move {
        let mut up = Direction::new(Side::Downstream, &counters.to_upstream);
        let mut down = Direction::new(Side::Upstream, &counters.to_downstream);
        let mut alarm = pin!(idle.map(IdleAlarm::new));
        poll_fn(|cx| {
            let up_over = up.poll(cx, &mut downstream, &mut upstream)?.is_ready();
            let down_over = down.poll(cx, &mut upstream, &mut downstream)?.is_ready();
            if up_over && down_over {
                return Poll::Ready(Ok(()));
            }
            let moved = std::mem::take(&mut up.moved) | std::mem::take(&mut down.moved);
            match alarm.as_mut().as_pin_mut() {
                Some(alarm) => alarm.poll_idle(cx, moved).map(Err),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// Rings after a time without movement. The timer is set anew when it fires, not with every byte.
struct IdleAlarm {
    after: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl IdleAlarm {
    fn new(after: Duration) -> Self {
        Self { after, last: Instant::now(), timer: Box::pin(tokio::time::sleep(after)) }
    }

    fn poll_idle(mut self: Pin<&mut Self>, cx: &mut Context<'_>, moved: bool) -> Poll<CopyError> {
        if moved {
            self.last = Instant::now();
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let due = self.last + self.after;
            if due <= Instant::now() {
                return Poll::Ready(CopyError::Idle(self.after));
            }
            self.timer.as_mut().reset(due);
        }
    }
}

/// One direction: reads from one side, writes to the other.
struct Direction<'a> {
    from: Side,
    written: &'a AtomicU64,
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    state: State,
    unflushed: bool,
    moved: bool,
}

#[derive(PartialEq)]
enum State {
    Copying,
    Closing,
    Over,
}

impl<'a> Direction<'a> {
    fn new(from: Side, written: &'a AtomicU64) -> Self {
        let state = State::Copying;
        Self { from, written, buffer: None, start: 0, end: 0, state, unflushed: false, moved: false }
    }

    /// Moves what can be moved now. Ready when the end was passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Poll<()>, CopyError> {
        loop {
            match self.state {
                State::Over => return Ok(Poll::Ready(())),
                State::Closing => {
                    let Poll::Ready(result) = Pin::new(&mut *to).poll_shutdown(cx) else { return Ok(Poll::Pending) };
                    // A peer that is gone already cannot hear that we are through.
                    if let Err(error) = result
                        && error.kind() != io::ErrorKind::NotConnected
                    {
                        return Err(self.write_failed(error));
                    }
                    self.state = State::Over;
                }
                State::Copying if self.start < self.end => {
                    if self.poll_write(cx, to)?.is_pending() {
                        return Ok(Poll::Pending);
                    }
                }
                State::Copying => {
                    if self.poll_read(cx, from)?.is_pending() {
                        self.release();
                        if self.unflushed
                            && let Poll::Ready(result) = Pin::new(&mut *to).poll_flush(cx)
                        {
                            result.map_err(|e| self.write_failed(e))?;
                            self.unflushed = false;
                        }
                        return Ok(Poll::Pending);
                    }
                }
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, from: &mut (impl AsyncRead + Unpin)) -> Result<Poll<()>, CopyError> {
        let mut buffer = ReadBuf::new(self.buffer.get_or_insert_with(take_buffer));
        let result = match Pin::new(from).poll_read(cx, &mut buffer) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(result) => result,
        };
        let count = buffer.filled().len();
        match result {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(source) => return Err(CopyError::Failed { side: self.from, operation: Operation::Read, source }),
        }
        (self.start, self.end) = (0, count);
        self.moved = true;
        if count == 0 {
            self.state = State::Closing;
            self.release();
        }
        Ok(Poll::Ready(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Result<Poll<()>, CopyError> {
        let Some(buffer) = &self.buffer else { return Ok(Poll::Ready(())) };
        let result = match Pin::new(to).poll_write(cx, &buffer[self.start..self.end]) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(result) => result,
        };
        let count = result.map_err(|e| self.write_failed(e))?;
        self.start += count;
        // The only writer: a plain load and store, no locked instruction.
        self.written.store(self.written.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
        self.moved = true;
        self.unflushed = true;
        Ok(Poll::Ready(()))
    }

    fn write_failed(&self, source: io::Error) -> CopyError {
        let side = match self.from {
            Side::Downstream => Side::Upstream,
            Side::Upstream => Side::Downstream,
        };
        CopyError::Failed { side, operation: Operation::Write, source }
    }

    /// Gives an empty buffer back.
    fn release(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            give_buffer(buffer);
        }
    }
}

impl Drop for Direction<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn take_buffer() -> Box<[u8]> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
}

fn give_buffer(buffer: Box<[u8]>) {
    // The pool is gone while the thread ends.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < POOLED {
            pool.push(buffer);
        }
    });
}
