//! What a request would meet: listener, route, cluster, endpoints and policies, and why every other rule was passed over.
//!
//! The answer is read from the very configuration that [`translate`](crate::translate) makes for the caller, with the same
//! questions that a proxy asks of it (`model::chain::select`, `model::route`), so the two cannot disagree.

mod access;
mod egress;
mod limits;
mod rules;
mod target;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, Method};
use model::chain::{self, Inspected, TransportKind};
use model::http_proxy::RouteSource;
use model::route::{Action, HostIndex, Mismatch, RequestView, find_host};
use model::{Config, FilterChain, Listener, NetworkFilter, ResourceKind, Route, RouteConfiguration, VirtualHost};

use crate::headless::dialled_addresses;
use crate::names::complete_host;
use crate::node::{Capture, Node, Role};
use crate::servers::openers;
use crate::service::Service;
use crate::world::World;

/// A request that somebody wants explained.
#[derive(Debug, Clone)]
pub struct Question {
    /// The host, short or whole, as the caller's program names it.
    pub host: String,
    /// The port that is dialled.
    pub port: u16,
    /// The authority, if it is not the host.
    pub authority: Option<String>,
    /// The server name, for a caller that speaks TLS.
    pub server_name: Option<String>,
    /// The method.
    pub method: Method,
    /// The path, with its query.
    pub path: String,
    /// Headers.
    pub headers: HeaderMap,
}

/// What a request would meet, step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// In the order in which the request meets them.
    pub steps: Vec<Step>,
    /// What becomes of it, in a sentence.
    pub verdict: String,
    /// It reaches an endpoint, or is answered as a rule says.
    pub served: bool,
    /// The resources of the configuration that it meets, in this order.
    pub met: Vec<(ResourceKind, Arc<str>)>,
}

/// One thing that a request meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What kind of thing: `caller`, `destination`, `listener`, `virtual host`, `route`, `cluster`, `endpoints`,
    /// `policy` or `access`.
    pub stage: &'static str,
    /// Its name.
    pub name: String,
    /// What it says, a fact a line.
    pub facts: Vec<String>,
    /// What was passed over, and why.
    pub others: Vec<PassedOver>,
}

/// Something that a request does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// What it is, with the place where it was written.
    pub name: String,
    /// Why not.
    pub reason: String,
}

impl Step {
    fn new(stage: &'static str, name: impl Into<String>) -> Self {
        Self { stage, name: name.into(), facts: Vec::new(), others: Vec::new() }
    }

    fn fact(mut self, fact: impl Into<String>) -> Self {
        self.facts.push(fact.into());
        self
    }
}

/// Explains what a request of `node`'s program (or, for a gateway, of one of its clients) would meet.
pub fn explain(world: &World, node: &Node, question: &Question) -> Explanation {
    // All hosts stand in the tables then, as if each had been asked for already.
    let identity = || world.identity_of_caller(&node.namespace, node.title())?.parse().ok();
    let node = Node { on_demand: false, identity: node.identity.clone().or_else(identity), ..node.clone() };
    let question = &egress::asked(world, &node, question);
    let config = crate::translate(world, &node);
    let mut walk = Walk { world, node: &node, config: &config, question, steps: Vec::new(), met: Vec::new() };
    let (verdict, served) = walk.run();
    Explanation { steps: walk.steps, verdict, served, met: walk.met }
}

/// A caller by its name, as documents and running workloads describe it: a workload, a Deployment, a Pod, a service (the
/// workloads that it selects), or the label `istio` that a Gateway selects by.
pub fn caller(world: &World, namespace: &str, name: &str) -> Option<Node> {
    if let Some((labels, locality)) = world.labels_of_caller(namespace, name) {
        return Some(Node { id: name.into(), locality, ..imagined(namespace, &labels) });
    }
    let is_it = |labels: &BTreeMap<String, String>| {
        ["istio", "app"].iter().any(|key| labels.get(*key).is_some_and(|v| v == name))
    };
    let gateway = openers(world).into_iter().find(|gateway| gateway.name() == name || is_it(gateway.selector))?;
    let node = imagined_gateway(namespace, gateway.selector);
    Some(Node { id: name.into(), ..node })
}

/// The port of a service that has one only.
pub fn only_port(world: &World, node: &Node, host: &str) -> Option<u16> {
    let service = world.service(&complete_host(host, &node.namespace, &world.settings.dns_domain))?;
    if let [only] = &service.ports[..] { Some(only.number) } else { None }
}

/// A caller of which nothing but its namespace and labels is known.
fn imagined(namespace: &str, labels: &BTreeMap<String, String>) -> Node {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let capture = Capture::Redirect { netns: "caller".into(), outbound: vec![SocketAddr::new(address, 15001)] };
    Node {
        id: "caller".into(),
        role: Role::Sidecar { ports: Vec::new(), capture },
        namespace: namespace.to_owned(),
        labels: labels.clone(),
        identity: None,
        address,
        locality: Default::default(),
        workload: Arc::default(),
        ours: true,
        on_demand: false,
    }
}

/// A gateway with these labels, likewise.
fn imagined_gateway(namespace: &str, labels: &BTreeMap<String, String>) -> Node {
    let bind = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    Node {
        id: "gateway".into(),
        role: Role::Gateway { bind, ports: BTreeMap::new(), edge: Default::default() },
        ..imagined(namespace, labels)
    }
}

/// A request on its way.
struct Walk<'a> {
    world: &'a World,
    node: &'a Node,
    config: &'a Config,
    question: &'a Question,
    steps: Vec<Step>,
    met: Vec<(ResourceKind, Arc<str>)>,
}

impl<'a> Walk<'a> {
    fn run(&mut self) -> (String, bool) {
        let service = self.destination();
        let Some(listener) = self.listener(service) else {
            return (format!("no listener takes connections to port {}: they are refused", self.question.port), false);
        };
        let Some(chain) = self.chain(listener, service) else {
            return ("no filter chain fits: the connection is closed".to_owned(), false);
        };
        let tcp = matches!(chain.filter, NetworkFilter::Tcp(_));
        if let Some(reason) = self.access_here(tcp) {
            return (refused("the gateway", tcp, &reason), false);
        }
        if !tcp {
            self.limits_here();
        }
        match &chain.filter {
            NetworkFilter::Tcp(tcp) => {
                let targets: Vec<_> = tcp.clusters.iter().map(|to| (&to.cluster, to.weight)).collect();
                let tunnel = tcp.tunnel.as_ref();
                self.steps.extend(tunnel.map(|tunnel| Step::new("tunnel", format!("to {}", tunnel.target))));
                self.clusters(&targets, service, "the connection")
            }
            NetworkFilter::Http(http) => match &http.routes {
                RouteSource::Inline(table) => self.routed(table, service),
                RouteSource::Rds(name) => match self.config.routes.get(name) {
                    Some(table) => {
                        self.met.push((ResourceKind::Route, name.clone()));
                        self.routed(table, service)
                    }
                    None => (format!("there are no routes `{name}`: answered 404 (flag NR)"), false),
                },
            },
        }
    }

    /// The service that is meant, if the caller sees one.
    fn destination(&mut self) -> Option<&'a Arc<Service>> {
        let host = complete_host(&self.question.host, &self.node.namespace, &self.world.settings.dns_domain);
        if matches!(self.node.role, Role::Gateway { .. }) {
            self.steps.push(Step::new("destination", format!("{}:{}", self.question.host, self.question.port)));
            return None;
        }
        let step = Step::new("destination", format!("{host}:{}", self.question.port));
        let known = self.world.service(&host);
        let (step, service) = match known {
            None if self.world.egress(self.node).is_some() => (self.outside(step, &host), None),
            None => {
                let near = crate::check::nearest_host(self.world, &host);
                let near = near.map_or_else(String::new, |near| format!("; nearest is `{near}`"));
                let step = step.fact(format!("no service has this host{near}: it is an unknown destination"));
                (step.fact("its name is asked for outside of the mesh, and the call fails where nobody knows it"), None)
            }
            Some(service) => self.seen(step, service),
        };
        self.steps.push(step);
        service
    }

    /// What the caller sees of the service that has the host.
    fn seen(&self, step: Step, service: &'a Arc<Service>) -> (Step, Option<&'a Arc<Service>>) {
        let Some(seen) = self.world.seen(service, self.node) else {
            if let Some(why) = self.forbidden(service) {
                return (step.fact(why), None);
            }
            let why = "a service has this host, but `exportTo` or the caller's Sidecar hides it: it is an unknown destination";
            return (step.fact(why), None);
        };
        let by = service.defined_by.as_ref().map_or("running workloads".to_owned(), ToString::to_string);
        let step = step.fact(format!("defined by {by}"));
        match (seen.port(self.question.port), service.port(self.question.port)) {
            (Some(port), _) => (step.fact(format!("the port speaks {}", port.protocol)), Some(service)),
            (None, Some(_)) if self.forbidden(service).is_some() => {
                (self.forbidden(service).into_iter().fold(step, Step::fact), None)
            }
            (None, Some(_)) => {
                (step.fact("the caller's Sidecar hides this port of it: it is an unknown destination"), None)
            }
            (None, None) => {
                let ports: Vec<String> = service.ports.iter().map(|p| p.number.to_string()).collect();
                let why = format!("it has no port {}, but {}", self.question.port, ports.join(", "));
                (step.fact(format!("{why}: it is an unknown destination")), None)
            }
        }
    }

    /// Where a connection to the destination goes.
    fn address(&self, service: Option<&Arc<Service>>) -> SocketAddr {
        let unknown = || self.question.host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let of = |service: &Arc<Service>| {
            let single = dialled_addresses(self.world, service).first().copied();
            single.or_else(|| service.blocks.first().map(|block| block.addr()))
        };
        let known = service.and_then(of).or_else(|| self.given_address());
        SocketAddr::new(known.unwrap_or_else(unknown), self.question.port)
    }

    /// The listener that stands for the destination, as captured connections are handed on; a gateway's by its port.
    fn listener(&mut self, service: Option<&'a Arc<Service>>) -> Option<&'a Listener> {
        let at = self.address(service);
        let by_address = |at: SocketAddr| {
            let mut all = self.config.listeners.values();
            all.find(|listener| listener.address.socket_addr() == Some(at) && is_outbound(listener)).map(|l| &**l)
        };
        let found = match &self.node.role {
            Role::Gateway { ports, bind, .. } => {
                by_address(SocketAddr::new(*bind, ports.get(&at.port()).copied().unwrap_or(at.port())))
            }
            Role::Program => {
                self.steps.push(Step::new("listener", "none: a program that routes its own calls, by gRPC's rules"));
                None
            }
            Role::Sidecar { capture: Capture::Upstreams(upstreams), .. } => {
                let domain = &self.world.settings.dns_domain;
                let whole = |host: &str| complete_host(host, &self.node.namespace, domain);
                let wanted = whole(&self.question.host);
                let upstream = upstreams.iter().find(|u| u.port == at.port() && whole(&u.host) == wanted)?;
                by_address(upstream.bind)
            }
            Role::Sidecar { capture: Capture::Redirect { outbound, .. }, .. } => {
                let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), at.port());
                by_address(at).or_else(|| by_address(any)).or_else(|| outbound.first().and_then(|at| by_address(*at)))
            }
        }?;
        self.steps.push(Step::new("listener", &*found.name));
        self.met.push((ResourceKind::Listener, found.name.clone()));
        Some(found)
    }

    fn chain(&mut self, listener: &'a Listener, service: Option<&Arc<Service>>) -> Option<&'a FilterChain> {
        let tls = self.question.server_name.is_some();
        let protocols = [if tls { "h2" } else { "http/1.1" }.to_owned()];
        let seen = Inspected {
            destination: self.address(service),
            source: SocketAddr::new(self.node.address, 0),
            transport: if tls { TransportKind::Tls } else { TransportKind::Plain },
            server_name: self.question.server_name.as_deref(),
            application_protocols: &protocols,
        };
        let found =
            chain::select(&listener.chains, &seen).map(|i| &listener.chains[i]).or(listener.default_chain.as_ref());
        let step = self.steps.last_mut()?;
        step.facts.push(match found {
            Some(chain) => format!("filter chain {}", chain.name),
            None => "no filter chain fits".to_owned(),
        });
        found
    }

    /// By host and route.
    fn routed(&mut self, table: &RouteConfiguration, service: Option<&'a Arc<Service>>) -> (String, bool) {
        let host = self.question.host.as_str();
        let with_port = format!("{host}:{}", self.question.port);
        let authority = self.question.authority.as_deref().unwrap_or(&with_port);
        let index = HostIndex::new(table);
        let Some(host) = find_host(table, &index, authority) else {
            let step =
                Step::new("virtual host", format!("none for {authority}")).fact(format!("routes {}", table.name));
            let hosts: Vec<&str> = table.hosts.iter().flat_map(|h| &h.domains).map(String::as_str).take(8).collect();
            self.steps.push(step.fact(format!("there are {}", hosts.join(", "))));
            return (format!("no host fits `{authority}`: answered 404 (flag NR)"), false);
        };
        let step = Step::new("virtual host", &*host.name).fact(format!("routes {}", table.name));
        self.steps.push(step.fact(format!("for {}", host.domains.join(", "))));
        let view = RequestView {
            method: &self.question.method,
            headers: &self.question.headers,
            ..RequestView::get(authority, &self.question.path)
        };
        let passed: Vec<Option<Mismatch<'_>>> =
            host.routes.iter().map(|route| route.matches.mismatch(&view, 0)).collect();
        let chosen = passed.iter().position(Option::is_none);
        self.route(host, &passed, chosen, &view, service);
        match chosen.map(|i| &host.routes[i]) {
            None => ("no rule of the host matches: answered 404 (flag NR)".to_owned(), false),
            Some(route) => self.action(route, service),
        }
    }

    /// The rule that decides, and why the others did not.
    fn route(
        &mut self,
        host: &VirtualHost,
        passed: &[Option<Mismatch<'_>>],
        chosen: Option<usize>,
        view: &RequestView<'_>,
        service: Option<&'a Arc<Service>>,
    ) {
        let rules = rules::of(self.world, self.node, self.question, service);
        let place = |i: usize| rules.iter().find(|rule| rule.route.as_ref() == Some(&host.routes[i]));
        let name = |i: usize| place(i).map_or_else(|| route_name(&host.routes[i]), |rule| rule.place.clone());
        let mut step = match chosen {
            Some(i) => rules::facts(Step::new("route", name(i)), &host.routes[i]),
            None => Step::new("route", "none"),
        };
        for (i, mismatch) in passed.iter().enumerate().filter(|(i, _)| Some(*i) != chosen) {
            let reason = match mismatch {
                Some(mismatch) => rules::why(mismatch, view),
                None => "an earlier rule takes the request".to_owned(),
            };
            step.others.push(PassedOver { name: name(i), reason });
        }
        let elsewhere = rules.iter().filter(|rule| !host.routes.iter().any(|route| rule.route.as_ref() == Some(route)));
        step.others.extend(elsewhere.map(|rule| PassedOver {
            name: rule.place.clone(),
            reason:
                rule.not_meant.clone().unwrap_or_else(|| "it stands behind a rule that takes everything".to_owned()),
        }));
        self.steps.push(step);
    }

    fn action(&mut self, route: &Route, service: Option<&'a Arc<Service>>) -> (String, bool) {
        match &route.action {
            Action::Forward(forward) => {
                let targets: Vec<_> = forward.clusters.iter().map(|to| (&to.name, to.weight)).collect();
                self.clusters(&targets, service, "the request")
            }
            Action::Redirect(redirect) => (format!("answered with a redirect, {}", redirect.status), true),
            Action::Respond(_) if egress::has_refused(route).is_some() => (
                egress::has_refused(route)
                    .map(|by| egress::verdict("the request", by, "answers 403"))
                    .unwrap_or_default(),
                false,
            ),
            Action::Respond(respond) => (format!("answered here, {}", respond.status), true),
        }
    }
}

/// What becomes of what policies refuse.
fn refused(by: &str, tcp: bool, reason: &str) -> String {
    let fate = if tcp { "closes the connection" } else { "answers 403" };
    format!("{by} {fate}: {reason}")
}

fn is_outbound(listener: &Listener) -> bool {
    listener.direction != model::Direction::Inbound
}

fn route_name(route: &Route) -> String {
    match &*route.name {
        "" => format!("the route {}", route.matches.path),
        "default" => "the default route of the service".to_owned(),
        name => format!("the route `{name}`"),
    }
}
