//! A certificate and its key that can be renewed while connections live.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
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
    key: ArcSwapOption<CertifiedKey>,
    generation: AtomicU64,
}

impl LiveCert {
    /// No certificate yet. Servers refuse handshakes, clients present none, until one is set.
    pub fn empty() -> Self {
        Self(Arc::new(Inner { key: ArcSwapOption::empty(), generation: AtomicU64::new(0) }))
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
        if chain.first().and_then(|leaf| Certificate::parse(leaf)).is_none() {
            return Err(CertError::NoCertificate);
        }
        let key = CertifiedKey::from_der(chain, key, provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertError::Mismatch,
            other => CertError::Key(other.to_string()),
        })?;
        self.0.key.store(Some(Arc::new(key)));
        self.0.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// What the leaf certificate says; `None` while there is none.
    pub fn certificate(&self) -> Option<Certificate> {
        self.0.key.load().as_ref().and_then(|key| Certificate::parse(key.cert.first()?))
    }

    /// Is a certificate set?
    pub fn is_set(&self) -> bool {
        self.0.key.load().is_some()
    }

    /// Grows with every change.
    pub(super) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// The key, if it can sign in one of the ways that the peer understands.
    pub(super) fn usable(&self, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.load_full().filter(|key| key.key.choose_scheme(schemes).is_some())
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
