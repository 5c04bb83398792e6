//! The authority itself: issue, and rotate the root in three steps with no moment at which a proxy trusts too little.
//!
//! 1. [`Authority::prepare_rotation`]: a new root joins the bundle; the old one still signs. Wait until every proxy has it.
//! 2. [`Authority::activate_next`]: the new one signs, and its chain carries a certificate in which the old root vouches for
//!    it, for those who missed step 1.
//! 3. [`Authority::finish_rotation`]: when all leaves of the old root are out of date, it leaves the bundle.

use std::time::{Duration, SystemTime};

use base::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::key::{Key, KeyError};
use crate::request::{self, CsrError};
use crate::state::{CaState, Loaded, Signer, StateError, is_signed, pem, validity};
use crate::validity::BACK_DATE;

/// The longest life of a leaf unless set otherwise: 90 days, as in Istio.
pub const MAX_TTL: Duration = Duration::from_secs(90 * 24 * 3600);
/// The life of a root: 10 years, as in Istio.
const ROOT_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);

/// The authority of one trust domain.
pub struct Authority {
    trust_domain: TrustDomain,
    /// The bundle, oldest first.
    roots: Vec<CertificateDer<'static>>,
    signer: Signer,
    next: Option<Signer>,
    max_ttl: Duration,
}

/// What was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// PEM certificates: the leaf, then what leads to a root; no root.
    pub chain: Vec<String>,
    /// Valid from; back-dated by [`BACK_DATE`].
    pub not_before: SystemTime,
    /// Valid to.
    pub not_after: SystemTime,
    /// The leaf's serial number in lower-case hexadecimal, for the audit log.
    pub serial: String,
}

/// Why nothing was issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The request is bad.
    #[error(transparent)]
    Request(#[from] CsrError),
    /// The identity is not ours to give.
    #[error("identity `{0}`: it cannot be issued here; expected a workload of the trust domain `{1}`")]
    Identity(SpiffeId, TrustDomain),
    /// The life asked for is too long, or none.
    #[error(
        "certificate life of {asked:?}: expected more than nothing and at most {max:?}: ask for less, or raise the authority's limit"
    )]
    Ttl {
        /// Asked for.
        asked: Duration,
        /// The limit.
        max: Duration,
    },
    /// The signing certificate is out of date.
    #[error("the authority's own certificate is not valid now: rotate the root, or look at the clock")]
    SignerOutOfDate,
    /// The library refused.
    #[error("signing failed: {0}")]
    Signing(String),
}

/// Why a step of the rotation is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// A successor is there already.
    #[error("root rotation: a new root is prepared already; activate it before another one is made")]
    AlreadyPrepared,
    /// No successor is there.
    #[error("root rotation: no new root is prepared; prepare one, and wait until every proxy has it")]
    NotPrepared,
    /// Leaves of the old root may still be in use.
    #[error("root rotation: certificates of the old root may still be in use; wait {0:?} more")]
    TooEarly(Duration),
    /// A key or certificate could not be made.
    #[error("root rotation: {0}")]
    Make(String),
}

/// What a root is for at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootState {
    /// Prepared: trusted, signs nothing yet.
    Next,
    /// The signing certificate leads to it.
    Active,
    /// Trusted for the certificates that it signed earlier, or because the operator put it into the bundle.
    Trusted,
}

/// A root as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootView {
    /// What it is for.
    pub state: RootState,
    /// Its subject.
    pub subject: String,
    /// SHA-256 of the certificate in lower-case hexadecimal.
    pub fingerprint: String,
    /// Valid to.
    pub not_after: SystemTime,
}

impl Authority {
    /// A new authority: one self-signed root (ECDSA P-256, 10 years) that signs by itself.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if the system gives no randomness.
    pub fn create(trust_domain: TrustDomain, now: SystemTime) -> Result<Self, KeyError> {
        let signer = new_root(&trust_domain, now)?;
        Ok(Self { trust_domain, roots: vec![signer.cert.clone()], signer, next: None, max_ttl: MAX_TTL })
    }

    /// The authority of a state at rest, made here or by the operator.
    ///
    /// # Errors
    /// [`StateError`], with the file that is wrong.
    pub fn load(trust_domain: TrustDomain, state: &CaState, now: SystemTime) -> Result<Self, StateError> {
        let Loaded { roots, signer, next } = state.check(now)?;
        Ok(Self { trust_domain, roots, signer, next, max_ttl: MAX_TTL })
    }

    /// The state to be kept. Holds the private keys.
    pub fn state(&self) -> CaState {
        CaState {
            root_cert: self.bundle().concat(),
            ca_cert: pem(&self.signer.cert),
            ca_key: self.signer.issuer.key().serialize_pem(),
            cert_chain: self.signer.chain.iter().map(pem).collect(),
            next: self.next.as_ref().map(|next| (pem(&next.cert), next.issuer.key().serialize_pem())),
        }
    }

    /// Refuses longer lives of leaves from now on.
    pub fn with_max_ttl(mut self, max_ttl: Duration) -> Self {
        self.max_ttl = max_ttl;
        self
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Issues a certificate for `identity`, which the caller has proven, on the key of a request (PEM or DER). The names in
    /// the request do not matter. A life that goes beyond the authority's own is cut there.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue(&self, csr: &[u8], identity: &SpiffeId, ttl: Duration, now: SystemTime) -> Result<Issued, IssueError> {
        if identity.trust_domain() != self.trust_domain.as_str() || identity.path().is_empty() {
            return Err(IssueError::Identity(identity.clone(), self.trust_domain.clone()));
        }
        if ttl < Duration::from_secs(1) || ttl > self.max_ttl {
            return Err(IssueError::Ttl { asked: ttl, max: self.max_ttl });
        }
        if now < self.signer.not_before || now >= self.signer.not_after {
            return Err(IssueError::SignerOutOfDate);
        }
        let requested = request::check(csr)?;
        let now = whole_seconds(now);
        let not_before = (now - BACK_DATE).max(self.signer.not_before);
        let not_after = whole_seconds(now + ttl).min(self.signer.not_after);
        let serial = serial();
        let params = leaf(identity, &serial, not_before, not_after, requested.is_rsa)
            .map_err(|e| IssueError::Signing(e.to_string()))?;
        let cert =
            params.signed_by(&requested.key, &self.signer.issuer).map_err(|e| IssueError::Signing(e.to_string()))?;
        let mut chain = vec![pem(cert.der())];
        chain.extend(self.intermediates().map(pem));
        Ok(Issued { chain, not_before, not_after, serial: hex(&serial) })
    }

    /// The roots to be trusted, in PEM, oldest first.
    pub fn bundle(&self) -> Vec<String> {
        self.roots.iter().map(pem).collect()
    }

    /// The roots as people see them.
    pub fn roots(&self) -> Vec<RootView> {
        self.roots.iter().filter_map(|root| self.view(root)).collect()
    }

    /// When the signing certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.signer.not_after
    }

    /// Has the last fifth of the signing certificate's life begun? Then it is time for [`Authority::prepare_rotation`].
    pub fn is_due_for_rotation(&self, now: SystemTime) -> bool {
        let life = self.signer.not_after.duration_since(self.signer.not_before).unwrap_or_default();
        now + life / 5 >= self.signer.not_after
    }

    /// Step 1: makes a new root and adds it to the bundle.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn prepare_rotation(&mut self, now: SystemTime) -> Result<(), RotationError> {
        if self.next.is_some() {
            return Err(RotationError::AlreadyPrepared);
        }
        let next = new_root(&self.trust_domain, now).map_err(|e| RotationError::Make(e.to_string()))?;
        self.roots.push(next.cert.clone());
        self.next = Some(next);
        Ok(())
    }

    /// Step 2: the new root signs from now on. Every proxy should have the new bundle before; for one that missed it, the
    /// chain carries the new root as vouched for by the old one.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn activate_next(&mut self, now: SystemTime) -> Result<(), RotationError> {
        let mut next = self.next.take().ok_or(RotationError::NotPrepared)?;
        match self.cross_sign(&next, now) {
            Ok(cross) => {
                next.chain = std::iter::once(cross).chain(self.intermediates().cloned()).collect();
                self.signer = next;
                Ok(())
            }
            Err(error) => {
                self.next = Some(next);
                Err(error)
            }
        }
    }

    /// Step 3: the roots that vouched for the active one leave the bundle. Roots that the operator put there stay.
    /// Without a step 2 before it, nothing happens.
    ///
    /// # Errors
    /// [`RotationError::TooEarly`] while a leaf of the old root may still live, that is until the longest life of a leaf
    /// after step 2; [`RotationError::AlreadyPrepared`] in the middle of another rotation.
    pub fn finish_rotation(&mut self, now: SystemTime) -> Result<(), RotationError> {
        if self.next.is_some() {
            return Err(RotationError::AlreadyPrepared);
        }
        let cross = self.signer.chain.first().filter(|_| self.roots.contains(&self.signer.cert));
        let Some((made, _)) = cross.and_then(validity) else { return Ok(()) };
        // Step 2 left its time in the certificate that it made.
        let safe = made + BACK_DATE + self.max_ttl;
        match safe.duration_since(now) {
            Ok(wait) if !wait.is_zero() => return Err(RotationError::TooEarly(wait)),
            _ => {}
        }
        let signer = &self.signer;
        self.roots.retain(|root| *root == signer.cert || !signer.chain.iter().any(|cert| is_signed(cert, root)));
        self.signer.chain.clear();
        Ok(())
    }

    /// What a leaf's chain carries above the leaf.
    fn intermediates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let signer = Some(&self.signer.cert).filter(|cert| !self.roots.contains(cert));
        signer.into_iter().chain(&self.signer.chain)
    }

    fn cross_sign(&self, next: &Signer, now: SystemTime) -> Result<CertificateDer<'static>, RotationError> {
        let failed = |e: rcgen::Error| RotationError::Make(e.to_string());
        let (_, x509) =
            X509Certificate::from_der(&next.cert).map_err(|_| RotationError::Make("unreadable root".to_owned()))?;
        let name = x509.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
        let mut params = root(&self.trust_domain, name, &serial(), now).map_err(failed)?;
        params.not_after = self.signer.not_after.min(next.not_after).into();
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(next.issuer.key(), &self.signer.issuer).map_err(failed)?;
        Ok(cert.der().clone())
    }

    fn view(&self, root: &CertificateDer<'_>) -> Option<RootView> {
        let (_, x509) = X509Certificate::from_der(root).ok()?;
        let top = self.signer.chain.last().unwrap_or(&self.signer.cert);
        let issuer = X509Certificate::from_der(top).ok()?.1.issuer().to_string();
        let state = if self.next.as_ref().is_some_and(|next| next.cert == *root) {
            RootState::Next
        } else if self.signer.cert == *root
            || (!self.roots.contains(&self.signer.cert) && issuer == x509.subject().to_string())
        {
            RootState::Active
        } else {
            RootState::Trusted
        };
        let not_after = validity(root)?.1;
        let fingerprint = hex(&Sha256::digest(root));
        Some(RootView { state, subject: x509.subject().to_string(), fingerprint, not_after })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({}, {} roots)", self.trust_domain, self.roots.len())
    }
}

/// A root of our own making. Each has its own name, since some verifiers look issuers up by name alone.
fn new_root(trust_domain: &TrustDomain, now: SystemTime) -> Result<Signer, KeyError> {
    let failed = |e: rcgen::Error| KeyError::Generate(e.to_string());
    let key = Key::generate()?.into_pair();
    let serial = serial();
    let name = format!("{trust_domain} root {}", hex(&serial[..4]));
    let cert = root(trust_domain, &name, &serial, now).and_then(|params| params.self_signed(&key)).map_err(failed)?;
    Signer::new(cert.der().clone(), key).ok_or_else(|| KeyError::Generate("the new root cannot be read".to_owned()))
}

fn root(
    trust_domain: &TrustDomain,
    name: &str,
    serial: &[u8],
    now: SystemTime,
) -> Result<CertificateParams, rcgen::Error> {
    let now = whole_seconds(now);
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, trust_domain.as_str());
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").as_str().try_into()?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - BACK_DATE).into();
    params.not_after = (now + ROOT_LIFE).into();
    Ok(params)
}

/// X.509-SVID: an empty subject, and so a critical alternative name, which is the one URI.
fn leaf(
    identity: &SpiffeId,
    serial: &[u8],
    not_before: SystemTime,
    not_after: SystemTime,
    is_rsa: bool,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(identity.as_str().try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if is_rsa {
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = OffsetDateTime::from(not_before);
    params.not_after = OffsetDateTime::from(not_after);
    Ok(params)
}

/// 127 random bits and a leading zero: positive, as RFC 5280 asks, and never zero in practice or in fact.
fn serial() -> [u8; 16] {
    let mut serial: [u8; 16] = rand::random();
    serial[0] &= 0x7f;
    serial[15] |= 1;
    serial
}

/// X.509 knows no parts of a second.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
