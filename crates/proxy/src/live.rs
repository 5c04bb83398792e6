//! What runs: one complete immutable configuration, compiled so that no request has to prepare anything, and the place
//! where it is swapped.
//!
//! The side runtime swaps [`Live`]; every worker then gets an order and exchanges its own [`View`], which requests pin
//! by cloning an `Rc`: one request sees one configuration and touches no shared counter.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base::drain;
use model::{Config, Direction, FilterChain, Guard, Listener, NameTables, TcpProxy};
use transport::tls::{LiveCert, ServerTls};
use upstream::{Cluster, ClusterPools};

use crate::direct::Direct;
use crate::http_plan::HttpPlan;
use crate::log::AccessLogs;
use crate::room::Room;
use crate::series::Shape;
use crate::table::Table;

/// One complete immutable configuration, compiled.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Counts the swaps.
    pub version: u64,
    /// What it was made of.
    pub config: Config,
    /// The listeners, by name.
    pub listeners: BTreeMap<Arc<str>, Arc<ListenerPlan>>,
    /// Listeners by the address that they stand for, for connections handed over by original destination.
    pub by_destination: HashMap<SocketAddr, Arc<ListenerPlan>>,
    /// The route tables found by discovery.
    pub tables: HashMap<Arc<str>, Arc<Table>>,
    /// The clusters.
    pub clusters: HashMap<Arc<str>, Arc<Cluster>>,
    /// What is known of addresses that were dialled.
    pub direct: Direct,
}

/// A listener, compiled.
#[derive(Debug)]
pub(crate) struct ListenerPlan {
    /// Its settings.
    pub config: Arc<Listener>,
    /// Its chains, in the order of the settings.
    pub chains: Vec<Arc<Chain>>,
    /// The chain for what fits none.
    pub default_chain: Option<Arc<Chain>>,
    /// The log of connections that meet no chain.
    pub logs: AccessLogs,
    /// Room for its connections. It lives on while the listener changes.
    pub room: Arc<Room>,
}

impl ListenerPlan {
    /// All chains.
    pub(crate) fn all_chains(&self) -> impl Iterator<Item = &Arc<Chain>> {
        self.chains.iter().chain(&self.default_chain)
    }
}

/// A filter chain, compiled. It lives on, with its connections, through every swap that does not change it.
pub(crate) struct Chain {
    /// Its settings.
    pub config: FilterChain,
    /// Whose traffic it takes.
    pub direction: Direction,
    /// The TLS end.
    pub tls: Option<ServerTls>,
    /// The certificate that peers see first, for what we say of ourselves.
    pub certificate: Option<LiveCert>,
    /// What the bytes then meet.
    pub filter: Filter,
    drain: drain::Signal,
    watch: drain::Watch,
}

/// The last filter of a chain, compiled.
#[derive(Debug, Clone)]
pub(crate) enum Filter {
    /// HTTP.
    Http(Arc<HttpPlan>),
    /// Raw TCP.
    Tcp(Arc<TcpPlan>),
}

/// Raw TCP, compiled.
#[derive(Debug)]
pub(crate) struct TcpPlan {
    /// Its settings.
    pub proxy: TcpProxy,
    /// Where its connections are logged.
    pub logs: AccessLogs,
    /// How they are counted, if otherwise than by default.
    pub shape: Option<Arc<Shape>>,
}

impl Chain {
    /// A chain whose connections go on until [`Chain::retire`].
    pub(crate) fn new(
        config: FilterChain,
        direction: Direction,
        tls: Option<ServerTls>,
        certificate: Option<LiveCert>,
        filter: Filter,
    ) -> Self {
        config
            .access
            .iter()
            .filter_map(|guard| match guard {
                Guard::Rules(access) => Some(access.rules.iter().chain(&access.shadow)),
                Guard::Service(_) => None,
            })
            .flatten()
            .for_each(|rules| rules.prepare());
        let (drain, watch) = drain::channel();
        Self { config, direction, tls, certificate, filter, drain, watch }
    }

    /// Lets its connections finish what they do and no more.
    pub(crate) fn retire(&self) {
        self.drain.start();
    }

    /// Sees the chain retire.
    pub(crate) fn watch(&self) -> &drain::Watch {
        &self.watch
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").field("name", &self.config.name).finish_non_exhaustive()
    }
}

/// Where the running configuration is swapped, for everybody but the workers.
#[derive(Debug, Default)]
pub(crate) struct Live {
    snapshot: ArcSwap<Snapshot>,
    /// The names that DNS answers.
    pub names: Arc<ArcSwap<NameTables>>,
}

impl Live {
    /// What runs now.
    pub(crate) fn load(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts another in its place.
    pub(crate) fn swap(&self, next: Arc<Snapshot>) {
        let names = NameTables(next.config.names.values().cloned().collect());
        if **self.names.load() != names {
            self.names.store(Arc::new(names));
        }
        self.snapshot.store(next);
    }
}

/// The running configuration as one worker sees it, with its own pools at hand.
pub(crate) struct View {
    /// What runs.
    pub snapshot: Arc<Snapshot>,
    upstream: Rc<upstream::Worker>,
    pools: RefCell<HashMap<Arc<str>, Rc<ClusterPools>>>,
}

impl View {
    /// A view of `snapshot`; pools come from `upstream`, which keeps those of clusters that live on.
    pub(crate) fn new(snapshot: Arc<Snapshot>, upstream: Rc<upstream::Worker>) -> Self {
        Self { snapshot, upstream, pools: RefCell::default() }
    }

    /// This worker's pools of a cluster; none if there is no such cluster.
    pub(crate) fn pools(&self, cluster: &str) -> Option<Rc<ClusterPools>> {
        if let Some(pools) = self.pools.borrow().get(cluster) {
            return Some(pools.clone());
        }
        let (name, cluster) = self.snapshot.clusters.get_key_value(cluster)?;
        let pools = self.upstream.cluster(cluster);
        self.pools.borrow_mut().insert(name.clone(), pools.clone());
        Some(pools)
    }
}
