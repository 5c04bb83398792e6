//! Clusters against origins on loopback: pools, retries, updates, TLS, names.

mod checks;
mod connections;
mod limits;
mod named;
mod names;
mod origin;
mod outliers;
mod proxy_headers;
mod tls;
mod updates;
mod zones;
