//! SMI's TrafficTargets: what an account may be asked for, and by whom. Workloads of an account that a target names take nothing
//! else; others do unless their namespace says that they take nothing.

use api::TRAFFIC_TARGET_DEFAULT;
use api::consul::namespace_or;
use api::istio::AccessAction;
use api::smi::{HTTP_ROUTE_GROUP, HttpRouteMatch, TCP_ROUTE, TargetRule, TrafficTarget};
use api::yaml::Span;
use model::StringMatch;
use model::access::{Condition, Operation, Permission, Policy};
use model::matcher::{HeaderKey, HeaderMatch, ValueMatch};

use super::{Made, OtherLayer, Whence, all, either, layer_of, named, once, refuses_by_default};
use crate::access::text::pattern;
use crate::access::{Ports, Subject};
use crate::world::{Document, World};

type Target = Document<TrafficTarget>;

impl World {
    /// The targets for workloads of an account, the oldest first.
    pub(crate) fn targets<'a>(&'a self, namespace: &'a str, account: &'a str) -> impl Iterator<Item = &'a Target> {
        self.other_access.targets.iter().filter(move |target| {
            let to = &target.spec().destination;
            to.name.value == account && namespace_or(&to.namespace, target.namespace()) == namespace
        })
    }
}

/// What is asked at a workload; none if nothing is. What comes in at gateways is not SMI's.
pub fn layer(world: &World, subject: Subject<'_>, tcp: bool, ports: Ports) -> Option<OtherLayer> {
    if subject.is_gateway {
        return None;
    }
    let account = subject.account.unwrap_or_default();
    let targets: Vec<&Target> = world.targets(subject.namespace, account).collect();
    if targets.is_empty() && !refuses_by_default(world, TRAFFIC_TARGET_DEFAULT, subject.namespace) {
        return None;
    }
    let made = targets.iter().map(|target| made(world, target, tcp, ports)).collect();
    Some(layer_of(AccessAction::Allow, made, once(targets.iter().map(|target| &target.resource))))
}

fn made(world: &World, target: &Target, tcp: bool, ports: Ports) -> Made {
    let callers = target.spec().sources.iter().map(|source| {
        let namespace = namespace_or(&source.namespace, target.namespace());
        named(world, &format!("ns/{namespace}/sa/{}", *source.name), StringMatch::exact)
    });
    Made {
        name: format!("ns[{}]-target[{}]", target.namespace(), target.name()).into(),
        policy: Policy { permissions: vec![permission(world, target, tcp, ports)], principals: callers.collect() },
        whence: Whence { document: target.resource.clone(), part: "", index: 0, span: Span::default(), by: None },
    }
}

/// Routes of connections and of requests have to hold both; of each kind one.
fn permission(world: &World, target: &Target, tcp: bool, ports: Ports) -> Permission {
    let of_kind = |kind: &'static str| target.spec().all_rules().filter(move |rule| rule.kind.value == kind);
    let mut both = Vec::new();
    if of_kind(TCP_ROUTE).next().is_some() {
        both.push(either(of_kind(TCP_ROUTE).filter_map(|rule| connections(world, target, rule, ports)).collect()));
    }
    if of_kind(HTTP_ROUTE_GROUP).next().is_some() {
        // Connections of which no request is read are none of these requests.
        let groups = of_kind(HTTP_ROUTE_GROUP).filter(|_| !tcp);
        both.push(either(groups.flat_map(|rule| requests(world, target, rule)).collect()));
    }
    if both.is_empty() {
        return either(Vec::new());
    }
    both.extend(target.spec().destination.port.map(|port| ports.condition(port)));
    all(both)
}

/// The connections that a route means; none if there is no such route.
fn connections(world: &World, target: &Target, rule: &TargetRule, ports: Ports) -> Option<Permission> {
    let near = |route: &&Document<_>| route.namespace() == target.namespace() && route.name() == rule.name.value;
    let route = world.other_access.ports.iter().find(near)?;
    let numbers = &route.spec().matches.ports;
    Some(match numbers.is_empty() {
        true => Condition::Any,
        false => either(numbers.iter().map(|port| ports.condition(port.value)).collect()),
    })
}

/// The requests that a route means, one for each of its matches that the rule names.
fn requests(world: &World, target: &Target, rule: &TargetRule) -> Vec<Permission> {
    let groups = &world.other_access.groups;
    let found = groups.iter().find(|g| g.namespace() == target.namespace() && g.name() == rule.name.value);
    let matches = found.into_iter().flat_map(|group| &group.spec().matches);
    let named =
        matches.filter(|one| rule.matches.is_empty() || rule.matches.iter().any(|name| name.value == one.name.value));
    named.filter_map(|one| request(one)).collect()
}

/// The requests that a match means; none if an expression cannot be read, which is refused before.
fn request(one: &HttpRouteMatch) -> Option<Permission> {
    let header = |key, text| {
        let value = ValueMatch::Text(text);
        Condition::Is(Operation::Header(HeaderMatch { key, value, invert: false, missing_as_empty: false }))
    };
    let mut conditions = Vec::new();
    if !one.path_regex.is_empty() {
        // It is to fit the beginning of the path.
        conditions.push(Condition::Is(Operation::Path(pattern(&format!("(?:{}).*", one.path_regex))?)));
    }
    if !one.methods.is_empty() && !one.methods.iter().any(|method| method.value == "*") {
        let method = |method: &api::Spanned<String>| header(HeaderKey::Method, StringMatch::exact(&*method.value));
        conditions.push(either(one.methods.iter().map(method).collect()));
    }
    for (name, regex) in &one.headers.0 {
        conditions.push(header(HeaderKey::parse(name)?, pattern(regex)?));
    }
    Some(all(conditions))
}
