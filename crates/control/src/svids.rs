//! SPIFFE beyond certificates: tokens for the identities that mutual TLS proves, and the bundles by which this and other
//! trust domains are checked.
//!
//! Owns the keys of tokens at work and who may have which token. The keys themselves are `ca`'s, the documents `svid`'s.

mod endpoint;
mod service;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::{Clock, SpiffeId, TrustDomain};
use ca::{DirStore, TOKEN_LIFE, TokenKeys};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use svid::{Bundle, JwtKey};
use telemetry::{Counter, Desc, Family, Shard};
use tokio::sync::watch;
use tokio::time::Instant;
use translate::World;

use crate::audit::Author;
use crate::authority::{Issuer, Refusal};
use crate::callers::Attempts;
use crate::doors::Shown;
use crate::error::ControlError;
use crate::store::Store;
use crate::v1::AuditEntry;

pub(crate) use endpoint::{serve, tls};
pub(crate) use service::SvidService;

/// How often it is looked whether a key is due.
const LOOK: Duration = Duration::from_secs(60);
/// A token is for no more than this many, with names no longer than that together.
const MOST_AUDIENCES: (usize, usize) = (16, 2048);

/// Tokens and bundles. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Svids(Arc<Inner>);

struct Inner {
    keys: RwLock<Arc<TokenKeys>>,
    files: DirStore,
    issuer: Issuer,
    store: Store,
    clock: Clock,
    refresh: Duration,
    told: watch::Sender<Arc<Told>>,
    /// How often callers were refused, by address.
    attempts: Attempts,
    metrics: Metrics,
}

/// What is told to those who check identities.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    /// The trust domain of the mesh.
    own: TrustDomain,
    /// Documents by the names of trust domains.
    documents: BTreeMap<String, String>,
    /// What the mesh's authority revoked, DER each.
    crl: Vec<Vec<u8>>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MintError {
    /// Nobody, or too many.
    #[error("the audience: expected 1 to {most} names, none of them empty, of {bytes} bytes together at most", most = MOST_AUDIENCES.0, bytes = MOST_AUDIENCES.1)]
    Audience,
    /// Whoever asks may not have it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It cannot be signed.
    #[error(transparent)]
    Key(#[from] ca::KeyError),
}

/// What is counted.
#[derive(Clone)]
pub(crate) struct Metrics(Family<Counter>);

impl Metrics {
    /// Declares them.
    pub fn new(shard: &Shard) -> Result<Self, telemetry::DeclareError> {
        let asked = Desc::new("halcyon_jwt_svids_total", "JWT-SVIDs asked for, by what came of it.");
        shard.counters(asked.labels(&["result"])).map(Self)
    }
}

impl Svids {
    /// Reads the keys of tokens, or makes the first. `refresh` is how often those who fetch the bundle are asked to look.
    ///
    /// # Errors
    /// [`ControlError`], with the file that is wrong.
    pub fn open(
        files: DirStore,
        issuer: Issuer,
        store: Store,
        clock: Clock,
        refresh: Duration,
        metrics: Metrics,
    ) -> Result<Self, ControlError> {
        let unusable = |error: ca::KeyError| ControlError::TokenKeys(error.to_string());
        let keys = match TokenKeys::load(&files.token_keys()?).map_err(unusable)? {
            Some(keys) => {
                if !files.token_keys_are_kept_so()? {
                    files.save_token_keys(&keys.state())?;
                }
                keys
            }
            None => {
                let keys = TokenKeys::create(clock.now()).map_err(unusable)?;
                files.save_token_keys(&keys.state())?;
                keys
            }
        };
        let told = told(&store.now().world, &keys, refresh, first_sequence(clock.now()));
        let told = watch::Sender::new(Arc::new(told));
        let keys = RwLock::new(Arc::new(keys));
        let attempts = Attempts::default();
        Ok(Self(Arc::new(Inner { keys, files, issuer, store, clock, refresh, told, attempts, metrics })))
    }

    /// What is told, and everything that will be.
    pub fn told(&self) -> watch::Receiver<Arc<Told>> {
        self.0.told.subscribe()
    }

    /// A token for who proved to be `identity`, by the certificate `shown`.
    ///
    /// # Errors
    /// [`MintError`].
    pub async fn mint(
        &self,
        identity: &SpiffeId,
        shown: Option<&Shown>,
        audience: &[String],
        address: Option<SocketAddr>,
    ) -> Result<String, MintError> {
        let minted = self.try_mint(identity, shown, audience);
        self.0.metrics.0.with(&[if minted.is_ok() { "minted" } else { "refused" }]).inc();
        if let Err(MintError::Refused(refusal)) = &minted {
            let from = address.map(|address| address.to_string()).unwrap_or_default();
            tracing::warn!("refused a token to {identity} from {from}: {refusal}");
            // Nobody fills the disk by asking.
            if address.is_some_and(|address| !self.0.attempts.failed(address.ip(), Instant::now())) {
                return minted;
            }
            let by = Author::new(identity.to_string(), &from);
            self.0.issuer.note(AuditEntry::refused(&by, "token", "revoked", refusal.to_string())).await;
        }
        minted
    }

    fn try_mint(&self, identity: &SpiffeId, shown: Option<&Shown>, audience: &[String]) -> Result<String, MintError> {
        let (most, bytes) = MOST_AUDIENCES;
        let fits = (1..=most).contains(&audience.len()) && audience.iter().map(String::len).sum::<usize>() <= bytes;
        if !fits || audience.iter().any(String::is_empty) {
            return Err(MintError::Audience);
        }
        self.0.issuer.check_revoked(identity, shown.map(|shown| &*shown.serial))?;
        let now = self.0.clock.now();
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = json!({
            "sub": identity.as_str(),
            "aud": audience,
            "iat": seconds,
            "exp": seconds + TOKEN_LIFE.as_secs(),
        });
        Ok(self.keys().sign(&claims.to_string(), now)?)
    }

    fn keys(&self) -> Arc<TokenKeys> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes keys when they are due and tells what changes, for as long as the control plane runs.
    pub async fn follow(self) {
        let mut versions = self.0.store.watch();
        loop {
            if let Err(error) = self.step().await {
                tracing::error!("keys of tokens: {error}; those before stay; trying again in {LOOK:?}");
            }
            let world = versions.borrow_and_update().world.clone();
            self.tell(&world);
            tokio::select! {
                changed = versions.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// On the disk first: nobody is told of a key that a crash would lose.
    async fn step(&self) -> Result<(), ControlError> {
        let now = self.0.clock.now();
        let next = self.keys().step(now).map_err(|error| ControlError::TokenKeys(error.to_string()))?;
        let Some(next) = next else { return Ok(()) };
        let (files, state) = (self.0.files.clone(), next.state());
        let saved = tokio::task::spawn_blocking(move || files.save_token_keys(&state)).await;
        saved.map_err(|_| ControlError::TokenKeys("the control plane is stopping".to_owned()))??;
        let ids: Vec<&str> = next.public().map(|(id, _)| id).collect();
        tracing::info!("keys of tokens: {} of them, {} signs", ids.join(", "), next.active(now));
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    fn tell(&self, world: &World) {
        let before = self.0.told.borrow().clone();
        let (keys, refresh) = (self.keys(), self.0.refresh);
        let sequence = before.sequence();
        if told(world, &keys, refresh, sequence) == *before {
            return;
        }
        let next = first_sequence(self.0.clock.now()).max(sequence + 1);
        self.0.told.send_replace(Arc::new(told(world, &keys, refresh, next)));
    }
}

impl Told {
    /// The bundle of the mesh's own trust domain.
    pub fn own_document(&self) -> &str {
        self.documents.get(self.own.as_str()).map_or("", String::as_str)
    }

    fn sequence(&self) -> u64 {
        Bundle::parse(self.own_document()).ok().and_then(|bundle| bundle.sequence).unwrap_or_default()
    }
}

/// It grows over restarts too, without being kept.
fn first_sequence(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn told(world: &World, keys: &TokenKeys, refresh: Duration, sequence: u64) -> Told {
    let own = world.settings.trust_domain.clone();
    let mut bundle = Bundle {
        sequence: Some(sequence),
        refresh_hint: Some(refresh),
        jwt: keys.public().filter_map(|(id, point)| JwtKey::p256(id, point)).collect(),
        ..Bundle::default()
    };
    bundle.add_pem(&translate::roots_of(world, own.as_str()));
    let federated = world.federated().into_iter().map(|(domain, (roots, fetched))| {
        let mut bundle = Bundle::default();
        bundle.add_pem(&roots);
        // What cannot be read was not taken.
        bundle.jwt = fetched.iter().filter_map(|text| Bundle::parse(text).ok()).flat_map(|had| had.jwt).collect();
        (domain, bundle.document())
    });
    let mut documents: BTreeMap<String, String> = federated.collect();
    documents.insert(own.to_string(), bundle.document());
    let lists = CertificateRevocationListDer::pem_slice_iter(&world.trust.crl).filter_map(Result::ok);
    Told { own, documents, crl: lists.map(|list| list.to_vec()).collect() }
}
