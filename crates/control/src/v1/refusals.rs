//! What was refused or failed, and why.

use serde::{Deserialize, Serialize};

use super::access::{AccessMiss, AccessRule};

/// Which refusals and failures. Empty fields mean: any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalQuery {
    /// Of this `x-request-id`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Told by proxies of this namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Told by the proxy of this workload, or by the proxy with this node id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workload: String,
    /// Of requests to this service, `NAMESPACE/NAME`: told by its own workloads, or by those who called it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// Of this caller: its identity, its account, `NAMESPACE/ACCOUNT`, or its address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Only newer ones than this [`Refusal::seq`].
    #[serde(default)]
    pub after: u64,
    /// The newest so many. Default 20; at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Refusals and failures, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusalPage {
    /// The oldest first.
    pub refusals: Vec<Refusal>,
    /// There are older ones that fit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// How many are kept now, of all.
    pub kept: usize,
    /// How many are kept at most; 0: none, since the control plane was started so.
    pub most: usize,
    /// When the oldest that is kept began; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// The [`Refusal::seq`] of the newest.
    pub last: u64,
}

/// A request or connection that was refused or failed at one proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Counts what was kept.
    pub seq: u64,
    /// When it began; RFC 3339 in UTC, to the millisecond.
    pub time: String,
    /// `x-request-id`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Namespace and name of the workload whose proxy tells it.
    pub workload: String,
    /// That proxy's node id; empty if it is not connected.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Who called: the identity that it proved, else its address.
    pub from: String,
    /// `http` or `tcp`.
    pub protocol: String,
    /// The method.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// The authority.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The path, without its query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// To what the connection was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub destination: String,
    /// The answer's status; 0: there was none.
    pub status: u16,
    /// Envoy's response flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Envoy's `RESPONSE_CODE_DETAILS`, or `CONNECTION_TERMINATION_DETAILS`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// What that means, in a sentence.
    pub why: String,
    /// Why, in the words of the proxy, which saw all of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rule of access that refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<AccessRule>,
    /// Of rules that allow something the one that came nearest, if none allows this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<AccessMiss>,
    /// Other documents that decided or may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<DecidingDocument>,
    /// The cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// The route; of a connection that no filter saw the listener.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub route: String,
    /// Where the last try went.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// Tries made.
    #[serde(default)]
    pub attempts: u32,
    /// What to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// A document, and where in it something is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidingDocument {
    /// Such as `DestinationRule/default/reviews`.
    pub document: String,
    /// The field, such as `spec.trafficPolicy.connectionPool`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// `file:line`, as far as that is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
}
