//! What a proxy is told at its start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which proxy is about to start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRequest {
    /// Its namespace.
    pub namespace: String,
    /// The workload that it stands beside, or its own name if it is a gateway.
    pub workload: String,
    /// The labels of that.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The annotation `proxy.istio.io/config`, if its launcher knows it. Default: that of its Deployment or Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation: Option<String>,
}

/// What ProxyConfigs, the annotation and the settings of the mesh say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Worker threads; 0 means one for each core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Variables of its process.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// How long it finishes what it has begun when it is told to leave, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_drain_s: Option<f64>,
}
