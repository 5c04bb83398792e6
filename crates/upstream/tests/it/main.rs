//! Clusters against origins on loopback: pools, retries, updates, TLS, names.

mod connections;
mod names;
mod origin;
mod tls;
mod updates;
