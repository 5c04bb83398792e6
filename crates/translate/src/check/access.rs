//! Policies on access that do not do what they most likely are meant to: they lock everybody out, can never be met, name
//! who is not there, or ask for what connections do not have.

use std::collections::{BTreeMap, BTreeSet};

use api::istio::{AccessAction, AccessRule, AuthorizationPolicy, AuthorizerProvider, ConditionKey, Pair};
use api::yaml::Span;
use api::{Code, Problem, Spanned};

use super::selection::{Inhabitants, labels_of};
use crate::access::{rule, trust};
use crate::protocol::Protocol;
use crate::service::{Target, selected};
use crate::trust::believed;
use crate::world::{Document, World};

type Policy = Document<AuthorizationPolicy>;

/// How a provider comes to be known.
const HOW: &str = "name it in `extensionProviders` of the mesh's settings, with `envoyExtAuthzHttp` or `envoyExtAuthzGrpc` and \
                   a service of the mesh or of a ServiceEntry";

/// What the policies say by themselves.
pub fn check(world: &World, problems: &mut Vec<Problem>) {
    let asked = |policy: &&Policy| policy.spec().action == AccessAction::Custom && policy.spec().provider.is_some();
    let asking: Vec<&Policy> = world.authorization_policies.iter().filter(asked).collect();
    for policy in &asking {
        check_provider(world, policy, &asking, problems);
    }
    for policy in world.authorization_policies.iter() {
        check_lockout(world, policy, problems);
        for (i, rule) in policy.spec().rules.iter().enumerate() {
            check_contradictions(policy, i, rule, problems);
            check_trust_domains(world, policy, i, rule, problems);
        }
    }
}

/// What they say of workloads, namespaces and accounts that run or are described. `whole`: also where there are none at all.
pub fn check_selection(world: &World, whole: bool, problems: &mut Vec<Problem>) {
    let namespaces = world.known_namespaces();
    let accounts = world.known_accounts();
    let inhabitants = Inhabitants::of(world);
    let raw_ports = raw_ports(world);
    for policy in world.authorization_policies.iter() {
        check_selector(&inhabitants, policy, whole, problems);
        for (i, rule) in policy.spec().rules.iter().enumerate() {
            check_namespaces(policy, i, rule, &namespaces, problems);
            check_accounts(policy, i, rule, (&namespaces, &accounts), problems);
        }
        check_tcp(world, policy, &raw_ports, problems);
    }
}

fn note(policy: &Policy, code: Code, path: String, span: Span, message: String) -> Problem {
    policy.resource.problem(Problem::warning(message).code(code).path(path), span)
}

/// A policy of the root namespace that is for everybody, and allows nobody or refuses all.
fn check_lockout(world: &World, policy: &Policy, problems: &mut Vec<Problem>) {
    let spec = policy.spec();
    let selects = spec.selector.as_ref().is_some_and(|selector| !selector.match_labels.is_empty());
    let is_tried = AuthorizationPolicy::is_dry_run(&policy.resource.meta);
    if policy.namespace() != world.settings.root_namespace || selects || is_tried || spec.targets().next().is_some() {
        return;
    }
    let takes_all = |rule: &Spanned<AccessRule>| rule.from.is_none() && rule.to.is_none() && rule.when.is_none();
    let (message, hint) = match spec.action {
        AccessAction::Allow if spec.rules.is_empty() => (
            "no workload of the mesh takes any request or connection that no other policy allows: this one stands in the \
             root namespace, selects everything and has no rule",
            "this is how to begin with nobody; allow who may call in policies of the namespaces, and ask `halcyon authz \
             check` before applying it",
        ),
        AccessAction::Deny | AccessAction::Custom if spec.rules.iter().any(takes_all) => (
            "every request and connection of the mesh is refused, and no other policy can allow one: this one stands in \
             the root namespace, selects everything and has a rule without conditions",
            "add conditions to the rule, or a `selector`",
        ),
        _ => return,
    };
    let problem = note(policy, Code::PolicyLocksOut, "spec".to_owned(), Span::default(), message.to_owned());
    problems.push(problem.hint(hint));
}

/// Who is to decide cannot be asked, or others are to decide at the same workloads.
fn check_provider(world: &World, policy: &Policy, asking: &[&Policy], problems: &mut Vec<Problem>) {
    const REFUSED: &str = "what the policy takes is refused until then";
    let spec = policy.spec();
    let Some(provider) = &spec.provider else { return };
    let mut warn = |message: String, hint: &str| {
        let path = "spec.provider.name".to_owned();
        problems.push(note(policy, Code::ProviderNotAsked, path, Span::default(), message).hint(hint.to_owned()));
    };
    match world.authorizer(&provider.name) {
        Err(unable) => warn(format!("the provider `{}` cannot be asked: {unable}; {REFUSED}", provider.name), HOW),
        Ok((of, service, port)) => {
            let is_grpc = matches!(of.authorizer(), Some(AuthorizerProvider::Grpc(_)));
            let speaks = service.port(port).map(|port| port.protocol);
            if is_grpc && speaks.is_some_and(|protocol| protocol.is_http() && !protocol.is_http2()) {
                let message = format!(
                    "the provider `{}` is asked over gRPC, but port {port} of `{}` is declared to speak HTTP/1.1",
                    provider.name, service.host,
                );
                warn(message, "name the port `grpc-...`, or declare `appProtocol: grpc`");
            }
        }
    }
    let root = &world.settings.root_namespace;
    let others = asking.iter().filter(|other| {
        let near = other.namespace() == policy.namespace() || [*other, &policy].iter().any(|it| it.namespace() == root);
        let same = other.spec().selector == spec.selector
            || [other.spec(), spec].iter().any(|it| it.selector.is_none() && it.targets().next().is_none());
        near && same && other.spec().provider.as_ref().is_some_and(|named| named.name != provider.name)
    });
    for other in others {
        let theirs = other.spec().provider.as_ref().map_or("", |named| named.name.as_str());
        let message = format!(
            "`{}` asks the provider `{theirs}` at the same workloads; with more than one, what these policies take is refused",
            other.resource.key(),
        );
        warn(message, "let one provider decide at a workload");
    }
}

/// Every list of a rule, with its path within the document, and the key that its values are of.
fn lists(index: usize, rule: &AccessRule) -> Vec<(String, &'static str, Pair<'_>)> {
    let mut all = Vec::new();
    for (i, from) in rule.from.iter().flatten().enumerate() {
        let fields = from.source.fields().into_iter();
        all.extend(fields.map(|(name, _, lists)| (format!("spec.rules[{index}].from[{i}].source"), name, lists)));
    }
    for (i, to) in rule.to.iter().flatten().enumerate() {
        let fields = to.operation.fields().into_iter();
        all.extend(fields.map(|(name, _, lists)| (format!("spec.rules[{index}].to[{i}].operation"), name, lists)));
    }
    for (i, condition) in rule.when.iter().flatten().enumerate() {
        let lists = (&condition.values[..], &condition.not_values[..]);
        all.push((format!("spec.rules[{index}].when[{i}]"), "values", lists));
    }
    all
}

/// Every value of a field is one that must not be.
fn check_contradictions(policy: &Policy, index: usize, rule: &AccessRule, problems: &mut Vec<Problem>) {
    for (path, name, (values, not_values)) in lists(index, rule) {
        let excluded = |value: &Spanned<String>| not_values.iter().any(|not| not.value == "*" || not == value);
        if let Some(first) = values.first().filter(|_| values.iter().all(excluded)) {
            let message = format!("whatever `{name}` asks for is excluded beside it: this is never met");
            let path = format!("{path}.{name}");
            problems.push(note(policy, Code::PolicyNeverMet, path, first.span, message).hint("remove one of the two"));
        }
    }
}

/// The lists in which identities, namespaces or accounts stand: their path, and whether they are what must not be.
fn named<'r>(index: usize, rule: &'r AccessRule, wanted: &str) -> Vec<(String, &'r Spanned<String>)> {
    let key_of = |key: &str| match ConditionKey::read(key) {
        Ok(ConditionKey::SourcePrincipal) => "principals",
        Ok(ConditionKey::SourceNamespace) => "namespaces",
        Ok(ConditionKey::SourceServiceAccount) => "serviceAccounts",
        _ => "",
    };
    let mut all = Vec::new();
    for (i, from) in rule.from.iter().flatten().enumerate() {
        for (name, not, (values, not_values)) in from.source.fields().into_iter().filter(|(name, ..)| *name == wanted) {
            for (name, list) in [(name, values), (not, not_values)] {
                let path = |k| format!("spec.rules[{index}].from[{i}].source.{name}[{k}]");
                all.extend(list.iter().enumerate().map(|(k, value)| (path(k), value)));
            }
        }
    }
    for (i, condition) in rule.when.iter().flatten().enumerate().filter(|(_, when)| key_of(&when.key) == wanted) {
        for (name, list) in [("values", &condition.values), ("notValues", &condition.not_values)] {
            let path = |k| format!("spec.rules[{index}].when[{i}].{name}[{k}]");
            all.extend(list.iter().enumerate().map(|(k, value)| (path(k), value)));
        }
    }
    all
}

/// Trust domain, namespace and account of a whole identity.
fn parts(principal: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = principal.split('/').collect();
    if let [domain, "ns", namespace, "sa", account] = parts[..] { Some((domain, namespace, account)) } else { None }
}

/// Identities of a trust domain that is not the mesh's.
fn check_trust_domains(world: &World, policy: &Policy, index: usize, rule: &AccessRule, problems: &mut Vec<Problem>) {
    let own = world.trust_domains();
    let believed = believed(world);
    for (path, value) in named(index, rule, "principals") {
        let Some((domain, ..)) = parts(value).filter(|(domain, ..)| !domain.contains('*')) else { continue };
        let meant = trust::principals(value, &own);
        if meant.iter().any(|one| believed.iter().any(|known| one.split('/').next() == Some(known))) {
            continue;
        }
        let message = format!("nobody in the mesh has an identity of the trust domain `{domain}`");
        let problem = note(policy, Code::PolicyNeverMet, path, value.span, message);
        problems.push(problem.expected(format!("`{}`", believed.join("` or `"))));
    }
}

/// Namespaces in which a policy's selector takes workloads: every one for policies of the root namespace.
fn check_selector(inhabitants: &Inhabitants<'_>, policy: &Policy, whole: bool, problems: &mut Vec<Problem>) {
    let spec = policy.spec();
    if spec.targets().next().is_some() {
        return;
    }
    let labels = spec.selector.as_ref().map(|selector| &selector.match_labels);
    if let Some(problem) = inhabitants.selects_nobody(policy.namespace(), labels, whole) {
        problems.push(policy.resource.problem(problem, Span::default()));
    }
}

fn check_namespaces(
    policy: &Policy,
    index: usize,
    rule: &AccessRule,
    known: &BTreeSet<&str>,
    problems: &mut Vec<Problem>,
) {
    for (path, value) in named(index, rule, "namespaces") {
        if !value.contains('*') && !known.contains(value.as_str()) {
            let message = format!("there is no namespace `{value}`");
            problems.push(note(policy, Code::ReferencedResourceNotFound, path, value.span, message));
        }
    }
}

/// Accounts under which nothing runs.
fn check_accounts(
    policy: &Policy,
    index: usize,
    rule: &AccessRule,
    (namespaces, known): (&BTreeSet<&str>, &BTreeSet<(&str, &str)>),
    problems: &mut Vec<Problem>,
) {
    let principals = named(index, rule, "principals").into_iter();
    let principals = principals.filter_map(|(path, value)| {
        let (_, namespace, account) = parts(value)?;
        Some((path, value.span, namespace, account))
    });
    let accounts = named(index, rule, "serviceAccounts").into_iter().map(|(path, value)| {
        let (namespace, account) = value.value.split_once('/').unwrap_or((policy.namespace(), &value.value));
        (path, value.span, namespace, account)
    });
    for (path, span, namespace, account) in principals.chain(accounts) {
        if namespace.contains('*') || account.contains('*') || known.contains(&(namespace, account)) {
            continue;
        }
        let problem = match namespaces.contains(namespace) {
            false => Problem::warning(format!("there is no namespace `{namespace}`")),
            true => {
                let near: Vec<&str> = known.iter().filter(|(of, _)| *of == namespace).map(|(_, name)| *name).collect();
                Problem::warning(format!("nothing in the namespace `{namespace}` runs as `{account}`"))
                    .expected(if near.is_empty() { "a ServiceAccount".to_owned() } else { near.join(" or ") })
            }
        };
        let problem = problem.code(Code::ReferencedResourceNotFound).path(path);
        problems.push(policy.resource.problem(problem.hint("identities follow the accounts of workloads"), span));
    }
}

/// Fields of HTTP in a policy for workloads with ports of raw TCP (Istio's asymmetry).
fn check_tcp(world: &World, policy: &Policy, raw_ports: &[RawPort<'_>], problems: &mut Vec<Problem>) {
    let ports: Vec<_> = raw_ports.iter().filter(|port| port.is_guarded_by(world, policy)).collect();
    if ports.is_empty() {
        return;
    }
    for (i, rule) in policy.spec().rules.iter().enumerate() {
        let fields = rule::http_fields(rule);
        let (Some(first), Some(RawPort { host: at, number: port, .. })) =
            (fields.first(), ports.iter().find(|port| leads_to(rule, port.number)))
        else {
            continue;
        };
        let message = format!("`{first}` has no meaning for connections to port {port} of {at}, which is raw TCP");
        let fate = match policy.spec().action {
            AccessAction::Allow => "there the rule as a whole is left out, so it allows nobody",
            AccessAction::Audit => "there the field is left out, so the rule notes down more",
            AccessAction::Deny | AccessAction::Custom => "there the field is left out, so the rule refuses more",
        };
        let path = format!("spec.rules[{i}].{first}");
        let problem = note(policy, Code::PolicyAsksForHttp, path, rule.span, message);
        problems.push(problem.hint(format!("{fate}; say by `ports` for which ports it is meant")));
    }
}

/// May a rule be for this port of a program?
fn leads_to(rule: &AccessRule, port: u16) -> bool {
    let is_it = |value: &Spanned<String>| value.parse() == Ok(port);
    rule.to.as_ref().is_none_or(|to| {
        to.iter().any(|to| {
            let operation = &to.operation;
            let named = operation.ports.is_empty() || operation.ports.iter().any(is_it);
            named && !operation.not_ports.iter().any(is_it)
        })
    })
}

/// A port of raw TCP at which programs listen, with a service that leads there.
struct RawPort<'w> {
    host: &'w str,
    namespace: &'w str,
    number: u16,
    /// The labels of the workloads behind it.
    labels: Vec<&'w BTreeMap<String, String>>,
}

impl RawPort<'_> {
    /// Is a policy for workloads behind it?
    fn is_guarded_by(&self, world: &World, policy: &Policy) -> bool {
        let near = [&*world.settings.root_namespace, self.namespace].contains(&policy.namespace());
        let selector = policy.spec().selector.as_ref();
        let takes = |labels: &&BTreeMap<String, String>| selector.is_none_or(|s| selected(&s.match_labels, labels));
        near && policy.spec().targets().next().is_none() && self.labels.iter().any(takes)
    }
}

fn raw_ports(world: &World) -> Vec<RawPort<'_>> {
    let mut found = Vec::new();
    for service in world.services().filter(|service| !service.external) {
        let raw = service
            .ports
            .iter()
            .filter(|port| !port.protocol.is_http() && !matches!(port.protocol, Protocol::Auto | Protocol::Udp));
        let numbers = raw.filter_map(|port| match &port.target {
            Target::Number(number) => Some(*number),
            Target::Name(_) => None,
        });
        let (host, namespace) = (&*service.host, &*service.namespace);
        found.extend(numbers.map(|number| RawPort { host, namespace, number, labels: labels_of(world, service) }));
    }
    found
}
