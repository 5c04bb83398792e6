//! A worker's side of all clusters: their pools, made when first used, and the rounds that close what is idle.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::rc::{Rc, Weak};
use std::time::Duration;

use telemetry::{DeclareError, Shard};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::dial::Dialer;
use crate::pool::Shared;
use crate::pools::{ClusterPools, IdHasher};
use crate::stats::{ClusterStats, Families};

/// Time between two rounds. Idle connections close at most this much too early or late, and those of endpoints and
/// clusters that are gone at most this much late.
pub const ROUND: Duration = Duration::from_secs(1);

/// The upstream side of one worker. Lives on its thread, inside of a `LocalSet`.
pub struct Worker {
    dialer: Rc<Dialer>,
    families: Rc<Families>,
    clusters: RefCell<HashMap<u64, Rc<ClusterPools>, BuildHasherDefault<IdHasher>>>,
    now: Rc<Cell<Instant>>,
    /// Rounds are being made: only while there are connections, so that an idle proxy sleeps.
    awake: Cell<bool>,
    me: Weak<Self>,
}

impl Worker {
    /// A worker that dials like this, and counts in its shard.
    ///
    /// # Errors
    /// Somebody else has declared one of the statistics in another way: a mistake of the program.
    pub fn new(dialer: Dialer, shard: &Shard) -> Result<Rc<Self>, DeclareError> {
        let families = Rc::new(Families::new(shard)?);
        Ok(Rc::new_cyclic(|me| Self {
            dialer: Rc::new(dialer),
            families,
            clusters: RefCell::default(),
            now: Rc::new(Cell::new(Instant::now())),
            awake: Cell::new(false),
            me: me.clone(),
        }))
    }

    /// The pools of a cluster in this worker.
    pub fn cluster(&self, cluster: &Cluster) -> Rc<ClusterPools> {
        let core = cluster.core();
        if let Some(pools) = self.clusters.borrow().get(&core.id) {
            return pools.clone();
        }
        let me = self.me.clone();
        let pools = ClusterPools::new(Shared {
            core: core.clone(),
            dialer: self.dialer.clone(),
            stats: Rc::new(ClusterStats::new(self.families.clone(), &core.config, core.breakers.clone())),
            now: self.now.clone(),
            on_connection: Rc::new(move || {
                if let Some(worker) = me.upgrade() {
                    worker.wake();
                }
            }),
        });
        let mut clusters = self.clusters.borrow_mut();
        // Those without connections would otherwise wait for a round that nothing brings about.
        clusters.retain(|_, pools| !pools.is_retired() || pools.has_connections());
        clusters.insert(core.id, pools.clone());
        pools
    }

    /// One round: closes connections that have been idle for too long, and those of endpoints and clusters that are
    /// gone. Says whether any connection is left. Happens by itself; tests call it.
    pub fn maintain(&self) -> bool {
        self.now.set(Instant::now());
        let all: Vec<_> = self.clusters.borrow().iter().map(|(id, pools)| (*id, pools.clone())).collect();
        let mut left = false;
        for (id, pools) in all {
            if pools.is_retired() {
                self.clusters.borrow_mut().remove(&id);
                pools.close();
            } else {
                left |= pools.maintain();
            }
        }
        left
    }

    /// Closes the idle HTTP/1.1 connections that a burst has left: those that nobody has used since the last round, save
    /// one for each endpoint. For when the downstream has become quiet.
    pub fn trim(&self) {
        let all: Vec<_> = self.clusters.borrow().values().cloned().collect();
        all.iter().for_each(|pools| pools.trim());
    }

    /// Makes rounds until no connection is left.
    fn wake(&self) {
        if self.awake.replace(true) {
            return;
        }
        self.now.set(Instant::now());
        let me = self.me.clone();
        spawn_local(async move {
            loop {
                sleep(ROUND).await;
                let Some(worker) = me.upgrade() else { return };
                if !worker.maintain() {
                    worker.awake.set(false);
                    return;
                }
            }
        });
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("clusters", &self.clusters.borrow().len()).finish_non_exhaustive()
    }
}
