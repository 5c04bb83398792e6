//! The domains in which is counted, and who may ask for each: those of RateLimitPolicies, of ConfigMaps, and of files that
//! the control plane was started with.
//!
//! Only workloads count for a limit, and only where its owner can mean them: in a policy's namespace (a policy of the root
//! namespace is for all), in that of a ConfigMap and in the root namespace, where gateways run; for files everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use api::Spec;
use api::halcyon::{LimitFile, LimitScope, LimitUnit, RateLimit, Window, limit_files};
use base::SpiffeId;
use translate::World;
use translate::rate_limits::{domain, shapes};

use super::files::Files;
use super::limits::{Limit, Tree};
use crate::store::{Store, Versioned};

/// By this annotation a ConfigMap says which namespaces may ask for its domains beside its own: names with commas between
/// them, or `*`.
const CALLERS: &str = "halcyon.dev/ratelimit-callers";

/// A domain.
#[derive(Debug, Clone, PartialEq)]
pub struct Domain {
    /// Its limits.
    pub tree: Tree,
    callers: Callers,
    /// It is of a RateLimitPolicy.
    pub is_own: bool,
}

/// The workloads that may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Callers {
    All,
    Of(BTreeSet<String>),
}

impl Domain {
    /// May a workload ask?
    pub fn takes(&self, identity: &SpiffeId) -> bool {
        match (&self.callers, identity.namespace()) {
            (Callers::All, Some(_)) => true,
            (Callers::Of(namespaces), Some(namespace)) => namespaces.contains(namespace),
            (_, None) => false,
        }
    }
}

/// Every domain, by name.
#[derive(Debug, Default)]
pub struct Domains(BTreeMap<String, Domain>);

impl Domains {
    /// Those of a world, and of files, which count before ConfigMaps.
    pub fn of(world: &World, files: &[LimitFile]) -> Self {
        let mut all = BTreeMap::new();
        let root = &world.settings.root_namespace;
        for (namespace, name, policy) in world.all_rate_limits() {
            let tree = tree(policy.limits.iter().enumerate().map(|(at, limit)| (policy.name(at), &limit.value)));
            let callers = match namespace == root {
                true => Callers::All,
                false => Callers::Of([namespace.to_owned()].into()),
            };
            all.insert(domain(namespace, name), Domain { tree, callers, is_own: true });
        }
        for file in files {
            let made = Domain { tree: Tree::of_file(file), callers: Callers::All, is_own: false };
            all.entry(file.domain.value.clone()).or_insert(made);
        }
        for resource in world.limit_maps() {
            let Spec::ConfigMap(map) = &resource.spec else { continue };
            let callers = callers(resource, root);
            for (name, text) in limit_files(map) {
                // What cannot be read was refused when it came in.
                let Ok(file) = LimitFile::read(name, text) else { continue };
                let made = Domain { tree: Tree::of_file(&file), callers: callers.clone(), is_own: false };
                all.entry(file.domain.value).or_insert(made);
            }
        }
        Self(all)
    }

    /// A domain by its name.
    pub fn get(&self, name: &str) -> Option<&Domain> {
        self.0.get(name)
    }
}

/// The limits of a policy that are counted for all.
fn tree<'a>(limits: impl Iterator<Item = (String, &'a RateLimit)>) -> Tree {
    let mut tree = Tree::default();
    for (name, limit) in limits.filter(|(_, limit)| limit.scope == LimitScope::Global) {
        let window = match limit.unit {
            LimitUnit::Second => Window::Second,
            LimitUnit::Minute => Window::Minute,
            LimitUnit::Hour => Window::Hour,
            LimitUnit::Day => Window::Day,
        };
        let rate = Some((limit.requests, window));
        let made = Limit { rate, name: name.clone(), replaces: Vec::new(), shadow: false, quiet: limit.dry_run };
        shapes(&name, limit).iter().for_each(|shape| tree.add(shape, &made));
    }
    tree
}

fn callers(resource: &api::Resource, root: &str) -> Callers {
    let said = resource.meta.annotations.get(CALLERS).map(String::as_str).unwrap_or_default();
    let named = || said.split(',').map(str::trim).filter(|name| !name.is_empty());
    if resource.namespace() == root || named().any(|name| name == "*") {
        return Callers::All;
    }
    let own = [resource.namespace(), root].into_iter();
    Callers::Of(own.chain(named()).map(str::to_owned).collect())
}

/// The domains as they are now. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Directory(Arc<Parts>);

struct Parts {
    store: Store,
    files: Files,
    made: Mutex<Made>,
}

/// The domains, and what they are made of.
struct Made {
    versioned: Arc<Versioned>,
    files: Arc<Vec<LimitFile>>,
    domains: Arc<Domains>,
}

impl Directory {
    /// Those of the store, and of files.
    pub fn new(store: Store, files: Files) -> Self {
        let (versioned, now) = (store.now(), files.now());
        let domains = Arc::new(Domains::of(&versioned.world, &now));
        Self(Arc::new(Parts { store, files, made: Mutex::new(Made { versioned, files: now, domains }) }))
    }

    /// Those of the newest version.
    pub fn now(&self) -> Arc<Domains> {
        let (versioned, files) = (self.0.store.now(), self.0.files.now());
        // Nothing in there panics; and if it did, the domains would still be some that were.
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = versioned.world.has_limits_of(&made.versioned.world) && Arc::ptr_eq(&files, &made.files);
        if !is_same {
            made.domains = Arc::new(Domains::of(&versioned.world, &files));
        }
        (made.versioned, made.files) = (versioned, files);
        made.domains.clone()
    }
}

#[cfg(test)]
mod tests {

    use translate::Inputs;

    use super::*;

    fn world(text: &str) -> World {
        let parsed = api::parse("f.yaml", text);
        assert!(!parsed.has_errors(), "{:?}", parsed.problems);
        World::new(Inputs { resources: parsed.resources, ..Inputs::default() })
    }

    #[test]
    fn who_may_ask_for_which_domain() {
        let policy = |namespace: &str| {
            format!(
                "apiVersion: halcyon.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{name: p, namespace: {namespace}}}\n\
                 spec: {{limits: [{{scope: global, requests: 1, unit: day}}]}}\n---\n"
            )
        };
        let map = |namespace: &str, domain: &str, more: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m, namespace: {namespace}{more}}}\ndata:\n  \
                 config.yaml: |\n    domain: {domain}\n    descriptors: []\n---\n"
            )
        };
        let text = [
            policy("shop"),
            policy("istio-system"),
            map("shop", "of-shop", ""),
            map("open", "of-open", ", annotations: {halcyon.dev/ratelimit-callers: \"a, b\"}"),
            map("wide", "of-wide", ", annotations: {halcyon.dev/ratelimit-callers: \"*\"}"),
        ];
        let file = LimitFile::read("f", "domain: of-file\ndescriptors: []").unwrap();
        let domains = Domains::of(&world(&text.concat()), &[file]);
        for (domain, expected) in [
            ("halcyon.dev/shop/p", "shop"),
            ("halcyon.dev/istio-system/p", "shop a istio-system"),
            ("of-shop", "shop istio-system"),
            ("of-open", "a istio-system"),
            ("of-wide", "shop a istio-system"),
            ("of-file", "shop a istio-system"),
        ] {
            let domain = domains.get(domain).unwrap_or_else(|| panic!("{domain}"));
            let takes = |namespace: &&str| {
                domain.takes(&format!("spiffe://cluster.local/ns/{namespace}/sa/default").parse().unwrap())
            };
            let taken: Vec<&str> = ["shop", "a", "istio-system"].into_iter().filter(takes).collect();
            assert_eq!(taken.join(" "), expected);
            assert!(!domain.takes(&"spiffe://cluster.local/user/anna".parse().unwrap()));
        }
        assert!(domains.get("other").is_none());
    }
}
