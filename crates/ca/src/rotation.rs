//! Exchange of the authority, its root or one of an operator, in three steps with no moment at which a proxy trusts too
//! little. A step gives the authority as it is afterwards; keep that, then put it to work.
//!
//! 1. [`Authority::prepare`]: the successor's roots join the bundle; the old one still signs. Wait until every proxy has
//!    the bundle.
//! 2. [`Authority::activate`]: the successor signs, and what it issues carries a certificate in which the old authority
//!    vouches for it, for those who missed step 1. Its root is now the first of the bundle.
//! 3. [`Authority::finish`]: when nobody uses a leaf of the old root any more, that leaves the bundle.

use std::sync::Arc;
use std::time::SystemTime;

use rcgen::string::{Ia5String, PrintableString};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, KeyIdMethod, KeyUsagePurpose,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::Tag;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::{Authority, new_root, serial, whole_seconds};
use crate::state::{CaState, Retiring, Signer, StateError, Successor, is_signed, may_vouch};
use crate::validity::BACK_DATE;

/// Where a rotation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    Idle,
    /// The successor is trusted, and signs nothing yet.
    Prepared,
    /// The successor signs; the predecessor's root is still trusted.
    Retiring,
}

/// Why a step of the rotation is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// A successor is there already.
    #[error("root rotation: a successor is prepared already; let it be activated, or cancel it")]
    AlreadyPrepared,
    /// The rotation before is not over.
    #[error("root rotation: the root before is still trusted; finish that rotation first")]
    NotFinished,
    /// No successor is there.
    #[error("root rotation: no successor is prepared; begin a rotation first")]
    NotPrepared,
    /// Nothing is to be finished.
    #[error("root rotation: no root is about to leave the bundle")]
    NotRetiring,
    /// The successor is what signs already.
    #[error("root rotation: this certificate signs already")]
    Same,
    /// A key or certificate could not be made.
    #[error("root rotation: {0}")]
    Make(String),
}

/// An operator's own authority that was checked: [`Authority::prepare`] takes it.
pub struct Import(Successor);

impl Import {
    /// Checks files in the layout of Istio's `cacerts`: the key fits, the chain reaches a root, each on the way is an
    /// authority in date that allows as many below it as there are. What `state` says of a rotation is not looked at.
    ///
    /// # Errors
    /// [`StateError`], with the file that is wrong.
    pub fn check(state: &CaState, now: SystemTime) -> Result<Self, StateError> {
        state.check_import(now).map(Self)
    }
}

impl Authority {
    /// Where a rotation stands.
    pub fn phase(&self) -> Phase {
        match (&self.next, &self.retiring) {
            (Some(_), _) => Phase::Prepared,
            (None, Some(_)) => Phase::Retiring,
            (None, None) => Phase::Idle,
        }
    }

    /// Step 1, with an operator's authority, or with a new root of our own making. An authority under the root that signs
    /// now needs no other step: it signs at once.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn prepare(&self, import: Option<Import>, now: SystemTime) -> Result<Self, RotationError> {
        match self.phase() {
            Phase::Idle => {}
            Phase::Prepared => return Err(RotationError::AlreadyPrepared),
            Phase::Retiring => return Err(RotationError::NotFinished),
        }
        let next = match import {
            Some(Import(next)) => next,
            None => {
                let signer = new_root(self.trust_domain(), now).map_err(|e| RotationError::Make(e.to_string()))?;
                Successor { roots: vec![signer.cert.clone()], signer: Arc::new(signer) }
            }
        };
        if next.signer.cert == self.signer.cert {
            return Err(RotationError::Same);
        }
        let mut after = self.clone();
        let new: Vec<_> = next.roots.iter().filter(|root| !self.roots.contains(root)).cloned().collect();
        after.roots.extend(new);
        if next.roots[0] == self.roots[0] {
            after.signer = next.signer;
            after.forgo(&self.signer);
        } else {
            after.next = Some(Arc::new(next));
        }
        Ok(after)
    }

    /// Takes step 1 back.
    ///
    /// # Errors
    /// [`RotationError::NotPrepared`].
    pub fn cancel(&self) -> Result<Self, RotationError> {
        let next = self.next.as_ref().ok_or(RotationError::NotPrepared)?;
        let mut after = self.clone();
        after.next = None;
        after.roots.retain(|root| *root == self.roots[0] || !next.roots.contains(root));
        Ok(after)
    }

    /// Step 2: the successor signs from now on. Where the path length of the old one, or of one above it, allows no
    /// authority below, it cannot vouch for the new one: then who missed step 1 does not believe new leaves.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn activate(&self, now: SystemTime) -> Result<Self, RotationError> {
        let next = self.next.as_ref().ok_or(RotationError::NotPrepared)?;
        let old = self.roots[0].clone();
        let cross = match may_vouch(&self.signer, &self.roots) {
            true => Some(cross_sign(&next.signer, &self.signer, now)?),
            false => None,
        };
        let mut after = self.clone();
        after.next = None;
        after.signer = next.signer.clone();
        after.forgo(&self.signer);
        after.roots.retain(|root| !next.roots.contains(root));
        after.roots.splice(0..0, next.roots.iter().cloned());
        let retires = !next.roots.contains(&old);
        after.retiring = retires.then(|| {
            let bridge =
                cross.into_iter().flat_map(|cross| std::iter::once(cross).chain(self.intermediates().cloned()));
            let bridge = bridge.collect();
            Arc::new(Retiring { roots: vec![old], bridge })
        });
        Ok(after)
    }

    /// Step 3: the predecessor's root leaves the bundle. Who still shows a leaf of it is believed by nobody then; roots
    /// that the operator put beside it stay.
    ///
    /// # Errors
    /// [`RotationError::NotRetiring`]; [`RotationError::AlreadyPrepared`] in the middle of another rotation.
    pub fn finish(&self) -> Result<Self, RotationError> {
        if self.next.is_some() {
            return Err(RotationError::AlreadyPrepared);
        }
        let retiring = self.retiring.as_ref().ok_or(RotationError::NotRetiring)?;
        let mut after = self.clone();
        after.roots.retain(|root| !retiring.roots.contains(root));
        after.retiring = None;
        // Nobody believes what they signed.
        let gone = |former: &Signer| retiring.roots.iter().any(|root| former.cert == *root || former.is_below(root));
        after.former.retain(|former| !gone(former));
        Ok(after)
    }

    /// A signer signs no leaves from now on. Of those that did, the last few are kept: what others signed is out of date.
    fn forgo(&mut self, signer: &Arc<Signer>) {
        self.former.insert(0, signer.clone());
        self.former.truncate(FORMER);
    }
}

/// How many former signers are kept.
const FORMER: usize = 8;

/// Does a chain of certificates (PEM, the leaf first) lead to this root (PEM)? Times are not looked at.
pub fn leads_to(chain: &str, root: &str) -> bool {
    let read = |pem: &str| crate::state::certificates(pem, "");
    let (Ok(chain), Ok(roots)) = (read(chain), read(root)) else { return false };
    let mut current = &chain[0];
    for _ in 0..chain.len() {
        if roots[0] == *current || is_signed(current, &roots[0]) {
            return true;
        }
        let issuer = chain[1..].iter().find(|issuer| *issuer != current && is_signed(current, issuer));
        let Some(issuer) = issuer else { return false };
        current = issuer;
    }
    false
}

/// The same name and key as `next`, vouched for by `old`.
fn cross_sign(next: &Signer, old: &Signer, now: SystemTime) -> Result<CertificateDer<'static>, RotationError> {
    let unreadable =
        || RotationError::Make("the successor's certificate has a name that cannot be repeated".to_owned());
    let failed = |e: rcgen::Error| RotationError::Make(e.to_string());
    let (_, x509) = X509Certificate::from_der(&next.cert).map_err(|_| unreadable())?;
    let key_id = x509.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial()));
    params.distinguished_name = name(&x509).ok_or_else(unreadable)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    if let Some(id) = key_id {
        params.key_identifier_method = KeyIdMethod::PreSpecified(id);
    }
    params.not_before = (whole_seconds(now) - BACK_DATE).into();
    params.not_after = old.not_after.min(next.not_after).into();
    let cert = params.signed_by(next.issuer.key(), &old.issuer).map_err(failed)?;
    Ok(cert.der().clone())
}

/// The subject, byte for byte as it stands there: issuers are found by it.
fn name(x509: &X509Certificate<'_>) -> Option<DistinguishedName> {
    let mut name = DistinguishedName::new();
    for attribute in x509.subject().iter_attributes() {
        let kind = DnType::from_oid(&attribute.attr_type().iter()?.collect::<Vec<_>>());
        let text = std::str::from_utf8(attribute.attr_value().data).ok()?;
        let value = match attribute.attr_value().header.tag() {
            Tag::Utf8String => DnValue::Utf8String(text.to_owned()),
            Tag::PrintableString => DnValue::PrintableString(PrintableString::try_from(text).ok()?),
            Tag::Ia5String => DnValue::Ia5String(Ia5String::try_from(text).ok()?),
            _ => return None,
        };
        name.push(kind, value);
    }
    Some(name)
}
