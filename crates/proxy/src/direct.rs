//! Connections to the address of a workload itself. Whether a workload of the mesh is there, and who it is, the control plane is
//! asked when the address is dialled first; what was said is held for as long as it is in use. Where no workload is, the
//! connection goes on as one to any unknown destination.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use model::cluster::{of_workload, workload_of};
use model::{Config, ResourceKind};
use upstream::ClusterPools;

use crate::live::View;
use crate::waiting::{self, NotKnown};
use crate::warm::Need;
use crate::worker::Worker;

/// What is known of addresses that were dialled.
#[derive(Debug, Default)]
pub(crate) struct Direct {
    /// None: nobody is asked here.
    known: Option<HashMap<SocketAddr, Slot>>,
}

#[derive(Debug)]
struct Slot {
    /// The name of its cluster.
    name: Arc<str>,
    is_workload: bool,
    used: AtomicBool,
}

impl Direct {
    /// What a configuration says, and what was said not to exist. What was in use stays so.
    pub(crate) fn of(config: &Config, absent: &BTreeSet<Need>, old: &Self) -> Self {
        let there = config.clusters.keys().map(|name| (name, true));
        let absent = absent.iter().filter(|(kind, _)| *kind == ResourceKind::Cluster).map(|(_, name)| (name, false));
        let slot = |(name, is_workload): (&Arc<str>, bool)| {
            let at = workload_of(name)?;
            let used = old.slot(at).is_some_and(|slot| slot.used.load(Relaxed));
            Some((at, Slot { name: name.clone(), is_workload, used: used.into() }))
        };
        Self { known: Some(absent.chain(there).filter_map(slot).collect()) }
    }

    fn slot(&self, at: SocketAddr) -> Option<&Slot> {
        self.known.as_ref()?.get(&at)
    }

    /// Has nobody to be asked for this name any more?
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.known.is_none() || workload_of(name).is_some_and(|at| self.slot(at).is_some())
    }

    /// Are all that are known among these?
    pub(crate) fn asked_for_only(&self, names: &BTreeSet<Arc<str>>) -> bool {
        self.known.iter().flat_map(HashMap::values).all(|slot| names.contains(&slot.name))
    }

    /// The names that were used since the last call.
    pub(crate) fn take_used(&self) -> Vec<Arc<str>> {
        let used = self.known.iter().flat_map(HashMap::values).filter(|slot| slot.used.swap(false, Relaxed));
        used.map(|slot| slot.name.clone()).collect()
    }

    /// The cluster of the workload at an address that was dialled.
    fn find(&self, at: SocketAddr) -> Found {
        let Some(known) = &self.known else { return Found::Nobody };
        let Some(slot) = known.get(&at) else { return Found::Unknown };
        if !slot.used.load(Relaxed) {
            slot.used.store(true, Relaxed);
        }
        if slot.is_workload { Found::Workload(slot.name.clone()) } else { Found::Nobody }
    }
}

enum Found {
    Workload(Arc<str>),
    Nobody,
    Unknown,
}

/// May a workload of the mesh be at this address, so that [`pools`] has to find out?
pub(crate) fn may_be_workload(pools: &ClusterPools, dialled: SocketAddr) -> bool {
    pools.config().workloads.iter().any(|block| block.contains(&dialled.ip()))
}

/// The pools for a connection that would go to `unknown`: those of the workload that was dialled, if there is one.
///
/// # Errors
/// It did not become known in time. Sent on as it is, it could leave the mesh's TLS.
pub(crate) async fn pools(
    worker: &Worker,
    view: &View,
    unknown: Rc<ClusterPools>,
    dialled: SocketAddr,
) -> Result<Rc<ClusterPools>, NotKnown> {
    // A cluster that cannot run, such as for want of a certificate, leaves nobody to send to.
    let of = |view: &View, name: Arc<str>| view.pools(&name).ok_or(NotKnown { name, waited: Duration::ZERO });
    match view.snapshot.direct.find(dialled) {
        Found::Workload(name) => return of(view, name),
        Found::Nobody => return Ok(unknown),
        Found::Unknown => {}
    }
    let name = of_workload(dialled);
    let view = waiting::until_known_workload(worker, &name).await?;
    match view.snapshot.direct.find(dialled) {
        Found::Workload(name) => of(&view, name),
        Found::Nobody => Ok(unknown),
        // Given up in the same moment: the next connection asks anew.
        Found::Unknown => Err(NotKnown { name, waited: Duration::ZERO }),
    }
}
