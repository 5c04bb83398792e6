//! What the mesh saw: what proxies tell, the graph of who calls whom, metric and trace stores, taps, and their API.
//!
//! Proxies report over a stream that their door proved ([`Observe::service`]); spans come by OTLP and Zipkin
//! ([`Observe::spans_service`], [`Observe::spans_router`]); questions are answered by [`Observe::routes`], in the documents
//! of [`documents`]. Knows nothing of how traffic is proxied, of discovery or of resources.
//!
//! The way of a figure: `ingest` (checked, bounded) → `table` (the slot of now, frames of the last minutes) → `disk`
//! (15 s for hours, 5 minutes for days); `window` adds up any span of time from these; `flow` makes one of what both sides
//! told; `graph`, `stat` and `series` answer.
//!
//! ```
//! use observe::{Observe, Options};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let shard = telemetry::Registry::new().shard();
//! let observe = Observe::open(None, Options::default(), base::Clock::system(), &shard).unwrap();
//! let router = observe.routes().into_iter().fold(axum::Router::<()>::new(), |router, route| {
//!     // Here whoever mounts it asks whether the caller may, by `route.needs`.
//!     router.route(route.path, route.serve)
//! });
//! let (signal, watch) = base::drain::channel();
//! let running = tokio::spawn(observe.run(watch));
//! # drop(router);
//! signal.start();
//! # running.await.unwrap();
//! # });
//! ```

mod api;
mod book;
mod disk;
pub mod documents;
mod file;
mod flow;
mod graph;
mod ingest;
mod metrics;
mod moment;
mod names;
mod observe;
mod options;
pub mod pages;
mod prometheus;
mod row;
mod series;
mod service;
#[cfg(test)]
mod simulated;
mod stat;
mod table;
mod tally;
mod taps;
mod traces;
mod window;

pub use api::{Needs, Route};
pub use file::ObserveError;
pub use ingest::Teller;
pub use observe::{Observe, Sitting};
pub use options::Options;
pub use service::{Reports, Tellers};
pub use taps::{TapFilter, TapItem, Tapped, TooManyTaps};
pub use traces::doors::Spans;
