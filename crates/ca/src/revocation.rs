//! What is revoked, and the lists that say so: one of each certificate that has signed leaves which may be in use, or will.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base::SpiffeId;
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::{Authority, whole_seconds};
use crate::state::Signer;
use crate::validity::BACK_DATE;

/// A leaf that is not to be believed any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedLeaf {
    /// Its serial number in lower-case hexadecimal.
    pub serial: String,
    /// Whose it is.
    pub identity: SpiffeId,
    /// Since when.
    pub since: SystemTime,
    /// Valid to: afterwards nobody needs to be told.
    pub not_after: SystemTime,
}

/// Everything that is revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Leaves, by serial number.
    pub leaves: BTreeMap<String, RevokedLeaf>,
    /// Identities that get no certificate, and since when.
    pub identities: BTreeMap<SpiffeId, SystemTime>,
}

/// Why there is no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The certificate of an authority does not allow it.
    #[error(
        "the authority's certificate `{0}` may not sign lists of what is revoked: expected `cRLSign` in its key usage; import one that has it, or make one with `halcyon ca rotate`"
    )]
    NotAllowed(String),
    /// The key of the authority before is not there.
    #[error(
        "the key of the authority before was not kept, so nothing that it issued can be revoked: wait until the exchange of the root is over, or finish it"
    )]
    NoFormerKey,
    /// The library refused.
    #[error("the list of what is revoked cannot be signed: {0}")]
    Signing(String),
}

impl Revocations {
    /// Forgets leaves that are out of date. Were there any?
    pub fn expire(&mut self, now: SystemTime) -> bool {
        let before = self.leaves.len();
        self.leaves.retain(|_, leaf| now <= leaf.not_after);
        self.leaves.len() != before
    }
}

impl Authority {
    /// Lists of these leaves in PEM, good for `life`; an empty text if there are none. Every authority has one, since who
    /// looks at a list of one asks for that of each.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn lists(&self, revoked: &Revocations, now: SystemTime, life: Duration) -> Result<String, ListError> {
        if revoked.leaves.is_empty() {
            return Ok(String::new());
        }
        if self.retiring.is_some() && self.former.is_empty() {
            return Err(ListError::NoFormerKey);
        }
        let next = self.next.as_ref().map(|next| &next.signer);
        let signers = std::iter::once(&self.signer).chain(next).chain(&self.former);
        signers.map(|signer| list(signer, revoked, now, life)).collect()
    }
}

fn list(signer: &Signer, revoked: &Revocations, now: SystemTime, life: Duration) -> Result<String, ListError> {
    let (_, x509) = X509Certificate::from_der(&signer.cert).map_err(|e| ListError::Signing(e.to_string()))?;
    if x509.key_usage().ok().flatten().is_some_and(|usage| !usage.value.crl_sign()) {
        return Err(ListError::NotAllowed(x509.subject().to_string()));
    }
    let key_id = x509.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    let now = whole_seconds(now);
    let number = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let entry = |leaf: &RevokedLeaf| {
        let serial = data_encoding::HEXLOWER_PERMISSIVE.decode(leaf.serial.as_bytes()).ok()?;
        Some(RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: whole_seconds(leaf.since).into(),
            reason_code: Some(RevocationReason::PrivilegeWithdrawn),
            invalidity_date: None,
        })
    };
    let params = CertificateRevocationListParams {
        this_update: (now - BACK_DATE).into(),
        next_update: (now + life).into(),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.leaves.values().filter_map(entry).collect(),
        // Readers look for the authority by it.
        key_identifier_method: key_id.map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified),
    };
    let list = params.signed_by(&signer.issuer).map_err(|e| ListError::Signing(e.to_string()))?;
    list.pem().map_err(|e| ListError::Signing(e.to_string()))
}
