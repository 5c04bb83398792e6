//! Certificates and trust by the names that TLS settings use, and the TLS ends built from them.
//!
//! A secret changes under running TLS ends; only a setting that names another secret needs a new end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::TrustDomain;
use model::StringMatch;
use model::secret::{Secret, SecretValue};
use model::tls::{CertificatePins, DownstreamTls, TlsVersion, TlsVersions, Validation};
use transport::tls::{
    self, Accept, CertError, ClientAuth, ConfigError, Crls, LiveCert, LiveTrust, PeerCheck, Pins, Roots, RootsError,
    SanKind, SanMatch, ServerCerts, ServerOptions, ServerTls, TextMatch, TrustBundles, Versions,
};

/// The secrets known so far. Lives on the side runtime; what it hands out is shared with the workers.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    certs: RefCell<BTreeMap<Arc<str>, LiveCert>>,
    trust: RefCell<BTreeMap<Arc<str>, Trust>>,
    /// Those that hold something else. What it is stands in the configuration alone.
    others: RefCell<BTreeSet<Arc<str>>>,
}

#[derive(Debug, Clone)]
struct Trust {
    live: LiveTrust,
    known: bool,
    /// Peers are members of trust domains, not just holders of a certificate under some root.
    by_domain: bool,
}

/// Why a secret cannot be used. The one before stays in use.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A certificate or its key.
    #[error("secret `{name}`: {source}")]
    Cert {
        /// The secret's name.
        name: Arc<str>,
        /// What is wrong.
        source: CertError,
    },
    /// Roots.
    #[error("secret `{name}`: {source}")]
    Roots {
        /// The secret's name.
        name: Arc<str>,
        /// What is wrong.
        source: RootsError,
    },
    /// A trust domain's name.
    #[error("secret `{name}`: {source}")]
    Domain {
        /// The secret's name.
        name: Arc<str>,
        /// What is wrong.
        source: base::spiffe::SpiffeError,
    },
}

impl Secrets {
    /// Takes a secret into use. Says whether TLS ends that use it have to be built anew, since it is of another kind.
    ///
    /// # Errors
    /// [`SecretError`]; what was there stays.
    pub(crate) fn set(&self, secret: &Secret) -> Result<bool, SecretError> {
        let name = secret.name.clone();
        match &secret.value {
            SecretValue::Certificate { chain, private_key } => {
                let (chain, key) = (String::from_utf8_lossy(chain), String::from_utf8_lossy(private_key));
                let cert = self.cert(&name);
                let names = |cert: &LiveCert| cert.certificate().map(|c| c.dns_sans);
                let before = names(&cert);
                cert.set_pem(&chain, &key).map_err(|source| SecretError::Cert { name, source })?;
                // Which certificate is shown for which name is laid down when a TLS end is built.
                Ok(names(&cert) != before)
            }
            SecretValue::Generic(_) => {
                self.others.borrow_mut().insert(name);
                Ok(false)
            }
            SecretValue::Trust { roots, by_domain, crl, leaf_only } => {
                let mut bundles = bundles(&name, roots, by_domain)?;
                bundles.revoked = Crls::from_pem(&String::from_utf8_lossy(crl))
                    .map_err(|source| SecretError::Roots { name: name.clone(), source })?
                    .of_leaves(*leaf_only);
                Ok(self.trusts(name, bundles))
            }
        }
    }

    /// Takes the roots of the operating system into use under this name.
    ///
    /// # Errors
    /// It has none.
    pub(crate) fn set_system_roots(&self, name: &Arc<str>) -> Result<(), RootsError> {
        self.trusts(name.clone(), TrustBundles::plain(Roots::system()?));
        Ok(())
    }

    fn trusts(&self, name: Arc<str>, bundles: TrustBundles) -> bool {
        let mut all = self.trust.borrow_mut();
        let trust = all.entry(name).or_insert_with(Trust::unknown);
        let shape_changed = trust.by_domain == bundles.domains.is_empty();
        (trust.known, trust.by_domain) = (true, !bundles.domains.is_empty());
        trust.live.set(bundles);
        shape_changed
    }

    /// Is a secret of this name known?
    pub(crate) fn has(&self, name: &str) -> bool {
        self.certs.borrow().get(name).is_some_and(LiveCert::is_set)
            || self.trust.borrow().get(name).is_some_and(|t| t.known)
            || self.others.borrow().contains(name)
    }

    /// The certificate of this name, empty until it is known.
    pub(crate) fn cert(&self, name: &Arc<str>) -> LiveCert {
        self.certs.borrow_mut().entry(name.clone()).or_insert_with(LiveCert::empty).clone()
    }

    fn trust_entry(&self, name: &Arc<str>) -> Trust {
        self.trust.borrow_mut().entry(name.clone()).or_insert_with(Trust::unknown).clone()
    }

    /// What the certificates in use say; for the admin endpoint.
    pub(crate) fn certificates(&self) -> Vec<(Arc<str>, tls::Certificate)> {
        let certs = self.certs.borrow();
        certs.iter().filter_map(|(name, cert)| Some((name.clone(), cert.certificate()?))).collect()
    }

    /// The TLS end of a filter chain.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub(crate) fn server(&self, settings: &DownstreamTls) -> Result<ServerTls, ConfigError> {
        let certs: Vec<LiveCert> = settings.certificates.iter().map(|name| self.cert(name)).collect();
        let certs = match &certs[..] {
            [] => ServerCerts::Single(LiveCert::empty()),
            [only] => ServerCerts::Single(only.clone()),
            [first, ..] => ServerCerts::ByName(certs.iter().flat_map(patterns).collect(), Some(first.clone())),
        };
        let client_auth = match (&settings.validation, settings.require_client_certificate) {
            (None, false) => ClientAuth::None,
            // One is asked for, and proves nothing.
            (None, true) => ClientAuth::Required(PeerCheck::Unchecked),
            (Some(validation), true) => ClientAuth::Required(self.check(validation)),
            (Some(validation), false) => ClientAuth::Optional(self.check(validation)),
        };
        ServerTls::new(ServerOptions {
            certs,
            client_auth,
            alpn: alpn(&settings.alpn),
            versions: versions(settings.versions),
            suites: settings.cipher_suites.clone(),
            pins: settings.validation.as_ref().and_then(|v| v.pins.as_deref()).map(pins).unwrap_or_default(),
            resumption: true,
        })
    }

    fn check(&self, validation: &Validation) -> PeerCheck {
        let trust = self.trust_entry(&validation.trust);
        let accept = match &validation.names[..] {
            [] => Accept::Any,
            names => Accept::OneOf(names.iter().map(san).collect()),
        };
        match trust.by_domain {
            true => PeerCheck::Spiffe { trust: trust.live, accept },
            false => PeerCheck::Roots { trust: trust.live, accept },
        }
    }
}

/// Clusters take what has not arrived yet as empty: warming decides how long they wait for it.
impl upstream::Secrets for Secrets {
    fn certificate(&self, name: &str) -> Option<LiveCert> {
        Some(self.cert(&name.into()))
    }

    fn trust(&self, name: &str) -> Option<LiveTrust> {
        Some(self.trust_entry(&name.into()).live)
    }
}

impl Trust {
    fn unknown() -> Self {
        // Until it is known nobody is believed, whichever way the peer is checked.
        Self { live: LiveTrust::new(TrustBundles::default()), known: false, by_domain: false }
    }
}

fn bundles(name: &Arc<str>, plain: &[u8], by_domain: &[(String, Vec<u8>)]) -> Result<TrustBundles, SecretError> {
    let roots = |pem: &[u8]| {
        Roots::from_pem(&String::from_utf8_lossy(pem))
            .map_err(|source| SecretError::Roots { name: name.clone(), source })
    };
    let mut bundles = TrustBundles::default();
    if !plain.is_empty() || by_domain.is_empty() {
        bundles.plain = roots(plain)?;
    }
    for (domain, pem) in by_domain {
        let domain: TrustDomain =
            domain.parse().map_err(|source| SecretError::Domain { name: name.clone(), source })?;
        bundles.domains.insert(domain, roots(pem)?);
    }
    Ok(bundles)
}

/// The names that a certificate is shown for.
fn patterns(cert: &LiveCert) -> Vec<(base::HostPattern, LiveCert)> {
    let names = cert.certificate().map(|c| c.dns_sans).unwrap_or_default();
    names.iter().filter_map(|name| Some((name.parse().ok()?, cert.clone()))).collect()
}

fn pins(wanted: &CertificatePins) -> Pins {
    Pins { certificates: wanted.certificates.clone(), keys: wanted.keys.clone() }
}

fn san(name: &StringMatch) -> SanMatch {
    let text = match name {
        StringMatch::Exact { value, ignore_case: false } => TextMatch::Exact(value.clone()),
        other => {
            let test = other.clone();
            TextMatch::Test(format!("{other:?}"), Arc::new(move |text| test.matches(text)))
        }
    };
    SanMatch { kind: SanKind::Any, text }
}

fn alpn(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.clone().into_bytes()).collect()
}

fn versions(range: TlsVersions) -> Versions {
    let of = |version| match version {
        TlsVersion::V1_2 => tls::TlsVersion::V1_2,
        TlsVersion::V1_3 => tls::TlsVersion::V1_3,
    };
    Versions { min: of(range.min), max: of(range.max) }
}
