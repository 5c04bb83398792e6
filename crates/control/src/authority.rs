//! The authority at work: opened from its files, asked for certificates and tokens, and kept.
//!
//! Owns who may have which certificate: a proven identity renews itself, a token is good for the identity it was made
//! for. Keys and issuing are `ca`'s; the wire is `certificates`'.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use base::{Clock, SpiffeId, TrustDomain};
use ca::{
    Authority, DirStore, Entry, Grant, Issued, Key, KeyStore, Leaf, Ledger, RedeemError, RootState, RotationError,
    TokenBook,
};
use telemetry::{Counter, Desc, Family, Gauge, Shard};
use transport::tls::{LiveCert, LiveTrust, Roots, TrustBundles};

use translate::MeshTrust;

use crate::doors::Shown;
use crate::error::ControlError;
use crate::store::{LeafRow, Store, StoreError, TokenRow};

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
    own: Own,
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
}

/// Why a step of a rotation was not taken.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The step does not come next.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// It could not be kept. Nothing changed.
    #[error("certificate authority: {0}")]
    Files(#[from] ca::StoreError),
    /// It is kept, and could not be told to proxies yet: that is tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
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

/// What proves who asks for a certificate.
#[derive(Debug)]
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
    /// The token names no possible identity.
    #[error("the token is for an identity that cannot be: {0}; make a new one")]
    Identity(#[from] base::spiffe::SpiffeError),
}

impl Refusal {
    /// A word for the counter.
    fn reason(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
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
        let Beginning { authority, files, tokens, leaves } = begin;
        let trust = LiveTrust::new(bundles(&authority)?);
        let inner = Inner {
            authority: RwLock::new(Arc::new(authority)),
            files,
            tokens: Mutex::new(TokenBook::new(tokens.into_iter().filter_map(entry))),
            ledger: Mutex::new(Ledger::new(leaves.into_iter().filter_map(leaf))),
            own: Own { identity, cert: LiveCert::empty(), trust },
            stepping: tokio::sync::Mutex::new(()),
            store,
            clock,
            ttl,
            metrics,
        };
        let issuer = Self(Arc::new(inner));
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

    /// Takes a step of a rotation: on the disk first, then here, then to the proxies.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn step(
        &self,
        step: impl FnOnce(&Authority, SystemTime) -> Result<Authority, RotationError>,
    ) -> Result<(), StepError> {
        let _one = self.0.stepping.lock().await;
        let before = self.authority();
        let after = step(&before, self.now())?;
        let (files, state) = (self.0.files.clone(), after.state());
        tokio::task::spawn_blocking(move || files.save(&state)).await.map_err(|_| StepError::Stopping)??;
        // Who comes with a leaf of either root is let in before anybody hears of it.
        self.0.own.trust.set(bundles(&after)?);
        *self.0.authority.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        self.count_expiry();
        if self.authority().root() != before.root() {
            self.renew_own()?;
        }
        self.publish().await
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
        MeshTrust::roots(self.bundle().into_bytes())
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

    /// Issues a certificate to whoever proved who it is. `asked` is the life it wants; it gets at most ours.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn issue(&self, csr: &str, proof: Proof<'_>, asked: Option<Duration>) -> Result<Issued, Refusal> {
        let (word, result) = match proof {
            Proof::Certificate(identity, shown) => ("certificate", self.sign(csr, identity, shown, asked).await),
            Proof::Token(token) => ("token", self.issue_for_token(csr, token, asked).await),
        };
        match &result {
            Ok((identity, issued)) => {
                self.0.metrics.issued.with(&[word]).inc();
                tracing::info!("issued certificate {} to {identity} (proven by {word})", issued.serial);
            }
            Err(refusal) => {
                self.0.metrics.refused.with(&[refusal.reason()]).inc();
                match refusal {
                    Refusal::Token(reason) => tracing::warn!("refused a certificate: {reason}"),
                    other => tracing::warn!("refused a certificate (proven by {word}): {other}"),
                }
            }
        }
        result.map(|(_, issued)| issued)
    }

    /// A refusal that did not come as far as [`Issuer::issue`].
    pub fn count_unproven(&self) {
        self.0.metrics.refused.with(&["unproven"]).inc();
    }

    async fn issue_for_token(
        &self,
        csr: &str,
        token: &str,
        asked: Option<Duration>,
    ) -> Result<(SpiffeId, Issued), Refusal> {
        let (grant, kept) = {
            let mut tokens = self.tokens();
            let before: Vec<String> = tokens.entries().map(|entry| hex(&entry.id)).collect();
            let grant = tokens.redeem(token, self.0.clock.now());
            let after: Vec<String> = tokens.entries().map(|entry| hex(&entry.id)).collect();
            let used = before.into_iter().filter(|id| !after.contains(id)).collect();
            // Asked for under the lock, so that the file sees the changes in their order.
            (grant, self.0.store.tokens(Vec::new(), used))
        };
        // Used up on the disk first: a crash must not make it good twice.
        kept.await?;
        let Grant { namespace, service_account, .. } = grant.map_err(Refusal::Token)?;
        let identity = SpiffeId::workload(&self.trust_domain(), &namespace, &service_account)?;
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
        };
        let shown = shown.map(|shown| (&*shown.serial, shown.not_after));
        let kept = {
            let mut ledger = self.ledger();
            let rows = ledger.issued(leaf, shown, now).iter().map(leaf_row).collect();
            self.0.store.leaves(rows, Vec::new())
        };
        // A leaf that nobody remembers could outlive its root.
        kept.await?;
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
    ) -> Result<(SpiffeId, String, SystemTime), Refusal> {
        let identity = SpiffeId::workload(&self.trust_domain(), namespace, service_account)?;
        let now = self.0.clock.now();
        let (token, kept) = {
            let mut tokens = self.tokens();
            let old: Vec<String> =
                tokens.entries().filter(|entry| now >= entry.expires).map(|entry| hex(&entry.id)).collect();
            tokens.expire(now);
            let grant = Grant {
                namespace: namespace.to_owned(),
                service_account: service_account.to_owned(),
                claims: Default::default(),
            };
            let token = tokens.issue(grant, ttl, now);
            let new = tokens.entries().find(|entry| entry.id == token.id()).map(row);
            (token, self.0.store.tokens(new.into_iter().collect(), old))
        };
        kept.await?;
        Ok((identity, token.reveal(), now + ttl))
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

fn bundles(authority: &Authority) -> Result<TrustBundles, ControlError> {
    let roots = Roots::from_pem(&authority.bundle().concat());
    let roots = roots.map_err(|e| ControlError::OwnCertificate(e.to_string()))?;
    Ok(TrustBundles::domain(authority.trust_domain().clone(), roots))
}

fn leaf_row(leaf: &Leaf) -> LeafRow {
    LeafRow {
        serial: leaf.serial.clone(),
        identity: leaf.identity.to_string(),
        root: leaf.root.clone(),
        not_after_ms: crate::store::millis(leaf.not_after),
        replaced: leaf.replaced.as_ref().map(|(by, at)| (by.clone(), crate::store::millis(*at))),
    }
}

fn leaf(row: LeafRow) -> Option<Leaf> {
    Some(Leaf {
        serial: row.serial,
        identity: row.identity.parse().ok()?,
        root: row.root,
        not_after: crate::store::from_millis(row.not_after_ms),
        replaced: row.replaced.map(|(by, at)| (by, crate::store::from_millis(at))),
    })
}

fn row(entry: &Entry) -> TokenRow {
    TokenRow {
        id: hex(&entry.id),
        hash: entry.hash,
        namespace: entry.grant.namespace.clone(),
        service_account: entry.grant.service_account.clone(),
        expires_ms: crate::store::millis(entry.expires),
    }
}

fn entry(row: TokenRow) -> Option<Entry> {
    let grant = Grant { namespace: row.namespace, service_account: row.service_account, claims: Default::default() };
    let mut id = [0; 8];
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(row.id.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(Entry { id, hash: row.hash, grant, expires: crate::store::from_millis(row.expires_ms) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
