//! The authority at work: opened from its files, asked for certificates and tokens, and kept.
//!
//! Owns who may have which certificate: a proven identity renews itself, a token is good for the identity it was made
//! for. Keys and issuing are `ca`'s; the wire is `certificates`'.

mod revocation;
mod rows;
mod trust;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use base::{Clock, SpiffeId, TrustDomain};
use ca::{
    Authority, DirStore, Entry, Grant, Issued, Key, KeyStore, Leaf, Ledger, RedeemError, RootState, RotationError,
    TokenBook, TokenState,
};
use data_encoding::HEXLOWER;
use telemetry::{Counter, Desc, Family, Gauge, Shard};
use translate::MeshTrust;
use transport::tls::{LiveCert, LiveTrust};

use crate::audit::Author;
use crate::authority::revocation::Revoked;
use crate::authority::rows::{entry, leaf, leaf_row, rows, unhex};
use crate::authority::trust::{Wider, bundles};
use crate::doors::Shown;
use crate::error::ControlError;
use crate::store::{Changes, LeafRow, Store, StoreError, TokenRow};
use crate::v1::{AuditEntry, JoinTokenView};

pub use revocation::{REVOKED, RevokeError, Subject};

/// The life of the token that a launcher gets for its proxy.
pub const BOOTSTRAP_TTL: Duration = Duration::from_secs(600);

/// The authority, its tokens, and the control plane's own certificate. Cheap to clone.
#[derive(Clone)]
pub struct Issuer(Arc<Inner>);

struct Inner {
    authority: RwLock<Arc<Authority>>,
    files: DirStore,
    tokens: Mutex<TokenBook>,
    ledger: Mutex<Ledger>,
    revoked: Mutex<Revoked>,
    own: Own,
    /// Roots of other authorities by which members of the mesh are believed (PEM).
    also: Mutex<String>,
    /// Doors that believe others besides the mesh.
    wider: Mutex<Vec<Wider>>,
    /// One step of a rotation after the other.
    stepping: tokio::sync::Mutex<()>,
    store: Store,
    clock: Clock,
    /// The longest life of a workload's certificate.
    ttl: Duration,
    metrics: Metrics,
}

/// The control plane's own end of TLS.
pub struct Own {
    /// Its identity.
    pub identity: SpiffeId,
    /// Its certificate; empty at first.
    pub cert: LiveCert,
    /// Whom it believes.
    pub trust: LiveTrust,
}

/// What the authority begins with.
pub struct Beginning {
    /// The authority.
    pub authority: Authority,
    /// Where it is kept.
    pub files: DirStore,
    /// Join tokens that were kept.
    pub tokens: Vec<TokenRow>,
    /// Certificates that were issued.
    pub leaves: Vec<LeafRow>,
    /// What is revoked, as it was kept.
    pub revoked: Option<Vec<u8>>,
}

/// Why a step of a rotation was not taken.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The step does not come next.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The audit log could not say so. Nothing changed.
    #[error("the audit log cannot be written, so nothing was changed: {0}")]
    Audit(#[source] StoreError),
    /// It could not be kept. Nothing changed.
    #[error("certificate authority: {0}")]
    Files(#[from] ca::StoreError),
    /// It is kept, and could not be told to proxies yet: that is tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody could be told what is revoked. Nothing changed.
    #[error(transparent)]
    Lists(#[from] ca::ListError),
    /// The control plane has no certificate of the new authority.
    #[error(transparent)]
    Own(#[from] ControlError),
    /// The control plane is stopping.
    #[error("the control plane is stopping")]
    Stopping,
}

/// What the authority counts.
#[derive(Clone)]
pub struct Metrics {
    issued: Family<Counter>,
    refused: Family<Counter>,
    root_expiry: Gauge,
}

impl Metrics {
    /// Declares them.
    pub fn new(shard: &Shard) -> Result<Self, telemetry::DeclareError> {
        let issued = Desc::new("halcyon_certificates_issued_total", "Certificates issued, by what proved the caller.");
        let refused = Desc::new("halcyon_certificates_refused_total", "Certificate requests refused, by reason.");
        let expiry = "halcyon_root_expiry_timestamp_seconds";
        let expiry = Desc::new(expiry, "When the signing certificate ends, in seconds since 1970.");
        Ok(Self {
            issued: shard.counters(issued.labels(&["proof"]))?,
            refused: shard.counters(refused.labels(&["reason"]))?,
            root_expiry: shard.gauges(expiry)?.with(&[]),
        })
    }
}

/// What proves who asks for a certificate. It may hold a token, so nobody prints it.
pub enum Proof<'a> {
    /// A client certificate: a renewal.
    Certificate(&'a SpiffeId, Option<&'a Shown>),
    /// A token, good for one use.
    Token(&'a str),
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The token is not good. The reason is for the log only.
    #[error("the join token is refused: it was used already, is too old, or was made elsewhere; ask for a new one")]
    Token(RedeemError),
    /// The request is bad.
    #[error(transparent)]
    Issue(#[from] ca::IssueError),
    /// The token could not be marked as used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The request was made for somebody else than the proof.
    #[error(
        "the certificate request is for `{asked}`, and what proves the caller is for `{proven}`: make a request of its own"
    )]
    OtherIdentity {
        /// In the request.
        asked: String,
        /// By token or certificate.
        proven: SpiffeId,
    },
    /// It was revoked.
    #[error("`{identity}` is revoked since {since}: `halcyon ca restore` makes it good again")]
    Revoked {
        /// Whose certificate it would be.
        identity: SpiffeId,
        /// Since when.
        since: String,
    },
    /// The token names no possible identity.
    #[error("the token is for an identity that cannot be: {0}; make a new one")]
    Identity(#[from] base::spiffe::SpiffeError),
}

impl Refusal {
    /// For the log: of a token more than its bearer hears.
    fn words(&self) -> String {
        match self {
            Self::Token(reason) => reason.to_string(),
            other => other.to_string(),
        }
    }

    /// A word for the counter.
    fn reason(&self) -> &'static str {
        match self {
            Self::Token(RedeemError::Malformed) => "token_malformed",
            Self::Token(RedeemError::Unknown) => "token_unknown",
            Self::Token(RedeemError::Used) => "token_used",
            Self::Token(RedeemError::Revoked) => "token_revoked",
            Self::Token(RedeemError::Expired) => "token_expired",
            Self::OtherIdentity { .. } => "other_identity",
            Self::Revoked { .. } => "revoked",
            Self::Issue(_) => "request",
            Self::Store(_) => "store",
            Self::Identity(_) => "identity",
        }
    }
}

/// Reads the authority's files, or makes a new authority.
///
/// # Errors
/// [`ControlError`], with the file that is wrong.
pub fn open(
    files: &DirStore,
    dir: &Path,
    trust_domain: &TrustDomain,
    now: SystemTime,
) -> Result<Authority, ControlError> {
    match files.load()? {
        Some(state) => {
            let authority = Authority::load(trust_domain.clone(), &state, now)
                .map_err(|source| ControlError::AuthorityState { dir: dir.display().to_string(), source })?;
            if !files.is_kept_so()? {
                files.save(&state)?;
                tracing::info!("the authority's key in {} is encrypted now", dir.display());
            }
            Ok(authority)
        }
        None => {
            let authority = Authority::create(trust_domain.clone(), now)
                .map_err(|e| ControlError::OwnCertificate(e.to_string()))?;
            files.save(&authority.state())?;
            tracing::info!("made a new root for the trust domain {trust_domain} in {}", dir.display());
            Ok(authority)
        }
    }
}

impl Issuer {
    /// Puts the authority to work, with what was kept. The control plane itself has a certificate when this returns.
    ///
    /// # Errors
    /// [`ControlError::OwnCertificate`].
    pub fn new(
        begin: Beginning,
        store: Store,
        clock: Clock,
        (ttl, identity): (Duration, SpiffeId),
        metrics: Metrics,
    ) -> Result<Self, ControlError> {
        let Beginning { authority, files, tokens, leaves, revoked } = begin;
        let unreadable = || ControlError::Revoked("what was kept of it cannot be read".to_owned());
        let revoked =
            revoked.map_or(Some(Default::default()), |kept| revocation::read(&kept)).ok_or_else(unreadable)?;
        let trust = LiveTrust::new(bundles(&authority, "", "")?);
        let inner = Inner {
            authority: RwLock::new(Arc::new(authority)),
            files,
            tokens: Mutex::new(TokenBook::new(tokens.into_iter().filter_map(entry))),
            ledger: Mutex::new(Ledger::new(leaves.into_iter().filter_map(leaf))),
            revoked: Mutex::new(Revoked { all: revoked, lists: Default::default() }),
            own: Own { identity, cert: LiveCert::empty(), trust },
            also: Mutex::default(),
            wider: Mutex::default(),
            stepping: tokio::sync::Mutex::new(()),
            store,
            clock,
            ttl,
            metrics,
        };
        let issuer = Self(Arc::new(inner));
        let lists = issuer.sign_lists(&issuer.authority(), &issuer.revoked().all);
        issuer.revoked().lists = lists.map_err(|e| ControlError::Revoked(e.to_string()))?;
        issuer.believe(issuer.believed(&issuer.authority(), &issuer.lists())?);
        issuer.renew_own()?;
        issuer.count_expiry();
        Ok(issuer)
    }

    /// The authority as it is now.
    pub fn authority(&self) -> Arc<Authority> {
        self.0.authority.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The control plane's own end of TLS.
    pub fn own(&self) -> &Own {
        &self.0.own
    }

    /// The time.
    pub fn now(&self) -> SystemTime {
        self.0.clock.now()
    }

    /// Takes a step of a rotation: into the audit log and on the disk first, then here, then to the proxies. `entry` is
    /// what the log says of it, but for the roots that come and go.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn step(
        &self,
        mut entry: AuditEntry,
        step: impl FnOnce(&Authority, SystemTime) -> Result<Authority, RotationError>,
    ) -> Result<(), StepError> {
        let _one = self.0.stepping.lock().await;
        let before = self.authority();
        let after = step(&before, self.now())?;
        entry.diff = roots_diff(&before, &after);
        let lists = self.sign_lists(&after, &self.revoked().all)?;
        // The files of the authority and the log are apart: a step may be written down that a crash then prevents, but none
        // is taken that is not written down.
        self.0.store.keep(Changes::default(), vec![entry.clone()]).await.map_err(StepError::Audit)?;
        if let Err(error) = self.save(after.state()).await {
            let failed =
                AuditEntry { outcome: "failed".to_owned(), reason: error.to_string(), diff: Vec::new(), ..entry };
            self.0.store.note(failed).await;
            return Err(error);
        }
        // Who comes with a leaf of either root is let in before anybody hears of it.
        self.believe(self.believed(&after, &lists.text)?);
        self.revoked().lists = lists;
        *self.0.authority.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        self.count_expiry();
        if self.authority().root() != before.root() {
            self.renew_own()?;
        }
        self.publish().await
    }

    /// The key of the authority, its certificates and roots, as the audit log has it that `by` took them.
    ///
    /// # Errors
    /// The audit log could not say so; then nobody gets them.
    pub async fn export(&self, by: &Author) -> Result<ca::CaState, StoreError> {
        let authority = self.authority();
        let mut entry = AuditEntry::new(by, "ca export", "the key of the certificate authority", "exported");
        entry.diff = vec![format!(" root {}", authority.root())];
        self.0.store.keep(Changes::default(), vec![entry]).await?;
        tracing::warn!("the authority's key is exported to {}", by.who);
        Ok(authority.state())
    }

    async fn save(&self, state: ca::CaState) -> Result<(), StepError> {
        let files = self.0.files.clone();
        tokio::task::spawn_blocking(move || files.save(&state)).await.map_err(|_| StepError::Stopping)??;
        Ok(())
    }

    /// Tells the proxies whom to trust, if they were not told yet.
    ///
    /// # Errors
    /// [`StepError::Store`].
    pub async fn publish(&self) -> Result<(), StepError> {
        let trust = self.mesh_trust();
        if *self.0.store.now().world.trust != *trust {
            self.0.store.trust(trust).await?;
        }
        Ok(())
    }

    /// Whom the mesh trusts.
    pub fn mesh_trust(&self) -> Arc<MeshTrust> {
        Arc::new(MeshTrust { roots: self.bundle().into_bytes(), crl: self.lists().into_bytes() })
    }

    /// Asks the leaves that were issued.
    pub fn leaves<T>(&self, ask: impl FnOnce(&Ledger) -> T) -> T {
        ask(&self.ledger())
    }

    /// Forgets leaves that are out of date.
    ///
    /// # Errors
    /// They stay on the disk, and are forgotten at the next start.
    pub async fn forget_leaves(&self) -> Result<(), StoreError> {
        let kept = {
            let mut ledger = self.ledger();
            let old = ledger.expire(self.now());
            (!old.is_empty()).then(|| self.0.store.leaves(Vec::new(), old))
        };
        match kept {
            Some(kept) => kept.await,
            None => Ok(()),
        }
    }

    /// Issues a certificate to whoever proved who it is. `asked` is the life it wants; it gets at most ours. `from` is
    /// where it stands.
    ///
    /// # Errors
    /// [`Refusal`], with what the audit log should say of it ([`Issuer::note`]).
    pub async fn issue(
        &self,
        csr: &str,
        proof: Proof<'_>,
        asked: Option<Duration>,
        from: &str,
    ) -> Result<Issued, Box<(Refusal, AuditEntry)>> {
        let (word, who, result) = match proof {
            Proof::Certificate(identity, shown) => {
                ("certificate", identity.to_string(), self.renew(csr, identity, shown, asked).await)
            }
            Proof::Token(token) => {
                let who = self
                    .tokens()
                    .known(token)
                    .map_or_else(|| "unknown".to_owned(), |id| bearer_of(&HEXLOWER.encode(&id)));
                ("token", who, self.issue_for_token(csr, token, asked, from).await)
            }
        };
        match result {
            Ok((identity, issued)) => {
                self.0.metrics.issued.with(&[word]).inc();
                tracing::info!("issued certificate {} to {identity} (proven by {word})", issued.serial);
                Ok(issued)
            }
            Err(refusal) => {
                self.0.metrics.refused.with(&[refusal.reason()]).inc();
                let by = Author::new(who, from);
                tracing::warn!("refused a certificate to {} from {from}: {}", by.who, refusal.words());
                let entry = AuditEntry::refused(&by, "certificate", refusal.reason(), refusal.words());
                Err(Box::new((refusal, entry)))
            }
        }
    }

    /// A refusal that did not come as far as [`Issuer::issue`].
    pub fn count_unproven(&self) {
        self.0.metrics.refused.with(&["unproven"]).inc();
    }

    /// Writes down that a certificate was refused.
    pub async fn note(&self, entry: AuditEntry) {
        self.0.store.note(entry).await;
    }

    async fn renew(
        &self,
        csr: &str,
        identity: &SpiffeId,
        shown: Option<&Shown>,
        asked: Option<Duration>,
    ) -> Result<(SpiffeId, Issued), Refusal> {
        self.check_revoked(identity, shown.map(|shown| &*shown.serial))?;
        is_for(csr, identity)?;
        self.sign(csr, identity, shown, asked).await
    }

    async fn issue_for_token(
        &self,
        csr: &str,
        token: &str,
        asked: Option<Duration>,
        from: &str,
    ) -> Result<(SpiffeId, Issued), Refusal> {
        let now = self.0.clock.now();
        let (identity, kept) = {
            let mut tokens = self.tokens();
            let grant = &tokens.look(token, now).map_err(Refusal::Token)?.grant;
            let identity = SpiffeId::workload(&self.trust_domain(), &grant.namespace, &grant.service_account)?;
            self.check_revoked(&identity, None)?;
            // Whoever asks in another name has stolen it: it stays good for whom it was made.
            is_for(csr, &identity)?;
            let entry = tokens.redeem(token, now).map_err(Refusal::Token)?;
            let by = Author::new(bearer_of(&HEXLOWER.encode(&entry.id)), from);
            let used = AuditEntry::new(&by, "join", identity.to_string(), "joined");
            // Asked for under the lock, so that the file sees the changes in their order.
            (identity, self.0.store.keep(rows([&entry], &[]), vec![used]))
        };
        // Used up on the disk first: a crash must not make it good twice.
        kept.await?;
        self.sign(csr, &identity, None, asked).await
    }

    async fn sign(
        &self,
        csr: &str,
        identity: &SpiffeId,
        shown: Option<&Shown>,
        asked: Option<Duration>,
    ) -> Result<(SpiffeId, Issued), Refusal> {
        let (ttl, now) = (asked.unwrap_or(self.0.ttl).min(self.0.ttl), self.now());
        let authority = self.authority();
        let issued = authority.issue(csr.as_bytes(), identity, ttl, now)?;
        let leaf = Leaf {
            serial: issued.serial.clone(),
            identity: identity.clone(),
            root: authority.root(),
            not_after: issued.not_after,
            replaced: None,
            shown: None,
        };
        let shown = shown.map(|shown| (&*shown.serial, shown.not_after));
        let kept = {
            let mut ledger = self.ledger();
            let rows = ledger.issued(leaf, shown, now).iter().map(leaf_row).collect();
            self.0.store.leaves(rows, Vec::new())
        };
        // A leaf that nobody remembers could outlive its root.
        kept.await?;
        // Who was revoked meanwhile is in no list yet, and gets nothing.
        self.check_revoked(identity, shown.map(|(serial, _)| serial))?;
        Ok((identity.clone(), issued))
    }

    /// Makes a token for an identity, good for one use within `ttl`. Gives its text, which is secret, and its end.
    ///
    /// # Errors
    /// It cannot be kept, or the identity cannot be.
    pub async fn token(
        &self,
        namespace: &str,
        service_account: &str,
        ttl: Duration,
        by: &Author,
    ) -> Result<(SpiffeId, String, SystemTime), Refusal> {
        let identity = SpiffeId::workload(&self.trust_domain(), namespace, service_account)?;
        self.check_revoked(&identity, None)?;
        let now = self.0.clock.now();
        let (token, kept) = {
            let mut tokens = self.tokens();
            let old = tokens.forget(now);
            let grant = Grant {
                namespace: namespace.to_owned(),
                service_account: service_account.to_owned(),
                claims: Default::default(),
            };
            let token = tokens.issue(grant, ttl, now);
            let new = tokens.entries().find(|entry| entry.id == token.id());
            let mut made = AuditEntry::new(by, "token create", identity.to_string(), "created");
            made.diff.push(format!(
                "+join token {} until {}",
                HEXLOWER.encode(&token.id()),
                crate::timestamp(now + ttl)
            ));
            let kept = self.0.store.keep(rows(new, &old), vec![made]);
            (token, kept)
        };
        kept.await?;
        Ok((identity, token.reveal(), now + ttl))
    }

    /// Every join token that is remembered, without its secret.
    pub fn join_tokens(&self) -> Vec<JoinTokenView> {
        let now = self.0.clock.now();
        let tokens = self.tokens();
        let mut entries: Vec<&Entry> = tokens.entries().collect();
        entries.sort_by_key(|entry| (entry.made, entry.id));
        let view = |entry: &Entry| JoinTokenView {
            id: HEXLOWER.encode(&entry.id),
            identity: self.identity_of(entry),
            created: crate::timestamp(entry.made),
            expires: crate::timestamp(entry.expires),
            state: match entry.state {
                TokenState::Used(_) => "used",
                TokenState::Revoked(_) => "revoked",
                TokenState::Open if now >= entry.expires => "expired",
                TokenState::Open => "open",
            }
            .to_owned(),
        };
        entries.into_iter().map(view).collect()
    }

    /// Takes a join token back. False if there is none that could still be used.
    ///
    /// # Errors
    /// It cannot be kept; it is good for nothing all the same until the next start.
    pub async fn revoke(&self, id: &str, by: &Author) -> Result<bool, StoreError> {
        let Some(bytes) = unhex(id) else { return Ok(false) };
        let kept = {
            let mut tokens = self.tokens();
            let Some(entry) = tokens.revoke(&bytes, self.0.clock.now()) else { return Ok(false) };
            let what = format!("{}, join token {id}", self.identity_of(&entry));
            self.0.store.keep(rows([&entry], &[]), vec![AuditEntry::new(by, "token revoke", what, "revoked")])
        };
        kept.await.map(|()| true)
    }

    fn identity_of(&self, entry: &Entry) -> String {
        let Grant { namespace, service_account, .. } = &entry.grant;
        SpiffeId::workload(&self.trust_domain(), namespace, service_account)
            .map_or_else(|e| e.to_string(), |id| id.to_string())
    }

    /// The roots in PEM, in one text.
    pub fn bundle(&self) -> String {
        self.authority().bundle().concat()
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> TrustDomain {
        self.authority().trust_domain().clone()
    }

    /// Makes a new key and certificate for the control plane itself, and gives when to do so again.
    ///
    /// # Errors
    /// [`ControlError::OwnCertificate`]; the one before stays.
    pub fn renew_own(&self) -> Result<SystemTime, ControlError> {
        let failed = |e: &dyn std::fmt::Display| ControlError::OwnCertificate(e.to_string());
        let Own { identity, cert, .. } = &self.0.own;
        let key = Key::generate().map_err(|e| failed(&e))?;
        let csr = key.csr(identity).map_err(|e| failed(&e))?;
        let issued =
            self.authority().issue(csr.as_bytes(), identity, self.0.ttl, self.now()).map_err(|e| failed(&e))?;
        cert.set_pem(&issued.chain.concat(), &key.secret_pem()).map_err(|e| failed(&e))?;
        Ok(ca::renewal_time(issued.not_before, issued.not_after, rand::random_range(-0.1..0.1)))
    }

    fn count_expiry(&self) {
        let end = self.authority().not_after();
        let seconds = end.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.0.metrics.root_expiry.set(seconds as i64);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revoked(&self) -> MutexGuard<'_, Revoked> {
        self.0.revoked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, TokenBook> {
        self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A word for a root's state.
pub fn state_name(state: RootState) -> &'static str {
    match state {
        RootState::Next => "next",
        RootState::Active => "active",
        RootState::Retiring => "retiring",
        RootState::Trusted => "trusted",
    }
}

/// Is the request for this identity, or for nobody in particular?
fn is_for(csr: &str, proven: &SpiffeId) -> Result<(), Refusal> {
    let named = ca::requested_identities(csr.as_bytes()).map_err(ca::IssueError::from)?;
    match named.into_iter().find(|asked| asked != proven.as_str()) {
        Some(asked) => Err(Refusal::OtherIdentity { asked, proven: proven.clone() }),
        None => Ok(()),
    }
}

/// How the audit log names who shows a token.
fn bearer_of(id: &str) -> String {
    format!("bearer of the join token {id}")
}

/// The roots that come, go or change their part, for the audit log.
fn roots_diff(before: &Authority, after: &Authority) -> Vec<String> {
    let lines = |authority: &Authority| -> Vec<String> {
        let line =
            |root: ca::RootView| format!("root {}, {}: {}", root.fingerprint, root.subject, state_name(root.state));
        authority.roots().into_iter().map(line).collect()
    };
    let (before, after) = (lines(before), lines(after));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("-{line}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+{line}"));
    gone.chain(new).collect()
}
