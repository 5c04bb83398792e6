//! Certificates and keys that a peer must have one of, beside what trust asks for.

use std::fmt;

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// SHA-256 hashes of which the peer's certificate, or its key, must have one. Empty: any will do.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// Hashes of whole certificates (DER).
    pub certificates: Vec<[u8; 32]>,
    /// Hashes of keys (DER, `SubjectPublicKeyInfo`).
    pub keys: Vec<[u8; 32]>,
}

impl Pins {
    /// Will any certificate do?
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.keys.is_empty()
    }

    pub(super) fn hold(&self, leaf: &CertificateDer<'_>) -> bool {
        if self.is_empty() {
            return true;
        }
        let whole: [u8; 32] = Sha256::digest(leaf).into();
        let Ok((_, x509)) = X509Certificate::from_der(leaf) else { return false };
        let key: [u8; 32] = Sha256::digest(x509.public_key().raw).into();
        self.certificates.contains(&whole) || self.keys.contains(&key)
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pins({} certificates, {} keys)", self.certificates.len(), self.keys.len())
    }
}
