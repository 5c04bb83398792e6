//! Bodies on their way, as far as the other side's windows let them; and the windows that we give.

use super::frame::{Frame, MAX_FRAME, flag, frame, head, kind, setting, window_update};
use super::hpack::{GRPC_STATUS_0, Table};
use super::{RENEW, WINDOW};
use crate::wire::{Exchange, FILLER, READY, Unexpected, exchange};

const DEFAULT_WINDOW: i64 = 65_535;

/// What both ends do: settings, pings, windows, and bodies that are under way.
pub struct Session {
    pub table: Table,
    /// The other side's window for the connection, and for each new stream.
    window: i64,
    stream_window: i64,
    sending: Vec<Sending>,
    /// A gRPC message; empty: a plain body.
    message: Vec<u8>,
    /// Bytes of a body.
    length: usize,
    /// What came since we opened the connection's window last.
    unacknowledged: u32,
}

/// A body that is under way, or a stream that stays open.
struct Sending {
    stream: u32,
    left: usize,
    window: i64,
    end: End,
}

/// What comes after a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The end of the stream, with the last byte.
    Now,
    /// Trailers.
    Trailers,
    /// More bodies, later.
    Open,
}

impl Session {
    /// For bodies of `length` bytes, or gRPC messages.
    pub fn new(exchange: Exchange, length: usize) -> Self {
        let message = if exchange.is_grpc() { exchange::message(length) } else { Vec::new() };
        let length = if message.is_empty() { length } else { message.len() };
        Self {
            table: Table::Empty,
            window: DEFAULT_WINDOW,
            stream_window: DEFAULT_WINDOW,
            sending: Vec::new(),
            message,
            length,
            unacknowledged: 0,
        }
    }

    /// Takes what concerns the session; false: it is no such frame.
    pub fn take(&mut self, got: &Frame<'_>, out: &mut Vec<u8>) -> Result<bool, Unexpected> {
        match got.kind {
            kind::SETTINGS if !got.has(flag::ACK) => {
                for (id, value) in got.settings() {
                    match id {
                        setting::HEADER_TABLE_SIZE => self.table.resize(value)?,
                        setting::INITIAL_WINDOW_SIZE => {
                            let more = i64::from(value) - self.stream_window;
                            self.sending.iter_mut().for_each(|s| s.window += more);
                            self.stream_window += more;
                        }
                        _ => {}
                    }
                }
                frame(out, kind::SETTINGS, flag::ACK, 0, &[]);
            }
            kind::PING if !got.has(flag::ACK) => frame(out, kind::PING, flag::ACK, 0, got.payload),
            kind::SETTINGS | kind::PING => {}
            kind::WINDOW_UPDATE if got.stream == 0 => self.window += i64::from(got.number()?),
            kind::WINDOW_UPDATE => {
                let by = i64::from(got.number()?);
                if let Some(sending) = self.sending.iter_mut().find(|s| s.stream == got.stream) {
                    sending.window += by;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// So much data came: opens the connection's window again when it is time.
    pub fn received(&mut self, length: usize, out: &mut Vec<u8>) {
        self.unacknowledged += length as u32;
        if self.unacknowledged > RENEW {
            window_update(out, 0, std::mem::take(&mut self.unacknowledged));
        }
    }

    /// A body begins on this stream; or the next one on a stream that stays open.
    pub fn send(&mut self, stream: u32, end: End, out: &mut Vec<u8>) {
        match self.sending.iter_mut().find(|s| s.end == End::Open && s.stream == stream) {
            Some(open) => open.left += self.length,
            None => self.sending.push(Sending { stream, left: self.length, window: self.stream_window, end }),
        }
        self.fill(out);
    }

    /// The other side wants no more on this stream.
    pub fn forget(&mut self, stream: u32) {
        self.sending.retain(|s| s.stream != stream);
    }

    /// Writes what the windows allow, the oldest stream first.
    pub fn fill(&mut self, out: &mut Vec<u8>) {
        let mut ended = false;
        for sending in &mut self.sending {
            while sending.left > 0 && out.len() < READY {
                let room = self.window.min(sending.window).clamp(0, MAX_FRAME as i64) as usize;
                let length = room.min(sending.left);
                if length == 0 {
                    break;
                }
                sending.window -= length as i64;
                self.window -= length as i64;
                let last = sending.left == length && sending.end == End::Now;
                head(out, kind::DATA, if last { flag::END_STREAM } else { 0 }, sending.stream, length);
                content(&self.message, sending.left, length, out);
                sending.left -= length;
            }
            if sending.left == 0 && sending.end == End::Trailers {
                let flags = flag::END_HEADERS | flag::END_STREAM;
                frame(out, kind::HEADERS, flags, sending.stream, GRPC_STATUS_0);
            }
            ended |= sending.left == 0 && sending.end != End::Open;
        }
        if ended {
            self.sending.retain(|s| s.left > 0 || s.end == End::Open);
        }
    }
}

/// Writes the next `length` bytes of a body of which `left` are to come.
fn content(message: &[u8], mut left: usize, mut length: usize, out: &mut Vec<u8>) {
    if message.is_empty() {
        return out.extend_from_slice(&FILLER[..length]);
    }
    // Several messages may wait on one stream.
    while length > 0 {
        let from = (message.len() - left % message.len()) % message.len();
        let piece = (message.len() - from).min(length);
        out.extend_from_slice(&message[from..from + piece]);
        left -= piece;
        length -= piece;
    }
}

/// The window that we give one stream; opened again when a quarter is used up.
#[derive(Default)]
pub struct Given {
    used: u32,
}

impl Given {
    /// So much data came on the stream.
    pub fn received(&mut self, stream: u32, length: usize, out: &mut Vec<u8>) {
        self.used += length as u32;
        if self.used > WINDOW / 4 {
            window_update(out, stream, std::mem::take(&mut self.used));
        }
    }
}
