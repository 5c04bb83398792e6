//! Kubernetes' own kinds, as far as a mesh reads them: services, what opens them, the workloads behind them, identities,
//! configuration.
//!
//! Of a pod's many fields only those are read that a mesh needs; the others are taken unread.

mod config;
mod ingress;
mod service;
mod workload;

pub use config::{ConfigMap, Namespace, Secret, ServiceAccount, TLS_SECRET};
pub use ingress::*;
pub use service::*;
pub use workload::*;
