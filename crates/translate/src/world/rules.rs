//! The way from a host to the rules that may be for it, and from a node's labels to those that rules ask for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::slice;
use std::sync::Arc;

use api::Spanned;
use api::halcyon::ServicePolicy;
use api::istio::{DestinationRule, LoadBalancerSettings, TrafficPolicy, VirtualService};
use base::HostPattern;

use super::document::OfKind;
use super::{Document, World, services};
use crate::names::complete_host;
use crate::policy::Asked;
use crate::settings::MeshSettings;

/// Places in a list of rules, by the hosts that these are for.
#[derive(Debug, Default)]
pub struct Rules {
    exact: HashMap<String, Vec<usize>>,
    /// Rules with a host that stands for several.
    wild: Vec<usize>,
}

impl Rules {
    fn of(rules: impl Iterator<Item = Vec<HostPattern>>) -> Self {
        let mut index = Self::default();
        for (place, patterns) in rules.enumerate() {
            for pattern in patterns {
                let places = match pattern {
                    HostPattern::Exact(host) => index.exact.entry(host).or_default(),
                    _ => &mut index.wild,
                };
                if places.last() != Some(&place) {
                    places.push(place);
                }
            }
        }
        index
    }

    /// The places of rules that may be for the host, in the order of the list.
    fn get(&self, host: &str) -> impl Iterator<Item = usize> {
        let exact = self.exact.get(host).map_or(&[][..], Vec::as_slice);
        let (mut exact, mut wild) = (exact.iter().copied().peekable(), self.wild.iter().copied().peekable());
        std::iter::from_fn(move || match (exact.peek(), wild.peek()) {
            (Some(a), Some(b)) if a == b => {
                wild.next();
                exact.next()
            }
            (Some(a), Some(b)) if a > b => wild.next(),
            (Some(_), _) => exact.next(),
            (None, _) => wild.next(),
        })
    }
}

/// What rules ask a node for: pairs of label and value, and more.
#[derive(Debug, Default, PartialEq)]
pub struct Pairs {
    everywhere: BTreeSet<(String, String)>,
    by_namespace: BTreeMap<String, BTreeSet<(String, String)>>,
    /// Labels that are compared with those of endpoints, whatever their value.
    compared: BTreeSet<String>,
    /// Something depends on where the node is.
    pub localities: bool,
    /// Somewhere the node's zone comes first, for which it has to know where the others of its workload are.
    pub zones: bool,
    /// Something is chosen by a hash.
    pub hashes: bool,
}

impl Pairs {
    /// Of a node's labels those that any rule asks for. Selectors ask for all of their pairs, so nodes that agree in
    /// these are the same to every rule.
    pub fn of(&self, namespace: &str, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let near = self.by_namespace.get(namespace);
        let asked = |pair: &(String, String)| {
            let compared = self.compared.contains(&pair.0);
            compared || self.everywhere.contains(pair) || near.is_some_and(|n| n.contains(pair))
        };
        labels.iter().map(|(key, value)| (key.clone(), value.clone())).filter(asked).collect()
    }

    fn add<'a>(&mut self, namespace: Option<&str>, labels: impl IntoIterator<Item = (&'a String, &'a String)>) {
        let mut labels = labels.into_iter().map(|(key, value)| (key.clone(), value.clone())).peekable();
        if labels.peek().is_none() {
            return;
        }
        match namespace {
            Some(namespace) => self.by_namespace.entry(namespace.to_owned()).or_default().extend(labels),
            None => self.everywhere.extend(labels),
        }
    }

    fn add_policy(&mut self, balancer: Option<&LoadBalancerSettings>, has_outlier_detection: bool) {
        let locality = balancer.and_then(|b| b.locality_lb_setting.as_ref()).filter(|s| s.enabled != Some(false));
        self.localities |= has_outlier_detection || locality.is_some();
        let zones = balancer.and_then(|b| b.zone_aware_lb_setting.as_ref()).filter(|s| s.enabled != Some(false));
        self.localities |= zones.is_some();
        self.zones |= zones.is_some();
        let labels = locality.iter().flat_map(|setting| &setting.failover_priority);
        let labels = labels.chain(zones.iter().flat_map(|setting| &setting.failover_priority));
        self.compared.extend(labels.filter(|label| !label.contains('=')).cloned());
        self.hashes |= balancer.is_some_and(|b| b.consistent_hash.is_some());
    }

    fn add_mesh(&mut self, mesh: &MeshSettings) {
        let of_labels = mesh.localities.iter().flat_map(|setting| &setting.failover_priority);
        let of_labels = of_labels.chain(mesh.zones.iter().flat_map(|setting| &setting.failover_priority));
        self.compared.extend(of_labels.filter(|label| !label.contains('=')).cloned());
        self.localities |= mesh.outliers.is_some() || mesh.localities.is_some() || mesh.zones.is_some();
        self.zones |= mesh.zones.as_ref().is_some_and(|setting| setting.enabled != Some(false));
    }

    fn add_service(&mut self, asked: Asked) {
        let labels = asked.distribution.labels();
        self.localities |= !labels.is_empty();
        self.compared.extend(labels.iter().map(|label| (*label).to_owned()));
        self.hashes |= asked.sticky;
    }
}

/// Every policy of a rule, but those of single ports.
pub fn policies(rule: &DestinationRule) -> impl Iterator<Item = &TrafficPolicy> {
    rule.traffic_policy.iter().chain(rule.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref()))
}

impl World {
    /// Makes the indexes of rules anew.
    pub(super) fn index_rules(&mut self) {
        let virtual_by_host = self.by_host(&self.virtual_services, |rule| &rule.hosts);
        let destination_by_host = self.by_host(&self.destination_rules, |rule| slice::from_ref(&rule.host));
        let policy_by_host = self.by_host(&self.service_policies, |policy| slice::from_ref(&policy.host));
        let pairs = self.asked_pairs();
        self.virtual_by_host = Arc::new(virtual_by_host);
        self.destination_by_host = Arc::new(destination_by_host);
        self.policy_by_host = Arc::new(policy_by_host);
        self.pairs = Arc::new(pairs);
    }

    fn by_host<T: OfKind>(&self, rules: &[Document<T>], hosts: impl Fn(&T) -> &[Spanned<String>]) -> Rules {
        let patterns = |rule: &Document<T>| {
            hosts(rule.spec()).iter().filter_map(|host| self.host_pattern(&host.value, rule.namespace())).collect()
        };
        Rules::of(rules.iter().map(patterns))
    }

    /// `Sidecar`, `EnvoyFilter`, `EgressPolicy`, `Telemetry`, `TrafficExtension` and `DestinationRule` select in their own namespace, conditions of
    /// `VirtualService` anywhere.
    fn asked_pairs(&self) -> Pairs {
        let mut pairs = Pairs::default();
        pairs.add_mesh(&self.settings);
        for sidecar in self.sidecars.iter() {
            pairs.add(Some(sidecar.namespace()), sidecar.spec().workload_selector.iter().flat_map(|s| &s.labels));
        }
        for filter in self.envoy_filters.iter() {
            // One of the root namespace selects anywhere.
            let near = Some(filter.namespace()).filter(|namespace| *namespace != self.settings.root_namespace);
            pairs.add(near, filter.spec().workload_selector.iter().flat_map(|s| &s.labels));
        }
        for policy in self.egress_policies.iter() {
            let near = Some(policy.namespace()).filter(|namespace| *namespace != self.settings.root_namespace);
            pairs.add(near, policy.spec().selector.iter().flat_map(|s| &s.match_labels));
        }
        for telemetry in self.telemetries.iter() {
            pairs.add(Some(telemetry.namespace()), telemetry.spec().selector.iter().flat_map(|s| &s.match_labels));
        }
        for extension in self.extensions.iter() {
            let near = Some(extension.namespace()).filter(|namespace| *namespace != self.settings.root_namespace);
            pairs.add(near, extension.spec().selector.iter().flat_map(|s| &s.match_labels));
        }
        for rule in self.destination_rules.iter() {
            pairs.add(Some(rule.namespace()), rule.spec().workload_selector.iter().flat_map(|s| &s.match_labels));
        }
        for rule in self.virtual_services.iter().map(Document::spec) {
            let http = rule.http.iter().flat_map(|r| &r.match_).map(|m| &m.source_labels);
            let tcp = rule.tcp.iter().flat_map(|r| &r.match_).map(|m| &m.source_labels);
            let tls = rule.tls.iter().flat_map(|r| &r.match_).map(|m| &m.source_labels);
            http.chain(tcp).chain(tls).for_each(|labels| pairs.add(None, labels));
        }
        for policy in self.destination_rules.iter().flat_map(|rule| policies(rule.spec())) {
            pairs.add_policy(policy.load_balancer.as_ref(), policy.outlier_detection.is_some());
            for port in &policy.port_level_settings {
                pairs.add_policy(port.load_balancer.as_ref(), port.outlier_detection.is_some());
            }
        }
        for resource in self.kubernetes.iter().chain(self.entries.iter()) {
            pairs.add_service(services::asked(resource));
        }
        pairs
    }

    /// The rules of traffic that may be for a host, the oldest first.
    pub(crate) fn rules_for(&self, host: &str) -> impl Iterator<Item = &Document<VirtualService>> {
        self.virtual_by_host.get(host).map(|place| &self.virtual_services[place])
    }

    /// The policies that may be for a host, the oldest first.
    pub(crate) fn policies_for(&self, host: &str) -> impl Iterator<Item = &Document<DestinationRule>> {
        self.destination_by_host.get(host).map(|place| &self.destination_rules[place])
    }

    /// The ServicePolicies that may be for a host, the oldest first.
    pub(super) fn service_policies_for(&self, host: &str) -> impl Iterator<Item = &Document<ServicePolicy>> {
        self.policy_by_host.get(host).map(|place| &self.service_policies[place])
    }

    /// A rule's host, completed with its namespace.
    pub(crate) fn host_pattern(&self, host: &str, namespace: &str) -> Option<HostPattern> {
        complete_host(host, namespace, &self.settings.dns_domain).parse().ok()
    }
}
