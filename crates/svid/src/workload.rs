//! Who is served: a workload that has an identity, knows by what others are checked, and can have tokens signed.

use std::fmt;
use std::sync::Arc;

use base::SpiffeId;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tonic::Status;

use crate::bundle::Bundles;

/// What the Workload API is served over.
#[tonic::async_trait]
pub trait Workload: Send + Sync + 'static {
    /// Its certificate; none: not yet, or not any more.
    fn identity(&self) -> watch::Receiver<Option<Arc<X509Svid>>>;

    /// By what identities are checked; none: not known yet.
    fn bundles(&self) -> watch::Receiver<Option<Arc<Bundles>>>;

    /// A token that says who it is, for these audiences.
    ///
    /// # Errors
    /// As the Workload API answers them: `PermissionDenied`, `Unavailable`.
    async fn mint(&self, audience: Vec<String>) -> Result<String, Status>;
}

/// A certificate of an identity and its key. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct X509Svid {
    /// Whose.
    pub id: SpiffeId,
    /// DER certificates one after the other, the leaf first.
    pub chain: Vec<u8>,
    /// PKCS #8, DER. A secret.
    pub key: Vec<u8>,
}

/// Why a certificate and key cannot be given to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum X509SvidError {
    /// No certificate.
    #[error("there is no readable certificate; expected PEM, the leaf first")]
    Chain,
    /// No key.
    #[error("there is no readable key; expected PKCS #8 in PEM")]
    Key,
}

impl X509Svid {
    /// From PEM: the chain with its leaf first, and the key in PKCS #8.
    ///
    /// # Errors
    /// [`X509SvidError`].
    pub fn from_pem(id: SpiffeId, chain: &str, key: &str) -> Result<Self, X509SvidError> {
        let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| X509SvidError::Chain)?;
        if chain.is_empty() {
            return Err(X509SvidError::Chain);
        }
        match PrivateKeyDer::from_pem_slice(key.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs8(key)) => Ok(Self {
                id,
                chain: chain.iter().flat_map(|one| one.iter().copied()).collect(),
                key: key.secret_pkcs8_der().to_vec(),
            }),
            _ => Err(X509SvidError::Key),
        }
    }
}

impl fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "X509Svid({})", self.id)
    }
}
