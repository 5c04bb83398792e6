//! Bodies that were compressed: what they say is compared, not by which bytes two compressors say it.

use std::io::Read;

use super::Answer;
use super::send1::shown;
use crate::http1::latin1;

impl Answer {
    /// Takes in the body of a response with this `content-encoding`.
    pub(super) fn takes_body(&mut self, encoding: Option<&str>, bytes: &[u8]) {
        let plain = encoding.and_then(|name| undone(name, bytes));
        self.encoded = plain.is_some();
        self.body = latin1(plain.as_deref().unwrap_or(bytes));
        let name = encoding.filter(|_| self.encoded).map(|name| format!("{name} of ")).unwrap_or_default();
        self.outcome.push("body", name + &shown(&self.body));
    }
}

/// What was compressed; nothing if it was not, or not to its end.
fn undone(name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    match name {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).ok()?,
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain).ok()?,
        "zstd" => zstd::stream::read::Decoder::new(bytes).ok()?.read_to_end(&mut plain).ok()?,
        _ => return None,
    };
    Some(plain)
}
