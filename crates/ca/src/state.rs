//! What an authority consists of at rest, as PEM texts in the layout of Istio's `cacerts`, and the check when it is loaded.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::key::{Key, KeyError};

/// An authority at rest. Holds private keys: `Debug` shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct CaState {
    /// `root-cert.pem`: all roots that are to be trusted, in one text.
    pub root_cert: String,
    /// `ca-cert.pem`: the certificate that signs.
    pub ca_cert: String,
    /// `ca-key.pem`: its key.
    pub ca_key: String,
    /// `cert-chain.pem`: what leads from `ca_cert` to a root, without the root. May be empty, and may repeat `ca_cert`
    /// and roots, as Istio's does.
    pub cert_chain: String,
    /// `next-ca-cert.pem` and `next-ca-key.pem`: the successor, while a rotation is prepared.
    pub next: Option<(String, String)>,
}

impl fmt::Debug for CaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CaState(secret)")
    }
}

/// Why a state cannot be used. Names the file by its name in the layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A certificate cannot be read.
    #[error("{0}: no readable certificate in it; expected PEM blocks that begin with `-----BEGIN CERTIFICATE-----`")]
    Unreadable(&'static str),
    /// The key cannot be read.
    #[error("{0}: {1}")]
    Key(&'static str, KeyError),
    /// Key and certificate are no pair.
    #[error("{key}: it does not belong to {cert}; expected the pair that was made together")]
    Mismatch {
        /// The key's file.
        key: &'static str,
        /// The certificate's file.
        cert: &'static str,
    },
    /// The certificate may not sign others.
    #[error(
        "{0}: it is not a certificate of an authority; expected `CA:TRUE` in its basic constraints: use a root or an intermediate, not a workload's certificate"
    )]
    NotAnAuthority(&'static str),
    /// Out of date.
    #[error(
        "{0}: it is not valid now; expected a certificate in its time of validity: look at the clock, or replace it"
    )]
    OutOfDate(&'static str),
    /// It leads to no root.
    #[error(
        "ca-cert.pem: no way from it to a root; expected it, or the last certificate of cert-chain.pem, to be signed by one in root-cert.pem"
    )]
    NoPath,
    /// The successor is no root of the bundle, so nobody would believe it.
    #[error(
        "next-ca-cert.pem: it is not in root-cert.pem; expected a prepared root to be trusted already: remove next-ca-cert.pem and next-ca-key.pem, and prepare the rotation anew"
    )]
    NextNotTrusted,
}

/// A certificate that signs, its key, and the way to a root.
pub(crate) struct Signer {
    pub(crate) cert: CertificateDer<'static>,
    /// Above `cert`, roots left out.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

const CA_FILES: (&str, &str) = ("ca-cert.pem", "ca-key.pem");
const NEXT_FILES: (&str, &str) = ("next-ca-cert.pem", "next-ca-key.pem");

/// Roots, signer and successor of a state that holds together.
pub(crate) struct Loaded {
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) signer: Signer,
    pub(crate) next: Option<Signer>,
}

impl CaState {
    pub(crate) fn check(&self, now: SystemTime) -> Result<Loaded, StateError> {
        let roots = certificates(&self.root_cert, "root-cert.pem")?;
        for root in &roots {
            check_authority(root, "root-cert.pem", None)?;
        }
        let mut signer = Signer::load(&self.ca_cert, &self.ca_key, CA_FILES, now)?;
        if !self.cert_chain.trim().is_empty() {
            let mut chain = certificates(&self.cert_chain, "cert-chain.pem")?;
            chain.retain(|cert| *cert != signer.cert && !roots.contains(cert));
            signer.chain = chain;
        }
        if !leads_to_root(&signer, &roots) {
            return Err(StateError::NoPath);
        }
        let next = match &self.next {
            None => None,
            Some((cert, key)) => Some(Signer::load(cert, key, NEXT_FILES, now)?),
        };
        if next.as_ref().is_some_and(|next| !roots.contains(&next.cert)) {
            return Err(StateError::NextNotTrusted);
        }
        Ok(Loaded { roots, signer, next })
    }
}

impl Signer {
    pub(crate) fn new(cert: CertificateDer<'static>, key: KeyPair) -> Option<Self> {
        let (not_before, not_after) = validity(&cert)?;
        let issuer = Issuer::from_ca_cert_der(&cert, key).ok()?;
        Some(Self { cert, chain: Vec::new(), issuer, not_before, not_after })
    }

    fn load(
        cert: &str,
        key: &str,
        (cert_file, key_file): (&'static str, &'static str),
        now: SystemTime,
    ) -> Result<Self, StateError> {
        let cert = certificates(cert, cert_file)?.swap_remove(0);
        check_authority(&cert, cert_file, Some(now))?;
        let key = Key::from_pem(key).map_err(|e| StateError::Key(key_file, e))?;
        let (_, x509) = X509Certificate::from_der(&cert).map_err(|_| StateError::Unreadable(cert_file))?;
        if x509.public_key().raw != key.pair().subject_public_key_info() {
            return Err(StateError::Mismatch { key: key_file, cert: cert_file });
        }
        Self::new(cert.clone(), key.into_pair()).ok_or(StateError::Unreadable(cert_file))
    }
}

pub(crate) fn certificates(pem: &str, file: &'static str) -> Result<Vec<CertificateDer<'static>>, StateError> {
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    certs.ok().filter(|certs| !certs.is_empty()).ok_or(StateError::Unreadable(file))
}

fn check_authority(cert: &CertificateDer<'_>, file: &'static str, now: Option<SystemTime>) -> Result<(), StateError> {
    let (_, x509) = X509Certificate::from_der(cert).map_err(|_| StateError::Unreadable(file))?;
    let signs = x509.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
    if !x509.is_ca() || !signs {
        return Err(StateError::NotAnAuthority(file));
    }
    match (now, validity(cert)) {
        (Some(now), Some((from, to))) if now < from || now > to => Err(StateError::OutOfDate(file)),
        _ => Ok(()),
    }
}

/// Follows issuers from the signer through its chain, checking signatures.
fn leads_to_root(signer: &Signer, roots: &[CertificateDer<'_>]) -> bool {
    let mut current = &signer.cert;
    // Every step uses one certificate of the chain; more steps would be a circle.
    for _ in 0..=signer.chain.len() {
        if roots.iter().any(|root| root == current || is_signed(current, root)) {
            return true;
        }
        match signer.chain.iter().find(|issuer| *issuer != current && is_signed(current, issuer)) {
            Some(issuer) => current = issuer,
            None => return false,
        }
    }
    false
}

pub(crate) fn is_signed(cert: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    let (Ok((_, cert)), Ok((_, issuer))) = (X509Certificate::from_der(cert), X509Certificate::from_der(issuer)) else {
        return false;
    };
    cert.issuer() == issuer.subject() && cert.verify_signature(Some(issuer.public_key())).is_ok()
}

pub(crate) fn validity(cert: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, x509) = X509Certificate::from_der(cert).ok()?;
    let time = |t: ASN1Time| UNIX_EPOCH + Duration::from_secs(t.timestamp().max(0) as u64);
    Some((time(x509.validity().not_before), time(x509.validity().not_after)))
}

/// One PEM block (RFC 7468: lines of 64 characters).
pub(crate) fn pem(cert: &CertificateDer<'_>) -> String {
    let base64 = base64::engine::general_purpose::STANDARD.encode(cert);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for start in (0..base64.len()).step_by(64) {
        text.push_str(&base64[start..base64.len().min(start + 64)]);
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}
