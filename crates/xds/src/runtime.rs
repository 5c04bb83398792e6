//! The keys of Envoy's runtime that mean something here.

/// The most connections of all listeners together.
pub(crate) const COMMON: &str = "overload.global_downstream_max_connections";

const OF_LISTENER: (&str, &str) = ("envoy.resource_limits.listener.", ".connection_limit");

/// The most connections of one listener.
pub(crate) fn key_of_listener(name: &str) -> String {
    format!("{}{name}{}", OF_LISTENER.0, OF_LISTENER.1)
}

/// The name of the listener in such a key.
pub(crate) fn listener_of_key(key: &str) -> Option<&str> {
    key.strip_prefix(OF_LISTENER.0)?.strip_suffix(OF_LISTENER.1).filter(|name| !name.is_empty())
}
