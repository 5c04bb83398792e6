//! The answering end.

use std::collections::HashMap;

use super::flow::{End, Given, Session};
use super::frame::{Frame, Frames, flag, kind, setting, settings, window_update};
use super::hpack::{Block, Name, STATUS_200, name};
use super::{PREFACE, WINDOW};
use crate::wire::{DATE, Exchange, Kind, Unexpected};

/// The answering end of a connection.
pub struct Server {
    exchange: Exchange,
    frames: Frames,
    session: Session,
    preface: usize,
    block: Block,
    /// Long streams: bytes of the message that is coming.
    open: HashMap<u32, (usize, Given)>,
    /// The stream whose header block goes on in the next frame, and whether the stream ends with it.
    unfinished: Option<bool>,
}

impl Server {
    pub fn new(exchange: Exchange, out: &mut Vec<u8>) -> Self {
        settings(out, &[(setting::MAX_CONCURRENT_STREAMS, 1000), (setting::INITIAL_WINDOW_SIZE, WINDOW)]);
        window_update(out, 0, WINDOW);
        Self {
            exchange,
            frames: Frames::default(),
            session: Session::new(exchange, exchange.down),
            preface: PREFACE.len(),
            block: answer_block(exchange),
            open: HashMap::new(),
            unfinished: None,
        }
    }

    pub fn fill(&mut self, out: &mut Vec<u8>) {
        self.session.fill(out);
    }

    pub fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Unexpected> {
        let skip = self.preface.min(bytes.len());
        self.preface -= skip;
        let mut frames = std::mem::take(&mut self.frames);
        let result = frames.receive(&bytes[skip..], |frame| self.take(&frame, out));
        self.frames = frames;
        result
    }

    fn take(&mut self, got: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
        if self.session.take(got, out)? {
            return Ok(());
        }
        match got.kind {
            kind::RST_STREAM => {
                self.open.remove(&got.stream);
                self.session.forget(got.stream);
            }
            kind::HEADERS if !got.has(flag::END_HEADERS) => self.unfinished = Some(got.has(flag::END_STREAM)),
            kind::HEADERS => self.begin(got.stream, got.has(flag::END_STREAM), out),
            kind::CONTINUATION if got.has(flag::END_HEADERS) => {
                let ends = self.unfinished.take() == Some(true);
                self.begin(got.stream, ends, out);
            }
            kind::DATA => {
                self.session.received(got.payload.len(), out);
                match self.open.get_mut(&got.stream) {
                    Some((message, given)) => {
                        given.received(got.stream, got.payload.len(), out);
                        *message += got.payload.len();
                        while *message >= self.exchange.sent() {
                            *message -= self.exchange.sent();
                            self.session.send(got.stream, End::Open, out);
                        }
                    }
                    None if got.has(flag::END_STREAM) => self.answer(got.stream, out),
                    None => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The head of a request.
    fn begin(&mut self, stream: u32, ends: bool, out: &mut Vec<u8>) {
        match self.exchange.kind {
            Kind::Stream => {
                self.session.table.write(&self.block, stream, 0, out);
                self.open.insert(stream, (0, Given::default()));
            }
            _ if ends => self.answer(stream, out),
            _ => {}
        }
    }

    fn answer(&mut self, stream: u32, out: &mut Vec<u8>) {
        if self.exchange.received() == 0 {
            return self.session.table.write(&self.block, stream, flag::END_STREAM, out);
        }
        self.session.table.write(&self.block, stream, 0, out);
        let end = if self.exchange.kind == Kind::Unary { End::Trailers } else { End::Now };
        self.session.send(stream, end, out);
    }
}

fn answer_block(exchange: Exchange) -> Block {
    use Name::Known;
    let length = exchange.down.to_string();
    let mut fields = vec![(Known(name::SERVER), "origin"), (Known(name::DATE), DATE)];
    match exchange.is_grpc() {
        true => fields.push((Known(name::CONTENT_TYPE), "application/grpc")),
        false => {
            fields.extend([(Known(name::CONTENT_TYPE), "text/plain"), (Known(name::CONTENT_LENGTH), length.as_str())])
        }
    }
    Block::new(&[STATUS_200], &fields)
}
