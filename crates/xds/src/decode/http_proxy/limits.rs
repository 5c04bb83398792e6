//! How much and how long, and what a request's target and the `server` header become.

use std::time::Duration;

use http::HeaderValue;
use model::edge::{KeepAlive, Underscores};
use model::target::{EscapedSlashes, StripPort};
use model::{Fraction, HttpLimits, ServerHeader};
use proto::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use proto::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions, KeepaliveSettings,
};
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    PathWithEscapedSlashesAction, ServerHeaderTransformation, StripPortMode,
};
use proto::google::protobuf::UInt32Value;

use crate::decode::{At, Decoded, limit, required, take};

/// Envoy's defaults.
const IDLE: Duration = Duration::from_secs(3600);
const SERVER: &str = "envoy";

/// The idle timeout, and what else is the same for all protocols.
pub(super) fn common(
    value: Option<HttpProtocolOptions>,
    limits: &mut HttpLimits,
    at: &At<'_>,
) -> Decoded<Option<Duration>> {
    // Heads of responses are bounded by the codec.
    take!(value.unwrap_or_default(), at, HttpProtocolOptions {
        used {
            idle_timeout, max_connection_duration, max_connection_duration_jitter, max_headers_count,
            max_stream_duration, headers_with_underscores_action, max_requests_per_connection,
        }
        harmless { max_response_headers_kb }
        refused {}
    });
    limits.max_headers = max_headers_count.map(|count| count.value);
    limits.max_connection = limit(max_connection_duration, None, &at.field("max_connection_duration"))?;
    limits.connection_jitter = max_connection_duration_jitter.map(|share| Fraction::percent(share.value));
    limits.max_stream = limit(max_stream_duration, None, &at.field("max_stream_duration"))?;
    limits.max_requests = max_requests_per_connection.map(|count| count.value).filter(|count| *count > 0);
    limits.underscores = match HeadersWithUnderscoresAction::try_from(headers_with_underscores_action) {
        Ok(HeadersWithUnderscoresAction::Allow) => Underscores::Allow,
        Ok(HeadersWithUnderscoresAction::RejectRequest) => Underscores::Reject,
        Ok(HeadersWithUnderscoresAction::DropHeader) => Underscores::Drop,
        Err(_) => {
            let at = at.field("headers_with_underscores_action");
            let problem = format!("is {headers_with_underscores_action}");
            return Err(at.error(problem, "ALLOW, REJECT_REQUEST or DROP_HEADER"));
        }
    };
    limit(idle_timeout, Some(IDLE), &at.field("idle_timeout"))
}

/// The largest head of a request, in KiB.
pub(super) fn max_head(value: Option<UInt32Value>, at: &At<'_>) -> Decoded<Option<u32>> {
    match value.map(|value| value.value) {
        Some(kib) if !(1..=8192).contains(&kib) => Err(at.error(format!("is {kib}"), "1 to 8192 KiB")),
        kib => Ok(kib),
    }
}

pub(super) fn http1(value: Option<Http1ProtocolOptions>, limits: &mut HttpLimits, at: &At<'_>) -> Decoded<()> {
    // What else the codec takes is its own to say: absolute targets always, lengths beside chunks never.
    take!(value.unwrap_or_default(), at, Http1ProtocolOptions {
        used { accept_http_10, default_host_for_http_10, enable_trailers }
        harmless {
            allow_absolute_url, header_key_format, allow_chunked_length,
            override_stream_error_on_invalid_http_message, send_fully_qualified_url, use_balsa_parser,
            allow_custom_methods, ignore_http_11_upgrade,
        }
        refused {}
    });
    limits.http10 = accept_http_10;
    limits.http1_trailers = enable_trailers;
    let host = Some(default_host_for_http_10).filter(|host| !host.is_empty());
    let at_host = at.field("default_host_for_http_10");
    limits.http10_host = host.map(|host| header_value(host, &at_host)).transpose()?;
    Ok(())
}

pub(super) fn http2(value: Option<Http2ProtocolOptions>, limits: &mut HttpLimits, at: &At<'_>) -> Decoded<()> {
    // Guards against floods and tuning, which are the codec's own to say.
    take!(value.unwrap_or_default(), at, Http2ProtocolOptions {
        used {
            max_concurrent_streams, initial_stream_window_size, initial_connection_window_size, connection_keepalive,
        }
        harmless {
            hpack_table_size, allow_connect, allow_metadata, max_outbound_frames, max_outbound_control_frames,
            max_consecutive_inbound_frames_with_empty_payload, max_inbound_priority_frames_per_stream,
            max_inbound_window_update_frames_per_data_frame_sent, stream_error_on_invalid_http_messaging,
            override_stream_error_on_invalid_http_message, custom_settings_parameters, use_oghttp2_codec,
            max_metadata_size, enable_huffman_encoding, max_header_field_size_kb, disallow_obs_text,
            stream_reset_burst, stream_reset_rate,
        }
        refused {}
    });
    limits.max_streams = max_concurrent_streams.map(|count| count.value);
    limits.stream_window = window(initial_stream_window_size, &at.field("initial_stream_window_size"))?;
    limits.connection_window = window(initial_connection_window_size, &at.field("initial_connection_window_size"))?;
    let at_pings = at.field("connection_keepalive");
    limits.keep_alive = connection_keepalive.map(|pings| keep_alive(pings, &at_pings)).transpose()?.flatten();
    Ok(())
}

fn window(value: Option<UInt32Value>, at: &At<'_>) -> Decoded<Option<u32>> {
    match value.map(|value| value.value) {
        Some(bytes) if !(65_535..=2_147_483_647).contains(&bytes) => {
            Err(at.error(format!("is {bytes}"), "65535 to 2147483647 bytes"))
        }
        bytes => Ok(bytes),
    }
}

fn keep_alive(value: KeepaliveSettings, at: &At<'_>) -> Decoded<Option<KeepAlive>> {
    // Pings are counted from the last thing heard, which spreads them out.
    take!(value, at, KeepaliveSettings {
        used { interval, timeout }
        harmless { interval_jitter, connection_idle_interval }
        refused {}
    });
    let at_timeout = at.field("timeout");
    let timeout = limit(Some(required(timeout, &at_timeout)?), None, &at_timeout)?;
    let interval = limit(interval, None, &at.field("interval"))?;
    Ok(interval.zip(timeout).map(|(interval, timeout)| KeepAlive { interval, timeout }))
}

pub(super) fn escaped_slashes(value: i32, at: &At<'_>) -> Decoded<EscapedSlashes> {
    use PathWithEscapedSlashesAction as Wire;
    Ok(match Wire::try_from(value) {
        Ok(Wire::ImplementationSpecificDefault | Wire::KeepUnchanged) => EscapedSlashes::Keep,
        Ok(Wire::RejectRequest) => EscapedSlashes::Reject,
        Ok(Wire::UnescapeAndRedirect) => EscapedSlashes::Redirect,
        Ok(Wire::UnescapeAndForward) => EscapedSlashes::Forward,
        Err(_) => return Err(at.error(format!("is {value}"), "what to do with escaped slashes")),
    })
}

pub(super) fn strip_port(matching: bool, mode: Option<StripPortMode>, at: &At<'_>) -> Decoded<StripPort> {
    match (matching, mode) {
        (true, Some(StripPortMode::StripAnyHostPort(true))) => {
            Err(at.field("strip_any_host_port").error("stands beside `strip_matching_host_port`", "one of them"))
        }
        (_, Some(StripPortMode::StripAnyHostPort(true))) => Ok(StripPort::Any),
        (true, _) => Ok(StripPort::Matching),
        (false, _) => Ok(StripPort::Never),
    }
}

pub(super) fn server(name: String, transformation: i32, at: &At<'_>) -> Decoded<ServerHeader> {
    let name = if name.is_empty() { SERVER.to_owned() } else { name };
    match ServerHeaderTransformation::try_from(transformation) {
        Ok(ServerHeaderTransformation::PassThrough) => Ok(ServerHeader::Pass),
        Ok(ServerHeaderTransformation::Overwrite) => Ok(ServerHeader::Overwrite(name)),
        Ok(ServerHeaderTransformation::AppendIfAbsent) => Ok(ServerHeader::IfAbsent(name)),
        Err(_) => {
            let at = at.field("server_header_transformation");
            Err(at.error(format!("is {transformation}"), "OVERWRITE, APPEND_IF_ABSENT or PASS_THROUGH"))
        }
    }
}

pub(super) fn header_value(text: String, at: &At<'_>) -> Decoded<HeaderValue> {
    HeaderValue::try_from(text).map_err(|_| at.error("has a control character", "a header's value"))
}
