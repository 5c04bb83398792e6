//! Collects services from the documents that define them, and from workloads that imply them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::istio::{Location, Resolution, ServiceEntry, WorkloadEntry};
use api::kubernetes::{Service as KubernetesService, ServicePortSpec, ServiceType};
use api::{IntOrString, Resource, Spec};
use model::Locality;

use crate::names::{complete_host, without_dot};
use crate::protocol::Protocol;
use crate::service::{Backing, FixedEndpoint, Service, ServicePort, Target, Visibility};
use crate::settings::MeshSettings;
use crate::workload::{ImpliedService, Workload};

/// All services, by host. A Kubernetes Service counts more than a ServiceEntry of the same host, and that more than
/// what workloads imply; between equals the first by name counts.
pub fn collect(resources: &[Arc<Resource>], workloads: &[Arc<Workload>], settings: &MeshSettings) -> Vec<Service> {
    let mut by_host: BTreeMap<Arc<str>, Service> = BTreeMap::new();
    let mut add = |service: Service| {
        by_host.entry(service.host.clone()).or_insert(service);
    };
    for resource in resources {
        if let Spec::Service(spec) = &resource.spec {
            add(from_kubernetes(resource, spec, settings));
        }
    }
    let entries: Vec<&Arc<Resource>> = resources.iter().filter(|r| matches!(r.spec, Spec::WorkloadEntry(_))).collect();
    for resource in resources {
        if let Spec::ServiceEntry(spec) = &resource.spec {
            from_entry(resource, spec, &entries).into_iter().for_each(&mut add);
        }
    }
    for workload in workloads {
        if let Some(implied) = &workload.implied_service {
            add(from_workload(workload, implied, settings));
        }
    }
    by_host.into_values().collect()
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
        backing,
        visible: Visibility::read(export_to, &namespace),
        external,
        certificate_names: Vec::new(),
        defined_by: Some(resource.key()),
        namespace,
    }
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

fn from_entry(resource: &Resource, spec: &ServiceEntry, entries: &[&Arc<Resource>]) -> Vec<Service> {
    let namespace = resource.namespace();
    let endpoints: Vec<FixedEndpoint> = spec.endpoints.iter().map(|e| endpoint(e, &e.labels)).collect();
    let external = spec.location == Location::MeshExternal;
    let backing = |host: &str| match (spec.resolution, &spec.workload_selector) {
        (_, Some(selector)) => {
            let selected_entries = selected_entries(entries, namespace, &selector.labels);
            if selected_entries.is_empty() {
                Backing::Workloads(selector.labels.clone())
            } else {
                Backing::Fixed(selected_entries)
            }
        }
        (Resolution::None | Resolution::DynamicDns, None) => Backing::Passthrough,
        (Resolution::Static, None) => Backing::Fixed(endpoints.clone()),
        (Resolution::Dns | Resolution::DnsRoundRobin, None) => {
            let named = if endpoints.is_empty() { vec![fixed(host)] } else { endpoints.clone() };
            Backing::Dns(named, spec.resolution == Resolution::DnsRoundRobin)
        }
    };
    let addresses: Vec<IpAddr> = spec.addresses.iter().filter_map(|a| a.value.parse().ok()).collect();
    let service = |host: &str| Service {
        host: host.to_ascii_lowercase().into(),
        name: host.to_owned(),
        namespace: namespace.to_owned(),
        ports: spec.ports.iter().map(entry_port).collect(),
        addresses: addresses.clone(),
        backing: backing(host),
        visible: Visibility::read(spec.export_to.iter().map(|to| to.value.as_str()), namespace),
        external,
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

fn selected_entries(
    entries: &[&Arc<Resource>],
    namespace: &str,
    selector: &BTreeMap<String, String>,
) -> Vec<FixedEndpoint> {
    let near = entries.iter().filter(|r| r.namespace() == namespace);
    let read = near.filter_map(|resource| match &resource.spec {
        Spec::WorkloadEntry(spec) => {
            let mut labels = resource.meta.labels.clone();
            labels.extend(spec.labels.clone());
            crate::service::selected(selector, &labels).then(|| endpoint(spec, &labels))
        }
        _ => None,
    });
    read.collect()
}

fn endpoint(entry: &WorkloadEntry, labels: &BTreeMap<String, String>) -> FixedEndpoint {
    let mut places = entry.locality.split('/').map(str::to_owned);
    let mut place = || places.next().unwrap_or_default();
    FixedEndpoint {
        address: entry.address.value.clone(),
        ports: entry.ports.iter().map(|(name, port)| (name.clone(), *port as u16)).collect(),
        labels: labels.clone(),
        weight: entry.weight.unwrap_or(1).max(1),
        locality: Locality { region: place(), zone: place(), sub_zone: place() },
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
        backing: Backing::Workloads([("app".to_owned(), implied.name.clone())].into()),
        visible: Visibility::Everywhere,
        external: false,
        certificate_names: Vec::new(),
        defined_by: None,
    }
}
