//! What proxies refused and what failed at them: taken by Envoy's access log service (`envoy.service.accesslog.v3`) behind
//! the TLS door, kept in a ring, and said in plain words for `halcyon why`.
//!
//! Kept in memory only, and bounded three ways: in entries, in bytes, and by fairness: when it is full, the workload that
//! has most gives its oldest.

mod entry;
mod ring;
mod service;
mod why;
mod words;

pub(crate) use ring::Ring;
pub(crate) use service::{MOST_MESSAGE_BYTES, Metrics, Refusals};
pub(crate) use why::page;
