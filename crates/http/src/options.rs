//! What a server or client of this crate may be told. Defaults are Envoy's where Envoy has one.

use std::time::Duration;

/// Which protocol a served connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1 only.
    Http1,
    /// HTTP/2 with prior knowledge (or after ALPN `h2`).
    Http2,
    /// HTTP/2 if the first bytes are its preface (RFC 9113, section 3.4), otherwise HTTP/1.
    #[default]
    Auto,
}

/// HTTP/2 PING while nothing is heard: how often, and how long an answer may take before the connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Time between pings.
    pub interval: Duration,
    /// How long the answer to a ping may take.
    pub timeout: Duration,
}

/// Limits and behaviour of one served connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Which protocol to speak.
    pub protocol: Protocol,
    /// Longest request head in bytes, and longest trailer section. Beyond it: 431. 60 KiB.
    pub max_head_bytes: usize,
    /// Most header fields of one head. Beyond it: 431. 100.
    pub max_headers: usize,
    /// How long a request head may take from its first to its last byte (for HTTP/2: the connection preface).
    /// Beyond it: 408 and close. Without a value there is no limit. 60 s.
    pub head_timeout: Option<Duration>,
    /// How long a connection may be without any request. 1 h.
    pub idle_timeout: Option<Duration>,
    /// How long a closing connection waits for the peer to close too, so that the last answer is not lost. 1 s.
    pub delayed_close: Duration,
    /// HTTP/1.0 requests are answered; otherwise 426. On.
    pub http10: bool,
    /// A peer that closed its sending half after a whole request still gets its answer. Off: the exchange is dropped,
    /// as Envoy does.
    pub half_close: bool,
    /// HTTP/1.1: trailers pass, both ways; otherwise they are dropped. On.
    pub http1_trailers: bool,
    /// HTTP/2: most streams at once. 1024.
    pub max_concurrent_streams: u32,
    /// HTTP/2: flow-control window of one stream in bytes. 16 MiB.
    pub stream_window: u32,
    /// HTTP/2: flow-control window of the connection in bytes. 24 MiB.
    pub connection_window: u32,
    /// HTTP/2: largest frame we accept, in bytes (16,384 to 16,777,215). 16 KiB.
    pub max_frame_bytes: u32,
    /// HTTP/2: bytes of one stream's response kept before the source of the body is asked to wait. 256 KiB.
    pub max_send_buffer: usize,
    /// HTTP/2: streams that the peer reset before we looked at them; beyond it the connection ends with
    /// ENHANCE_YOUR_CALM (the rapid-reset attack, CVE-2023-44487). 20.
    pub max_pending_resets: usize,
    /// HTTP/2: resets that the peer provoked by errors over the life of a connection; beyond it the connection ends. 1024.
    pub max_error_resets: usize,
    /// HTTP/2: pings while quiet. Off.
    pub keep_alive: Option<KeepAlive>,
    /// HTTP/2: extended CONNECT (RFC 8441) is offered. On.
    pub extended_connect: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            protocol: Protocol::Auto,
            max_head_bytes: 60 * 1024,
            max_headers: 100,
            head_timeout: Some(Duration::from_secs(60)),
            idle_timeout: Some(Duration::from_secs(3600)),
            delayed_close: Duration::from_secs(1),
            http10: true,
            half_close: false,
            http1_trailers: true,
            max_concurrent_streams: 1024,
            stream_window: 16 << 20,
            connection_window: 24 << 20,
            max_frame_bytes: 16 * 1024,
            max_send_buffer: 256 * 1024,
            max_pending_resets: 20,
            max_error_resets: 1024,
            keep_alive: None,
            extended_connect: true,
        }
    }
}

/// Limits and behaviour of one opened connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// Longest response head in bytes, and longest trailer section. 60 KiB.
    pub max_head_bytes: usize,
    /// Most header fields of one head. 100.
    pub max_headers: usize,
    /// HTTP/1.1: trailers pass, both ways; otherwise they are dropped. On.
    pub http1_trailers: bool,
    /// HTTP/2: streams that the peer may be sent before its settings arrive. 100.
    pub initial_max_streams: usize,
    /// HTTP/2: flow-control window of one stream in bytes. 16 MiB.
    pub stream_window: u32,
    /// HTTP/2: flow-control window of the connection in bytes. 24 MiB.
    pub connection_window: u32,
    /// HTTP/2: largest frame we accept, in bytes. 16 KiB.
    pub max_frame_bytes: u32,
    /// HTTP/2: bytes of one stream's request kept before the source of the body is asked to wait. 256 KiB.
    pub max_send_buffer: usize,
    /// HTTP/2: pings while quiet. Off.
    pub keep_alive: Option<KeepAlive>,
    /// HTTP/2: the scheme of a request whose target has none is `https`. Off: `http`.
    pub https: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            max_head_bytes: 60 * 1024,
            max_headers: 100,
            http1_trailers: true,
            initial_max_streams: 100,
            stream_window: 16 << 20,
            connection_window: 24 << 20,
            max_frame_bytes: 16 * 1024,
            max_send_buffer: 256 * 1024,
            keep_alive: None,
            https: false,
        }
    }
}
