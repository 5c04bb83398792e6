//! Whom proxies believe: the roots of the mesh, those beside them, and of which trust domains peers have to be.

use std::collections::BTreeMap;

use model::StringMatch;
use model::secret::SecretValue;
use model::tls::Validation;

use crate::clusters::TRUST_BUNDLE;
use crate::federation;
use crate::world::World;

/// The trust bundle. Where others have roots of their own, each root stands for its trust domain alone.
pub fn bundle(world: &World) -> SecretValue {
    let common = common(world);
    let mut roots = world.trust.roots.clone();
    add(&mut roots, common.as_bytes());
    let own = world.trust_domains();
    let mut by_domain = named(world);
    let is_one_mesh = by_domain.keys().all(|domain| own.contains(&domain.as_str()));
    if is_one_mesh && !federation::is_foreign(world) {
        by_domain.into_values().for_each(|more| add(&mut roots, &more));
        return SecretValue::Trust { roots, by_domain: Vec::new(), crl: world.trust.crl.clone(), leaf_only: true };
    }
    for (domain, of_it) in &mut by_domain {
        if !own.contains(&domain.as_str()) {
            add(of_it, common.as_bytes());
        }
    }
    for domain in own {
        let more = by_domain.remove(domain).unwrap_or_default();
        let mut of_it = roots.clone();
        add(&mut of_it, &more);
        by_domain.insert(domain.to_owned(), of_it);
    }
    let by_domain = by_domain.into_iter().collect();
    SecretValue::Trust { roots, by_domain, crl: world.trust.crl.clone(), leaf_only: true }
}

/// The roots (PEM) by which members of a trust domain are believed; empty: nobody is.
pub fn roots_of(world: &World, domain: &str) -> Vec<u8> {
    let SecretValue::Trust { roots, by_domain, .. } = bundle(world) else { return Vec::new() };
    if by_domain.is_empty() {
        return if world.trust_domains().contains(&domain) { roots } else { Vec::new() };
    }
    by_domain.into_iter().find(|(named, _)| named == domain).map(|(_, roots)| roots).unwrap_or_default()
}

/// The roots (PEM) of other authorities by which members of this mesh are believed.
pub fn further_roots(world: &World) -> Vec<u8> {
    let mut all = common(world).into_bytes();
    let mut named = named(world);
    for domain in world.trust_domains() {
        add(&mut all, &named.remove(domain).unwrap_or_default());
    }
    all
}

/// How peers of a workload are checked: they have to be of a trust domain that is believed (as Istio has it).
pub fn of_peers(world: &World) -> Validation {
    let prefix = |domain: &str| StringMatch::Prefix { value: format!("spiffe://{domain}/"), ignore_case: false };
    let names = believed(world).into_iter().map(prefix).collect();
    Validation { names, ..Validation::by(TRUST_BUNDLE) }
}

/// The trust domains whose members are believed: that of the mesh first.
pub fn believed(world: &World) -> Vec<&str> {
    let mut all = world.trust_domains();
    let settings = &world.settings;
    let of_anchors = settings.anchors.iter().flat_map(|anchor| &anchor.trust_domains);
    for domain in of_anchors.chain(settings.federations.iter().flat_map(|entry| &entry.trust_domains)) {
        if !all.contains(&domain.as_str()) {
            all.push(domain);
        }
    }
    all
}

/// Roots that stand for certain trust domains. What was fetched of one takes the place of what is written for it.
fn named(world: &World) -> BTreeMap<String, Vec<u8>> {
    let mut by_domain = BTreeMap::<String, Vec<u8>>::new();
    let written = world.settings.anchors.iter().map(|anchor| (&anchor.trust_domains, &anchor.roots));
    for (domain, roots) in written.flat_map(|(domains, roots)| domains.iter().map(move |domain| (domain, roots))) {
        if world.fetched(domain).next().is_none() {
            add(by_domain.entry(domain.clone()).or_default(), roots.as_bytes());
        }
    }
    for domain in world.settings.federations.iter().flat_map(|entry| &entry.trust_domains) {
        let fetched: Vec<u8> = world.fetched(domain).flat_map(|had| had.roots.bytes()).collect();
        // Without roots nobody of it is believed.
        if !fetched.is_empty() {
            by_domain.insert(domain.clone(), fetched);
        }
    }
    by_domain
}

/// Roots that stand for nobody in particular.
fn common(world: &World) -> String {
    let settings = &world.settings;
    let written = settings.anchors.iter().filter(|anchor| anchor.trust_domains.is_empty());
    let of_own = settings.federations.iter().filter(|entry| entry.trust_domains.is_empty());
    let fetched = of_own.filter_map(|entry| Some(&*world.bundles.get(&entry.url)?.had.as_ref()?.roots));
    written.map(|anchor| anchor.roots.as_str()).chain(fetched).collect()
}

/// Each block begins on a line of its own.
fn add(to: &mut Vec<u8>, more: &[u8]) {
    if !to.is_empty() && !to.ends_with(b"\n") && !more.is_empty() {
        to.push(b'\n');
    }
    to.extend_from_slice(more);
}
