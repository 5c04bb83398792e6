//! Collects services from the documents that define them, and from workloads that imply them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::istio::{Location, Resolution, ServiceEntry, WorkloadEntry};
use api::kubernetes::{Service as KubernetesService, ServicePortSpec, ServiceType};
use api::{IntOrString, Kind, Resource, Spec};
use ipnet::IpNet;
use model::Locality;

use super::World;
use super::edit::place;
use crate::locality::{self, Distribution};
use crate::names::{complete_host, without_dot};
use crate::policy::Asked;
use crate::protocol::Protocol;
use crate::routes::read_block;
use crate::service::{Backing, FixedEndpoint, Headless, Service, ServicePort, Target, Visibility};
use crate::settings::MeshSettings;
use crate::vips;
use crate::workload::{ImpliedService, Workload};

/// A service with its instances.
#[derive(Debug, PartialEq)]
pub struct Known {
    /// The service.
    pub service: Arc<Service>,
    /// The workloads that are its instances.
    pub members: Vec<Arc<Workload>>,
    /// The WorkloadEntries with an IP address that are its instances, if it is a Kubernetes Service.
    pub entries: Vec<FixedEndpoint>,
    /// It needs an address from us.
    pub given: bool,
}

impl Known {
    /// A service as it was defined, in a world that has the workloads already; with the address that the world gave it.
    pub fn new(world: &World, mut service: Service) -> Self {
        let members = match &service.backing {
            Backing::Workloads(_) => {
                let near = range(&world.workloads, |w| w.namespace.as_str().cmp(service.namespace.as_str()));
                near.iter().filter(|w| service.selects(w)).cloned().collect()
            }
            _ => Vec::new(),
        };
        let given = needs_address(&service);
        if given {
            service.addresses.extend(world.vips.get(&*service.host).map(|ip| IpAddr::V4(*ip)));
        }
        let entries = match &service.backing {
            Backing::Workloads(selector) if !selector.is_empty() && is_kubernetes(&service) => {
                let mut entries = selected_entries(world, &service.namespace, selector);
                entries.retain(|entry| entry.address.parse::<IpAddr>().is_ok());
                entries
            }
            _ => Vec::new(),
        };
        Self { service: Arc::new(service), members, entries, given }
    }
}

fn is_kubernetes(service: &Service) -> bool {
    service.defined_by.as_ref().is_some_and(|key| key.kind == Kind::Service)
}

fn needs_address(service: &Service) -> bool {
    let has_one = !service.addresses.is_empty() || service.headless.is_some();
    !has_one && !service.host.starts_with('*') && service.backing != Backing::Passthrough
}

impl World {
    /// Gives addresses to services that have none. When the range is used up, those that come last by name stay without.
    pub(super) fn give_addresses(&mut self) {
        let of_egress = self.egress_hosts();
        let known = self.known.iter().filter(|k| k.given).map(|k| &*k.service.host);
        let hosts: Vec<&str> = known.chain(of_egress.iter().map(String::as_str)).collect();
        let mut count = hosts.len();
        let vips = loop {
            match vips::allocate(hosts[..count].iter().copied(), &self.vips) {
                Some(vips) => break vips,
                None => count -= 1,
            }
        };
        for known in self.known.iter_mut().filter(|known| known.given) {
            let addresses: Vec<IpAddr> = vips.get(&*known.service.host).map(|ip| IpAddr::V4(*ip)).into_iter().collect();
            if known.service.addresses != addresses {
                let service = Arc::new(Service { addresses, ..Service::clone(&known.service) });
                *known = Arc::new(Known {
                    service,
                    members: known.members.clone(),
                    entries: known.entries.clone(),
                    given: true,
                });
            }
        }
        if vips != *self.vips {
            self.vips = Arc::new(vips);
        }
    }
}

/// All services, by host. A Kubernetes Service counts more than a ServiceEntry of the same host, and that more than
/// what workloads imply; between equals the first by name counts.
pub fn collect(world: &World) -> Vec<Arc<Known>> {
    let mut by_host: BTreeMap<Arc<str>, Service> = BTreeMap::new();
    let mut add = |service: Service| {
        by_host.entry(service.host.clone()).or_insert(service);
    };
    for resource in world.kubernetes.iter() {
        if let Spec::Service(spec) = &resource.spec {
            add(from_kubernetes(resource, spec, &world.settings));
        }
    }
    for resource in world.entries.iter() {
        if let Spec::ServiceEntry(spec) = &resource.spec {
            from_entry(world, resource, spec).into_iter().for_each(&mut add);
        }
    }
    for workload in world.workloads.iter() {
        if let Some(implied) = &workload.implied_service {
            add(from_workload(workload, implied, &world.settings));
        }
    }
    by_host.into_values().map(|service| Arc::new(Known::new(world, service))).collect()
}

/// The service of a host, by what defines it now.
pub fn define(world: &World, host: &str) -> Option<Service> {
    let defines = |resource: &&Arc<Resource>| hosts(resource, &world.settings).any(|it| *it == *host);
    let resource = world.kubernetes.iter().find(defines).or_else(|| world.entries.iter().find(defines));
    if let Some(resource) = resource {
        return from_resource(world, resource, host);
    }
    world.workloads.iter().find_map(|workload| {
        let implied = workload.implied_service.as_ref()?;
        let service = from_workload(workload, implied, &world.settings);
        (*service.host == *host).then_some(service)
    })
}

/// A service by what defined it before, which is still the same.
pub fn renew(world: &World, service: &Service) -> Option<Service> {
    let Some(key) = &service.defined_by else { return define(world, &service.host) };
    let list = if key.kind == Kind::Service { &world.kubernetes } else { &world.entries };
    let found = range(list, |r| place(r).cmp(&(key.namespace.as_deref().unwrap_or_default(), key.name.as_str())));
    from_resource(world, found.first()?, &service.host)
}

fn from_resource(world: &World, resource: &Resource, host: &str) -> Option<Service> {
    match &resource.spec {
        Spec::Service(spec) => Some(from_kubernetes(resource, spec, &world.settings)),
        Spec::ServiceEntry(spec) => from_entry(world, resource, spec).into_iter().find(|s| *s.host == *host),
        _ => None,
    }
}

/// The hosts of the services that a resource defines.
pub fn hosts<'a>(resource: &'a Resource, settings: &'a MeshSettings) -> impl Iterator<Item = Arc<str>> + 'a {
    let kubernetes = matches!(resource.spec, Spec::Service(_))
        .then(|| complete_host(&resource.meta.name, resource.namespace(), &settings.dns_domain).into());
    let entry = match &resource.spec {
        Spec::ServiceEntry(spec) => &spec.hosts[..],
        _ => &[],
    };
    let written = entry.iter().map(|host| without_dot(&host.value).to_ascii_lowercase().into());
    kubernetes.into_iter().chain(written)
}

/// The resources of a namespace, in a list by namespace and name.
pub fn of_namespace<'a>(all: &'a [Arc<Resource>], namespace: &str) -> &'a [Arc<Resource>] {
    range(all, |resource| resource.namespace().cmp(namespace))
}

/// Those that compare as equal, in a list that is sorted so.
fn range<T>(all: &[T], compare: impl Fn(&T) -> Ordering) -> &[T] {
    let from = all.partition_point(|it| compare(it) == Ordering::Less);
    let count = all[from..].partition_point(|it| compare(it) == Ordering::Equal);
    &all[from..from + count]
}

fn from_kubernetes(resource: &Resource, spec: &KubernetesService, settings: &MeshSettings) -> Service {
    let namespace = resource.namespace().to_owned();
    let external = spec.type_ == ServiceType::ExternalName;
    let backing = match external {
        true => Backing::Dns(vec![fixed(&spec.external_name)], false),
        false => Backing::Workloads(spec.selector.clone()),
    };
    let addresses: BTreeSet<IpAddr> =
        std::iter::once(&spec.cluster_ip).chain(&spec.cluster_ips).filter_map(|ip| ip.parse().ok()).collect();
    let export_to = resource.meta.annotations.get("networking.istio.io/exportTo");
    let export_to = export_to.into_iter().flat_map(|list| list.split(',')).map(str::trim);
    Service {
        host: complete_host(&resource.meta.name, &namespace, &settings.dns_domain).into(),
        name: resource.meta.name.clone(),
        ports: spec.ports.iter().map(kubernetes_port).collect(),
        addresses: addresses.into_iter().collect(),
        blocks: Vec::new(),
        headless: (spec.is_headless() && !external).then_some(Headless { unready: spec.publish_not_ready_addresses }),
        backing,
        visible: Visibility::read_or(export_to, &settings.export_to.services, &namespace),
        external,
        asked: asked(resource),
        certificate_names: Vec::new(),
        defined_by: Some(resource.key()),
        namespace,
    }
}

/// What a resource says of the choice of its services' endpoints.
pub fn asked(resource: &Resource) -> Asked {
    let (field, sticky) = match &resource.spec {
        Spec::Service(spec) => (spec.traffic_distribution.as_str(), spec.session_affinity == "ClientIP"),
        Spec::ServiceEntry(_) => ("", false),
        _ => return Asked::default(),
    };
    Asked { distribution: Distribution::read(field, &resource.meta.annotations), sticky }
}

fn kubernetes_port(port: &ServicePortSpec) -> ServicePort {
    let number = port.port.value as u16;
    let name = (!port.name.is_empty()).then(|| port.name.value.clone());
    let app = (!port.app_protocol.is_empty()).then_some(port.app_protocol.as_str());
    ServicePort {
        number,
        protocol: Protocol::declared(name.as_deref(), app, Some(port.protocol.as_str()), number),
        name,
        target: match &port.target_port {
            Some(IntOrString::Int(target)) => Target::Number(*target as u16),
            Some(IntOrString::String(target)) => Target::Name(target.clone()),
            None => Target::Number(number),
        },
    }
}

fn from_entry(world: &World, resource: &Resource, spec: &ServiceEntry) -> Vec<Service> {
    let namespace = resource.namespace();
    let endpoints: Vec<FixedEndpoint> = spec.endpoints.iter().map(|e| endpoint(e, &e.labels)).collect();
    let external = spec.location == Location::MeshExternal;
    let backing = |host: &str| match (spec.resolution, &spec.workload_selector) {
        (_, Some(selector)) => {
            let selected_entries = selected_entries(world, namespace, &selector.labels);
            if selected_entries.is_empty() {
                Backing::Workloads(selector.labels.clone())
            } else {
                Backing::Fixed(selected_entries)
            }
        }
        (Resolution::None, None) => Backing::Passthrough,
        (Resolution::DynamicDns, None) => Backing::Named,
        (Resolution::Static, None) => Backing::Fixed(endpoints.clone()),
        (Resolution::Dns | Resolution::DnsRoundRobin, None) => {
            let named = if endpoints.is_empty() { vec![fixed(host)] } else { endpoints.clone() };
            Backing::Dns(named, spec.resolution == Resolution::DnsRoundRobin)
        }
    };
    let read = || spec.addresses.iter().filter_map(|address| read_block(&address.value));
    let is_one = |block: &IpNet| block.prefix_len() == block.max_prefix_len();
    let addresses: Vec<IpAddr> = read().filter(is_one).map(|block| block.addr()).collect();
    let blocks: Vec<IpNet> = read().filter(|block| !is_one(block)).collect();
    let service = |host: &str| Service {
        host: host.to_ascii_lowercase().into(),
        name: host.to_owned(),
        namespace: namespace.to_owned(),
        ports: spec.ports.iter().map(entry_port).collect(),
        addresses: addresses.clone(),
        blocks: blocks.clone(),
        headless: None,
        backing: backing(host),
        visible: Visibility::read_or(
            spec.export_to.iter().map(|to| to.value.as_str()),
            &world.settings.export_to.services,
            namespace,
        ),
        external,
        asked: asked(resource),
        certificate_names: spec.subject_alt_names.clone(),
        defined_by: Some(resource.key()),
    };
    spec.hosts.iter().map(|host| service(without_dot(&host.value))).collect()
}

fn entry_port(port: &api::istio::ServicePort) -> ServicePort {
    let number = port.number.value as u16;
    let app = (!port.protocol.is_empty()).then_some(port.protocol.as_str());
    ServicePort {
        number,
        name: Some(port.name.value.clone()),
        protocol: Protocol::declared(Some(&port.name.value), app, None, number),
        target: Target::Number(port.target_port.map_or(number, |target| target as u16)),
    }
}

fn selected_entries(world: &World, namespace: &str, selector: &BTreeMap<String, String>) -> Vec<FixedEndpoint> {
    let near = of_namespace(&world.workload_entries, namespace).iter();
    let read = near.filter_map(|resource| match &resource.spec {
        Spec::WorkloadEntry(spec) => {
            // Most are not meant: they are told apart before labels are put together.
            let has = |(key, value): (&String, &String)| {
                spec.labels.get(key).or_else(|| resource.meta.labels.get(key)) == Some(value)
            };
            selector.iter().all(has).then(|| endpoint(spec, &labels_of_entry(resource)))
        }
        _ => None,
    });
    read.collect()
}

/// The labels of a `WorkloadEntry`: those of its fields count more than those of its metadata.
pub fn labels_of_entry(resource: &Resource) -> BTreeMap<String, String> {
    let mut labels = resource.meta.labels.clone();
    if let Spec::WorkloadEntry(spec) = &resource.spec {
        labels.extend(spec.labels.clone());
    }
    labels
}

fn endpoint(entry: &WorkloadEntry, labels: &BTreeMap<String, String>) -> FixedEndpoint {
    FixedEndpoint {
        address: entry.address.value.clone(),
        ports: entry.ports.iter().map(|(name, port)| (name.clone(), *port as u16)).collect(),
        labels: labels.clone(),
        weight: entry.weight.unwrap_or(1).max(1),
        locality: locality::locality_of(locality::read(&entry.locality), labels),
        service_account: (!entry.service_account.is_empty()).then(|| entry.service_account.clone()),
    }
}

fn fixed(address: &str) -> FixedEndpoint {
    FixedEndpoint {
        address: address.to_owned(),
        ports: BTreeMap::new(),
        labels: BTreeMap::new(),
        weight: 1,
        locality: Locality::default(),
        service_account: None,
    }
}

fn from_workload(workload: &Workload, implied: &ImpliedService, settings: &MeshSettings) -> Service {
    let ports = implied.ports.iter().map(|(number, name)| ServicePort {
        number: *number,
        name: name.clone(),
        protocol: Protocol::declared(name.as_deref(), None, None, *number),
        target: Target::Number(*number),
    });
    Service {
        host: complete_host(&implied.name, &workload.namespace, &settings.dns_domain).into(),
        name: implied.name.clone(),
        namespace: workload.namespace.clone(),
        ports: ports.collect(),
        addresses: Vec::new(),
        blocks: Vec::new(),
        headless: None,
        backing: Backing::Workloads([("app".to_owned(), implied.name.clone())].into()),
        visible: Visibility::read_or([], &settings.export_to.services, &workload.namespace),
        external: false,
        asked: Asked::default(),
        certificate_names: Vec::new(),
        defined_by: None,
    }
}
