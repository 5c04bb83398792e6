//! What a set would do to proxies before it is applied.

use api::Problem;
use serde::{Deserialize, Serialize};

use super::Applied;

/// What a set would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The store's version that it is compared with.
    pub version: u64,
    /// One for each document, in their order.
    pub results: Vec<Applied>,
    /// Warnings.
    pub problems: Vec<Problem>,
    /// How many proxies are connected.
    pub connected: usize,
    /// Those that are concerned; proxies with the same changes together.
    pub groups: Vec<PlanGroup>,
}

/// Proxies to which a set does the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanGroup {
    /// Their names, `productpage-v1.default`.
    pub proxies: Vec<String>,
    /// What is different, by kind in the order of sending.
    pub changes: Vec<ConfigChange>,
}

/// One resource of a proxy that would be different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// `CDS`, `EDS`, `LDS`, `RDS`, `VHDS`, `SDS` or `NDS`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it says now; empty if it is new.
    pub before: Vec<String>,
    /// What it would say; empty if it would be gone.
    pub after: Vec<String>,
}
