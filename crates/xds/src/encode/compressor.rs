//! The compressor filter, its libraries, and what routes say to it.

use model::Compressor;
use model::compression::{Brotli, BrotliMode, CompressorRule, ETags, Encoding, Gzip, Zstd};
use proto::envoy::config::core::v3::{RuntimeFeatureFlag, TypedExtensionConfig};
use proto::envoy::extensions::compression::brotli::compressor::v3 as brotli;
use proto::envoy::extensions::compression::gzip::compressor::v3 as gzip;
use proto::envoy::extensions::compression::zstd::compressor::v3 as zstd;
use proto::envoy::extensions::filters::http::compressor::v3 as wire;
use proto::envoy::extensions::filters::http::compressor::v3::compressor::{
    CommonDirectionConfig, ResponseDirectionConfig,
};
use proto::envoy::extensions::filters::http::compressor::v3::compressor_per_route::Override;
use proto::google::protobuf::BoolValue;

use super::{matcher, number, pack};

pub(super) fn compressor(compressor: &Compressor) -> wire::Compressor {
    let common = CommonDirectionConfig {
        enabled: (!compressor.enabled).then(|| RuntimeFeatureFlag {
            default_value: Some(BoolValue { value: false }),
            // Envoy asks for a name.
            runtime_key: "compressor.enabled".into(),
        }),
        min_content_length: number(compressor.min_length),
        content_type_matcher: compressor.types.iter().map(matcher::string).collect(),
        ..CommonDirectionConfig::default()
    };
    wire::Compressor {
        compressor_library: Some(library(&compressor.encoding)),
        response_direction_config: Some(ResponseDirectionConfig {
            common_config: Some(common),
            disable_on_etag_header: compressor.etags == ETags::Refrain,
            weaken_etag_on_compress: compressor.etags == ETags::Weaken,
            remove_accept_encoding_header: compressor.hide_accept_encoding,
            uncompressible_response_codes: compressor.except_statuses.iter().copied().map(u32::from).collect(),
            ..ResponseDirectionConfig::default()
        }),
        choose_first: compressor.preferred,
        ..wire::Compressor::default()
    }
}

fn library(encoding: &Encoding) -> TypedExtensionConfig {
    let (name, config) = match encoding {
        Encoding::Gzip(it) => ("gzip", pack(&gzip(it))),
        Encoding::Brotli(it) => ("brotli", pack(&brotli(it))),
        Encoding::Zstd(it) => ("zstd", pack(&zstd(it))),
    };
    TypedExtensionConfig { name: name.into(), typed_config: Some(config) }
}

fn gzip(settings: &Gzip) -> gzip::Gzip {
    gzip::Gzip {
        compression_level: settings.level.into(),
        window_bits: number(settings.window_bits.into()),
        ..gzip::Gzip::default()
    }
}

fn brotli(settings: &Brotli) -> brotli::Brotli {
    use brotli::brotli::EncoderMode;
    brotli::Brotli {
        quality: number(settings.quality.into()),
        encoder_mode: match settings.mode {
            BrotliMode::Generic => EncoderMode::Generic,
            BrotliMode::Text => EncoderMode::Text,
            BrotliMode::Font => EncoderMode::Font,
        } as i32,
        window_bits: number(settings.window_bits.into()),
        input_block_bits: number(settings.block_bits.into()),
        disable_literal_context_modeling: !settings.literal_contexts,
        ..brotli::Brotli::default()
    }
}

fn zstd(settings: &Zstd) -> zstd::Zstd {
    zstd::Zstd {
        compression_level: number(settings.level.into()),
        enable_checksum: settings.checksum,
        strategy: settings.strategy.unwrap_or_default().into(),
        ..zstd::Zstd::default()
    }
}

pub(super) fn per_route(rule: CompressorRule) -> wire::CompressorPerRoute {
    let overrides = |response_direction_config| {
        Override::Overrides(wire::CompressorOverrides { response_direction_config, ..Default::default() })
    };
    let said = match rule {
        CompressorRule::Off => Override::Disabled(true),
        CompressorRule::Same => overrides(None),
        CompressorRule::On { hide_accept_encoding } => overrides(Some(wire::ResponseDirectionOverrides {
            remove_accept_encoding_header: hide_accept_encoding.map(|value| BoolValue { value }),
        })),
    };
    wire::CompressorPerRoute { r#override: Some(said) }
}
