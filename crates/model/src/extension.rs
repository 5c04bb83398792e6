//! Filters that users write: Lua scripts and WebAssembly modules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::metadata::Fields;

/// A Lua script as a filter (Envoy's `envoy.filters.http.lua`).
#[derive(Debug, Clone, PartialEq)]
pub struct Lua {
    /// The name under which it stands in its chain, and under which routes speak to it.
    pub name: Arc<str>,
    /// A prefix of its own for what it counts; empty: none.
    pub stat_prefix: Arc<str>,
    /// What runs where a route says nothing else.
    pub script: Option<Script>,
    /// Scripts that routes choose by name.
    pub named: BTreeMap<Arc<str>, Script>,
    /// The route is found again when the script has changed the head of a request.
    pub reroutes: bool,
    /// What `filterContext()` tells where the route brings none.
    pub context: Option<Fields>,
}

/// The text of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// This one.
    Text(Arc<str>),
    /// What stands in a file of the proxy's machine.
    File(Arc<str>),
}

/// What a route or virtual host says to a Lua filter.
#[derive(Debug, Clone, PartialEq)]
pub struct LuaRule {
    /// What runs; none: what runs elsewhere.
    pub script: Option<LuaChoice>,
    /// What `filterContext()` tells.
    pub context: Option<Fields>,
}

/// What runs on a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LuaChoice {
    /// Nothing.
    Off,
    /// A script of the filter's, by name.
    Named(Arc<str>),
    /// A script of its own.
    Script(Script),
}

/// A WebAssembly module as a filter, by the Proxy-Wasm interface (Envoy's `envoy.filters.http.wasm`).
#[derive(Debug, Clone, PartialEq)]
pub struct Wasm {
    /// The name under which it stands in its chain.
    pub name: Arc<str>,
    /// The name that the module is told, and that its log lines bear.
    pub plugin: Arc<str>,
    /// Tells modules with several filters which is meant.
    pub root_id: Arc<str>,
    /// Filters of one module with the same identifier and configuration share one instance on each worker.
    pub vm_id: Arc<str>,
    /// The module.
    pub code: WasmCode,
    /// What the module is configured with.
    pub configuration: Bytes,
    /// What its instance is configured with.
    pub vm_configuration: Bytes,
    /// Environment variables that it sees.
    pub environment: BTreeMap<Arc<str>, Arc<str>>,
    /// Variables of the proxy's own environment that it sees.
    pub host_environment: Vec<Arc<str>>,
    /// It sees bodies while it pauses the head before them (Envoy's `allow_on_headers_stop_iteration`).
    pub reads_while_paused: bool,
    /// What becomes of requests while there is no module, or it has failed.
    pub failure: WasmFailure,
}

/// Where a module is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WasmCode {
    /// Here.
    Inline(Bytes),
    /// In a file of the proxy's machine.
    File(Arc<str>),
    /// Elsewhere: `http`, `https` or `oci` (an image of a registry).
    Remote {
        /// The whole URI.
        uri: Arc<str>,
        /// What its SHA-256 must be, in lower-case hexadecimal digits; none: whatever it is.
        sha256: Option<Arc<str>>,
        /// How long the fetch may take.
        timeout: Duration,
    },
}

/// What becomes of requests while there is no module, or it has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WasmFailure {
    /// They are refused.
    Closed,
    /// They pass.
    Open,
    /// They are refused, and a new instance is tried.
    Reload,
}
