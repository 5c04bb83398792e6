//! Counting requests for all proxies: `envoy.service.ratelimit.v3.RateLimitService`, behind the TLS door only.
//!
//! What a request is counted by and whether it is one too many is decided without I/O ([`limits`], [`windows`]); the
//! counts are kept here and in the store ([`counts`]), or in a Redis that several control planes share ([`shared`]).

mod counts;
mod domains;
mod files;
mod limits;
mod service;
mod shared;
mod windows;

pub(crate) use counts::{CountRow, Counts, keep};
pub(crate) use domains::Directory as DomainDirectory;
pub(crate) use files::{Files, follow};
pub(crate) use service::{Keeper, Metrics, RateLimits};
pub(crate) use shared::Shared;
