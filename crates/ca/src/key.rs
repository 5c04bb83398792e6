//! The requesting side: a workload's private key and its certificate request.

use std::fmt;

use base::SpiffeId;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::sealed;

/// Why a key or a request could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The system gave no randomness, or the library refused.
    #[error("private key: {0}; expected to make a new one: try again")]
    Generate(String),
    /// The text holds no usable key.
    #[error(
        "private key: {0}; expected one unencrypted PEM block, such as `-----BEGIN PRIVATE KEY-----`, with an ECDSA, Ed25519 or RSA key"
    )]
    Parse(String),
}

/// A private key (ECDSA P-256 when made here). It shows itself only when asked by name; `Debug` is redacted.
pub struct Key(KeyPair);

impl Key {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate() -> Result<Self, KeyError> {
        KeyPair::generate().map(Self).map_err(|e| KeyError::Generate(e.to_string()))
    }

    /// Reads a key from PEM.
    ///
    /// # Errors
    /// [`KeyError::Parse`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| KeyError::Parse(e.to_string()))?;
        // What is written again later is called PKCS #8, and so has to be that.
        let der = sealed::pkcs8(der).map_err(|e| KeyError::Parse(e.to_string()))?;
        KeyPair::try_from(&der).map(Self).map_err(|e| KeyError::Parse(e.to_string()))
    }

    /// The key in PEM. Secret: write it nowhere but to its own protected file.
    pub fn secret_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// A certificate request (PKCS #10, PEM) that asks for `identity`. What is granted, the authority decides.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if signing fails.
    pub fn csr(&self, identity: &SpiffeId) -> Result<String, KeyError> {
        let failed = |e: rcgen::Error| KeyError::Generate(e.to_string());
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity.as_str().try_into().map_err(failed)?)];
        params.serialize_request(&self.0).and_then(|csr| csr.pem()).map_err(failed)
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(crate) fn into_pair(self) -> KeyPair {
        self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_file_and_hides_from_logs() {
        let key = Key::generate().unwrap();
        let pem = key.secret_pem();
        assert_eq!(Key::from_pem(&pem).unwrap().secret_pem(), pem);
        assert_eq!(format!("{key:?}"), "Key(secret)");
        // As OpenSSL's older commands write them.
        for (old, pem) in [
            ("RSA PRIVATE KEY", include_str!("key/rsa.pem")),
            ("EC PRIVATE KEY", include_str!("key/ec.pem")),
            ("EC PRIVATE KEY", include_str!("key/ec384.pem")),
        ] {
            assert!(pem.contains(old));
            let key = Key::from_pem(pem).unwrap();
            let again = Key::from_pem(&key.secret_pem()).unwrap();
            let public = |key: &Key| rcgen::PublicKeyData::subject_public_key_info(key.pair());
            assert_eq!(public(&again), public(&key));
            assert!(key.secret_pem().starts_with("-----BEGIN PRIVATE KEY-----"));
        }
        for bad in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(matches!(Key::from_pem(bad), Err(KeyError::Parse(_))));
        }
    }
}
