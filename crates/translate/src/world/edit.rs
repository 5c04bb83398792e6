//! The next version from the one before: lists, services and indexes that an edit does not touch are shared.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::halcyon::ServicePolicy;
use api::istio::{
    Destination, DestinationRule, JwtRule, KeysAt, LoadBalancerSettings, RequestAuthentication, VirtualService,
};
use api::{INTENTION_DEFAULT, Resource, Spec, TRAFFIC_TARGET_DEFAULT};
use base::HostPattern;

use super::change::{Change, Ruled};
use super::rules::policies;
use super::services::{self, Known};
use super::{Document, Inputs, KeySets, MeshTrust, World, access, mesh};
use crate::access::custom;
use crate::federation::FetchedBundles;
use crate::gateway::opens_all_services;
use crate::ingress::services as backends;
use crate::names::complete_host;
use crate::policy::Asked;
use crate::secrets::is_named_in_full;
use crate::service::{Backing, selected};
use crate::workload::Workload;

/// What is to be different in the next version: each thing as it was, and as it is. Neither twice in one edit.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Resources.
    pub resources: Vec<(Option<Arc<Resource>>, Option<Arc<Resource>>)>,
    /// Workloads.
    pub workloads: Vec<(Option<Arc<Workload>>, Option<Arc<Workload>>)>,
    /// The new addresses that are not ready, if they are others.
    pub not_ready: Option<Arc<BTreeSet<SocketAddr>>>,
    /// The key sets that were fetched, if they are others.
    pub key_sets: Option<KeySets>,
    /// The bundles of other trust domains that were fetched, if they are others.
    pub bundles: Option<FetchedBundles>,
    /// Whom the mesh trusts now, if that is different.
    pub trust: Option<Arc<MeshTrust>>,
}

/// An edit of more things is made from nothing: then that costs less.
const MANY: usize = 500;

impl World {
    /// The version after this one, and what is different in it. Equal to [`World::new`] of everything with the addresses
    /// that this version gave.
    pub fn next(&self, edit: Edit) -> (Self, Change) {
        let of_mesh = edit.resources.iter().flat_map(|(old, new)| old.iter().chain(new)).any(|r| mesh::holds(r));
        if of_mesh || edit.resources.len() + edit.workloads.len() > MANY {
            return (Self::new(self.inputs(edit)), Change::everything());
        }
        let mut editing = Editing::begin(self);
        let mut ruled = false;
        for (old, new) in &edit.resources {
            ruled |= editing.resource(old.as_ref(), new.as_ref());
        }
        for (old, new) in &edit.workloads {
            editing.workload(old.as_ref(), new.as_ref());
        }
        if let Some(trust) = edit.trust {
            (editing.new.trust, editing.change.trust) = (trust, true);
        }
        editing.change.everything |= !edit.workloads.is_empty() && editing.new.blocks() != self.blocks();
        if let Some(not_ready) = edit.not_ready {
            editing.not_ready(not_ready);
        }
        if let Some(key_sets) = edit.key_sets {
            editing.key_sets(key_sets);
        }
        if let Some(bundles) = edit.bundles {
            editing.new.bundles = bundles;
            (editing.change.trust, editing.change.problems) = (true, true);
        }
        if ruled {
            editing.new.index_rules();
            editing.change.everything |= editing.new.pairs != self.pairs;
        }
        editing.services();
        editing.rules(&edit.resources);
        let change = &mut editing.change;
        // Whoever asks it has other filters if it comes, goes or has another port.
        let is_asked = |host: &str| editing.new.settings.providers.values().any(|it| custom::is_at(it, host));
        change.everything |= change.hosts.iter().any(|host| is_asked(host));
        // A gateway calls the service of a provider, if there is one.
        change.gateways |= editing.new.login_hosts().any(|host| change.names(&host));
        // Old roles are asked for at a gateway that a service leads to.
        change.gateways |= !change.hosts.is_empty() && !editing.new.other_access.configs.is_empty();
        // Such a gateway has a chain for each service that it sees.
        if !(change.gateways || change.hosts.is_empty() && change.patterns.is_empty()) {
            change.gateways = editing.new.gateways.iter().any(|gateway| opens_all_services(gateway.spec()));
        }
        (editing.new, editing.change)
    }

    /// What this version is made of, edited.
    fn inputs(&self, edit: Edit) -> Inputs {
        let mut resources = BTreeMap::new();
        let mut take = |resource: &Arc<Resource>| _ = resources.insert(resource.key(), resource.clone());
        [&self.kubernetes, &self.entries, &self.workload_entries, &self.mesh_configs, &self.limit_maps]
            .into_iter()
            .flat_map(|l| l.iter())
            .for_each(&mut take);
        self.virtual_services.iter().for_each(|d| take(&d.resource));
        self.destination_rules.iter().for_each(|d| take(&d.resource));
        self.gateways.iter().for_each(|d| take(&d.resource));
        self.sidecars.iter().for_each(|d| take(&d.resource));
        self.envoy_filters.iter().for_each(|d| take(&d.resource));
        self.peer_authentications.iter().for_each(|d| take(&d.resource));
        self.authorization_policies.iter().for_each(|d| take(&d.resource));
        self.other_access.resources().for_each(&mut take);
        self.request_authentications.iter().for_each(|d| take(&d.resource));
        self.telemetries.iter().for_each(|d| take(&d.resource));
        self.extensions.iter().for_each(|d| take(&d.resource));
        self.service_policies.iter().for_each(|d| take(&d.resource));
        self.rate_limit_policies.iter().for_each(|d| take(&d.resource));
        self.egress_policies.iter().for_each(|d| take(&d.resource));
        self.login_policies.iter().for_each(|d| take(&d.resource));
        self.secrets.iter().for_each(|d| take(&d.resource));
        self.root_maps.iter().for_each(|d| take(&d.resource));
        self.ingresses.iter().for_each(|d| take(&d.resource));
        self.ingress_classes.iter().for_each(|d| take(&d.resource));
        self.deployments.iter().for_each(|d| take(&d.resource));
        self.pods.iter().for_each(|pod| take(&pod.resource));
        self.namespaces.iter().for_each(|d| take(&d.resource));
        self.accounts.iter().for_each(|d| take(&d.resource));
        for (old, new) in edit.resources {
            old.iter().for_each(|old| _ = resources.remove(&old.key()));
            new.into_iter().for_each(|new| _ = resources.insert(new.key(), new));
        }
        let key = |w: &Arc<Workload>| (w.namespace.clone(), w.name.clone());
        let mut workloads: BTreeMap<_, _> = self.workloads.iter().map(|w| (key(w), w.clone())).collect();
        for (old, new) in edit.workloads {
            old.iter().for_each(|old| _ = workloads.remove(&key(old)));
            new.into_iter().for_each(|new| _ = workloads.insert(key(&new), new));
        }
        Inputs {
            settings: (*self.given).clone(),
            resources: resources.into_values().collect(),
            workloads: workloads.into_values().collect(),
            not_ready: edit.not_ready.unwrap_or_else(|| self.not_ready.clone()),
            vips: (*self.vips).clone(),
            trust: edit.trust.unwrap_or_else(|| self.trust.clone()),
            key_sets: edit.key_sets.unwrap_or_else(|| self.key_sets.clone()),
            bundles: edit.bundles.unwrap_or_else(|| self.bundles.clone()),
        }
    }
}

/// What a namespace says of access where no rule does.
fn defaults(namespace: Option<&Arc<Resource>>) -> [Option<&String>; 2] {
    let of = |key| namespace.and_then(|namespace| namespace.meta.annotations.get(key));
    [of(INTENTION_DEFAULT), of(TRAFFIC_TARGET_DEFAULT)]
}

/// Orders resources of one kind.
pub fn place(resource: &Resource) -> (&str, &str) {
    (resource.namespace(), &resource.meta.name)
}

/// Workloads by address; those of one address in the order of the list.
pub fn sorted_by_address(workloads: &[Arc<Workload>]) -> Vec<Arc<Workload>> {
    let mut sorted = workloads.to_vec();
    sorted.sort_by_key(|w| w.address);
    sorted
}

/// A version on its way to the next.
struct Editing<'a> {
    old: &'a World,
    new: World,
    change: Change,
    /// Hosts that another document may define now.
    redefined: BTreeSet<Arc<str>>,
    /// Hosts whose endpoints may be others.
    touched: BTreeSet<Arc<str>>,
    /// Other hosts are to have addresses.
    readdress: bool,
}

impl<'a> Editing<'a> {
    fn begin(old: &'a World) -> Self {
        let (redefined, touched) = Default::default();
        Self { old, new: old.clone(), change: Change::default(), redefined, touched, readdress: false }
    }

    /// Takes one resource. Says whether the indexes of rules have to be made anew.
    fn resource(&mut self, old: Option<&Arc<Resource>>, new: Option<&Arc<Resource>>) -> bool {
        let (world, change) = (&mut self.new, &mut self.change);
        let Some(any) = new.or(old) else { return false };
        let asks = |resource: Option<&Arc<Resource>>| resource.is_some_and(|r| services::asked(r) != Asked::default());
        let mut ruled = false;
        match &any.spec {
            Spec::Service(_) => {
                change.problems = true;
                replace(&mut world.kubernetes, old, new);
                ruled = asks(old) || asks(new);
            }
            Spec::ServiceEntry(_) => {
                change.problems = true;
                replace(&mut world.entries, old, new);
                ruled = asks(old) || asks(new);
            }
            Spec::WorkloadEntry(_) => {
                replace(&mut world.workload_entries, old, new);
                self.workload_entry(old.into_iter().chain(new));
            }
            Spec::VirtualService(_) | Spec::GeoRoute(_) => {
                change.problems = true;
                return Document::replace(&mut world.virtual_services, old, new);
            }
            Spec::DestinationRule(_) => {
                change.problems = true;
                return Document::replace(&mut world.destination_rules, old, new);
            }
            Spec::ServicePolicy(_) => {
                change.problems = true;
                return Document::replace(&mut world.service_policies, old, new);
            }
            Spec::RateLimitPolicy(_) => {
                change.problems = true;
                change.note_policy(any.namespace(), &world.settings.root_namespace);
                Document::replace(&mut world.rate_limit_policies, old, new);
            }
            Spec::EgressPolicy(_) => {
                change.everything = true;
                self.readdress = true;
                return Document::replace(&mut world.egress_policies, old, new);
            }
            Spec::LoginPolicy(_) => {
                (change.gateways, change.problems) = (true, true);
                Document::replace(&mut world.login_policies, old, new);
            }
            Spec::Sidecar(_) => {
                change.everything = true;
                return Document::replace(&mut world.sidecars, old, new);
            }
            Spec::EnvoyFilter(_) => {
                change.everything = true;
                return Document::replace(&mut world.envoy_filters, old, new);
            }
            Spec::Gateway(_) => {
                (change.problems, change.gateways) = (true, true);
                Document::replace(&mut world.gateways, old, new);
            }
            Spec::Ingress(_) => {
                (change.problems, change.gateways) = (true, true);
                Document::replace(&mut world.ingresses, old, new);
            }
            Spec::IngressClass(_) => {
                (change.problems, change.gateways) = (true, true);
                Document::replace(&mut world.ingress_classes, old, new);
            }
            Spec::PeerAuthentication(_) => {
                change.everything = true;
                Document::replace(&mut world.peer_authentications, old, new);
            }
            Spec::AuthorizationPolicy(_) => {
                change.problems = true;
                change.policies.extend(old.into_iter().chain(new).map(|policy| Ruled::by(world, policy)));
                world.authorization_policies.replace(old, new);
            }
            Spec::ClusterRbacConfig(_)
            | Spec::RbacConfig(_)
            | Spec::ServiceRole(_)
            | Spec::ServiceRoleBinding(_)
            | Spec::ServiceIntentions(_)
            | Spec::TrafficTarget(_)
            | Spec::HttpRouteGroup(_)
            | Spec::SmiTcpRoute(_) => {
                let root = &world.settings.root_namespace;
                old.into_iter().chain(new).for_each(|document| access::note(document, root, change));
                world.other_access.replace(old, new);
            }
            Spec::RequestAuthentication(_) => {
                change.problems = true;
                change.note_policy(any.namespace(), &world.settings.root_namespace);
                Document::replace(&mut world.request_authentications, old, new);
            }
            Spec::Telemetry(_) => {
                (change.everything, change.problems) = (true, true);
                return Document::replace(&mut world.telemetries, old, new);
            }
            Spec::TrafficExtension(_) => {
                (change.everything, change.problems) = (true, true);
                return Document::replace(&mut world.extensions, old, new);
            }
            Spec::Secret(_) => {
                change.problems = true;
                change.secrets.insert(any.namespace().to_owned());
                Document::replace(&mut world.secrets, old, new);
            }
            Spec::ConfigMap(_) => {
                let with_limits =
                    |resource: Option<&'_ Arc<Resource>>| resource.cloned().filter(|r| super::holds_limits(r));
                let (old_limits, new_limits) = (with_limits(old), with_limits(new));
                if old_limits.is_some() || new_limits.is_some() {
                    // With the first and without the last of them the service is among everybody's clusters or not.
                    change.everything = true;
                    replace(&mut world.limit_maps, old_limits.as_ref(), new_limits.as_ref());
                }
                if Document::replace(&mut world.root_maps, old, new) {
                    change.problems = true;
                    change.secrets.insert(any.namespace().to_owned());
                    change.everything |= is_named_in_full(world, any);
                }
            }
            Spec::Deployment(_) => {
                Document::replace(&mut world.deployments, old, new);
                // Gateways have settings from there.
                change.gateways |= [old, new].into_iter().flatten().any(|r| mesh::annotation(r).is_some());
                let of_namespace = world.known.iter().filter(|known| known.service.namespace == any.namespace());
                self.touched.extend(of_namespace.map(|known| known.service.host.clone()));
            }
            Spec::Pod(_) => {
                change.gateways |= [old, new].into_iter().flatten().any(|r| mesh::annotation(r).is_some());
                Document::replace(&mut world.pods, old, new);
            }
            // Policies on access name them.
            Spec::ServiceAccount(_) => _ = Document::replace(&mut world.accounts, old, new),
            Spec::Namespace(_) => {
                change.everything |= defaults(old) != defaults(new);
                Document::replace(&mut world.namespaces, old, new);
            }
            // Kinds that no configuration is made of.
            Spec::IstioOperator(_)
            | Spec::ProxyConfig(_)
            | Spec::WorkloadGroup(_)
            | Spec::SmiUdpRoute(_)
            | Spec::Opaque => {}
        }
        let defined = old.into_iter().chain(new).flat_map(|resource| services::hosts(resource, &self.new.settings));
        self.redefined.extend(defined);
        ruled
    }

    /// Other keys concern those whose documents ask for them.
    fn key_sets(&mut self, key_sets: KeySets) {
        let asks = |document: &&Document<RequestAuthentication>| {
            let mut asked = document.spec().jwt_rules.iter().filter_map(JwtRule::fetched_from);
            asked.any(|at| key_sets.get(at.uri()) != self.new.key_sets.get(at.uri()))
        };
        for document in self.new.request_authentications.iter().filter(asks) {
            self.change.note_policy(document.namespace(), &self.new.settings.root_namespace);
        }
        let is_other = |at: &KeysAt| key_sets.get(at.uri()) != self.new.key_sets.get(at.uri());
        self.change.gateways |= self.new.logins_asked().any(|at| is_other(&at));
        self.change.problems = true;
        self.new.key_sets = key_sets;
    }

    /// The services that select one of these, or whose `ServiceEntry` does.
    fn workload_entry<'r>(&mut self, entries: impl Iterator<Item = &'r Arc<Resource>>) {
        for entry in entries {
            let labels = services::labels_of_entry(entry);
            let selecting = self.new.known.iter().filter(|known| match &known.service.backing {
                Backing::Workloads(selector) => {
                    !selector.is_empty() && known.service.namespace == entry.namespace() && selected(selector, &labels)
                }
                _ => false,
            });
            self.touched.extend(selecting.map(|known| known.service.host.clone()));
            for resource in services::of_namespace(&self.new.entries, entry.namespace()) {
                let Spec::ServiceEntry(spec) = &resource.spec else { continue };
                if spec.workload_selector.as_ref().is_some_and(|selector| selected(&selector.labels, &labels)) {
                    self.touched.extend(services::hosts(resource, &self.new.settings));
                }
            }
        }
    }

    fn workload(&mut self, old: Option<&Arc<Workload>>, new: Option<&Arc<Workload>>) {
        let name = |w: &Arc<Workload>| (w.namespace.clone(), w.name.clone());
        let workloads = Arc::make_mut(&mut self.new.workloads);
        let by_address = Arc::make_mut(&mut self.new.by_address);
        if let Some(old) = old {
            workloads.retain(|w| name(w) != name(old));
            by_address.retain(|w| name(w) != name(old));
        }
        if let Some(new) = new {
            workloads.insert(workloads.partition_point(|w| name(w) <= name(new)), new.clone());
            let order = |w: &Arc<Workload>| (w.address, w.namespace.clone(), w.name.clone());
            by_address.insert(by_address.partition_point(|w| order(w) <= order(new)), new.clone());
        }
        for workload in old.into_iter().chain(new) {
            self.change.addresses.insert(workload.address);
            self.kin(workload);
            let selecting = self.new.known.iter().filter(|known| known.service.selects(workload));
            self.touched.extend(selecting.map(|known| known.service.host.clone()));
            self.at_address(workload.address);
            if let Some(implied) = &workload.implied_service {
                let host = complete_host(&implied.name, &workload.namespace, &self.new.settings.dns_domain);
                self.redefined.insert(host.into());
            }
        }
    }

    /// Proxies beside the same workload may be told something else of it.
    fn kin(&mut self, workload: &Workload) {
        if self.new.pairs.zones {
            self.change.kin.insert((workload.namespace.clone(), workload.reference.name.clone()));
        }
    }

    /// Endpoints that are written with this address take the mesh's TLS or not by the workload that is there.
    fn at_address(&mut self, address: IpAddr) {
        let is_there = |written: &str| written.parse() == Ok(address);
        for known in &self.new.known {
            match &known.service.backing {
                Backing::Fixed(list) if list.iter().any(|e| is_there(&e.address)) => {
                    self.change.note_endpoints(Some(known));
                }
                Backing::Dns(list, _) if list.iter().any(|e| is_there(&e.address)) => {
                    self.change.hosts.insert(known.service.host.clone());
                }
                Backing::Workloads(_) if known.entries.iter().any(|e| is_there(&e.address)) => {
                    self.change.note_endpoints(Some(known));
                }
                _ => {}
            }
        }
    }

    fn not_ready(&mut self, not_ready: Arc<BTreeSet<SocketAddr>>) {
        let changed: BTreeSet<IpAddr> = self.old.not_ready.symmetric_difference(&not_ready).map(|at| at.ip()).collect();
        self.new.not_ready = not_ready;
        for known in self.old.known.iter().filter(|k| k.members.iter().any(|w| changed.contains(&w.address))) {
            self.change.note_endpoints(Some(known));
        }
        for address in changed {
            let there: Vec<Arc<Workload>> = self.new.at(address).cloned().collect();
            there.iter().for_each(|workload| self.kin(workload));
            self.at_address(address);
        }
    }

    /// Makes the services anew that may be others, and says how they are.
    fn services(&mut self) {
        let mut readdress = self.readdress;
        let hosts: Vec<Arc<str>> = self.redefined.union(&self.touched).cloned().collect();
        for host in hosts {
            let old = self.old.known(&host);
            let defined = match old.filter(|_| !self.redefined.contains(&host)) {
                Some(old) => services::renew(&self.new, &old.service),
                None => services::define(&self.new, &host),
            };
            let new = defined.map(|service| Known::new(&self.new, service));
            readdress |= old.is_some_and(|k| k.given) != new.as_ref().is_some_and(|k| k.given);
            let at = self.new.place_of(&host);
            match (at, new) {
                (Ok(at), Some(new)) => self.new.known[at] = Arc::new(new),
                (Ok(at), None) => _ = self.new.known.remove(at),
                (Err(at), Some(new)) => self.new.known.insert(at, Arc::new(new)),
                (Err(_), None) => {}
            }
            self.compare(&host);
        }
        if readdress {
            let before = self.new.vips.clone();
            self.new.give_addresses();
            let of = |vips: &crate::vips::Vips, host: &str| vips.get(host).copied();
            let known = self.new.known.iter().map(|known| &known.service);
            let moved = known.filter(|s| of(&before, &s.host) != of(&self.new.vips, &s.host));
            let moved: Vec<_> = moved.map(|s| (s.host.clone(), s.namespace.clone())).collect();
            for (host, namespace) in moved {
                self.change.hosts.insert(host);
                self.change.namespaces.insert(namespace);
            }
        }
    }

    /// Says how a service differs from what it was.
    fn compare(&mut self, host: &Arc<str>) {
        let (old, new) = (self.old.known(host), self.new.known(host));
        if old == new && (old.is_none() || self.same_identities(host)) {
            return;
        }
        let endpoints_only = match (old, new) {
            (Some(old), Some(new)) => old.service.differs_in_endpoints_only(&new.service) && self.same_identities(host),
            _ => false,
        };
        if endpoints_only {
            self.change.note_endpoints(new.or(old));
        } else {
            let services = [old, new].into_iter().flatten();
            self.change.namespaces.extend(services.map(|known| known.service.namespace.clone()));
            self.change.hosts.insert(host.clone());
            self.change.problems = true;
            // Other names lead to it too.
            self.change.everything |= host.starts_with('*');
        }
    }

    fn same_identities(&self, host: &str) -> bool {
        let of = |world: &World| world.known(host).map(|k| world.identities_of(k));
        of(self.old) == of(&self.new)
    }

    /// Adds what different rules are for, and the rules that lead to different services.
    fn rules(&mut self, edited: &[(Option<Arc<Resource>>, Option<Arc<Resource>>)]) {
        let mut rules = Vec::new();
        for resource in edited.iter().flat_map(|(old, new)| old.iter().chain(new)) {
            if let Some(policy) = Document::<DestinationRule>::of(resource) {
                let pattern = self.new.host_pattern(&policy.spec().host.value, policy.namespace());
                self.servers(pattern.as_ref());
                self.concern(pattern);
                // Routes of gateways say what a hash is made of.
                self.change.gateways |= hashes(policy.spec());
            }
            if let Some(policy) = Document::<ServicePolicy>::of(resource) {
                let pattern = self.new.host_pattern(&policy.spec().host.value, policy.namespace());
                self.servers(pattern.as_ref());
                self.concern(pattern);
                // They say when requests are hedged, too.
                self.change.gateways |= policy.spec().hedging.is_some();
            }
            rules.extend(Document::<VirtualService>::of(resource));
        }
        if !(self.change.hosts.is_empty() && self.change.patterns.is_empty()) {
            let names = |rule: &&Document<VirtualService>| {
                destinations(rule.spec()).any(|to| {
                    let host = complete_host(&to.host.value, rule.namespace(), &self.new.settings.dns_domain);
                    let by_pattern = self.change.patterns.iter().any(|pattern| pattern.matches(&host));
                    by_pattern || self.change.hosts.contains(host.as_str())
                })
            };
            rules.extend(self.new.virtual_services.iter().filter(names).cloned());
            self.change.gateways |= self.new.ingresses.iter().any(|ingress| {
                let mut hosts = backends(ingress.spec()).map(|service| self.new.backend_host(ingress, service));
                hosts.any(|host| {
                    let by_pattern = self.change.patterns.iter().any(|pattern| pattern.matches(&host));
                    by_pattern || self.change.hosts.contains(host.as_str())
                })
            });
        }
        if rules.iter().any(|rule| rule.spec().is_delegate()) {
            let delegating = |rule: &&Document<VirtualService>| rule.spec().http.iter().any(|r| r.delegate.is_some());
            rules.extend(self.new.virtual_services.iter().filter(delegating).cloned());
        }
        for rule in rules {
            let hosts = &rule.spec().hosts;
            hosts.iter().for_each(|host| self.concern(self.new.host_pattern(&host.value, rule.namespace())));
            self.change.gateways |= rule.spec().gateways.iter().any(|gateway| gateway.value != "mesh");
        }
    }

    /// Limits hold for those who serve a host too. A rule without any may stand before one that has some.
    fn servers(&mut self, hosts: Option<&HostPattern>) {
        let Some(hosts) = hosts else { return };
        let servers = self.new.known.iter().filter(|known| hosts.matches(&known.service.host));
        let namespaces: Vec<String> = servers.map(|known| known.service.namespace.clone()).collect();
        self.change.namespaces.extend(namespaces);
    }

    fn concern(&mut self, pattern: Option<HostPattern>) {
        match pattern {
            Some(HostPattern::Exact(host)) => _ = self.change.hosts.insert(host.into()),
            Some(wild) => self.change.patterns.push(wild),
            None => {}
        }
    }
}

/// Puts one resource in the place of another in a list by namespace and name.
fn replace(all: &mut Arc<Vec<Arc<Resource>>>, old: Option<&Arc<Resource>>, new: Option<&Arc<Resource>>) {
    let all = Arc::make_mut(all);
    let find = |all: &[Arc<Resource>], resource: &Resource| all.binary_search_by(|it| place(it).cmp(&place(resource)));
    if let Some(Ok(at)) = old.map(|old| find(all, old)) {
        all.remove(at);
    }
    if let Some(new) = new {
        match find(all, new) {
            Ok(at) => all[at] = new.clone(),
            Err(at) => all.insert(at, new.clone()),
        }
    }
}

/// Does a rule ask for a choice by a hash?
fn hashes(rule: &DestinationRule) -> bool {
    let by_hash =
        |balancer: &Option<LoadBalancerSettings>| balancer.as_ref().is_some_and(|b| b.consistent_hash.is_some());
    policies(rule).any(|policy| {
        by_hash(&policy.load_balancer) || policy.port_level_settings.iter().any(|port| by_hash(&port.load_balancer))
    })
}

/// Every destination that a rule names.
fn destinations(rule: &VirtualService) -> impl Iterator<Item = &Destination> {
    let http = rule.http.iter().flat_map(|http| {
        let mirrors = http.mirror.iter().chain(http.mirrors.iter().map(|mirror| &mirror.destination));
        http.route.iter().map(|to| &to.destination).chain(mirrors)
    });
    let tcp = rule.tcp.iter().flat_map(|tcp| &tcp.route).map(|to| &to.destination);
    let tls = rule.tls.iter().flat_map(|tls| &tls.route).map(|to| &to.destination);
    http.chain(tcp).chain(tls)
}
