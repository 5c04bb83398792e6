//! The check of a certificate request: is it whole, does the asker hold the key, is the key strong enough.
//!
//! Only the public key is taken from it; of the names, [`requested_identities`] tells who it was made for.

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo as Spki;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Neither PEM nor DER of a request.
    #[error("certificate request: it cannot be read; expected PKCS #10 in PEM or DER: make a new one")]
    Unreadable,
    /// The signature does not fit the key: whoever asks has not shown that it holds the key.
    #[error(
        "certificate request: its signature does not fit its key; expected it to be signed with the key that it is for: make a new one"
    )]
    Signature,
    /// The key's kind or size.
    #[error(
        "certificate request: {0}; expected ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits: make a new key"
    )]
    Key(&'static str),
}

/// Larger requests are not looked at: one with an RSA key of 8192 bits has about 3 kB.
const MAX_SIZE: usize = 16 * 1024;

/// The public key of a good request.
pub(crate) struct Requested {
    pub(crate) key: SubjectPublicKeyInfo,
    pub(crate) is_rsa: bool,
}

/// Reads a request in PEM or DER.
pub(crate) fn check(bytes: &[u8]) -> Result<Requested, CsrError> {
    if bytes.len() > MAX_SIZE {
        return Err(CsrError::Unreadable);
    }
    let from_pem = CertificateSigningRequestDer::from_pem_slice(bytes).ok();
    let der = from_pem.as_ref().map_or(bytes, |der| der.as_ref());
    let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Unreadable)?;
    if !rest.is_empty() {
        return Err(CsrError::Unreadable);
    }
    let spki = &csr.certification_request_info.subject_pki;
    let is_rsa = strong_enough(spki)?;
    csr.verify_signature().map_err(|_| CsrError::Signature)?;
    let key = SubjectPublicKeyInfo::from_der(spki.raw).map_err(|_| CsrError::Key("its key cannot be read"))?;
    Ok(Requested { key, is_rsa })
}

/// Is it a kind of key that we certify? Says whether it is RSA.
/// The SPIFFE IDs that a request (PEM or DER) names, as they stand in it. They prove nothing, and give nothing; but who asks
/// as somebody else than it is proven to be has not made this request.
///
/// # Errors
/// [`CsrError::Unreadable`].
pub fn requested_identities(bytes: &[u8]) -> Result<Vec<String>, CsrError> {
    if bytes.len() > MAX_SIZE {
        return Err(CsrError::Unreadable);
    }
    let from_pem = CertificateSigningRequestDer::from_pem_slice(bytes).ok();
    let der = from_pem.as_ref().map_or(bytes, |der| der.as_ref());
    let (_, csr) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Unreadable)?;
    let mut found = Vec::new();
    for extension in csr.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        found.extend(names.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with("spiffe://") => Some((*uri).to_owned()),
            _ => None,
        }));
    }
    Ok(found)
}

fn strong_enough(spki: &Spki<'_>) -> Result<bool, CsrError> {
    let algorithm = &spki.algorithm.algorithm;
    if *algorithm == OID_SIG_ED25519 {
        return Ok(false);
    }
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = spki.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        return match curve {
            Some(curve) if curve == OID_EC_P256 || curve == OID_NIST_EC_P384 => Ok(false),
            _ => Err(CsrError::Key("its elliptic curve is not one of ours")),
        };
    }
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        return match spki.parsed() {
            Ok(PublicKey::RSA(rsa)) if (2048..=8192).contains(&rsa.key_size()) => Ok(true),
            _ => Err(CsrError::Key("its RSA key has a wrong size")),
        };
    }
    Err(CsrError::Key("its kind of key is not one of ours"))
}
