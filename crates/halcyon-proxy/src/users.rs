//! Filters that users write: scripts and WebAssembly modules.

use std::sync::Arc;

use filter::{Extension, Extensions};
use lua::Scripts;
use model::extension::{Lua, Wasm};
use telemetry::Shard;
use wasm::{Modules, Web};

/// Makes them.
#[derive(Debug)]
pub(crate) struct Users {
    scripts: Scripts,
    modules: Modules,
}

impl Users {
    /// Modules that are elsewhere are fetched from the web.
    pub(crate) fn new() -> Self {
        Self { scripts: Scripts::default(), modules: Modules::new(Arc::new(Web)) }
    }
}

impl Extensions for Users {
    fn lua(&self, settings: &Arc<Lua>, shard: &Shard, prefix: &str) -> Result<Arc<dyn Extension>, String> {
        self.scripts.filter(settings, shard, prefix)
    }

    fn wasm(&self, settings: &Arc<Wasm>, shard: &Shard, prefix: &str) -> Result<Arc<dyn Extension>, String> {
        self.modules.filter(settings, shard, prefix)
    }
}
