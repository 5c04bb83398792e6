//! The statistics of filters by Envoy's names (`envoy_http_fault_*` with the label `http_conn_manager_prefix`).

use std::fmt;

use telemetry::{Counter, DeclareError, Desc, Family, Gauge, Shard};

/// Where the filters of one HTTP proxy count. What they count is rare, so that workers may share it.
#[derive(Clone)]
pub struct Stats {
    pub(crate) prefix: Box<str>,
    pub(crate) delays: Family<Counter>,
    pub(crate) aborts: Family<Counter>,
    pub(crate) active: Family<Gauge>,
}

impl Stats {
    /// The statistics under `prefix` ([`HttpProxy::stat_prefix`](model::HttpProxy)).
    ///
    /// # Errors
    /// Somebody else has declared one of them in another way: a mistake of the program.
    pub fn new(shard: &Shard, prefix: &str) -> Result<Self, DeclareError> {
        let desc = |name: &str, help: &str| {
            Desc::new(&format!("envoy_http_fault_{name}"), help).labels(&["http_conn_manager_prefix"])
        };
        Ok(Self {
            prefix: prefix.into(),
            delays: shard.counters(desc("delays_injected", "Requests that were delayed."))?,
            aborts: shard.counters(desc("aborts_injected", "Requests that were aborted."))?,
            active: shard.gauges(desc("active_faults", "Delays under way."))?,
        })
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
