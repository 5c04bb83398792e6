//! Which server of which `Gateway` has a port and a host, where several ask for the same one. Istio's rules: on a port of
//! plain HTTP all are joined; elsewhere the oldest `Gateway` has it, and the other's server is left out as a whole. What a
//! server's chains and routes are is not decided here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use api::istio::{Gateway, Server};
use api::{Kind, Resource};

use crate::names::without_dot;
use crate::world::{World, age};

/// What opens servers: a `Gateway`, or an Ingress that is read.
#[derive(Clone, Copy)]
pub struct Opener<'a> {
    /// The document.
    pub resource: &'a Arc<Resource>,
    /// What it opens.
    pub servers: &'a [Server],
    /// The labels of the proxies that it stands at.
    pub selector: &'a BTreeMap<String, String>,
}

impl<'a> Opener<'a> {
    /// Its name.
    pub fn name(self) -> &'a str {
        &self.resource.meta.name
    }

    /// Its namespace.
    pub fn namespace(self) -> &'a str {
        self.resource.namespace()
    }

    /// Namespace and name as Istio writes them.
    pub fn full_name(self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    /// Is it an Ingress?
    pub fn is_ingress(self) -> bool {
        self.resource.kind == Kind::Ingress
    }
}

/// All that open servers, the oldest first.
pub fn openers(world: &World) -> Vec<Opener<'_>> {
    let gateways = world.gateways.iter().map(|gateway| {
        let Gateway { servers, selector } = gateway.spec();
        Opener { resource: &gateway.resource, servers, selector }
    });
    let selector = &world.settings.ingress.selector;
    let ingresses = world.read_ingresses().map(|ingress| Opener {
        resource: &ingress.resource,
        servers: ingress.spec().servers(),
        selector,
    });
    let mut all: Vec<Opener<'_>> = gateways.chain(ingresses).collect();
    all.sort_by(|a, b| age(a.resource).cmp(&age(b.resource)));
    all
}

/// A server of a gateway.
#[derive(Clone, Copy)]
pub struct Open<'a> {
    /// The document that it stands in.
    pub gateway: Opener<'a>,
    /// What is written there.
    pub server: &'a Server,
    /// Its place in the document's list.
    pub index: usize,
    /// The port that it asks for.
    pub port: u16,
    /// The address that it asks for; none: that of the gateway.
    pub bind: Option<IpAddr>,
}

/// Where servers are open: at a port of an address, or of the gateway's own.
pub type Door = (u16, Option<IpAddr>);

/// The address that a server asks for.
pub enum Bind {
    /// None: the gateway's own is meant.
    Own,
    /// This one.
    Ip(IpAddr),
    /// A socket with a path, which no gateway opens.
    Path,
}

impl Bind {
    /// As it is written.
    pub fn of(server: &Server) -> Self {
        match server.bind.as_str() {
            "" => Self::Own,
            written => written.parse().map_or(Self::Path, Self::Ip),
        }
    }
}

/// Two servers that ask for the same.
pub struct Clash<'a> {
    /// The one that comes first.
    pub first: Open<'a>,
    /// The other.
    pub second: Open<'a>,
    /// What both ask for.
    pub over: Over<'a>,
}

/// What two servers ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Over<'a> {
    /// This host on a port where TLS tells hosts apart: the second server is left out.
    TlsHost(&'a str),
    /// This host on a port of plain HTTP: their rules are joined.
    HttpHost(&'a str),
    /// The port itself, for protocols that do not go together: the second server is left out.
    Port,
}

/// The servers that are open, by address and port, and what did not go together. The gateways come the oldest first; `own` is
/// their address, where it is known.
pub fn open<'a>(
    gateways: impl Iterator<Item = Opener<'a>>,
    own: Option<IpAddr>,
) -> (BTreeMap<Door, Vec<Open<'a>>>, Vec<Clash<'a>>) {
    let (mut by_door, mut clashes) = (BTreeMap::<Door, Vec<Open<'a>>>::new(), Vec::new());
    for gateway in gateways {
        for (index, server) in gateway.servers.iter().enumerate() {
            let Some(port) = server.port.as_ref().map(|p| p.number.value as u16) else { continue };
            let bind = match Bind::of(server) {
                Bind::Own => None,
                Bind::Ip(bind) => Some(bind).filter(|bind| Some(*bind) != own),
                Bind::Path => continue,
            };
            let second = Open { gateway, server, index, port, bind };
            let there = by_door.entry((port, bind)).or_default();
            let found = clash(there, second);
            let stays = found.as_ref().is_none_or(|clash| matches!(clash.over, Over::HttpHost(_)));
            clashes.extend(found);
            if stays {
                there.push(second);
            }
        }
    }
    (by_door, clashes)
}

fn clash<'a>(there: &[Open<'a>], second: Open<'a>) -> Option<Clash<'a>> {
    // A plain server that redirects has TLS settings too; Istio counts it with those by TLS here.
    let has_settings = second.server.tls.is_some();
    for host in second.server.hosts.iter().map(|h| host_part(&h.value)) {
        let opens = |o: &&Open<'_>| o.server.hosts.iter().any(|h| host_part(&h.value).eq_ignore_ascii_case(host));
        if let Some(first) = there.iter().filter(|o| has_settings && o.server.tls.is_some()).find(opens) {
            return Some(Clash { first: *first, second, over: Over::TlsHost(host) });
        }
    }
    let first = *there.first()?;
    let http = is_plain_http(first.server) && is_plain_http(second.server);
    if !(http || is_tls(first.server) && is_tls(second.server)) {
        return Some(Clash { first, second, over: Over::Port });
    }
    second.server.hosts.iter().map(|h| host_part(&h.value)).find_map(|host| {
        let opens = |o: &&Open<'_>| o.server.hosts.iter().any(|h| host_part(&h.value).eq_ignore_ascii_case(host));
        let first = there.iter().filter(|_| http).find(opens)?;
        Some(Clash { first: *first, second, over: Over::HttpHost(host) })
    })
}

/// The protocol that a server declares, in upper case.
pub fn protocol(server: &Server) -> String {
    server.port.as_ref().map(|p| p.protocol.to_ascii_uppercase()).unwrap_or_default()
}

/// Is it HTTP without TLS?
pub fn is_plain_http(server: &Server) -> bool {
    matches!(protocol(server).as_str(), "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB")
}

fn is_tls(server: &Server) -> bool {
    server.tls.is_some() && !is_plain_http(server)
}

/// The host of a server, without the namespace before it.
pub fn host_part(written: &str) -> &str {
    without_dot(written.split_once('/').map_or(written, |(_, host)| host))
}
