//! Metrics that modules define: families of ours, named `envoy_wasmcustom_` and what the module calls them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use telemetry::{Counter, Desc, Gauge, Histogram, Shard};

use crate::abi::Status;
use crate::bounds;
use crate::shared::lock;

const HELP: &str = "Defined by a WebAssembly module.";

/// The names that modules of the process have defined: a family is never forgotten.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashSet<String>>);

/// The metrics of one instance.
pub(crate) struct Metrics {
    shard: Shard,
    names: Arc<Names>,
    defined: Vec<Metric>,
    /// The numbers by which the guest calls them.
    numbers: HashMap<(u32, String), u32>,
}

#[derive(Clone)]
enum Metric {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Names {
    fn admit(&self, name: &str) -> bool {
        let mut names = lock(&self.0);
        names.contains(name) || (names.len() < bounds::METRICS && names.insert(name.to_owned()))
    }
}

impl Metrics {
    /// None yet; they will be counted in `shard`.
    pub(crate) fn new(shard: Shard, names: Arc<Names>) -> Self {
        Self { shard, names, defined: Vec::new(), numbers: HashMap::new() }
    }

    /// The number of a metric of this kind (counter, gauge, histogram), defined if it is new.
    pub(crate) fn define(&mut self, kind: u32, name: &[u8]) -> Result<u32, Status> {
        let cleaned = clean(name).ok_or(Status::BadArgument)?;
        if let Some(number) = self.numbers.get(&(kind, cleaned.clone())) {
            return Ok(*number);
        }
        if kind > 2 {
            return Err(Status::BadArgument);
        }
        if !self.names.admit(&cleaned) {
            return Err(Status::InternalFailure);
        }
        let desc = Desc::new(&cleaned, HELP);
        let metric = match kind {
            0 => self.shard.counters(desc).map(|family| Metric::Counter(family.with(&[]))),
            1 => self.shard.gauges(desc).map(|family| Metric::Gauge(family.with(&[]))),
            _ => self.shard.histograms(desc).map(|family| Metric::Histogram(family.with(&[]))),
        };
        // A name is of one kind.
        self.defined.push(metric.map_err(|_| Status::BadArgument)?);
        let number = self.defined.len() as u32;
        self.numbers.insert((kind, cleaned), number);
        Ok(number)
    }

    /// Counts on, or back for a gauge.
    pub(crate) fn increment(&self, number: u32, by: i64) -> Result<(), Status> {
        match self.get(number)? {
            Metric::Counter(counter) => counter.add(by.try_into().map_err(|_| Status::BadArgument)?),
            Metric::Gauge(gauge) => gauge.add(by),
            Metric::Histogram(_) => return Err(Status::BadArgument),
        }
        Ok(())
    }

    /// Sets a gauge, or counts an observation; a counter counts on.
    pub(crate) fn record(&self, number: u32, value: u64) -> Result<(), Status> {
        match self.get(number)? {
            Metric::Counter(counter) => counter.add(value),
            Metric::Gauge(gauge) => gauge.set(value as i64),
            Metric::Histogram(histogram) => histogram.observe(value as f64),
        }
        Ok(())
    }

    /// What it stands at, as far as it was counted in this shard.
    pub(crate) fn value(&self, number: u32) -> Result<u64, Status> {
        match self.get(number)? {
            Metric::Counter(counter) => Ok(counter.get()),
            Metric::Gauge(gauge) => Ok(gauge.get() as u64),
            Metric::Histogram(_) => Err(Status::BadArgument),
        }
    }

    fn get(&self, number: u32) -> Result<&Metric, Status> {
        self.defined.get((number as usize).wrapping_sub(1)).ok_or(Status::NotFound)
    }
}

/// The name in Prometheus' alphabet; none if it is empty or too long.
fn clean(name: &[u8]) -> Option<String> {
    let fits = (1..=bounds::METRIC_NAME).contains(&name.len());
    let letter = |byte: &u8| if byte.is_ascii_alphanumeric() || *byte == b':' { *byte as char } else { '_' };
    fits.then(|| "envoy_wasmcustom_".chars().chain(name.iter().map(letter)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defined_counted_and_shown() {
        let registry = telemetry::Registry::new();
        let mut metrics = Metrics::new(registry.shard(), Arc::default());
        let counter = metrics.define(0, b"a.b-c").unwrap();
        assert_eq!(metrics.define(0, b"a.b-c"), Ok(counter));
        let (gauge, histogram) = (metrics.define(1, b"g").unwrap(), metrics.define(2, b"h").unwrap());
        for (number, by, expected) in [
            (counter, 2, Ok(())),
            (counter, -1, Err(Status::BadArgument)),
            (gauge, -5, Ok(())),
            (histogram, 1, Err(Status::BadArgument)),
            (0, 1, Err(Status::NotFound)),
            (99, 1, Err(Status::NotFound)),
        ] {
            assert_eq!(metrics.increment(number, by), expected, "{number} {by}");
        }
        metrics.record(histogram, 3).unwrap();
        assert_eq!((metrics.value(counter), metrics.value(gauge)), (Ok(2), Ok((-5_i64) as u64)));
        assert_eq!(metrics.value(histogram), Err(Status::BadArgument));
        let text = registry.expose(&telemetry::Exposition::default());
        for line in ["envoy_wasmcustom_a_b_c 2", "envoy_wasmcustom_g -5", "envoy_wasmcustom_h_count 1"] {
            assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
        }
        for (kind, name) in [(1, &b"a.b-c"[..]), (3, b"x"), (0, b""), (0, &[b'x'; 300])] {
            assert_eq!(metrics.define(kind, name), Err(Status::BadArgument), "{kind}");
        }
        let refused = (0..2 * bounds::METRICS).find_map(|name| metrics.define(0, format!("n{name}").as_bytes()).err());
        assert_eq!(refused, Some(Status::InternalFailure));
    }
}
