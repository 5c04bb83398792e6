//! Compressing what is answered (Envoy's compressor filter).

use std::sync::Arc;

use crate::StringMatch;

/// A filter that compresses responses in one encoding, for those who accept it.
#[derive(Debug, Clone, PartialEq)]
pub struct Compressor {
    /// The name under which it stands in its chain, and under which routes speak to it.
    pub name: Arc<str>,
    /// How it compresses.
    pub encoding: Encoding,
    /// Is it at work where routes do not say otherwise?
    pub enabled: bool,
    /// Responses that say they have fewer bytes stay as they are.
    pub min_length: u32,
    /// The media types that are compressed, without parameters; empty: [`DEFAULT_TYPES`].
    pub types: Vec<StringMatch>,
    /// What becomes of a response with an entity tag.
    pub etags: ETags,
    /// The request goes on without `accept-encoding`, so that the upstream does not compress.
    pub hide_accept_encoding: bool,
    /// Responses of these statuses stay as they are.
    pub except_statuses: Vec<u16>,
    /// Of encodings that are as welcome to the client, this one.
    pub preferred: bool,
}

/// The media types that are compressed where nothing else is said.
pub const DEFAULT_TYPES: [&str; 20] = [
    "text/html",
    "text/plain",
    "text/css",
    "application/javascript",
    "application/x-javascript",
    "text/javascript",
    "text/x-javascript",
    "text/ecmascript",
    "text/js",
    "text/jscript",
    "text/x-js",
    "application/ecmascript",
    "application/x-json",
    "application/xml",
    "application/json",
    "image/svg+xml",
    "text/xml",
    "application/xhtml+xml",
    "application/grpc-web",
    "application/grpc-web+proto",
];

/// What becomes of a response with an entity tag, which names the bytes as they were before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ETags {
    /// A strong one is removed, a weak one stays.
    #[default]
    Remove,
    /// A strong one becomes a weak one.
    Weaken,
    /// It is not compressed.
    Refrain,
}

impl Compressor {
    /// The least length where nothing else is said.
    pub const MIN_LENGTH: u32 = 30;

    /// Envoy's defaults.
    pub fn new(name: impl Into<Arc<str>>, encoding: Encoding) -> Self {
        Self {
            name: name.into(),
            encoding,
            enabled: true,
            min_length: Self::MIN_LENGTH,
            types: Vec::new(),
            etags: ETags::default(),
            hide_accept_encoding: false,
            except_statuses: Vec::new(),
            preferred: false,
        }
    }

    /// Is a response of this `content-type` compressed? Parameters and case do not matter; one without any is.
    pub fn takes_type(&self, content_type: Option<&str>) -> bool {
        let Some(text) = content_type else { return true };
        let media = text.split(';').next().unwrap_or_default().trim();
        match &self.types[..] {
            [] => DEFAULT_TYPES.iter().any(|known| known.eq_ignore_ascii_case(media)),
            types => types.iter().any(|one| one.matches(media)),
        }
    }
}

/// An encoding and its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip(Gzip),
    /// RFC 7932.
    Brotli(Brotli),
    /// RFC 8878.
    Zstd(Zstd),
}

impl Encoding {
    /// As `accept-encoding` and `content-encoding` name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Brotli(_) => "br",
            Self::Zstd(_) => "zstd",
        }
    }
}

/// Settings of gzip. What is not said is as in Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gzip {
    /// 1 (quick) to 9 (small).
    pub level: u8,
    /// How far back it looks, in bits: 9 to 15.
    pub window_bits: u8,
}

impl Default for Gzip {
    fn default() -> Self {
        Self { level: 6, window_bits: 12 }
    }
}

/// Settings of Brotli. What is not said is as in Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brotli {
    /// 0 (quick) to 11 (small).
    pub quality: u8,
    /// What is compressed.
    pub mode: BrotliMode,
    /// How far back it looks, in bits: 10 to 24.
    pub window_bits: u8,
    /// How much it looks at in one go, in bits: 16 to 24.
    pub block_bits: u8,
    /// Letters are foretold from those before them.
    pub literal_contexts: bool,
}

impl Default for Brotli {
    fn default() -> Self {
        Self { quality: 3, mode: BrotliMode::default(), window_bits: 18, block_bits: 24, literal_contexts: true }
    }
}

/// What Brotli is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BrotliMode {
    /// Anything.
    #[default]
    Generic,
    /// Text in UTF-8.
    Text,
    /// Fonts.
    Font,
}

/// Settings of Zstandard. What is not said is as in Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zstd {
    /// 1 (quick) to 22 (small).
    pub level: u8,
    /// The end has a checksum.
    pub checksum: bool,
    /// One of the library's strategies, 1 (quick) to 9 (small); none: the level's own.
    pub strategy: Option<u8>,
}

impl Default for Zstd {
    fn default() -> Self {
        Self { level: 3, checksum: false, strategy: None }
    }
}

/// What a route or virtual host says to a compressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressorRule {
    /// It lets everything pass.
    Off,
    /// It is at work, whatever the filter itself says.
    On {
        /// In place of [`Compressor::hide_accept_encoding`].
        hide_accept_encoding: Option<bool>,
    },
    /// As the filter itself says.
    Same,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        let plain = Compressor::new("c", Encoding::Gzip(Gzip::default()));
        let own = Compressor { types: vec![StringMatch::exact("text/x")], ..plain.clone() };
        for (content_type, by_default, by_own) in [
            (None, true, true),
            (Some("text/html"), true, false),
            (Some("TEXT/HTML; charset=utf-8"), true, false),
            (Some("text/x ;a=b"), false, true),
            (Some("image/png"), false, false),
            (Some(""), false, false),
        ] {
            assert_eq!(plain.takes_type(content_type), by_default, "{content_type:?}");
            assert_eq!(own.takes_type(content_type), by_own, "{content_type:?}");
        }
    }
}
