//! From decoded resources to the next snapshot, off the hot path: what is new is compiled, what did not change lives on
//! with its connections, and only what is whole is swapped in.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use model::cluster::{LOCAL_CLUSTER, Localities, ZoneRouting};
use model::http_proxy::HttpFilter;
use model::{Address, Config, Direction, FilterChain, Listener, NetworkFilter, ResourceKind, RouteConfiguration};
use telemetry::DeclareError;
use tokio::time::Instant;
use transport::Netns;
use upstream::dns::Resolve;
use upstream::{Cluster, Vantage, Watch};
use xds::Resource;

use crate::direct::Direct;
use crate::files::Files;
use crate::geo::Databases;
use crate::http_plan::{HttpPlan, Told};
use crate::live::{Chain, Filter, ListenerPlan, Live, Snapshot, TcpPlan};
use crate::log::AccessLogs;
use crate::node::Shared;
use crate::room;
use crate::route_stats::RouteFamilies;
use crate::secrets::Secrets;
use crate::series::Shape;
use crate::socket::{Socket, SocketKey};
use crate::table::{Decided, Table, TableStats};
use crate::warm::{self, Known, Need, Waits};
use crate::worker::{Order, WorkerLink};

/// A resource that cannot be used, and why. What ran before it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name.
    pub name: Arc<str>,
    /// What is wrong.
    pub reason: String,
}

/// Changes to apply together.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// New or in place of old ones.
    pub set: Vec<Resource>,
    /// Gone.
    pub removed: Vec<(ResourceKind, Arc<str>)>,
}

/// What is found when it is needed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Discovery {
    /// Virtual hosts, where a table says so. Otherwise such a table is taken as it stands.
    pub virtual_hosts: bool,
    /// Clusters, by their names.
    pub clusters: bool,
}

/// Builds snapshots and swaps them in. Lives on the side runtime.
pub(crate) struct Applier {
    wanted: Config,
    waits: Waits,
    /// Clusters and virtual hosts that were asked for by name and do not exist.
    absent: BTreeSet<Need>,
    discovery: Discovery,
    secrets: Rc<Secrets>,
    live: Arc<Live>,
    shared: Arc<Shared>,
    workers: Vec<WorkerLink>,
    sockets: HashMap<SocketKey, Socket>,
    /// Nothing new is taken from others any more.
    leaves: bool,
    netns: Option<Netns>,
    resolver: Arc<dyn Resolve>,
    /// Where the health of endpoints is found out.
    watch: Watch,
    /// Where the proxy stands, for clusters whose localities count by that.
    vantage: Arc<Vantage>,
    /// Where filters count, which are the same for all workers.
    shard: telemetry::Shard,
    /// Where the limits count that routes bring.
    route_stats: filter::Stats,
    /// Where routes are counted that ask for it.
    counted_routes: Arc<RouteFamilies>,
    /// TLS ends have to be built anew, since a secret is of another kind than before.
    stale_tls: bool,
    /// Certificates and roots in files.
    files: Files,
    /// Databases that say where clients are.
    databases: RefCell<Databases>,
    /// When it was last settled what runs.
    settled: Option<Instant>,
}

impl Applier {
    /// An applier with nothing to run yet.
    pub(crate) fn new(
        secrets: Rc<Secrets>,
        live: Arc<Live>,
        shared: Arc<Shared>,
        workers: Vec<WorkerLink>,
        netns: Option<Netns>,
        resolver: Arc<dyn Resolve>,
        discovery: Discovery,
    ) -> Result<Self, DeclareError> {
        let watch = Watch::new(shared.dialer(), &shared.registry.shard())?;
        let shard = shared.registry.shard();
        Ok(Self {
            vantage: Vantage::new(shared.locality.clone()),
            watch,
            wanted: Config::default(),
            waits: Waits::new(),
            absent: BTreeSet::new(),
            discovery,
            secrets,
            live,
            workers,
            sockets: HashMap::new(),
            leaves: false,
            route_stats: filter::Stats::new(&shard, "")?,
            counted_routes: RouteFamilies::new(&shard)?,
            shard,
            shared,
            netns,
            resolver,
            stale_tls: false,
            files: Files::default(),
            databases: RefCell::default(),
            settled: None,
        })
    }

    /// What the control plane wants to run.
    pub(crate) fn wanted(&self) -> &Config {
        &self.wanted
    }

    /// What is waited for.
    pub(crate) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// When [`Applier::is_due`] is to be asked although nothing new came.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let warm = warm::next_deadline(&self.waits, Instant::now());
        warm.into_iter().chain(self.files.next_look()).chain(self.databases.borrow().next_look()).min()
    }

    /// Looks at files, and says whether [`Applier::settle`] is due: since they changed what can run, or something was
    /// waited for long enough.
    pub(crate) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let looked = self.look(now);
        let since = |at: &Instant| self.settled.is_none_or(|settled| *at > settled) && *at <= now;
        looked || self.waits.values().map(|waited| *waited + warm::PATIENCE).any(|at| since(&at))
    }

    fn look(&mut self, now: Instant) -> bool {
        let databases = self.databases.get_mut();
        if databases.next_look().is_some_and(|at| at <= now) {
            databases.look(now);
        }
        if self.files.next_look().is_none_or(|at| at > now) {
            return false;
        }
        let looked = self.files.look(&self.secrets, now);
        self.stale_tls |= looked.stale;
        looked.stale || looked.fresh
    }

    /// Takes changes in, and runs what can run.
    pub(crate) fn apply(&mut self, changes: Changes) -> Vec<Rejected> {
        let mut rejected = Vec::new();
        for resource in changes.set {
            if let Resource::Secret(secret) = &resource {
                match self.secrets.set(secret) {
                    Ok(stale) => self.stale_tls |= stale,
                    Err(error) => {
                        let (kind, name) = (ResourceKind::Secret, secret.name.clone());
                        rejected.push(Rejected { kind, name, reason: error.to_string() });
                        continue;
                    }
                }
            }
            self.absent.remove(&(resource.kind(), resource.name()));
            resource.insert_into(&mut self.wanted);
        }
        for (kind, name) in &changes.removed {
            xds::remove_from(&mut self.wanted, *kind, name);
            if self.is_found_by_name(*kind) {
                self.absent.insert((*kind, name.clone()));
            }
        }
        self.files.are(warm::named_secrets(&self.wanted).iter());
        let looked = self.files.look(&self.secrets, Instant::now());
        self.stale_tls |= looked.stale;
        rejected.extend(self.settle());
        rejected
    }

    /// Runs what can run now.
    pub(crate) fn settle(&mut self) -> Vec<Rejected> {
        self.settled = Some(Instant::now());
        let before = self.live.load();
        let known = Known {
            secrets: &|name| self.secrets.has(name),
            absent: &self.absent,
            clusters_by_name: self.discovery.clusters,
        };
        let config = warm::ready(&self.wanted, &before.config, &known, &mut self.waits, Instant::now());
        let (mut next, mut rejected) = self.build(&before, config);
        let sockets = self.bind(&mut next, &mut rejected);
        room::heed(&next.config, &self.shared.room, next.listeners.values());
        let next = Arc::new(next);
        self.live.swap(next.clone());
        for (number, worker) in self.workers.iter().enumerate() {
            let sockets = if number == 0 { sockets.iter().filter_map(clone_socket).collect() } else { Vec::new() };
            // A worker that is gone has been told to stop.
            let _ = worker.orders.send(Order::Swap { snapshot: next.clone(), sockets });
        }
        for (key, bound) in sockets {
            self.sockets.insert(key, bound);
        }
        retire(&before, &next);
        self.forget_sockets(&next);
        rejected
    }

    /// Is anything still waited for that may yet come in time?
    pub(crate) fn is_waiting(&self) -> bool {
        warm::next_deadline(&self.waits, Instant::now()).is_some()
    }

    /// The names of all clusters that are in use, or will be when what came is.
    pub(crate) fn named_clusters(&self) -> BTreeSet<Arc<str>> {
        let running = self.live.load();
        warm::named_clusters(&self.wanted).chain(warm::named_clusters(&running.config)).cloned().collect()
    }

    /// Forgets the resources of a kind that nothing names any more. They are used by nobody. Says whether there were any
    /// that still run.
    pub(crate) fn forget_unnamed(&mut self, kind: ResourceKind, named: &BTreeSet<Arc<str>>) -> bool {
        self.absent.retain(|(of, name)| *of != kind || named.contains(name));
        let running = self.live.load();
        let wanted = &mut self.wanted;
        match kind {
            ResourceKind::Cluster => wanted.clusters.retain(|name, _| named.contains(name)),
            ResourceKind::VirtualHost => wanted.virtual_hosts.retain(|name, _| named.contains(name)),
            ResourceKind::Endpoints => wanted.endpoints.retain(|name, _| named.contains(name)),
            ResourceKind::Route => wanted.routes.retain(|name, _| named.contains(name)),
            // Secrets live on in `Secrets`; forgetting one here only frees its text.
            ResourceKind::Secret => wanted.secrets.retain(|name, _| named.contains(name)),
            ResourceKind::Listener | ResourceKind::Names | ResourceKind::Runtime => {}
        }
        match kind {
            ResourceKind::Cluster => {
                let is_unnamed = |name: &Arc<str>| !named.contains(name);
                running.config.clusters.keys().any(is_unnamed) || !running.direct.asked_for_only(named)
            }
            ResourceKind::VirtualHost => running.tables.values().any(|table| !table.asked_for_only(named)),
            _ => false,
        }
    }

    fn is_found_by_name(&self, kind: ResourceKind) -> bool {
        match kind {
            ResourceKind::Cluster => self.discovery.clusters,
            ResourceKind::VirtualHost => self.discovery.virtual_hosts,
            _ => false,
        }
    }

    /// Closes the sockets at which others call, as far as they are held here, for good: a socket that is left open would
    /// still let callers queue up.
    pub(crate) fn stop_listening(&mut self) {
        self.leaves = true;
        let snapshot = self.live.load();
        let outbound = snapshot.listeners.values().filter(|p| p.config.direction == Direction::Outbound);
        let stay: HashSet<SocketKey> = outbound.filter_map(|p| SocketKey::of(&p.config)).collect();
        self.close_sockets(|key, _| stay.contains(key));
    }

    fn build(&mut self, before: &Snapshot, config: Config) -> (Snapshot, Vec<Rejected>) {
        let mut rejected = Vec::new();
        let clusters = self.clusters(before, &config, &mut rejected);
        let tables = self.tables(before, &config);
        let stale_tls = std::mem::take(&mut self.stale_tls);
        let mut listeners = BTreeMap::new();
        for (name, listener) in &config.listeners {
            let old = before.listeners.get(name);
            match self.listener(listener, old, stale_tls) {
                Ok(plan) => drop(listeners.insert(name.clone(), plan)),
                Err(error) => {
                    let reason = format!("listener {name}: {error}");
                    rejected.push(Rejected { kind: ResourceKind::Listener, name: name.clone(), reason });
                    listeners.extend(old.map(|plan| (name.clone(), plan.clone())));
                }
            }
        }
        let version = before.version + 1;
        let direct = match self.discovery.clusters {
            true => Direct::of(&config, &self.absent, &before.direct),
            false => Direct::default(),
        };
        let mut next =
            Snapshot { version, config, listeners, by_destination: HashMap::new(), tables, clusters, direct };
        next.by_destination = by_destination(&next.listeners);
        (next, rejected)
    }

    fn tables(&self, before: &Snapshot, config: &Config) -> HashMap<Arc<str>, Arc<Table>> {
        let mut decided = self.decided(config);
        let table = |(name, routes): (&Arc<str>, &Arc<RouteConfiguration>)| {
            let on_demand = routes.on_demand && self.discovery.virtual_hosts;
            let decided = on_demand.then(|| decided.remove(&**name).unwrap_or_default());
            let old = before.tables.get(name);
            let same = old.filter(|old| old.is_of(routes, decided.as_deref())).cloned();
            let table = same.unwrap_or_else(|| {
                let old = old.map(|old| &**old);
                let table = match decided {
                    Some(decided) => Table::on_demand(routes.clone(), decided, old),
                    None => Table::new(routes.clone()),
                };
                let stats = TableStats { filters: &self.route_stats, routes: &self.counted_routes };
                Arc::new(table.counting(stats, old))
            });
            (name.clone(), table)
        };
        config.routes.iter().map(table).collect()
    }

    /// What is known of virtual hosts, by route configuration.
    fn decided<'a>(&'a self, config: &'a Config) -> HashMap<&'a str, Vec<Decided>> {
        let found = config.virtual_hosts.iter().map(|(name, host)| (name, Some(host.clone())));
        let absent = self.absent.iter().filter(|(kind, _)| *kind == ResourceKind::VirtualHost);
        let mut decided: HashMap<&str, Vec<Decided>> = HashMap::new();
        for (name, host) in found.chain(absent.map(|(_, name)| (name, None))) {
            let table = name.rsplit_once('/').map_or("", |(table, _)| table);
            decided.entry(table).or_default().push((name.clone(), host));
        }
        decided
    }

    fn clusters(
        &self,
        before: &Snapshot,
        config: &Config,
        rejected: &mut Vec<Rejected>,
    ) -> HashMap<Arc<str>, Arc<Cluster>> {
        let mut clusters = HashMap::with_capacity(config.clusters.len());
        let none = Arc::default();
        for (name, settings) in &config.clusters {
            let old = before.clusters.get(name);
            match Cluster::build(self.by_zone(settings), old, &*self.secrets) {
                Ok(cluster) => {
                    cluster.resolve_on(&tokio::runtime::Handle::current(), self.resolver.clone());
                    cluster.watch(&self.watch);
                    if let model::cluster::Discovery::Eds(endpoints) = &settings.discovery {
                        cluster.set_endpoints(config.endpoints.get(endpoints).unwrap_or(&none));
                    }
                    clusters.insert(name.clone(), cluster);
                }
                Err(error) => {
                    let (kind, name) = (ResourceKind::Cluster, name.clone());
                    clusters.extend(old.map(|cluster| (name.clone(), cluster.clone())));
                    rejected.push(Rejected { kind, name, reason: error.to_string() });
                }
            }
        }
        let local = self.shared.local_cluster.as_deref().unwrap_or(LOCAL_CLUSTER);
        self.vantage.set(clusters.get(local), clusters.values());
        self.vantage.follow_on(&tokio::runtime::Handle::current());
        clusters
    }

    /// A cluster with what holds where nothing is said of localities.
    fn by_zone(&self, settings: &Arc<model::Cluster>) -> Arc<model::Cluster> {
        match (&self.shared.local_cluster, settings.localities) {
            (Some(_), Localities::Alike) if !settings.balancing.hashes() => {
                let localities = Localities::Zones(ZoneRouting::default());
                Arc::new(model::Cluster { localities, ..(**settings).clone() })
            }
            _ => settings.clone(),
        }
    }

    fn listener(
        &self,
        config: &Arc<Listener>,
        old: Option<&Arc<ListenerPlan>>,
        stale_tls: bool,
    ) -> Result<Arc<ListenerPlan>, String> {
        if let Some(old) = old
            && !stale_tls
            && (Arc::ptr_eq(&old.config, config) || old.config == *config)
        {
            return Ok(old.clone());
        }
        let same_direction = old
            .filter(|old| old.config.direction == config.direction && old.config.buffer_limit == config.buffer_limit);
        let chain = |settings: &FilterChain| {
            let mut known = same_direction.into_iter().flat_map(|old| old.all_chains());
            match known.find(|c| c.config == *settings && !(stale_tls && c.tls.is_some())) {
                Some(same) => Ok(same.clone()),
                None => {
                    let same = |c: &&Arc<Chain>| c.config.name == settings.name && c.config.matches == settings.matches;
                    let before = same_direction.and_then(|old| old.all_chains().find(same));
                    self.chain(config, settings, before.map(|c| &**c)).map(Arc::new)
                }
            }
        };
        Ok(Arc::new(ListenerPlan {
            chains: config.chains.iter().map(chain).collect::<Result<_, _>>()?,
            default_chain: config.default_chain.as_ref().map(chain).transpose()?,
            logs: self.logs(&config.access_logs)?,
            room: old.map_or_else(Arc::default, |old| old.room.clone()),
            config: config.clone(),
        }))
    }

    fn chain(&self, listener: &Listener, settings: &FilterChain, before: Option<&Chain>) -> Result<Chain, String> {
        let tls = settings.tls.as_ref().map(|tls| self.secrets.server(tls)).transpose();
        let tls = tls.map_err(|e| format!("filter chain {}: {e}", settings.name))?;
        let first = settings.tls.as_ref().and_then(|tls| tls.certificates.first());
        let logs = |named: &[model::AccessLog]| self.logs(if named.is_empty() { &listener.access_logs } else { named });
        let shape = Shape::new(settings.metrics.as_deref());
        let filter = match &settings.filter {
            NetworkFilter::Http(http) => {
                let stats = filter::Stats::new(&self.shard, &http.stat_prefix).map_err(|e| e.to_string())?;
                let before = match before.map(|before| &before.filter) {
                    Some(Filter::Http(plan)) => Some(&**plan),
                    _ => None,
                };
                let wanted = http.filters.iter().find_map(|filter| match filter {
                    HttpFilter::Geo(geo) => Some(geo),
                    _ => None,
                });
                let geo = wanted.map(|geo| self.databases.borrow_mut().lookup(geo)).transpose()?;
                let logs = logs(&http.access_logs)?;
                let old = before.map(|before| &before.filters);
                let filters = filter::Chain::new(&http.filters, &stats, old, &*self.shared.extensions)?;
                let stats = TableStats { filters: &stats, routes: &self.counted_routes };
                let spans = http.tracing.as_ref().map(|tracing| self.shared.spans.open(tracing)).transpose()?;
                let told = Told { logs, shape, spans };
                let plan = HttpPlan::new((**http).clone(), listener.direction, told, stats, geo, before, filters);
                Filter::Http(Arc::new(plan.bounded(listener.buffer_limit)))
            }
            NetworkFilter::Tcp(tcp) => {
                Filter::Tcp(Arc::new(TcpPlan { logs: logs(&tcp.access_logs)?, shape, proxy: tcp.clone() }))
            }
        };
        let certificate = first.map(|name| self.secrets.cert(name));
        Ok(Chain::new(settings.clone(), listener.direction, tls, certificate, filter))
    }

    fn logs(&self, named: &[model::AccessLog]) -> Result<AccessLogs, String> {
        AccessLogs::new(named, &self.shared)
    }

    /// Opens the sockets that are new. A listener without its socket is left out.
    fn bind(&mut self, next: &mut Snapshot, rejected: &mut Vec<Rejected>) -> Vec<(SocketKey, Socket)> {
        let mut fresh = Vec::new();
        let mut taken: HashMap<SocketKey, Arc<str>> = HashMap::new();
        next.listeners.retain(|name, plan| {
            if !plan.config.bind || self.leaves && plan.config.direction != Direction::Outbound {
                return true;
            }
            let opened = self.open(plan, &taken);
            match opened {
                Ok((key, bound)) => {
                    taken.insert(key.clone(), name.clone());
                    fresh.extend(bound.map(|bound| (key, bound)));
                    true
                }
                Err(reason) => {
                    let (kind, name) = (ResourceKind::Listener, name.clone());
                    rejected.push(Rejected { kind, reason: format!("listener {name}: {reason}"), name });
                    false
                }
            }
        });
        fresh
    }

    fn open(
        &self,
        plan: &ListenerPlan,
        taken: &HashMap<SocketKey, Arc<str>>,
    ) -> Result<(SocketKey, Option<Socket>), String> {
        let address = &plan.config.address;
        let key = SocketKey::of(&plan.config).ok_or_else(|| {
            format!("cannot listen on `{address}`: expected an IP address and a port, or a Unix socket")
        })?;
        if let Some(other) = taken.get(&key) {
            return Err(format!("listener {other} has the address {address} already: expected another one"));
        }
        if let Some(open) = self.sockets.get(&key) {
            // Kept from an earlier configuration; the first worker may have let go of it.
            let idle = !self.live.load().listeners.values().any(|p| SocketKey::of(&p.config).as_ref() == Some(&key));
            let again = if idle { Some(open.try_clone().map_err(|e| e.to_string())?) } else { None };
            return Ok((key, again));
        }
        let netns = match key.netns() {
            None => None,
            Some(name) => match self.netns.as_ref().filter(|n| n.name() == &**name) {
                Some(netns) => Some(netns.clone()),
                None => Some(Netns::new(name, "")),
            },
        };
        let bound = Socket::open(&key, netns.as_ref()).map_err(|e| e.to_string())?;
        Ok((key, Some(bound)))
    }

    /// Closes the sockets of listeners that are gone. Those that were handed down cannot be opened again in another
    /// namespace, so they stay.
    fn forget_sockets(&mut self, next: &Snapshot) {
        let used: HashSet<SocketKey> = next.listeners.values().filter_map(|p| SocketKey::of(&p.config)).collect();
        self.close_sockets(|key, bound| key.netns().is_some() && bound.is_inherited() || used.contains(key));
    }

    /// Closes those that do not stay, at once: the worker that has them too lets go of them a moment later, and meanwhile
    /// the address may be wanted again. One that was handed down is somebody else's too.
    fn close_sockets(&mut self, stays: impl Fn(&SocketKey, &Socket) -> bool) {
        self.sockets.retain(|key, bound| {
            let stays = stays(key, bound);
            if !stays && !bound.is_inherited() {
                bound.shut();
            }
            stays
        });
    }
}

fn clone_socket((key, bound): &(SocketKey, Socket)) -> Option<(SocketKey, Socket)> {
    match bound.try_clone() {
        Ok(bound) => Some((key.clone(), bound)),
        Err(error) => {
            tracing::error!("the socket {key} cannot be handed to a worker: {error}");
            None
        }
    }
}

/// The listeners that are not bound, by their address: they take what others hand over.
fn by_destination(listeners: &BTreeMap<Arc<str>, Arc<ListenerPlan>>) -> HashMap<SocketAddr, Arc<ListenerPlan>> {
    let unbound = listeners.values().filter(|plan| !plan.config.bind);
    let at = |plan: &Arc<ListenerPlan>| match &plan.config.address {
        Address::Socket { addr, .. } => Some((*addr, plan.clone())),
        _ => None,
    };
    unbound.filter_map(at).collect()
}

/// Lets the connections of chains that are no more finish.
fn retire(before: &Snapshot, next: &Snapshot) {
    let kept: HashSet<*const Chain> =
        next.listeners.values().flat_map(|plan| plan.all_chains()).map(Arc::as_ptr).collect();
    let old = before.listeners.values().flat_map(|plan| plan.all_chains());
    old.filter(|chain| !kept.contains(&Arc::as_ptr(chain))).for_each(|chain| chain.retire());
}
