//! Questions about who may do what, and the answers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// A request or connection that somebody wants judged, by what is written in full or by the names of both sides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AccessRequest {
    /// What is written.
    pub question: AccessQuestion,
    /// The caller by name: a workload, a Deployment, a Pod or a service, in the namespace of `namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The service that is called, short or whole, in place of a destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The service's port; none: its only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The namespace of both names.
    pub namespace: String,
}

/// A request or connection, written in full.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccessQuestion {
    /// Who calls.
    pub source: AccessSource,
    /// Who is called.
    pub destination: AccessDestination,
    /// `http` (the default) or `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The method; `GET` if none is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path; `/` if none is said. A query is looked at by roles of `rbac.istio.io` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `Host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The name that the caller asks for by TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// What a valid token says; `iss` and `sub` make the request's principal.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub claims: Map<String, Json>,
}

/// Who calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccessSource {
    /// The identity that mutual TLS proves, `TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`; none: there is no mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// With `account`, in place of `principal`: the namespace of an identity of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The account of that identity; `default` if none is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The other end of the connection; 0.0.0.0 if none is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The client as trusted proxies tell it; as `ip` if none is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<IpAddr>,
}

/// Who is called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccessDestination {
    /// The namespace of the workload; `default` if none is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The labels of the workload.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The port of its program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its address; 0.0.0.0 if none is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// It is a gateway.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gateway: bool,
    /// The account of the workload, by which TrafficTargets mean it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The whole hosts of the services that lead to the port, by which roles and intentions mean it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}

/// What becomes of a request or connection: one answer for each kind of workload that it may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessAnswers {
    /// `allow` if each of them lets it pass, else `deny`.
    pub decision: String,
    /// One by one.
    pub answers: Vec<AccessAnswer>,
}

/// What one kind of workload says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessAnswer {
    /// The workload, by its namespace and labels.
    pub workload: String,
    /// `allow` or `deny`.
    pub decision: String,
    /// Why, in a sentence.
    pub reason: String,
    /// The rule that decided, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<AccessRule>,
    /// Of rules that allow something the one that came nearest, if none allows this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<AccessMiss>,
    /// Rules that note it down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audited: Vec<AccessRule>,
    /// What policies that are only tried would say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dry_run: Vec<AccessTry>,
    /// The policies that concern the workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

/// A rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// Namespace and name of the policy.
    pub policy: String,
    /// The number of its rule, from 0.
    pub rule: usize,
    /// `file:line`, as far as that is known.
    pub at: String,
}

/// A rule that would have allowed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessMiss {
    /// The rule.
    #[serde(flatten)]
    pub rule: AccessRule,
    /// What did not fit.
    pub failed: Vec<AccessField>,
}

/// A field that did not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessField {
    /// Its path in the document.
    pub field: String,
    /// `file:line`, as far as that is known.
    pub at: String,
    /// What did not fit, in words.
    pub reason: String,
}

/// What policies of one action that are only tried would say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessTry {
    /// The action.
    pub action: String,
    /// `allow` or `deny`.
    pub decision: String,
    /// The rule that would decide, if one would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<AccessRule>,
}

/// Who may call whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessGraph {
    /// Each caller and port between which something may pass.
    pub edges: Vec<AccessEdge>,
}

/// A caller, a port of a service, and what may pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessEdge {
    /// `namespace/account`; `*` for whoever has no identity.
    pub from: String,
    /// The service's host.
    pub to: String,
    /// Its port.
    pub port: u16,
    /// `all`, or `some` where further conditions decide.
    pub may: String,
    /// The policies that allow it, `namespace/name`; none if nothing needs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
}
