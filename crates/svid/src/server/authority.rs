//! Connections of clients that name the path of the socket as the authority of their requests, in percent encoding, as gRPC's
//! C core does (Python, C++, Ruby). `h2` takes such an authority for malformed. Nobody asks for it here, so its percent
//! signs are read as dashes; lengths stay, on which the compression of headers (RFC 7541) depends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::Connected;

/// What a client begins with (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// The head of a frame.
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Longer frames were never allowed by the server, which says so itself.
const LONGEST: usize = 1 << 16;
/// The static table's number of `:authority`.
const AUTHORITY: usize = 1;

/// A connection.
pub(super) struct Plain {
    inner: UnixStream,
    frames: Frames,
    ready: Vec<u8>,
    given: usize,
}

impl Plain {
    pub fn new(inner: UnixStream) -> Self {
        Self { inner, frames: Frames::default(), ready: Vec::new(), given: 0 }
    }
}

impl Connected for Plain {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.given == this.ready.len() {
            (this.given, this.ready) = (0, Vec::new());
            let mut space = [0; 4096];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.frames.take(read.filled(), &mut this.ready);
        }
        let left = &this.ready[this.given..];
        let some = &left[..left.len().min(to.remaining())];
        to.put_slice(some);
        this.given += some.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, from)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Where in a connection one is.
struct Frames {
    /// Bytes that pass as they are.
    passing: usize,
    /// A frame's head, and of headers the whole frame.
    frame: Vec<u8>,
}

impl Default for Frames {
    fn default() -> Self {
        Self { passing: PREFACE, frame: Vec::new() }
    }
}

impl Frames {
    fn take(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            if self.passing > 0 {
                let (some, rest) = input.split_at(self.passing.min(input.len()));
                out.extend_from_slice(some);
                (self.passing, input) = (self.passing - some.len(), rest);
                continue;
            }
            let whole = if self.frame.len() < HEAD { HEAD } else { HEAD + length(&self.frame) };
            let (some, rest) = input.split_at((whole - self.frame.len()).min(input.len()));
            self.frame.extend_from_slice(some);
            input = rest;
            if self.frame.len() < HEAD {
                continue;
            }
            let length = length(&self.frame);
            if self.frame[3] != HEADERS || length > LONGEST {
                out.append(&mut self.frame);
                self.passing = length;
            } else if self.frame.len() == HEAD + length {
                // What is no header block the server says itself.
                let _ = rewrite(&mut self.frame);
                out.append(&mut self.frame);
            }
        }
    }
}

fn length(frame: &[u8]) -> usize {
    usize::from(frame[0]) << 16 | usize::from(frame[1]) << 8 | usize::from(frame[2])
}

/// Walks through a header block (RFC 7541, section 6). None: it ends in the middle.
fn rewrite(frame: &mut [u8]) -> Option<()> {
    let (flags, mut at, mut end) = (frame[4], HEAD, frame.len());
    if flags & PADDED != 0 {
        end = end.checked_sub(usize::from(*frame.get(at)?))?;
        at += 1;
    }
    if flags & PRIORITY != 0 {
        at += 5;
    }
    while at < end {
        let first = *frame.get(at)?;
        if first & 0x80 != 0 {
            integer(frame, &mut at, 7)?;
            continue;
        }
        if first & 0xe0 == 0x20 {
            integer(frame, &mut at, 5)?;
            continue;
        }
        let name = integer(frame, &mut at, if first & 0x40 != 0 { 6 } else { 4 })?;
        let is_authority = match name {
            0 => {
                let (from, to, is_huffman) = string(frame, &mut at)?;
                !is_huffman && frame.get(from..to)? == b":authority"
            }
            name => name == AUTHORITY,
        };
        let (from, to, is_huffman) = string(frame, &mut at)?;
        if is_authority && !is_huffman {
            frame.get_mut(from..to)?.iter_mut().filter(|byte| **byte == b'%').for_each(|byte| *byte = b'-');
        }
    }
    Some(())
}

/// Where a string stands, and whether it is compressed.
fn string(frame: &[u8], at: &mut usize) -> Option<(usize, usize, bool)> {
    let is_huffman = frame.get(*at)? & 0x80 != 0;
    let length = integer(frame, at, 7)?;
    let from = *at;
    *at = from.checked_add(length)?;
    Some((from, *at, is_huffman))
}

/// A number that begins in the last `bits` of a byte (RFC 7541, section 5.1).
fn integer(frame: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let most = (1usize << bits) - 1;
    let mut number = usize::from(*frame.get(*at)?) & most;
    *at += 1;
    if number < most {
        return Some(number);
    }
    for shift in [0, 7, 14, 21] {
        let byte = usize::from(*frame.get(*at)?);
        *at += 1;
        number += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 1][..], payload].concat()
    }

    #[test]
    fn the_authority_alone_changes_however_it_is_cut() {
        let literal = |first: &[u8], value: &str| [first, &[value.len() as u8], value.as_bytes()].concat();
        let named = [&[0u8, 10][..], b":authority"].concat();
        let block = |mark: &str| {
            [
                vec![0x83, 0x86, 0x3f, 0xe1, 0x1f],
                literal(&[0x41], &format!("{mark}2Ftmp{mark}2Fs")),
                literal(&[0x44], "/a%20b"),
                literal(&[0x01], &format!("a{mark}b")),
                literal(&named, &format!("{mark}c")),
                literal(&[0x40, 1, b'x'], "1%"),
            ]
            .concat()
        };
        let padded = |mark: &str| [&[3u8, 0, 0, 0, 0, 7][..], &block(mark), b"%%%"].concat();
        let whole = |mark: &str| {
            let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            let others =
                [frame(4, 0, b""), frame(1, 4, &block(mark)), frame(0, 1, b"%1%"), frame(1, 0x2c, &padded(mark))];
            [preface, others.concat()].concat()
        };
        let (sent, expected) = (whole("%"), whole("-"));
        for step in [1, 2, 7, 30, sent.len()] {
            let (mut frames, mut out) = (Frames::default(), Vec::new());
            sent.chunks(step).for_each(|chunk| frames.take(chunk, &mut out));
            assert_eq!(out, expected, "in steps of {step}");
        }
        // What breaks off is passed on as it is.
        let broken = frame(1, 4, &[0x41, 0x20, b'%']);
        let (mut frames, mut out) = (Frames { passing: 0, frame: Vec::new() }, Vec::new());
        frames.take(&broken, &mut out);
        assert_eq!(out, broken);
    }
}
