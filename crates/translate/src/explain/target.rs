//! Where a request goes in the end: clusters by weight, their endpoints, and the policies on the way.

use std::sync::Arc;

use model::cluster::{Discovery, Transport};
use model::endpoint::Health;
use model::{Cluster, EndpointSet, ResourceKind};

use super::{Step, Walk};
use crate::egress;
use crate::names::{BLACK_HOLE, PASSTHROUGH};
use crate::peer_authentication::Mode;
use crate::policy::concurrency_limit;
use crate::protocol::Protocol;
use crate::service::{Service, ServicePort};

impl<'a> Walk<'a> {
    /// The clusters among which the weights decide.
    pub fn clusters(
        &mut self,
        targets: &[(&Arc<str>, u32)],
        service: Option<&'a Arc<Service>>,
        what: &str,
    ) -> (String, bool) {
        if let Some(policies) = targets.iter().find_map(|(name, _)| egress::policies_of(name)) {
            let closes = super::egress::verdict(what, policies, "closes the connection");
            self.steps.push(Step::new("egress policy", policies));
            return (closes, false);
        }
        let total: u64 = targets.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut reached = Vec::new();
        for (name, weight) in targets {
            let share = 100.0 * f64::from(*weight) / total.max(1) as f64;
            let share = if targets.len() > 1 { format!(" ({share:.0} %)") } else { String::new() };
            if let Some(endpoints) = self.cluster(name, &share) {
                reached.push(format!("`{name}`{share}: {endpoints}"));
            }
        }
        if let Some(service) = service {
            self.policies(service);
        }
        let refusal = self.access_there(targets);
        self.limits_there(targets);
        match refusal {
            Some(reason) if !reached.is_empty() => {
                (super::refused("the server", what != "the request", &reason), false)
            }
            _ if reached.is_empty() => {
                (format!("{what} finds nobody: answered 503, or closed if it is no HTTP"), false)
            }
            _ => (format!("{what} goes to {}", reached.join("; ")), true),
        }
    }

    /// One of them; how many can take the request, in words, if anybody can.
    fn cluster(&mut self, name: &Arc<str>, share: &str) -> Option<String> {
        let Some(cluster) = self.config.clusters.get(name).cloned() else {
            let step = Step::new("cluster", format!("{name}{share}"));
            self.steps.push(step.fact("does not exist: no such host, port or subset; answered 503 (flag NC)"));
            return None;
        };
        self.met.push((ResourceKind::Cluster, name.clone()));
        let step = Step::new("cluster", format!("{name}{share}")).fact(transport(&cluster));
        let step = step.fact(format!("balancing: {}", cluster.balancing));
        let check = cluster.health_check.iter().map(|check| format!("health check: {check}"));
        self.steps.push(check.fold(step, Step::fact));
        let set = match &cluster.discovery {
            Discovery::Eds(name) => self.config.endpoints.get(name).cloned().unwrap_or_default(),
            Discovery::Static(set) | Discovery::StrictDns(set) | Discovery::LogicalDns(set) => Arc::new(set.clone()),
            Discovery::OriginalDestination => return Some(self.as_dialled(&cluster)),
            Discovery::DynamicForward(_) => {
                let words = "the host that the caller names, as the proxy looks it up";
                self.steps.push(Step::new("endpoints", words));
                return Some(words.to_owned());
            }
        };
        self.endpoints(&set)
    }

    fn as_dialled(&mut self, cluster: &Cluster) -> String {
        let words = match &*cluster.name {
            PASSTHROUGH => "the address that the caller dialled, as an unknown destination (ALLOW_ANY)",
            BLACK_HOLE => "nowhere: unknown destinations are refused (REGISTRY_ONLY)",
            _ => "the address that the caller dialled",
        };
        self.steps.push(Step::new("endpoints", words));
        words.to_owned()
    }

    fn endpoints(&mut self, set: &EndpointSet) -> Option<String> {
        let mut step = Step::new("endpoints", format!("{} of {}", set.iter().count(), set.name));
        let mut able = 0;
        for endpoint in set.iter() {
            let health = match endpoint.health {
                Health::Healthy => "",
                Health::Unhealthy => ", unhealthy",
                Health::Draining => ", draining",
                Health::Degraded => ", degraded",
            };
            able += usize::from(matches!(endpoint.health, Health::Healthy | Health::Degraded));
            let who = endpoint.workload.as_ref().map_or_else(String::new, |w| format!(" {}.{}", w.name, w.namespace));
            let tls = if endpoint.mesh_tls { ", takes the mesh's TLS" } else { "" };
            step = step.fact(format!("{}{who}{tls}{health}", endpoint.address));
        }
        if able == 0 {
            step = step.fact("none can take a request: answered 503 (flag UH)");
        }
        self.steps.push(step);
        (able > 0).then(|| if able == 1 { "1 endpoint".to_owned() } else { format!("one of {able} endpoints") })
    }

    /// The documents that shape how the destination is called, and how it takes calls.
    fn policies(&mut self, service: &'a Service) {
        let rules = self.world.policy_documents(service, self.node).into_iter().map(|rule| &rule.resource);
        for document in rules.chain(self.world.service_policy(service).map(|policy| &policy.resource)) {
            self.steps.push(Step::new("policy", format!("{} ({})", document.key(), document.origin)));
        }
        let Some(port) = service.port(self.question.port) else { return };
        let modes: Vec<String> = self.modes(service, port).collect();
        let limits: Vec<String> = self.limits(service, port).collect();
        for (name, mut facts) in [("mutual TLS at the server", modes), ("concurrency limit at the server", limits)] {
            facts.sort();
            facts.dedup();
            if !facts.is_empty() {
                self.steps.push(facts.into_iter().fold(Step::new("policy", name), Step::fact));
            }
        }
    }

    fn modes<'s>(&'s self, service: &'s Service, port: &'s ServicePort) -> impl Iterator<Item = String> + 's {
        self.world.workloads_of(service).filter_map(move |workload| {
            let target = port.on(workload)?;
            let mode = match self.world.mutual_tls_of(&workload.namespace, &workload.labels, target) {
                Mode::Disable => "DISABLE: plain text only",
                Mode::Permissive => "PERMISSIVE: plain text and mutual TLS",
                Mode::Strict => "STRICT: mutual TLS only",
            };
            Some(format!("{}: {mode}", workload.reference.name))
        })
    }

    /// What comes in at once, where a proxy counts it: HTTP, at workloads that have one.
    fn limits<'s>(&'s self, service: &'s Service, port: &'s ServicePort) -> impl Iterator<Item = String> + 's {
        let is_http = port.protocol.is_http() || port.protocol == Protocol::Auto;
        let with_proxies = self.world.workloads_of(service).filter(move |workload| is_http && workload.mesh_tls);
        with_proxies.filter_map(move |workload| {
            let policy = self.world.inbound_limit(workload.address, &workload.namespace, port.on(workload)?)?;
            let limit = concurrency_limit(policy.spec().concurrency_limit.as_ref()?);
            Some(format!("{}: {limit} ({})", workload.reference.name, policy.resource.key()))
        })
    }
}

fn transport(cluster: &Cluster) -> String {
    let transport = match &cluster.transport {
        Transport::Plain => "plain text".to_owned(),
        Transport::Tls(tls) => format!("TLS to every endpoint{}", asking(tls.sni.as_deref())),
        Transport::MeshTls(_) => "the mesh's mutual TLS to endpoints that take it".to_owned(),
    };
    let tells = cluster.connections.as_ref().is_some_and(|options| options.proxy_header.is_some());
    if tells { format!("a PROXY header, then {transport}") } else { transport }
}

fn asking(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(", asking for {name}"))
}
