//! HTTP/2: frames, flow control, and header blocks that are rendered ahead. The first block of a connection teaches the
//! other side's HPACK table, the later ones are indexes, as any real client's and server's are.

use super::{AUTHORITY, DATE, Done, PATH, USER_AGENT, Unexpected};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
/// The largest frame unless settings say otherwise (RFC 9113, 4.2).
const MAX_FRAME: usize = 16_384;
const DEFAULT_WINDOW: i64 = 65_535;
/// Our windows: large enough to be never in the way of the proxy.
const WINDOW: u32 = 1 << 30;

mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
}

struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl Frame<'_> {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn number(&self) -> Result<u32, Unexpected> {
        let bytes = self.payload.first_chunk().ok_or(Unexpected("a frame that is too short"))?;
        Ok(u32::from_be_bytes(*bytes) & 0x7fff_ffff)
    }

    /// Number and value of each setting.
    fn settings(&self) -> impl Iterator<Item = (u16, u32)> {
        let (entries, _) = self.payload.as_chunks::<6>();
        entries.iter().map(|e| (u16::from_be_bytes([e[0], e[1]]), u32::from_be_bytes([e[2], e[3], e[4], e[5]])))
    }
}

/// Bytes become frames.
#[derive(Default)]
struct Frames {
    /// A frame that is not whole yet.
    held: Vec<u8>,
}

impl Frames {
    /// Calls `each` for every whole frame.
    fn receive(
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
        while let Some((head, rest)) = bytes.split_first_chunk::<FRAME_HEAD>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if length > MAX_FRAME {
                return Err(Unexpected("a frame that is too long"));
            }
            let Some((payload, rest)) = rest.split_at_checked(length) else { break };
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
            each(Frame { kind: head[3], flags: head[4], stream, payload })?;
            bytes = rest;
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn settings(out: &mut Vec<u8>, entries: &[(u16, u32)]) {
    let bytes: Vec<u8> =
        entries.iter().flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes())).collect();
    frame(out, kind::SETTINGS, 0, 0, &bytes);
}

fn window_update(out: &mut Vec<u8>, stream: u32, by: u32) {
    frame(out, kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
}

/// What both ends do: settings, pings, and the window that we give for the connection.
#[derive(Default)]
struct Session {
    frames: Frames,
    unacknowledged: u32,
}

impl Session {
    fn data(&mut self, length: usize, out: &mut Vec<u8>) {
        self.unacknowledged += length as u32;
        if self.unacknowledged > WINDOW / 4 {
            window_update(out, 0, std::mem::take(&mut self.unacknowledged));
        }
    }
}

/// A header block: bytes of HPACK (RFC 7541) for fields that are not in its static table.
struct Block {
    /// Adds the fields to the dynamic table.
    teaching: Vec<u8>,
    /// Refers to them.
    taught: Vec<u8>,
    /// Does without a dynamic table.
    plain: Vec<u8>,
}

impl Block {
    /// `fixed` are whole static fields, `fields` have a static name by its index, and a value below 127 bytes.
    fn new(fixed: &[u8], fields: &[(u8, &str)]) -> Self {
        let (mut teaching, mut taught, mut plain) = (fixed.to_vec(), fixed.to_vec(), fixed.to_vec());
        for (n, (name, value)) in fields.iter().enumerate() {
            let literal = |out: &mut Vec<u8>| {
                out.push(value.len() as u8);
                out.extend_from_slice(value.as_bytes());
            };
            teaching.push(0x40 | name);
            literal(&mut teaching);
            // The dynamic table begins at 62 with what came last.
            taught.push(0x80 | (61 + (fields.len() - n) as u8));
            if *name < 15 {
                plain.push(*name);
            } else {
                plain.extend_from_slice(&[15, name - 15]);
            }
            literal(&mut plain);
        }
        Self { teaching, taught, plain }
    }
}

/// The indexes of names in HPACK's static table.
mod name {
    pub const AUTHORITY: u8 = 1;
    pub const PATH: u8 = 4;
    pub const ACCEPT: u8 = 19;
    pub const CONTENT_LENGTH: u8 = 28;
    pub const CONTENT_TYPE: u8 = 31;
    pub const DATE: u8 = 33;
    pub const SERVER: u8 = 54;
    pub const USER_AGENT: u8 = 58;
}
const METHOD_GET: u8 = 0x82;
const SCHEME_HTTP: u8 = 0x86;
const STATUS_200: u8 = 0x88;

/// How the dynamic table of the other side stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    Empty,
    Taught,
    /// The other side wants none; `true` once that was confirmed.
    Refused(bool),
}

impl Table {
    /// The other side's word on its size. Ours are small: any table of some size holds them.
    fn resize(&mut self, size: u32) -> Result<(), Unexpected> {
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
    fn write(&mut self, block: &Block, stream: u32, flags: u8, out: &mut Vec<u8>) {
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

/// The calling end.
pub struct Client {
    session: Session,
    table: Table,
    block: Block,
    next: u32,
    /// Stream, token, and whether its status was 200.
    open: Vec<(u32, u64, bool)>,
}

impl Client {
    pub fn new(out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(PREFACE);
        settings(out, &[(setting::ENABLE_PUSH, 0), (setting::INITIAL_WINDOW_SIZE, WINDOW)]);
        window_update(out, 0, WINDOW);
        let fields =
            [(name::PATH, PATH), (name::AUTHORITY, AUTHORITY), (name::USER_AGENT, USER_AGENT), (name::ACCEPT, "*/*")];
        let block = Block::new(&[METHOD_GET, SCHEME_HTTP], &fields);
        Self { session: Session::default(), table: Table::Empty, block, next: 1, open: Vec::new() }
    }

    pub fn request(&mut self, token: u64, out: &mut Vec<u8>) {
        self.open.push((self.next, token, false));
        self.table.write(&self.block, self.next, flag::END_STREAM, out);
        self.next += 2;
    }

    pub fn receive(&mut self, bytes: &[u8], done: &mut Vec<Done>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
        let mut frames = std::mem::take(&mut self.session.frames);
        let result = frames.receive(bytes, |frame| self.take(&frame, done, out));
        self.session.frames = frames;
        result
    }

    fn take(&mut self, got: &Frame<'_>, done: &mut Vec<Done>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
        match got.kind {
            kind::SETTINGS if !got.has(flag::ACK) => {
                for (id, value) in got.settings() {
                    if id == setting::HEADER_TABLE_SIZE {
                        self.table.resize(value)?;
                    }
                }
                frame(out, kind::SETTINGS, flag::ACK, 0, &[]);
            }
            kind::PING if !got.has(flag::ACK) => frame(out, kind::PING, flag::ACK, 0, got.payload),
            kind::GOAWAY => return Err(Unexpected("GOAWAY")),
            kind::RST_STREAM => self.end(got.stream, false, done)?,
            kind::DATA => {
                self.session.data(got.payload.len(), out);
                if got.has(flag::END_STREAM) {
                    self.end(got.stream, true, done)?;
                }
            }
            kind::HEADERS => {
                let ok = status_is_200(got)?;
                let open = self.open.iter_mut().find(|(stream, ..)| *stream == got.stream);
                let open = open.ok_or(Unexpected("an answer that nobody asked for"))?;
                // Trailers come after the status and have none.
                open.2 |= ok;
                if got.has(flag::END_STREAM) {
                    self.end(got.stream, true, done)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, stream: u32, whole: bool, done: &mut Vec<Done>) -> Result<(), Unexpected> {
        let at = self.open.iter().position(|(open, ..)| *open == stream);
        let at = at.ok_or(Unexpected("the end of a stream that was not open"))?;
        let (_, token, ok) = self.open.remove(at);
        done.push(Done { token, ok: ok && whole });
        Ok(())
    }
}

/// Every good encoder writes status 200 as one byte, at the front but for table sizes.
fn status_is_200(got: &Frame<'_>) -> Result<bool, Unexpected> {
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

/// An answer that the other side's windows hold back.
struct Sending {
    stream: u32,
    left: usize,
    window: i64,
}

/// The answering end.
pub struct Server {
    session: Session,
    preface: usize,
    table: Table,
    block: Block,
    body: Vec<u8>,
    /// The other side's window for the connection, and for each new stream.
    window: i64,
    stream_window: i64,
    sending: Vec<Sending>,
    /// The stream whose header block goes on in the next frame, and whether the stream ends with it.
    unfinished: Option<bool>,
}

impl Server {
    pub fn new(body: usize, out: &mut Vec<u8>) -> Self {
        settings(out, &[(setting::MAX_CONCURRENT_STREAMS, 1000), (setting::INITIAL_WINDOW_SIZE, WINDOW)]);
        window_update(out, 0, WINDOW);
        let length = body.to_string();
        let fields = [
            (name::SERVER, "origin"),
            (name::DATE, DATE),
            (name::CONTENT_TYPE, "text/plain"),
            (name::CONTENT_LENGTH, length.as_str()),
        ];
        Self {
            session: Session::default(),
            preface: PREFACE.len(),
            table: Table::Empty,
            block: Block::new(&[STATUS_200], &fields),
            body: vec![b'x'; body],
            window: DEFAULT_WINDOW,
            stream_window: DEFAULT_WINDOW,
            sending: Vec::new(),
            unfinished: None,
        }
    }

    pub fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Unexpected> {
        let skip = self.preface.min(bytes.len());
        self.preface -= skip;
        let mut frames = std::mem::take(&mut self.session.frames);
        let result = frames.receive(&bytes[skip..], |frame| self.take(&frame, out));
        self.session.frames = frames;
        self.flush(out);
        result
    }

    fn take(&mut self, got: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
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
            kind::WINDOW_UPDATE if got.stream == 0 => self.window += i64::from(got.number()?),
            kind::WINDOW_UPDATE => {
                let by = i64::from(got.number()?);
                if let Some(sending) = self.sending.iter_mut().find(|s| s.stream == got.stream) {
                    sending.window += by;
                }
            }
            kind::RST_STREAM => self.sending.retain(|s| s.stream != got.stream),
            kind::HEADERS if !got.has(flag::END_HEADERS) => self.unfinished = Some(got.has(flag::END_STREAM)),
            kind::CONTINUATION if got.has(flag::END_HEADERS) && self.unfinished.take() == Some(true) => {
                self.answer(got.stream, out);
            }
            kind::HEADERS if got.has(flag::END_STREAM) => self.answer(got.stream, out),
            kind::DATA => {
                self.session.data(got.payload.len(), out);
                if got.has(flag::END_STREAM) {
                    self.answer(got.stream, out);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn answer(&mut self, stream: u32, out: &mut Vec<u8>) {
        if self.body.is_empty() {
            return self.table.write(&self.block, stream, flag::END_STREAM, out);
        }
        self.table.write(&self.block, stream, 0, out);
        self.sending.push(Sending { stream, left: self.body.len(), window: self.stream_window });
        self.flush(out);
    }

    /// Sends what the windows allow, the oldest stream first.
    fn flush(&mut self, out: &mut Vec<u8>) {
        for sending in &mut self.sending {
            while sending.left > 0 {
                let room = self.window.min(sending.window).clamp(0, MAX_FRAME as i64) as usize;
                let length = room.min(sending.left);
                if length == 0 {
                    break;
                }
                sending.left -= length;
                sending.window -= length as i64;
                self.window -= length as i64;
                let flags = if sending.left == 0 { flag::END_STREAM } else { 0 };
                frame(out, kind::DATA, flags, sending.stream, &self.body[..length]);
            }
        }
        self.sending.retain(|s| s.left > 0);
    }
}
