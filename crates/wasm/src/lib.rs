//! WebAssembly modules as HTTP filters, by the Proxy-Wasm interface (ABI 0.1.0, 0.2.0 and 0.2.1), on wasmtime.
//!
//! Owns compiling and checking modules, their instances, the functions that they import, and an exchange's way through
//! them. Knows no wire form of configuration and no cluster: who fetches modules is [`Fetch`] ([`Web`], usually), and calls
//! of a module go by [`filter::Sender`].
//!
//! * One engine and one compiled module for the process, one instance for each worker: guests run on the worker's thread
//!   and never wait there. What a module waits for, its exchange waits for.
//! * A guest is bounded in memory, in time per call and in whatever it makes its host keep: see [`bounds`].
//! * The head of a request that a module has changed is routed anew if the module asks for it, or is of an ABI before
//!   0.2.1, as in Envoy since 1.33.
//! * A module that pauses the head of a message sees nothing of its body until it goes on, as in Envoy, unless
//!   [its settings](model::extension::Wasm::reads_while_paused) say otherwise.
//! * A body passes piece by piece as the module lets it. One that makes it longer or shorter removes `content-length`
//!   itself, as for Envoy; only where all of a body was shown before its head goes on, its length is told anew.
//! * A local answer that comes while the body of a request is already on its way takes the place of the response.
//! * A call of a cluster that does not exist is answered as one whose connection broke, not refused at once as by Envoy.
//! * gRPC calls of modules are answered `Unimplemented`.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::pin::Pin;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use model::extension::{Wasm, WasmCode, WasmFailure};
//!
//! #[derive(Debug)]
//! struct Nowhere;
//!
//! impl wasm::Fetch for Nowhere {
//!     fn fetch(
//!         &self,
//!         uri: &str,
//!         _: Duration,
//!     ) -> Pin<Box<dyn Future<Output = Result<bytes::Bytes, String>> + Send>> {
//!         let why = format!("nobody fetches {uri}");
//!         Box::pin(async move { Err(why) })
//!     }
//! }
//!
//! let modules = wasm::Modules::new(Arc::new(Nowhere));
//! let settings = Wasm {
//!     name: "quota".into(),
//!     plugin: "quota".into(),
//!     root_id: "".into(),
//!     vm_id: "".into(),
//!     code: WasmCode::Inline("not a module".into()),
//!     configuration: Default::default(),
//!     vm_configuration: Default::default(),
//!     environment: BTreeMap::new(),
//!     host_environment: Vec::new(),
//!     reads_while_paused: false,
//!     failure: WasmFailure::Closed,
//! };
//! let shard = telemetry::Registry::new().shard();
//! let problem = modules.filter(&Arc::new(settings), &shard, "inbound").unwrap_err();
//! assert!(problem.starts_with("the inline module of the filter quota is no WebAssembly"), "{problem}");
//! ```

mod abi;
pub mod bounds;
mod compiled;
mod context;
mod exchange;
mod fetch;
mod filter;
mod heads;
mod host;
mod load;
mod metrics;
mod modules;
mod pairs;
mod plugin;
mod property;
mod pump;
mod root;
mod shared;
mod stats;
#[cfg(test)]
mod tests;
mod vm;
mod worker;

pub use fetch::Web;
pub use modules::{Fetch, Modules};
