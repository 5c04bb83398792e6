//! Counters, histograms and access-log lines; the registry that shows them, and the file that takes them.
//!
//! Knows nobody who is measured: owners declare their families in the [`Shard`] of their worker, keep the handles,
//! and implement [`log::Fields`] to be written to a log.
//!
//! * A handle is resolved once; counting is one relaxed addition on memory that only its worker writes.
//! * A scrape sums the shards, so that the outside sees one series per name and labels.
//! * Durations that are told on, not scraped, are counted in the buckets of [`spread`].
//! * Idle series fall out of the exposition by comparison between sweeps, at no cost when counting.
//!
//! ```
//! use telemetry::{Desc, Exposition, Registry};
//!
//! let registry = Registry::new();
//! let shard = registry.shard();
//! let requests = shard.counters(Desc::new("requests_total", "Requests.").labels(&["code"])).unwrap();
//! let ok = requests.with(&["200"]);
//! ok.inc();
//! let text = registry.expose(&Exposition::default());
//! assert_eq!(text, "# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total{code=\"200\"} 1\n");
//! ```

mod expose;
mod family;
pub mod flags;
pub mod log;
mod metric;
pub mod process;
mod registry;
pub mod spread;

pub use expose::{Exposition, TextFormat};
pub use family::{Desc, Family, Metric, NO_LABEL};
pub use flags::ResponseFlags;
pub use log::sink::{LogSink, LogWriter, SinkOptions, Target};
pub use metric::{Counter, DEFAULT_BUCKETS, Gauge, Histogram};
pub use registry::{DeclareError, Registry, Shard};
pub use spread::Spread;
