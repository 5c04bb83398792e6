//! What a client may have, encoded once and shared by every client that needs it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use base::host::split_authority;
use bytes::Bytes;
use model::route::HostIndex;
use model::{Config, NameTable, ResourceKind};
use prost::Message as _;
use proto::envoy::service::discovery::v3::Resource as WireResource;
use proto::google::protobuf::Any;
use rpds::RedBlackTreeMapSync;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::resource::WRAPPER_URL;
use crate::{DecodeError, Resource, decode, encode, kind_of, type_url};

/// A resource as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedResource {
    /// Its name.
    pub name: Arc<str>,
    /// A hash of its bytes.
    pub version: Arc<str>,
    /// Its bytes, without the envelope's type URL.
    pub value: Bytes,
    /// The endpoint set that its user waits for after every change of it (clusters only).
    pub waits_for: Option<Arc<str>>,
    /// The hosts that it is found by, beside its name (virtual hosts only).
    pub domains: Arc<[String]>,
    /// The clusters that it names (virtual hosts only).
    pub uses: Arc<[Arc<str>]>,
}

impl EncodedResource {
    /// Encodes a resource.
    pub fn new(resource: &Resource) -> Self {
        let any = encode::resource(resource);
        let mut encoded = Self::raw(resource.name(), any.value);
        encoded.waits_for = resource.waits_for_endpoints();
        if let Resource::VirtualHost(_, host) = resource {
            encoded.domains = host.domains.clone().into();
            encoded.uses = host.clusters().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        }
        encoded
    }

    /// A resource of a type that the model does not know.
    pub fn raw(name: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        let value = value.into();
        let version = format!("{:016x}", xxh3_64(&value)).into();
        Self { name: name.into(), version, value, waits_for: None, domains: Arc::default(), uses: Arc::default() }
    }

    /// Reads it back.
    ///
    /// # Errors
    /// It is of another kind.
    pub fn decode(&self, kind: ResourceKind) -> Result<Resource, DecodeError> {
        Ok(decode::resource(kind, &self.any(type_url(kind)))?.under(&self.name))
    }

    /// Its share in the version of a set.
    fn mark(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(self.name.as_bytes());
        hash.update(&[0]);
        hash.update(self.version.as_bytes());
        hash.digest()
    }

    /// The envelope.
    pub(super) fn any(&self, type_url: &str) -> Any {
        Any { type_url: type_url.to_owned(), value: self.value.to_vec() }
    }

    /// The envelope where nothing stands around it: a table of names that is not the usual one tells its name by a wrapper.
    pub(super) fn by_itself(&self, type_url: &str) -> Any {
        let any = self.any(type_url);
        if kind_of(type_url) != Some(ResourceKind::Names) || *self.name == *NameTable::RESOURCE {
            return any;
        }
        let wrapper = WireResource { name: self.name.to_string(), resource: Some(any), ..WireResource::default() };
        Any { type_url: WRAPPER_URL.to_owned(), value: wrapper.encode_to_vec() }
    }
}

/// All resources of one type, by name. Immutable; a changed set is made from its predecessor, so that what changed is
/// found out once and not by every session, and shares with it all that did not change.
#[derive(Debug)]
pub struct ResourceSet {
    id: u64,
    version: Arc<str>,
    /// The marks of all resources, added up: the same whatever way led to the set.
    sum: u64,
    resources: RedBlackTreeMapSync<Arc<str>, Arc<EncodedResource>>,
    changes: Option<Changes>,
    /// The way to virtual hosts by their domains; made when it is asked first.
    by_domain: OnceLock<HashMap<String, Domains>>,
}

/// The virtual hosts of one route configuration.
#[derive(Debug, Default)]
struct Domains {
    index: HostIndex,
    hosts: Vec<Arc<EncodedResource>>,
}

/// The names in which a set differs from its predecessor.
#[derive(Debug)]
struct Changes {
    since: u64,
    names: Vec<Arc<str>>,
}

impl ResourceSet {
    /// A set without a predecessor.
    pub fn new(resources: impl IntoIterator<Item = Arc<EncodedResource>>) -> Self {
        let mut set = Self::of(RedBlackTreeMapSync::new_sync(), 0, None);
        for resource in resources {
            set.put(resource);
        }
        set.sealed()
    }

    /// The successor of a set; the old one itself, if nothing changed.
    pub fn next(old: &Arc<Self>, resources: impl IntoIterator<Item = Arc<EncodedResource>>) -> Arc<Self> {
        let new: BTreeMap<_, _> = resources.into_iter().map(|it| (it.name.clone(), it)).collect();
        let gone: Vec<_> = old.resources.keys().filter(|name| !new.contains_key(*name)).cloned().collect();
        Self::edited(old, new.into_values(), gone)
    }

    /// The successor of a set in which these are put and those are gone, at the cost of what is different; the old one
    /// itself, if nothing is.
    pub fn edited(
        old: &Arc<Self>,
        put: impl IntoIterator<Item = Arc<EncodedResource>>,
        gone: impl IntoIterator<Item = Arc<str>>,
    ) -> Arc<Self> {
        let mut names = Vec::new();
        let mut new = Self::of(old.resources.clone(), old.sum, None);
        for name in gone {
            if new.take(&name) {
                names.push(name);
            }
        }
        for resource in put {
            if new.version_of(&resource.name) != Some(&resource.version) {
                names.push(resource.name.clone());
                new.put(resource);
            }
        }
        if names.is_empty() {
            return old.clone();
        }
        new.changes = Some(Changes { since: old.id, names });
        Arc::new(new.sealed())
    }

    fn of(resources: RedBlackTreeMapSync<Arc<str>, Arc<EncodedResource>>, sum: u64, changes: Option<Changes>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            version: "".into(),
            sum,
            resources,
            changes,
            by_domain: OnceLock::new(),
        }
    }

    fn put(&mut self, resource: Arc<EncodedResource>) {
        self.take(&resource.name);
        self.sum = self.sum.wrapping_add(resource.mark());
        self.resources.insert_mut(resource.name.clone(), resource);
    }

    fn take(&mut self, name: &str) -> bool {
        let Some(old) = self.resources.get(name) else { return false };
        self.sum = self.sum.wrapping_sub(old.mark());
        self.resources.remove_mut(name)
    }

    fn sealed(mut self) -> Self {
        self.version = format!("{:016x}", self.sum).into();
        self
    }

    /// A hash over all names and versions.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The resource of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<EncodedResource>> {
        self.resources.get(name)
    }

    /// What is meant by a name that a client asks for: the resource of that name, or the virtual host that takes an
    /// authority: `<route configuration>/<authority>`, cut at the last slash (an authority has none). That one comes under
    /// the name that was asked for.
    pub fn find(&self, name: &str) -> Option<Arc<EncodedResource>> {
        if let Some(exact) = self.resources.get(name) {
            return Some(exact.clone());
        }
        let (route, authority) = name.rsplit_once('/')?;
        let Domains { index, hosts } = self.by_domain.get_or_init(|| self.domains()).get(route)?;
        let found = index.get(authority).or_else(|| index.get(split_authority(authority).0))?;
        Some(Arc::new(EncodedResource { name: name.into(), ..EncodedResource::clone(&hosts[found]) }))
    }

    fn domains(&self) -> HashMap<String, Domains> {
        let mut all: HashMap<String, Domains> = HashMap::new();
        for resource in self.resources.values().filter(|resource| !resource.domains.is_empty()) {
            let Some((route, _)) = resource.name.rsplit_once('/') else { continue };
            let of_route = all.entry(route.to_owned()).or_default();
            let number = of_route.hosts.len();
            resource.domains.iter().for_each(|domain| of_route.index.insert(domain, number));
            of_route.hosts.push(resource.clone());
        }
        all
    }

    /// All resources, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<EncodedResource>> {
        self.resources.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.resources.size()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    fn version_of(&self, name: &str) -> Option<&Arc<str>> {
        self.resources.get(name).map(|it| &it.version)
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The names that changed since the set with this id; none if that is not known.
    pub(super) fn changed_since(&self, id: u64) -> Option<&[Arc<str>]> {
        self.changes.as_ref().filter(|changes| changes.since == id).map(|changes| &*changes.names)
    }
}

/// Everything that a client may have, by type URL.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    sets: BTreeMap<Arc<str>, Arc<ResourceSet>>,
}

impl Snapshot {
    /// Encodes a whole configuration. A control plane with many clients shares resources and sets between them
    /// instead, by [`Snapshot::put`].
    pub fn of(config: &Config) -> Self {
        let mut snapshot = Self::default();
        let mut put = |kind, resources: Vec<Resource>| {
            let encoded = resources.iter().map(|resource| Arc::new(EncodedResource::new(resource)));
            snapshot.put(kind, Arc::new(ResourceSet::new(encoded)));
        };
        put(ResourceKind::Cluster, config.clusters.values().cloned().map(Resource::Cluster).collect());
        put(ResourceKind::Endpoints, config.endpoints.values().cloned().map(Resource::Endpoints).collect());
        let bound = config.listeners.values().cloned().map(Resource::Listener);
        let api = config.api_listeners.values().cloned().map(Resource::ApiListener);
        put(ResourceKind::Listener, bound.chain(api).collect());
        put(ResourceKind::Route, config.routes.values().cloned().map(Resource::Route).collect());
        let hosts = config.virtual_hosts.iter().map(|(name, it)| Resource::VirtualHost(name.clone(), it.clone()));
        put(ResourceKind::VirtualHost, hosts.collect());
        put(ResourceKind::Secret, config.secrets.values().cloned().map(Resource::Secret).collect());
        let tables = config.names.iter().map(|(name, it)| Resource::Names(name.clone(), it.clone()));
        put(ResourceKind::Names, tables.collect());
        put(ResourceKind::Runtime, config.limits.values().cloned().map(Resource::Limits).collect());
        snapshot
    }

    /// Sets all resources of a kind.
    pub fn put(&mut self, kind: ResourceKind, set: Arc<ResourceSet>) {
        self.put_type(type_url(kind), set);
    }

    /// Sets all resources of a type.
    pub fn put_type(&mut self, type_url: impl Into<Arc<str>>, set: Arc<ResourceSet>) {
        self.sets.insert(type_url.into(), set);
    }

    /// All resources of a kind; none if there were never any.
    pub fn get(&self, kind: ResourceKind) -> Option<&Arc<ResourceSet>> {
        self.get_type(type_url(kind))
    }

    /// All resources of a type.
    pub fn get_type(&self, type_url: &str) -> Option<&Arc<ResourceSet>> {
        self.sets.get(type_url)
    }
}
