//! A certificate and its key that can be renewed while connections live.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use base::HostPattern;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::peer::Certificate;
use super::provider;

/// Why a certificate and key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertError {
    /// No certificate in the text.
    #[error(
        "certificate chain: no readable certificate in it; expected PEM blocks that begin with `-----BEGIN CERTIFICATE-----`, leaf first"
    )]
    NoCertificate,
    /// No private key in the text.
    #[error(
        "private key: no readable key in it; expected one unencrypted PEM block, such as `-----BEGIN PRIVATE KEY-----`"
    )]
    NoKey,
    /// The key belongs to another certificate.
    #[error(
        "private key: it does not belong to the first certificate of the chain; expected the pair that was issued together, leaf first"
    )]
    Mismatch,
    /// The key's kind is not supported or the key is broken.
    #[error("private key: {0}; expected ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more")]
    Key(String),
}

/// A certificate chain with its key, or none yet. Clones share it: [`LiveCert::set_pem`] on one is seen by all
/// servers and clients built with any, from the next handshake on. Never prints the key.
#[derive(Clone)]
pub struct LiveCert(Arc<Inner>);

struct Inner {
    held: ArcSwapOption<Held>,
    generation: AtomicU64,
}

struct Held {
    key: Arc<CertifiedKey>,
    /// The DNS names that the leaf is for.
    hosts: Vec<HostPattern>,
}

impl LiveCert {
    /// No certificate yet. Servers refuse handshakes, clients present none, until one is set.
    pub fn empty() -> Self {
        Self(Arc::new(Inner { held: ArcSwapOption::empty(), generation: AtomicU64::new(0) }))
    }

    /// From a PEM chain (leaf first) and a PEM key.
    ///
    /// # Errors
    /// [`CertError`].
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, CertError> {
        let live = Self::empty();
        live.set_pem(chain, key)?;
        Ok(live)
    }

    /// From a DER chain (leaf first) and a DER key.
    ///
    /// # Errors
    /// [`CertError`].
    pub fn from_der(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, CertError> {
        let live = Self::empty();
        live.set_der(chain, key)?;
        Ok(live)
    }

    /// Swaps in a renewed certificate. On an error the old one stays.
    ///
    /// # Errors
    /// [`CertError`].
    pub fn set_pem(&self, chain: &str, key: &str) -> Result<(), CertError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| CertError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| CertError::NoKey)?;
        self.set_der(chain, key)
    }

    /// Swaps in a renewed certificate. On an error the old one stays.
    ///
    /// # Errors
    /// [`CertError`].
    pub fn set_der(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<(), CertError> {
        let leaf = chain.first().and_then(|leaf| Certificate::parse(leaf)).ok_or(CertError::NoCertificate)?;
        let key = CertifiedKey::from_der(chain, key, provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertError::Mismatch,
            other => CertError::Key(other.to_string()),
        })?;
        let hosts = leaf.dns_sans.iter().filter_map(|name| name.parse().ok()).collect();
        self.0.held.store(Some(Arc::new(Held { key: Arc::new(key), hosts })));
        self.0.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// What the leaf certificate says; `None` while there is none.
    pub fn certificate(&self) -> Option<Certificate> {
        self.0.held.load().as_ref().and_then(|held| Certificate::parse(held.key.cert.first()?))
    }

    /// Is a certificate set?
    pub fn is_set(&self) -> bool {
        self.0.held.load().is_some()
    }

    /// Grows with every change.
    pub(super) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// The key, if it can sign in one of the ways that the peer understands.
    pub(super) fn usable(&self, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let held = self.0.held.load();
        held.as_ref().map(|held| &held.key).filter(|key| key.key.choose_scheme(schemes).is_some()).cloned()
    }

    /// How well the certificate's own names fit a server name; `None` if not at all.
    pub(super) fn fit(&self, name: &str) -> Option<(u8, usize)> {
        let held = self.0.held.load();
        let hosts = held.as_ref()?.hosts.iter();
        // A wildcard in a certificate stands for one label (RFC 6125), where in a rule it stands for many.
        let covers = |host: &&HostPattern| match host {
            HostPattern::Suffix(suffix) => host.matches(name) && !name[..name.len() - suffix.len()].contains('.'),
            _ => host.matches(name),
        };
        hosts.filter(covers).map(HostPattern::specificity).max()
    }
}

impl ResolvesServerCert for LiveCert {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.usable(hello.signature_schemes())
    }
}

impl ResolvesClientCert for LiveCert {
    fn resolve(&self, _root_hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.usable(schemes)
    }

    fn has_certs(&self) -> bool {
        self.is_set()
    }
}

impl fmt::Debug for LiveCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.certificate() {
            Some(cert) => write!(f, "LiveCert({:?} {:?}, serial {})", cert.uri_sans, cert.dns_sans, cert.serial),
            None => f.write_str("LiveCert(empty)"),
        }
    }
}
