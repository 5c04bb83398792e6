//! TLS settings of both sides.

use std::sync::Arc;

use crate::StringMatch;

/// The secret of the workload's own certificate (Istio's name). It is not found by discovery: the proxy has it from its
/// own request to the authority, or from its bootstrap, so that its key never travels.
pub const OWN_CERTIFICATE: &str = "default";
/// The cluster of the agent beside the proxy, from which [`OWN_CERTIFICATE`] comes, as in Istio.
pub const AGENT: &str = "sds-grpc";
/// The secret of the roots that the mesh trusts, as in Istio.
pub const MESH_ROOTS: &str = "ROOTCA";

/// How the name of a certificate begins that is a file on the proxy's side: the chain, `~`, the key (Istio's names).
const FILE_CERTIFICATE: &str = "file-cert:";
/// The same for roots: the file, and perhaps `~` and a file of revocation lists.
const FILE_ROOTS: &str = "file-root:";
/// The roots that the proxy's operating system keeps.
pub const SYSTEM_ROOTS: &str = "file-root:system";

/// The cipher suites of TLS 1.2 that can be named, by the names that OpenSSL and Envoy give them. Those of TLS 1.3 are
/// always spoken.
pub const CIPHER_SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// A secret that is not discovered, but read from files on the proxy's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretFiles<'a> {
    /// A certificate.
    Certificate {
        /// The file of the chain.
        chain: &'a str,
        /// The file of the private key.
        key: &'a str,
    },
    /// Roots.
    Roots {
        /// Their file.
        roots: &'a str,
        /// The file of revocation lists.
        crl: Option<&'a str>,
    },
    /// The roots of the operating system.
    SystemRoots,
}

impl<'a> SecretFiles<'a> {
    /// The files that a name stands for; none if it is a secret to be discovered.
    pub fn of(name: &'a str) -> Option<Self> {
        if name == SYSTEM_ROOTS {
            return Some(Self::SystemRoots);
        }
        if let Some(pair) = name.strip_prefix(FILE_CERTIFICATE) {
            let (chain, key) = pair.split_once('~')?;
            return Some(Self::Certificate { chain, key });
        }
        let roots = name.strip_prefix(FILE_ROOTS)?;
        Some(match roots.split_once('~') {
            Some((roots, crl)) => Self::Roots { roots, crl: Some(crl) },
            None => Self::Roots { roots, crl: None },
        })
    }

    /// The name that stands for the files.
    pub fn name(&self) -> Arc<str> {
        match self {
            Self::Certificate { chain, key } => format!("{FILE_CERTIFICATE}{chain}~{key}").into(),
            Self::Roots { roots, crl: Some(crl) } => format!("{FILE_ROOTS}{roots}~{crl}").into(),
            Self::Roots { roots, crl: None } => format!("{FILE_ROOTS}{roots}").into(),
            Self::SystemRoots => SYSTEM_ROOTS.into(),
        }
    }
}

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
    /// Of [`CIPHER_SUITES`], these and no others; empty: all.
    pub cipher_suites: Vec<String>,
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
    /// What the certificate or its key must be one of, beside all this; most ask for nothing.
    pub pins: Option<Box<CertificatePins>>,
}

impl Validation {
    /// By these roots, whatever the names.
    pub fn by(trust: impl Into<Arc<str>>) -> Self {
        Self { trust: trust.into(), names: Vec::new(), pins: None }
    }
}

/// SHA-256 hashes of which a certificate, or its key, must have one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificatePins {
    /// Of whole certificates.
    pub certificates: Vec<[u8; 32]>,
    /// Of keys (`SubjectPublicKeyInfo`).
    pub keys: Vec<[u8; 32]>,
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
