//! What every connected proxy may have, kept in step with the store: a change is followed to those whom it concerns, and
//! the others are not touched.
//!
//! Proxies of one scope (`World::scope`) have nearly everything in common; that is translated and encoded once for the
//! scope. A proxy's snapshot is the scope's with its own added, and shares with it all that is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use model::secret::SecretValue;
use model::{Config, ResourceKind};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use translate::{Capture, Change, Node, Role, World};
use xds::Resource;
use xds::server::{EncodedResource, ResourceSet, Snapshot};

use super::intern::{Encoded, Interner};
use super::proxies::Observed;
use crate::patches::Patcher;
use crate::store::{Step, Versioned};

/// Everybody who is connected.
pub struct Graph {
    interner: Interner,
    patcher: Patcher,
    /// What the store did and was not followed yet.
    steps: UnboundedReceiver<Step>,
    versioned: Arc<Versioned>,
    scopes: BTreeMap<u64, Scope>,
    proxies: BTreeMap<u64, Proxy>,
    next_scope: u64,
}

/// A stream, for who offers it something.
#[derive(Clone)]
pub struct Listening {
    /// Takes the newest snapshot.
    pub session: Arc<Mutex<dyn Observed>>,
    /// Told afterwards.
    pub wake: Arc<Notify>,
}

/// What proxies have in common.
struct Scope {
    node: Node,
    seen: BTreeSet<Arc<str>>,
    /// Secrets that belong to each proxy.
    asked: Vec<Arc<str>>,
    sets: Snapshot,
    proxies: BTreeSet<u64>,
}

struct Proxy {
    node: Arc<Node>,
    is_tls: bool,
    scope: u64,
    /// The secrets that its own part was made with.
    asked: Vec<Arc<str>>,
    /// The workloads that it asks for by their addresses; none where nobody takes the mesh's TLS.
    workloads: BTreeMap<SocketAddr, Option<Arc<EncodedResource>>>,
    own: BTreeMap<ResourceKind, Vec<Arc<EncodedResource>>>,
    snapshot: Arc<Snapshot>,
    listening: Option<Listening>,
}

/// What became different in a scope, by kind.
type Deltas = BTreeMap<ResourceKind, Delta>;

#[derive(Default)]
struct Delta {
    put: Vec<Arc<EncodedResource>>,
    gone: Vec<Arc<str>>,
}

impl Graph {
    /// Nobody yet. What the store does from `versioned` on comes by `steps`.
    pub fn new(versioned: Arc<Versioned>, steps: UnboundedReceiver<Step>) -> Self {
        Self {
            interner: Interner::default(),
            patcher: Patcher::default(),
            steps,
            versioned,
            scopes: BTreeMap::new(),
            proxies: BTreeMap::new(),
            next_scope: 0,
        }
    }

    /// The version that everybody was offered.
    pub fn versioned(&self) -> &Arc<Versioned> {
        &self.versioned
    }

    /// A proxy is there. Gives what it may have; it hears of changes once it listens.
    pub fn join(&mut self, id: u64, node: Arc<Node>, is_tls: bool) -> Arc<Snapshot> {
        let world = self.versioned.world.clone();
        let scope = self.scope(&world, &node);
        let asked = self.scopes.get(&scope).map_or_else(Vec::new, |scope| scope.asked.clone());
        let own = self.own(&world, &node, is_tls, &asked);
        let mut proxy = Proxy {
            node,
            is_tls,
            scope,
            asked,
            workloads: BTreeMap::new(),
            own: BTreeMap::new(),
            snapshot: Arc::default(),
            listening: None,
        };
        if let Some(scope) = self.scopes.get_mut(&scope) {
            scope.proxies.insert(id);
            proxy.snapshot = Arc::new(scope.sets.clone());
        }
        proxy.take_own(own, None);
        let snapshot = proxy.snapshot.clone();
        self.proxies.insert(id, proxy);
        snapshot
    }

    /// From now on a proxy is told what changes.
    pub fn listen(&mut self, id: u64, listening: Listening) {
        if let Some(proxy) = self.proxies.get_mut(&id) {
            proxy.listening = Some(listening);
        }
    }

    /// A proxy asks for the workloads at addresses that its program dialled, and gives others up. Gives what it may have, if
    /// that is something else now.
    pub fn dial(&mut self, id: u64, asked: &[SocketAddr], given_up: &[SocketAddr]) -> Option<Arc<Snapshot>> {
        let world = self.versioned.world.clone();
        let proxy = self.proxies.get(&id)?;
        let is_new = |at: &&SocketAddr| !proxy.workloads.contains_key(*at);
        let found: Vec<_> = asked.iter().filter(is_new).map(|at| (*at, self.workload(&world, proxy, *at))).collect();
        let proxy = self.proxies.get_mut(&id)?;
        // One that moved from one list to the other is asked for.
        let given_up = given_up.iter().filter(|at| !asked.contains(at));
        let gone: Vec<_> = given_up.filter_map(|at| proxy.workloads.remove(at)?).map(|it| it.name.clone()).collect();
        proxy.take_workloads(found, gone).then(|| proxy.offer())
    }

    /// A proxy is gone, and its scope with the last of its proxies.
    pub fn leave(&mut self, id: u64) {
        if let Some(proxy) = self.proxies.remove(&id) {
            self.leave_scope(id, proxy.scope);
        }
    }

    /// Follows all that the store did meanwhile, in one step. Gives the snapshots that are others.
    pub fn catch_up(&mut self) -> Vec<(u64, Arc<Snapshot>)> {
        let mut change = Change::default();
        while let Ok(step) = self.steps.try_recv() {
            change.add(step.change);
            self.versioned = step.versioned;
        }
        let world = self.versioned.world.clone();
        let mut changed = BTreeSet::new();
        if change.is_everything() {
            self.regroup(&world, &mut changed);
        }
        let (deltas, concerned) = self.follow_scopes(&world, &change);
        for (scope, deltas) in &deltas {
            let Some(scope) = self.scopes.get(scope) else { continue };
            for id in &scope.proxies {
                let Some(proxy) = self.proxies.get_mut(id) else { continue };
                proxy.take_deltas(&scope.sets, deltas);
                changed.insert(*id);
            }
        }
        self.follow_own(&world, &change, &concerned, &mut changed);
        changed.into_iter().filter_map(|id| Some((id, self.proxies.get(&id)?.offer()))).collect()
    }

    /// Forgets encoded resources that nobody uses any more.
    pub fn sweep(&self) {
        self.interner.sweep();
    }

    /// The scope of a node, made if it is the first of it.
    fn scope(&mut self, world: &World, node: &Node) -> u64 {
        let node = world.scope(node);
        let known = self.scopes.iter().find(|(_, scope)| scope.node == node);
        if let Some((id, _)) = known {
            return *id;
        }
        let common = self.patcher.common(world, &node);
        let mut sets = Snapshot::default();
        for (kind, resources) in self.interner.encode(only_ours(common.config, &node)) {
            sets.put(kind, Arc::new(ResourceSet::new(resources)));
        }
        self.next_scope += 1;
        let scope = Scope { node, seen: common.seen, asked: common.secrets, sets, proxies: BTreeSet::new() };
        self.scopes.insert(self.next_scope, scope);
        self.next_scope
    }

    fn own(&self, world: &World, node: &Node, is_tls: bool, asked: &[Arc<str>]) -> Encoded {
        self.interner.encode(for_door(self.patcher.own(world, node, asked), is_tls))
    }

    /// The cluster of the workload at an address, as a proxy may have it.
    fn workload(&self, world: &World, proxy: &Proxy, at: SocketAddr) -> Option<Arc<EncodedResource>> {
        let config = self.patcher.workloads(world, &proxy.node, &BTreeSet::from([at]));
        let encoded = self.interner.encode(config);
        encoded.into_iter().find(|(kind, _)| *kind == ResourceKind::Cluster)?.1.pop()
    }

    fn leave_scope(&mut self, id: u64, scope: u64) {
        if let Some(left) = self.scopes.get_mut(&scope) {
            left.proxies.remove(&id);
            if left.proxies.is_empty() {
                self.scopes.remove(&scope);
            }
        }
    }

    /// Moves every proxy whose scope is another one now.
    fn regroup(&mut self, world: &World, changed: &mut BTreeSet<u64>) {
        let nodes: Vec<_> = self.proxies.iter().map(|(id, proxy)| (*id, proxy.scope, proxy.node.clone())).collect();
        for (id, old, node) in nodes {
            let scope = self.scope(world, &node);
            if scope == old {
                continue;
            }
            self.leave_scope(id, old);
            if let (Some(to), Some(proxy)) = (self.scopes.get_mut(&scope), self.proxies.get_mut(&id)) {
                to.proxies.insert(id);
                proxy.scope = scope;
                proxy.take_whole(&to.sets);
                changed.insert(id);
            }
        }
    }

    /// Makes anew what scopes have in common, where it is concerned. Gives what came of it, and who was concerned.
    fn follow_scopes(&mut self, world: &World, change: &Change) -> (BTreeMap<u64, Deltas>, BTreeSet<u64>) {
        let (mut all, mut concerned) = (BTreeMap::new(), BTreeSet::new());
        for (id, scope) in &mut self.scopes {
            let deltas = if change.concerns_scope(world, &scope.node, &scope.seen) {
                concerned.insert(*id);
                let common = self.patcher.common(world, &scope.node);
                (scope.seen, scope.asked) = (common.seen, common.secrets);
                let encoded = self.interner.encode(only_ours(common.config, &scope.node));
                encoded.into_iter().map(|(kind, resources)| (kind, scope.difference(kind, resources))).collect()
            } else {
                let hosts = change.endpoints().filter(|host| scope.seen.contains(*host));
                let sets = hosts.flat_map(|host| translate::endpoints(world, &scope.node, host));
                let put = sets.map(|set| self.interner.resource(ResourceKind::Endpoints, Resource::Endpoints(set)));
                Deltas::from([(ResourceKind::Endpoints, Delta { put: put.collect(), gone: Vec::new() })])
            };
            let deltas: Deltas = deltas.into_iter().filter(|(kind, delta)| scope.take(*kind, delta)).collect();
            if !deltas.is_empty() {
                all.insert(*id, deltas);
            }
        }
        (all, concerned)
    }

    /// Makes anew what is proxies' own, where it is concerned: by itself, or since it depends on what the scope sees.
    fn follow_own(&mut self, world: &World, change: &Change, scopes: &BTreeSet<u64>, changed: &mut BTreeSet<u64>) {
        let candidates: Vec<u64> = match change.concerns_any_own() {
            true => self.proxies.keys().copied().collect(),
            false => scopes.iter().filter_map(|id| self.scopes.get(id)).flat_map(|s| &s.proxies).copied().collect(),
        };
        for id in candidates {
            let Some(proxy) = self.proxies.get(&id) else { continue };
            let Some(scope) = self.scopes.get(&proxy.scope) else { continue };
            let upstreams = matches!(proxy.node.role, Role::Sidecar { capture: Capture::Upstreams(_), .. });
            let by_scope = scopes.contains(&proxy.scope) && (upstreams || proxy.asked != scope.asked);
            if (by_scope || change.concerns_own(&proxy.node)) && self.renew_own(world, id) {
                changed.insert(id);
            }
            if self.renew_workloads(world, change, id) {
                changed.insert(id);
            }
        }
    }

    /// Makes the workloads anew that a proxy asks for, where they are concerned. Says whether anything is different.
    fn renew_workloads(&mut self, world: &World, change: &Change, id: u64) -> bool {
        let Some(proxy) = self.proxies.get(&id) else { return false };
        let concerned = proxy.workloads.keys().filter(|at| change.concerns_workload(world, **at));
        let found: Vec<_> = concerned.map(|at| (*at, self.workload(world, proxy, *at))).collect();
        self.proxies.get_mut(&id).is_some_and(|proxy| proxy.take_workloads(found, Vec::new()))
    }

    /// Makes what is a proxy's own anew. Says whether anything is different.
    fn renew_own(&mut self, world: &World, id: u64) -> bool {
        let Some(proxy) = self.proxies.get(&id) else { return false };
        let Some(scope) = self.scopes.get(&proxy.scope) else { return false };
        let asked = scope.asked.clone();
        let own = self.own(world, &proxy.node, proxy.is_tls, &asked);
        let sets = scope.sets.clone();
        let Some(proxy) = self.proxies.get_mut(&id) else { return false };
        proxy.asked = asked;
        proxy.take_own(own, Some(&sets))
    }
}

impl Scope {
    /// How new resources differ from those that are there.
    fn difference(&self, kind: ResourceKind, resources: Vec<Arc<EncodedResource>>) -> Delta {
        let Some(old) = self.sets.get(kind) else { return Delta { put: resources, gone: Vec::new() } };
        let names: BTreeSet<&str> = resources.iter().map(|it| &*it.name).collect();
        let gone = old.iter().map(|it| it.name.clone()).filter(|name| !names.contains(&**name)).collect();
        let put = resources.iter().filter(|it| old.get(&it.name).is_none_or(|was| was.version != it.version));
        Delta { put: put.cloned().collect(), gone }
    }

    /// Takes a difference. Says whether there is any.
    fn take(&mut self, kind: ResourceKind, delta: &Delta) -> bool {
        let Some(old) = self.sets.get(kind).cloned() else { return false };
        let new = ResourceSet::edited(&old, delta.put.iter().cloned(), delta.gone.iter().cloned());
        let is_other = !Arc::ptr_eq(&old, &new);
        self.sets.put(kind, new);
        is_other
    }
}

impl Proxy {
    fn owns(&self, kind: ResourceKind, name: &str) -> bool {
        self.own.get(&kind).is_some_and(|own| own.iter().any(|it| *it.name == *name))
    }

    /// Takes what became different in its scope.
    fn take_deltas(&mut self, scope: &Snapshot, deltas: &Deltas) {
        let mut snapshot = Snapshot::clone(&self.snapshot);
        for (kind, delta) in deltas {
            let (Some(common), Some(old)) = (scope.get(*kind), self.snapshot.get(*kind)) else { continue };
            let of_workloads = *kind == ResourceKind::Cluster && !self.workloads.is_empty();
            let new = if self.own.get(kind).is_none_or(Vec::is_empty) && !of_workloads {
                common.clone()
            } else {
                let put = delta.put.iter().filter(|it| !self.owns(*kind, &it.name)).cloned();
                let gone = delta.gone.iter().filter(|name| !self.owns(*kind, name)).cloned();
                ResourceSet::edited(old, put, gone)
            };
            snapshot.put(*kind, new);
        }
        self.snapshot = Arc::new(snapshot);
    }

    /// Takes all of another scope.
    fn take_whole(&mut self, scope: &Snapshot) {
        let mut snapshot = Snapshot::clone(&self.snapshot);
        for kind in ResourceKind::ALL {
            let (Some(common), Some(old)) = (scope.get(kind), self.snapshot.get(kind)) else { continue };
            let own = self.own.get(&kind).into_iter().flatten();
            let workloads = self.workloads.values().flatten().filter(|_| kind == ResourceKind::Cluster);
            let all = common.iter().filter(|it| !self.owns(kind, &it.name)).chain(own).chain(workloads).cloned();
            snapshot.put(kind, ResourceSet::next(old, all));
        }
        self.snapshot = Arc::new(snapshot);
    }

    /// Takes workloads that it asks for, as they are now, and loses the clusters of others. Says whether anything is different.
    fn take_workloads(
        &mut self,
        found: Vec<(SocketAddr, Option<Arc<EncodedResource>>)>,
        mut gone: Vec<Arc<str>>,
    ) -> bool {
        let put: Vec<_> = found.iter().filter_map(|(_, workload)| workload.clone()).collect();
        for (at, workload) in found {
            let is_gone = workload.is_none();
            let before = self.workloads.insert(at, workload).flatten();
            gone.extend(before.filter(|_| is_gone).map(|before| before.name.clone()));
        }
        let Some(old) = self.snapshot.get(ResourceKind::Cluster) else { return false };
        let new = ResourceSet::edited(old, put, gone);
        let is_other = !Arc::ptr_eq(old, &new);
        if is_other {
            let mut snapshot = Snapshot::clone(&self.snapshot);
            snapshot.put(ResourceKind::Cluster, new);
            self.snapshot = Arc::new(snapshot);
        }
        is_other
    }

    /// Takes what is its own, in the place of what was. Says whether anything is different.
    fn take_own(&mut self, encoded: Encoded, scope: Option<&Snapshot>) -> bool {
        let mut snapshot = Snapshot::clone(&self.snapshot);
        let mut is_other = false;
        for (kind, new) in encoded {
            let Some(old) = self.snapshot.get(kind) else { continue };
            let names: BTreeSet<&str> = new.iter().map(|it| &*it.name).collect();
            let before = self.own.get(&kind).into_iter().flatten();
            let gone: Vec<Arc<str>> =
                before.map(|it| it.name.clone()).filter(|name| !names.contains(&**name)).collect();
            // What was hidden by it is seen again.
            let common = scope.and_then(|scope| scope.get(kind));
            let seen: Vec<_> = gone.iter().filter_map(|name| common?.get(name).cloned()).collect();
            let set = ResourceSet::edited(old, new.iter().cloned().chain(seen), gone);
            is_other |= !Arc::ptr_eq(old, &set);
            snapshot.put(kind, set);
            self.own.insert(kind, new);
        }
        if is_other {
            self.snapshot = Arc::new(snapshot);
        }
        is_other
    }

    /// Offers what it may have to its stream.
    fn offer(&self) -> Arc<Snapshot> {
        if let Some(listening) = &self.listening {
            listening.session.lock().unwrap_or_else(PoisonError::into_inner).take(self.snapshot.clone());
            listening.wake.notify_one();
        }
        self.snapshot.clone()
    }
}

/// The configuration of a node at a version, made from nothing. What the graph keeps for it is equal.
pub fn config(patcher: &Patcher, world: &World, node: &Node, is_tls: bool) -> Config {
    only_ours(for_door(patcher.translate(world, node), is_tls), node)
}

/// Names are understood by our own proxies only.
fn only_ours(mut config: Config, node: &Node) -> Config {
    if !node.ours {
        config.names.clear();
    }
    config
}

/// Private keys and passwords go over TLS only.
fn for_door(mut config: Config, is_tls: bool) -> Config {
    if !is_tls {
        config.secrets.retain(|_, secret| matches!(secret.value, SecretValue::Trust { .. }));
    }
    config
}

#[cfg(test)]
mod tests;
