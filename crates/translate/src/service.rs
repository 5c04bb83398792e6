//! Services as translation sees them, whichever kind of document they come from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::ResourceKey;
use ipnet::IpNet;
use model::{DestinationService, Endpoint, Locality};

use crate::policy::Asked;
use crate::protocol::Protocol;
use crate::workload::Workload;

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its whole host name.
    pub host: Arc<str>,
    /// Its short name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// The addresses by which it is dialled; the first may be one that the control plane gave it.
    pub addresses: Vec<IpAddr>,
    /// Blocks of addresses by which it is dialled too.
    pub blocks: Vec<IpNet>,
    /// It has no address of its own, and is not to be given one.
    pub headless: Option<Headless>,
    /// Where its endpoints come from.
    pub backing: Backing,
    /// Who may see it.
    pub visible: Visibility,
    /// It lies outside of the mesh: no mesh TLS, no identities.
    pub external: bool,
    /// What it says of the choice of its endpoints.
    pub asked: Asked,
    /// Names that its certificates may carry, beside those of its workloads' accounts.
    pub certificate_names: Vec<String>,
    /// The document that defines it; none if workloads alone imply it.
    pub defined_by: Option<ResourceKey>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePort {
    /// The port that is dialled.
    pub number: u16,
    /// Its name.
    pub name: Option<String>,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The port of the endpoints.
    pub target: Target,
}

/// The port of a service's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Number(u16),
    /// The one that each workload calls so.
    Name(String),
}

/// A service of which clients see the workloads one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headless {
    /// They see those that are not ready too.
    pub unready: bool,
}

/// Where a service's endpoints come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Backing {
    /// Workloads of its namespace with these labels.
    Workloads(BTreeMap<String, String>),
    /// Given with the service.
    Fixed(Vec<FixedEndpoint>),
    /// Given with the service as names that are resolved by the proxies; the flag is for only the first address.
    Dns(Vec<FixedEndpoint>, bool),
    /// Dialled as they are (resolution `NONE`).
    Passthrough,
    /// The hosts that requests name (resolution `DYNAMIC_DNS`).
    Named,
}

/// An endpoint given with its service.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedEndpoint {
    /// An IP address or a name.
    pub address: String,
    /// Ports by the name of the service's port.
    pub ports: BTreeMap<String, u16>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its share, at least 1.
    pub weight: u32,
    /// Where it runs.
    pub locality: Locality,
    /// The account that its identity is made of.
    pub service_account: Option<String>,
}

/// Who may see a service or a rule (`exportTo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Everywhere,
    /// These namespaces.
    Namespaces(BTreeSet<String>),
    /// Nobody.
    Nowhere,
}

impl Visibility {
    /// Reads `exportTo`, whose `.` is `own`. Nothing said is everybody.
    pub fn read<'a>(export_to: impl IntoIterator<Item = &'a str>, own: &str) -> Self {
        let mut namespaces = BTreeSet::new();
        let mut said = false;
        for word in export_to {
            said = true;
            match word {
                "*" => return Self::Everywhere,
                "~" => return Self::Nowhere,
                "." => namespaces.insert(own.to_owned()),
                namespace => namespaces.insert(namespace.to_owned()),
            };
        }
        if said { Self::Namespaces(namespaces) } else { Self::Everywhere }
    }

    /// The same where nothing said is what the mesh has for that.
    pub fn read_or<'a>(export_to: impl IntoIterator<Item = &'a str>, mesh: &'a [String], own: &str) -> Self {
        let mut said = export_to.into_iter().peekable();
        match said.peek() {
            Some(_) => Self::read(said, own),
            None => Self::read(mesh.iter().map(String::as_str), own),
        }
    }

    /// May a proxy in this namespace see it?
    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Namespaces(set) => set.contains(namespace),
            Self::Nowhere => false,
        }
    }
}

impl Service {
    /// The port with this number.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.number == number)
    }

    /// Is this workload one of its instances?
    pub fn selects(&self, workload: &Workload) -> bool {
        let Backing::Workloads(selector) = &self.backing else { return false };
        !selector.is_empty() && workload.namespace == self.namespace && selected(selector, &workload.labels)
    }

    /// Is all the same, but for endpoints of its own?
    pub(crate) fn differs_in_endpoints_only(&self, other: &Self) -> bool {
        let Self { host, name, namespace, ports, addresses, blocks, headless, backing, visible, external, .. } = self;
        let Self { asked, certificate_names, defined_by, .. } = self;
        let same_backing = match (backing, &other.backing) {
            (Backing::Fixed(_), Backing::Fixed(_)) => true,
            (own, others) => own == others,
        };
        same_backing
            && *host == other.host
            && *name == other.name
            && *namespace == other.namespace
            && *ports == other.ports
            && *addresses == other.addresses
            && *blocks == other.blocks
            && *headless == other.headless
            && *visible == other.visible
            && *external == other.external
            && *asked == other.asked
            && *certificate_names == other.certificate_names
            && *defined_by == other.defined_by
    }

    /// Its name in telemetry.
    pub fn reference(&self) -> DestinationService {
        DestinationService {
            host: self.host.clone(),
            name: self.name.as_str().into(),
            namespace: self.namespace.as_str().into(),
        }
    }
}

impl ServicePort {
    /// The port of the program, on this workload. None if it has none by that name.
    pub fn on(&self, workload: &Workload) -> Option<u16> {
        match &self.target {
            Target::Number(number) => Some(*number),
            Target::Name(name) => workload.port_names.get(name).copied(),
        }
    }

    /// The endpoint for this port on a workload.
    pub fn endpoint(&self, workload: &Workload) -> Option<Endpoint> {
        let target = self.on(workload)?;
        let port = workload.ports.get(&target).copied().unwrap_or(target);
        Some(Endpoint {
            weight: workload.weight,
            mesh_tls: workload.mesh_tls,
            workload: Some(workload.reference.clone()),
            ..Endpoint::plain(std::net::SocketAddr::new(workload.address, port))
        })
    }
}

/// Do the labels have all that the selector asks for?
pub fn selected(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visibility() {
        for (export_to, namespace, expected) in [
            (vec![], "other", true),
            (vec!["*"], "other", true),
            (vec!["."], "own", true),
            (vec!["."], "other", false),
            (vec![".", "other"], "other", true),
            (vec!["~"], "own", false),
        ] {
            let visible = Visibility::read(export_to.iter().copied(), "own").includes(namespace);
            assert_eq!(visible, expected, "{export_to:?} for {namespace}");
        }
    }
}
