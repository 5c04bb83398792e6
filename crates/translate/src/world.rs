//! Everything at one version, with the indexes that translation asks.

mod services;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::SystemTime;

use api::istio::{DestinationRule, Gateway, PeerAuthentication, Sidecar, VirtualService};
use api::kubernetes::{Deployment, Secret};
use api::{Resource, Spec};
use base::{HostPattern, SpiffeId};

use crate::names::complete_host;
use crate::node::Node;
use crate::peer_authentication::Mode;
use crate::policy::Policies;
use crate::service::{Backing, Service, ServicePort, Visibility, selected};
use crate::settings::MeshSettings;
use crate::vips::{self, Vips};
use crate::workload::Workload;

/// What a world is made of.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Settings of the mesh.
    pub settings: MeshSettings,
    /// Every resource.
    pub resources: Vec<Arc<Resource>>,
    /// Every registered workload.
    pub workloads: Vec<Arc<Workload>>,
    /// Addresses given before.
    pub vips: Vips,
    /// PEM of the roots that the mesh trusts.
    pub trust_bundle: Vec<u8>,
}

/// Everything at one version.
#[derive(Debug, Default)]
pub struct World {
    /// Settings of the mesh.
    pub settings: MeshSettings,
    /// PEM of the roots that the mesh trusts.
    pub trust_bundle: Vec<u8>,
    /// The addresses that are given now, to be handed to the next version.
    pub vips: Vips,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) workloads: Vec<Arc<Workload>>,
    pub(crate) virtual_services: Vec<Document<VirtualService>>,
    pub(crate) destination_rules: Vec<Document<DestinationRule>>,
    pub(crate) gateways: Vec<Document<Gateway>>,
    pub(crate) sidecars: Vec<Document<Sidecar>>,
    pub(crate) peer_authentications: Vec<Document<PeerAuthentication>>,
    pub(crate) secrets: Vec<Document<Secret>>,
    deployments: Vec<Document<Deployment>>,
    by_host: HashMap<Arc<str>, usize>,
    members: HashMap<Arc<str>, Vec<usize>>,
}

/// A resource of a known kind.
pub(crate) struct Document<T> {
    pub resource: Arc<Resource>,
    kind: PhantomData<fn() -> T>,
}

/// The fields of one kind among those of all.
pub(crate) trait OfKind: Sized {
    fn of(spec: &Spec) -> Option<&Self>;
}

macro_rules! of_kind {
    ($($kind:ident)*) => {$(impl OfKind for $kind {
        fn of(spec: &Spec) -> Option<&Self> {
            match spec { Spec::$kind(fields) => Some(fields), _ => None }
        }
    })*};
}
of_kind!(VirtualService DestinationRule Gateway Sidecar PeerAuthentication Secret Deployment);

impl<T: OfKind> Document<T> {
    /// The resources of this kind, the oldest first.
    fn all(resources: &[Arc<Resource>]) -> Vec<Self> {
        let mut all: Vec<Self> = resources
            .iter()
            .filter(|resource| T::of(&resource.spec).is_some())
            .map(|resource| Self { resource: resource.clone(), kind: PhantomData })
            .collect();
        all.sort_by(|a, b| a.age().cmp(&b.age()));
        all
    }

    /// The fields.
    pub fn spec(&self) -> &T {
        T::of(&self.resource.spec).expect("made only of resources of this kind")
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.resource.namespace()
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.resource.meta.name
    }

    /// Orders from old to young; what has no date counts as old, and the name decides between equals.
    pub fn age(&self) -> (SystemTime, &str, &str) {
        (self.resource.meta.created.unwrap_or(SystemTime::UNIX_EPOCH), self.namespace(), self.name())
    }
}

impl<T: OfKind> std::fmt::Debug for Document<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.resource.key())
    }
}

impl World {
    /// Indexes the inputs.
    pub fn new(inputs: Inputs) -> Self {
        let Inputs { settings, resources, mut workloads, vips, trust_bundle } = inputs;
        workloads.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let mut services = services::collect(&resources, &workloads, &settings);
        let vips = give_addresses(&mut services, &vips);
        let services: Vec<Arc<Service>> = services.into_iter().map(Arc::new).collect();
        let by_host = services.iter().enumerate().map(|(i, s)| (s.host.clone(), i)).collect();
        let members = members(&services, &workloads);
        Self {
            virtual_services: Document::all(&resources),
            destination_rules: Document::all(&resources),
            gateways: Document::all(&resources),
            sidecars: Document::all(&resources),
            peer_authentications: Document::all(&resources),
            secrets: Document::all(&resources),
            deployments: Document::all(&resources),
            settings,
            trust_bundle,
            vips,
            services,
            workloads,
            by_host,
            members,
        }
    }

    /// All services, by host.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// The service of a host: by its whole name, else a wildcard's that covers it.
    pub fn service(&self, host: &str) -> Option<&Arc<Service>> {
        let exact = self.by_host.get(host).map(|i| &self.services[*i]);
        exact.or_else(|| {
            let wild = self.services.iter().filter(|s| s.host.starts_with('*'));
            let covering = wild.filter(|s| s.host.parse::<HostPattern>().is_ok_and(|p| p.matches(host)));
            covering.max_by_key(|s| s.host.len())
        })
    }

    /// The workloads that are instances of a service.
    pub fn workloads_of(&self, service: &Service) -> impl Iterator<Item = &Arc<Workload>> {
        self.members.get(&service.host).into_iter().flatten().map(|i| &self.workloads[*i])
    }

    /// The identities that a server of this service may have: those of its workloads, running or described.
    pub fn identities(&self, service: &Service) -> BTreeSet<String> {
        let identity = |namespace: &str, account: &str| {
            SpiffeId::workload(&self.settings.trust_domain, namespace, account).ok().map(|id| id.to_string())
        };
        let running = self.workloads_of(service).filter_map(|w| identity(&w.namespace, &w.service_account));
        let mut all: BTreeSet<String> = running.chain(service.certificate_names.iter().cloned()).collect();
        match &service.backing {
            Backing::Workloads(selector) => {
                let described = self.deployments.iter().filter(|d| d.namespace() == service.namespace);
                let of_service =
                    described.map(|d| &d.spec().template).filter(|t| selected(selector, &t.metadata.labels));
                all.extend(of_service.filter_map(|t| identity(&service.namespace, t.spec.service_account())));
            }
            Backing::Fixed(list) | Backing::Dns(list, _) => {
                let accounts = list.iter().filter_map(|e| e.service_account.as_deref());
                all.extend(accounts.filter_map(|account| identity(&service.namespace, account)));
            }
            Backing::Passthrough => {}
        }
        all
    }

    /// Does a workload take the mesh's TLS at this address and port?
    pub(crate) fn is_mesh_address(&self, address: &str, port: u16) -> bool {
        let Ok(ip) = address.parse::<std::net::IpAddr>() else { return false };
        self.workloads.iter().filter(|w| w.address == ip).any(|w| {
            let target = w.ports.iter().find(|(_, at)| **at == port).map_or(port, |(target, _)| *target);
            self.takes_mesh_tls(w, target)
        })
    }

    /// Does this workload take the mesh's TLS on a port of its program? Where a policy turns it off, TLS would pass to
    /// the program.
    pub(crate) fn takes_mesh_tls(&self, workload: &Workload, target: u16) -> bool {
        workload.mesh_tls && self.mutual_tls_of(&workload.namespace, &workload.labels, target) != Mode::Disable
    }

    /// The service that the program beside `node` is an instance of by this port; of several the first by host.
    pub(crate) fn inbound_service(&self, node: &Node, target: u16) -> Option<(&Service, &ServicePort)> {
        let own = self.workloads.iter().filter(|w| w.address == node.address && w.namespace == node.namespace);
        let mut found = own.flat_map(|workload| {
            let services = self.services.iter().filter(|s| s.selects(workload));
            services
                .flat_map(|s| s.ports.iter().map(move |p| (&**s, p)))
                .filter(|(_, p)| p.on(workload) == Some(target))
        });
        found.next()
    }

    /// The rules for a service as `node` sees them: the client's namespace, then the service's, then the root's; the
    /// first of them that has a rule decides, and there the most specific host.
    pub(crate) fn policies(&self, service: &Service, node: &Node) -> Policies<'_> {
        let levels = [node.namespace.as_str(), &service.namespace, &self.settings.root_namespace];
        levels.into_iter().find_map(|level| self.policies_in(level, service, node)).unwrap_or_default()
    }

    fn policies_in(&self, level: &str, service: &Service, node: &Node) -> Option<Policies<'_>> {
        let of_level = self.destination_rules.iter().filter(|d| d.namespace() == level && sees(d, node));
        let ranked = of_level.filter_map(|d| {
            let host = complete_host(&d.spec().host.value, level, &self.settings.dns_domain);
            let pattern = host.parse::<HostPattern>().ok()?;
            pattern.matches(&service.host).then(|| (pattern.specificity(), d))
        });
        let ranked: Vec<_> = ranked.collect();
        let best = ranked.iter().map(|(rank, _)| *rank).max()?;
        let rules: Vec<_> = ranked.into_iter().filter(|(rank, _)| *rank == best).map(|(_, d)| d.spec()).collect();
        let mut names = BTreeSet::new();
        Some(Policies {
            whole: rules.iter().find_map(|rule| rule.traffic_policy.as_ref()),
            subsets: rules.iter().flat_map(|rule| &rule.subsets).filter(|s| names.insert(s.name.as_str())).collect(),
        })
    }
}

/// May `node` see the rule: by `exportTo`, and by its labels if the rule is for some clients only?
fn sees(rule: &Document<DestinationRule>, node: &Node) -> bool {
    let spec = rule.spec();
    let for_node = match &spec.workload_selector {
        Some(selector) => rule.namespace() == node.namespace && selected(&selector.match_labels, &node.labels),
        None => true,
    };
    let export_to = spec.export_to.iter().map(|to| to.value.as_str());
    for_node && Visibility::read(export_to, rule.namespace()).includes(&node.namespace)
}

fn members(services: &[Arc<Service>], workloads: &[Arc<Workload>]) -> HashMap<Arc<str>, Vec<usize>> {
    let mut by_namespace: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, workload) in workloads.iter().enumerate() {
        by_namespace.entry(&workload.namespace).or_default().push(i);
    }
    let of = |service: &Arc<Service>| {
        let near = by_namespace.get(service.namespace.as_str()).into_iter().flatten().copied();
        (service.host.clone(), near.filter(|i| service.selects(&workloads[*i])).collect())
    };
    services.iter().map(of).collect()
}

/// Gives addresses to services that have none. When the range is used up, those that come last by name stay without.
fn give_addresses(services: &mut [Service], given: &Vips) -> Vips {
    let needs =
        |s: &&mut Service| s.addresses.is_empty() && !s.host.starts_with('*') && s.backing != Backing::Passthrough;
    let hosts: Vec<String> = services.iter_mut().filter(needs).map(|s| s.host.to_string()).collect();
    let mut count = hosts.len();
    let vips = loop {
        match vips::allocate(hosts[..count].iter().map(String::as_str), given) {
            Some(vips) => break vips,
            None => count -= 1,
        }
    };
    for service in services.iter_mut().filter(needs) {
        service.addresses.extend(vips.get(&*service.host).map(|ip| std::net::IpAddr::V4(*ip)));
    }
    vips
}
