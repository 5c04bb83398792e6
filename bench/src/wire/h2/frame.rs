//! Frames (RFC 9113, section 4): bytes become frames and frames bytes.

use crate::wire::Unexpected;

const FRAME_HEAD: usize = 9;
/// The largest frame unless settings say otherwise (RFC 9113, 4.2).
pub const MAX_FRAME: usize = 16_384;

pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
}

/// A frame; of DATA also a piece of one, whose flags come with the last.
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

impl Frame<'_> {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub fn number(&self) -> Result<u32, Unexpected> {
        let bytes = self.payload.first_chunk().ok_or(Unexpected("a frame that is too short"))?;
        Ok(u32::from_be_bytes(*bytes) & 0x7fff_ffff)
    }

    /// Number and value of each setting.
    pub fn settings(&self) -> impl Iterator<Item = (u16, u32)> {
        let (entries, _) = self.payload.as_chunks::<6>();
        entries.iter().map(|e| (u16::from_be_bytes([e[0], e[1]]), u32::from_be_bytes([e[2], e[3], e[4], e[5]])))
    }
}

/// Bytes become frames. DATA is given on in the pieces in which it comes.
#[derive(Default)]
pub struct Frames {
    /// A frame that is not whole yet.
    held: Vec<u8>,
    /// A DATA frame that goes on: its flags, its stream, and how much is to come.
    data: Option<(u8, u32, usize)>,
}

impl Frames {
    /// Calls `each` for every whole frame, and every piece of DATA.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Frame<'_>) -> Result<(), Unexpected>,
    ) -> Result<(), Unexpected> {
        let joined;
        let mut bytes = bytes;
        if !self.held.is_empty() {
            self.held.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.held);
            bytes = &joined;
        }
        loop {
            if let Some((flags, stream, left)) = self.data.take() {
                let piece = left.min(bytes.len());
                let (payload, rest) = bytes.split_at(piece);
                bytes = rest;
                if piece < left {
                    self.data = Some((flags, stream, left - piece));
                    if piece > 0 {
                        each(Frame { kind: kind::DATA, flags: 0, stream, payload })?;
                    }
                    return Ok(());
                }
                each(Frame { kind: kind::DATA, flags, stream, payload })?;
            }
            let Some((head, rest)) = bytes.split_first_chunk::<FRAME_HEAD>() else { break };
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if length > MAX_FRAME {
                return Err(Unexpected("a frame that is too long"));
            }
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
            let (kind, flags) = (head[3], head[4]);
            if kind == kind::DATA {
                if flags & flag::PADDED != 0 {
                    return Err(Unexpected("padded data"));
                }
                self.data = Some((flags, stream, length));
                bytes = rest;
                continue;
            }
            let Some((payload, rest)) = rest.split_at_checked(length) else { break };
            each(Frame { kind, flags, stream, payload })?;
            bytes = rest;
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

/// Writes the head of a frame.
pub fn head(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, length: usize) {
    let length = (length as u32).to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Writes a frame.
pub fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    head(out, kind, flags, stream, payload.len());
    out.extend_from_slice(payload);
}

/// Writes settings.
pub fn settings(out: &mut Vec<u8>, entries: &[(u16, u32)]) {
    let bytes: Vec<u8> =
        entries.iter().flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes())).collect();
    frame(out, kind::SETTINGS, 0, 0, &bytes);
}

/// Opens a window.
pub fn window_update(out: &mut Vec<u8>, stream: u32, by: u32) {
    frame(out, kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
}
