//! The table of connected proxies, for `halcyon status`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use model::cluster::workload_of;
use model::{Config, ResourceKind};
use translate::{MeshTrust, Node, Role, TRUST_BUNDLE};
use xds::health::Health;
use xds::server::{Snapshot, SubscriptionStatus, Taken};

use super::graph;
use crate::patches::Patcher;
use crate::registration::NodeMetadata;
use crate::scrape::Target;
use crate::store::Versioned;
use crate::v1::{ProxyStatus, SyncState, TypeStatus};

/// Connected proxies. Cheap to clone.
#[derive(Clone, Default)]
pub struct Proxies(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    connected: BTreeMap<u64, Connected>,
    /// The version that everybody was offered.
    versioned: Option<Arc<Versioned>>,
}

impl Table {
    /// All but the agents beside proxies, which are sent nothing but the roots.
    fn proxies(&self) -> impl Iterator<Item = &Connected> {
        self.connected.values().filter(|connected| !connected.metadata.is_agent())
    }

    fn took(&mut self, stream: u64, snapshot: Arc<Snapshot>) {
        if let Some(connected) = self.connected.get_mut(&stream) {
            connected.snapshot = snapshot;
        }
    }
}

/// A session as others look at it.
pub trait Observed: Send {
    /// Where each subscription stands.
    fn subscriptions(&self) -> Vec<SubscriptionStatus>;

    /// What the client has of a resource; none if it does not ask for it.
    fn taken(&self, kind: ResourceKind, name: &str) -> Option<Taken>;

    /// Takes the newest snapshot.
    fn take(&mut self, snapshot: Arc<Snapshot>);
}

/// What an exchange of the authority asks of a connected proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Its node id.
    pub node: String,
    /// The serial number of the certificate that its stream was opened with.
    pub serial: Option<String>,
    /// Why it does not trust the roots that were asked about yet, if it asks for roots at all.
    pub lacks: Option<String>,
}

/// A connected proxy.
pub struct Connected {
    pub node: Node,
    pub metadata: NodeMetadata,
    pub is_tls: bool,
    /// The serial number of the certificate that it showed.
    pub serial: Option<String>,
    /// When that expires.
    pub not_after: Option<SystemTime>,
    pub since: SystemTime,
    /// What was offered last.
    pub snapshot: Arc<Snapshot>,
    pub session: Arc<Mutex<dyn Observed>>,
    /// Why its program is not ready, if it is not.
    pub not_ready: Option<String>,
}

impl Proxies {
    pub fn insert(&self, stream: u64, connected: Connected) {
        self.lock().connected.insert(stream, connected);
    }

    pub fn remove(&self, stream: u64) {
        self.lock().connected.remove(&stream);
    }

    /// These proxies were offered something, and all others need nothing at this version.
    pub fn offered(&self, versioned: &Arc<Versioned>, snapshots: Vec<(u64, Arc<Snapshot>)>) {
        let mut table = self.lock();
        table.versioned = Some(versioned.clone());
        for (stream, snapshot) in snapshots {
            table.took(stream, snapshot);
        }
    }

    /// A proxy was offered something that it asked for.
    pub fn took(&self, stream: u64, snapshot: Arc<Snapshot>) {
        self.lock().took(stream, snapshot);
    }

    /// The proxy says whether its program is ready, or why not.
    pub fn told(&self, stream: u64, health: &Health) {
        if let Some(connected) = self.lock().connected.get_mut(&stream) {
            connected.not_ready = health.clone().err();
        }
    }

    /// Every proxy, by node id.
    pub fn status(&self) -> Vec<ProxyStatus> {
        let mut all: Vec<ProxyStatus> = {
            let table = self.lock();
            let version = table.versioned.as_ref().map_or(0, |versioned| versioned.version);
            table.proxies().map(|connected| connected.status(version)).collect()
        };
        all.sort_by(|a, b| (&a.node, &a.connected).cmp(&(&b.node, &b.connected)));
        all
    }

    /// The configuration of a proxy. By node id or instance; the newest stream counts.
    pub fn config(&self, name: &str) -> Option<Made> {
        let (node, versioned, is_tls, snapshot, session) = {
            let table = self.lock();
            let proxies = &table.connected;
            let by_id = proxies.values().rev().find(|c| *c.node.id == *name);
            let found = by_id.or_else(|| proxies.values().rev().find(|c| c.is_instance(name)))?;
            let (snapshot, session) = (found.snapshot.clone(), found.session.clone());
            (found.node.clone(), table.versioned.clone()?, found.is_tls, snapshot, session)
        };
        let mut config = graph::config(&Patcher::default(), &versioned.world, &node, is_tls);
        if node.on_demand {
            let session = session.lock().unwrap_or_else(PoisonError::into_inner).subscriptions();
            keep_held(&mut config, &snapshot, &session);
        }
        Some(Made { node: node.id.to_string(), version: versioned.version, on_demand: node.on_demand, config })
    }

    /// A connected proxy of the namespace: by node id, instance, workload, or the service that its workload is of. Of
    /// several the first by node id.
    pub fn node(&self, namespace: &str, name: &str) -> Option<Node> {
        let table = self.lock();
        let mut all: Vec<&Connected> =
            table.proxies().filter(|connected| connected.node.namespace == namespace).collect();
        all.sort_by(|a, b| a.node.id.cmp(&b.node.id));
        let is_app =
            |c: &Connected| ["app", "istio"].iter().any(|key| c.node.labels.get(*key).is_some_and(|v| v == name));
        let ways: [&dyn Fn(&Connected) -> bool; 4] =
            [&|c| *c.node.id == *name, &|c| c.is_instance(name), &|c| c.metadata.workload_name == name, &is_app];
        let found = ways.into_iter().find_map(|is_it| all.iter().find(|c| is_it(c)));
        found.map(|connected| connected.node.clone())
    }

    /// Every connected proxy, by node id, and whether its connection is one of TLS.
    pub fn nodes(&self) -> Vec<(Node, bool)> {
        let mut all: Vec<(Node, bool)> =
            self.lock().proxies().map(|connected| (connected.node.clone(), connected.is_tls)).collect();
        all.sort_by(|a, b| a.0.id.cmp(&b.0.id));
        all
    }

    /// Where the metrics of every proxy are told, by address. Of several streams of one proxy the newest counts.
    pub fn scraped(&self) -> Vec<Target> {
        let table = self.lock();
        let found = table.proxies().filter_map(|connected| Target::of(&connected.node, &connected.metadata));
        let by_address: BTreeMap<SocketAddr, Target> = found.map(|target| (target.at, target)).collect();
        by_address.into_values().collect()
    }

    /// Who has this trust and who does not yet.
    pub fn holdings(&self, trust: &MeshTrust) -> Vec<Holding> {
        let table = self.lock();
        let offered = table.versioned.as_ref().is_some_and(|versioned| *versioned.world.trust == *trust);
        table.connected.values().map(|connected| connected.holding(offered)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A configuration, for people.
pub struct Made {
    /// The id of its node.
    pub node: String,
    /// The store's version that it was made of.
    pub version: u64,
    /// The proxy finds virtual hosts and clusters when it needs them; here are those that it holds.
    pub on_demand: bool,
    pub config: Config,
}

/// Leaves of virtual hosts, clusters and endpoints those that were asked for.
fn keep_held(config: &mut Config, snapshot: &Snapshot, session: &[SubscriptionStatus]) {
    let names = |kind| {
        let status = session.iter().find(|status| status.kind == Some(kind));
        status.map(|status| status.names.iter().cloned().collect::<BTreeSet<_>>()).unwrap_or_default()
    };
    let (clusters, endpoints) = (names(ResourceKind::Cluster), names(ResourceKind::Endpoints));
    config.clusters.retain(|name, _| clusters.contains(name));
    config.endpoints.retain(|name, _| endpoints.contains(name));
    config.virtual_hosts.clear();
    let hosts = names(ResourceKind::VirtualHost);
    // Workloads that it asked for by their addresses, and the virtual hosts.
    let workloads = clusters.iter().filter(|name| workload_of(name).is_some());
    let held = workloads.map(|name| (ResourceKind::Cluster, name));
    for (kind, name) in held.chain(hosts.iter().map(|name| (ResourceKind::VirtualHost, name))) {
        let found = snapshot.get(kind).and_then(|set| set.find(name)?.decode(kind).ok());
        found.into_iter().for_each(|resource| resource.under(name).insert_into(config));
    }
}

impl Connected {
    /// Is it the proxy of the registered instance of this name?
    fn is_instance(&self, name: &str) -> bool {
        self.metadata.halcyon.as_ref().is_some_and(|registration| registration.instance == name)
    }

    fn holding(&self, offered: bool) -> Holding {
        let kind = ResourceKind::Secret;
        let newest = self.snapshot.get(kind).and_then(|set| Some(set.get(TRUST_BUNDLE)?.version.clone()));
        let taken = self.session.lock().unwrap_or_else(PoisonError::into_inner).taken(kind, TRUST_BUNDLE);
        let lacks = taken.and_then(|taken| match taken.refusal {
            Some(words) => Some(format!("it refuses what it is sent: {words}")),
            None if !offered || taken.version != newest => Some("it was not sent the new roots yet".to_owned()),
            None if !taken.acknowledged => Some("it has not acknowledged the new roots yet".to_owned()),
            None => None,
        });
        Holding { node: self.node.id.to_string(), serial: self.serial.clone(), lacks }
    }

    fn status(&self, version: u64) -> ProxyStatus {
        let registration = self.metadata.halcyon.as_ref();
        let subscriptions = self.session.lock().unwrap_or_else(PoisonError::into_inner).subscriptions();
        let of = |kind| subscriptions.iter().find(|status| status.kind == Some(kind));
        ProxyStatus {
            node: self.node.id.to_string(),
            role: match self.node.role {
                Role::Sidecar { .. } => "sidecar",
                Role::Gateway { .. } => "gateway",
                Role::Program => "program",
            }
            .to_owned(),
            namespace: self.node.namespace.clone(),
            workload: self.metadata.workload_name.clone(),
            instance: registration.map_or_else(String::new, |r| r.instance.clone()),
            identity: self.node.identity.as_ref().map(ToString::to_string),
            address: self.node.address,
            admin: registration.and_then(|r| r.admin),
            proxy_version: registration.and_then(|r| r.proxy_version.clone()),
            connected: crate::timestamp(self.since),
            certificate_expires: self.not_after.map(crate::timestamp),
            not_ready: self.not_ready.clone(),
            version,
            types: ResourceKind::ALL.into_iter().map(|kind| self.type_status(kind, of(kind))).collect(),
        }
    }

    fn type_status(&self, kind: ResourceKind, status: Option<&SubscriptionStatus>) -> TypeStatus {
        let set = self.snapshot.get(kind);
        let count = match (set, status) {
            (Some(set), Some(status)) if status.wildcard => set.len(),
            (Some(set), Some(status)) => status.names.iter().filter(|name| set.find(name).is_some()).count(),
            _ => 0,
        };
        let text = |version: &Option<Arc<str>>| version.as_ref().map(ToString::to_string);
        TypeStatus {
            kind: kind.short().to_owned(),
            state: match status {
                None => SyncState::NeverSent,
                Some(status) if status.nack.is_some() => SyncState::Nacked,
                Some(status) if status.sent_version.is_none() => SyncState::NeverSent,
                Some(status) if status.in_sync() => SyncState::Synced,
                Some(_) => SyncState::Stale,
            },
            count,
            sent: status.and_then(|status| text(&status.sent_version)),
            acked: status.and_then(|status| text(&status.acked_version)),
            nack: status.and_then(|status| Some(status.nack.as_ref()?.message.clone())),
        }
    }
}
