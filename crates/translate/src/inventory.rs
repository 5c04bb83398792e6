//! What there is, for people who look at the mesh: services with what holds for them, workloads, gateways.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Resource;
use api::istio::{Destination, DestinationRule, Gateway, HttpRoute, TrafficPolicy, VirtualService};

use crate::access::Subject;
use crate::names::complete_host;
use crate::peer_authentication::Mode;
use crate::service::{Service, selected};
use crate::tokens;
use crate::workload::Workload;
use crate::world::{Document, World};

/// A sign on a service: something other than plain forwarding happens on the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Badge {
    /// A VirtualService is for it.
    VirtualService,
    /// Requests are split by weight.
    TrafficShifting,
    /// Requests are routed by what they are.
    RequestRouting,
    /// Faults are injected.
    FaultInjection,
    /// Requests are copied.
    Mirror,
    /// Requests have a time limit.
    Timeout,
    /// Requests are tried again by rule.
    Retries,
    /// There are limits or outlier detection.
    CircuitBreaker,
    /// Rules of access are for its workloads.
    Authorization,
    /// Its workloads have rate limits.
    RateLimit,
    /// A ServiceEntry defines it.
    ServiceEntry,
    /// A gateway leads to it.
    Gateway,
}

impl Badge {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::VirtualService => "virtualService",
            Self::TrafficShifting => "trafficShifting",
            Self::RequestRouting => "requestRouting",
            Self::FaultInjection => "faultInjection",
            Self::Mirror => "mirror",
            Self::Timeout => "timeout",
            Self::Retries => "retries",
            Self::CircuitBreaker => "circuitBreaker",
            Self::Authorization => "authorization",
            Self::RateLimit => "rateLimit",
            Self::ServiceEntry => "serviceEntry",
            Self::Gateway => "gateway",
        }
    }
}

/// A share of what is sent to a host.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// The document that says it.
    pub by: Arc<Resource>,
    /// Where to.
    pub host: String,
    /// To this subset of it.
    pub subset: Option<String>,
    /// The share, relative to the others.
    pub weight: u32,
}

/// What holds for a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// Signs.
    pub badges: BTreeSet<Badge>,
    /// The documents, each once.
    pub documents: Vec<Arc<Resource>>,
    /// Subsets and their labels.
    pub subsets: Vec<(String, BTreeMap<String, String>)>,
    /// How the first rule that splits requests does so.
    pub weights: Vec<Weight>,
}

/// What is served at the edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// The Gateway.
    pub document: Arc<Resource>,
    /// Ports: number, protocol, hosts, and how TLS ends (empty: it is not spoken).
    pub servers: Vec<(u32, String, Vec<String>, String)>,
    /// The rules that are bound to it.
    pub rules: Vec<Arc<Resource>>,
}

/// What holds for a service, whose workloads have these policies.
pub fn rules<'a>(world: &World, service: &Service, of_workloads: impl Iterator<Item = &'a Policies>) -> Rules {
    let mut rules = Rules::default();
    if service.defined_by.as_ref().is_some_and(|key| key.kind == api::Kind::ServiceEntry) {
        rules.badges.insert(Badge::ServiceEntry);
    }
    for document in world.rules_for(&service.host) {
        // What stands at gateways alone is for their hosts, and concerns whom it leads to.
        if document.spec().is_for_mesh() || leads_to(world, document, service) {
            rules.route(world, &document.resource, document.spec());
        }
    }
    for document in world.policies_for(&service.host) {
        rules.policy(&document.resource, document.spec());
    }
    for found in of_workloads {
        for (badge, documents) in [(Badge::Authorization, &found.access), (Badge::RateLimit, &found.rates)] {
            if !documents.is_empty() {
                rules.badges.insert(badge);
            }
            documents.iter().for_each(|document| rules.add(document));
        }
    }
    rules
}

/// Does a rule send anything to a service?
fn leads_to(world: &World, document: &Document<VirtualService>, service: &Service) -> bool {
    let spec = document.spec();
    let of_http = spec.http.iter().flat_map(|rule| &rule.route).map(|to| &to.destination);
    let of_tls = spec.tls.iter().flat_map(|rule| &rule.route).map(|to| &to.destination);
    let of_tcp = spec.tcp.iter().flat_map(|rule| &rule.route).map(|to| &to.destination);
    let whole = |to: &Destination| complete_host(&to.host.value, document.namespace(), &world.settings.dns_domain);
    of_http.chain(of_tls).chain(of_tcp).any(|to| *whole(to) == *service.host)
}

impl Rules {
    fn add(&mut self, document: &Arc<Resource>) {
        if !self.documents.iter().any(|known| Arc::ptr_eq(known, document)) {
            self.documents.push(document.clone());
        }
    }

    fn route(&mut self, world: &World, document: &Arc<Resource>, spec: &VirtualService) {
        self.add(document);
        self.badges.insert(Badge::VirtualService);
        if spec.gateways.iter().any(|gateway| gateway.value != "mesh") {
            self.badges.insert(Badge::Gateway);
        }
        for route in &spec.http {
            self.badges.extend(signs(route));
            if route.route.len() > 1 && self.weights.is_empty() {
                let weights = route.route.iter().map(|to| (&to.destination, to.weight.as_ref().map(|it| it.value)));
                self.weights = split(world, document, weights);
            }
        }
        for routes in spec.tcp.iter().map(|rule| &rule.route).chain(spec.tls.iter().map(|rule| &rule.route)) {
            if routes.len() > 1 {
                self.badges.insert(Badge::TrafficShifting);
            }
        }
    }

    fn policy(&mut self, document: &Arc<Resource>, spec: &DestinationRule) {
        self.add(document);
        let of_subsets = spec.subsets.iter().map(|subset| &subset.traffic_policy);
        if std::iter::once(&spec.traffic_policy).chain(of_subsets).flatten().any(breaks) {
            self.badges.insert(Badge::CircuitBreaker);
        }
        for subset in &spec.subsets {
            if !self.subsets.iter().any(|(name, _)| *name == subset.name.value) {
                self.subsets.push((subset.name.value.clone(), subset.labels.clone()));
            }
        }
    }
}

fn signs(route: &HttpRoute) -> impl Iterator<Item = Badge> {
    let by_what_it_is = route.match_.iter().any(|it| {
        !it.headers.is_empty()
            || !it.query_params.is_empty()
            || !it.without_headers.is_empty()
            || it.uri.is_some()
            || it.method.is_some()
    });
    [
        (route.route.len() > 1, Badge::TrafficShifting),
        (by_what_it_is, Badge::RequestRouting),
        (route.fault.is_some(), Badge::FaultInjection),
        (route.mirror.is_some() || !route.mirrors.is_empty(), Badge::Mirror),
        (route.timeout.is_some(), Badge::Timeout),
        (route.retries.is_some(), Badge::Retries),
    ]
    .into_iter()
    .filter_map(|(is_there, badge)| is_there.then_some(badge))
}

fn breaks(policy: &TrafficPolicy) -> bool {
    let of_ports = policy.port_level_settings.iter();
    policy.connection_pool.is_some()
        || policy.outlier_detection.is_some()
        || of_ports.into_iter().any(|port| port.connection_pool.is_some() || port.outlier_detection.is_some())
}

fn split<'a>(
    world: &World,
    document: &Arc<Resource>,
    to: impl Iterator<Item = (&'a Destination, Option<u32>)>,
) -> Vec<Weight> {
    let namespace = document.meta.namespace.as_deref().unwrap_or_default();
    let one = |(to, weight): (&Destination, Option<u32>)| Weight {
        by: document.clone(),
        host: complete_host(&to.host.value, namespace, &world.settings.dns_domain),
        subset: Some(to.subset.value.clone()).filter(|name| !name.is_empty()),
        weight: weight.unwrap_or(0),
    };
    to.map(one).collect()
}

/// Documents that are for a workload.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policies {
    /// Who may call it.
    pub access: Vec<Arc<Resource>>,
    /// How often.
    pub rates: Vec<Arc<Resource>>,
    /// Whether mutual TLS is asked for, how tokens are checked, and the `Sidecar`.
    pub others: Vec<Arc<Resource>>,
}

/// What is written for a workload.
pub fn policies(world: &World, workload: &Workload) -> Policies {
    let subject = Subject {
        namespace: &workload.namespace,
        labels: &workload.labels,
        is_gateway: false,
        account: Some(&workload.service_account),
        services: &[],
    };
    let root = world.settings.root_namespace.as_str();
    let near = |namespace: &str| namespace == root || namespace == workload.namespace;
    let of_access = world.access_policies(subject).into_iter();
    let of_tls = world.peer_authentications.iter().filter(|document| {
        let selector = document.spec().selector.as_ref();
        near(document.namespace()) && selector.is_none_or(|it| selected(&it.match_labels, &workload.labels))
    });
    let of_tokens = tokens::documents(world, &workload.namespace, &workload.labels);
    Policies {
        access: of_access.map(|document| document.resource.clone()).collect(),
        rates: world.rate_limits(subject).map(|document| document.resource.clone()).collect(),
        others: of_tls
            .map(|document| document.resource.clone())
            .chain(of_tokens.map(|document| document.resource.clone()))
            .collect(),
    }
}

/// The narrowest word on mutual TLS for a workload as a whole.
pub fn mutual_tls(world: &World, workload: &Workload) -> Mode {
    world.mutual_tls_of(&workload.namespace, &workload.labels, 0)
}

/// What gateways with these labels serve.
pub fn served(world: &World, labels: &BTreeMap<String, String>) -> Vec<Served> {
    let serves = |spec: &Gateway| selected(&spec.selector, labels);
    let found = world.gateways.iter().filter(|document| serves(document.spec()));
    found
        .map(|document| {
            let server = |server: &api::istio::Server| {
                let port = server.port.as_ref();
                let tls = server.tls.as_ref().map(|tls| tls.mode.as_str().to_owned()).unwrap_or_default();
                let hosts = server.hosts.iter().map(|host| host.value.clone()).collect();
                (
                    port.map_or(0, |it| it.number.value),
                    port.map(|it| it.protocol.clone()).unwrap_or_default(),
                    hosts,
                    tls,
                )
            };
            let bound = |rule: &&Document<VirtualService>| {
                let names = rule.spec().gateways.iter();
                names.into_iter().any(|name| {
                    world
                        .gateway_named(&name.value, rule.namespace())
                        .is_some_and(|it| Arc::ptr_eq(&it.resource, &document.resource))
                })
            };
            Served {
                document: document.resource.clone(),
                servers: document.spec().servers.iter().map(server).collect(),
                rules: world.virtual_services.iter().filter(bound).map(|rule| rule.resource.clone()).collect(),
            }
        })
        .collect()
}
