//! How much and how long, for the HTTP side of a chain. What is not said is left out.

use std::time::Duration;

use model::edge::{KeepAlive, Underscores};
use model::target::EscapedSlashes;
use model::{HttpLimits, HttpProxy, ServerHeader};
use proto::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use proto::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions, KeepaliveSettings,
};
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    PathWithEscapedSlashesAction, ServerHeaderTransformation,
};
use proto::envoy::r#type::v3::Percent;

use super::{duration, limit, number};

/// Envoy's default for idle connections.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) fn common(http: &HttpProxy) -> Option<HttpProtocolOptions> {
    let limits = &http.limits;
    let options = HttpProtocolOptions {
        idle_timeout: limit(http.idle_timeout, Some(IDLE)),
        max_connection_duration: limits.max_connection.map(duration),
        max_connection_duration_jitter: limits
            .connection_jitter
            .map(|share| Percent { value: f64::from(share.as_millionths()) / 10_000.0 }),
        max_headers_count: limits.max_headers.and_then(number),
        max_stream_duration: limits.max_stream.map(duration),
        headers_with_underscores_action: match limits.underscores {
            Underscores::Allow => HeadersWithUnderscoresAction::Allow,
            Underscores::Reject => HeadersWithUnderscoresAction::RejectRequest,
            Underscores::Drop => HeadersWithUnderscoresAction::DropHeader,
        } as i32,
        max_requests_per_connection: limits.max_requests.and_then(number),
        ..HttpProtocolOptions::default()
    };
    (options != HttpProtocolOptions::default()).then_some(options)
}

pub(super) fn http1(limits: &HttpLimits) -> Option<Http1ProtocolOptions> {
    let host = limits.http10_host.as_ref().map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let options = Http1ProtocolOptions {
        accept_http_10: limits.http10,
        enable_trailers: limits.http1_trailers,
        default_host_for_http_10: host.unwrap_or_default(),
        ..Http1ProtocolOptions::default()
    };
    (options != Http1ProtocolOptions::default()).then_some(options)
}

pub(super) fn http2(http: &HttpProxy) -> Option<Http2ProtocolOptions> {
    let limits = &http.limits;
    let options = Http2ProtocolOptions {
        max_concurrent_streams: limits.max_streams.and_then(number),
        initial_stream_window_size: limits.stream_window.and_then(number),
        initial_connection_window_size: limits.connection_window.and_then(number),
        connection_keepalive: limits.keep_alive.map(|KeepAlive { interval, timeout }| KeepaliveSettings {
            interval: Some(duration(interval)),
            timeout: Some(duration(timeout)),
            ..KeepaliveSettings::default()
        }),
        // HTTP/2 upgrades by extended CONNECT (RFC 8441), which must be allowed apart.
        allow_connect: !http.upgrades.is_empty(),
        ..Http2ProtocolOptions::default()
    };
    (options != Http2ProtocolOptions::default()).then_some(options)
}

pub(super) fn escaped_slashes(rule: EscapedSlashes) -> PathWithEscapedSlashesAction {
    match rule {
        EscapedSlashes::Keep => PathWithEscapedSlashesAction::ImplementationSpecificDefault,
        EscapedSlashes::Reject => PathWithEscapedSlashesAction::RejectRequest,
        EscapedSlashes::Redirect => PathWithEscapedSlashesAction::UnescapeAndRedirect,
        EscapedSlashes::Forward => PathWithEscapedSlashesAction::UnescapeAndForward,
    }
}

pub(super) fn server(server: &ServerHeader) -> (String, ServerHeaderTransformation) {
    match server {
        ServerHeader::Pass => (String::new(), ServerHeaderTransformation::PassThrough),
        ServerHeader::Overwrite(name) => (name.clone(), ServerHeaderTransformation::Overwrite),
        ServerHeader::IfAbsent(name) => (name.clone(), ServerHeaderTransformation::AppendIfAbsent),
    }
}
