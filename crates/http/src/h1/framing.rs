//! Where a body ends: Content-Length, chunks (RFC 9112, section 7.1), or the end of the connection.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::parse::{Limits, trailers};
use crate::error::BodyErrorKind;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    None,
    Exact(u64),
    Chunked,
    UntilClose,
}

/// Cuts a body out of the bytes received.
#[derive(Debug)]
pub(super) enum Decoder {
    Done,
    Exact(u64),
    UntilClose,
    Chunked { state: Chunk, extension_bytes: usize, limits: Limits },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    Trailers { scanned: usize },
}

pub(super) enum Decoded {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// More bytes are needed; about this many would be of use.
    Wanting(usize),
}

/// All chunk extensions of one body together: they carry nothing, so many of them are an attack.
const MAX_EXTENSION_BYTES: usize = 16 * 1024;
/// Size in hex (16 digits), an extension, CR LF.
const MAX_SIZE_LINE: usize = 4 * 1024;

impl Decoder {
    pub(super) fn new(length: Length, limits: Limits) -> Self {
        match length {
            Length::None | Length::Exact(0) => Self::Done,
            Length::Exact(n) => Self::Exact(n),
            Length::UntilClose => Self::UntilClose,
            Length::Chunked => Self::Chunked { state: Chunk::Size, extension_bytes: 0, limits },
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// The next piece from the front of `inbox`. A [`BodyErrorKind`] leaves the decoder unusable.
    pub(super) fn decode(&mut self, inbox: &mut BytesMut) -> Result<Decoded, BodyErrorKind> {
        match self {
            Self::Done => Ok(Decoded::End),
            Self::Exact(left) => {
                if inbox.is_empty() {
                    return Ok(Decoded::Wanting((*left).try_into().unwrap_or(usize::MAX)));
                }
                let len = inbox.len().min((*left).try_into().unwrap_or(usize::MAX));
                *left -= len as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Decoded::Data(inbox.split_to(len).freeze()))
            }
            Self::UntilClose if inbox.is_empty() => Ok(Decoded::Wanting(usize::MAX)),
            Self::UntilClose => Ok(Decoded::Data(inbox.split().freeze())),
            Self::Chunked { state, extension_bytes, limits } => {
                let limits = *limits;
                let decoded = chunked(state, extension_bytes, limits, inbox)?;
                // A final chunk that came along is taken now, so that the reader sees the end with the last data.
                let last = matches!(decoded, Decoded::Data(_)) && ends_here(state, inbox);
                if last || matches!(decoded, Decoded::End | Decoded::Trailers(_)) {
                    *self = Self::Done;
                }
                Ok(decoded)
            }
        }
    }

    /// The peer closed: is the body whole?
    pub(super) fn close(&mut self) -> Result<(), BodyErrorKind> {
        match std::mem::replace(self, Self::Done) {
            Self::Done | Self::UntilClose => Ok(()),
            _ => Err(BodyErrorKind::Closed),
        }
    }
}

fn ends_here(state: &Chunk, inbox: &mut BytesMut) -> bool {
    let end: &[u8] = match state {
        Chunk::DataEnd => b"\r\n0\r\n\r\n",
        Chunk::Size => b"0\r\n\r\n",
        _ => return false,
    };
    let here = inbox.starts_with(end);
    if here {
        inbox.advance(end.len());
    }
    here
}

fn chunked(
    state: &mut Chunk,
    extension_bytes: &mut usize,
    limits: Limits,
    inbox: &mut BytesMut,
) -> Result<Decoded, BodyErrorKind> {
    loop {
        match state {
            Chunk::Size => {
                let Some(lf) = memchr::memchr(b'\n', inbox) else {
                    let whole = inbox.len() <= MAX_SIZE_LINE;
                    return if whole { Ok(Decoded::Wanting(1)) } else { Err(BodyErrorKind::Malformed) };
                };
                let size = size_line(&inbox[..=lf], extension_bytes)?;
                inbox.advance(lf + 1);
                *state = if size == 0 { Chunk::Trailers { scanned: 0 } } else { Chunk::Data(size) };
            }
            Chunk::Data(left) => {
                if inbox.is_empty() {
                    return Ok(Decoded::Wanting((*left).try_into().unwrap_or(usize::MAX)));
                }
                let len = inbox.len().min((*left).try_into().unwrap_or(usize::MAX));
                *left -= len as u64;
                if *left == 0 {
                    *state = Chunk::DataEnd;
                }
                return Ok(Decoded::Data(inbox.split_to(len).freeze()));
            }
            Chunk::DataEnd => {
                if inbox.len() < 2 {
                    let fits = inbox.is_empty() || inbox[0] == b'\r';
                    return if fits { Ok(Decoded::Wanting(1)) } else { Err(BodyErrorKind::Malformed) };
                }
                if !inbox.starts_with(b"\r\n") {
                    return Err(BodyErrorKind::Malformed);
                }
                inbox.advance(2);
                *state = Chunk::Size;
            }
            Chunk::Trailers { scanned } => return trailer_section(scanned, limits, inbox),
        }
    }
}

/// `line` with its LF: hex digits, perhaps an extension, CR LF.
fn size_line(line: &[u8], extension_bytes: &mut usize) -> Result<u64, BodyErrorKind> {
    let line = line.strip_suffix(b"\r\n").ok_or(BodyErrorKind::Malformed)?;
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let extension = &line[digits..];
    *extension_bytes += extension.len();
    let well_formed = extension.is_empty() || matches!(extension.trim_ascii_start().first(), Some(b';'));
    let clean = extension.iter().all(|b| *b == b'\t' || (*b >= 0x20 && *b != 0x7f));
    if digits == 0 || digits > 15 || !well_formed || !clean || *extension_bytes > MAX_EXTENSION_BYTES {
        return Err(BodyErrorKind::Malformed);
    }
    Ok(line[..digits].iter().fold(0, |n, d| n << 4 | u64::from((*d as char).to_digit(16).unwrap_or(0))))
}

fn trailer_section(scanned: &mut usize, limits: Limits, inbox: &mut BytesMut) -> Result<Decoded, BodyErrorKind> {
    if inbox.starts_with(b"\r\n") {
        inbox.advance(2);
        return Ok(Decoded::End);
    }
    for at in memchr::memchr_iter(b'\n', &inbox[*scanned..]) {
        let at = *scanned + at;
        if at == 0 || inbox[at - 1] != b'\r' {
            return Err(BodyErrorKind::Malformed);
        }
        if at >= 3 && inbox[at - 2] == b'\n' {
            let section = inbox.split_to(at + 1).freeze();
            let map = trailers(&section, limits).map_err(|_| BodyErrorKind::Malformed)?;
            return Ok(if limits.trailers { Decoded::Trailers(map) } else { Decoded::End });
        }
    }
    *scanned = inbox.len();
    if inbox.len() > limits.bytes { Err(BodyErrorKind::Malformed) } else { Ok(Decoded::Wanting(1)) }
}

/// Wraps a body for the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoder {
    /// The message has no body, whatever its source gives.
    None,
    Exact(u64),
    Chunked,
    UntilClose,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `wire` whole and then byte by byte; both ways must end alike.
    fn run(wire: &[u8], step: usize) -> Result<(Vec<u8>, Option<usize>, usize), BodyErrorKind> {
        let mut decoder = Decoder::new(Length::Chunked, Limits { bytes: 256, fields: 4, trailers: true });
        let (mut inbox, mut data, mut trailers) = (BytesMut::new(), Vec::new(), None);
        let mut rest = wire.chunks(step);
        loop {
            if decoder.is_done() {
                let left = inbox.len() + rest.map(<[u8]>::len).sum::<usize>();
                return Ok((data, trailers, left));
            }
            match decoder.decode(&mut inbox)? {
                Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                Decoded::Trailers(map) => trailers = Some(map.len()),
                Decoded::End => {}
                Decoded::Wanting(_) => match rest.next() {
                    Some(bytes) => inbox.extend_from_slice(bytes),
                    None => return Err(BodyErrorKind::Closed),
                },
            }
        }
    }

    #[test]
    fn chunks() {
        let ok = |data: &str, trailers, left| Ok((data.as_bytes().to_vec(), trailers, left));
        for (wire, expected) in [
            ("0\r\n\r\n", ok("", None, 0)),
            ("3\r\nabc\r\n0\r\n\r\nGET", ok("abc", None, 3)),
            ("03;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", ok("abc0123456789", None, 0)),
            ("1 ;a\r\nx\r\n0\r\na: b\r\nc: d\r\n\r\n", ok("x", Some(2), 0)),
            ("3\r\nab", Err(BodyErrorKind::Closed)),
            ("3\nabc\r\n0\r\n\r\n", Err(BodyErrorKind::Malformed)),
            ("3\r\nabcd\r\n0\r\n\r\n", Err(BodyErrorKind::Malformed)),
            ("3\r\nabc\n0\r\n\r\n", Err(BodyErrorKind::Malformed)),
            ("\r\n", Err(BodyErrorKind::Malformed)),
            ("-1\r\n", Err(BodyErrorKind::Malformed)),
            ("0x3\r\nabc\r\n", Err(BodyErrorKind::Malformed)),
            ("3 abc\r\n", Err(BodyErrorKind::Malformed)),
            ("ffffffffffffffffff\r\n", Err(BodyErrorKind::Malformed)),
            ("0\r\na b: c\r\n\r\n", Err(BodyErrorKind::Malformed)),
            ("0\r\na: b\n\r\n", Err(BodyErrorKind::Malformed)),
            ("0\r\na: 1\r\nb: 1\r\nc: 1\r\nd: 1\r\ne: 1\r\n\r\n", Err(BodyErrorKind::Malformed)),
        ] {
            assert_eq!(run(wire.as_bytes(), usize::MAX), expected, "whole {wire:?}");
            assert_eq!(run(wire.as_bytes(), 1), expected, "byte by byte {wire:?}");
        }
        let extensions = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "e".repeat(3000)).repeat(6));
        assert_eq!(run(extensions.as_bytes(), 4096), Err(BodyErrorKind::Malformed));
    }
}
