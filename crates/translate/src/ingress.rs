//! Ingresses: which of them are read, and the hosts and routes that they come to. All that are read stand at the same
//! gateways, so rules for one host are joined whatever document they stand in: the longer path comes first, of equal ones
//! an exact, and of equals the one of the older document (Istio's rules).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use api::Spanned;
use api::istio::{Destination, HttpRoute, HttpRouteDestination, IngressControllerMode, MeshConfig, PortSelector};
use api::kubernetes::{HttpIngressPath, Ingress, IngressBackend, IngressClass, IngressService, PathType};
use model::Route;
use model::route::PathMatch;

use crate::names::complete_host;
use crate::node::Node;
use crate::routes::{Reading, routes};
use crate::world::{Document, World};

/// The annotation that named an Ingress's class before there was a field for it. It counts before the field.
pub const CLASS: &str = "kubernetes.io/ingress.class";
/// The controller that Istio's IngressClasses name.
pub const CONTROLLER: &str = "istio.io/ingress-controller";

/// Which Ingresses are read, and at which gateways they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressSettings {
    /// Which are read.
    pub mode: IngressControllerMode,
    /// The class of those that are read, where they name one by the annotation.
    pub class: String,
    /// The labels of the gateways.
    pub selector: BTreeMap<String, String>,
}

impl Default for IngressSettings {
    fn default() -> Self {
        Self { mode: IngressControllerMode::Strict, class: "istio".to_owned(), selector: gateways("ingressgateway") }
    }
}

fn gateways(label: &str) -> BTreeMap<String, String> {
    [("istio".to_owned(), label.to_owned())].into()
}

impl IngressSettings {
    /// These settings, where `config` says nothing else. The label of the gateways is that of the service if it is not
    /// said itself, but for the service of Istio's installation.
    pub fn with(&self, config: &MeshConfig) -> Self {
        let said = match (config.ingress_selector.as_str(), config.ingress_service.as_str()) {
            ("", "" | "istio-ingressgateway") => None,
            ("", service) => Some(service),
            (label, _) => Some(label),
        };
        Self {
            mode: match config.ingress_controller_mode {
                IngressControllerMode::Unspecified => self.mode,
                mode => mode,
            },
            class: if config.ingress_class.is_empty() { self.class.clone() } else { config.ingress_class.clone() },
            selector: said.map_or_else(|| self.selector.clone(), gateways),
        }
    }
}

/// Why an Ingress is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRead<'a> {
    /// None is.
    Off,
    /// It names no class.
    NoClass,
    /// Its annotation names another class.
    OtherClass(&'a str),
    /// No IngressClass has the name.
    UnknownClass(&'a str),
    /// Its class is another controller's.
    OtherController(&'a str, &'a str),
}

impl World {
    /// Is an Ingress read, or why not? A class that is called as the settings say counts as Istio's if no document says
    /// whose it is.
    pub(crate) fn reads<'a>(&'a self, ingress: &'a Document<Ingress>) -> Result<(), NotRead<'a>> {
        let settings = &self.settings.ingress;
        if settings.mode == IngressControllerMode::Off {
            return Err(NotRead::Off);
        }
        if let Some(class) = ingress.resource.meta.annotations.get(CLASS) {
            return if *class == settings.class { Ok(()) } else { Err(NotRead::OtherClass(class)) };
        }
        let name = ingress.spec().written.ingress_class_name.value.as_str();
        if name.is_empty() {
            return match settings.mode {
                IngressControllerMode::Default => Ok(()),
                _ => Err(NotRead::NoClass),
            };
        }
        let controller = |class: &'a Document<IngressClass>| class.spec().controller.value.as_str();
        match self.ingress_classes.iter().find(|class| class.name() == name).map(controller) {
            Some(CONTROLLER) => Ok(()),
            Some(other) => Err(NotRead::OtherController(name, other)),
            None if name == settings.class || settings.mode == IngressControllerMode::Default => Ok(()),
            None => Err(NotRead::UnknownClass(name)),
        }
    }

    /// The Ingresses that are read, the oldest first.
    pub(crate) fn read_ingresses(&self) -> impl Iterator<Item = &Document<Ingress>> {
        self.ingresses.iter().filter(|ingress| self.reads(ingress).is_ok())
    }

    /// The host of a backend's service.
    pub(crate) fn backend_host(&self, ingress: &Document<Ingress>, service: &IngressService) -> String {
        complete_host(&service.name.value, ingress.namespace(), &self.settings.dns_domain)
    }
}

/// The services that an Ingress names.
pub fn services(ingress: &Ingress) -> impl Iterator<Item = &IngressService> {
    let paths = ingress.written.rules.iter().flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
    let backends = ingress.written.default_backend.iter().chain(paths.map(|path| &path.backend));
    backends.filter_map(|backend| backend.service.as_ref())
}

/// What decides which of two paths comes first.
type Order = (Reverse<isize>, bool);

/// The routes by host that the Ingresses come to, for a port of a gateway. A default backend takes what no path takes, of
/// the hosts of its Ingress and of any other (Kubernetes' rule).
pub fn hosts(world: &World, node: &Node, port: u16) -> BTreeMap<String, Vec<Route>> {
    let mut by_host: BTreeMap<String, Vec<(Order, Route)>> = BTreeMap::new();
    for ingress in world.read_ingresses() {
        let made =
            |backend: &IngressBackend, path| route(world, node, port, (ingress, backend.service.as_ref()?), path);
        for rule in &ingress.spec().written.rules {
            let of_host = by_host.entry(host(&rule.host).to_owned()).or_default();
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let matches = path_match(path);
                of_host.extend(made(&path.backend, matches.clone()).map(|route| (order(&matches), route)));
            }
        }
        if let Some(backend) = &ingress.spec().written.default_backend {
            let own = ingress.spec().written.rules.iter().map(|rule| host(&rule.host));
            for host in own.chain(["*"]).collect::<BTreeSet<&str>>() {
                let all = made(backend, PathMatch::Prefix("/".into())).map(|route| ((Reverse(-1), true), route));
                by_host.entry(host.to_owned()).or_default().extend(all);
            }
        }
    }
    let sorted = by_host.into_iter().map(|(host, mut routes)| {
        routes.sort_by_key(|(order, _)| *order);
        (host, routes.into_iter().map(|(_, route)| route).collect())
    });
    sorted.collect()
}

/// The host of a rule; none stands for any.
pub fn host(written: &Spanned<String>) -> &str {
    if written.is_empty() { "*" } else { &written.value }
}

fn order(path: &PathMatch) -> Order {
    match path {
        PathMatch::Exact(path) => (Reverse(path.len() as isize), false),
        PathMatch::SegmentPrefix(path) | PathMatch::Prefix(path) => (Reverse(path.len() as isize), true),
        PathMatch::Regex(_) | PathMatch::Connect => (Reverse(0), true),
    }
}

/// How a path is compared. What Kubernetes leaves to us is read as Istio reads it.
pub fn path_match(written: &HttpIngressPath) -> PathMatch {
    let prefix = |path: &str| match path.trim_end_matches('/') {
        "" => PathMatch::Prefix("/".to_owned()),
        path => PathMatch::SegmentPrefix(path.to_owned()),
    };
    let path = written.path.as_str();
    match written.path_type {
        PathType::Exact => PathMatch::Exact(path.to_owned()),
        PathType::Prefix => prefix(path),
        PathType::ImplementationSpecific => match path.strip_suffix(".*").or_else(|| path.strip_suffix("/*")) {
            Some(before) => prefix(before),
            None if path.is_empty() => prefix(path),
            None => PathMatch::Exact(path.to_owned()),
        },
    }
}

/// The route to a service. A port that the service does not have leads to a cluster that is not there.
fn route(
    world: &World,
    node: &Node,
    port: u16,
    (ingress, service): (&Document<Ingress>, &IngressService),
    path: PathMatch,
) -> Option<Route> {
    let host = world.backend_host(ingress, service);
    let named = || world.service_named(&host)?.ports.iter().find(|p| p.name.as_ref() == Some(&service.port.name.value));
    let number = service.port.number.map_or_else(|| named().map_or(0, |port| port.number.into()), |n| n.value);
    let destination = Destination {
        host: Spanned { value: host.clone(), span: service.name.span },
        port: Some(PortSelector { number: Spanned { value: number, span: service.name.span } }),
        ..Destination::default()
    };
    let rule = HttpRoute {
        name: ingress.full_name(),
        route: vec![HttpRouteDestination { destination, ..HttpRouteDestination::default() }],
        ..HttpRoute::default()
    };
    let reading = Reading { world, node, namespace: ingress.namespace(), gateway: Some("ingress"), port };
    let mut made = routes(&[rule], reading).pop()?;
    made.matches.path = path;
    Some(made)
}
