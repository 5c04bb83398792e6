//! Who may call whom, as policies say it: every account that there is, and callers without an identity, towards every port of
//! every service. No request is needed: conditions on what only requests have are taken for ones that may hold or not.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use api::istio::AccessAction;
use model::access::{Condition, Operation, Policy, Rules, Source};

use super::{Layer, Ports, Subject};
use crate::check::{members_of, services_at};
use crate::peer_authentication::Mode;
use crate::protocol::Protocol;
use crate::service::{Service, ServicePort, Target};
use crate::world::World;

/// May something pass?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum May {
    /// Nothing.
    Nothing,
    /// What meets further conditions, such as on paths.
    Some,
    /// Everything.
    All,
}

/// A caller, a port of a service, and what may pass between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Namespace and account of the caller; none: whoever has no identity.
    pub from: Option<(String, String)>,
    /// The service's host.
    pub to: String,
    /// The service's port.
    pub port: u16,
    /// What may pass.
    pub may: May,
    /// The policies that allow it, `namespace/name`; empty if it needs none.
    pub by: BTreeSet<String>,
}

/// Everybody who may call anybody, by caller and then by service.
pub fn graph(world: &World) -> Vec<Edge> {
    let mut callers: Vec<Option<(&str, &str)>> = world.known_accounts().into_iter().map(Some).collect();
    callers.push(None);
    let mut edges = Vec::new();
    for from in callers {
        for service in world.services().filter(|service| !service.external) {
            for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
                edges.extend(edge(world, from, service, port));
            }
        }
    }
    edges
}

/// What may pass to a port of a service; none if nothing may, or if nobody is there.
fn edge(world: &World, from: Option<(&str, &str)>, service: &Service, port: &ServicePort) -> Option<Edge> {
    let Target::Number(target) = port.target else { return None };
    let mut by = BTreeSet::new();
    let each = members_of(world, service).into_iter().map(|(labels, account)| {
        let mode = world.mutual_tls_of(&service.namespace, labels, target);
        if from.is_none() && mode == Mode::Strict {
            return May::Nothing;
        }
        let identity = from.filter(|_| mode != Mode::Disable);
        let identity = identity.and_then(|(namespace, account)| world.identity(namespace, account));
        let services = services_at(world, service, labels, target);
        let subject =
            Subject { namespace: &service.namespace, labels, is_gateway: false, account, services: &services };
        let raw = !port.protocol.is_http() && port.protocol != Protocol::Auto;
        let layers = world.access_layers(subject, raw, Ports::default());
        Asked { identity: identity.as_deref(), port: target }.of(&layers, &mut by)
    });
    let each: Vec<May> = each.collect();
    let may = match (each.iter().min()?, each.iter().max()?) {
        (_, May::Nothing) => return None,
        (May::All, _) => May::All,
        _ => May::Some,
    };
    let from = from.map(|(namespace, account)| (namespace.to_owned(), account.to_owned()));
    Some(Edge { from, to: service.host.to_string(), port: port.number, may, by })
}

/// What is known without a request.
struct Asked<'a> {
    identity: Option<&'a str>,
    port: u16,
}

impl Asked<'_> {
    fn of(&self, layers: &[Layer], by: &mut BTreeSet<String>) -> May {
        let mut may = May::All;
        for layer in layers {
            let Some(rules) = &layer.rules else { continue };
            let (taken, names) = self.takes(rules);
            match layer.action {
                AccessAction::Audit => {}
                // A provider that is asked may say either.
                AccessAction::Custom if layer.provider.is_some() && taken != May::Nothing => may = may.min(May::Some),
                AccessAction::Custom if layer.provider.is_some() => {}
                AccessAction::Custom | AccessAction::Deny => may = may.min(opposite(taken)),
                AccessAction::Allow => {
                    may = may.min(taken);
                    by.extend(names);
                }
            }
        }
        may
    }

    /// How much of the rules' policies takes, and which.
    fn takes(&self, rules: &Rules) -> (May, Vec<String>) {
        let each = rules.policies.iter().map(|(name, policy)| (self.takes_by(policy), policy_name(name)));
        let taking: Vec<(May, String)> = each.filter(|(may, _)| *may != May::Nothing).collect();
        let most = taking.iter().map(|(may, _)| *may).max().unwrap_or(May::Nothing);
        (most, taking.into_iter().map(|(_, name)| name).collect())
    }

    fn takes_by(&self, policy: &Policy) -> May {
        let what = policy.permissions.iter().map(|one| holds(one, &|fact| self.operation(fact))).max();
        let who = policy.principals.iter().map(|one| holds(one, &|fact| self.source(fact))).max();
        what.unwrap_or(May::Nothing).min(who.unwrap_or(May::Nothing))
    }

    fn operation(&self, fact: &Operation) -> May {
        match fact {
            Operation::DestinationPort(ports) => sure(ports.contains(&self.port)),
            _ => May::Some,
        }
    }

    fn source(&self, fact: &Source) -> May {
        match fact {
            Source::Authenticated(None) => sure(self.identity.is_some()),
            Source::Authenticated(Some(text)) => sure(self.identity.is_some_and(|identity| text.matches(identity))),
            // No address is none that anybody has.
            Source::DirectRemoteIp(block) | Source::RemoteIp(block) | Source::SourceIp(block) => {
                let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                if block.prefix_len() == 0 && block.contains(&unspecified) { May::All } else { May::Some }
            }
            _ => May::Some,
        }
    }
}

fn sure(holds: bool) -> May {
    if holds { May::All } else { May::Nothing }
}

fn opposite(may: May) -> May {
    match may {
        May::Nothing => May::All,
        May::Some => May::Some,
        May::All => May::Nothing,
    }
}

fn holds<T>(condition: &Condition<T>, fact: &dyn Fn(&T) -> May) -> May {
    match condition {
        Condition::Any => May::All,
        Condition::All(all) => all.iter().map(|one| holds(one, fact)).min().unwrap_or(May::All),
        Condition::Either(any) => any.iter().map(|one| holds(one, fact)).max().unwrap_or(May::Nothing),
        Condition::Not(one) => opposite(holds(one, fact)),
        Condition::Is(one) => fact(one),
    }
}

/// `namespace/name` of a policy, from the name of its rule.
fn policy_name(rule: &str) -> String {
    let within = |after: &str| Some(rule.split_once(after)?.1.split_once(']')?.0);
    let name = ["policy[", "role[", "binding[", "intentions[", "target["].into_iter().find_map(within);
    format!("{}/{}", within("ns[").unwrap_or_default(), name.unwrap_or_default())
}
