//! Secrets: the mesh's trust bundle for all, and the certificates that gateways name. Roots may stand in ConfigMaps too.

use std::sync::Arc;

use api::Resource;
use api::istio::DestinationRule;
use model::secret::{Secret, SecretValue};
use model::{Config, NetworkFilter};

use crate::clusters::TRUST_BUNDLE;
use crate::node::Node;
use crate::world::World;

/// How the name of a secret that the control plane holds begins.
const HELD: &str = "kubernetes://";
/// How the name of roots begins that stand in a ConfigMap, behind which follow its namespace and name.
pub const MAPPED: &str = "configmap://";
/// What is put behind the name of the roots that belong to a certificate.
const ROOTS: &str = "-cacert";
/// The keys of roots, each with that of the certificates that are revoked, in Istio's order.
const ROOT_KEYS: [[&str; 2]; 2] = [["cacert", "crl"], ["ca.crt", "ca.crl"]];

/// The name by which a proxy asks for the certificate that a document names. One that begins with `kubernetes://` or
/// `configmap://` stays as it is.
pub fn certificate(written: &str) -> Arc<str> {
    asked(written).into()
}

/// The same for the roots that a document names, or that belong to a certificate.
pub fn roots(written: &str) -> Arc<str> {
    format!("{}{ROOTS}", asked(written)).into()
}

fn asked(written: &str) -> String {
    let whole = written.starts_with(HELD) || written.starts_with(MAPPED);
    if whole { written.to_owned() } else { format!("{HELD}{written}") }
}

/// Adds the trust bundle, and every held secret that the listeners and clusters of `config`, or `others`, name.
pub fn add(config: &mut Config, world: &World, node: &Node, others: &[Arc<str>]) {
    let mut secrets = vec![Secret { name: TRUST_BUNDLE.into(), value: crate::trust::bundle(world) }];
    for name in named(config).into_iter().chain(others.iter().cloned()) {
        if let Some(value) = find(world, &node.namespace, &name) {
            secrets.push(Secret { name, value });
        }
    }
    config.secrets.extend(secrets.into_iter().map(|s| (s.name.clone(), Arc::new(s))));
}

/// The secrets that are named by the listeners and clusters of `config`.
pub fn named(config: &Config) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for listener in config.listeners.values() {
        for tls in listener.chains.iter().chain(&listener.default_chain).filter_map(|c| c.tls.as_ref()) {
            names.extend(tls.certificates.iter().cloned());
            names.extend(tls.validation.iter().map(|v| v.trust.clone()));
        }
        for chain in &listener.chains {
            if let NetworkFilter::Http(http) = &chain.filter {
                names.extend(http.logins().flat_map(|login| login.secrets()).cloned());
            }
        }
    }
    for cluster in config.clusters.values() {
        if let model::cluster::Transport::Tls(tls) = &cluster.transport {
            names.extend(tls.certificate.clone());
            names.extend(tls.validation.iter().map(|v| v.trust.clone()));
        }
    }
    names.sort();
    names.dedup();
    names
}

/// What a proxy of a namespace is given under a name. `kubernetes://` leads to its own namespace only, `configmap://` to
/// roots in any, which are no secret.
fn find(world: &World, namespace: &str, name: &str) -> Option<SecretValue> {
    if let Some(whole) = name.strip_prefix(MAPPED) {
        let (namespace, name) = whole.split_once('/')?;
        return trust(&[&from_map(world, namespace, name.strip_suffix(ROOTS).unwrap_or(name))]);
    }
    if let Some(secret) = world.login_secret(namespace, name) {
        return Some(SecretValue::Generic(secret));
    }
    let held = name.strip_prefix(HELD)?;
    let name = match held.split_once('/') {
        Some((of, name)) => Some(name).filter(|_| of == namespace)?,
        None => held,
    };
    if let Some(base) = name.strip_suffix(ROOTS) {
        return trust(&places(world, namespace, [name, base]).each_ref().map(|place| place as &Place<'_>));
    }
    let secret = from_secret(world, namespace, name);
    Some(SecretValue::Certificate {
        chain: secret("tls.crt").or_else(|| secret("cert"))?.to_vec(),
        private_key: secret("tls.key").or_else(|| secret("key"))?.to_vec(),
    })
}

/// What something holds by key, if it is there.
type Place<'a> = dyn Fn(&str) -> Option<&'a [u8]> + 'a;

/// Where roots are looked for: a Secret of the whole name, that of the certificate that they belong to, and ConfigMaps.
fn places<'a>(world: &'a World, namespace: &'a str, names: [&'a str; 2]) -> [Box<Place<'a>>; 4] {
    let [whole, base] = names;
    [
        Box::new(from_secret(world, namespace, whole)),
        Box::new(from_secret(world, namespace, base)),
        Box::new(from_map(world, namespace, whole)),
        Box::new(from_map(world, namespace, base)),
    ]
}

fn from_secret<'a>(world: &'a World, namespace: &str, name: &str) -> impl Fn(&str) -> Option<&'a [u8]> + 'a {
    let found = world.secrets.iter().find(|s| s.namespace() == namespace && s.name() == name);
    move |key| found?.spec().get(key).filter(|bytes| !bytes.is_empty())
}

fn from_map<'a>(world: &'a World, namespace: &str, name: &str) -> impl Fn(&str) -> Option<&'a [u8]> + 'a {
    let found = world.root_maps.iter().find(|map| map.namespace() == namespace && map.name() == name);
    move |key| found?.spec().data.get(key).map(String::as_bytes).filter(|bytes| !bytes.is_empty())
}

/// The roots of the first place that has some, with those of its certificates that are revoked.
fn trust(places: &[&Place<'_>]) -> Option<SecretValue> {
    places.iter().find_map(|place| {
        let [first, second] = ROOT_KEYS.map(|[roots, crl]| (place(roots), place(crl)));
        let (roots, crl, other) = match (first.0, second.0) {
            (Some(roots), _) => (roots, first.1, second.1),
            (None, roots) => (roots?, second.1, first.1),
        };
        let crl = crl.or(other).unwrap_or_default().to_vec();
        Some(SecretValue::Trust { roots: roots.to_vec(), by_domain: Vec::new(), crl, leaf_only: false })
    })
}

/// The name of the Secret that a document names.
pub fn secret_name(written: &str) -> &str {
    let held = written.strip_prefix(HELD).unwrap_or(written);
    held.split_once('/').map_or(held, |(_, name)| name)
}

/// Does a ConfigMap hold roots?
pub fn holds_roots(data: &std::collections::BTreeMap<String, String>) -> bool {
    ROOT_KEYS.iter().any(|[roots, _]| data.get(*roots).is_some_and(|text| !text.is_empty()))
}

/// Are there roots under a name that a document has, in any namespace where a proxy may look for them?
pub fn has_roots(world: &World, written: &str) -> bool {
    let name = roots(written);
    let secrets = world.secrets.iter().map(|secret| secret.namespace());
    let mut namespaces = secrets.chain(world.root_maps.iter().map(|map| map.namespace()));
    namespaces.any(|namespace| find(world, namespace, &name).is_some())
}

/// Does a document name this ConfigMap by its whole name? Then a proxy of any namespace may be given it.
pub fn is_named_in_full(world: &World, map: &Resource) -> bool {
    let whole = format!("{MAPPED}{}/{}", map.namespace(), map.meta.name);
    let servers = world.gateways.iter().flat_map(|gateway| &gateway.spec().servers).filter_map(|s| s.tls.as_ref());
    let mut of_servers = servers.flat_map(|tls| {
        tls.credential_names.iter().chain([&tls.credential_name, &tls.ca_cert_credential_name]).map(|name| &name.value)
    });
    let mut rules = world.destination_rules.iter();
    of_servers.any(|name| *name == whole) || rules.any(|rule| names(rule.spec(), &whole))
}

fn names(rule: &DestinationRule, whole: &str) -> bool {
    let subsets = rule.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
    let mut tls = rule.traffic_policy.iter().chain(subsets).flat_map(|policy| {
        let ports = policy.port_level_settings.iter().filter_map(|port| port.tls.as_ref());
        policy.tls.iter().chain(ports)
    });
    tls.any(|tls| tls.credential_name.value == whole)
}
