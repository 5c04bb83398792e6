//! What is spoken to an upstream, and how long its connections live.

use std::time::Duration;

use model::cluster::UpstreamProtocol;
use model::limits::{ConnectionOptions, Http2Keepalive};
use proto::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, KeepaliveSettings, UpstreamHttpProtocolOptions,
};
use proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    AutoHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig, explicit_http_config::ProtocolConfig,
};

use super::{CommonHttp, ExtensionOptions, HTTP_OPTIONS, HttpOptions, outlier};
use crate::decode::{At, Decoded, duration, limit, required, take, type_name, unpack};

/// Envoy's default for idle upstream connections.
const IDLE: Duration = Duration::from_secs(3600);

/// `old_http2` is how HTTP/2 was said before there were extensions for it. To named hosts TLS goes by their names anyway.
pub(super) fn http_options(
    options: ExtensionOptions,
    old_http2: Option<Http2ProtocolOptions>,
    of_named_hosts: bool,
    at: &At<'_>,
) -> Decoded<HttpOptions> {
    let at_old = at.field("http2_protocol_options");
    let at = at.field("typed_extension_protocol_options");
    let mut found = HttpOptions {
        protocol: UpstreamProtocol::Http1,
        idle_timeout: Some(IDLE),
        max_requests_per_connection: None,
        connections: ConnectionOptions::default(),
        error_statuses: Vec::new(),
    };
    if let Some(options) = old_http2 {
        found.protocol = UpstreamProtocol::Http2;
        found.connections = http2(Some(options), &at_old)?;
    }
    for (key, any) in &options {
        let at = at.key(key);
        if key != HTTP_OPTIONS {
            return Err(at.error("is no extension that this proxy knows", format!("`{HTTP_OPTIONS}`")));
        }
        if type_name(&any.type_url) != HTTP_OPTIONS {
            return Err(at.error(format!("is of type `{}`", any.type_url), format!("`{HTTP_OPTIONS}`")));
        }
        found = read(unpack(any, &at)?, of_named_hosts, &at)?;
    }
    Ok(found)
}

fn read(value: HttpProtocolOptions, of_named_hosts: bool, at: &At<'_>) -> Decoded<HttpOptions> {
    take!(value, at, HttpProtocolOptions {
        used {
            common_http_protocol_options, upstream_protocol_options, outlier_detection, upstream_http_protocol_options,
        }
        harmless {}
        refused {
            http_filters, header_validation_config,
            request_mirror_policies, hash_policy, retry_policy,
        }
    });
    if let Some(by_host) = upstream_http_protocol_options {
        let at = at.field("upstream_http_protocol_options");
        if !of_named_hosts {
            return Err(at.unsupported("no such field, save for a dynamic forward proxy"));
        }
        take!(by_host, at, UpstreamHttpProtocolOptions {
            used {}
            harmless { auto_sni, auto_san_validation }
            refused { override_auto_sni_header }
        });
    }
    let at_common = at.field("common_http_protocol_options");
    // Limits on headers are ours; connections are not made in step, so that they need not be told to end out of step.
    take!(common_http_protocol_options.unwrap_or_default(), at_common, CommonHttp {
        used { idle_timeout, max_requests_per_connection, max_connection_duration }
        harmless { max_connection_duration_jitter, max_headers_count, max_response_headers_kb }
        refused { max_stream_duration, headers_with_underscores_action }
    });
    let matcher = outlier_detection.and_then(|value| value.error_matcher);
    let at_outlier = at.field("outlier_detection");
    let statuses = matcher.map(|value| outlier::error_statuses(value, &at_outlier.field("error_matcher")));
    let (protocol, http2) = protocol(required(upstream_protocol_options, at)?, at)?;
    let max_duration = limit(max_connection_duration, None, &at_common.field("max_connection_duration"))?;
    Ok(HttpOptions {
        protocol,
        idle_timeout: limit(idle_timeout, Some(IDLE), &at_common.field("idle_timeout"))?,
        max_requests_per_connection: max_requests_per_connection.map(|limit| limit.value),
        connections: ConnectionOptions { max_duration, ..http2 },
        error_statuses: statuses.transpose()?.unwrap_or_default(),
    })
}

/// The protocol, and what is said of connections that speak HTTP/2.
fn protocol(value: UpstreamProtocolOptions, at: &At<'_>) -> Decoded<(UpstreamProtocol, ConnectionOptions)> {
    match value {
        UpstreamProtocolOptions::ExplicitHttpConfig(config) => {
            let at = at.field("explicit_http_config");
            match required(config.protocol_config, &at)? {
                ProtocolConfig::HttpProtocolOptions(options) => {
                    let http1_trailers = http1(Some(options), &at)?;
                    Ok((UpstreamProtocol::Http1, ConnectionOptions { http1_trailers, ..ConnectionOptions::default() }))
                }
                ProtocolConfig::Http2ProtocolOptions(options) => {
                    http2(Some(options), &at).map(|options| (UpstreamProtocol::Http2, options))
                }
                ProtocolConfig::Http3ProtocolOptions(_) => {
                    Err(at.field("http3_protocol_options").unsupported("HTTP/1 or HTTP/2"))
                }
            }
        }
        UpstreamProtocolOptions::AutoConfig(config) => {
            let at = at.field("auto_config");
            take!(config, at, AutoHttpConfig {
                used { http_protocol_options, http2_protocol_options }
                harmless {}
                refused { http3_protocol_options, alternate_protocols_cache_options }
            });
            let http1_trailers = http1(http_protocol_options, &at)?;
            let options = ConnectionOptions { http1_trailers, ..http2(http2_protocol_options, &at)? };
            Ok((UpstreamProtocol::Auto, options))
        }
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(config) => {
            let at = at.field("use_downstream_protocol_config");
            take!(config, at, UseDownstreamHttpConfig {
                used { http_protocol_options, http2_protocol_options }
                harmless {}
                refused { http3_protocol_options }
            });
            let http1_trailers = http1(http_protocol_options, &at)?;
            let options = ConnectionOptions { http1_trailers, ..http2(http2_protocol_options, &at)? };
            Ok((UpstreamProtocol::SameAsDownstream, options))
        }
    }
}

/// Do trailers pass? Only what changes requests or responses is refused; what is lenient about broken peers is ours to say.
fn http1(value: Option<Http1ProtocolOptions>, at: &At<'_>) -> Decoded<bool> {
    let at = at.field("http_protocol_options");
    take!(value.unwrap_or_default(), at, Http1ProtocolOptions {
        used { enable_trailers }
        harmless {
            allow_absolute_url, default_host_for_http_10, allow_chunked_length, use_balsa_parser,
            override_stream_error_on_invalid_http_message, allow_custom_methods,
        }
        refused { accept_http_10, header_key_format, send_fully_qualified_url, ignore_http_11_upgrade }
    });
    Ok(enable_trailers)
}

/// Windows and guards against floods are ours to say.
#[allow(deprecated)]
fn http2(value: Option<Http2ProtocolOptions>, at: &At<'_>) -> Decoded<ConnectionOptions> {
    let at = at.field("http2_protocol_options");
    take!(value.unwrap_or_default(), at, Http2ProtocolOptions {
        used { max_concurrent_streams, connection_keepalive }
        harmless {
            hpack_table_size, initial_stream_window_size, initial_connection_window_size,
            allow_connect, max_outbound_frames, max_outbound_control_frames,
            max_consecutive_inbound_frames_with_empty_payload, max_inbound_priority_frames_per_stream,
            max_inbound_window_update_frames_per_data_frame_sent, stream_error_on_invalid_http_messaging,
            override_stream_error_on_invalid_http_message, use_oghttp2_codec, max_metadata_size, enable_huffman_encoding,
            max_header_field_size_kb, disallow_obs_text, stream_reset_burst, stream_reset_rate,
        }
        refused { allow_metadata, custom_settings_parameters }
    });
    Ok(ConnectionOptions {
        max_concurrent_streams: max_concurrent_streams.map(|limit| limit.value).filter(|limit| *limit < ANY_STREAMS),
        http2_keepalive: connection_keepalive
            .map(|value| keepalive(value, &at.field("connection_keepalive")))
            .transpose()?
            .flatten(),
        ..ConnectionOptions::default()
    })
}

/// The most that the protocol knows, and once Envoy's default.
const ANY_STREAMS: u32 = i32::MAX as u32;

/// Pings come at even times: connections are not made in step.
fn keepalive(value: KeepaliveSettings, at: &At<'_>) -> Decoded<Option<Http2Keepalive>> {
    take!(value, at, KeepaliveSettings {
        used { interval, timeout, connection_idle_interval }
        harmless { interval_jitter }
        refused {}
    });
    let at_idle = at.field("connection_idle_interval");
    if limit(connection_idle_interval, None, &at_idle)?.is_some() {
        return Err(at_idle.unsupported("0 or none"));
    }
    let at_timeout = at.field("timeout");
    let timeout = duration(required(timeout, &at_timeout)?, &at_timeout)?;
    if timeout.is_zero() {
        return Err(at_timeout.error("is zero", "more than zero"));
    }
    let interval = limit(interval, None, &at.field("interval"))?;
    Ok(interval.map(|interval| Http2Keepalive { interval, timeout }))
}
