//! Where a proxy stands among others of its kind, kept in step for the clusters that heed it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use model::Locality;
use model::cluster::Localities;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::cluster::{Cluster, Core};
use crate::zones::Local;

/// Where a proxy runs, and which cluster it is itself an endpoint of. Clusters with [`Localities::Zones`] learn here where the
/// other endpoints of that cluster are, again whenever these change.
pub struct Vantage {
    here: Locality,
    seen: Mutex<Seen>,
    changed: Arc<Notify>,
    followed: AtomicBool,
}

#[derive(Default)]
struct Seen {
    own: Option<Weak<Core>>,
    readers: Vec<Weak<Core>>,
    last: Arc<Local>,
}

impl Vantage {
    /// Of a proxy that runs here, with nothing known of its cluster.
    pub fn new(here: Locality) -> Arc<Self> {
        Arc::new(Self { here, seen: Mutex::default(), changed: Arc::default(), followed: AtomicBool::new(false) })
    }

    /// The proxy's own cluster is this one, and these are all clusters. Those that heed it know it from now on.
    pub fn set<'a>(&self, own: Option<&Arc<Cluster>>, clusters: impl Iterator<Item = &'a Arc<Cluster>>) {
        let heeds = |cluster: &&Arc<Cluster>| matches!(cluster.config().localities, Localities::Zones(_));
        let readers = clusters.filter(heeds).map(|cluster| Arc::downgrade(cluster.core())).collect();
        if let Some(own) = own {
            let _ = own.core().on_change.set(self.changed.clone());
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.own = own.map(|own| Arc::downgrade(own.core()));
        seen.readers = readers;
        drop(seen);
        self.look();
    }

    /// Looks again whenever the proxy's own cluster has other endpoints, or these another health, by a task on `runtime`
    /// that ends with the vantage. A second time does nothing.
    pub fn follow_on(self: &Arc<Self>, runtime: &Handle) {
        if self.followed.swap(true, Relaxed) {
            return;
        }
        let (me, changed) = (Arc::downgrade(self), self.changed.clone());
        runtime.spawn(async move {
            loop {
                changed.notified().await;
                let Some(me) = me.upgrade() else { return };
                me.look();
            }
        });
    }

    /// Tells those who heed it how it is now.
    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.readers.is_empty() {
            return;
        }
        let own = seen.own.as_ref().and_then(Weak::upgrade);
        let now = match &own {
            Some(own) => {
                let table = own.table();
                let first = table.endpoints().iter().filter(|endpoint| endpoint.priority() == 0);
                Local::of(self.here.clone(), first.map(|endpoint| &**endpoint))
            }
            None => Local::unknown(self.here.clone()),
        };
        if *seen.last != now {
            seen.last = Arc::new(now);
        }
        let readers: Vec<Arc<Core>> = seen.readers.iter().filter_map(Weak::upgrade).collect();
        readers.iter().for_each(|core| core.stand(&seen.last));
    }
}

impl Drop for Vantage {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

impl fmt::Debug for Vantage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vantage").field("here", &self.here).finish_non_exhaustive()
    }
}
