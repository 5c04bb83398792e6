//! The control plane from outside: over its Unix socket, and over TLS with proxies that run only the xDS session.
#![allow(missing_docs)]

mod callers;
mod doors;
mod fake;
mod leaks;
mod mesh;
mod refusals;
mod remote;
mod rotation;
mod samples;
mod svids;
