//! What a workload sees of the world outside: services narrowed to what rules allow, and hosts that only rules name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use base::HostPattern;
use model::cluster::Transport;
use model::tls::UpstreamTls;
use model::{Cluster, Config, Locality, NameLimit, StringMatch};

use super::{Allowed, Egress};
use crate::names;
use crate::policy::{self, Asked, TlsChoice};
use crate::protocol::Protocol;
use crate::service::{Backing, FixedEndpoint, Service, ServicePort, Visibility};
use crate::world::World;

impl<'a> Egress<'a> {
    /// A service as far as it may be called. Those of the mesh are left as they are.
    pub fn narrowed(&self, service: &Arc<Service>) -> Option<Arc<Service>> {
        if !service.external {
            return Some(service.clone());
        }
        let host: HostPattern = service.host.parse().ok()?;
        let allowed = |port: &ServicePort| {
            let rule = self.allows(&host, port.number)?;
            Some(ServicePort { protocol: rule.protocol, ..port.clone() })
        };
        let ports: Vec<ServicePort> = service.ports.iter().filter_map(allowed).collect();
        let backing = resolved(service, &host);
        (!ports.is_empty()).then(|| Arc::new(Service { ports, backing, ..Service::clone(service) }))
    }

    /// The hosts that rules allow and no service outside of the mesh has, port by port.
    pub fn services(&self, world: &World) -> Vec<Arc<Service>> {
        let mut found: BTreeMap<String, Service> = BTreeMap::new();
        for (pattern, allowed) in self.hosts() {
            let host = pattern.to_string();
            let known = world.service_named(&host);
            if known.is_some_and(|known| !known.external || known.port(allowed.number).is_some()) {
                continue;
            }
            let service = found.entry(host).or_insert_with_key(|host| place(world, host, &allowed));
            if service.port(allowed.number).is_none() {
                service.ports.push(port(&allowed));
            }
        }
        found.into_values().map(Arc::new).collect()
    }

    /// The names that DNS may be asked for elsewhere.
    pub fn limit(&self) -> NameLimit {
        let hosts: BTreeSet<String> = self.hosts().map(|(host, _)| host.to_string()).collect();
        NameLimit { names: hosts.into_iter().collect(), policies: self.names().into() }
    }

    /// Has the proxy speak TLS where a rule says so and no DestinationRule does.
    pub fn originate(&self, config: &mut Config) {
        for (pattern, allowed) in self.hosts() {
            let (Some(written), HostPattern::Exact(host)) = (&allowed.rule.tls, &pattern) else { continue };
            let Some(cluster) = config.clusters.get_mut(&names::outbound(allowed.number, "", host)) else { continue };
            if let (TlsChoice::Own(tls), Transport::Plain) = (policy::tls(written), &cluster.transport) {
                let cluster: &mut Cluster = Arc::make_mut(cluster);
                cluster.transport = Transport::Tls(towards(host, tls));
            }
        }
    }
}

/// TLS that asks for a host and has it prove its name, where the rule says nothing else.
fn towards(host: &str, mut tls: UpstreamTls) -> UpstreamTls {
    let asked = tls.sni.get_or_insert_with(|| host.to_owned()).clone();
    if let Some(validation) = tls.validation.as_mut().filter(|validation| validation.names.is_empty()) {
        validation.names = vec![StringMatch::exact(asked)];
    }
    tls
}

/// Nothing outside is dialled because a program says that it is there: who is believed is the resolver of the proxy. Blocks
/// of addresses stand for themselves.
fn resolved(service: &Service, host: &HostPattern) -> Backing {
    let has_own = !service.blocks.is_empty() || !service.addresses.is_empty();
    match (&service.backing, host) {
        (Backing::Passthrough, HostPattern::Exact(name)) if !has_own => Backing::Dns(vec![fixed(name)], false),
        (Backing::Passthrough, _) if !has_own => Backing::Named,
        (backing, _) => backing.clone(),
    }
}

fn place(world: &World, host: &str, allowed: &Allowed<'_>) -> Service {
    let given = world.vips.get(host).map(|ip| IpAddr::V4(*ip));
    Service {
        host: host.into(),
        name: host.to_owned(),
        namespace: allowed.policy.namespace().to_owned(),
        ports: Vec::new(),
        addresses: given.into_iter().collect(),
        blocks: Vec::new(),
        headless: None,
        backing: if host.starts_with('*') { Backing::Named } else { Backing::Dns(vec![fixed(host)], false) },
        visible: Visibility::Everywhere,
        external: true,
        asked: Asked::default(),
        certificate_names: Vec::new(),
        defined_by: Some(allowed.policy.resource.key()),
    }
}

fn port(allowed: &Allowed<'_>) -> ServicePort {
    ServicePort { number: allowed.number, name: None, protocol: allowed.protocol, target: allowed.target() }
}

fn fixed(host: &str) -> FixedEndpoint {
    FixedEndpoint {
        address: host.to_owned(),
        ports: BTreeMap::new(),
        labels: BTreeMap::new(),
        weight: 1,
        locality: Locality::default(),
        service_account: None,
    }
}

/// Is the host of this port of a place known by the name alone that TLS asks for?
pub fn is_by_name(service: &Service, port: &ServicePort) -> bool {
    service.external && matches!(port.protocol, Protocol::Tls | Protocol::Https)
}
