//! The form in text: base64, in which each frame may be closed by itself, so that several pieces stand in a row.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use mesh_http::{BodyErrorKind, BodyMap, Ending};

use super::frame_of;

/// Bytes of a frame's head: a flag and the length of what follows.
const HEAD: usize = 5;

/// A request's text becomes bytes.
#[derive(Debug, Default)]
pub(super) struct TextAsBytes {
    /// The begin of a group of four that is not whole yet.
    rest: Vec<u8>,
}

impl BodyMap for TextAsBytes {
    fn data(&mut self, data: Bytes) -> Result<Bytes, BodyErrorKind> {
        let mut text = std::mem::take(&mut self.rest);
        text.extend_from_slice(&data);
        self.rest = text.split_off(text.len() / 4 * 4);
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
        let mut from = 0;
        for (index, group) in text.chunks_exact(4).enumerate() {
            // Padding ends a piece; another may follow.
            if group[3] == b'=' {
                decode(&text[from..index * 4 + 4], &mut bytes)?;
                from = index * 4 + 4;
            }
        }
        decode(&text[from..], &mut bytes)?;
        Ok(bytes.into())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Ending, BodyErrorKind> {
        if !self.rest.is_empty() {
            return Err(BodyErrorKind::Encoding);
        }
        Ok(Ending { data: Bytes::new(), trailers })
    }
}

fn decode(text: &[u8], bytes: &mut Vec<u8>) -> Result<(), BodyErrorKind> {
    STANDARD.decode_vec(text, bytes).map_err(|_| BodyErrorKind::Encoding)
}

/// An answer's frames, and its trailers as one more, become text. Each frame is closed by itself, so that the reader has
/// all of it at once; a long one goes on as it comes.
#[derive(Debug, Default)]
pub(super) struct FramesAsText {
    /// The head of the next frame, as far as it is there.
    head: Vec<u8>,
    /// Bytes that are to come of this one.
    left: u32,
    /// What does not fill a group of three yet.
    rest: Vec<u8>,
}

impl FramesAsText {
    fn encode(&mut self, bytes: &[u8], text: &mut String) {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() / 3 * 3;
        STANDARD.encode_string(&self.rest[..whole], text);
        self.rest.drain(..whole);
    }

    fn close(&mut self, text: &mut String) {
        STANDARD.encode_string(std::mem::take(&mut self.rest), text);
    }
}

impl BodyMap for FramesAsText {
    fn data(&mut self, data: Bytes) -> Result<Bytes, BodyErrorKind> {
        let (mut data, mut text) = (&data[..], String::with_capacity(data.len() / 3 * 4 + 8));
        while !data.is_empty() {
            if self.left == 0 {
                let (head, rest) = data.split_at(data.len().min(HEAD - self.head.len()));
                self.head.extend_from_slice(head);
                data = rest;
                if let [_, length @ ..] = &self.head[..]
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.left = u32::from_be_bytes(length);
                    let head = std::mem::take(&mut self.head);
                    self.encode(&head, &mut text);
                }
            }
            let (message, rest) = data.split_at(data.len().min(self.left as usize));
            self.left -= message.len() as u32;
            self.encode(message, &mut text);
            data = rest;
            if self.left == 0 && self.head.is_empty() {
                self.close(&mut text);
            }
        }
        Ok(text.into())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Ending, BodyErrorKind> {
        let mut text = String::new();
        // What is left is a frame that broke off.
        let begun = std::mem::take(&mut self.head);
        self.encode(&begun, &mut text);
        self.close(&mut text);
        if let Some(trailers) = trailers {
            STANDARD.encode_string(frame_of(trailers), &mut text);
        }
        Ok(Ending { data: text.into(), trailers: None })
    }
}
