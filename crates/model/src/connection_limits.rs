//! How many connections from downstream there may be at once. As in Envoy this is no part of a listener: it may change
//! without one (runtime keys `overload.global_downstream_max_connections` and
//! `envoy.resource_limits.listener.<name>.connection_limit`).

use std::collections::BTreeMap;
use std::sync::Arc;

/// Limits to the number of connections that were accepted and have not ended. Who is one too many is closed at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionLimits {
    /// The name of the resource.
    pub name: Arc<str>,
    /// For all listeners together, save those that [ignore it](crate::Listener::ignores_common_limit).
    pub common: Option<u32>,
    /// For single listeners, by their names.
    pub by_listener: BTreeMap<Arc<str>, u32>,
}

impl ConnectionLimits {
    /// The name under which proxies ask for theirs.
    pub const RESOURCE: &'static str = "connections";
}
