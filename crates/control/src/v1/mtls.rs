//! Who takes and who sends plain text, by what is applied, and the way to mutual TLS.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Of which servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutualTlsQuery {
    /// Of this namespace; empty: of all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Of this workload, or of the proxy with this node id; empty: of all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workload: String,
}

/// What is applied, of those servers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MutualTlsPlan {
    /// The servers whose proxies are connected.
    pub servers: Vec<MutualTlsServer>,
    /// Rules by which sidecars send plain text, or TLS of another kind, to these servers.
    pub clients: Vec<MutualTlsClient>,
    /// What to apply, one after the other. Steps with nothing to do are left out.
    pub steps: Vec<MutualTlsStep>,
    /// What has to be known besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A workload that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MutualTlsServer {
    /// Its namespace.
    pub namespace: String,
    /// The workload.
    pub workload: String,
    /// Its proxy's node id.
    pub node: String,
    /// The address of its proxy.
    pub address: IpAddr,
    /// Where its proxy is asked who sends plain text; none: it cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// Its proxy is one of ours, which counts who sends plain text.
    pub ours: bool,
    /// Its ports.
    pub ports: Vec<MutualTlsPort>,
}

/// A port of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MutualTlsPort {
    /// The program's port.
    pub port: u16,
    /// Where its proxy listens.
    pub bind: SocketAddr,
    /// `DISABLE`, `PERMISSIVE` or `STRICT`.
    pub mode: String,
}

/// A rule of clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MutualTlsClient {
    /// Such as `DestinationRule/default/reviews`.
    pub document: String,
    /// `file:line`, as far as that is known.
    pub at: String,
    /// The host that it is for.
    pub host: String,
    /// `DISABLE`, `SIMPLE` or `MUTUAL`.
    pub mode: String,
}

/// A step on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MutualTlsStep {
    /// What it is for.
    pub title: String,
    /// After it plain text is refused.
    pub strict: bool,
    /// What is applied.
    pub documents: Vec<Json>,
}
