//! Private keys under a passphrase: PKCS #8 encrypted PEM (RFC 5958, RFC 7468), made with scrypt and AES-256-CBC; PBKDF2
//! is understood too, as OpenSSL writes it.

use std::fmt;

use pkcs8::der::asn1::{AnyRef, OctetStringRef};
use pkcs8::der::pem::PemLabel;
use pkcs8::der::{Encode, asn1::ObjectIdentifier};
use pkcs8::pkcs5::pbes2;
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The cost of scrypt: 2^14 blocks of 1 KiB, the most that OpenSSL opens by itself.
const LOG_COST: u8 = 14;
/// An encrypted key begins so.
const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// A passphrase, or whatever bytes a file holds in its place. Shows itself to nobody by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Vec<u8>);

/// Why a key cannot be opened or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no passphrase.
    #[error("the key is encrypted, and no passphrase was given")]
    NoPassphrase,
    /// It is another passphrase, or the key is damaged: the cipher cannot tell.
    #[error(
        "the passphrase does not open the key; expected the one that it was encrypted with (or the key is damaged)"
    )]
    WrongPassphrase,
    /// An encryption that is not PKCS #8's.
    #[error(
        "the key is encrypted in an older way than PKCS #8; expected `-----BEGIN ENCRYPTED PRIVATE KEY-----`: convert it \
         with `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
    )]
    OldForm,
    /// It is no key in PKCS #8.
    #[error("the key cannot be read; expected PKCS #8 in PEM")]
    Unreadable,
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty; expected at least one character")]
    Empty,
}

impl Passphrase {
    /// The content of a file, without the end of its last line.
    ///
    /// # Errors
    /// [`SealError::Empty`].
    pub fn new(content: &[u8]) -> Result<Self, SealError> {
        let text = content.strip_suffix(b"\n").unwrap_or(content);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() { Err(SealError::Empty) } else { Ok(Self(text.to_vec())) }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(secret)")
    }
}

/// The same key in PKCS #8, whatever it came in.
pub(crate) fn pkcs8(key: PrivateKeyDer<'_>) -> Result<PrivateKeyDer<'static>, SealError> {
    let (algorithm, inner) = match &key {
        PrivateKeyDer::Pkcs1(rsa) => {
            (AlgorithmIdentifierRef { oid: RSA, parameters: Some(AnyRef::NULL) }, rsa.secret_pkcs1_der())
        }
        PrivateKeyDer::Sec1(ec) => {
            let curve = curve(ec.secret_sec1_der()).ok_or(SealError::Unreadable)?;
            (AlgorithmIdentifierRef { oid: EC, parameters: Some(curve.into()) }, ec.secret_sec1_der())
        }
        _ => return Ok(key.clone_key()),
    };
    let inner = OctetStringRef::new(inner).map_err(|_| SealError::Unreadable)?;
    let der = PrivateKeyInfoRef::new(algorithm, inner).to_der().map_err(|_| SealError::Unreadable)?;
    Ok(PrivatePkcs8KeyDer::from(der).into())
}

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// The curve of a key in SEC 1, by the length of its secret.
fn curve(sec1: &[u8]) -> Option<&'static ObjectIdentifier> {
    let (_, key) = x509_parser::der_parser::parse_der(sec1).ok()?;
    let secret = key.as_sequence().ok()?.get(1)?.as_slice().ok()?;
    match secret.len() {
        32 => Some(&P256),
        48 => Some(&P384),
        66 => Some(&P521),
        _ => None,
    }
}

/// Is it a key under a passphrase?
pub fn is_sealed(pem: &str) -> bool {
    pem.contains(BEGIN) || pem.contains("Proc-Type: 4,ENCRYPTED")
}

/// A key (PKCS #8 in PEM) under a passphrase.
///
/// # Errors
/// [`SealError::Unreadable`].
pub fn seal(pem: &str, passphrase: &Passphrase) -> Result<String, SealError> {
    let der = pkcs8(PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| SealError::Unreadable)?)?;
    let key = PrivateKeyInfoRef::try_from(der.secret_der()).map_err(|_| SealError::Unreadable)?;
    let (salt, iv): ([u8; 16], [u8; 16]) = (rand::random(), rand::random());
    let cost = pkcs8::pkcs5::scrypt::Params::new(LOG_COST, 8, 1).map_err(|_| SealError::Unreadable)?;
    let parameters =
        pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).map_err(|_| SealError::Unreadable)?;
    let sealed = key.encrypt_with_params(parameters, &passphrase.0).map_err(|_| SealError::Unreadable)?;
    let text =
        sealed.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).map_err(|_| SealError::Unreadable)?;
    Ok(text.to_string())
}

/// The key in PEM, unencrypted. One that is not encrypted is given back as it is.
///
/// # Errors
/// [`SealError`].
pub fn open(pem: &str, passphrase: Option<&Passphrase>) -> Result<String, SealError> {
    if !is_sealed(pem) {
        return Ok(pem.to_owned());
    }
    if !pem.contains(BEGIN) {
        return Err(SealError::OldForm);
    }
    let passphrase = passphrase.ok_or(SealError::NoPassphrase)?;
    // Words before the block are allowed.
    let block = &pem[pem.find(BEGIN).unwrap_or_default()..];
    let (_, sealed) = SecretDocument::from_pem(block).map_err(|_| SealError::Unreadable)?;
    let sealed = EncryptedPrivateKeyInfoRef::try_from(sealed.as_bytes()).map_err(|_| SealError::Unreadable)?;
    let key = sealed.decrypt(&passphrase.0).map_err(|_| SealError::WrongPassphrase)?;
    let text = key.to_pem(PrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).map_err(|_| SealError::Unreadable)?;
    Ok(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    /// `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:open` wrote it.
    const OF_OPENSSL: &str = include_str!("sealed/openssl.pem");

    #[test]
    fn opened_by_its_passphrase_alone() {
        let pem = Key::generate().unwrap().secret_pem();
        let (right, wrong) = (Passphrase::new(b"a b c\n").unwrap(), Passphrase::new(b"a b c ").unwrap());
        let sealed = seal(&pem, &right).unwrap();
        assert!(is_sealed(&sealed) && !is_sealed(&pem));
        assert_ne!(seal(&pem, &right).unwrap(), sealed, "salted");
        let opened = open(&format!("words\n{sealed}"), Some(&right)).unwrap();
        assert_eq!(Key::from_pem(&opened).unwrap().secret_pem(), pem);
        assert_eq!(open(&sealed, Some(&wrong)).unwrap_err(), SealError::WrongPassphrase);
        assert_eq!(open(&sealed, None).unwrap_err(), SealError::NoPassphrase);
        assert_eq!(open(&pem, Some(&wrong)).unwrap(), pem);
        assert_eq!(open(&sealed.replace("\nM", "\nA"), Some(&right)).unwrap_err(), SealError::Unreadable);
        let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n";
        assert_eq!(open(old, Some(&right)).unwrap_err(), SealError::OldForm);
        assert_eq!(Passphrase::new(b"\r\n").unwrap_err(), SealError::Empty);
        assert_eq!(format!("{right:?}"), "Passphrase(secret)");
    }

    #[test]
    fn a_key_of_openssl() {
        let opened = open(OF_OPENSSL, Some(&Passphrase::new(b"open").unwrap())).unwrap();
        Key::from_pem(&opened).unwrap();
    }
}
