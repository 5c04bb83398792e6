//! A cluster as all workers share it: its settings, its table of endpoints, its prepared TLS.

use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use model::EndpointSet;
use model::cluster::{Discovery, Transport};
use model::limits::ProxyVersion;
use tokio::sync::Notify;
use transport::tls::ConfigError;

use crate::breaker::Breakers;
use crate::dynamic::Hosts;
use crate::endpoint::{Endpoint, Flag};
use crate::health::{Report, Reports};
use crate::table::{EndpointTable, Rules};
use crate::tls::{Secrets, TlsSide};
use crate::zones::Local;

/// A cluster at run time. Snapshots hold it; when the last one lets go, its pools close what is idle and let what is
/// in flight finish.
pub struct Cluster {
    core: Arc<Core>,
}

/// What pools and resolvers hold.
pub(crate) struct Core {
    /// Names its pools in every worker.
    pub(crate) id: u64,
    pub(crate) config: Arc<model::Cluster>,
    table: ArcSwap<EndpointTable>,
    /// The table follows what is given. Until a cluster is first used, it is not made: most of a mesh are never used.
    used: AtomicBool,
    pub(crate) tls: Option<Box<TlsSide>>,
    /// The endpoints as they were given, host names included. Also the lock of writers to `table`.
    given: Mutex<Arc<EndpointSet>>,
    pub(crate) warm: AtomicBool,
    pub(crate) retired: AtomicBool,
    pub(crate) resolving: AtomicBool,
    /// Where names are resolved: woken when they have changed, or nobody needs them any more.
    pub(crate) renamed: Option<Arc<Notify>>,
    /// The hosts that were named, where they are the endpoints.
    pub(crate) hosts: Option<Box<Hosts>>,
    /// Limits to what is in use, where there are any.
    pub(crate) breakers: Option<Arc<Breakers>>,
    /// Where what workers find of its endpoints' health is told, where anybody wants to know.
    pub(crate) reports: Option<Box<Reports>>,
    /// Where the proxy stands, if the cluster heeds it.
    local: ArcSwapOption<Local>,
    /// Told when its endpoints, or their health, have changed: of the proxy's own cluster.
    pub(crate) on_change: OnceLock<Arc<Notify>>,
}

/// Why a cluster cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Its TLS needs a secret that nobody has.
    #[error(
        "cluster {cluster}: TLS refers to secret `{secret}`, which does not exist; expected a secret delivered under that name; deliver it or correct the reference"
    )]
    MissingSecret {
        /// The cluster.
        cluster: Arc<str>,
        /// The secret's name.
        secret: Arc<str>,
    },
    /// Its TLS settings contradict themselves.
    #[error("cluster {cluster}: {source}; correct the cluster's TLS settings")]
    Tls {
        /// The cluster.
        cluster: Arc<str>,
        /// What is wrong, and what was expected.
        source: ConfigError,
    },
}

impl Cluster {
    /// Makes a cluster run. If nothing but the endpoints given in `config` differs from `previous`, it lives on with
    /// its pools, and at most its table is swapped. Otherwise the endpoints keep at least their ids and counts, and those found by the
    /// same discovery are taken over, so that traffic flows before discovery answers anew.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(
        config: Arc<model::Cluster>,
        previous: Option<&Arc<Self>>,
        secrets: &dyn Secrets,
    ) -> Result<Arc<Self>, BuildError> {
        if let Some(same) = previous
            && same_apart_from_endpoints(&same.core.config, &config)
        {
            if let Discovery::Static(set) | Discovery::StrictDns(set) | Discovery::LogicalDns(set) = &config.discovery {
                same.core.set_endpoints(&Arc::new(set.clone()));
            }
            return Ok(same.clone());
        }
        let tls = match &config.transport {
            Transport::Plain => None,
            Transport::Tls(settings) | Transport::MeshTls(settings) => {
                let by_host = matches!(config.discovery, Discovery::DynamicForward(_));
                Some(Box::new(TlsSide::new(&config.name, settings, secrets, by_host)?))
            }
        };
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let inherited = previous.map_or_else(nobody, |p| p.core.bequeath(&config));
        let by_name = matches!(config.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_));
        let by_address = matches!(config.discovery, Discovery::Eds(_) | Discovery::Static(_));
        let same_discovery = previous.is_some_and(|p| p.core.config.discovery == config.discovery);
        let checked = config.health_check.is_some();
        let core = Core {
            id: NEXT.fetch_add(1, Relaxed),
            table: ArcSwap::new(inherited),
            used: AtomicBool::new(checked || !by_address || previous.is_some_and(|p| p.core.used.load(Relaxed))),
            tls,
            given: Mutex::new(previous.filter(|_| same_discovery).map_or_else(none, |p| p.core.lock().clone())),
            warm: AtomicBool::new(previous.is_some_and(|p| same_discovery && p.is_warm())),
            retired: AtomicBool::new(false),
            resolving: AtomicBool::new(false),
            renamed: by_name.then(Arc::default),
            hosts: match &config.discovery {
                Discovery::DynamicForward(cache) => Some(Box::new(Hosts::new((**cache).clone()))),
                _ => None,
            },
            breakers: config.circuit_breakers.as_deref().map(|limits| Arc::new(Breakers::new(limits.clone()))),
            reports: Reports::of(&config),
            local: ArcSwapOption::new(previous.and_then(|p| p.core.local.load_full())),
            on_change: OnceLock::new(),
            config,
        };
        core.begin(previous.filter(|_| same_discovery).map(|p| p.config()));
        Ok(Arc::new(Self { core: Arc::new(core) }))
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.core.config.name
    }

    /// Its settings. The endpoints in it may be outdated: see [`Cluster::endpoints`].
    pub fn config(&self) -> &Arc<model::Cluster> {
        &self.core.config
    }

    /// Takes a new set of endpoints: as endpoint discovery delivers it, or names to be resolved. Runs off the
    /// workers' way; requests see it from their next pick on.
    pub fn set_endpoints(&self, set: &Arc<EndpointSet>) {
        self.core.set_endpoints(set);
    }

    /// The endpoints now, with what was counted on them (Envoy's `/clusters`).
    pub fn endpoints(&self) -> Arc<EndpointTable> {
        Guard::into_inner(self.core.table())
    }

    /// Is it known which endpoints there are (perhaps none)? Until then requests should rather wait than fail.
    pub fn is_warm(&self) -> bool {
        self.core.warm.load(Relaxed)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.core.retired.store(true, Relaxed);
        self.core.tell_resolver();
        self.core.report(|| Report::Changed);
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("name", self.name()).finish_non_exhaustive()
    }
}

impl Core {
    /// The first endpoints; those of a cluster of these settings are taken over.
    fn begin(&self, kept: Option<&Arc<model::Cluster>>) {
        match &self.config.discovery {
            Discovery::Static(set) => self.set_endpoints(&Arc::new(set.clone())),
            Discovery::StrictDns(set) | Discovery::LogicalDns(set) => {
                *self.lock() = Arc::new(set.clone());
            }
            Discovery::Eds(_) => {}
            Discovery::OriginalDestination | Discovery::DynamicForward(_) => self.warm.store(true, Relaxed),
        }
        match kept {
            Some(kept) => self.heed(kept),
            None if matches!(self.config.discovery, Discovery::Static(_)) => {}
            None => self.table.store(nobody()),
        }
    }

    /// Makes a table that was taken over anew, if it was made by other rules.
    fn heed(&self, previous: &model::Cluster) {
        let same = previous.balancing == self.config.balancing
            && previous.localities == self.config.localities
            && previous.prefers_dialled == self.config.prefers_dialled;
        if !same && self.used.load(Relaxed) {
            let given = self.lock();
            match &self.config.discovery {
                Discovery::StrictDns(_) | Discovery::LogicalDns(_) => self.follow_known(&given),
                Discovery::Eds(_) | Discovery::Static(_) => self.follow(&given),
                Discovery::OriginalDestination | Discovery::DynamicForward(_) => {}
            }
        }
    }

    fn set_endpoints(&self, set: &Arc<EndpointSet>) {
        let mut given = self.lock();
        if *given == *set && self.warm.load(Relaxed) {
            return;
        }
        *given = set.clone();
        match &self.config.discovery {
            // Host names come into the table by way of the resolver.
            Discovery::StrictDns(_) | Discovery::LogicalDns(_) => self.tell_resolver(),
            _ => {
                if self.used.load(Relaxed) {
                    self.follow(&given);
                }
                self.warm.store(true, Relaxed);
            }
        }
    }

    /// The table, from now on kept.
    pub(crate) fn table(&self) -> Guard<Arc<EndpointTable>> {
        if !self.used.load(Acquire) {
            let given = self.lock();
            self.follow(&given);
            self.used.store(true, Release);
        }
        self.table.load()
    }

    /// Makes the table anew of what is given. Under the lock.
    fn follow(&self, given: &EndpointSet) {
        let local = self.local.load();
        self.swap(EndpointTable::new(given, self.rules(local.as_ref()), &self.table.load()));
    }

    /// Puts a table in place. Under the lock.
    pub(crate) fn swap(&self, table: EndpointTable) {
        if self.config.outlier_detection.is_some() {
            for endpoint in table.endpoints() {
                endpoint.live().watch();
            }
        }
        self.table.store(Arc::new(table));
        self.report(|| Report::Changed);
        self.tell_change();
    }

    /// Makes the table anew of the same endpoints, since their health or their shares have changed.
    pub(crate) fn refresh(&self) {
        let _given = self.lock();
        let local = self.local.load();
        let table = self.table.load().anew(self.rules(local.as_ref()));
        self.table.store(Arc::new(table));
        self.tell_change();
    }

    /// The proxy stands here, and the table heeds it.
    pub(crate) fn stand(&self, local: &Arc<Local>) {
        let before = self.local.swap(Some(local.clone()));
        if before.is_none_or(|before| before != *local) && self.used.load(Relaxed) {
            self.refresh();
        }
    }

    /// What its table is made by.
    pub(crate) fn rules<'a>(&'a self, local: Option<&'a Arc<Local>>) -> Rules<'a> {
        Rules { local: local.map(|local| &**local), ..Rules::of(&self.config) }
    }

    /// Where the proxy stands, as far as the cluster knows.
    pub(crate) fn local(&self) -> Guard<Option<Arc<Local>>> {
        self.local.load()
    }

    fn tell_change(&self) {
        self.on_change.get().into_iter().for_each(|changed| changed.notify_one());
    }

    /// The table for a cluster that takes this one's place. Who was found to fail begins anew, as in Envoy.
    fn bequeath(&self, heir: &model::Cluster) -> Arc<EndpointTable> {
        let table = self.table.load_full();
        let clear = |endpoint: &Arc<Endpoint>| endpoint.live().flag(Flag::Ejected, false);
        let unchecked = |endpoint: &Arc<Endpoint>| {
            let pending = endpoint.live().flag(Flag::Unchecked, false);
            heir.health_check.is_none() && endpoint.live().flag(Flag::FailsChecks, false) | pending
        };
        let cleared = table.endpoints().iter().filter(|endpoint| clear(endpoint) | unchecked(endpoint)).count();
        if cleared == 0 && Rules::of(heir) == Rules::of(&self.config) {
            table
        } else {
            let local = self.local.load_full();
            Arc::new(table.anew(Rules { local: local.as_deref(), ..Rules::of(heir) }))
        }
    }

    /// Tells who wants to know of its endpoints' health.
    pub(crate) fn report(&self, report: impl FnOnce() -> Report) {
        if let Some(reports) = &self.reports {
            reports.tell(report());
        }
    }

    /// Has it ever been used by a worker?
    pub(crate) fn has_been_used(&self) -> bool {
        self.reports.as_ref().is_some_and(|reports| reports.was_used())
    }

    /// Does no snapshot hold it any more?
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    fn tell_resolver(&self) {
        self.renamed.iter().for_each(|renamed| renamed.notify_one());
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Arc<EndpointSet>> {
        self.given.lock().expect("no panic under the lock")
    }

    /// The version of the PROXY header that connections begin with, if they do.
    pub(crate) fn tells_ends(&self) -> Option<ProxyVersion> {
        self.config.connections.as_ref()?.proxy_header
    }

    /// The server name that TLS to this endpoint asks for.
    pub(crate) fn server_name<'a>(&'a self, side: &'a TlsSide, endpoint: &'a Endpoint) -> Option<&'a str> {
        side.server_name().or_else(|| endpoint.host().filter(|_| self.hosts.is_some()))
    }

    /// Does a connection to this endpoint begin with TLS?
    pub(crate) fn tls_to(&self, endpoint: &Endpoint) -> Option<&TlsSide> {
        match &self.config.transport {
            Transport::MeshTls(_) if !endpoint.mesh_tls() => None,
            _ => self.tls.as_deref(),
        }
    }
}

/// The table without endpoints, and the set without any: one for all clusters.
fn nobody() -> Arc<EndpointTable> {
    static NOBODY: LazyLock<Arc<EndpointTable>> = LazyLock::new(Arc::default);
    NOBODY.clone()
}

fn none() -> Arc<EndpointSet> {
    static NONE: LazyLock<Arc<EndpointSet>> = LazyLock::new(Arc::default);
    NONE.clone()
}

fn same_apart_from_endpoints(a: &model::Cluster, b: &model::Cluster) -> bool {
    // Named one by one, so that a new setting is not forgotten here.
    let model::Cluster {
        name,
        discovery,
        balancing,
        prefers_dialled,
        workloads,
        localities,
        connect_timeout,
        protocol,
        transport,
        idle_timeout,
        max_requests_per_connection,
        connections,
        circuit_breakers,
        outlier_detection,
        health_check,
        slow_start,
        panic_percent,
        dns_refresh,
        service,
    } = a;
    let same_discovery = match (discovery, &b.discovery) {
        (Discovery::Static(_), Discovery::Static(_))
        | (Discovery::StrictDns(_), Discovery::StrictDns(_))
        | (Discovery::LogicalDns(_), Discovery::LogicalDns(_)) => true,
        (a, b) => a == b,
    };
    same_discovery
        && *name == b.name
        && *balancing == b.balancing
        && *prefers_dialled == b.prefers_dialled
        && *workloads == b.workloads
        && *localities == b.localities
        && *connect_timeout == b.connect_timeout
        && *protocol == b.protocol
        && *transport == b.transport
        && *idle_timeout == b.idle_timeout
        && *max_requests_per_connection == b.max_requests_per_connection
        && *connections == b.connections
        && *circuit_breakers == b.circuit_breakers
        && *outlier_detection == b.outlier_detection
        && *health_check == b.health_check
        && *slow_start == b.slow_start
        && *panic_percent == b.panic_percent
        && *dns_refresh == b.dns_refresh
        && *service == b.service
}
