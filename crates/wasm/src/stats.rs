//! What is counted of modules and their instances, by Envoy's names: `envoy_wasm_remote_load_*` and
//! `envoy_wasm_envoy_wasm_runtime_wasmtime_*`. `failed`, and what is counted of reloads without a filter's name, are ours.

use std::fmt;

use telemetry::{Counter, DeclareError, Desc, Gauge, Shard};

/// The handles.
#[derive(Clone)]
pub(crate) struct Stats {
    pub cache_hits: Counter,
    pub cache_misses: Counter,
    pub fetch_successes: Counter,
    pub fetch_failures: Counter,
    pub created: Counter,
    pub active: Gauge,
    pub failed: Counter,
    pub reload_success: Counter,
    pub reload_failure: Counter,
    pub reload_backoff: Counter,
}

impl Stats {
    /// Declared there.
    pub(crate) fn new(shard: &Shard) -> Result<Self, DeclareError> {
        let name = |name: &str, help: &str| Desc::new(&format!("envoy_wasm_{name}"), help);
        let counter = |short: &str, help: &str| Ok(shard.counters(name(short, help))?.with(&[]));
        Ok(Self {
            cache_hits: counter("remote_load_cache_hits", "Modules that were known by their digest before a fetch.")?,
            cache_misses: counter("remote_load_cache_misses", "Modules that had to be fetched.")?,
            fetch_successes: counter("remote_load_fetch_successes", "Fetches that brought a module that can be run.")?,
            fetch_failures: counter("remote_load_fetch_failures", "Fetches that did not.")?,
            created: counter("envoy_wasm_runtime_wasmtime_created", "Instances that were made.")?,
            active: shard.gauges(name("envoy_wasm_runtime_wasmtime_active", "Instances that there are."))?.with(&[]),
            failed: counter("envoy_wasm_runtime_wasmtime_failed", "Instances that died or did not start.")?,
            reload_success: counter("vm_reload_success", "Instances made in the place of one that had died.")?,
            reload_failure: counter("vm_reload_failure", "Instances that could not take the place of one.")?,
            reload_backoff: counter("vm_reload_backoff", "Requests that came while no new instance was tried yet.")?,
        })
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stats")
    }
}
