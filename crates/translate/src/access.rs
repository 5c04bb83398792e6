//! Who may do what at a proxy: the AuthorizationPolicies that concern it, as filters of its incoming side.
//!
//! The filters stand in Istio's order: policies of which a provider decides ask it, or refuse whom they take where it is not
//! known, before tokens are read; then those of AUDIT, of DENY and of ALLOW are asked. A policy in the root namespace is for
//! all namespaces, and none takes the place of another. What other kinds of documents say is asked after them ([`other`]).

pub mod convert;
pub mod custom;
pub mod graph;
pub mod other;
pub mod question;
pub(crate) mod rule;
pub(crate) mod text;
pub(crate) mod trust;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::istio::{AccessAction, AuthorizationPolicy, TargetRef};
use model::access::{Access, Action, Compiled, Condition, ConnectionAccess, Policy, Rules};
use model::http_proxy::HttpFilter;
use model::{FilterChain, Guard, NetworkFilter};

use crate::node::{Node, Role};
use crate::service::selected;
use crate::tokens;
use crate::world::{Document, World};

pub use other::Standing;
pub use rule::Ports;
use rule::Reading;

/// The label that says of a gateway's proxy which Gateway of the Gateway API it is.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// What Istio calls its filters and what they tell.
const HTTP_NAME: &str = "envoy.filters.http.rbac";
const TCP_PREFIX: &str = "tcp.";
const DRY_RUN_ALLOW: &str = "istio_dry_run_allow_";
const DRY_RUN_DENY: &str = "istio_dry_run_deny_";

/// The actions in the order in which they are asked.
pub const ORDER: [AccessAction; 4] =
    [AccessAction::Custom, AccessAction::Audit, AccessAction::Deny, AccessAction::Allow];

/// Rules of one action.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The action as it is written.
    pub action: AccessAction,
    /// What is enforced.
    pub rules: Option<Arc<Rules>>,
    /// What is only tried.
    pub shadow: Option<Arc<Rules>>,
    /// Who decides on what the rules take (CUSTOM); none: it is refused.
    pub provider: Option<Arc<str>>,
}

impl Layer {
    /// Where somebody else decides on what the rules take, these are only asked.
    fn only_asked(self) -> Self {
        match self.provider {
            Some(_) => Self { rules: None, shadow: self.rules, ..self },
            None => self,
        }
    }
}

/// Who is asked for, of whom policies speak.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// It is a gateway.
    pub is_gateway: bool,
    /// Its account, as far as it is known.
    pub account: Option<&'a str>,
    /// The hosts of the services that lead to the port that is called.
    pub services: &'a [Arc<str>],
}

impl<'a> Subject<'a> {
    /// The workload that a proxy stands beside, or the gateway that it is.
    pub fn of(node: &'a Node) -> Self {
        let is_gateway = matches!(node.role, Role::Gateway { .. });
        Self { namespace: &node.namespace, labels: &node.labels, is_gateway, account: None, services: &[] }
    }

    /// The same with what other kinds than AuthorizationPolicies ask for.
    pub fn at(self, standing: &'a Standing) -> Self {
        Self { account: standing.account.as_deref(), services: &standing.services, ..self }
    }
}

impl World {
    /// The policies that concern a workload, the oldest first.
    pub(crate) fn access_policies(&self, subject: Subject<'_>) -> Vec<&Document<AuthorizationPolicy>> {
        let root = self.settings.root_namespace.as_str();
        let wanted = |policy: &Document<_>| concerns(policy.spec(), policy.namespace(), root, subject);
        self.authorization_policies.of([root, subject.namespace], wanted)
    }

    /// What is asked at a workload, by action and in the order in which it is asked. Actions without policies are left out.
    pub fn access_layers(&self, subject: Subject<'_>, tcp: bool, ports: Ports) -> Vec<Layer> {
        let policies = self.access_policies(subject);
        let of_action = |action| {
            let of_action: Vec<_> = policies.iter().copied().filter(|policy| policy.spec().action == action).collect();
            let provider = if action == AccessAction::Custom { self.provider(&of_action) } else { None };
            layer(action, provider, &of_action, |document| self.reading(document, tcp, ports))
        };
        let own = ORDER.into_iter().filter_map(of_action);
        own.chain(other::layers(self, subject, tcp, ports).into_iter().map(|other| other.layer)).collect()
    }

    /// The one provider of these policies, if it can be asked.
    fn provider(&self, policies: &[&Document<AuthorizationPolicy>]) -> Option<Arc<str>> {
        let mut names = policies.iter().filter_map(|policy| Some(policy.spec().provider.as_ref()?.name.as_str()));
        let first = names.next()?;
        let is_one = names.all(|name| name == first);
        (is_one && self.authorizer(first).is_ok()).then(|| first.into())
    }

    /// How the rules of a policy are read.
    pub(crate) fn reading<'a>(
        &'a self,
        document: &'a Document<AuthorizationPolicy>,
        tcp: bool,
        ports: Ports,
    ) -> Reading<'a> {
        Reading {
            namespace: document.namespace(),
            narrow: document.spec().action == AccessAction::Allow,
            tcp,
            ports,
            trust_domains: self.trust_domains(),
        }
    }

    /// The trust domain of the mesh, and others that stand for the same.
    pub(crate) fn trust_domains(&self) -> Vec<&str> {
        std::iter::once(&self.settings.trust_domain)
            .chain(&self.settings.trust_domain_aliases)
            .map(|td| td.as_str())
            .collect()
    }
}

/// Is a policy for a workload? Targets other than gateways belong to waypoints.
pub fn concerns(policy: &AuthorizationPolicy, namespace: &str, root: &str, subject: Subject<'_>) -> bool {
    let near = namespace == root || namespace == subject.namespace;
    let is_target = |target: &TargetRef| {
        let name = subject.labels.get(GATEWAY_NAME);
        target.kind == "Gateway" && name == Some(&target.name) && namespace == subject.namespace
    };
    if policy.targets().next().is_some() {
        return subject.is_gateway && policy.targets().any(is_target);
    }
    near && policy.selector.as_ref().is_none_or(|selector| selected(&selector.match_labels, subject.labels))
}

/// Puts what is asked at a proxy into chains of its incoming side: before all filters of requests, since whoever is refused is
/// to reach none of them, and before the last filter of connections.
/// `port` is that of the program; a gateway has none.
pub fn guard(world: &World, node: &Node, port: Option<u16>, ports: Ports, chains: &mut [FilterChain]) {
    let standing = Standing::of(world, node, port);
    let layers = |tcp| world.access_layers(Subject::of(node).at(&standing), tcp, ports);
    let is_http = |chain: &FilterChain| matches!(chain.filter, NetworkFilter::Http(_));
    let http = if chains.iter().any(is_http) { of_requests(world, node, layers(false)) } else { Vec::new() };
    let raw: Vec<Guard> = match chains.iter().all(is_http) {
        true => Vec::new(),
        false => layers(true).into_iter().flat_map(|layer| custom::of_raw(world, layer)).collect(),
    };
    for chain in chains {
        chain.put_first(&http);
        if let NetworkFilter::Tcp(_) = chain.filter {
            chain.access = raw.clone();
        }
    }
}

/// In Istio's order: who decides about requests instead, then their tokens, then the rules that may ask for what tokens
/// say.
fn of_requests(world: &World, node: &Node, layers: Vec<Layer>) -> Vec<HttpFilter> {
    let tokens = tokens::of_node(world, node).map(|tokens| HttpFilter::Jwt(Arc::new(tokens)));
    let (before, after): (Vec<_>, Vec<_>) = layers.into_iter().partition(|layer| layer.action == AccessAction::Custom);
    let filter = |layer| HttpFilter::Access(Box::new(of_request(layer)));
    before
        .into_iter()
        .flat_map(|layer| custom::of_requests(world, layer))
        .chain(tokens)
        .chain(after.into_iter().map(filter))
        .collect()
}

fn of_request(layer: Layer) -> Access {
    let layer = layer.only_asked();
    Access {
        name: HTTP_NAME.into(),
        shadow_prefix: shadow_prefix(&layer).into(),
        rules: layer.rules.map(compiled),
        shadow: layer.shadow.map(compiled),
        ..Access::default()
    }
}

fn of_connections(layer: Layer) -> ConnectionAccess {
    let layer = layer.only_asked();
    ConnectionAccess {
        stat_prefix: TCP_PREFIX.into(),
        shadow_prefix: shadow_prefix(&layer).into(),
        rules: layer.rules.map(compiled),
        shadow: layer.shadow.map(compiled),
        ..ConnectionAccess::default()
    }
}

fn compiled(rules: Arc<Rules>) -> Arc<Compiled> {
    Arc::new(Compiled::new(Arc::unwrap_or_clone(rules)))
}

fn shadow_prefix(layer: &Layer) -> &'static str {
    match (&layer.shadow, layer.action) {
        (Some(_), AccessAction::Custom) => custom::PREFIX,
        (Some(_), AccessAction::Allow) => DRY_RUN_ALLOW,
        (Some(_), AccessAction::Deny) => DRY_RUN_DENY,
        _ => "",
    }
}

/// The rules of the policies of one action; none if there are none. Where policies allow something, what they do not is
/// refused, even if nothing is left of their rules.
fn layer<'a>(
    action: AccessAction,
    provider: Option<Arc<str>>,
    policies: &[&'a Document<AuthorizationPolicy>],
    reading: impl Fn(&'a Document<AuthorizationPolicy>) -> Reading<'a>,
) -> Option<Layer> {
    let (tried, enforced): (Vec<_>, Vec<_>) =
        policies.iter().copied().partition(|policy| AuthorizationPolicy::is_dry_run(&policy.resource.meta));
    let rules = |documents: Vec<&'a Document<AuthorizationPolicy>>| {
        let is_asked = provider.is_some();
        let made = documents.iter().flat_map(|document| policies_of(document, &reading(document), is_asked));
        let mut policies: Vec<(Arc<str>, Policy)> = made.collect();
        policies.sort_by(|a, b| a.0.cmp(&b.0));
        (!documents.is_empty()).then(|| Arc::new(Rules { action: meaning(action), policies }))
    };
    // Nobody is asked, so there is nothing to try.
    let tried = if action == AccessAction::Custom { Vec::new() } else { tried };
    let (rules, shadow) = (rules(enforced), rules(tried));
    let layer = Layer { action, rules, shadow, provider };
    (layer.rules.is_some() || layer.shadow.is_some()).then_some(layer)
}

fn meaning(action: AccessAction) -> Action {
    match action {
        AccessAction::Allow => Action::Allow,
        // Whom nobody decides about is refused.
        AccessAction::Deny | AccessAction::Custom => Action::Deny,
        AccessAction::Audit => Action::Log,
    }
}

/// The policies of the model that a document stands for: one for each rule that is left.
fn policies_of(
    document: &Document<AuthorizationPolicy>,
    reading: &Reading<'_>,
    is_asked: bool,
) -> Vec<(Arc<str>, Policy)> {
    let spec = document.spec();
    let name = |index| name(document, index, is_asked);
    if spec.rules.is_empty() {
        return vec![(name(0), never())];
    }
    let rules = spec.rules.iter().enumerate();
    rules.filter_map(|(index, rule)| Some((name(index), rule::policy(&rule.value, reading)?))).collect()
}

/// The name by which a rule is known to proxies, and which access logs tell (Istio's form). `is_asked`: its provider is.
pub fn name(document: &Document<AuthorizationPolicy>, index: usize, is_asked: bool) -> Arc<str> {
    let of_rule = format!("ns[{}]-policy[{}]-rule[{index}]", document.namespace(), document.name());
    match &document.spec().provider {
        Some(provider) if document.spec().action == AccessAction::Custom => {
            let bad = if is_asked { "" } else { "-deny-due-to-bad-CUSTOM-action" };
            format!("istio-ext-authz-{}-{of_rule}{bad}", provider.name).into()
        }
        _ => of_rule.into(),
    }
}

/// What nothing fits.
fn never() -> Policy {
    let (permission, principal) = (Condition::Any, Condition::Any);
    Policy {
        permissions: vec![Condition::Not(Box::new(permission))],
        principals: vec![Condition::Not(Box::new(principal))],
    }
}
