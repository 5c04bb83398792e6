//! What is revoked: refused when it is renewed, and by its peers, who are given lists signed by the authority.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use base::SpiffeId;
use ca::{Authority, ListError, Revocations, RevokedLeaf};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::rows::rows;
use super::{Issuer, Refusal, StepError};
use crate::audit::Author;
use crate::store::{Changes, Table, from_millis, millis};
use crate::v1::{AuditEntry, RevokedView};

/// Where it is kept.
pub const REVOKED: &str = "revoked";
/// The least life of a list. It is renewed at half of its life; who is cut off for longer than its certificate lives needs none.
const LEAST_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is revoked, and the lists that say so.
#[derive(Default)]
pub(super) struct Revoked {
    pub all: Revocations,
    pub lists: Lists,
}

/// Signed lists in PEM; an empty text where nothing is revoked.
#[derive(Clone)]
pub(super) struct Lists {
    pub text: String,
    made: SystemTime,
}

impl Default for Lists {
    fn default() -> Self {
        Self { text: String::new(), made: SystemTime::UNIX_EPOCH }
    }
}

/// What somebody wants to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An identity: it gets no certificate, and those that it has are good for nothing.
    Identity(SpiffeId),
    /// A certificate, and what came of the same token as it by renewals.
    Certificate(String),
}

/// Why nothing is revoked, or made good again.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// Nobody has such a certificate.
    #[error("no certificate in date has the serial number `{0}`")]
    Unknown(String),
    /// It was not revoked.
    #[error("`{0}` is not revoked")]
    NotRevoked(String),
    /// It belongs to the control plane.
    #[error("`{0}` is the control plane's own identity, which nobody would believe any more")]
    Own(SpiffeId),
    /// It is of another trust domain.
    #[error("`{0}` is no identity of the trust domain `{1}`, so none of its certificates is issued here")]
    Foreign(SpiffeId, String),
    /// It is kept, and cannot be told, or cannot be kept.
    #[error(transparent)]
    Step(#[from] StepError),
}

#[derive(Serialize, Deserialize, Default)]
struct Row {
    leaves: Vec<LeafRow>,
    identities: Vec<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
struct LeafRow {
    serial: String,
    identity: String,
    since_ms: u64,
    not_after_ms: u64,
}

/// What was kept; none: it cannot be read.
pub(super) fn read(kept: &[u8]) -> Option<Revocations> {
    let row: Row = serde_json::from_slice(kept).ok()?;
    let leaf = |row: LeafRow| {
        let (since, not_after) = (from_millis(row.since_ms), from_millis(row.not_after_ms));
        Some((
            row.serial.clone(),
            RevokedLeaf { serial: row.serial, identity: row.identity.parse().ok()?, since, not_after },
        ))
    };
    let identity = |(id, since): (String, u64)| Some((id.parse().ok()?, from_millis(since)));
    Some(Revocations {
        leaves: row.leaves.into_iter().map(leaf).collect::<Option<_>>()?,
        identities: row.identities.into_iter().map(identity).collect::<Option<_>>()?,
    })
}

fn write(all: &Revocations) -> Vec<u8> {
    let leaf = |leaf: &RevokedLeaf| LeafRow {
        serial: leaf.serial.clone(),
        identity: leaf.identity.to_string(),
        since_ms: millis(leaf.since),
        not_after_ms: millis(leaf.not_after),
    };
    let row = Row {
        leaves: all.leaves.values().map(leaf).collect(),
        identities: all.identities.iter().map(|(id, since)| (id.to_string(), millis(*since))).collect(),
    };
    serde_json::to_vec(&row).unwrap_or_default()
}

impl Issuer {
    /// Revokes certificates: on the disk and in the audit log first, then at the control plane's own doors, then at the
    /// proxies. Gives what is revoked by this.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn revoke_certificates(&self, subject: &Subject, by: &Author) -> Result<Vec<RevokedView>, RevokeError> {
        let _one = self.0.stepping.lock().await;
        let now = self.now();
        if let Subject::Identity(id) = subject {
            self.check_own(id)?;
            // Before it is looked who has a certificate: who is being issued one right now finds itself revoked.
            self.revoked().all.identities.entry(id.clone()).or_insert(now);
        }
        let result = self.revoke_known(subject, by, now).await;
        if let (Err(_), Subject::Identity(id)) = (&result, subject) {
            let mut revoked = self.revoked();
            if revoked.all.identities.get(id) == Some(&now) {
                revoked.all.identities.remove(id);
            }
        }
        result
    }

    async fn revoke_known(
        &self,
        subject: &Subject,
        by: &Author,
        now: SystemTime,
    ) -> Result<Vec<RevokedView>, RevokeError> {
        let mut after = self.revoked().all.clone();
        let mut new = self.in_date(subject, now);
        new.retain(|leaf| !after.leaves.contains_key(&leaf.serial));
        if let Subject::Certificate(serial) = subject
            && new.is_empty()
            && !after.leaves.contains_key(serial)
        {
            return Err(RevokeError::Unknown(serial.clone()));
        }
        after.leaves.extend(new.iter().map(|leaf| (leaf.serial.clone(), leaf.clone())));
        let mut entry = AuditEntry::new(by, "ca revoke", subject.to_string(), "revoked");
        entry.diff.extend(new.iter().map(|leaf| format!("-certificate {} of {}", leaf.serial, leaf.identity)));
        let mut tokens = Changes::default();
        if let Subject::Identity(id) = subject {
            let gone = self.end_tokens(id, now);
            entry.diff.extend(gone.iter().map(|token| format!("-join token {}", HEXLOWER.encode(&token.id))));
            tokens = rows(&gone, &[]);
        }
        self.put_revoked(after, tokens, entry).await?;
        Ok(views(&self.revoked().all, subject))
    }

    /// Makes good again what was revoked.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn restore_certificates(&self, subject: &Subject, by: &Author) -> Result<(), RevokeError> {
        let _one = self.0.stepping.lock().await;
        let mut after = self.revoked().all.clone();
        let line: BTreeSet<String> = match subject {
            Subject::Identity(_) => BTreeSet::new(),
            Subject::Certificate(serial) => {
                let known =
                    |ledger: &ca::Ledger| ledger.lineage(serial).iter().map(|leaf| leaf.serial.clone()).collect();
                self.leaves(known)
            }
        };
        let restored = |leaf: &RevokedLeaf| match subject {
            Subject::Identity(id) => leaf.identity == *id,
            Subject::Certificate(serial) => leaf.serial == *serial || line.contains(&leaf.serial),
        };
        let mut entry = AuditEntry::new(by, "ca restore", subject.to_string(), "restored");
        let back = after.leaves.values().filter(|leaf| restored(leaf));
        entry.diff.extend(back.map(|leaf| format!("+certificate {} of {}", leaf.serial, leaf.identity)));
        after.leaves.retain(|_, leaf| !restored(leaf));
        let was_barred = matches!(subject, Subject::Identity(id) if after.identities.remove(id).is_some());
        if entry.diff.is_empty() && !was_barred {
            return Err(RevokeError::NotRevoked(subject.to_string()));
        }
        Ok(self.put_revoked(after, Changes::default(), entry).await?)
    }

    /// Everything that is revoked.
    pub fn revocations(&self) -> Vec<RevokedView> {
        let revoked = self.revoked();
        let identities = revoked.all.identities.iter().map(|(id, since)| RevokedView {
            identity: id.to_string(),
            serial: String::new(),
            since: crate::timestamp(*since),
            not_after: String::new(),
        });
        identities.chain(revoked.all.leaves.values().map(view)).collect()
    }

    /// The serial numbers of the certificates that are revoked.
    pub fn revoked_serials(&self) -> BTreeSet<String> {
        self.revoked().all.leaves.keys().cloned().collect()
    }

    /// Forgets what is out of date, and signs the lists anew in time.
    ///
    /// # Errors
    /// [`StepError`]; the lists before stay.
    pub async fn renew_lists(&self) -> Result<(), StepError> {
        let _one = self.0.stepping.lock().await;
        let (now, life) = (self.now(), self.list_life());
        let fresh = {
            let mut revoked = self.revoked();
            let fewer = revoked.all.expire(now);
            let old = !revoked.all.leaves.is_empty() && now >= revoked.lists.made + life / 2;
            if !fewer && !old {
                return Ok(());
            }
            let lists = self.sign_lists(&self.authority(), &revoked.all)?;
            revoked.lists = lists;
            revoked.all.clone()
        };
        let mut changes = Changes::default();
        changes.put(Table::Meta, REVOKED, write(&fresh));
        self.0.store.keep(changes, Vec::new()).await?;
        self.believe(self.believed(&self.authority(), &self.lists())?);
        self.publish().await
    }

    /// Lists of what is revoked by an authority. None is told of before there is one.
    pub(super) fn sign_lists(&self, authority: &Authority, all: &Revocations) -> Result<Lists, ListError> {
        let now = self.now();
        Ok(Lists { text: authority.lists(all, now, self.list_life())?, made: now })
    }

    /// The lists in PEM.
    pub(super) fn lists(&self) -> String {
        self.revoked().lists.text.clone()
    }

    /// Is this identity, or the certificate that it shows, revoked?
    pub(crate) fn check_revoked(&self, identity: &SpiffeId, shown: Option<&str>) -> Result<(), Refusal> {
        let revoked = self.revoked();
        let of_leaf = || revoked.all.leaves.get(shown?).map(|leaf| &leaf.since);
        match revoked.all.identities.get(identity).or_else(of_leaf) {
            Some(since) => Err(Refusal::Revoked { identity: identity.clone(), since: crate::timestamp(*since) }),
            None => Ok(()),
        }
    }

    fn list_life(&self) -> Duration {
        LEAST_LIFE.max(2 * self.0.ttl)
    }

    async fn put_revoked(&self, after: Revocations, mut changes: Changes, entry: AuditEntry) -> Result<(), StepError> {
        let lists = self.sign_lists(&self.authority(), &after)?;
        changes.put(Table::Meta, REVOKED, write(&after));
        self.0.store.keep(changes, vec![entry]).await.map_err(StepError::Audit)?;
        let believed = self.believed(&self.authority(), &lists.text)?;
        *self.revoked() = Revoked { all: after, lists };
        self.believe(believed);
        self.publish().await
    }

    /// The certificates that somebody may show.
    fn in_date(&self, subject: &Subject, now: SystemTime) -> Vec<RevokedLeaf> {
        self.leaves(|ledger| {
            let known = match subject {
                Subject::Identity(id) => ledger.of(id, now).collect(),
                Subject::Certificate(serial) => ledger.lineage(serial),
            };
            let in_date = known.into_iter().filter(|leaf| now <= leaf.not_after);
            let revoked = |leaf: &ca::Leaf| RevokedLeaf {
                serial: leaf.serial.clone(),
                identity: leaf.identity.clone(),
                since: now,
                not_after: leaf.not_after,
            };
            in_date.map(revoked).collect()
        })
    }

    fn end_tokens(&self, id: &SpiffeId, now: SystemTime) -> Vec<ca::Entry> {
        let mut tokens = self.tokens();
        let of_it: Vec<_> =
            tokens.entries().filter(|entry| self.identity_of(entry) == id.as_str()).map(|entry| entry.id).collect();
        of_it.iter().filter_map(|token| tokens.revoke(token, now)).collect()
    }

    fn check_own(&self, id: &SpiffeId) -> Result<(), RevokeError> {
        if *id == self.0.own.identity {
            return Err(RevokeError::Own(id.clone()));
        }
        let domain = self.trust_domain();
        if id.trust_domain() != domain.as_str() {
            return Err(RevokeError::Foreign(id.clone(), domain.to_string()));
        }
        Ok(())
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identity(id) => write!(f, "{id}"),
            Self::Certificate(serial) => write!(f, "certificate {serial}"),
        }
    }
}

fn views(all: &Revocations, subject: &Subject) -> Vec<RevokedView> {
    let of = |leaf: &&RevokedLeaf| match subject {
        Subject::Identity(id) => leaf.identity == *id,
        Subject::Certificate(serial) => all.leaves.get(serial).is_none_or(|one| one.identity == leaf.identity),
    };
    all.leaves.values().filter(of).map(view).collect()
}

fn view(leaf: &RevokedLeaf) -> RevokedView {
    RevokedView {
        identity: leaf.identity.to_string(),
        serial: leaf.serial.clone(),
        since: crate::timestamp(leaf.since),
        not_after: crate::timestamp(leaf.not_after),
    }
}
