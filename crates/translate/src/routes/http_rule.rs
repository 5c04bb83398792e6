//! One HTTP rule of a VirtualService, as routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::istio::{
    Destination, FaultAbort, FaultDelay, HeaderOperations, Headers, HttpFaultInjection, HttpMatchRequest, HttpRedirect,
    HttpRewrite, HttpRoute, HttpRouteDestination, Percent, RedirectPortSelection,
};
use api::{Spanned, StringMatch as Written};
use model::fault::{Abort, AbortAnswer, Delay};
use model::matcher::{HeaderKey, HeaderMatch, QueryMatch, QueryValue, ValueMatch};
use model::route::{
    Action, DirectResponse, FilterRules, Forward, HashKey, HashPolicy, HostRewrite, Mirror, PathMatch, PathRewrite,
    Redirect, RedirectPath, RouteMatch, WeightedCluster,
};
use model::{Fault, Fraction, HeaderChanges, MetadataMatch, Pattern, Route, StringMatch};

use super::cors::cors;
use super::headers::{changes, followed_by};
use super::retries::{hedged, hedging, retry};
use crate::clusters::hash_key;
use crate::names;
use crate::node::Node;
use crate::service::{Service, selected};
use crate::tokens::{claim, claim_path};
use crate::world::World;

/// Where a rule is read: who asks, through what, and whose rule it is.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// All resources.
    pub world: &'a World,
    /// The proxy that the routes are for.
    pub node: &'a Node,
    /// The namespace of the rule.
    pub namespace: &'a str,
    /// The gateway as `namespace/name`; none for the mesh.
    pub gateway: Option<&'a str>,
    /// The port that is dialled.
    pub port: u16,
}

/// The routes of a list of rules. A rule without a condition ends the list, as in Istio.
pub fn routes(rules: &[HttpRoute], reading: Reading<'_>) -> Vec<Route> {
    let mut all = Vec::new();
    for rule in rules {
        let Some(action) = action(rule, reading) else { continue };
        let made = rule_routes(rule, &action, reading);
        let ends = made.iter().any(|route| takes_all(&route.matches));
        all.extend(made);
        if ends {
            break;
        }
    }
    all
}

/// Is there no condition at all?
pub fn takes_all(matches: &RouteMatch) -> bool {
    let path = matches!(&matches.path, PathMatch::Prefix(prefix) if prefix == "/");
    let any = matches.headers.is_empty() && matches.query.is_empty() && matches.metadata.is_empty();
    path && any && matches.share.is_none()
}

fn rule_routes(rule: &HttpRoute, action: &Action, reading: Reading<'_>) -> Vec<Route> {
    let everything = [HttpMatchRequest::default()];
    let conditions = if rule.match_.is_empty() { &everything[..] } else { &rule.match_[..] };
    let concerned = conditions.iter().filter(|condition| concern(condition, reading).is_ok());
    // A lone destination's changes come after the rule's, since there is no choice that they would depend on.
    let lone = if let [only] = &rule.route[..] { only.headers.as_ref() } else { None };
    let both = |way: fn(&Headers) -> Option<&HeaderOperations>| {
        let parts = [rule.headers.as_ref(), lone].map(|h| changes(h.and_then(way)));
        parts.into_iter().fold(HeaderChanges::default(), followed_by)
    };
    concerned
        .map(|condition| Route {
            name: route_name(&rule.name, &condition.name),
            stat_prefix: Some(condition.stat_prefix.as_str()).filter(|name| !name.is_empty()).map(Into::into),
            matches: matches(condition),
            action: action.clone(),
            request_headers: both(|h| h.request.as_ref()),
            response_headers: both(|h| h.response.as_ref()),
            fault: rule.fault.as_ref().and_then(fault),
            filters: FilterRules { cors: rule.cors_policy.as_ref().map(cors), ..FilterRules::default() }.boxed(),
        })
        .collect()
}

fn route_name(rule: &str, condition: &str) -> Arc<str> {
    match (rule.is_empty(), condition.is_empty()) {
        (_, true) => rule.into(),
        (true, false) => condition.into(),
        (false, false) => format!("{rule}.{condition}").into(),
    }
}

/// The route of a single condition of a rule; none if it is not for this caller, gateway and port.
pub fn condition_route(rule: &HttpRoute, condition: usize, reading: Reading<'_>) -> Option<Route> {
    let alone = HttpRoute { match_: rule.match_.get(condition).cloned().into_iter().collect(), ..rule.clone() };
    rule_routes(&alone, &action(&alone, reading)?, reading).pop()
}

/// Is the condition meant for this caller, gateway and port, or why not? When it lists gateways, a hit on their name is
/// enough: the caller's labels and namespace are not looked at then (Istio's behaviour).
pub fn concern<'c>(condition: &'c HttpMatchRequest, reading: Reading<'_>) -> Result<(), NotMeant<'c>> {
    if let Some(port) = condition.port.as_ref().filter(|port| port.value != u32::from(reading.port)) {
        return Err(NotMeant::Port(port.value));
    }
    // Claims of tokens are read at gateways only. To leave the condition out would open the rule to all.
    let mut names = condition.headers.keys().chain(condition.without_headers.keys());
    let is_read =
        |name: &str| HeaderKey::parse(name).is_some() || reading.gateway.is_some() && claim_path(name).is_some();
    if let Some(name) = names.find(|name| !is_read(name)) {
        return Err(NotMeant::Unread(name));
    }
    if !condition.gateways.is_empty() {
        let named = condition.gateways.iter().any(|g| names_gateway(&g.value, reading));
        return if named { Ok(()) } else { Err(NotMeant::Gateways(&condition.gateways)) };
    }
    if !selected(&condition.source_labels, &reading.node.labels) {
        return Err(NotMeant::Labels(&condition.source_labels));
    }
    match condition.source_namespace.as_str() {
        "" => Ok(()),
        namespace if namespace == reading.node.namespace => Ok(()),
        namespace => Err(NotMeant::Namespace(namespace)),
    }
}

/// Why a condition is not for a caller: what it asks for.
#[derive(Debug, Clone, Copy)]
pub enum NotMeant<'c> {
    /// Another port.
    Port(u32),
    /// Something that is not read here.
    Unread(&'c str),
    /// Other gateways.
    Gateways(&'c [Spanned<String>]),
    /// A caller with these labels.
    Labels(&'c BTreeMap<String, String>),
    /// A caller of this namespace.
    Namespace(&'c str),
}

/// Is this the gateway, or the word for all sidecars, through which the rule is read?
pub fn names_gateway(name: &str, reading: Reading<'_>) -> bool {
    match reading.gateway {
        None => name == "mesh",
        Some(gateway) => gateway == names::complete_gateway(name, reading.namespace),
    }
}

fn matches(condition: &HttpMatchRequest) -> RouteMatch {
    let pseudo = [
        (HeaderKey::Scheme, &condition.scheme),
        (HeaderKey::Method, &condition.method),
        (HeaderKey::Authority, &condition.authority),
    ];
    let pseudo = pseudo.into_iter().filter_map(|(key, value)| Some(header(key, value.as_ref()?, false)));
    let with = condition.headers.iter().filter_map(|(name, value)| named_header(name, value, false));
    let without = condition.without_headers.iter().filter_map(|(name, value)| named_header(name, value, true));
    RouteMatch {
        path: path(condition.uri.as_ref()),
        ignore_case: condition.ignore_uri_case,
        headers: pseudo.chain(with).chain(without).collect(),
        query: query(&condition.query_params).into(),
        metadata: claims(condition).collect(),
        share: None,
    }
}

fn claims(condition: &HttpMatchRequest) -> impl Iterator<Item = MetadataMatch> {
    let with = condition.headers.iter().map(|(name, value)| (name, value, false));
    let without = condition.without_headers.iter().map(|(name, value)| (name, value, true));
    with.chain(without).filter_map(|(name, value, invert)| Some(claim(claim_path(name)?, value, invert)))
}

fn path(uri: Option<&Written>) -> PathMatch {
    match uri {
        None | Some(Written::Present) => PathMatch::Prefix("/".into()),
        Some(Written::Exact(path)) => PathMatch::Exact(path.clone()),
        Some(Written::Prefix(path)) => PathMatch::Prefix(path.clone()),
        Some(Written::Regex(source)) => PathMatch::Regex(pattern(source)),
    }
}

fn named_header(name: &str, value: &Written, without: bool) -> Option<HeaderMatch> {
    Some(header(HeaderKey::parse(name)?, value, without))
}

/// A condition on a header. `without` inverts it; with a value, an absent header counts as an empty one then.
fn header(key: HeaderKey, value: &Written, without: bool) -> HeaderMatch {
    let value = value_match(value);
    let missing_as_empty = without && matches!(value, ValueMatch::Text(_));
    HeaderMatch { key, value, invert: without, missing_as_empty }
}

/// An empty match, and a pattern that is literally `*`, ask only for presence.
fn value_match(written: &Written) -> ValueMatch {
    match written {
        Written::Present => ValueMatch::Present(true),
        Written::Exact(text) => ValueMatch::Text(StringMatch::exact(text)),
        Written::Prefix(text) => ValueMatch::Text(StringMatch::prefix(text)),
        Written::Regex(source) if source == "*" => ValueMatch::Present(true),
        Written::Regex(source) => ValueMatch::Text(StringMatch::Regex(pattern(source))),
    }
}

/// A pattern that does not compile was refused when the document came in; should one be here, it matches nothing.
pub fn pattern(source: &str) -> Pattern {
    Pattern::new(source).unwrap_or_else(|_| Pattern::new("[^\\s\\S]").expect("a class without members compiles"))
}

fn query(parameters: &BTreeMap<String, Written>) -> Vec<QueryMatch> {
    let value = |written: &Written| match written {
        Written::Present => QueryValue::Present(true),
        Written::Exact(text) => QueryValue::Text(StringMatch::exact(text)),
        Written::Prefix(text) => QueryValue::Text(StringMatch::prefix(text)),
        Written::Regex(source) if source == "*" => QueryValue::Present(true),
        Written::Regex(source) => QueryValue::Text(StringMatch::Regex(pattern(source))),
    };
    parameters.iter().map(|(name, written)| QueryMatch { name: name.clone(), value: value(written) }).collect()
}

/// The rule's action. None for a delegate, which is not followed here.
fn action(rule: &HttpRoute, reading: Reading<'_>) -> Option<Action> {
    if let Some(redirect) = &rule.redirect {
        return Some(Action::Redirect(redirected(redirect, reading.port)));
    }
    if let Some(direct) = &rule.direct_response {
        let body = direct.body.as_ref().map(|body| match (&body.string, &body.bytes) {
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, Some(bytes)) => bytes.as_slice().to_vec(),
            (None, None) => Vec::new(),
        });
        let body = body.unwrap_or_default().into();
        return Some(Action::Respond(DirectResponse { status: direct.status as u16, body }));
    }
    (!rule.route.is_empty()).then(|| Action::Forward(Box::new(forwarded(rule, reading))))
}

fn forwarded(rule: &HttpRoute, reading: Reading<'_>) -> Forward {
    let lone = rule.route.len() == 1;
    let clusters = rule.route.iter().filter_map(|to| {
        let weight = if lone { 1 } else { to.weight.as_ref().map_or(0, |w| w.value) };
        (weight > 0).then(|| weighted(to, weight, if lone { None } else { to.headers.as_ref() }, reading))
    });
    let clusters: Vec<WeightedCluster> = clusters.collect();
    // Those of all destinations together, as in Istio.
    let keys = clusters.iter().filter_map(|to| hash_key(reading.world, reading.node, &to.name));
    let hash: Box<[HashPolicy]> = keys.map(HashPolicy::new).collect();
    let timeout = rule.timeout.filter(|t| !t.is_zero());
    let mut retry = retry(reading.world, rule.retries.as_ref(), lone && !hash.is_empty());
    let hosts = rule.route.iter().map(|to| &to.destination);
    let hedging = hedging(hosts.map(|to| destination_service(to, reading)), reading.world);
    Forward {
        clusters,
        timeout,
        max_grpc_timeout: Some(timeout.unwrap_or(Duration::ZERO)),
        grpc_timeout_offset: None,
        max_stream_duration: None,
        idle_timeout: None,
        hedge_on_per_try_timeout: hedged(&mut retry, rule.retries.as_ref(), hedging),
        retry,
        path_rewrite: rule.rewrite.as_ref().and_then(path_rewrite),
        host_rewrite: rule.rewrite.as_ref().and_then(host_rewrite),
        mirrors: mirrors(rule, reading),
        hash,
    }
}

fn weighted(
    to: &HttpRouteDestination,
    weight: u32,
    headers: Option<&Headers>,
    reading: Reading<'_>,
) -> WeightedCluster {
    WeightedCluster {
        name: cluster(&to.destination, reading),
        weight,
        request_headers: changes(headers.and_then(|h| h.request.as_ref())),
        response_headers: changes(headers.and_then(|h| h.response.as_ref())),
    }
}

fn whole_host(destination: &Destination, reading: Reading<'_>) -> String {
    names::complete_host(&destination.host.value, reading.namespace, &reading.world.settings.dns_domain)
}

fn destination_service<'w>(destination: &Destination, reading: Reading<'w>) -> Option<&'w Service> {
    reading.world.service(&whole_host(destination, reading)).map(|found| &**found)
}

/// The cluster of a destination. Without a port it is the service's only one, else the port that was dialled.
pub fn cluster(destination: &Destination, reading: Reading<'_>) -> Arc<str> {
    let host = whole_host(destination, reading);
    let service = reading.world.service(&host);
    let host = service.map_or(host.as_str(), |service| &service.host);
    let only = service.and_then(|s| if let [only] = &s.ports[..] { Some(only.number) } else { None });
    let said = destination.port.as_ref().map(|p| p.number.value as u16);
    names::outbound(said.or(only).unwrap_or(reading.port), &destination.subset.value, host)
}

fn mirrors(rule: &HttpRoute, reading: Reading<'_>) -> Vec<Mirror> {
    let share = |p: Option<&Percent>| p.map_or(Fraction::ALL, |p| Fraction::percent(p.value));
    let one = rule.mirror.as_ref().map(|to| {
        let whole = rule.mirror_percent.map(|p| Fraction::percent(f64::from(p)));
        let share = rule.mirror_percentage.as_ref().map(|p| Fraction::percent(p.value)).or(whole);
        Mirror { cluster: cluster(to, reading), share: share.unwrap_or(Fraction::ALL) }
    });
    let many = rule
        .mirrors
        .iter()
        .map(|m| Mirror { cluster: cluster(&m.destination, reading), share: share(m.percentage.as_ref()) });
    one.into_iter().chain(many).filter(|m| m.share > Fraction::NONE).collect()
}

fn host_rewrite(rewrite: &HttpRewrite) -> Option<HostRewrite> {
    (!rewrite.authority.is_empty()).then(|| HostRewrite::Literal(rewrite.authority.clone()))
}

/// After a prefix match only the prefix is replaced, which [`PathRewrite::Prefix`] sees to; a pattern counts more than
/// a plain text.
fn path_rewrite(rewrite: &HttpRewrite) -> Option<PathRewrite> {
    if let Some(by_regex) = &rewrite.uri_regex_rewrite {
        let pattern = Pattern::search(&by_regex.match_).ok()?;
        return Some(PathRewrite::Regex { pattern, substitution: by_regex.rewrite.clone() });
    }
    (!rewrite.uri.is_empty()).then(|| PathRewrite::Prefix(rewrite.uri.clone()))
}

/// `dialled` is the port of the listener: Istio's meaning of "the port of the request".
fn redirected(written: &HttpRedirect, dialled: u16) -> Redirect {
    let text = |t: &String| (!t.is_empty()).then(|| t.clone());
    let path = match (text(&written.uri), text(&written.prefix_rewrite)) {
        (Some(uri), _) => Some(RedirectPath::Full(uri)),
        (None, Some(prefix)) => Some(RedirectPath::Prefix(prefix)),
        (None, None) => None,
    };
    let scheme = text(&written.scheme);
    let port = match written.derive_port {
        Some(RedirectPortSelection::FromProtocolDefault) => {
            scheme.as_deref().map(|scheme| if scheme == "https" { 443 } else { 80 })
        }
        Some(RedirectPortSelection::FromRequestPort) => Some(dialled),
        None => written.port.map(|p| p as u16),
    };
    Redirect {
        status: written.redirect_code.unwrap_or(301) as u16,
        scheme,
        host: text(&written.authority),
        port,
        path,
        strip_query: false,
    }
}

fn fault(written: &HttpFaultInjection) -> Option<Fault> {
    let fault = Fault { delay: written.delay.as_ref().and_then(delay), abort: written.abort.as_ref().and_then(abort) };
    (fault.delay.is_some() || fault.abort.is_some()).then_some(fault)
}

/// A share that is not said is none at all.
fn delay(written: &FaultDelay) -> Option<Delay> {
    let whole = written.percent.map(|p| Fraction::percent(f64::from(p)));
    let share = written.percentage.as_ref().map(|p| Fraction::percent(p.value)).or(whole)?;
    (share > Fraction::NONE).then_some(Delay { duration: written.fixed_delay?, share })
}

fn abort(written: &FaultAbort) -> Option<Abort> {
    let share = Fraction::percent(written.percentage.as_ref()?.value);
    let answer = match written.http_status {
        Some(status) => AbortAnswer::Http(status as u16),
        None => AbortAnswer::Grpc(written.grpc_code()?),
    };
    (share > Fraction::NONE).then_some(Abort { answer, share })
}

/// The condition that holds when both do: the inner one, which may narrow the outer but not leave it. None if they
/// contradict each other.
pub fn narrowed(outer: &HttpMatchRequest, inner: &HttpMatchRequest) -> Option<HttpMatchRequest> {
    let mut merged = inner.clone();
    if inner.uri.is_none() {
        merged.ignore_uri_case = outer.ignore_uri_case;
    }
    merged.uri = match (&outer.uri, &inner.uri) {
        (None, own) => own.clone(),
        (whole, None) => whole.clone(),
        (Some(Written::Prefix(outer)), Some(own @ (Written::Exact(path) | Written::Prefix(path)))) => {
            path.starts_with(outer.as_str()).then(|| Some(own.clone()))?
        }
        (Some(a), Some(b)) if a == b => Some(b.clone()),
        _ => return None,
    };
    let same = |outer: &Option<Written>, inner: &Option<Written>| match (outer, inner) {
        (None, own) => Some(own.clone()),
        (whole, None) => Some(whole.clone()),
        (a, b) => (a == b).then(|| b.clone()),
    };
    if merged.stat_prefix.is_empty() {
        merged.stat_prefix.clone_from(&outer.stat_prefix);
    }
    merged.method = same(&outer.method, &inner.method)?;
    merged.authority = same(&outer.authority, &inner.authority)?;
    merged.scheme = same(&outer.scheme, &inner.scheme)?;
    for (outer, inner) in [
        (&outer.headers, &mut merged.headers),
        (&outer.without_headers, &mut merged.without_headers),
        (&outer.query_params, &mut merged.query_params),
    ] {
        for (name, value) in outer {
            if inner.insert(name.clone(), value.clone()).is_some_and(|own| own != *value) {
                return None;
            }
        }
    }
    for (key, value) in &outer.source_labels {
        if merged.source_labels.insert(key.clone(), value.clone()).is_some_and(|own| own != *value) {
            return None;
        }
    }
    let contradict = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
    if contradict(&outer.source_namespace, &inner.source_namespace)
        || matches!((&outer.port, &inner.port), (Some(outer), Some(inner)) if outer.value != inner.value)
    {
        return None;
    }
    if inner.source_namespace.is_empty() {
        merged.source_namespace.clone_from(&outer.source_namespace);
    }
    merged.port = inner.port.or(outer.port);
    if !outer.gateways.is_empty() {
        let in_both =
            |g: &&Spanned<String>| inner.gateways.is_empty() || inner.gateways.iter().any(|i| i.value == g.value);
        merged.gateways = outer.gateways.iter().filter(in_both).cloned().collect();
        if merged.gateways.is_empty() {
            return None;
        }
    }
    Some(merged)
}

/// A route that sends everything to one cluster with Istio's defaults, and as the service's owner asks for.
pub fn default_route(world: &World, service: Option<&Service>, cluster: Arc<str>, hash: Option<HashKey>) -> Route {
    let mut retry = retry(world, None, false);
    let forward = Forward {
        hedge_on_per_try_timeout: hedged(&mut retry, None, hedging(std::iter::once(service), world)),
        retry,
        max_grpc_timeout: Some(Duration::ZERO),
        hash: hash.map(HashPolicy::new).into_iter().collect(),
        ..Forward::to(cluster)
    };
    Route {
        name: "default".into(),
        request_headers: HeaderChanges::default(),
        ..Route::new(PathMatch::Prefix("/".into()), Action::Forward(Box::new(forward)))
    }
}
