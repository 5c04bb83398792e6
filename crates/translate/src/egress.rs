//! EgressPolicies: what a workload may call outside of the mesh.
//!
//! A proxy whose workload a policy selects sees, of what lies outside, only what rules allow: services that ServiceEntries
//! define are narrowed to it, and hosts that nobody defines become services of their own, which the proxy resolves itself, so
//! that the address that a program dialled is not believed. What is left over leads to a cluster that has no endpoints and
//! the names of the policies in its name.

mod chains;
mod places;
mod refusal;

use std::collections::BTreeSet;

use api::halcyon::{EgressPolicy, EgressRule};
use base::HostPattern;

use crate::names::without_dot;
use crate::node::{Node, Role};
use crate::protocol::Protocol;
use crate::service::{Target, selected};
use crate::world::{Document, World};

pub use chains::{add, add_to_capture};
pub use places::is_by_name;
pub use refusal::{add_cluster, denied_by, filter, guard_port, host, policies_of};

/// The policies that select a workload.
#[derive(Debug, Clone)]
pub struct Egress<'a> {
    policies: Vec<&'a Document<EgressPolicy>>,
}

/// A port of a host that a rule allows.
#[derive(Debug, Clone)]
pub struct Allowed<'a> {
    /// The rule.
    pub rule: &'a EgressRule,
    /// Its policy.
    pub policy: &'a Document<EgressPolicy>,
    /// The port that is dialled.
    pub number: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// The port of the place.
    pub target: u16,
}

/// Ports of rules that name none.
const USUAL: [(u16, Protocol); 2] = [(80, Protocol::Http), (443, Protocol::Tls)];

impl World {
    /// The policies that select the workload of a proxy; none if it may call whatever it could without them. Gateways have no
    /// workload. Of a workload whose account is not proven, nobody can say that it is not one that a policy names.
    pub(crate) fn egress(&self, node: &Node) -> Option<Egress<'_>> {
        if self.egress_policies.is_empty() || matches!(node.role, Role::Gateway { .. }) {
            return None;
        }
        let root = self.settings.root_namespace.as_str();
        let policies: Vec<_> = self.egress_policies.iter().filter(|policy| selects(policy, root, node)).collect();
        (!policies.is_empty()).then_some(Egress { policies })
    }

    /// Do policies ask for the accounts of workloads?
    pub(crate) fn egress_asks_accounts(&self) -> bool {
        self.egress_policies.iter().any(|policy| !policy.spec().accounts.is_empty())
    }

    /// Hosts that are to have an address: what is spoken there does not name them, so they are told apart by it.
    pub(crate) fn egress_hosts(&self) -> BTreeSet<String> {
        let all = self.egress_policies.iter().map(|policy| Egress { policies: vec![policy] });
        let exact = |allowed: (HostPattern, Allowed<'_>)| match allowed.0 {
            HostPattern::Exact(host) => Some(host),
            _ => None,
        };
        all.flat_map(|egress| egress.hosts().filter_map(exact).collect::<Vec<_>>()).collect()
    }
}

fn selects(policy: &Document<EgressPolicy>, root: &str, node: &Node) -> bool {
    let near = policy.namespace() == root || policy.namespace() == node.namespace;
    let selector = policy.spec().selector.as_ref();
    near && selector.is_none_or(|selector| selected(&selector.match_labels, &node.labels)) && names(policy, node)
}

/// Is the account of a workload one that the policy names?
fn names(policy: &Document<EgressPolicy>, node: &Node) -> bool {
    let accounts = &policy.spec().accounts;
    let proven = node.identity.as_ref().and_then(|id| Some((id.namespace()?, id.service_account()?)));
    let Some(proven) = proven.filter(|_| !accounts.is_empty()) else { return true };
    accounts.iter().any(|account| account_of(account, policy.namespace()) == proven)
}

/// The namespace and the name of an account, as a policy of a namespace writes it.
pub fn account_of<'a>(written: &'a str, namespace: &'a str) -> (&'a str, &'a str) {
    written.split_once('/').unwrap_or((namespace, written))
}

impl<'a> Egress<'a> {
    /// Those of one policy alone.
    pub fn of(policy: &'a Document<EgressPolicy>) -> Self {
        Self { policies: vec![policy] }
    }

    /// `default/only-api,istio-system/baseline`
    pub fn names(&self) -> String {
        let names = self.policies.iter().map(|policy| format!("{}/{}", policy.namespace(), policy.name()));
        names.collect::<Vec<_>>().join(",")
    }

    /// Every port of every host that is allowed; of those for the same port of a host the first counts.
    pub fn hosts(&self) -> impl Iterator<Item = (HostPattern, Allowed<'a>)> {
        let rules = self.rules();
        rules.flat_map(|(policy, rule)| {
            let ports = ports_of(policy, rule);
            let hosts = rule.hosts.iter().filter_map(|host| without_dot(host).parse::<HostPattern>().ok());
            hosts.flat_map(move |host| ports.clone().into_iter().map(move |port| (host.clone(), port)))
        })
    }

    /// The rule that allows a port of a host, or of all hosts of a pattern: that of the most specific host.
    pub fn allows(&self, host: &HostPattern, number: u16) -> Option<Allowed<'a>> {
        let fits = self.hosts().filter(|(pattern, port)| port.number == number && pattern.covers(host));
        let mut best: Option<(HostPattern, Allowed<'a>)> = None;
        for found in fits {
            if best.as_ref().is_none_or(|(known, _)| found.0.specificity() > known.specificity()) {
                best = Some(found);
            }
        }
        best.map(|(_, allowed)| allowed)
    }

    /// The rule that allows TLS to the hosts of a wildcard, which are looked up as they are named.
    pub fn named(&self, host: &str, number: u16) -> Option<Allowed<'a>> {
        let wild: HostPattern = host.starts_with('*').then(|| host.parse().ok())??;
        let is_tls = |allowed: &Allowed<'_>| matches!(allowed.protocol, Protocol::Tls | Protocol::Https);
        self.allows(&wild, number).filter(is_tls)
    }

    fn rules(&self) -> impl Iterator<Item = (&'a Document<EgressPolicy>, &'a EgressRule)> + use<'a> {
        let policies: Vec<&'a Document<EgressPolicy>> = self.policies.clone();
        policies.into_iter().flat_map(|policy| policy.spec().rules.iter().map(move |rule| (policy, &rule.value)))
    }
}

/// The ports that a rule allows of its hosts.
fn ports_of<'a>(policy: &'a Document<EgressPolicy>, rule: &'a EgressRule) -> Vec<Allowed<'a>> {
    let usual = USUAL.map(|(number, protocol)| Allowed { rule, policy, number, protocol, target: number });
    let written = rule.ports.iter().map(|port| {
        let number = port.number.value as u16;
        let protocol = Protocol::parse(&port.protocol).unwrap_or(Protocol::Tcp);
        let target = port.target_port.as_ref().map_or(number, |target| target.value as u16);
        Allowed { rule, policy, number, protocol, target }
    });
    if rule.ports.is_empty() { usual.into() } else { written.collect() }
}

impl Allowed<'_> {
    /// The port of the place, as services have it.
    fn target(&self) -> Target {
        Target::Number(self.target)
    }
}
