//! Certificates, keys, trust bundles and passwords as they are delivered by secret discovery.

use std::fmt;
use std::sync::Arc;

/// A named secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The name that TLS settings refer to it by.
    pub name: Arc<str>,
    /// What it holds.
    pub value: SecretValue,
}

/// What a secret holds.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretValue {
    /// A certificate chain and its private key.
    Certificate {
        /// PEM, the leaf first.
        chain: Vec<u8>,
        /// PEM of the private key.
        private_key: Vec<u8>,
    },
    /// Roots to trust. The plain ones stand for every peer; those of a trust domain for its members.
    Trust {
        /// PEM roots without a trust domain.
        roots: Vec<u8>,
        /// PEM roots by trust domain name.
        by_domain: Vec<(String, Vec<u8>)>,
        /// PEM lists of what is revoked; empty: none. Where there are some, every authority of a chain must have one.
        crl: Vec<u8>,
        /// The lists concern leaves alone: only the authority that issued one must have a list.
        leaf_only: bool,
    },
    /// Something that only who has it knows, such as a password.
    Generic(Vec<u8>),
}

impl fmt::Debug for SecretValue {
    /// Says what it is and never what it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { .. } => f.write_str("Certificate(..)"),
            Self::Generic(_) => f.write_str("Generic(..)"),
            Self::Trust { by_domain, .. } => {
                let domains: Vec<_> = by_domain.iter().map(|(domain, _)| domain).collect();
                write!(f, "Trust({domains:?})")
            }
        }
    }
}
