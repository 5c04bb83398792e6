//! Running instances as the registry knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Locality, WorkloadRef};

/// One running instance with one identity.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The instance's name, unique in its namespace.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: String,
    /// The account that its identity is made of.
    pub service_account: String,
    /// Its labels, which services and subsets select by.
    pub labels: BTreeMap<String, String>,
    /// The address at which it is reached.
    pub address: IpAddr,
    /// Where it is reached for a port of the program, if not at the same port.
    pub ports: BTreeMap<u16, u16>,
    /// Named ports of the program.
    pub port_names: BTreeMap<String, u16>,
    /// It takes the mesh's mutual TLS.
    pub mesh_tls: bool,
    /// Ports of the program that are not its sidecar's: nobody speaks the mesh's TLS there.
    pub beside: BTreeSet<u16>,
    /// Its share among its neighbours, at least 1.
    pub weight: u32,
    /// Where it runs.
    pub locality: Locality,
    /// The service that it is an instance of when nothing that was applied says so: its name and ports.
    pub implied_service: Option<ImpliedService>,
    /// Its names in telemetry.
    pub reference: Arc<WorkloadRef>,
}

/// A service that exists because a workload said that it is an instance of it (`halcyon run --service`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImpliedService {
    /// The service's short name.
    pub name: String,
    /// Its ports: number, and the name that declares the protocol.
    pub ports: Vec<(u16, Option<String>)>,
}

/// The names of a workload in telemetry, from its labels (Istio's rules for canonical names).
pub fn reference(name: &str, namespace: &str, labels: &BTreeMap<String, String>, cluster: &str) -> Arc<WorkloadRef> {
    let label = |keys: &[&str]| keys.iter().find_map(|k| labels.get(*k)).map(String::as_str);
    let service = label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]).unwrap_or(name);
    let version = label(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]);
    Arc::new(WorkloadRef {
        name: name.into(),
        namespace: namespace.into(),
        service: service.into(),
        version: version.unwrap_or("latest").into(),
        cluster: cluster.into(),
    })
}
