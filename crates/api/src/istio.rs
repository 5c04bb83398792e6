//! Istio's kinds: their whole schemas (istio/api, July 2026), and the checks that need one document only.
//!
//! Each file holds a kind; `check` beside it holds its rules. A rule is an error where Istio refuses the document or
//! could not do what it says, a warning where Istio takes it but it most likely is not what was meant.

mod authorization_policy;
mod destination_rule;
mod envoy_filter;
mod extension;
mod gateway;
mod legacy_rbac;
mod mesh_config;
mod peer_authentication;
mod request_authentication;
mod rules;
mod service_entry;
mod sidecar;
mod telemetry;
mod virtual_service;
mod workload_entry;
mod workload_group;

pub use authorization_policy::*;
pub use destination_rule::*;
pub use envoy_filter::*;
pub use extension::*;
pub use gateway::*;
pub use legacy_rbac::*;
pub use mesh_config::*;
pub use peer_authentication::*;
pub use request_authentication::*;
pub use service_entry::*;
pub use sidecar::*;
pub use telemetry::*;
pub use virtual_service::*;
pub use workload_entry::*;
pub use workload_group::*;

pub(crate) use mesh_config::check::{check_annotations, check_config_map, warn_of_mesh};
pub(crate) use rules::check_host;
