//! The encodings themselves, fed piece by piece. What is held between two pieces is the library's window.

use std::io::{self, Write};

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use brotli::enc::backward_references::BrotliEncoderMode;
use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use http::HeaderMap;
use mesh_http::{BodyErrorKind, BodyMap, Ending};
use model::compression::{Brotli, BrotliMode, Encoding, Gzip, Zstd};
use telemetry::Counter;
use zstd::stream::raw::{CParameter, Encoder as ZstdEncoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::Strategy;

/// A body on its way through an encoding.
pub(super) struct Encoded {
    stream: Stream,
    before: Counter,
    after: Counter,
}

/// One encoding at work.
pub(super) enum Stream {
    Gzip(Box<Compress>),
    /// None after its end.
    Brotli(Option<Box<CompressorWriter<Vec<u8>>>>),
    Zstd(Box<ZstdEncoder<'static>>),
}

/// Room for what comes out is made in pieces of this size.
const ROOM: usize = 4096;
/// The longest that Zstandard looks back, in bits: what it would take by itself is megabytes for every response.
const ZSTD_WINDOW: u32 = 18;

impl Encoded {
    /// Counts bytes before and after.
    pub(super) fn new(stream: Stream, (before, after): (Counter, Counter)) -> Self {
        Self { stream, before, after }
    }

    fn feed(&mut self, data: &[u8], last: bool) -> Result<Bytes, BodyErrorKind> {
        self.before.add(data.len() as u64);
        // Only a library out of memory fails; the body then ends where it is.
        let out = self.stream.feed(data, last).map_err(|_| BodyErrorKind::Cancelled)?;
        self.after.add(out.len() as u64);
        Ok(out.into())
    }
}

impl BodyMap for Encoded {
    fn data(&mut self, data: Bytes) -> Result<Bytes, BodyErrorKind> {
        if data.is_empty() { Ok(data) } else { self.feed(&data, false) }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Ending, BodyErrorKind> {
        Ok(Ending { data: self.feed(&[], true)?, trailers })
    }
}

impl Stream {
    /// The encoding with its settings; none if the library does not take them.
    pub(super) fn new(encoding: &Encoding) -> Option<Self> {
        Some(match encoding {
            Encoding::Gzip(Gzip { level, window_bits }) => {
                let level = Compression::new((*level).into());
                Self::Gzip(Box::new(Compress::new_gzip(level, *window_bits)))
            }
            Encoding::Brotli(brotli) => {
                Self::Brotli(Some(Box::new(CompressorWriter::with_params(Vec::new(), ROOM, &brotli_params(brotli)))))
            }
            Encoding::Zstd(zstd) => Self::Zstd(Box::new(zstd_encoder(zstd).ok()?)),
        })
    }

    /// All that can come out once this has come in; after the last nothing more may come in.
    fn feed(&mut self, data: &[u8], last: bool) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(stream) => deflate(stream, data, if last { FlushCompress::Finish } else { FlushCompress::Sync }),
            Self::Brotli(stream) => {
                let Some(writer) = stream.as_deref_mut() else { return Ok(Vec::new()) };
                writer.write_all(data)?;
                if last {
                    return Ok(stream.take().map(|writer| writer.into_inner()).unwrap_or_default());
                }
                writer.flush()?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Zstd(stream) => zstandard(stream, data, last),
        }
    }
}

fn deflate(stream: &mut Compress, mut data: &[u8], flush: FlushCompress) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        out.reserve(ROOM);
        let before = stream.total_in();
        let status = stream.compress_vec(data, &mut out, flush).map_err(io::Error::other)?;
        data = &data[(stream.total_in() - before) as usize..];
        // Room that is left says that nothing is held back.
        let all = data.is_empty() && out.len() < out.capacity() && !matches!(flush, FlushCompress::Finish);
        if all || status == Status::StreamEnd {
            return Ok(out);
        }
    }
}

fn zstandard(stream: &mut ZstdEncoder<'static>, data: &[u8], last: bool) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut input = InBuffer::around(data);
    loop {
        out.reserve(ROOM);
        let at = out.len();
        let mut output = OutBuffer::around_pos(&mut out, at);
        let left = if input.pos() < data.len() {
            stream.run(&mut input, &mut output)?;
            1
        } else if last {
            stream.finish(&mut output, false)?
        } else {
            stream.flush(&mut output)?
        };
        if left == 0 {
            return Ok(out);
        }
    }
}

fn brotli_params(settings: &Brotli) -> BrotliEncoderParams {
    BrotliEncoderParams {
        quality: settings.quality.into(),
        lgwin: settings.window_bits.into(),
        // More than the window would only be held, not used.
        lgblock: settings.block_bits.min(settings.window_bits.max(16)).into(),
        mode: match settings.mode {
            BrotliMode::Generic => BrotliEncoderMode::BROTLI_MODE_GENERIC,
            BrotliMode::Text => BrotliEncoderMode::BROTLI_MODE_TEXT,
            BrotliMode::Font => BrotliEncoderMode::BROTLI_MODE_FONT,
        },
        disable_literal_context_modeling: i32::from(!settings.literal_contexts),
        ..BrotliEncoderParams::default()
    }
}

fn zstd_encoder(settings: &Zstd) -> io::Result<ZstdEncoder<'static>> {
    let mut encoder = ZstdEncoder::new(settings.level.into())?;
    encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW))?;
    encoder.set_parameter(CParameter::ChecksumFlag(settings.checksum))?;
    if let Some(strategy) = settings.strategy.and_then(strategy) {
        encoder.set_parameter(CParameter::Strategy(strategy))?;
    }
    Ok(encoder)
}

/// The library's name for a number.
fn strategy(number: u8) -> Option<Strategy> {
    use Strategy::{
        ZSTD_btlazy2, ZSTD_btopt, ZSTD_btultra, ZSTD_btultra2, ZSTD_dfast, ZSTD_fast, ZSTD_greedy, ZSTD_lazy,
        ZSTD_lazy2,
    };
    let all = [
        ZSTD_fast,
        ZSTD_dfast,
        ZSTD_greedy,
        ZSTD_lazy,
        ZSTD_lazy2,
        ZSTD_btlazy2,
        ZSTD_btopt,
        ZSTD_btultra,
        ZSTD_btultra2,
    ];
    all.get(usize::from(number).checked_sub(1)?).copied()
}
