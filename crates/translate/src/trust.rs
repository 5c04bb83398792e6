//! Whom proxies believe: the roots of the mesh, those beside them, and of which trust domains peers have to be.

use std::collections::BTreeMap;

use model::StringMatch;
use model::secret::SecretValue;
use model::tls::Validation;

use crate::clusters::TRUST_BUNDLE;
use crate::world::World;

/// The trust bundle. Where others have roots of their own, each root stands for its trust domain alone.
pub fn bundle(world: &World) -> SecretValue {
    let common: String = anchors(world, |domains| domains.is_empty()).collect();
    let mut roots = world.trust.roots.clone();
    add(&mut roots, common.as_bytes());
    let own = world.trust_domains();
    let mut by_domain = BTreeMap::<String, Vec<u8>>::new();
    for anchor in &world.settings.anchors {
        for domain in &anchor.trust_domains {
            add(by_domain.entry(domain.clone()).or_default(), anchor.roots.as_bytes());
        }
    }
    if by_domain.keys().all(|domain| own.contains(&domain.as_str())) {
        // They are all of one mesh.
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

/// How peers of a workload are checked: they have to be of a trust domain that is believed (as Istio has it).
pub fn of_peers(world: &World) -> Validation {
    let prefix = |domain: &str| StringMatch::Prefix { value: format!("spiffe://{domain}/"), ignore_case: false };
    let names = believed(world).into_iter().map(prefix).collect();
    Validation { names, ..Validation::by(TRUST_BUNDLE) }
}

/// The trust domains whose members are believed: that of the mesh first.
pub fn believed(world: &World) -> Vec<&str> {
    let mut all = world.trust_domains();
    for domain in world.settings.anchors.iter().flat_map(|anchor| &anchor.trust_domains) {
        if !all.contains(&domain.as_str()) {
            all.push(domain);
        }
    }
    all
}

fn anchors<'a>(world: &'a World, of: impl Fn(&[String]) -> bool + 'a) -> impl Iterator<Item = &'a str> {
    world.settings.anchors.iter().filter(move |anchor| of(&anchor.trust_domains)).map(|anchor| anchor.roots.as_str())
}

/// Each block begins on a line of its own.
fn add(to: &mut Vec<u8>, more: &[u8]) {
    if !to.is_empty() && !to.ends_with(b"\n") && !more.is_empty() {
        to.push(b'\n');
    }
    to.extend_from_slice(more);
}
