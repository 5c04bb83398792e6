//! The documents of the HTTP/JSON API, for both of its sides. Paths and what they take and give:
//!
//! | call | takes | gives |
//! |---|---|---|
//! | `POST /v1/apply` | [`ApplyRequest`] | [`ApplyResponse`]; 422 with [`Failure`] if it is refused |
//! | `POST /v1/delete` | [`DeleteRequest`] | [`ApplyResponse`] |
//! | `DELETE /v1/resources` | [`ResourceQuery`] | [`ApplyResponse`] |
//! | `GET /v1/resources` | [`ResourceQuery`] | [`Resources`] |
//! | `GET /v1/problems` | | [`Problems`] |
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/proxies/{node}/config` | | [`ProxyConfig`] |
//! | `GET /v1/version` | | [`Version`] |
//! | `POST /v1/explain` | [`ExplainRequest`] | [`Explanation`] |
//! | `POST /v1/access` | [`AccessRequest`] | [`AccessAnswers`] |
//! | `GET /v1/access/graph` | | [`AccessGraph`] |
//! | `GET /v1/history` | [`HistoryQuery`] | [`History`] |
//! | `GET /v1/mesh` | | [`Mesh`] |
//! | `GET /v1/mtls` | [`MutualTlsQuery`] | [`MutualTlsPlan`] |
//! | `GET /v1/refusals` | [`RefusalQuery`] | [`RefusalPage`] |
//! | `POST /v1/bootstrap` | [`BootstrapRequest`] | [`Bootstrap`] |
//! | `POST /v1/start` | [`StartRequest`] | [`Start`] |
//! | `POST /v1/tokens` | [`TokenRequest`] | [`Bootstrap`] |
//! | `GET /v1/tokens` | | [`JoinTokenList`] |
//! | `DELETE /v1/tokens/{id}` | | [`Removed`] |
//! | `GET /v1/trust-bundle` | | [`TrustBundle`] |
//! | `POST /v1/dashboard` | | [`DashboardKey`] |
//! | `GET /v1/whoami` | | [`Whoami`] |
//! | `GET /v1/users` | | [`UserList`] |
//! | `POST /v1/users/{name}` (a new one), `PUT /v1/users/{name}` | [`UserRequest`] | [`UserView`] |
//! | `DELETE /v1/users/{name}` | | [`Removed`] |
//! | `POST /v1/users/{name}/tokens` | [`UserTokenRequest`] | [`IssuedToken`] |
//! | `GET /v1/user-tokens` | | [`UserTokenList`] |
//! | `DELETE /v1/user-tokens/{id}` | | [`Removed`] |
//! | `GET /v1/audit` | [`AuditQuery`] | [`AuditPage`] |
//! | `GET /v1/audit/verdict` | | [`AuditVerdict`] |
//! | `GET /v1/ca` | | [`CaStatus`] |
//! | `POST /v1/ca/rotation` | [`RotationRequest`] | [`CaStatus`] |
//! | `POST /v1/ca/import` | [`CaFiles`] | [`CaStatus`] |
//! | `GET /v1/ca/export?with_key=bool` | | [`CaFiles`] |
//!
//! A caller that is not known gets 401, one that lacks a right 403, one that failed too often 429, each with a [`Failure`].
//! Everything else, and every fault, gives a [`Failure`]. Times are RFC 3339 in UTC.

mod access;
mod audit;
mod authority;
mod explain;
mod history;
mod mesh;
mod mtls;
mod plan;
mod refusals;
mod start;
mod users;

use std::net::{IpAddr, SocketAddr};

use api::{Origin, Problem, ResourceKey};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use access::{
    AccessAnswer, AccessAnswers, AccessDestination, AccessEdge, AccessField, AccessGraph, AccessMiss, AccessQuestion,
    AccessRequest, AccessRule, AccessSource, AccessTry,
};
pub use audit::{AuditEntry, AuditPage, AuditQuery, AuditVerdict};
pub use authority::{
    CaFiles, CaStatus, ExportQuery, OldLeaf, RevocationRequest, Revoked, RevokedView, RotationRequest, RotationStep,
    WaitedFor,
};
pub use explain::{ExplainRequest, ExplainedStep, Explanation, PassedOver};
pub use history::{History, HistoryEntry, HistoryQuery};
pub use mesh::{
    DocumentRef, Mesh, MeshEndpoint, MeshGateway, MeshInstance, MeshPort, MeshServer, MeshService, MeshSubset,
    MeshWeight, MeshWorkload,
};
pub use mtls::{MutualTlsClient, MutualTlsPlan, MutualTlsPort, MutualTlsQuery, MutualTlsServer, MutualTlsStep};
pub use plan::{ConfigChange, Plan, PlanGroup};
pub use refusals::{DecidingDocument, Refusal, RefusalPage, RefusalQuery};
pub use start::{Start, StartRequest};
pub use users::{
    DashboardKey, IssuedToken, JoinTokenList, JoinTokenView, Removed, Role, UserList, UserRequest, UserTokenList,
    UserTokenRequest, UserTokenView, UserView, Whoami,
};

/// A file as the user named it, and its text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its name, for problems and origins.
    pub file: String,
    /// YAML or JSON, any number of documents.
    pub text: String,
}

/// There may be Secrets in the text.
impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Document({}, {} bytes)", self.file, self.text.len())
    }
}

/// Apply a set: all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// The set.
    pub documents: Vec<Document>,
    /// The namespace of documents that name none. Default `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Say what would happen, and store nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Refuse on warnings too.
    #[serde(default)]
    pub strict: bool,
}

/// Delete what a set of documents names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// The set.
    pub documents: Vec<Document>,
    /// The namespace of documents that name none. Default `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Say what would happen, and delete nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What became of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApplyResponse {
    /// The store's version at which the set is visible; with `dry_run` the present one.
    pub version: u64,
    /// One for each document, in their order.
    pub results: Vec<Applied>,
    /// Warnings: of the documents, and of names that lead nowhere with this set in place.
    pub problems: Vec<Problem>,
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Which.
    pub key: ResourceKey,
    /// What.
    pub outcome: Outcome,
    /// Where it was written.
    pub origin: Origin,
    /// What a person should know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What became of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is new.
    Created,
    /// It is different.
    Configured,
    /// It is as it was.
    Unchanged,
    /// It is gone.
    Deleted,
    /// It was not there.
    NotFound,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::NotFound => "not found",
        })
    }
}

/// Why a call was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What is wrong.
    pub error: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// What is wrong with the documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// Which resources. Empty fields mean: any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceQuery {
    /// The kind as people type it (`vs`, `virtualservices`, `VirtualService`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The namespace. Default `default`, save with `all_namespaces`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// In every namespace.
    #[serde(default)]
    pub all_namespaces: bool,
}

/// Resources at one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// The store's version.
    pub version: u64,
    /// By kind, namespace and name.
    pub resources: Vec<ResourceView>,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceView {
    /// Which.
    pub key: ResourceKey,
    /// Where it was written.
    pub origin: Origin,
    /// Which source holds it: `api` (it was applied) or `files` (it stands in the watched directory).
    pub source: String,
    /// When it came.
    pub created: String,
    /// Counts its changes, from 1.
    pub generation: u64,
    /// The document as it was written, time and generation filled in. Data of Secrets is left out.
    pub document: Json,
}

/// What stands and cannot work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problems {
    /// The store's version.
    pub version: u64,
    /// Names that lead nowhere, and what is wrong with files of the watched directory.
    pub problems: Vec<Problem>,
}

/// The control plane and every proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The control plane.
    pub control: ControlStatus,
    /// Connected proxies, by node id.
    pub proxies: Vec<ProxyStatus>,
}

/// The control plane itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlStatus {
    /// The program's version.
    pub program: String,
    /// The trust domain.
    pub trust_domain: String,
    /// The store's version.
    pub version: u64,
    /// When it started.
    pub started: String,
    /// For how many seconds it has been running.
    pub uptime_s: u64,
    /// How many resources are stored.
    pub resources: usize,
    /// How many services the mesh has.
    pub services: usize,
    /// How many workloads are registered.
    pub workloads: usize,
    /// How many problems stand.
    pub problems: usize,
    /// The roots that the mesh trusts.
    pub roots: Vec<RootStatus>,
    /// What a person should know, such as two instances that claim one name.
    pub notices: Vec<String>,
}

/// A root of trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootStatus {
    /// `active`, `next`, `retiring` or `trusted`.
    pub state: String,
    /// Its subject.
    pub subject: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    /// Valid to.
    pub not_after: String,
}

/// A connected proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProxyStatus {
    /// Its xDS node id.
    pub node: String,
    /// `sidecar` or `gateway`.
    pub role: String,
    /// Its namespace.
    pub namespace: String,
    /// The workload, such as `reviews-v1`.
    pub workload: String,
    /// The instance, such as `reviews-v1-1`.
    pub instance: String,
    /// The proven identity; none on the plain door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The address at which others reach it.
    pub address: IpAddr,
    /// Where its admin endpoint is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// The version of our proxy; none for another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_version: Option<String>,
    /// Since when it is connected.
    pub connected: String,
    /// When the certificate that it showed expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<String>,
    /// Why its program is not ready and gets no requests; none if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
    /// The store's version that was offered to it last.
    pub version: u64,
    /// One for each type of resource.
    pub types: Vec<TypeStatus>,
}

/// One type of resource at one proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeStatus {
    /// `CDS`, `EDS`, `LDS`, `RDS`, `VHDS`, `SDS` or `NDS`.
    pub kind: String,
    /// Where it stands.
    pub state: SyncState,
    /// How many resources the proxy holds or was sent.
    pub count: usize,
    /// The version that was sent last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
    /// The version that was acknowledged last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked: Option<String>,
    /// What the proxy said when it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nack: Option<String>,
}

/// How far a proxy is with a type of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SyncState {
    /// It acknowledged what was sent last.
    Synced,
    /// It has not answered yet.
    Stale,
    /// It refused what was sent last, at least in part.
    Nacked,
    /// Nothing was sent: it did not ask, or nothing is there for it.
    NeverSent,
}

impl std::fmt::Display for SyncState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::Nacked => "NACKED",
            Self::NeverSent => "NEVER_SENT",
        })
    }
}

/// The configuration that was made for a proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProxyConfig {
    /// Its xDS node id.
    pub node: String,
    /// The store's version that it was made of.
    pub version: u64,
    /// The proxy finds virtual hosts and clusters when it needs them: of these, and of endpoints, it holds only what is listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_demand: bool,
    /// In the order in which they are sent.
    pub kinds: Vec<KindConfig>,
}

/// The resources of one type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindConfig {
    /// `CDS`, `EDS`, `LDS`, `RDS`, `VHDS`, `SDS` or `NDS`.
    pub kind: String,
    /// By name.
    pub resources: Vec<ConfigResource>,
}

/// One resource, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigResource {
    /// Its name.
    pub name: String,
    /// What it says, a fact a line. Never a secret.
    pub summary: Vec<String>,
}

/// The control plane's version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The program's.
    pub version: String,
    /// The store's.
    pub store: u64,
}

/// A launcher asks for what its proxy needs to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapRequest {
    /// The namespace of the workload.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// The instance's name, for the log.
    #[serde(default)]
    pub instance: String,
}

/// A person asks for a token with which a workload on another machine joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRequest {
    /// The namespace of the workload.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// How long the token is good, in seconds. Default one hour; at most one day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
}

/// What a proxy needs to join. The token is a secret, and good for one use.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// For `authorization: Bearer` of the first certificate request.
    pub token: String,
    /// Until when it is good.
    pub expires: String,
    /// The roots that the server is checked against, and that the mesh trusts.
    pub trust_bundle_pem: String,
    /// Where xDS and certificates are served over TLS, `host:port`.
    pub xds_address: String,
    /// The identity that the server must show.
    pub server_spiffe_id: String,
    /// The trust domain.
    pub trust_domain: String,
    /// The identity that the token is good for.
    pub identity: String,
}

impl std::fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bootstrap({} at {}, secret)", self.identity, self.xds_address)
    }
}

/// The roots of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBundle {
    /// The trust domain.
    pub trust_domain: String,
    /// The roots in PEM.
    pub pem: String,
}
