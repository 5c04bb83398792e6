//! The modules of a process: where filters come from.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER_PERMISSIVE;
use model::extension::{Wasm, WasmCode};
use telemetry::Shard;

use crate::compiled::{Compiled, Digest, Engine};
use crate::filter::WasmFilter;
use crate::load::{Load, Remote};
use crate::metrics::Names;
use crate::plugin::{Own, Plugin};
use crate::shared::{Shared, lock};
use crate::stats::Stats;

/// Who gets modules that are elsewhere.
pub trait Fetch: fmt::Debug + Send + Sync {
    /// What stands at a URI: `http`, `https` or `oci`. Whoever drops the future gives it up.
    ///
    /// # Errors
    /// Why there is nothing, for people.
    fn fetch(&self, uri: &str, timeout: Duration) -> Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>>;
}

/// The modules of a process: each is compiled once. Keep one.
#[derive(Debug)]
pub struct Modules {
    fetch: Arc<dyn Fetch>,
    /// Made for the first filter: who has none needs no thread.
    engine: OnceLock<Result<Arc<Engine>, String>>,
    plugins: Mutex<Vec<Weak<Plugin>>>,
    shared: Arc<Shared>,
    names: Arc<Names>,
}

impl Modules {
    /// No modules yet; those elsewhere will be got there.
    pub fn new(fetch: Arc<dyn Fetch>) -> Self {
        Self {
            fetch,
            engine: OnceLock::new(),
            plugins: Mutex::default(),
            shared: Arc::default(),
            names: Arc::default(),
        }
    }

    /// A module as a filter, which counts at `shard`. Filters of equal settings share what their module keeps. A module at
    /// hand is compiled here and now; one elsewhere is fetched meanwhile. Envoy counts what modules do without the prefix of
    /// the HTTP proxy, and so do we.
    ///
    /// # Errors
    /// What is wrong with a module at hand, or with the settings.
    pub fn filter(
        &self,
        settings: &Arc<Wasm>,
        shard: &Shard,
        _prefix: &str,
    ) -> Result<Arc<dyn filter::Extension>, String> {
        let engine = self.engine.get_or_init(|| Engine::new().map(Arc::new)).clone()?;
        let compiled = at_hand(&engine, settings)?;
        let digest = compiled.as_ref().map(|compiled| compiled.digest);
        let mut plugins = lock(&self.plugins);
        plugins.retain(|plugin| plugin.strong_count() > 0);
        let same = plugins
            .iter()
            .filter_map(Weak::upgrade)
            .find(|plugin| plugin.settings == *settings && plugin.digest == digest);
        if let Some(plugin) = same {
            return Ok(Arc::new(WasmFilter::new(plugin)));
        }
        let stats = Stats::new(shard).map_err(|error| error.to_string())?;
        let load = match compiled {
            Some(compiled) => Load::there(compiled),
            None => self.begin(engine, settings, &stats)?,
        };
        let own = Own {
            shard: shard.clone(),
            shared: self.shared.clone(),
            space: self.shared.space(&settings.vm_id),
            names: self.names.clone(),
            environment: environment(settings),
        };
        let plugin = Arc::new(Plugin::new(settings.clone(), digest, load, stats, own));
        plugins.push(Arc::downgrade(&plugin));
        Ok(Arc::new(WasmFilter::new(plugin)))
    }

    fn begin(&self, engine: Arc<Engine>, settings: &Wasm, stats: &Stats) -> Result<Load, String> {
        let WasmCode::Remote { uri, sha256, timeout } = &settings.code else {
            return Err(format!("the filter {} has no module", settings.name));
        };
        let digest = sha256.as_deref().map(|text| {
            let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
            bytes.and_then(|bytes| Digest::try_from(bytes).ok()).ok_or_else(|| {
                let name = &settings.name;
                format!("the filter {name} has the SHA-256 {text:?}; expected are 64 hexadecimal digits")
            })
        });
        Load::begin(Remote {
            engine,
            fetch: self.fetch.clone(),
            uri: uri.clone(),
            digest: digest.transpose()?,
            timeout: *timeout,
            stats: stats.clone(),
            what: format!("the module of the filter {} at {uri}", settings.name),
        })
    }
}

/// The module, if it need not be fetched.
fn at_hand(engine: &Engine, settings: &Wasm) -> Result<Option<Arc<Compiled>>, String> {
    let name = &settings.name;
    match &settings.code {
        WasmCode::Inline(bytes) => {
            Ok(Some(engine.compiled(bytes, &format!("the inline module of the filter {name}"))?))
        }
        WasmCode::File(path) => {
            let what = format!("the file {path}, module of the filter {name},");
            let bytes = std::fs::read(Path::new(&**path)).map_err(|error| format!("{what} cannot be read: {error}"))?;
            Ok(Some(engine.compiled(&bytes, &what)?))
        }
        WasmCode::Remote { .. } => Ok(None),
    }
}

/// What the guest sees of variables: its own go before the proxy's.
fn environment(settings: &Wasm) -> Arc<[(String, String)]> {
    let of_host = settings.host_environment.iter().filter(|name| !settings.environment.contains_key(*name));
    let of_host = of_host.filter_map(|name| Some((name.to_string(), std::env::var(&**name).ok()?)));
    let own = settings.environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    of_host.chain(own).collect()
}
