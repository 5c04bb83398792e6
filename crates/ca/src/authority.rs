//! The authority itself: what it holds, and issuing. Its exchange is `rotation`'s.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::{SpiffeId, TrustDomain};
use data_encoding::HEXLOWER;
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
use crate::state::{
    CaState, FormerState, Loaded, NextState, Retiring, RetiringState, Signer, StateError, Successor, pem, validity,
};
use crate::validity::BACK_DATE;

/// The longest life of a leaf unless set otherwise: 90 days, as in Istio.
pub const MAX_TTL: Duration = Duration::from_secs(90 * 24 * 3600);
/// The life of a root: 10 years, as in Istio.
const ROOT_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);

/// The authority of one trust domain. A clone shares the keys.
#[derive(Clone)]
pub struct Authority {
    trust_domain: TrustDomain,
    /// The bundle: the root above the signer first.
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) next: Option<Arc<Successor>>,
    pub(crate) retiring: Option<Arc<Retiring>>,
    /// Who signed before, as long as that may be in use: they sign no more than lists of what is revoked.
    pub(crate) former: Vec<Arc<Signer>>,
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

/// What a root is for at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootState {
    /// Prepared: trusted, signs nothing yet.
    Next,
    /// The signing certificate leads to it.
    Active,
    /// Trusted for the certificates that it signed earlier, until the rotation is finished.
    Retiring,
    /// Trusted because the operator put it into the bundle.
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
        let roots = vec![signer.cert.clone()];
        Ok(Self {
            trust_domain,
            roots,
            signer: Arc::new(signer),
            next: None,
            retiring: None,
            former: Vec::new(),
            max_ttl: MAX_TTL,
        })
    }

    /// The authority of a state at rest, made here or by the operator.
    ///
    /// # Errors
    /// [`StateError`], with the file that is wrong.
    pub fn load(trust_domain: TrustDomain, state: &CaState, now: SystemTime) -> Result<Self, StateError> {
        let Loaded { roots, signer, next, retiring, former } = state.check(now)?;
        Ok(Self { trust_domain, roots, signer, next, retiring, former, max_ttl: MAX_TTL })
    }

    /// The state to be kept. Holds the private keys.
    pub fn state(&self) -> CaState {
        CaState {
            root_cert: self.bundle().concat(),
            ca_cert: pem(&self.signer.cert),
            ca_key: self.signer.issuer.key().serialize_pem(),
            cert_chain: self.signer.chain.iter().map(pem).collect(),
            next: self.next.as_ref().map(|next| NextState {
                ca_cert: pem(&next.signer.cert),
                ca_key: next.signer.issuer.key().serialize_pem(),
                cert_chain: next.signer.chain.iter().map(pem).collect(),
                root_cert: next.roots.iter().map(pem).collect(),
            }),
            retiring: self.retiring.as_ref().map(|retiring| RetiringState {
                root_cert: retiring.roots.iter().map(pem).collect(),
                cert_chain: retiring.bridge.iter().map(pem).collect(),
            }),
            former: self
                .former
                .iter()
                .map(|former| FormerState { ca_cert: pem(&former.cert), ca_key: former.issuer.key().serialize_pem() })
                .collect(),
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
        Ok(Issued { chain, not_before, not_after, serial: HEXLOWER.encode(&serial) })
    }

    /// The roots to be trusted, in PEM; the first is the one above what is issued now.
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

    /// Has the last fifth of the signing certificate's life begun? Then it is time for [`Authority::prepare`].
    pub fn is_due_for_rotation(&self, now: SystemTime) -> bool {
        let life = self.signer.not_after.duration_since(self.signer.not_before).unwrap_or_default();
        now + life / 5 >= self.signer.not_after
    }

    /// Is the signer a root that was made here, or by the operator as such? Then a successor can be made here too.
    pub fn is_self_signed(&self) -> bool {
        self.roots.contains(&self.signer.cert)
    }

    /// The fingerprint of the root above what is issued now.
    pub fn root(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(&self.roots[0]))
    }

    /// What a leaf's chain carries above the leaf.
    pub(crate) fn intermediates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let signer = Some(&self.signer.cert).filter(|cert| !self.roots.contains(cert));
        let bridge = self.retiring.iter().flat_map(|retiring| &retiring.bridge);
        signer.into_iter().chain(&self.signer.chain).chain(bridge)
    }

    fn view(&self, root: &CertificateDer<'_>) -> Option<RootView> {
        let (_, x509) = X509Certificate::from_der(root).ok()?;
        let state = if self.next.as_ref().is_some_and(|next| next.roots[0] == *root) {
            RootState::Next
        } else if self.roots[0] == *root {
            RootState::Active
        } else if self.retiring.as_ref().is_some_and(|retiring| retiring.roots.contains(root)) {
            RootState::Retiring
        } else {
            RootState::Trusted
        };
        let not_after = validity(root)?.1;
        let fingerprint = HEXLOWER.encode(&Sha256::digest(root));
        Some(RootView { state, subject: x509.subject().to_string(), fingerprint, not_after })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({}, {} roots)", self.trust_domain, self.roots.len())
    }
}

/// A root of our own making. Each has its own name, since some verifiers look issuers up by name alone.
pub(crate) fn new_root(trust_domain: &TrustDomain, now: SystemTime) -> Result<Signer, KeyError> {
    let failed = |e: rcgen::Error| KeyError::Generate(e.to_string());
    let key = Key::generate()?.into_pair();
    let serial = serial();
    let name = format!("{trust_domain} root {}", HEXLOWER.encode(&serial[..4]));
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

/// 126 random bits behind `01`: positive, as RFC 5280 asks, and of one length, so that it is written alike everywhere.
pub(crate) fn serial() -> [u8; 16] {
    let mut serial: [u8; 16] = rand::random();
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}

/// X.509 knows no parts of a second.
pub(crate) fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
