//! Questions about one request, and what it would meet.

use serde::{Deserialize, Serialize};

/// A request that somebody wants explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainRequest {
    /// Who sends it: a proxy's node id, an instance, a workload, a service (any of its workloads), or a gateway.
    pub from: String,
    /// The namespace of the caller.
    pub namespace: String,
    /// The host, as the caller's program names it.
    pub host: String,
    /// The port that is dialled; none: the service's only one, or 80 at a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The authority, if it is not the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The server name, for a caller that speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// Names and values of headers.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// What a request would meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Who was taken for the caller.
    pub caller: String,
    /// In the order in which the request meets them.
    pub steps: Vec<ExplainedStep>,
    /// What becomes of it, in a sentence.
    pub verdict: String,
    /// It reaches an endpoint, or is answered as a rule says.
    pub served: bool,
}

/// One thing that a request meets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedStep {
    /// `destination`, `listener`, `virtual host`, `route`, `cluster`, `endpoints`, `policy`, or at the end `patches`: what
    /// EnvoyFilters change of these.
    pub stage: String,
    /// Its name.
    pub name: String,
    /// What it says, a fact a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    /// What was passed over, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<PassedOver>,
}

/// Something that a request does not meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// What it is, with the place where it was written.
    pub name: String,
    /// Why not.
    pub reason: String,
}
