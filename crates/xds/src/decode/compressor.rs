//! The compressor filter, its libraries, and what routes say to it.

use model::compression::{Brotli, BrotliMode, CompressorRule, ETags, Encoding, Gzip, Zstd};
use model::{Compressor, StringMatch};
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::extensions::compression::brotli::compressor::v3 as brotli;
use proto::envoy::extensions::compression::gzip::compressor::v3 as gzip;
use proto::envoy::extensions::compression::zstd::compressor::v3 as zstd;
use proto::envoy::extensions::filters::http::compressor::v3 as wire;
use proto::envoy::extensions::filters::http::compressor::v3::compressor::{
    CommonDirectionConfig, RequestDirectionConfig, ResponseDirectionConfig,
};
use proto::envoy::extensions::filters::http::compressor::v3::compressor_per_route::Override;
use proto::google::protobuf::UInt32Value;

use super::{At, Decoded, each, enabled, matcher, required, take, type_name, unpack};

pub(super) const COMPRESSOR: &str = "envoy.extensions.filters.http.compressor.v3.Compressor";
pub(super) const PER_ROUTE: &str = "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute";

#[allow(deprecated)]
pub(super) fn compressor(value: wire::Compressor, name: &str, at: &At<'_>) -> Decoded<Compressor> {
    take!(value, at, wire::Compressor {
        used {
            content_length, content_type, disable_on_etag_header, remove_accept_encoding_header, runtime_enabled,
            compressor_library, request_direction_config, response_direction_config, choose_first,
        }
        harmless {}
        refused {}
    });
    no_requests(request_direction_config, &at.field("request_direction_config"))?;
    // The older fields count only where the newer message is not there.
    let (response, at_response) = match response_direction_config {
        Some(response) => (response, at.field("response_direction_config")),
        None => {
            let common = CommonDirectionConfig {
                enabled: runtime_enabled,
                min_content_length: content_length,
                content_type,
                ..CommonDirectionConfig::default()
            };
            let common_config = Some(common);
            let old = ResponseDirectionConfig {
                common_config,
                disable_on_etag_header,
                remove_accept_encoding_header,
                ..Default::default()
            };
            (old, *at)
        }
    };
    let at_library = at.field("compressor_library");
    let encoding = library(required(compressor_library, &at_library)?, &at_library)?;
    let base = Compressor { preferred: choose_first, ..Compressor::new(name, encoding) };
    responses(response, base, &at_response)
}

/// Only responses are compressed.
fn no_requests(value: Option<RequestDirectionConfig>, at: &At<'_>) -> Decoded<()> {
    let Some(value) = value else { return Ok(()) };
    take!(value, at, RequestDirectionConfig {
        used { common_config }
        harmless {}
        refused {}
    });
    let at = at.field("common_config.enabled");
    if enabled(common_config.unwrap_or_default().enabled) {
        return Err(at.unsupported("`default_value: false`, or no such direction"));
    }
    Ok(())
}

fn responses(value: ResponseDirectionConfig, base: Compressor, at: &At<'_>) -> Decoded<Compressor> {
    take!(value, at, ResponseDirectionConfig {
        used {
            common_config, disable_on_etag_header, weaken_etag_on_compress, remove_accept_encoding_header,
            uncompressible_response_codes,
        }
        harmless {}
        refused { status_header_enabled }
    });
    let at_common = at.field("common_config");
    #[allow(deprecated)]
    {
        take!(common_config.unwrap_or_default(), at_common, CommonDirectionConfig {
            used { enabled, min_content_length, content_type, content_type_matcher }
            harmless {}
            refused {}
        });
        let types = match content_type_matcher.is_empty() {
            true => content_type.into_iter().map(|value| StringMatch::Exact { value, ignore_case: true }).collect(),
            false => each(content_type_matcher, &at_common.field("content_type_matcher"), matcher::string)?,
        };
        Ok(Compressor {
            enabled: super::enabled(enabled),
            min_length: min_content_length.map(|it| it.value).filter(|it| *it > 0).unwrap_or(Compressor::MIN_LENGTH),
            types,
            etags: match (disable_on_etag_header, weaken_etag_on_compress) {
                (_, true) => ETags::Weaken,
                (true, false) => ETags::Refrain,
                (false, false) => ETags::Remove,
            },
            hide_accept_encoding: remove_accept_encoding_header,
            except_statuses: each(uncompressible_response_codes, &at.field("uncompressible_response_codes"), status)?,
            ..base
        })
    }
}

fn status(code: u32, at: &At<'_>) -> Decoded<u16> {
    let known = (200..600).contains(&code).then_some(code as u16);
    known.ok_or_else(|| at.error(format!("is {code}"), "a status of 200 to 599"))
}

fn library(value: TypedExtensionConfig, at: &At<'_>) -> Decoded<Encoding> {
    // The name is for statistics.
    take!(value, at, TypedExtensionConfig {
        used { typed_config }
        harmless { name }
        refused {}
    });
    let at = at.field("typed_config");
    let any = required(typed_config, &at)?;
    match type_name(&any.type_url) {
        "envoy.extensions.compression.gzip.compressor.v3.Gzip" => gzip(unpack(&any, &at)?, &at).map(Encoding::Gzip),
        "envoy.extensions.compression.brotli.compressor.v3.Brotli" => {
            brotli(unpack(&any, &at)?, &at).map(Encoding::Brotli)
        }
        "envoy.extensions.compression.zstd.compressor.v3.Zstd" => zstd(unpack(&any, &at)?, &at).map(Encoding::Zstd),
        _ => Err(at.error(format!("is of type `{}`", any.type_url), "gzip, brotli or zstd")),
    }
}

fn gzip(value: gzip::Gzip, at: &At<'_>) -> Decoded<Gzip> {
    // Memory is the library's own to say, and a piece that goes out is as long as it comes.
    take!(value, at, gzip::Gzip {
        used { compression_level, window_bits }
        harmless { memory_level, chunk_size }
        refused { compression_strategy }
    });
    let plain = Gzip::default();
    let at_level = at.field("compression_level");
    Ok(Gzip {
        level: match compression_level {
            0 => plain.level,
            1..=9 => compression_level as u8,
            _ => return Err(at_level.error(format!("is {compression_level}"), "one of the levels")),
        },
        window_bits: within(window_bits, plain.window_bits, (9, 15), &at.field("window_bits"))?,
    })
}

fn brotli(value: brotli::Brotli, at: &At<'_>) -> Decoded<Brotli> {
    use brotli::brotli::EncoderMode;
    take!(value, at, brotli::Brotli {
        used { quality, encoder_mode, window_bits, input_block_bits, disable_literal_context_modeling }
        harmless { chunk_size }
        refused {}
    });
    let plain = Brotli::default();
    let at_mode = at.field("encoder_mode");
    Ok(Brotli {
        quality: within(quality, plain.quality, (0, 11), &at.field("quality"))?,
        mode: match EncoderMode::try_from(encoder_mode) {
            Ok(EncoderMode::Default | EncoderMode::Generic) => BrotliMode::Generic,
            Ok(EncoderMode::Text) => BrotliMode::Text,
            Ok(EncoderMode::Font) => BrotliMode::Font,
            Err(_) => return Err(at_mode.error(format!("is {encoder_mode}"), "DEFAULT, GENERIC, TEXT or FONT")),
        },
        window_bits: within(window_bits, plain.window_bits, (10, 24), &at.field("window_bits"))?,
        block_bits: within(input_block_bits, plain.block_bits, (16, 24), &at.field("input_block_bits"))?,
        literal_contexts: !disable_literal_context_modeling,
    })
}

fn zstd(value: zstd::Zstd, at: &At<'_>) -> Decoded<Zstd> {
    take!(value, at, zstd::Zstd {
        used { compression_level, enable_checksum, strategy }
        harmless { chunk_size }
        refused { dictionary }
    });
    let plain = Zstd::default();
    let at_level = at.field("compression_level");
    let strategy = match strategy {
        0 => None,
        1..=9 => Some(strategy as u8),
        _ => return Err(at.field("strategy").error(format!("is {strategy}"), "one of the strategies")),
    };
    // The library takes zero as its default.
    let level = within(compression_level.filter(|level| level.value > 0), plain.level, (1, 22), &at_level)?;
    Ok(Zstd { level, checksum: enable_checksum, strategy })
}

fn within(value: Option<UInt32Value>, default: u8, (least, most): (u8, u8), at: &At<'_>) -> Decoded<u8> {
    let Some(UInt32Value { value }) = value else { return Ok(default) };
    let known = u8::try_from(value).ok().filter(|value| (least..=most).contains(value));
    known.ok_or_else(|| at.error(format!("is {value}"), format!("{least} to {most}")))
}

/// What a route or virtual host says.
pub(super) fn per_route(value: wire::CompressorPerRoute, at: &At<'_>) -> Decoded<CompressorRule> {
    let overrides = match required(value.r#override, at)? {
        Override::Disabled(true) => return Ok(CompressorRule::Off),
        Override::Disabled(false) => return Err(at.field("disabled").error("is false", "true, or `overrides`")),
        Override::Overrides(overrides) => overrides,
    };
    let at = at.field("overrides");
    take!(overrides, at, wire::CompressorOverrides {
        used { response_direction_config }
        harmless {}
        refused { compressor_library }
    });
    let Some(response) = response_direction_config else { return Ok(CompressorRule::Same) };
    take!(response, at, wire::ResponseDirectionOverrides {
        used { remove_accept_encoding_header }
        harmless {}
        refused {}
    });
    Ok(CompressorRule::On { hide_accept_encoding: remove_accept_encoding_header.map(|it| it.value) })
}
