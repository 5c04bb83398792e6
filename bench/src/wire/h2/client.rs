//! The calling end.

use super::flow::{End, Given, Session};
use super::frame::{Frame, Frames, flag, kind, setting, settings, window_update};
use super::hpack::{Block, METHOD_GET, METHOD_POST, Name, SCHEME_HTTP, name, status_is_200};
use super::{PREFACE, WINDOW};
use crate::wire::{Done, Exchange, Kind, USER_AGENT, Unexpected};

/// The calling end of a connection.
pub struct Client {
    exchange: Exchange,
    frames: Frames,
    session: Session,
    block: Block,
    next: u32,
    open: Vec<Open>,
    /// Streams that stay open and carry nothing now.
    idle: Vec<u32>,
}

/// A stream that is open.
struct Open {
    stream: u32,
    token: u64,
    /// The status was 200.
    ok: bool,
    /// Bytes of the body, or of the message, so far.
    got: usize,
    given: Given,
}

impl Client {
    pub fn new(exchange: Exchange, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(PREFACE);
        settings(out, &[(setting::ENABLE_PUSH, 0), (setting::INITIAL_WINDOW_SIZE, WINDOW)]);
        window_update(out, 0, WINDOW);
        Self {
            exchange,
            frames: Frames::default(),
            session: Session::new(exchange, exchange.up),
            block: request_block(exchange),
            next: 1,
            open: Vec::new(),
            idle: Vec::new(),
        }
    }

    pub fn request(&mut self, token: u64, out: &mut Vec<u8>) {
        if let Some(stream) = self.idle.pop() {
            if let Some(open) = self.open.iter_mut().find(|open| open.stream == stream) {
                (open.token, open.got) = (token, 0);
            }
            return self.session.send(stream, End::Open, out);
        }
        let stream = self.next;
        self.next += 2;
        self.open.push(Open { stream, token, ok: false, got: 0, given: Given::default() });
        let empty = self.exchange.sent() == 0;
        self.session.table.write(&self.block, stream, if empty { flag::END_STREAM } else { 0 }, out);
        if !empty {
            let end = if self.exchange.kind == Kind::Stream { End::Open } else { End::Now };
            self.session.send(stream, end, out);
        }
    }

    pub fn fill(&mut self, out: &mut Vec<u8>) {
        self.session.fill(out);
    }

    pub fn receive(&mut self, bytes: &[u8], done: &mut Vec<Done>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
        let mut frames = std::mem::take(&mut self.frames);
        let result = frames.receive(bytes, |frame| self.take(&frame, done, out));
        self.frames = frames;
        result
    }

    fn take(&mut self, got: &Frame<'_>, done: &mut Vec<Done>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
        if self.session.take(got, out)? {
            return Ok(());
        }
        match got.kind {
            kind::GOAWAY => Err(Unexpected("GOAWAY")),
            kind::RST_STREAM if self.exchange.kind == Kind::Stream => Err(Unexpected("a reset of a long stream")),
            kind::RST_STREAM => self.end(got.stream, false, done),
            kind::DATA => self.data(got, done, out),
            kind::HEADERS => {
                let ok = status_is_200(got)?;
                // Trailers come after the status and have none.
                self.find(got.stream)?.ok |= ok;
                match got.has(flag::END_STREAM) {
                    true => self.end(got.stream, true, done),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn data(&mut self, got: &Frame<'_>, done: &mut Vec<Done>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
        let (kind, whole) = (self.exchange.kind, self.exchange.received());
        self.session.received(got.payload.len(), out);
        let open = self.find(got.stream)?;
        open.got += got.payload.len();
        if kind == Kind::Stream {
            open.given.received(got.stream, got.payload.len(), out);
            if open.got == whole && !got.has(flag::END_STREAM) {
                done.push(Done { token: open.token, ok: open.ok });
                self.idle.push(got.stream);
            }
            return Ok(());
        }
        match got.has(flag::END_STREAM) {
            // gRPC ends with trailers.
            true => self.end(got.stream, kind == Kind::Plain, done),
            false => Ok(()),
        }
    }

    fn find(&mut self, stream: u32) -> Result<&mut Open, Unexpected> {
        let open = self.open.iter_mut().find(|open| open.stream == stream);
        open.ok_or(Unexpected("an answer that nobody asked for"))
    }

    fn end(&mut self, stream: u32, whole: bool, done: &mut Vec<Done>) -> Result<(), Unexpected> {
        if self.exchange.kind == Kind::Stream {
            return Err(Unexpected("the end of a long stream"));
        }
        let at = self.open.iter().position(|open| open.stream == stream);
        let at = at.ok_or(Unexpected("the end of a stream that was not open"))?;
        let open = self.open.remove(at);
        self.session.forget(stream);
        let whole = whole && open.got == self.exchange.received();
        done.push(Done { token: open.token, ok: open.ok && whole });
        Ok(())
    }
}

fn request_block(exchange: Exchange) -> Block {
    use Name::{Known, Text};
    let (host, length) = (exchange.host(0), exchange.up.to_string());
    let mut fields = vec![
        (Known(name::PATH), exchange.path()),
        (Known(name::AUTHORITY), host.as_str()),
        (Known(name::USER_AGENT), USER_AGENT),
    ];
    let method = match exchange.kind {
        Kind::Plain if exchange.up == 0 => METHOD_GET,
        _ => METHOD_POST,
    };
    match exchange.kind {
        Kind::Plain if exchange.up == 0 => fields.push((Known(name::ACCEPT), "*/*")),
        Kind::Plain => fields.push((Known(name::CONTENT_LENGTH), &length)),
        Kind::Unary | Kind::Stream => {
            fields.extend([(Known(name::CONTENT_TYPE), "application/grpc"), (Text("te"), "trailers")]);
        }
    }
    Block::new(&[method, SCHEME_HTTP], &fields)
}
