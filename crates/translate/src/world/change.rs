//! What is different between two versions, in terms of who has to hear of it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::{Resource, Spec};
use base::HostPattern;

use super::World;
use super::services::Known;
use crate::access::{self, Subject};
use crate::node::{Node, Role};

/// What is different between two versions. It may say too much, never too little; changes of several steps are put
/// together with [`Change::add`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// Services of which nothing but the endpoints changed.
    pub(super) endpoints: BTreeSet<Arc<str>>,
    /// Services that are new, gone or different, or for which a rule is.
    pub(super) hosts: BTreeSet<Arc<str>>,
    /// Rules for several hosts at once that are different.
    pub(super) patterns: Vec<HostPattern>,
    /// Namespaces in which the incoming side of a proxy may be different.
    pub(super) namespaces: BTreeSet<String>,
    /// Addresses whose proxies' incoming side may be different.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Workloads with other instances, or with one that became ready or not, where proxies are told of those of their own.
    pub(super) kin: BTreeSet<(String, Arc<str>)>,
    /// Namespaces with different secrets.
    pub(super) secrets: BTreeSet<String>,
    /// Policies on access that are new, gone or different, as they were and as they are.
    pub(super) policies: Vec<Ruled>,
    /// Whom the mesh trusts.
    pub(super) trust: bool,
    /// What gateways open, or the rules bound to them.
    pub(super) gateways: bool,
    /// Who sees what, or anything else that concerns everybody.
    pub(super) everything: bool,
    /// What [`check`](crate::check) reads.
    pub(super) problems: bool,
}

impl Change {
    /// Everything is different.
    pub fn everything() -> Self {
        Self { everything: true, problems: true, ..Self::default() }
    }

    /// Adds what changed in the step after.
    pub fn add(&mut self, later: Self) {
        let Self {
            endpoints,
            hosts,
            patterns,
            namespaces,
            addresses,
            kin,
            secrets,
            policies,
            trust,
            gateways,
            everything,
            problems,
        } = later;
        self.endpoints.extend(endpoints);
        self.hosts.extend(hosts);
        self.patterns.extend(patterns);
        self.namespaces.extend(namespaces);
        self.addresses.extend(addresses);
        self.kin.extend(kin);
        self.secrets.extend(secrets);
        self.policies.extend(policies);
        self.trust |= trust;
        self.gateways |= gateways;
        self.everything |= everything;
        self.problems |= problems;
    }

    /// A service has other endpoints. Those of a headless one have listeners and names.
    pub(super) fn note_endpoints(&mut self, known: Option<&Arc<Known>>) {
        let Some(service) = known.map(|known| &known.service) else { return };
        let noted = if service.headless.is_some() { &mut self.hosts } else { &mut self.endpoints };
        noted.insert(service.host.clone());
    }

    /// A policy for what comes in at the workloads of a namespace, or at all if it is the root's.
    pub(super) fn note_policy(&mut self, namespace: &str, root: &str) {
        if namespace == root {
            self.everything = true;
        } else {
            self.namespaces.insert(namespace.to_owned());
        }
    }

    /// Is a service of this host new, gone or different, or a rule for it?
    pub(super) fn names(&self, host: &str) -> bool {
        self.hosts.contains(host) || self.patterns.iter().any(|pattern| for_host(pattern, host))
    }

    /// Is everybody concerned?
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// May the result of [`check`](crate::check) be different?
    pub fn concerns_problems(&self) -> bool {
        self.problems || self.everything
    }

    /// The services with other endpoints, and no more than that.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<str>> {
        self.endpoints.iter().filter(|host| !self.hosts.contains(*host))
    }

    /// May what `scope` has in common be different, beyond endpoints? `seen` says whether it saw a service before; the
    /// world is the new one.
    pub fn concerns_scope(&self, world: &World, scope: &Node, seen: &BTreeSet<Arc<str>>) -> bool {
        let sees_now = |host: &str| world.known(host).is_some_and(|known| world.seen(&known.service, scope).is_some());
        self.everything
            || self.hosts.iter().any(|host| seen.contains(host) || sees_now(host))
            || self.patterns.iter().any(|pattern| seen.iter().any(|host| for_host(pattern, host)))
    }

    /// May what is any proxy's own be different?
    pub fn concerns_any_own(&self) -> bool {
        let Self { namespaces, addresses, kin, secrets, policies, trust, gateways, everything, .. } = self;
        let none = namespaces.is_empty() && addresses.is_empty() && kin.is_empty() && secrets.is_empty();
        !none || !policies.is_empty() || *trust || *gateways || *everything
    }

    /// May the cluster of the workload at this address be different? The world is the new one.
    pub fn concerns_workload(&self, world: &World, at: SocketAddr) -> bool {
        let mut there = world.at(at.ip());
        self.everything
            || self.addresses.contains(&at.ip())
            || there.any(|workload| self.namespaces.contains(&workload.namespace))
    }

    /// May what is a proxy's own be different, apart from what its scope asks for?
    pub fn concerns_own(&self, node: &Node) -> bool {
        self.everything
            || self.trust
            || self.addresses.contains(&node.address)
            || self.namespaces.contains(&node.namespace)
            || self.secrets.contains(&node.namespace)
            || !self.kin.is_empty() && self.kin.contains(&(node.namespace.clone(), node.workload.name.clone()))
            || self.policies.iter().any(|policy| policy.concerns(node))
            || self.gateways && matches!(node.role, Role::Gateway { .. })
    }
}

/// The workloads that a policy on access is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ruled {
    policy: Arc<Resource>,
    root: String,
}

impl Ruled {
    pub fn by(world: &World, policy: &Arc<Resource>) -> Self {
        Self { policy: policy.clone(), root: world.settings.root_namespace.clone() }
    }

    fn concerns(&self, node: &Node) -> bool {
        let Spec::AuthorizationPolicy(policy) = &self.policy.spec else { return false };
        let is_served = node.role != Role::Program;
        is_served && access::concerns(policy, self.policy.namespace(), &self.root, Subject::of(node))
    }
}

/// A service may itself have the wildcard's name.
fn for_host(pattern: &HostPattern, host: &str) -> bool {
    pattern.matches(host) || pattern.to_string() == host
}
