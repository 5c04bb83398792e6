//! What an authority consists of at rest, as PEM texts in the layout of Istio's `cacerts`, and the check when it is loaded.

use std::fmt;
use std::sync::Arc;
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
    /// The successor, while a rotation is prepared.
    pub next: Option<NextState>,
    /// What is still trusted of the predecessor, until a rotation is finished.
    pub retiring: Option<RetiringState>,
    /// Who signed before, for lists of what is revoked.
    pub former: Vec<FormerState>,
}

/// A certificate that signed before, and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct FormerState {
    /// In `former-ca-cert.pem`: the certificate.
    pub ca_cert: String,
    /// In `former-ca-key.pem`, at the same place: its key.
    pub ca_key: String,
}

impl fmt::Debug for FormerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormerState(secret)")
    }
}

/// A successor at rest.
#[derive(Clone, PartialEq, Eq)]
pub struct NextState {
    /// `next-ca-cert.pem`: the certificate that will sign.
    pub ca_cert: String,
    /// `next-ca-key.pem`: its key.
    pub ca_key: String,
    /// `next-cert-chain.pem`: what leads from it to its root, without the root. May be empty.
    pub cert_chain: String,
    /// `next-root-cert.pem`: its roots, all of which are trusted already.
    pub root_cert: String,
}

/// What is left of a predecessor.
#[derive(Clone, PartialEq, Eq)]
pub struct RetiringState {
    /// `retiring-root-cert.pem`: roots of the bundle that leave it when the rotation is finished.
    pub root_cert: String,
    /// `retiring-cert-chain.pem`: the certificate in which the predecessor vouches for the authority, and what leads from
    /// it to a retiring root. Empty where nobody needs it.
    pub cert_chain: String,
}

impl fmt::Debug for NextState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NextState(secret)")
    }
}

impl fmt::Debug for RetiringState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RetiringState")
    }
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
    /// A root above the certificate allows fewer authorities below it than there are.
    #[error(
        "{file}: `{subject}` allows {allowed} authorities below it, and there are {below}; expected a longer path length: use an intermediate that was issued by it directly, or have it issued anew"
    )]
    PathLength {
        /// The file that it stands in.
        file: &'static str,
        /// Whose constraint it is.
        subject: String,
        /// How many it allows.
        allowed: u32,
        /// How many there are.
        below: u32,
    },
    /// The successor is no root of the bundle, so nobody would believe it.
    #[error(
        "next-root-cert.pem: it is not in root-cert.pem; expected a prepared root to be trusted already: remove the files that begin with `next-`, and prepare the rotation anew"
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

/// A signer that takes over later, and its roots: the one that it leads to first.
pub(crate) struct Successor {
    pub(crate) signer: Arc<Signer>,
    pub(crate) roots: Vec<CertificateDer<'static>>,
}

/// What is left of a predecessor.
pub(crate) struct Retiring {
    pub(crate) roots: Vec<CertificateDer<'static>>,
    /// From the authority's certificate, as the predecessor signed it, to a retiring root.
    pub(crate) bridge: Vec<CertificateDer<'static>>,
}

/// The names of a signer's files.
struct Files {
    cert: &'static str,
    key: &'static str,
    chain: &'static str,
    roots: &'static str,
}

const CURRENT: Files =
    Files { cert: "ca-cert.pem", key: "ca-key.pem", chain: "cert-chain.pem", roots: "root-cert.pem" };
const NEXT: Files = Files {
    cert: "next-ca-cert.pem",
    key: "next-ca-key.pem",
    chain: "next-cert-chain.pem",
    roots: "next-root-cert.pem",
};
const FORMER: Files = Files { cert: "former-ca-cert.pem", key: "former-ca-key.pem", chain: "", roots: "" };
const RETIRING: Files = Files { cert: "", key: "", chain: "retiring-cert-chain.pem", roots: "retiring-root-cert.pem" };

/// A state that holds together.
pub(crate) struct Loaded {
    /// The bundle: the root of the signer first.
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) next: Option<Arc<Successor>>,
    pub(crate) retiring: Option<Arc<Retiring>>,
    pub(crate) former: Vec<Arc<Signer>>,
}

impl CaState {
    pub(crate) fn check(&self, now: SystemTime) -> Result<Loaded, StateError> {
        let texts = [&self.ca_cert, &self.ca_key, &self.cert_chain, &self.root_cert];
        let Successor { signer, roots } = successor(texts, &CURRENT, now, false)?;
        let next = match &self.next {
            None => None,
            Some(next) => {
                let texts = [&next.ca_cert, &next.ca_key, &next.cert_chain, &next.root_cert];
                Some(Arc::new(successor(texts, &NEXT, now, false)?))
            }
        };
        if next.as_ref().is_some_and(|next| !next.roots.iter().all(|root| roots.contains(root))) {
            return Err(StateError::NextNotTrusted);
        }
        let retiring = match &self.retiring {
            None => None,
            Some(retiring) => Some(Arc::new(Retiring {
                roots: certificates(&retiring.root_cert, RETIRING.roots)?,
                bridge: maybe_certificates(&retiring.cert_chain, RETIRING.chain)?,
            })),
        };
        let former = self.former.iter().map(|former| Signer::former(former).map(Arc::new));
        let former = former.collect::<Result<_, _>>()?;
        Ok(Loaded { roots, signer, next, retiring, former })
    }

    /// The signer and roots of files that an operator gives, checked in full: every certificate on the way to the root is
    /// one of an authority, in date, and allows as many below it as there are.
    pub(crate) fn check_import(&self, now: SystemTime) -> Result<Successor, StateError> {
        let texts = [&self.ca_cert, &self.ca_key, &self.cert_chain, &self.root_cert];
        successor(texts, &CURRENT, now, true)
    }
}

fn successor(
    [cert, key, chain, roots]: [&String; 4],
    files: &Files,
    now: SystemTime,
    in_full: bool,
) -> Result<Successor, StateError> {
    let mut roots = certificates(roots, files.roots)?;
    for root in &roots {
        check_authority(root, files.roots, None)?;
    }
    let mut signer = Signer::load(cert, key, files, now)?;
    let mut chain = maybe_certificates(chain, files.chain)?;
    chain.retain(|cert| *cert != signer.cert && !roots.contains(cert));
    signer.chain = chain;
    let path = path_to_root(&signer, &roots).ok_or(StateError::NoPath)?;
    if in_full {
        check_path(&path, files, now)?;
    }
    let root = path[path.len() - 1].clone();
    roots.retain(|other| *other != root);
    roots.insert(0, root);
    Ok(Successor { signer: Arc::new(signer), roots })
}

impl Signer {
    pub(crate) fn new(cert: CertificateDer<'static>, key: KeyPair) -> Option<Self> {
        let (not_before, not_after) = validity(&cert)?;
        let issuer = Issuer::from_ca_cert_der(&cert, key).ok()?;
        Some(Self { cert, chain: Vec::new(), issuer, not_before, not_after })
    }

    /// Does it lead to this root, by what is known of its chain?
    pub(crate) fn is_below(&self, root: &CertificateDer<'static>) -> bool {
        is_signed(&self.cert, root) || self.chain.iter().any(|cert| is_signed(cert, root))
    }

    /// It may be out of date: then nobody uses what it signed.
    fn former(state: &FormerState) -> Result<Self, StateError> {
        let (cert_file, key_file) = (FORMER.cert, FORMER.key);
        let cert = certificates(&state.ca_cert, cert_file)?.swap_remove(0);
        let key = Key::from_pem(&state.ca_key).map_err(|e| StateError::Key(key_file, e))?;
        let (_, x509) = X509Certificate::from_der(&cert).map_err(|_| StateError::Unreadable(cert_file))?;
        if x509.public_key().raw != key.pair().subject_public_key_info() {
            return Err(StateError::Mismatch { key: key_file, cert: cert_file });
        }
        Self::new(cert.clone(), key.into_pair()).ok_or(StateError::Unreadable(cert_file))
    }

    fn load(cert: &str, key: &str, files: &Files, now: SystemTime) -> Result<Self, StateError> {
        let (cert_file, key_file) = (files.cert, files.key);
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

/// Follows issuers from the signer through its chain, checking signatures: the signer first, the root last.
fn path_to_root(signer: &Signer, roots: &[CertificateDer<'static>]) -> Option<Vec<CertificateDer<'static>>> {
    let mut path = vec![signer.cert.clone()];
    // Every step uses one certificate of the chain; more steps would be a circle.
    for _ in 0..=signer.chain.len() {
        let current = &path[path.len() - 1];
        if roots.contains(current) {
            return Some(path);
        }
        if let Some(root) = roots.iter().find(|root| is_signed(current, root)) {
            path.push(root.clone());
            return Some(path);
        }
        let issuer = signer.chain.iter().find(|issuer| !path.contains(issuer) && is_signed(current, issuer))?;
        path.push(issuer.clone());
    }
    None
}

/// May the signer have another authority below it, as far as path lengths say?
pub(crate) fn may_vouch(signer: &Signer, roots: &[CertificateDer<'static>]) -> bool {
    let path = path_to_root(signer, roots).unwrap_or_default();
    path.iter().enumerate().all(|(below, cert)| {
        let constraint = X509Certificate::from_der(cert).ok().and_then(|(_, x509)| {
            x509.basic_constraints().ok().flatten().and_then(|constraints| constraints.value.path_len_constraint)
        });
        constraint.is_none_or(|allowed| usize::try_from(allowed).is_ok_and(|allowed| allowed > below))
    })
}

fn check_path(path: &[CertificateDer<'_>], files: &Files, now: SystemTime) -> Result<(), StateError> {
    for (below, cert) in path.iter().enumerate().skip(1) {
        let file = if below + 1 == path.len() { files.roots } else { files.chain };
        check_authority(cert, file, Some(now))?;
        let (_, x509) = X509Certificate::from_der(cert).map_err(|_| StateError::Unreadable(file))?;
        let constraint = x509.basic_constraints().ok().flatten().and_then(|c| c.value.path_len_constraint);
        let below = u32::try_from(below).unwrap_or(u32::MAX);
        if let Some(allowed) = constraint.filter(|allowed| *allowed < below) {
            return Err(StateError::PathLength { file, subject: x509.subject().to_string(), allowed, below });
        }
    }
    Ok(())
}

fn maybe_certificates(pem: &str, file: &'static str) -> Result<Vec<CertificateDer<'static>>, StateError> {
    if pem.trim().is_empty() { Ok(Vec::new()) } else { certificates(pem, file) }
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
