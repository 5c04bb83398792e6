//! TLS settings of both sides.

use std::sync::Arc;

use crate::StringMatch;

/// The secret of the workload's own certificate (Istio's name). It is not found by discovery: the proxy has it from its
/// own request to the authority, or from its bootstrap, so that its key never travels.
pub const OWN_CERTIFICATE: &str = "default";

/// How connections from downstream end their TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownstreamTls {
    /// Names of certificate secrets; the one that fits the SNI is used, else the first.
    pub certificates: Vec<Arc<str>>,
    /// How the peer's certificate is checked; none: it is not asked for.
    pub validation: Option<Validation>,
    /// A peer without a certificate is refused. Otherwise it may come without one.
    pub require_client_certificate: bool,
    /// Application protocols offered, most wanted first.
    pub alpn: Vec<String>,
    /// The versions allowed.
    pub versions: TlsVersions,
}

/// How connections to an upstream begin TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The secret of the certificate shown when asked for.
    pub certificate: Option<Arc<str>>,
    /// How the server's certificate is checked; none: not at all.
    pub validation: Option<Validation>,
    /// The server name sent.
    pub sni: Option<String>,
    /// Application protocols offered, most wanted first.
    pub alpn: Vec<String>,
    /// The versions allowed.
    pub versions: TlsVersions,
}

/// How a peer's certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    /// The secret that holds the roots.
    pub trust: Arc<str>,
    /// One of the certificate's names (URI or DNS) must match one of these; empty: any name.
    pub names: Vec<StringMatch>,
}

/// The lowest and highest TLS version allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsVersions {
    /// The lowest.
    pub min: TlsVersion,
    /// The highest.
    pub max: TlsVersion,
}

impl Default for TlsVersions {
    /// TLS 1.2 and 1.3.
    fn default() -> Self {
        Self { min: TlsVersion::V1_2, max: TlsVersion::V1_3 }
    }
}

/// A TLS version. Older ones are not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}
