//! What there is in the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Resource;
use axum::extract::{Json, State};
use translate::inventory::{self, Policies};
use translate::service::{Backing, FixedEndpoint, Service};
use translate::{Mode, Workload, World};

use super::documents::stopping;
use super::{Answer, Parts, Shared};
use crate::store::Versioned;
use crate::v1::{
    DocumentRef, Mesh, MeshEndpoint, MeshGateway, MeshInstance, MeshPort, MeshServer, MeshService, MeshSubset,
    MeshWeight, MeshWorkload, ProxyStatus,
};

/// Answers from one version, beside what else the control plane does: a large mesh takes a while.
pub async fn mesh(State(parts): Shared) -> Answer<Json<Mesh>> {
    tokio::task::spawn_blocking(move || Json(all(&parts))).await.map_err(stopping)
}

fn all(parts: &Parts) -> Mesh {
    let now = parts.store.now();
    let proxies = parts.proxies.status();
    let gateways = parts.proxies.nodes();
    let connected: BTreeMap<(&str, &str), &ProxyStatus> =
        proxies.iter().map(|proxy| ((proxy.namespace.as_str(), proxy.instance.as_str()), proxy)).collect();
    let world = &now.world;
    let policies = policies(world);
    let services: Vec<_> = world.services().map(|it| service(&now, it, &connected, &policies)).collect();
    let workloads = workloads(world, &connected, &policies);
    let mut at_edge: BTreeMap<(String, String), MeshGateway> = BTreeMap::new();
    for (node, _) in gateways.iter().filter(|(node, _)| matches!(node.role, translate::Role::Gateway { .. })) {
        let key = (node.namespace.clone(), node.workload.name.to_string());
        at_edge.entry(key).or_insert_with_key(|key| gateway(world, key, &node.labels));
    }
    let mut namespaces: BTreeSet<String> = services.iter().map(|it| it.namespace.clone()).collect();
    namespaces.extend(workloads.iter().map(|it| it.namespace.clone()));
    namespaces.extend(at_edge.keys().map(|(namespace, _)| namespace.clone()));
    Mesh {
        version: now.version,
        trust_domain: parts.issuer.trust_domain().to_string(),
        namespaces: namespaces.into_iter().collect(),
        services,
        workloads,
        gateways: at_edge.into_values().collect(),
    }
}

/// Proxies by namespace and instance.
type Connected<'a> = BTreeMap<(&'a str, &'a str), &'a ProxyStatus>;
/// What is written for workloads, by namespace and name.
type ByWorkload<'a> = BTreeMap<(&'a str, &'a str), Policies>;

fn policies(world: &World) -> ByWorkload<'_> {
    let mut all = ByWorkload::new();
    for instance in world.workloads() {
        all.entry(name(instance)).or_insert_with(|| inventory::policies(world, instance));
    }
    all
}

fn service(now: &Versioned, service: &Service, connected: &Connected<'_>, policies: &ByWorkload<'_>) -> MeshService {
    let world = &now.world;
    let workloads: BTreeSet<_> = world.workloads_of(service).map(|it| name(it)).collect();
    let rules = inventory::rules(world, service, workloads.iter().filter_map(|name| policies.get(name)));
    let document = service.defined_by.as_ref().and_then(|key| now.resources.get(key));
    let port = |port: &translate::service::ServicePort| MeshPort {
        number: port.number,
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.to_string(),
    };
    let weight = |it: inventory::Weight| MeshWeight {
        document: reference(&it.by),
        host: it.host,
        subset: it.subset,
        weight: it.weight,
    };
    let running = world.workloads_of(service).map(|workload| endpoint(workload, connected));
    let fixed: &[FixedEndpoint] = match &service.backing {
        Backing::Fixed(all) | Backing::Dns(all, _) => all,
        _ => &[],
    };
    MeshService {
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        host: service.host.to_string(),
        kind: service.defined_by.as_ref().map(|key| key.kind.to_string()).unwrap_or_default(),
        addresses: service.addresses.iter().map(ToString::to_string).collect(),
        ports: service.ports.iter().map(port).collect(),
        labels: document.map(|stored| stored.resource.meta.labels.clone()).unwrap_or_default(),
        badges: rules.badges.iter().map(|badge| badge.name().to_owned()).collect(),
        documents: rules.documents.iter().map(reference).collect(),
        subsets: rules.subsets.into_iter().map(|(name, labels)| MeshSubset { name, labels }).collect(),
        weights: rules.weights.into_iter().map(weight).collect(),
        endpoints: running.chain(fixed.iter().map(fixed_endpoint)).collect(),
    }
}

fn endpoint(workload: &Workload, connected: &Connected<'_>) -> MeshEndpoint {
    let proxy = connected.get(&(workload.namespace.as_str(), &*workload.name));
    let reason = proxy.and_then(|proxy| proxy.not_ready.clone());
    MeshEndpoint {
        address: workload.address.to_string(),
        workload: format!("{}/{}", workload.namespace, workload.reference.name),
        version: Some(workload.reference.version.to_string()),
        ready: reason.is_none(),
        reason,
        weight: workload.weight,
        locality: locality(&workload.locality),
        has_proxy: workload.mesh_tls,
    }
}

fn fixed_endpoint(fixed: &FixedEndpoint) -> MeshEndpoint {
    MeshEndpoint {
        address: fixed.address.clone(),
        ready: true,
        weight: fixed.weight,
        locality: locality(&fixed.locality),
        ..MeshEndpoint::default()
    }
}

fn locality(locality: &model::Locality) -> Option<String> {
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let said: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    (!said.is_empty()).then(|| said.join("/"))
}

/// Instances of one workload stand together.
fn workloads(world: &World, connected: &Connected<'_>, policies: &ByWorkload<'_>) -> Vec<MeshWorkload> {
    let mut services: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for service in world.services() {
        for workload in world.workloads_of(service) {
            services.entry(name(workload)).or_default().insert(service.host.to_string());
        }
    }
    let mut all: BTreeMap<(&str, &str), MeshWorkload> = BTreeMap::new();
    for instance in world.workloads() {
        let behind = || services.get(&name(instance)).into_iter().flatten().cloned().collect();
        let workload = all
            .entry(name(instance))
            .or_insert_with(|| workload(world, instance, policies.get(&name(instance)), behind()));
        workload.instances.push(running(instance, connected));
    }
    all.into_values().collect()
}

fn name(workload: &Workload) -> (&str, &str) {
    (&workload.namespace, &workload.reference.name)
}

fn workload(world: &World, instance: &Workload, policies: Option<&Policies>, services: Vec<String>) -> MeshWorkload {
    let documents = policies.into_iter().flat_map(|it| [&it.access, &it.rates, &it.others]).flatten();
    let mtls = match inventory::mutual_tls(world, instance) {
        Mode::Strict => "STRICT",
        Mode::Permissive => "PERMISSIVE",
        Mode::Disable => "DISABLE",
    };
    MeshWorkload {
        namespace: instance.namespace.clone(),
        name: instance.reference.name.to_string(),
        app: instance.reference.service.to_string(),
        version: instance.reference.version.to_string(),
        service_account: instance.service_account.clone(),
        identity: world.identity(&instance.namespace, &instance.service_account).unwrap_or_default(),
        services,
        labels: instance.labels.clone(),
        mtls: mtls.to_owned(),
        documents: documents.map(reference).collect(),
        instances: Vec::new(),
    }
}

fn running(instance: &Workload, connected: &Connected<'_>) -> MeshInstance {
    let proxy = connected.get(&(instance.namespace.as_str(), &*instance.name));
    let reason = proxy.and_then(|proxy| proxy.not_ready.clone());
    MeshInstance {
        name: instance.name.to_string(),
        node: proxy.map(|proxy| proxy.node.clone()),
        address: instance.address.to_string(),
        ready: reason.is_none(),
        reason,
        proxy_version: proxy.and_then(|proxy| proxy.proxy_version.clone()),
        connected: proxy.map(|proxy| proxy.connected.clone()),
        certificate_expires: proxy.and_then(|proxy| proxy.certificate_expires.clone()),
    }
}

fn gateway(world: &World, (namespace, name): &(String, String), labels: &BTreeMap<String, String>) -> MeshGateway {
    let served = inventory::served(world, labels);
    let server = |(port, protocol, hosts, tls): &(u32, String, Vec<String>, String)| MeshServer {
        port: *port,
        protocol: protocol.clone(),
        hosts: hosts.clone(),
        tls: tls.clone(),
    };
    let documents = served.iter().flat_map(|it| std::iter::once(&it.document).chain(&it.rules));
    MeshGateway {
        namespace: namespace.clone(),
        name: name.clone(),
        workload: name.clone(),
        servers: served.iter().flat_map(|it| &it.servers).map(server).collect(),
        documents: documents.map(reference).collect(),
    }
}

fn reference(document: &Arc<Resource>) -> DocumentRef {
    DocumentRef {
        kind: document.kind.to_string(),
        namespace: document.meta.namespace.clone().unwrap_or_default(),
        name: document.meta.name.clone(),
    }
}
