//! TLS with proven identity and live certificates, on rustls with aws-lc-rs.
//!
//! Certificates ([`LiveCert`]) and trust ([`LiveTrust`]) are swapped under running servers and clients: the next
//! handshake sees the new ones, live connections keep what they proved. The provider is always passed explicitly; the
//! process-wide default of rustls is never touched.
//!
//! A resumed session proves the peer from an earlier handshake. So tickets die when a certificate or a trust bundle
//! changes, and the peer's chain is checked again on every resumption.

mod cert;
mod client;
mod error;
mod peer;
mod pins;
mod resume;
mod server;
mod standing;
mod trust;
mod verify;

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion};

pub use cert::{CertError, LiveCert};
pub use client::{ClientOptions, ClientTls, ServerCheck};
pub use error::{TlsError, TlsFailure};
pub use peer::{Certificate, Peer};
pub use pins::Pins;
pub use server::{ClientAuth, ServerCerts, ServerOptions, ServerTls};
pub(crate) use standing::Standing;
pub use trust::{Crls, LiveTrust, Roots, RootsError, TrustBundles};
pub use verify::{Accept, PeerCheck, SanKind, SanMatch, TextMatch};

/// A TLS version. Older ones are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl TlsVersion {
    /// As access logs write it: `TLSv1.2`, `TLSv1.3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "TLSv1.2",
            Self::V1_3 => "TLSv1.3",
        }
    }
}

/// The lowest and highest version spoken. Default: 1.2 to 1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Lowest.
    pub min: TlsVersion,
    /// Highest.
    pub max: TlsVersion,
}

impl Versions {
    /// TLS 1.3 only, as between proxies of the mesh.
    pub const V1_3: Self = Self { min: TlsVersion::V1_3, max: TlsVersion::V1_3 };

    fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        use rustls::version::{TLS12, TLS13};
        static ONLY_1_2: &[&SupportedProtocolVersion] = &[&TLS12];
        static ONLY_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
        static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
        match (self.min, self.max) {
            (TlsVersion::V1_2, TlsVersion::V1_2) => ONLY_1_2,
            (TlsVersion::V1_3, TlsVersion::V1_3) => ONLY_1_3,
            (TlsVersion::V1_2, TlsVersion::V1_3) => BOTH,
            (TlsVersion::V1_3, TlsVersion::V1_2) => &[],
        }
    }
}

impl Default for Versions {
    fn default() -> Self {
        Self { min: TlsVersion::V1_2, max: TlsVersion::V1_3 }
    }
}

/// Why a TLS configuration cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The lowest version is above the highest.
    #[error("TLS versions: the lowest is above the highest; expected a range such as 1.2 to 1.3")]
    Versions,
    /// An application protocol name is empty or longer than 255 bytes.
    #[error("application protocol (ALPN) `{0}`: expected a name of 1 to 255 bytes, such as `h2`")]
    Alpn(String),
    /// The TLS library refuses.
    #[error("TLS configuration: {0}")]
    Library(String),
}

fn checked_alpn(alpn: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, ConfigError> {
    match alpn.iter().find(|name| name.is_empty() || name.len() > 255) {
        Some(bad) => Err(ConfigError::Alpn(String::from_utf8_lossy(bad).into_owned())),
        None => Ok(alpn),
    }
}

/// The cipher suites of TLS 1.2 that are spoken, by the names that OpenSSL and Envoy give them. Those of TLS 1.3 are always
/// spoken.
pub const TLS12_SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// The name of a suite as OpenSSL has it.
fn short_name(suite: CipherSuite) -> Option<&'static str> {
    use CipherSuite as S;
    let at = match suite {
        S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => 0,
        S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 1,
        S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => 2,
        S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => 3,
        S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => 4,
        S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => 5,
        _ => return None,
    };
    Some(TLS12_SUITES[at])
}

/// The provider with these suites of TLS 1.2 only, in this order; none named: all of them.
fn provider_with(suites: &[String]) -> Arc<CryptoProvider> {
    let all = provider();
    if suites.is_empty() {
        return all.clone();
    }
    let named = |suite: &&SupportedCipherSuite| short_name(suite.suite());
    let newer = all.cipher_suites.iter().filter(|suite| named(suite).is_none());
    let older = suites.iter().filter_map(|name| all.cipher_suites.iter().find(|s| named(s) == Some(name.as_str())));
    Arc::new(CryptoProvider { cipher_suites: newer.chain(older).copied().collect(), ..(**all).clone() })
}

/// The one crypto provider. The hybrid post-quantum key exchange comes first, the classical ones remain for others.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        use aws_lc_rs::kx_group::{SECP256R1, SECP256R1MLKEM768, SECP384R1, X25519, X25519MLKEM768};
        let kx_groups = vec![X25519MLKEM768, SECP256R1MLKEM768, X25519, SECP256R1, SECP384R1];
        Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
    })
}
