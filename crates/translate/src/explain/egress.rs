//! What EgressPolicies say of a call that leaves the mesh.

use std::net::IpAddr;
use std::sync::Arc;

use base::HostPattern;
use model::Route;

use super::{Question, Step, Walk};
use crate::egress::{Allowed, denied_by};
use crate::names::complete_host;
use crate::node::Node;
use crate::protocol::Protocol;
use crate::service::Service;
use crate::world::World;

/// The question as a program asks it: where a rule says that TLS is spoken, the host is named in it.
pub fn asked(world: &World, node: &Node, question: &Question) -> Question {
    let host = complete_host(&question.host, &node.namespace, &world.settings.dns_domain);
    let allowed = world.egress(node).and_then(|egress| egress.allows(&HostPattern::Exact(host.clone()), question.port));
    let tls = allowed.is_some_and(|allowed| matches!(allowed.protocol, Protocol::Tls | Protocol::Https));
    let name = question.server_name.clone().or_else(|| tls.then_some(host));
    Question { server_name: name, ..question.clone() }
}

/// The policies by which a route refuses what it takes, if it is such a one.
pub fn has_refused(route: &Route) -> Option<&str> {
    denied_by(&route.name)
}

/// What becomes of what policies do not allow.
pub fn verdict(what: &str, policies: &str, fate: &str) -> String {
    let which = if policies.contains(',') { "EgressPolicies" } else { "EgressPolicy" };
    format!("{what} may not leave: the proxy {fate}, since no rule of the {which} {policies} allows this place")
}

impl Walk<'_> {
    /// Of a host that no service has.
    pub(super) fn outside(&self, step: Step, host: &str) -> Step {
        match self.allowed(host) {
            Some(allowed) => {
                let by = format!("EgressPolicy {}/{}", allowed.policy.namespace(), allowed.policy.name());
                step.fact(format!("outside of the mesh; allowed by the {by} ({})", allowed.policy.resource.origin))
                    .fact(format!("the port speaks {}", allowed.protocol))
            }
            None => {
                step.fact("no service has this host, and no rule of an EgressPolicy that selects the caller allows it")
            }
        }
    }

    /// Why a service outside may not be called on this port, if it may not.
    pub(super) fn forbidden(&self, service: &Arc<Service>) -> Option<String> {
        let egress = self.world.egress(self.node).filter(|_| service.external)?;
        let seen = egress.narrowed(service).and_then(|seen| seen.port(self.question.port).cloned());
        let names = egress.names();
        seen.is_none().then(|| {
            format!("it lies outside of the mesh, and no rule of the EgressPolicy {names} allows this port of it")
        })
    }

    /// The address by which a host is dialled that only rules name.
    pub(super) fn given_address(&self) -> Option<IpAddr> {
        self.allowed(&self.question.host)?;
        self.world.vips.get(&self.question.host).map(|ip| IpAddr::V4(*ip))
    }

    fn allowed(&self, host: &str) -> Option<Allowed<'_>> {
        self.world.egress(self.node)?.allows(&HostPattern::Exact(host.to_owned()), self.question.port)
    }
}
