//! Secrets: the mesh's trust bundle for all, and the certificates that gateways name.

use std::sync::Arc;

use api::kubernetes::Secret as KubernetesSecret;
use model::Config;
use model::secret::{Secret, SecretValue};

use crate::clusters::TRUST_BUNDLE;
use crate::node::Node;
use crate::world::{Document, World};

/// How the name of a secret that the control plane holds begins.
pub const HELD: &str = "kubernetes://";
/// What is put behind the name of the roots that belong to a certificate.
pub const ROOTS: &str = "-cacert";

/// Adds the trust bundle, and every held secret that the listeners and clusters of `config`, or `others`, name.
pub fn add(config: &mut Config, world: &World, node: &Node, others: &[Arc<str>]) {
    let bundle = SecretValue::Trust { roots: world.trust_bundle.to_vec(), by_domain: Vec::new(), crl: Vec::new() };
    let mut secrets = vec![Secret { name: TRUST_BUNDLE.into(), value: bundle }];
    for name in named(config).into_iter().chain(others.iter().cloned()) {
        if let Some(value) = name.strip_prefix(HELD).and_then(|held| find(world, &node.namespace, held)) {
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

/// A secret of the proxy's namespace: `tls.crt` and `tls.key` (or `cert` and `key`); under a name that ends in
/// `-cacert` the roots, from a secret of that whole name or from `ca.crt` (or `cacert`) of the one without the ending.
fn find(world: &World, namespace: &str, name: &str) -> Option<SecretValue> {
    let secret = |name: &str| world.secrets.iter().find(|s| s.namespace() == namespace && s.name() == name);
    let get = |secret: &Document<KubernetesSecret>, keys: [&str; 2]| {
        keys.iter().find_map(|key| secret.spec().get(key)).map(<[u8]>::to_vec)
    };
    if let Some(base) = name.strip_suffix(ROOTS) {
        let own = secret(name).or_else(|| secret(base))?;
        let crl = get(own, ["ca.crl", "crl"]).unwrap_or_default();
        return Some(SecretValue::Trust { roots: get(own, ["ca.crt", "cacert"])?, by_domain: Vec::new(), crl });
    }
    let secret = secret(name)?;
    Some(SecretValue::Certificate {
        chain: get(secret, ["tls.crt", "cert"])?,
        private_key: get(secret, ["tls.key", "key"])?,
    })
}
