//! Each resource encoded once: proxies that need the same one share its model and its bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use model::{Config, ResourceKind};
use xds::Resource;
use xds::server::EncodedResource;

/// Encoded resources that are in use. What nobody uses any more is forgotten.
#[derive(Default)]
pub struct Interner {
    resources: Mutex<HashMap<(ResourceKind, Arc<str>), Vec<Known>>>,
}

/// One form of a resource. The model is kept too, since comparing is cheaper than encoding.
struct Known {
    model: Resource,
    encoded: Weak<EncodedResource>,
}

/// Of resources in very many forms (each sidecar's own listeners), only so many are compared before encoding.
const MOST_COMPARED: usize = 8;

/// Encoded resources by kind.
pub type Encoded = Vec<(ResourceKind, Vec<Arc<EncodedResource>>)>;

impl Interner {
    /// A configuration, encoded. Every kind is there.
    pub fn encode(&self, config: Config) -> Encoded {
        let Config { listeners, api_listeners, routes, virtual_hosts, clusters, endpoints, secrets, names, limits } =
            config;
        let mut all = Encoded::new();
        let mut put = |kind, resources: Vec<Resource>| {
            all.push((kind, resources.into_iter().map(|resource| self.resource(kind, resource)).collect()));
        };
        put(ResourceKind::Cluster, clusters.into_values().map(Resource::Cluster).collect());
        put(ResourceKind::Endpoints, endpoints.into_values().map(Resource::Endpoints).collect());
        let api = api_listeners.into_values().map(Resource::ApiListener);
        put(ResourceKind::Listener, listeners.into_values().map(Resource::Listener).chain(api).collect());
        put(ResourceKind::Route, routes.into_values().map(Resource::Route).collect());
        let hosts = virtual_hosts.into_iter().map(|(name, host)| Resource::VirtualHost(name, host));
        put(ResourceKind::VirtualHost, hosts.collect());
        put(ResourceKind::Secret, secrets.into_values().map(Resource::Secret).collect());
        put(ResourceKind::Names, names.into_iter().map(|(name, table)| Resource::Names(name, table)).collect());
        put(ResourceKind::Runtime, limits.into_values().map(Resource::Limits).collect());
        all
    }

    /// A resource, encoded.
    pub fn resource(&self, kind: ResourceKind, model: Resource) -> Arc<EncodedResource> {
        let key = (kind, model.name());
        if let Some(shared) = self.equal(&key, &model) {
            return shared;
        }
        let encoded = Arc::new(EncodedResource::new(&model));
        let mut resources = self.lock();
        let known = resources.entry(key).or_default();
        // The same bytes may have been made meanwhile, or stand beyond what was compared.
        let same = known.iter().filter_map(|known| known.encoded.upgrade()).find(|other| **other == *encoded);
        if let Some(same) = same {
            return same;
        }
        known.push(Known { model, encoded: Arc::downgrade(&encoded) });
        encoded
    }

    fn equal(&self, key: &(ResourceKind, Arc<str>), model: &Resource) -> Option<Arc<EncodedResource>> {
        let resources = self.lock();
        let newest = resources.get(key)?.iter().rev().take(MOST_COMPARED);
        newest.filter(|known| known.model == *model).find_map(|known| known.encoded.upgrade())
    }

    /// Forgets what nobody uses any more.
    pub fn sweep(&self) {
        self.lock().retain(|_, known| {
            known.retain(|known| known.encoded.strong_count() > 0);
            !known.is_empty()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(ResourceKind, Arc<str>), Vec<Known>>> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use model::Cluster;
    use model::cluster::Discovery;

    use super::*;

    fn config(clusters: &[(&str, u64)]) -> Config {
        let mut config = Config::default();
        for (name, seconds) in clusters {
            let mut cluster = Cluster::new(*name, Discovery::OriginalDestination);
            cluster.connect_timeout = std::time::Duration::from_secs(*seconds);
            config.clusters.insert((*name).into(), Arc::new(cluster));
        }
        config
    }

    #[test]
    fn equal_resources_are_one() {
        let interner = Interner::default();
        let clusters = |clusters| {
            let encoded = interner.encode(config(clusters));
            encoded.into_iter().find(|(kind, _)| *kind == ResourceKind::Cluster).unwrap().1
        };
        let first = clusters(&[("a", 1), ("b", 1)]);
        let second = clusters(&[("a", 1), ("b", 2)]);
        assert!(Arc::ptr_eq(&first[0], &second[0]) && !Arc::ptr_eq(&first[1], &second[1]));
        drop(first);
        interner.sweep();
        let left: usize = interner.lock().values().map(Vec::len).sum();
        assert_eq!(left, 2, "the first `b` is forgotten");
    }
}
