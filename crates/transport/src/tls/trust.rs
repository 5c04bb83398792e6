//! Whose certificates are believed: roots, and bundles of roots per trust domain, changeable while connections live.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::{ArcSwap, Guard};
use base::TrustDomain;
use futures_util::task::AtomicWaker;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor};
use webpki::{CertRevocationList, OwnedCertRevocationList, RevocationCheckDepth};

/// Why roots cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// Not one root in the text.
    #[error(
        "root certificates: no readable certificate in it; expected PEM blocks that begin with `-----BEGIN CERTIFICATE-----`"
    )]
    Empty,
    /// One certificate cannot serve as a root.
    #[error(
        "root certificates: number {number} cannot be read as a root; expected an X.509 version 3 certificate: remove or replace it"
    )]
    Bad {
        /// Which one, from 1.
        number: usize,
    },
    /// A file cannot be read.
    #[error("root certificates: {path}: {source}; expected a readable PEM file")]
    File {
        /// Its path.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A revocation list cannot be read.
    #[error(
        "revocation lists: number {number} cannot be read; expected PEM blocks that begin with `-----BEGIN X509 CRL-----`, each a \
         list of version 2"
    )]
    BadList {
        /// Which one, from 1.
        number: usize,
    },
    /// The system has no bundle at the usual places.
    #[error(
        "root certificates: this system has none at the usual places; install its `ca-certificates` package, or name a file"
    )]
    NoSystemRoots,
}

/// Root certificates. Cheap to clone.
#[derive(Clone, Default)]
pub struct Roots(Arc<[TrustAnchor<'static>]>);

/// Where distributions keep the web's roots (Debian, Fedora, SUSE, Alpine).
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl Roots {
    /// All certificates of a PEM text. Refuses the whole text if one of them is bad: a root that silently lacks
    /// would be an outage later.
    ///
    /// # Errors
    /// [`RootsError::Empty`], [`RootsError::Bad`].
    pub fn from_pem(text: &str) -> Result<Self, RootsError> {
        let mut ders = Vec::new();
        for (index, der) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
            ders.push(der.map_err(|_| RootsError::Bad { number: index + 1 })?);
        }
        Self::from_der(&ders)
    }

    /// From certificates in DER.
    ///
    /// # Errors
    /// [`RootsError::Empty`], [`RootsError::Bad`].
    pub fn from_der(ders: &[CertificateDer<'_>]) -> Result<Self, RootsError> {
        let anchor = |(index, der)| {
            let anchor = webpki::anchor_from_trusted_cert(der).map_err(|_| RootsError::Bad { number: index + 1 })?;
            Ok(anchor.to_owned())
        };
        let anchors = ders.iter().enumerate().map(anchor).collect::<Result<Vec<_>, _>>()?;
        if anchors.is_empty() {
            return Err(RootsError::Empty);
        }
        Ok(Self(anchors.into()))
    }

    /// From a PEM file.
    ///
    /// # Errors
    /// [`RootsError`].
    pub fn from_file(path: &Path) -> Result<Self, RootsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| RootsError::File { path: path.display().to_string(), source })?;
        Self::from_pem(&text)
    }

    /// The roots of the web, as this system keeps them. Certificates that cannot be read are left out, since the list
    /// is not ours to repair.
    ///
    /// # Errors
    /// [`RootsError::NoSystemRoots`].
    pub fn system() -> Result<Self, RootsError> {
        let text = SYSTEM_FILES.iter().find_map(|path| std::fs::read(path).ok()).ok_or(RootsError::NoSystemRoots)?;
        let anchors: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .flatten()
            .filter_map(|der| Some(webpki::anchor_from_trusted_cert(&der).ok()?.to_owned()))
            .collect();
        if anchors.is_empty() { Err(RootsError::NoSystemRoots) } else { Ok(Self(anchors.into())) }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None at all: nothing chains to it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.0
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.len())
    }
}

/// Certificates that are revoked, as their authorities tell. Cheap to clone.
#[derive(Clone, Default)]
pub struct Crls {
    lists: Arc<[CertRevocationList<'static>]>,
    /// As they were given: two are the same if this is.
    text: Arc<str>,
    leaf_only: bool,
}

impl Crls {
    /// All lists of a PEM text; an empty text has none.
    ///
    /// # Errors
    /// [`RootsError::BadList`], for the text as a whole.
    pub fn from_pem(text: &str) -> Result<Self, RootsError> {
        let mut lists = Vec::new();
        for (index, der) in CertificateRevocationListDer::pem_slice_iter(text.as_bytes()).enumerate() {
            let bad = RootsError::BadList { number: index + 1 };
            let Some(list) = der.ok().and_then(|der| OwnedCertRevocationList::from_der(&der).ok()) else {
                return Err(bad);
            };
            lists.push(CertRevocationList::Owned(list));
        }
        if lists.is_empty() && !text.trim().is_empty() {
            return Err(RootsError::BadList { number: 1 });
        }
        Ok(Self { lists: lists.into(), text: text.into(), leaf_only: false })
    }

    /// Asks the lists about leaves alone, not about the authorities above them.
    pub fn of_leaves(mut self, leaf_only: bool) -> Self {
        self.leaf_only = leaf_only;
        self
    }

    pub(super) fn lists(&self) -> Vec<&CertRevocationList<'static>> {
        self.lists.iter().collect()
    }

    pub(super) fn depth(&self) -> RevocationCheckDepth {
        if self.leaf_only { RevocationCheckDepth::EndEntity } else { RevocationCheckDepth::Chain }
    }

    fn is(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Crls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crls({})", self.lists.len())
    }
}

/// Everything that is believed at one time.
#[derive(Debug, Clone, Default)]
pub struct TrustBundles {
    /// Per trust domain, the roots that vouch for it. A trust domain alias is a second entry with the same roots.
    pub domains: HashMap<TrustDomain, Roots>,
    /// Roots for peers that are checked without regard to trust domains.
    pub plain: Roots,
    /// What is not believed any more. Where there are lists, each authority of a chain must have one; with roots per trust
    /// domain only those that have one are asked, since other domains need not give any.
    pub revoked: Crls,
}

impl TrustBundles {
    /// One trust domain and no plain roots.
    pub fn domain(domain: TrustDomain, roots: Roots) -> Self {
        Self { domains: HashMap::from([(domain, roots)]), ..Self::default() }
    }

    /// Plain roots and no trust domain.
    pub fn plain(roots: Roots) -> Self {
        Self { plain: roots, ..Self::default() }
    }
}

/// Trust that can change. Clones share it: [`LiveTrust::set`] on one is seen by all servers and clients built with
/// any, from the next handshake on.
#[derive(Clone)]
pub struct LiveTrust(Arc<Inner>);

struct Inner {
    bundles: ArcSwap<TrustBundles>,
    generation: AtomicU64,
    /// Grows when other certificates are revoked.
    revocations: AtomicU64,
    /// Connections that live by this trust.
    standing: Mutex<Vec<Weak<AtomicWaker>>>,
}

/// Lists of connections are cleaned when they have grown to twice what was alive then, and not below this.
const CLEAN: usize = 64;

impl LiveTrust {
    /// Begins with `bundles`; empty ones believe nobody.
    pub fn new(bundles: TrustBundles) -> Self {
        Self(Arc::new(Inner {
            bundles: ArcSwap::from_pointee(bundles),
            generation: AtomicU64::new(0),
            revocations: AtomicU64::new(0),
            standing: Mutex::default(),
        }))
    }

    /// Swaps everything. Sessions from before cannot be resumed any more, and connections whose peer is revoked now end.
    pub fn set(&self, bundles: TrustBundles) {
        let revoked = bundles.revoked.clone();
        let before = self.0.bundles.swap(Arc::new(bundles));
        self.0.generation.fetch_add(1, Ordering::Release);
        if !before.revoked.is(&revoked) {
            self.0.revocations.fetch_add(1, Ordering::Release);
            self.standing().iter().filter_map(Weak::upgrade).for_each(|waker| waker.wake());
        }
    }

    /// Grows when other certificates are revoked.
    pub(super) fn revocations(&self) -> u64 {
        self.0.revocations.load(Ordering::Acquire)
    }

    /// The waker that is woken when other certificates are revoked, for as long as it is held.
    pub(super) fn stand(&self) -> Arc<AtomicWaker> {
        let waker = Arc::new(AtomicWaker::new());
        let mut all = self.standing();
        if all.len() >= CLEAN && all.len() == all.capacity() {
            all.retain(|waker| waker.strong_count() > 0);
            let room = all.len().max(CLEAN);
            all.reserve_exact(room);
        }
        all.push(Arc::downgrade(&waker));
        waker
    }

    fn standing(&self) -> MutexGuard<'_, Vec<Weak<AtomicWaker>>> {
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is believed now.
    pub fn get(&self) -> Arc<TrustBundles> {
        self.0.bundles.load_full()
    }

    pub(super) fn load(&self) -> Guard<Arc<TrustBundles>> {
        self.0.bundles.load()
    }

    /// Grows with every change.
    pub(super) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }
}

impl fmt::Debug for LiveTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveTrust({:?})", self.load())
    }
}
