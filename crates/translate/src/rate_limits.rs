//! RateLimitPolicies: each limit as a filter of the incoming side, after those that say who may pass and what is in tokens.
//!
//! A limit counts requests by a descriptor: its own name, that the request is one that it is for, and the values of its
//! keys. A key that a request lacks is left out, so that all who lack it share a count.

pub(crate) mod matching;

use std::sync::Arc;
use std::time::Duration;

use api::halcyon::{
    LimitCaller, LimitKey, LimitOnError, LimitPart, LimitScope, OWN_DOMAINS, RateLimit, RateLimitPolicy, claim_path,
};
use http::{HeaderName, HeaderValue};
use model::cluster::{Discovery, Transport, UpstreamProtocol};
use model::headers::{HeaderWrite, WriteAction};
use model::http_proxy::HttpFilter;
use model::jwt::JwtAuthentication;
use model::matcher::HeaderKey;
use model::rate_limit::{
    DescriptorAction, DescriptorRule, Fill, GlobalRateLimit, LocalDescriptor, LocalRateLimit, RequestFact,
};
use model::{Address, Cluster, Config, Endpoint, EndpointSet, FilterChain, Fraction, HeaderChanges, LocalityEndpoints};

use crate::access::Subject;
use crate::clusters::mesh_tls;
use crate::node::Node;
use crate::service::selected;
use crate::tokens;
use crate::world::{Document, World};

/// The cluster by which proxies reach the control plane's rate limit service.
pub const SERVICE: &str = "halcyon-ratelimit";

/// How long the service may take, where nothing is said.
const TIMEOUT: Duration = Duration::from_millis(100);
/// For how many combinations of values a proxy counts at once, where nothing is said.
const MAX_VALUES: u32 = 10_000;
/// What refusals are that nobody could count.
const UNAVAILABLE: u16 = 503;

/// The first entry of each descriptor has the limit's name, the second says that the request is one that it is for.
const LIMIT: &str = "limit";
const MATCH: (&str, &str) = ("match", "yes");
const ROUTE: &str = "route";

/// What requests of a limit are counted by: keys, with their values where these are known beforehand.
pub type Shape = Vec<(String, Option<String>)>;

impl World {
    /// The policies on rates that are for a workload, the oldest first.
    pub(crate) fn rate_limits<'a>(
        &'a self,
        subject: Subject<'a>,
    ) -> impl Iterator<Item = &'a Document<RateLimitPolicy>> {
        let root = self.settings.root_namespace.as_str();
        self.rate_limit_policies.iter().filter(move |policy| {
            let near = policy.namespace() == root || policy.namespace() == subject.namespace;
            let selector = policy.spec().selector.as_ref();
            near && selector.is_none_or(|selector| selected(&selector.match_labels, subject.labels))
        })
    }

    /// Every policy on rates: its namespace, its name, and what it says.
    pub fn all_rate_limits(&self) -> impl Iterator<Item = (&str, &str, &RateLimitPolicy)> {
        self.rate_limit_policies.iter().map(|policy| (policy.namespace(), policy.name(), policy.spec()))
    }

    /// The ConfigMaps that hold limits in the form of Envoy's service.
    pub fn limit_maps(&self) -> impl Iterator<Item = &Arc<api::Resource>> {
        self.limit_maps.iter()
    }

    /// Do both have the same limits?
    pub fn has_limits_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rate_limit_policies, &other.rate_limit_policies)
            && Arc::ptr_eq(&self.limit_maps, &other.limit_maps)
    }
}

/// The domain in which the service counts for a policy.
pub fn domain(namespace: &str, policy: &str) -> String {
    format!("{OWN_DOMAINS}{namespace}/{policy}")
}

/// The limits for a proxy, as filters of its incoming side.
pub struct Limits(Vec<HttpFilter>);

impl Limits {
    /// Those of the policies that are for it.
    pub fn of(world: &World, node: &Node) -> Self {
        Self(world.rate_limits(Subject::of(node)).flat_map(filters).collect())
    }

    /// Puts the service into the clusters of the proxy, if somebody asks it.
    pub fn add_service(&self, config: &mut Config, world: &World) {
        let asks = self.0.iter().any(|filter| matches!(filter, HttpFilter::GlobalRateLimit(_)));
        if asks || world.asks_limit_service() {
            config.clusters.extend(service(world).map(|cluster| (cluster.name.clone(), Arc::new(cluster))));
        }
    }

    /// Puts the limits into chains, before the filters that are there.
    pub fn guard(&self, chains: &mut [FilterChain]) {
        chains.iter_mut().for_each(|chain| chain.put_first(&self.0));
    }
}

/// The control plane, which counts for all.
fn service(world: &World) -> Option<Cluster> {
    let at = world.settings.limit_service.as_ref()?;
    let endpoint = Endpoint::plain(Address::socket(at.address));
    let group = LocalityEndpoints { endpoints: vec![endpoint], ..LocalityEndpoints::default() };
    let tls = mesh_tls([at.identity.clone()].into(), &["h2"], None);
    Some(Cluster {
        connect_timeout: world.settings.connect_timeout,
        protocol: UpstreamProtocol::Http2,
        transport: Transport::Tls(tls),
        ..Cluster::new(SERVICE, Discovery::Static(EndpointSet::new(SERVICE, vec![group])))
    })
}

fn filters(policy: &Document<RateLimitPolicy>) -> impl Iterator<Item = HttpFilter> + '_ {
    let spec = policy.spec();
    spec.limits.iter().enumerate().map(move |(index, limit)| {
        let name = spec.name(index);
        match limit.scope {
            LimitScope::Local => HttpFilter::LocalRateLimit(Arc::new(local(policy, &name, limit))),
            LimitScope::Global => HttpFilter::GlobalRateLimit(Arc::new(global(policy, &name, limit))),
        }
    })
}

fn local(policy: &Document<RateLimitPolicy>, name: &str, limit: &RateLimit) -> LocalRateLimit {
    let fill = Fill {
        max: limit.burst.unwrap_or(limit.requests),
        per_interval: limit.requests,
        interval: limit.unit.duration(),
    };
    let entries = |shape: Shape| shape.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect();
    let descriptors = shapes(name, limit).into_iter().map(|shape| LocalDescriptor { entries: entries(shape), fill });
    let full = format!("{}/{}/{name}", policy.namespace(), policy.name());
    LocalRateLimit {
        policy: Some(full.as_str().into()),
        status: status(limit),
        descriptors: descriptors.collect(),
        enabled: Fraction::ALL,
        enforced: if limit.dry_run { Fraction::NONE } else { Fraction::ALL },
        response_headers: response_headers(limit),
        tells_limits: !limit.dry_run,
        retry_after: true,
        resource_exhausted: true,
        rules: vec![rule(name, limit)],
        max_values: limit.max_values.unwrap_or(MAX_VALUES),
        ..LocalRateLimit::new(full.replace('/', "."), None)
    }
}

fn global(policy: &Document<RateLimitPolicy>, name: &str, limit: &RateLimit) -> GlobalRateLimit {
    let full = format!("{}/{}/{name}", policy.namespace(), policy.name());
    GlobalRateLimit {
        policy: Some(full.as_str().into()),
        timeout: Some(limit.timeout.unwrap_or(TIMEOUT)),
        deny_on_error: match limit.on_error {
            LimitOnError::Deny if !limit.dry_run => Fraction::ALL,
            _ => Fraction::NONE,
        },
        error_status: UNAVAILABLE,
        status: status(limit),
        resource_exhausted: true,
        tells_limits: !limit.dry_run,
        retry_after: true,
        response_headers: response_headers(limit),
        enforced: if limit.dry_run { Fraction::NONE } else { Fraction::ALL },
        rules: vec![rule(name, limit)],
        ..GlobalRateLimit::new(domain(policy.namespace(), policy.name()), SERVICE)
    }
}

fn status(limit: &RateLimit) -> u16 {
    limit.response.as_ref().and_then(|response| response.status).unwrap_or(429)
}

fn response_headers(limit: &RateLimit) -> HeaderChanges {
    let written = limit.response.iter().flat_map(|response| &response.headers);
    let written = written.filter_map(|(name, value)| {
        Some(HeaderWrite {
            name: HeaderName::from_bytes(name.as_bytes()).ok()?,
            value: HeaderValue::from_bytes(value.as_bytes()).ok()?,
            action: WriteAction::Overwrite,
        })
    });
    HeaderChanges::new(Vec::new(), written.collect())
}

/// How the descriptor of a request is made.
fn rule(name: &str, limit: &RateLimit) -> DescriptorRule {
    let mut actions = vec![DescriptorAction::Fixed { key: LIMIT.to_owned(), value: name.to_owned() }];
    if let Some(asked) = &limit.match_ {
        let headers = matching::headers(asked);
        if !headers.is_empty() {
            let (key, value) = (MATCH.0.to_owned(), MATCH.1.to_owned());
            actions.push(DescriptorAction::HeaderMatch { key, value, expected: true, headers });
        }
        if !asked.routes.is_empty() {
            let (key, fact) = (ROUTE.to_owned(), RequestFact::Route);
            actions.push(DescriptorAction::Fact { key, fact, skip_if_absent: false });
        }
    }
    actions.extend(limit.by.iter().filter_map(|key| action(key)));
    let hits = limit.cost.filter(|cost| *cost != 1).map(u64::from);
    DescriptorRule { actions, hits, ..DescriptorRule::default() }
}

fn action(key: &LimitKey) -> Option<DescriptorAction> {
    let name = key_name(key)?;
    let fact = |fact| DescriptorAction::Fact { key: name.clone(), fact, skip_if_absent: true };
    let header = |of| DescriptorAction::Header { name: of, key: name.clone(), skip_if_absent: true };
    if let Some(caller) = key.caller {
        return Some(fact(match caller {
            LimitCaller::Identity => RequestFact::Identity,
            LimitCaller::Namespace => RequestFact::Namespace,
        }));
    }
    if let Some(part) = key.request {
        return Some(match part {
            LimitPart::Path => fact(RequestFact::Path),
            LimitPart::Method => header(HeaderKey::Method),
            LimitPart::Host => header(HeaderKey::Authority),
        });
    }
    if let Some(address) = &key.remote_address {
        let bits = |bits: Option<u32>, most: u8| bits.and_then(|bits| u8::try_from(bits).ok()).unwrap_or(most);
        return Some(match (address.ipv4_bits, address.ipv6_bits) {
            (None, None) => DescriptorAction::RemoteAddress,
            (v4, v6) => DescriptorAction::MaskedRemoteAddress { v4: bits(v4, 32), v6: bits(v6, 128) },
        });
    }
    if let Some(of) = &key.header {
        return Some(header(HeaderKey::parse(of)?));
    }
    if let Some(of) = &key.query {
        return Some(DescriptorAction::Query { name: of.value.clone(), key: name, skip_if_absent: true });
    }
    if let Some(value) = &key.constant {
        return Some(DescriptorAction::Fixed { key: name, value: value.value.clone() });
    }
    let path = [tokens::PAYLOAD.to_owned()].into_iter().chain(claim_path(key.claim.as_ref()?)?).collect();
    let filter = JwtAuthentication::NAME.to_owned();
    Some(DescriptorAction::Metadata { key: name, filter, path, default: String::new(), skip_if_absent: true })
}

/// What the entry of a key is called. Addresses have the names that Envoy gives them.
fn key_name(key: &LimitKey) -> Option<String> {
    let text = |kind: &str, text: &str| Some(format!("{kind}_{}", text.to_ascii_lowercase()));
    match key {
        LimitKey { caller: Some(LimitCaller::Identity), .. } => Some("caller".to_owned()),
        LimitKey { caller: Some(LimitCaller::Namespace), .. } => Some("caller_namespace".to_owned()),
        LimitKey { request: Some(part), .. } => Some(part.as_str().to_owned()),
        LimitKey { remote_address: Some(address), .. } => Some(match (address.ipv4_bits, address.ipv6_bits) {
            (None, None) => "remote_address".to_owned(),
            _ => "masked_remote_address".to_owned(),
        }),
        LimitKey { header: Some(name), .. } => text("header", name),
        LimitKey { query: Some(name), .. } => Some(format!("query_{}", name.value)),
        LimitKey { claim: Some(path), .. } => Some(format!("claim_{}", path.value)),
        LimitKey { constant: Some(_), .. } => Some("constant".to_owned()),
        _ => None,
    }
}

/// Has every request a value for this key?
fn is_everywhere(key: &LimitKey) -> bool {
    key.request.is_some() || key.remote_address.is_some() || key.constant.is_some()
}

/// Every form that the descriptor of a request under this limit may have.
pub fn shapes(name: &str, limit: &RateLimit) -> Vec<Shape> {
    let mut start: Shape = vec![(LIMIT.to_owned(), Some(name.to_owned()))];
    let mut routes = Vec::new();
    if let Some(asked) = &limit.match_ {
        if !matching::headers(asked).is_empty() {
            start.push((MATCH.0.to_owned(), Some(MATCH.1.to_owned())));
        }
        routes.extend(asked.routes.iter().map(|route| (ROUTE.to_owned(), Some(route.value.clone()))));
    }
    let with = |route| start.iter().cloned().chain([route]).collect();
    let mut shapes: Vec<Shape> =
        if routes.is_empty() { vec![start.clone()] } else { routes.into_iter().map(with).collect() };
    for key in &limit.by {
        let Some(name) = key_name(key) else { continue };
        let entry = (name, key.constant.as_ref().map(|value| value.value.clone()));
        let lacking = if is_everywhere(key) { Vec::new() } else { shapes.clone() };
        shapes.iter_mut().for_each(|shape| shape.push(entry.clone()));
        shapes.extend(lacking);
    }
    shapes
}
