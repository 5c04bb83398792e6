//! What an HTTP proxy makes of the other end: whom it believes, what it tells on, and how long and how much it takes (xDS
//! `HttpConnectionManager` and its protocol options).

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use crate::Fraction;

/// Whom an HTTP proxy believes about the client, and what it tells the next hop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edge {
    /// Proxies in front of this one whose entries in `x-forwarded-for` are believed.
    pub trusted_hops: u32,
    /// The peer's address is not appended to `x-forwarded-for`.
    pub skip_forwarded_for: bool,
    /// Clients at these addresses are internal: their wishes to the proxy (`x-envoy-*`) are honoured. Empty: nobody is.
    pub internal: Vec<IpNet>,
    /// Write `x-forwarded-port`.
    pub forwarded_port: bool,
    /// Appended to `via` of requests and responses.
    pub via: Option<HeaderValue>,
    /// A client's own `x-request-id` stays.
    pub preserve_request_id: bool,
    /// Nothing is told by headers of our own (`x-envoy-*`): how long the upstream took, how long it may take, what its path
    /// was.
    pub suppress_own_headers: bool,
    /// Responses carry `x-request-id`.
    pub request_id_in_response: bool,
    /// What our part of `x-forwarded-client-cert` says of the client's certificate.
    pub client_cert: ClientCertDetails,
}

impl Edge {
    /// Is a client at this address internal?
    pub fn is_internal(&self, address: IpAddr) -> bool {
        self.internal.iter().any(|net| net.contains(&address))
    }
}

/// The fields of our part of `x-forwarded-client-cert`, beside `By` and `Hash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientCertDetails {
    /// The certificate itself, as PEM in URL encoding.
    pub cert: bool,
    /// The certificate and those that vouch for it.
    pub chain: bool,
    /// The subject.
    pub subject: bool,
    /// The URIs that it names.
    pub uri: bool,
    /// The DNS names.
    pub dns: bool,
}

impl ClientCertDetails {
    /// Only `By` and `Hash`.
    pub const NONE: Self = Self { cert: false, chain: false, subject: false, uri: false, dns: false };
}

impl Default for ClientCertDetails {
    /// What Istio has proxies tell.
    fn default() -> Self {
        Self { subject: true, uri: true, dns: true, ..Self::NONE }
    }
}

/// How much and how long a downstream connection and its exchanges may be. What is not said is the codec's own default,
/// which is Envoy's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpLimits {
    /// The largest head of a request, in KiB.
    pub max_head_kib: Option<u32>,
    /// The most fields of a head.
    pub max_headers: Option<u32>,
    /// What becomes of header fields with an underscore in their name.
    pub underscores: Underscores,
    /// A request must be whole within this, unless its response has begun.
    pub request_timeout: Option<Duration>,
    /// A connection is drained after this.
    pub max_connection: Option<Duration>,
    /// Up to this share of the former is added by chance.
    pub connection_jitter: Option<Fraction>,
    /// An exchange is ended after this.
    pub max_stream: Option<Duration>,
    /// A connection is drained after so many requests.
    pub max_requests: Option<u32>,
    /// HTTP/1.0 is answered; otherwise with 426.
    pub http10: bool,
    /// The authority of HTTP/1.0 requests that have none.
    pub http10_host: Option<HeaderValue>,
    /// HTTP/1.1: trailers pass, in requests and responses; otherwise they are dropped.
    pub http1_trailers: bool,
    /// HTTP/2: the most streams at once.
    pub max_streams: Option<u32>,
    /// HTTP/2: the flow-control window of a stream, in bytes.
    pub stream_window: Option<u32>,
    /// HTTP/2: the flow-control window of a connection, in bytes.
    pub connection_window: Option<u32>,
    /// HTTP/2: pings while nothing is heard.
    pub keep_alive: Option<KeepAlive>,
}

/// HTTP/2 pings: how often, and how long the answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Time between pings.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// What becomes of header fields with an underscore in their name, which some programs confuse with those with a hyphen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Underscores {
    /// They pass.
    #[default]
    Allow,
    /// The request is refused.
    Reject,
    /// They are dropped.
    Drop,
}

/// What becomes of the `server` header of responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerHeader {
    /// The upstream's stays, and none is added.
    Pass,
    /// It becomes this.
    Overwrite(String),
    /// It is this if the upstream brings none.
    IfAbsent(String),
}
