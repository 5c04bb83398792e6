//! What there is in the mesh: services, workloads, gateways, and what is written for them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mesh {
    /// The store's version.
    pub version: u64,
    /// The trust domain.
    pub trust_domain: String,
    /// Namespaces in which there is anything, by name.
    pub namespaces: Vec<String>,
    /// By host.
    pub services: Vec<MeshService>,
    /// By namespace and name.
    pub workloads: Vec<MeshWorkload>,
    /// By namespace and name.
    pub gateways: Vec<MeshGateway>,
}

/// A document that has a say.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DocumentRef {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for kinds that live outside of namespaces.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshService {
    /// Its namespace.
    pub namespace: String,
    /// Its short name.
    pub name: String,
    /// Its whole host name.
    pub host: String,
    /// The kind of the document that defines it; empty if workloads alone imply it.
    pub kind: String,
    /// The addresses by which it is dialled.
    pub addresses: Vec<String>,
    /// Its ports.
    pub ports: Vec<MeshPort>,
    /// Labels of the document.
    pub labels: BTreeMap<String, String>,
    /// What happens on the way to it besides plain forwarding, such as `faultInjection`.
    pub badges: Vec<String>,
    /// Documents in force for it.
    pub documents: Vec<DocumentRef>,
    /// Its subsets.
    pub subsets: Vec<MeshSubset>,
    /// How a rule splits requests to it, if one does.
    pub weights: Vec<MeshWeight>,
    /// Who answers.
    pub endpoints: Vec<MeshEndpoint>,
}

/// A port of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshPort {
    /// The port that is dialled.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// What is spoken on it.
    pub protocol: String,
}

/// A named part of a service's workloads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshSubset {
    /// Its name.
    pub name: String,
    /// Labels of its workloads.
    pub labels: BTreeMap<String, String>,
}

/// A share of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshWeight {
    /// What says it.
    pub document: DocumentRef,
    /// Where to.
    pub host: String,
    /// To this subset of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// The share, relative to the others.
    pub weight: u32,
}

/// Who answers for a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshEndpoint {
    /// Its address.
    pub address: String,
    /// The workload, `NAMESPACE/NAME`; empty for a fixed endpoint.
    pub workload: String,
    /// The workload's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// It gets requests.
    pub ready: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its share among its neighbours.
    pub weight: u32,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// A proxy of the mesh stands beside it.
    pub has_proxy: bool,
}

/// A workload, which may have several instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshWorkload {
    /// Its namespace.
    pub namespace: String,
    /// Its name, such as `reviews-v1`.
    pub name: String,
    /// The app that it is of.
    pub app: String,
    /// Its version.
    pub version: String,
    /// Its account.
    pub service_account: String,
    /// Its SPIFFE identity.
    pub identity: String,
    /// Hosts of the services that it is behind.
    pub services: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Mutual TLS that it asks for: `STRICT`, `PERMISSIVE` or `DISABLE`.
    pub mtls: String,
    /// Documents in force for it.
    pub documents: Vec<DocumentRef>,
    /// What runs.
    pub instances: Vec<MeshInstance>,
}

/// A running instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshInstance {
    /// Its name.
    pub name: String,
    /// The xDS node id of its proxy, if that is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The address at which it is reached.
    pub address: String,
    /// It gets requests.
    pub ready: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The version of our proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_version: Option<String>,
    /// Since when its proxy is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<String>,
    /// When the certificate of its proxy expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<String>,
}

/// A gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshGateway {
    /// Its namespace.
    pub namespace: String,
    /// Its workload's name.
    pub name: String,
    /// The name by which its traffic is told.
    pub workload: String,
    /// What it serves.
    pub servers: Vec<MeshServer>,
    /// The Gateways and rules that say so.
    pub documents: Vec<DocumentRef>,
}

/// A port that a gateway serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshServer {
    /// The port.
    pub port: u32,
    /// What is spoken there.
    pub protocol: String,
    /// The hosts.
    pub hosts: Vec<String>,
    /// How TLS ends there, in Istio's words; empty: it is not spoken.
    pub tls: String,
}
