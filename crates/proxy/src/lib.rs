//! The data plane: accept, chain, route, filters, upstream; the live snapshot and its swap; drain; admin endpoints.
//!
//! Knows no YAML, no Kubernetes, no WebAssembly. One process, several threads: workers, each with a runtime of its own,
//! carry traffic and share nothing that is written on a request's way; the *side* thread does everything else.
//!
//! A request's way, a file per step:
//!
//! ```text
//! listener.rs    accept; one task and one connection per socket; room.rs if they are limited
//! inspect.rs     original destination, ClientHello, HTTP preface
//! connection.rs  the chain (model::chain::select), the end of TLS; then http.rs or tcp.rs
//! request.rs     THE STORY: a line per stage
//!   table.rs     the virtual host; waiting.rs if that has to be asked for first (demand.rs)
//!   head.rs      what every head goes through: edge.rs, peer.rs, trace.rs
//!   forward.rs   the tries (limits.rs, replay.rs) -> upstream
//!   respond.rs   a fault becomes a local response and a response flag
//!   record.rs    opened once, closed exactly once -> log.rs, series.rs
//! ```
//!
//! A change's way: `ads.rs` (or a [`Handle`]) -> `apply.rs` (with `warm.rs`, `secrets.rs`) -> `live.rs` -> `worker.rs`.
//!
//! ```no_run
//! use proxy::{Options, Proxy, bootstrap::Bootstrap};
//! let bootstrap = Bootstrap::load("bootstrap.json".as_ref())?;
//! Proxy::start(bootstrap, Options { signals: true, ..Options::default() })?.wait();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod admin;
mod ads;
mod apply;
mod around;
mod attributes;
pub mod bootstrap;
mod connection;
mod demand;
mod direct;
mod dns;
mod drain;
mod dump;
mod edge;
mod files;
mod forward;
mod geo;
mod head;
mod http;
mod http_plan;
mod identity;
mod inspect;
mod lifetime;
mod limits;
mod link;
mod listener;
mod live;
mod log;
mod marks;
mod named;
mod node;
mod observe;
mod otlp;
mod outlet;
mod peer;
mod plain;
mod program;
mod reason;
mod record;
mod replay;
mod request;
mod respond;
mod room;
mod route_stats;
mod run;
mod secrets;
mod series;
#[cfg(test)]
mod sizes;
mod socket;
mod spans;
mod state;
mod status;
mod sticky;
mod table;
mod target;
mod tcp;
mod trace;
mod tunnel;
mod unary;
mod upgrade;
mod waiting;
mod warm;
mod wishes;
mod worker;
mod workload_api;

pub use run::{Handle, LogLevel, Options, Proxy, StartError};
pub use state::ResourcesError;
