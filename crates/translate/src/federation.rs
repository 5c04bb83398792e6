//! Trust domains of others whose bundles are fetched (Istio `caCertificates[].spiffeBundleUrl`): where, how who answers there
//! is checked, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::istio::CertificateData;
use api::{Problem, Resource};
use base::{SpiffeId, TrustDomain};

use crate::trust;
use crate::world::World;

/// Where the bundle of trust domains is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Federation {
    /// `https`; behind a `#` there may be the SPIFFE ID of who answers.
    pub url: String,
    /// Whose it is; none: the mesh's own.
    pub trust_domains: Vec<String>,
}

/// What came of fetching bundles, by their URLs. What is not here was not tried yet.
pub type FetchedBundles = Arc<BTreeMap<String, FetchedBundle>>;

/// What came of fetching a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchedBundle {
    /// The bundle that was had last, if any ever was.
    pub had: Option<HadBundle>,
    /// Why the last attempt failed; none: it did not.
    pub failure: Option<String>,
}

/// A bundle that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HadBundle {
    /// As it came: a JWK set.
    pub document: Arc<str>,
    /// The roots in it, PEM. Empty: nobody of the trust domain is believed.
    pub roots: Arc<str>,
}

/// How who answers with a bundle is checked (SPIFFE_Federation.md, section 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleServer {
    /// As on the web: by its name and the roots of the system (`https_web`).
    Web,
    /// By its SPIFFE ID (`https_spiffe`).
    Spiffe {
        /// One of these.
        ids: Vec<SpiffeId>,
        /// PEM of the roots of their trust domain.
        roots: Vec<u8>,
    },
}

/// Who answers with the bundle of its own trust domain where nobody says otherwise: a control plane of this kind, and a
/// server of SPIRE. Nobody else can have these identities.
const USUAL: [&str; 2] = ["/ns/halcyon-system/sa/control", "/spire/server"];

/// An entry that has a URL.
pub(crate) fn federation(written: &CertificateData) -> Option<Federation> {
    let url = written.spiffe_bundle_url.trim();
    let here = !url.is_empty() && written.pem.value.trim().is_empty() && written.cert_signers.is_empty();
    let trust_domains = written.trust_domains.iter().map(|domain| domain.value.clone()).collect();
    here.then(|| Federation { url: url.to_owned(), trust_domains })
}

impl World {
    /// The bundles that have to be fetched, and how who answers is checked. Where that cannot be known: why.
    pub fn bundles_asked(&self) -> BTreeMap<String, Result<BundleServer, String>> {
        self.settings.federations.iter().map(|entry| (entry.url.clone(), self.bundle_server(entry))).collect()
    }

    /// Trust domains beside the mesh's own: by which roots (PEM) members are believed, and the bundles that were fetched.
    pub fn federated(&self) -> BTreeMap<String, (Vec<u8>, Vec<Arc<str>>)> {
        let own = self.settings.trust_domain.as_str();
        let others = trust::believed(self).into_iter().filter(|domain| *domain != own);
        let of = |domain: &str| {
            (trust::roots_of(self, domain), self.fetched(domain).map(|had| had.document.clone()).collect())
        };
        others.map(|domain| (domain.to_owned(), of(domain))).collect()
    }

    /// The bundles of a trust domain that were fetched.
    pub(crate) fn fetched<'a>(&'a self, domain: &'a str) -> impl Iterator<Item = &'a HadBundle> {
        let of_it = self.settings.federations.iter().filter(move |entry| entry.names(domain));
        of_it.filter_map(|entry| self.bundles.get(&entry.url)?.had.as_ref())
    }

    fn bundle_server(&self, entry: &Federation) -> Result<BundleServer, String> {
        if let Some((_, id)) = entry.url.split_once('#') {
            let id: SpiffeId =
                id.parse().map_err(|_| format!("`{id}` is no SPIFFE ID: expected one behind the `#`"))?;
            let roots = trust::roots_of(self, id.trust_domain());
            if roots.is_empty() {
                let domain = id.trust_domain();
                return Err(format!("there are no roots of `{domain}` to check `{id}` by: give them as `pem`"));
            }
            return Ok(BundleServer::Spiffe { ids: vec![id], roots });
        }
        let [domain] = entry.trust_domains.as_slice() else { return Ok(BundleServer::Web) };
        let is_bootstrap = |anchor: &crate::settings::Anchor| anchor.trust_domains.contains(domain);
        if !self.settings.anchors.iter().any(is_bootstrap) {
            return Ok(BundleServer::Web);
        }
        let usual = USUAL.iter().map(|path| format!("spiffe://{domain}{path}").parse());
        let ids = usual.collect::<Result<_, _>>().map_err(|_| format!("`{domain}` is no trust domain"))?;
        Ok(BundleServer::Spiffe { ids, roots: trust::roots_of(self, domain) })
    }
}

impl Federation {
    /// Is a trust domain among those whose bundle this is?
    pub(crate) fn names(&self, domain: &str) -> bool {
        self.trust_domains.iter().any(|named| named == domain)
    }
}

/// Bundles that cannot be had: until they can, nobody of their trust domains is believed, or old ones stand.
pub(crate) fn check(world: &World, written: &[CertificateData], of: (&Resource, &str), problems: &mut Vec<Problem>) {
    let (resource, prefix) = of;
    for (i, entry) in written.iter().enumerate() {
        let Some(federation) = federation(entry) else { continue };
        let Some(fetched) = world.bundles.get(&federation.url) else { continue };
        let Some(failure) = &fetched.failure else { continue };
        let hint = match fetched.had {
            Some(_) => "the one that was fetched before still counts",
            None => "nobody of its trust domains is believed until it can be fetched",
        };
        let problem = Problem::warning(format!("the bundle at {} cannot be fetched: {failure}", federation.url))
            .path(format!("{prefix}.caCertificates[{i}].spiffeBundleUrl"))
            .hint(hint);
        problems.push(resource.problem(problem, Default::default()));
    }
}

/// Those of a mesh that is not the own one.
pub(crate) fn is_foreign(world: &World) -> bool {
    let own: Vec<TrustDomain> = world.trust_domains().into_iter().filter_map(|domain| domain.parse().ok()).collect();
    let mut named = world.settings.federations.iter().flat_map(|entry| &entry.trust_domains);
    named.any(|domain| !own.iter().any(|known| known.as_str() == domain))
}
