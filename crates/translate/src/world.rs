//! Everything at one version, with the indexes that translation asks. A version is made from nothing ([`World::new`]) or,
//! at the cost of what is different, from the one before ([`World::next`]); both give the same.

pub(crate) mod access;
mod accounts;
mod by_namespace;
mod change;
mod document;
mod edit;
pub(crate) mod mesh;
mod rules;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::halcyon::{EgressPolicy, LoginPolicy, RateLimitPolicy, ServicePolicy, limit_files};
use api::istio::{
    AuthorizationPolicy, DestinationRule, EnvoyFilter, Gateway, PeerAuthentication, RequestAuthentication, Sidecar,
    Telemetry, TrafficExtension, VirtualService,
};
use api::kubernetes::{ConfigMap, Deployment, Ingress, IngressClass, Namespace, Pod, Secret, ServiceAccount};
use api::{Resource, Spec};
use base::{HostPattern, SpiffeId};
use ipnet::IpNet;
use model::Locality;

use crate::direct;
use crate::federation::FetchedBundles;
use crate::names::{complete_gateway, complete_host};
use crate::node::Node;
use crate::peer_authentication::Mode;
use crate::policy::Policies;
use crate::service::{Backing, FixedEndpoint, Service, ServicePort, Visibility, selected};
use crate::settings::MeshSettings;
use crate::vips::Vips;
use crate::workload::Workload;

use by_namespace::ByNamespace;
pub use change::Change;
use document::OfKind;
pub(crate) use document::{Document, age};
pub use edit::Edit;
pub(crate) use rules::Pairs;
use rules::Rules;
use services::Known;

/// What a world is made of.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Settings of the mesh, over which those of documents count.
    pub settings: MeshSettings,
    /// Every resource.
    pub resources: Vec<Arc<Resource>>,
    /// Every registered workload.
    pub workloads: Vec<Arc<Workload>>,
    /// Where workloads are reached that are not ready: they are instances of their services, but no endpoints.
    pub not_ready: Arc<BTreeSet<SocketAddr>>,
    /// Addresses given before.
    pub vips: Vips,
    /// Whom the mesh trusts.
    pub trust: Arc<MeshTrust>,
    /// Key sets that were fetched, by the URIs that documents ask for.
    pub key_sets: KeySets,
    /// Bundles of other trust domains that were fetched, by their URLs.
    pub bundles: FetchedBundles,
}

/// Whom the mesh trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshTrust {
    /// PEM of the roots.
    pub roots: Vec<u8>,
    /// PEM of revocation lists. Where there are any, every root has one.
    pub crl: Vec<u8>,
}

impl MeshTrust {
    /// These roots, and nothing revoked.
    pub fn roots(pem: impl Into<Vec<u8>>) -> Arc<Self> {
        Arc::new(Self { roots: pem.into(), crl: Vec::new() })
    }
}

/// What came of fetching key sets, by the URIs that documents ask for. What is not here was not tried yet.
pub type KeySets = Arc<BTreeMap<String, FetchedKeys>>;

/// What came of fetching a key set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchedKeys {
    /// The JSON Web Key Set that was had last, if any ever was.
    pub set: Option<Arc<str>>,
    /// Why the last attempt failed; none: it did not.
    pub failure: Option<String>,
}

/// Everything at one version. What is the same in two versions is shared between them.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Settings of the mesh.
    pub settings: Arc<MeshSettings>,
    /// Whom the mesh trusts.
    pub trust: Arc<MeshTrust>,
    /// What came of fetching key sets.
    pub key_sets: KeySets,
    /// What came of fetching bundles of other trust domains.
    pub bundles: FetchedBundles,
    /// The addresses that are given now, to be handed to the next version.
    pub vips: Arc<Vips>,
    /// By host.
    known: Vec<Arc<Known>>,
    /// By namespace and name.
    workloads: Arc<Vec<Arc<Workload>>>,
    /// By address.
    by_address: Arc<Vec<Arc<Workload>>>,
    not_ready: Arc<BTreeSet<SocketAddr>>,
    /// What defines services, by namespace and name.
    kubernetes: Arc<Vec<Arc<Resource>>>,
    entries: Arc<Vec<Arc<Resource>>>,
    workload_entries: Arc<Vec<Arc<Resource>>>,
    pub(crate) virtual_services: Arc<Vec<Document<VirtualService>>>,
    pub(crate) destination_rules: Arc<Vec<Document<DestinationRule>>>,
    pub(crate) gateways: Arc<Vec<Document<Gateway>>>,
    pub(crate) sidecars: Arc<Vec<Document<Sidecar>>>,
    pub(crate) peer_authentications: Arc<Vec<Document<PeerAuthentication>>>,
    pub(crate) authorization_policies: ByNamespace<AuthorizationPolicy>,
    pub(crate) other_access: access::OtherAccess,
    pub(crate) request_authentications: Arc<Vec<Document<RequestAuthentication>>>,
    /// Those on what is told of traffic.
    pub(crate) telemetries: Arc<Vec<Document<Telemetry>>>,
    pub(crate) extensions: Arc<Vec<Document<TrafficExtension>>>,
    pub(crate) envoy_filters: Arc<Vec<Document<EnvoyFilter>>>,
    pub(crate) service_policies: Arc<Vec<Document<ServicePolicy>>>,
    pub(crate) rate_limit_policies: Arc<Vec<Document<RateLimitPolicy>>>,
    pub(crate) egress_policies: Arc<Vec<Document<EgressPolicy>>>,
    pub(crate) login_policies: Arc<Vec<Document<LoginPolicy>>>,
    /// ConfigMaps that hold limits in the form of Envoy's service, by namespace and name.
    pub(crate) limit_maps: Arc<Vec<Arc<Resource>>>,
    pub(crate) secrets: Arc<Vec<Document<Secret>>>,
    /// ConfigMaps that hold roots.
    pub(crate) root_maps: Arc<Vec<Document<ConfigMap>>>,
    pub(crate) ingresses: Arc<Vec<Document<Ingress>>>,
    pub(crate) ingress_classes: Arc<Vec<Document<IngressClass>>>,
    /// What holds settings of the mesh, by namespace and name.
    pub(crate) mesh_configs: Arc<Vec<Arc<Resource>>>,
    /// The settings without those of documents.
    given: Arc<MeshSettings>,
    deployments: Arc<Vec<Document<Deployment>>>,
    pods: Arc<Vec<Document<Pod>>>,
    /// Namespaces and accounts that are written down.
    pub(crate) namespaces: Arc<Vec<Document<Namespace>>>,
    accounts: Arc<Vec<Document<ServiceAccount>>>,
    /// Rules by the hosts that they are for.
    virtual_by_host: Arc<Rules>,
    destination_by_host: Arc<Rules>,
    policy_by_host: Arc<Rules>,
    /// The labels that rules ask nodes for.
    pub(crate) pairs: Arc<Pairs>,
}

/// Does a document hold limits in the form of Envoy's service?
fn holds_limits(resource: &Resource) -> bool {
    matches!(&resource.spec, Spec::ConfigMap(map) if limit_files(map).next().is_some())
}

impl World {
    /// Indexes the inputs.
    pub fn new(inputs: Inputs) -> Self {
        let Inputs { settings, resources, mut workloads, not_ready, vips, trust, key_sets, bundles } = inputs;
        workloads.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let of_kind = |wanted: fn(&Resource) -> bool| {
            let mut found: Vec<_> = resources.iter().filter(|resource| wanted(resource)).cloned().collect();
            found.sort_by(|a, b| edit::place(a).cmp(&edit::place(b)));
            Arc::new(found)
        };
        let mesh_configs = of_kind(mesh::holds);
        let effective = mesh::settings(&settings, &mesh_configs);
        let mut world = Self {
            by_address: Arc::new(edit::sorted_by_address(&workloads)),
            workloads: Arc::new(workloads),
            not_ready,
            kubernetes: of_kind(|r| matches!(r.spec, Spec::Service(_))),
            entries: of_kind(|r| matches!(r.spec, Spec::ServiceEntry(_))),
            workload_entries: of_kind(|r| matches!(r.spec, Spec::WorkloadEntry(_))),
            virtual_services: Document::all(&resources),
            destination_rules: Document::all(&resources),
            gateways: Document::all(&resources),
            sidecars: Document::all(&resources),
            peer_authentications: Document::all(&resources),
            authorization_policies: ByNamespace::all(&resources),
            other_access: access::OtherAccess::all(&resources),
            request_authentications: Document::all(&resources),
            telemetries: Document::all(&resources),
            extensions: Document::all(&resources),
            envoy_filters: Document::all(&resources),
            service_policies: Document::all(&resources),
            rate_limit_policies: Document::all(&resources),
            egress_policies: Document::all(&resources),
            login_policies: Document::all(&resources),
            limit_maps: of_kind(holds_limits),
            secrets: Document::all(&resources),
            root_maps: Document::all(&resources),
            ingresses: Document::all(&resources),
            ingress_classes: Document::all(&resources),
            deployments: Document::all(&resources),
            pods: Document::all(&resources),
            namespaces: Document::all(&resources),
            accounts: Document::all(&resources),
            settings: Arc::new(effective),
            given: Arc::new(settings),
            mesh_configs,
            trust,
            key_sets,
            bundles,
            vips: Arc::new(vips),
            ..Self::default()
        };
        world.index_rules();
        world.known = services::collect(&world);
        world.give_addresses();
        world
    }

    /// Are there limits beside policies, for which documents of users may ask the service?
    pub(crate) fn asks_limit_service(&self) -> bool {
        self.settings.has_limit_files || !self.limit_maps.is_empty()
    }

    /// Every registered workload, by address.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.by_address.iter()
    }

    /// All services, by host.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.known.iter().map(|known| &known.service)
    }

    /// The service of a host: by its whole name, else a wildcard's that covers it.
    pub fn service(&self, host: &str) -> Option<&Arc<Service>> {
        self.service_named(host).or_else(|| {
            let wild = self.wildcards().iter().map(|known| &known.service);
            let covering = wild.filter(|s| s.host.parse::<HostPattern>().is_ok_and(|p| p.matches(host)));
            covering.max_by_key(|s| s.host.len())
        })
    }

    /// The service that has this host as its name.
    pub(crate) fn service_named(&self, host: &str) -> Option<&Arc<Service>> {
        self.known(host).map(|known| &known.service)
    }

    fn known(&self, host: &str) -> Option<&Arc<Known>> {
        self.place_of(host).ok().map(|at| &self.known[at])
    }

    fn place_of(&self, host: &str) -> Result<usize, usize> {
        self.known.binary_search_by(|known| (*known.service.host).cmp(host))
    }

    /// Is there a service whose hosts are those that requests name?
    pub(crate) fn has_named_hosts(&self) -> bool {
        let by_rule = || self.egress_policies.iter().flat_map(|policy| &policy.spec().rules);
        by_rule().any(|rule| rule.hosts.iter().any(|host| host.starts_with('*')))
            || self.wildcards().iter().any(|known| known.service.backing == Backing::Named)
    }

    /// The services whose hosts begin with `*`, which stand together.
    fn wildcards(&self) -> &[Arc<Known>] {
        let from = self.known.partition_point(|known| &*known.service.host < "*");
        let to = self.known.partition_point(|known| &*known.service.host < "+");
        &self.known[from..to]
    }

    /// The workloads that are instances of a service.
    pub fn workloads_of(&self, service: &Service) -> impl Iterator<Item = &Arc<Workload>> {
        self.known(&service.host).into_iter().flat_map(|known| known.members.iter())
    }

    /// The WorkloadEntries that a Service selects.
    pub(crate) fn entries_of(&self, service: &Service) -> &[FixedEndpoint] {
        self.known(&service.host).map_or(&[], |known| &known.entries)
    }

    /// The Gateway that a rule of a namespace names: `edge`, `istio-system/edge` or `edge.istio-system.svc.cluster.local`.
    pub(crate) fn gateway_named(&self, name: &str, namespace: &str) -> Option<&Document<Gateway>> {
        let whole = complete_gateway(name, namespace);
        self.gateways.iter().find(|gateway| gateway.full_name() == whole)
    }

    /// The documents that define services: a Service or ServiceEntry each.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.kubernetes.iter().chain(self.entries.iter())
    }

    /// The hosts of the services that a document defines.
    pub(crate) fn hosts_of<'a>(&'a self, resource: &'a Resource) -> impl Iterator<Item = Arc<str>> + 'a {
        services::hosts(resource, &self.settings)
    }

    /// The labels of the workloads that Deployments and Pods of a namespace describe.
    pub(crate) fn described<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a BTreeMap<String, String>> {
        let deployments = self.deployments.iter().filter(move |d| d.namespace() == namespace);
        let pods = self.pods.iter().filter(move |pod| pod.namespace() == namespace);
        deployments.map(|d| &d.spec().template.metadata.labels).chain(pods.map(|pod| &pod.resource.meta.labels))
    }

    /// The same, each with its account.
    pub(crate) fn described_accounts<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a BTreeMap<String, String>, &'a str)> {
        let deployments =
            self.deployments.iter().filter(move |d| d.namespace() == namespace).map(|d| &d.spec().template);
        let pods = self.pods.iter().filter(move |pod| pod.namespace() == namespace);
        let of_deployments = deployments.map(|template| (&template.metadata.labels, template.spec.service_account()));
        of_deployments.chain(pods.map(|pod| (&pod.resource.meta.labels, pod.spec().service_account())))
    }

    /// The labels of a caller by its name, and where it runs: a workload, a Deployment, a Pod, or what a service selects.
    pub(crate) fn labels_of_caller(&self, namespace: &str, name: &str) -> Option<(BTreeMap<String, String>, Locality)> {
        let near = || self.workloads.iter().filter(|workload| workload.namespace == namespace);
        let running = near().find(|w| *w.name == *name || *w.reference.name == *name);
        if let Some(workload) = running.or_else(|| near().find(|w| w.labels.get("app").is_some_and(|app| app == name)))
        {
            return Some((workload.labels.clone(), workload.locality.clone()));
        }
        let of_deployment = self.deployments.iter().find(|d| d.namespace() == namespace && d.name() == name);
        let of_pod = self.pods.iter().find(|pod| pod.namespace() == namespace && pod.name() == name);
        let labels =
            of_deployment.map(|d| &d.spec().template.metadata.labels).or(of_pod.map(|pod| &pod.resource.meta.labels));
        if let Some(labels) = labels {
            return Some((labels.clone(), Locality::default()));
        }
        let host = complete_host(name, namespace, &self.settings.dns_domain);
        let service = self.service_named(&host)?;
        let Backing::Workloads(selector) = &service.backing else { return None };
        let described = self.described(&service.namespace).find(|labels| selected(selector, labels));
        Some((described.unwrap_or(selector).clone(), Locality::default()))
    }

    /// The namespaces in which a workload runs or is described.
    pub(crate) fn namespaces(&self) -> Vec<&str> {
        let all: BTreeSet<&str> = self.inhabitants().map(|(namespace, _)| namespace).collect();
        all.into_iter().collect()
    }

    /// The labels of the workloads that run in a namespace.
    pub(crate) fn running<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a BTreeMap<String, String>> {
        self.workloads.iter().filter(move |workload| workload.namespace == namespace).map(|workload| &workload.labels)
    }

    /// The namespaces and labels of all that runs, and of what Deployments and Pods describe.
    pub(crate) fn inhabitants(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, String>)> {
        let running = self.workloads.iter().map(|workload| (workload.namespace.as_str(), &workload.labels));
        let deployments = self.deployments.iter().map(|d| (d.namespace(), &d.spec().template.metadata.labels));
        running.chain(deployments).chain(self.pods.iter().map(|pod| (pod.namespace(), &pod.resource.meta.labels)))
    }

    /// The identities that a server of this service may have: those of its workloads, running or described.
    pub fn identities(&self, service: &Service) -> BTreeSet<String> {
        self.known(&service.host).map_or_else(BTreeSet::new, |known| self.identities_of(known))
    }

    /// The identity that an account stands for, as a SPIFFE ID.
    pub fn identity(&self, namespace: &str, account: &str) -> Option<String> {
        SpiffeId::workload(&self.settings.trust_domain, namespace, account).ok().map(|id| id.to_string())
    }

    /// These names, and those that members of the aliases of our trust domain have in their place.
    pub(crate) fn with_aliases(&self, names: BTreeSet<String>) -> BTreeSet<String> {
        let own = format!("spiffe://{}/", self.settings.trust_domain);
        let alias = |name: &String| -> Vec<String> {
            let path = name.strip_prefix(&own);
            let aliases = &self.settings.trust_domain_aliases;
            path.into_iter().flat_map(|path| aliases.iter().map(move |td| format!("spiffe://{td}/{path}"))).collect()
        };
        let more: Vec<String> = names.iter().flat_map(alias).collect();
        names.into_iter().chain(more).collect()
    }

    fn identities_of(&self, known: &Known) -> BTreeSet<String> {
        let (service, members) = (&known.service, &known.members);
        let identity = |namespace: &str, account: &str| self.identity(namespace, account);
        let running = members.iter().filter_map(|w| identity(&w.namespace, &w.service_account));
        let mut all: BTreeSet<String> = running.chain(service.certificate_names.iter().cloned()).collect();
        let of_entries = known.entries.iter().filter_map(|entry| entry.service_account.as_deref());
        all.extend(of_entries.filter_map(|account| identity(&service.namespace, account)));
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
            Backing::Passthrough | Backing::Named => {}
        }
        all
    }

    /// Is nobody to be sent to this address for now? A port that only a `Sidecar` names is as ready as the others.
    pub(crate) fn withholds(&self, address: &SocketAddr) -> bool {
        let at = |port| SocketAddr::new(address.ip(), port);
        let mut waiting = self.not_ready.range(at(0)..=at(u16::MAX)).peekable();
        if waiting.peek().is_none() {
            return false;
        }
        let registered = || self.at(address.ip()).any(|w| w.ports.values().any(|port| *port == address.port()));
        waiting.any(|waits| waits == address) || !registered()
    }

    /// The workloads at an address.
    pub(crate) fn at(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Workload>> {
        let from = self.by_address.partition_point(|w| w.address < address);
        self.by_address[from..].iter().take_while(move |w| w.address == address)
    }

    /// The running instances of a node's workload, the node's own one too.
    pub(crate) fn kin<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Arc<Workload>> {
        let is_kin = |w: &&Arc<Workload>| w.namespace == node.namespace && w.reference.name == node.workload.name;
        self.workloads.iter().filter(is_kin)
    }

    /// Does a workload take the mesh's TLS at this address and port?
    pub(crate) fn is_mesh_address(&self, address: &str, port: u16) -> bool {
        let Ok(ip) = address.parse::<IpAddr>() else { return false };
        self.at(ip).any(|w| {
            let target = w.ports.iter().find(|(_, at)| **at == port).map_or(port, |(target, _)| *target);
            self.takes_mesh_tls(w, target)
        })
    }

    /// Does this workload take the mesh's TLS on a port of its program? Where a policy turns it off, TLS would pass to
    /// the program.
    pub(crate) fn takes_mesh_tls(&self, workload: &Workload, target: u16) -> bool {
        workload.mesh_tls
            && !workload.beside.contains(&target)
            && self.mutual_tls_of(&workload.namespace, &workload.labels, target) != Mode::Disable
    }

    /// The service that the program beside `node` is an instance of by this port; of several the first by host.
    pub(crate) fn inbound_service(&self, node: &Node, target: u16) -> Option<(&Service, &ServicePort)> {
        self.inbound_services(node.address, &node.namespace, target).next()
    }

    /// The services that a program at this address, of this namespace, is an instance of by this port.
    pub(crate) fn inbound_services<'a>(
        &'a self,
        address: IpAddr,
        namespace: &str,
        target: u16,
    ) -> impl Iterator<Item = (&'a Service, &'a ServicePort)> {
        let own = self.at(address).filter(move |w| w.namespace == namespace);
        own.flat_map(move |workload| self.served(workload, target))
    }

    /// The ServicePolicy that limits what comes in by a port of a program at this address, of this namespace: of those of
    /// its services the one of the most specific host, and of equals the oldest.
    pub(crate) fn inbound_limit(
        &self,
        address: IpAddr,
        namespace: &str,
        target: u16,
    ) -> Option<&Document<ServicePolicy>> {
        let services = self.inbound_services(address, namespace, target);
        let own: Vec<_> = services.filter_map(|(service, _)| self.service_policy(service)).collect();
        let limits = |policy: &&Document<ServicePolicy>| {
            policy.spec().concurrency_limit.is_some() && own.iter().any(|own| std::ptr::eq(*own, *policy))
        };
        // Of two services' own names none is more specific.
        let specificity = |policy: &Document<ServicePolicy>| match self
            .host_pattern(&policy.spec().host.value, policy.namespace())?
        {
            HostPattern::Exact(_) => Some((u8::MAX, 0)),
            wild => Some(wild.specificity()),
        };
        // The list is from the oldest on, and of equals the last one counts as the greatest.
        self.service_policies.iter().rev().filter(limits).max_by_key(|policy| specificity(policy))
    }

    /// The service that a workload is an instance of by this port of its program; of several the first by host.
    pub(crate) fn served_by<'a>(&'a self, workload: &Workload, target: u16) -> Option<(&'a Service, &'a ServicePort)> {
        self.served(workload, target).next()
    }

    /// The services that a workload is an instance of by this port of its program.
    fn served<'a, 'w>(
        &'a self,
        workload: &'w Workload,
        target: u16,
    ) -> impl Iterator<Item = (&'a Service, &'a ServicePort)> + use<'a, 'w> {
        let services = self.services().filter(|s| s.selects(workload));
        let ports = services.flat_map(|s| s.ports.iter().map(move |p| (&**s, p)));
        ports.filter(move |(_, port)| port.on(workload) == Some(target))
    }

    /// The blocks of addresses in which the mesh's workloads are.
    pub(crate) fn blocks(&self) -> Vec<IpNet> {
        let mut blocks = Vec::new();
        let mut next = 0;
        while let Some(workload) = self.by_address.get(next) {
            let block = direct::block(workload.address);
            next = self.by_address.partition_point(|workload| workload.address <= block.broadcast());
            blocks.push(block);
        }
        blocks
    }

    /// The rules for a service as `node` sees them: the client's namespace, then the service's, then the root's; the
    /// first of them that has a rule decides, and there the most specific host.
    pub(crate) fn policies(&self, service: &Service, node: &Node) -> Policies<'_> {
        let rules: Vec<_> = self.policy_documents(service, node).into_iter().map(Document::spec).collect();
        let mut names = BTreeSet::new();
        Policies {
            whole: rules.iter().find_map(|rule| rule.traffic_policy.as_ref()),
            subsets: rules.iter().flat_map(|rule| &rule.subsets).filter(|s| names.insert(s.name.as_str())).collect(),
            service: service.asked,
            own: self.service_policy(service).map(Document::spec),
            mesh: Some(&self.settings),
        }
    }

    /// The ServicePolicy of a service: in its own namespace, else in the root's; there the one of the most specific host,
    /// and of equals the oldest.
    pub(crate) fn service_policy(&self, service: &Service) -> Option<&Document<ServicePolicy>> {
        [service.namespace.as_str(), &self.settings.root_namespace].into_iter().find_map(|level| {
            let of_level = self.service_policies_for(&service.host).filter(|policy| policy.namespace() == level);
            self.most_specific(of_level, |policy| &policy.host.value, service).into_iter().next()
        })
    }

    /// Every EnvoyFilter, the oldest first.
    pub fn envoy_filters(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.envoy_filters.iter().map(|filter| &filter.resource)
    }

    /// The EnvoyFilters that are for a proxy, in the order in which they are applied: those of the root namespace first, then
    /// those of its own; there by priority, and of equals the oldest.
    pub fn envoy_filters_for<'a>(&'a self, node: &Node) -> Vec<&'a Arc<Resource>> {
        let root = &self.settings.root_namespace;
        let mut found: Vec<_> = self.envoy_filters.iter().filter(|filter| is_for(filter, root, node)).collect();
        found.sort_by_key(|filter| (filter.namespace() != root, filter.spec().priority));
        found.into_iter().map(|filter| &filter.resource).collect()
    }

    /// The documents that [`World::policies`] are made of, the oldest first.
    pub(crate) fn policy_documents(&self, service: &Service, node: &Node) -> Vec<&Document<DestinationRule>> {
        let levels = [node.namespace.as_str(), &service.namespace, &self.settings.root_namespace];
        let of_level = |level| Some(self.documents_in(level, service, node)).filter(|found| !found.is_empty());
        levels.into_iter().find_map(of_level).unwrap_or_default()
    }

    fn documents_in(&self, level: &str, service: &Service, node: &Node) -> Vec<&Document<DestinationRule>> {
        let of_host = self.policies_for(&service.host);
        let of_level = of_host.filter(|d| d.namespace() == level && self.sees(d, node));
        self.most_specific(of_level, |rule| &rule.host.value, service)
    }

    /// Of documents those whose host is for the service and none is narrower, in their order.
    fn most_specific<'w, T: OfKind + 'w>(
        &self,
        documents: impl Iterator<Item = &'w Document<T>>,
        host: impl Fn(&T) -> &str,
        service: &Service,
    ) -> Vec<&'w Document<T>> {
        let ranked = documents.filter_map(|document| {
            let pattern = self.host_pattern(host(document.spec()), document.namespace())?;
            pattern.matches(&service.host).then(|| (pattern.specificity(), document))
        });
        let ranked: Vec<_> = ranked.collect();
        let best = ranked.iter().map(|(rank, _)| *rank).max();
        ranked.into_iter().filter(|(rank, _)| Some(*rank) == best).map(|(_, document)| document).collect()
    }

    /// May `node` see the rule: by `exportTo`, and by its labels if the rule is for some clients only?
    fn sees(&self, rule: &Document<DestinationRule>, node: &Node) -> bool {
        let spec = rule.spec();
        let for_node = match &spec.workload_selector {
            Some(selector) => rule.namespace() == node.namespace && selected(&selector.match_labels, &node.labels),
            None => true,
        };
        let export_to = spec.export_to.iter().map(|to| to.value.as_str());
        let visible = Visibility::read_or(export_to, &self.settings.export_to.destination_rules, rule.namespace());
        for_node && visible.includes(&node.namespace)
    }
}

/// Is an EnvoyFilter for this proxy? References lead to gateways of another interface, which no proxy of ours is.
fn is_for(filter: &Document<EnvoyFilter>, root: &str, node: &Node) -> bool {
    let near = filter.namespace() == root || filter.namespace() == node.namespace;
    let selector = filter.spec().workload_selector.as_ref();
    near && filter.spec().target_refs.is_empty() && selector.is_none_or(|s| selected(&s.labels, &node.labels))
}
