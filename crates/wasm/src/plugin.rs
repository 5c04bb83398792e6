//! A module with its settings, as all workers share it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::extension::Wasm;
use telemetry::Shard;
use tokio::sync::watch;

use crate::compiled::{Compiled, Digest};
use crate::load::Load;
use crate::metrics::Names;
use crate::shared::{Shared, Space};
use crate::stats::Stats;

/// A module with its settings. On each worker it has a root context, for as long as anybody has it.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// No other of the process has it.
    pub id: u64,
    pub settings: Arc<Wasm>,
    /// What a file held that the settings name.
    pub digest: Option<Digest>,
    pub load: Load,
    pub stats: Stats,
    pub own: Own,
    vm_key: OnceLock<VmKey>,
    /// Those who hold receivers hear when nobody has the plugin any more.
    gone: watch::Sender<()>,
}

/// What its instances are made with.
#[derive(Clone)]
pub(crate) struct Own {
    pub shard: Shard,
    pub shared: Arc<Shared>,
    pub space: Arc<Space>,
    pub names: Arc<Names>,
    /// Variables that the guest sees, name and value.
    pub environment: Arc<[(String, String)]>,
}

/// Which plugins of a worker have one instance. It is asked for at every request, so it is hashed once.
#[derive(Debug, Clone)]
pub(crate) struct VmKey(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    hash: u64,
    /// Where the process' modules are.
    modules: usize,
    vm_id: Arc<str>,
    digest: Digest,
    configuration: Bytes,
    environment: Arc<[(String, String)]>,
}

impl PartialEq for VmKey {
    fn eq(&self, other: &Self) -> bool {
        let parts = |key: &'_ Self| (key.0.hash, key.0.modules, key.0.digest);
        Arc::ptr_eq(&self.0, &other.0)
            || parts(self) == parts(other)
                && self.0.vm_id == other.0.vm_id
                && self.0.configuration == other.0.configuration
                && self.0.environment == other.0.environment
    }
}

impl Eq for VmKey {}

impl Hash for VmKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl Plugin {
    /// A plugin that nobody has yet.
    pub(crate) fn new(settings: Arc<Wasm>, digest: Option<Digest>, load: Load, stats: Stats, own: Own) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let (id, gone) = (LAST.fetch_add(1, Relaxed), watch::channel(()).0);
        Self { id, settings, digest, load, stats, own, vm_key: OnceLock::new(), gone }
    }

    /// Closes when nobody has the plugin any more.
    pub(crate) fn gone(&self) -> watch::Receiver<()> {
        self.gone.subscribe()
    }

    /// Which instance it is part of.
    pub(crate) fn vm_key(&self, compiled: &Compiled) -> &VmKey {
        self.vm_key.get_or_init(|| {
            let modules = Arc::as_ptr(&self.own.shared).addr();
            let (vm_id, configuration) = (self.settings.vm_id.clone(), self.settings.vm_configuration.clone());
            let (digest, environment) = (compiled.digest, self.own.environment.clone());
            let mut hasher = DefaultHasher::new();
            (modules, &vm_id, digest, &configuration, &environment).hash(&mut hasher);
            let hash = hasher.finish();
            VmKey(Arc::new(Parts { hash, modules, vm_id, digest, configuration, environment }))
        })
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("space", &self.space.vm_id).finish_non_exhaustive()
    }
}
