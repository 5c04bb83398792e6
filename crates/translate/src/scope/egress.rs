//! What the `egress` entries of a `Sidecar` reach, and where connections there come in. An entry with a port is for that
//! port alone, and for it the only one; the one without is for all others (Istio's rules).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use api::istio::{CaptureMode, EgressListener, Sidecar};
use base::HostPattern;
use model::Address;

use crate::names::without_dot;
use crate::protocol::Protocol;
use crate::service::{Service, ServicePort};

/// Where connections to a port come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// At the addresses of the services; HTTP at any.
    Usual,
    /// Captured ones that were made to this address.
    Captured(SocketAddr),
    /// At a socket of the program's side.
    Opened(SocketAddr),
}

impl Way {
    /// The listener's address in the program's namespace and whether a socket is opened, if it is not the usual one.
    pub fn told(self, netns: Option<&Arc<str>>) -> Option<(Address, bool)> {
        match self {
            Self::Usual => None,
            Self::Captured(addr) => Some((Address::socket(addr), false)),
            Self::Opened(addr) => Some((Address::Socket { addr, netns: netns.cloned() }, true)),
        }
    }
}

/// Where connections to a port come in, by this `Sidecar`.
pub fn way(sidecar: &Sidecar, port: u16) -> Way {
    let for_port = sidecar.egress.iter().find(|entry| number(entry) == Some(port));
    let rest = || sidecar.egress.iter().find(|entry| entry.port.is_none());
    let Some(entry) = for_port.or_else(rest).filter(|entry| !entry.bind.starts_with("unix://")) else {
        return Way::Usual;
    };
    let bind: Option<IpAddr> = entry.bind.parse().ok();
    match (entry.capture_mode, bind) {
        (CaptureMode::None, bind) => Way::Opened((bind.unwrap_or(Ipv4Addr::LOCALHOST.into()), port).into()),
        (_, Some(bind)) => Way::Captured((bind, port).into()),
        (_, None) => Way::Usual,
    }
}

/// A service with the ports that the entries reach; none if there is no such port. `own` is the namespace that `.` means.
/// What is spoken on a port, an entry for it says.
pub fn reached(sidecar: &Sidecar, own: &str, service: &Arc<Service>) -> Option<Arc<Service>> {
    let of_rest =
        sidecar.egress.iter().filter(|entry| number(entry).is_none()).any(|entry| reaches(entry, own, service));
    if sidecar.egress.iter().all(|entry| number(entry).is_none()) {
        return of_rest.then(|| service.clone());
    }
    let reached = |port: &ServicePort| match sidecar.egress.iter().find(|entry| number(entry) == Some(port.number)) {
        Some(entry) => reaches(entry, own, service)
            .then(|| ServicePort { protocol: spoken(entry).unwrap_or(port.protocol), ..port.clone() }),
        None => of_rest.then(|| port.clone()),
    };
    let ports: Vec<ServicePort> = service.ports.iter().filter_map(reached).collect();
    match ports.is_empty() {
        true => None,
        false if ports == service.ports => Some(service.clone()),
        false => Some(Arc::new(Service { ports, ..Service::clone(service) })),
    }
}

/// The port that an entry is for. One with a socket that has a path, and one for an HTTP proxy, are for all ports.
fn number(entry: &EgressListener) -> Option<u16> {
    let port = entry.port.as_ref().filter(|port| !port.is_http_proxy())?;
    Some(port.number.value as u16).filter(|number| *number > 0)
}

fn spoken(entry: &EgressListener) -> Option<Protocol> {
    let word = &entry.port.as_ref()?.protocol;
    Protocol::parse(word).or((!word.is_empty()).then_some(Protocol::Tcp))
}

/// Do an entry's hosts (`namespace/host`) take in the service? `~namespace/host` leaves out what others take in, and
/// `~/host` takes in nothing.
fn reaches(entry: &EgressListener, own: &str, service: &Service) -> bool {
    let entries = || entry.hosts.iter().filter_map(|written| written.value.split_once('/'));
    let is_meant = |namespace: &str, host: &str| {
        let in_namespace = match namespace {
            "*" => true,
            "." => service.namespace == own,
            namespace => service.namespace == namespace,
        };
        let pattern = without_dot(host).parse::<HostPattern>();
        in_namespace && pattern.is_ok_and(|p| p.matches(&service.host) || p.to_string() == *service.host)
    };
    let left_out = |(namespace, host): (&str, &str)| namespace.strip_prefix('~').is_some_and(|n| is_meant(n, host));
    entries().any(|(namespace, host)| is_meant(namespace, host)) && !entries().any(left_out)
}
