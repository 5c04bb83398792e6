//! Header blocks (HPACK, RFC 7541): rendered ahead in the three ways in which the other side may want them.

use super::frame::{Frame, flag, frame, kind};
use crate::wire::Unexpected;

/// The indexes of names in HPACK's static table.
pub mod name {
    pub const AUTHORITY: u8 = 1;
    pub const PATH: u8 = 4;
    pub const ACCEPT: u8 = 19;
    pub const CONTENT_LENGTH: u8 = 28;
    pub const CONTENT_TYPE: u8 = 31;
    pub const DATE: u8 = 33;
    pub const SERVER: u8 = 54;
    pub const USER_AGENT: u8 = 58;
}
pub const METHOD_GET: u8 = 0x82;
pub const METHOD_POST: u8 = 0x83;
pub const SCHEME_HTTP: u8 = 0x86;
pub const STATUS_200: u8 = 0x88;

/// `grpc-status: 0`, in no table.
pub const GRPC_STATUS_0: &[u8] = b"\x00\x0bgrpc-status\x010";

/// The name of a field.
#[derive(Clone, Copy)]
pub enum Name {
    /// In the static table.
    Known(u8),
    /// As text below 127 bytes.
    Text(&'static str),
}

/// A header block.
pub struct Block {
    /// Adds the fields to the dynamic table.
    teaching: Vec<u8>,
    /// Refers to them.
    taught: Vec<u8>,
    /// Does without a dynamic table.
    plain: Vec<u8>,
}

impl Block {
    /// `fixed` are whole static fields; `fields` have a name and a value below 127 bytes.
    pub fn new(fixed: &[u8], fields: &[(Name, &str)]) -> Self {
        let (mut teaching, mut taught, mut plain) = (fixed.to_vec(), fixed.to_vec(), fixed.to_vec());
        for (n, (name, value)) in fields.iter().enumerate() {
            match *name {
                Name::Known(name) => {
                    teaching.push(0x40 | name);
                    match name {
                        ..15 => plain.push(name),
                        _ => plain.extend_from_slice(&[15, name - 15]),
                    }
                }
                Name::Text(name) => {
                    teaching.push(0x40);
                    plain.push(0);
                    text(name, &mut teaching);
                    text(name, &mut plain);
                }
            }
            text(value, &mut teaching);
            text(value, &mut plain);
            // The dynamic table begins at 62 with what came last.
            taught.push(0x80 | (61 + (fields.len() - n) as u8));
        }
        Self { teaching, taught, plain }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// How the dynamic table of the other side stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Empty,
    Taught,
    /// The other side wants none; `true` once that was confirmed.
    Refused(bool),
}

impl Table {
    /// The other side's word on its size. Ours are small: any table of some size holds them.
    pub fn resize(&mut self, size: u32) -> Result<(), Unexpected> {
        match *self {
            _ if size >= 1024 => Ok(()),
            Self::Taught => Err(Unexpected("a smaller header table after the first block")),
            _ => {
                *self = Self::Refused(false);
                Ok(())
            }
        }
    }

    /// Writes the block that fits now.
    pub fn write(&mut self, block: &Block, stream: u32, flags: u8, out: &mut Vec<u8>) {
        let flags = flags | flag::END_HEADERS;
        match *self {
            Self::Empty => {
                *self = Self::Taught;
                frame(out, kind::HEADERS, flags, stream, &block.teaching);
            }
            Self::Taught => frame(out, kind::HEADERS, flags, stream, &block.taught),
            Self::Refused(true) => frame(out, kind::HEADERS, flags, stream, &block.plain),
            Self::Refused(false) => {
                // A smaller table has to be confirmed at the beginning of the next block (RFC 7541, 4.2).
                *self = Self::Refused(true);
                let confirmed = [&[0x20], &block.plain[..]].concat();
                frame(out, kind::HEADERS, flags, stream, &confirmed);
            }
        }
    }
}

/// Every good encoder writes status 200 as one byte, at the front but for table sizes.
pub fn status_is_200(got: &Frame<'_>) -> Result<bool, Unexpected> {
    let padding = if got.has(flag::PADDED) { 1 } else { 0 };
    let priority = if got.has(flag::PRIORITY) { 5 } else { 0 };
    let block = got.payload.get(padding + priority..).ok_or(Unexpected("a frame that is too short"))?;
    let mut first = block.iter();
    loop {
        match first.next() {
            // A table size below 31, or a longer number.
            Some(0x3f) => while first.next().is_some_and(|b| b & 0x80 != 0) {},
            Some(0x20..0x3f) => {}
            found => return Ok(found == Some(&STATUS_200)),
        }
    }
}
