//! What the `egress` entries of a `Sidecar` reach, and where connections there come in. An entry with a port is for that
//! port alone, and for it the only one; the one without is for all others (Istio's rules). One that is an HTTP proxy or has a
//! Unix socket leads to all ports of its hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use api::istio::{CaptureMode, EgressListener, Sidecar, SidecarPort};
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
    let for_port = sidecar.egress.iter().find(|entry| takes(entry) == Takes::Port(port));
    let rest = || sidecar.egress.iter().find(|entry| takes(entry) == Takes::Rest);
    for_port.or_else(rest).map_or(Way::Usual, |entry| way_of(entry, port))
}

fn way_of(entry: &EgressListener, port: u16) -> Way {
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
    let for_any = gatherings(sidecar).any(|gathering| gathering.reaches(own, service));
    with_ports(service, |port| by_number(sidecar, own, service, port).or_else(|| for_any.then(|| port.clone())))
}

/// The same for entries whose listeners are each for one port of services.
pub fn reached_by_number(sidecar: &Sidecar, own: &str, service: &Arc<Service>) -> Option<Arc<Service>> {
    with_ports(service, |port| by_number(sidecar, own, service, port))
}

fn with_ports(service: &Arc<Service>, reached: impl Fn(&ServicePort) -> Option<ServicePort>) -> Option<Arc<Service>> {
    let ports: Vec<ServicePort> = service.ports.iter().filter_map(reached).collect();
    match ports.is_empty() {
        true => None,
        false if ports == service.ports => Some(service.clone()),
        false => Some(Arc::new(Service { ports, ..Service::clone(service) })),
    }
}

fn by_number(sidecar: &Sidecar, own: &str, service: &Service, port: &ServicePort) -> Option<ServicePort> {
    let is_for = |entry: &&EgressListener| number(entry) == Some(port.number);
    match sidecar.egress.iter().find(is_for) {
        Some(entry) if entry.port.as_ref().is_some_and(SidecarPort::is_http_proxy) => None,
        Some(entry) => reaches(entry, own, service)
            .then(|| ServicePort { protocol: spoken(entry).unwrap_or(port.protocol), ..port.clone() }),
        None => {
            let mut rest = sidecar.egress.iter().filter(|entry| takes(entry) == Takes::Rest);
            rest.any(|entry| reaches(entry, own, service)).then(|| port.clone())
        }
    }
}

/// Which ports of services an entry's listeners are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// This one.
    Port(u16),
    /// All that no other entry is for.
    Rest,
    /// Any, at one listener.
    Any,
}

fn takes(entry: &EgressListener) -> Takes {
    let is_proxy = entry.port.as_ref().is_some_and(SidecarPort::is_http_proxy);
    match number(entry) {
        _ if is_proxy || entry.bind.starts_with(UNIX) => Takes::Any,
        Some(number) => Takes::Port(number),
        None => Takes::Rest,
    }
}

const UNIX: &str = "unix://";

/// The port whose connections an entry takes.
fn number(entry: &EgressListener) -> Option<u16> {
    Some(entry.port.as_ref()?.number.value as u16).filter(|number| *number > 0)
}

fn spoken(entry: &EgressListener) -> Option<Protocol> {
    let word = &entry.port.as_ref()?.protocol;
    Protocol::parse(word).or((!word.is_empty()).then_some(Protocol::Tcp))
}

/// An entry whose one listener leads to ports of any number: an HTTP proxy, or a Unix socket.
#[derive(Debug, Clone, Copy)]
pub struct Gathering<'a>(&'a EgressListener);

/// Where a [`Gathering`] takes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At a Unix socket: a path, or `@` and an abstract name.
    Pipe(String),
    /// At a port.
    Port(u16, Way),
}

/// The entries of that kind.
pub fn gatherings(sidecar: &Sidecar) -> impl Iterator<Item = Gathering<'_>> {
    sidecar.egress.iter().filter_map(Gathering::of)
}

impl<'a> Gathering<'a> {
    /// The entry, if it is of that kind.
    pub fn of(entry: &'a EgressListener) -> Option<Self> {
        (takes(entry) == Takes::Any).then_some(Self(entry))
    }

    /// Where it takes connections.
    pub fn place(&self) -> Place {
        match (self.0.bind.strip_prefix(UNIX), number(self.0)) {
            (Some(path), _) => Place::Pipe(path.to_owned()),
            (None, number) => {
                let number = number.unwrap_or_default();
                Place::Port(number, way_of(self.0, number))
            }
        }
    }

    /// What is spoken there.
    pub fn protocol(&self) -> Protocol {
        match &self.0.port {
            Some(port) if port.is_http_proxy() => Protocol::Http,
            _ => spoken(self.0).unwrap_or(Protocol::Auto),
        }
    }

    /// Does it lead to the service? `own` is the namespace that `.` means.
    pub fn reaches(&self, own: &str, service: &Service) -> bool {
        reaches(self.0, own, service)
    }
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
