//! What a proxy's process is told when it starts: read once by its launcher, as Istio's agent does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::istio::{MeshProxyConfig, ProxyConfig};
use api::{Resource, Spec};

use crate::service::selected;
use crate::world::World;

/// What is said; `None` where nothing is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartSettings {
    /// Worker threads; 0 means one for each core.
    pub concurrency: Option<u32>,
    /// Variables of its process.
    pub environment: BTreeMap<String, String>,
    /// How long it finishes what it has begun when it is told to leave.
    pub termination_drain: Option<Duration>,
}

/// The proxy that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Starting<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The workload that it stands beside, or its own name if it is a gateway.
    pub workload: &'a str,
    /// The labels of that.
    pub labels: &'a BTreeMap<String, String>,
    /// The annotation `proxy.istio.io/config` that its launcher knows; none: that of its Deployment or Pod.
    pub annotation: Option<&'a str>,
}

impl StartSettings {
    /// These settings, where `config` says nothing else. Variables are taken one by one.
    pub fn with(&self, config: &MeshProxyConfig) -> Self {
        Self {
            concurrency: config.concurrency.or(self.concurrency),
            environment: merged(&self.environment, &config.proxy_metadata),
            termination_drain: config.termination_drain_duration.or(self.termination_drain),
        }
    }

    fn with_kind(&self, config: &ProxyConfig) -> Self {
        Self {
            concurrency: config.concurrency.or(self.concurrency),
            environment: merged(&self.environment, &config.environment_variables),
            termination_drain: self.termination_drain,
        }
    }
}

fn merged(before: &BTreeMap<String, String>, over: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = before.clone();
    all.extend(over.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

impl World {
    /// What a proxy is told at its start. The narrower counts more, in Istio's order: a ProxyConfig that selects the workload,
    /// the annotation of its pod, a ProxyConfig of its namespace, one of the root namespace, the mesh's `defaultConfig`; of
    /// several that are as narrow the oldest. `resources` are those among which the ProxyConfigs are.
    pub fn start<'a>(&self, resources: impl Iterator<Item = &'a Arc<Resource>>, proxy: Starting<'_>) -> StartSettings {
        let mut configs: Vec<&Resource> =
            resources.map(|r| &**r).filter(|r| matches!(r.spec, Spec::ProxyConfig(_))).collect();
        configs.sort_by_key(|resource| {
            (resource.meta.created, resource.namespace().to_owned(), resource.meta.name.clone())
        });
        let find = |namespace: &str, is_meant: &dyn Fn(&ProxyConfig) -> bool| {
            configs.iter().filter(|resource| resource.namespace() == namespace).find_map(|resource| {
                match &resource.spec {
                    Spec::ProxyConfig(config) if is_meant(config) => Some(&**config),
                    _ => None,
                }
            })
        };
        let labels =
            |config: &ProxyConfig| config.selector.as_ref().map(|s| s.match_labels.clone()).filter(|l| !l.is_empty());
        let for_all = |config: &ProxyConfig| labels(config).is_none();
        let for_it = |config: &ProxyConfig| labels(config).is_some_and(|labels| selected(&labels, proxy.labels));
        let root = &self.settings.root_namespace;
        let mut settings = self.settings.proxy.start().clone();
        let of_namespace = (proxy.namespace != root).then(|| find(proxy.namespace, &for_all)).flatten();
        for config in find(root, &for_all).into_iter().chain(of_namespace) {
            settings = settings.with_kind(config);
        }
        let annotation = proxy.annotation.or_else(|| self.annotation_of(proxy.namespace, proxy.workload, proxy.labels));
        if let Some(config) = annotation.and_then(MeshProxyConfig::read) {
            settings = settings.with(&config);
        }
        find(proxy.namespace, &for_it).map_or(settings.clone(), |config| settings.with_kind(config))
    }
}
