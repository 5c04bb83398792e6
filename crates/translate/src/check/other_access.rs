//! Access as others write it: what has no effect, or names who and what is not there.

use api::consul::{ANY, namespace_or};
use api::istio::{BoundRole, RbacMode};
use api::smi::{HTTP_ROUTE_GROUP, TCP_ROUTE, TargetRule, TrafficTarget};
use api::yaml::Span;
use api::{Code, Problem, Resource};

use crate::access::Subject;
use crate::access::other::legacy;
use crate::check::members_of;
use crate::names::complete_host;
use crate::world::{Document, World};

/// What the documents say by themselves.
pub fn check(world: &World, problems: &mut Vec<Problem>) {
    check_switch(world, problems);
    check_roles(world, problems);
    check_bindings(world, problems);
    check_routes(world, problems);
    check_intentions(world, problems);
}

/// What they say of services, workloads and accounts.
pub fn check_selection(world: &World, problems: &mut Vec<Problem>) {
    check_superseded(world, problems);
    check_accounts(world, problems);
}

fn note(document: &Resource, code: Code, path: &str, span: Span, message: String, hint: &str) -> Problem {
    document.problem(Problem::warning(message).code(code).path(path).hint(hint), span)
}

fn missing(document: &Resource, path: &str, span: Span, message: String, hint: &str) -> Problem {
    note(document, Code::ReferencedResourceNotFound, path, span, message, hint)
}

/// One switch counts; without it, or with OFF, roles have no effect.
fn check_switch(world: &World, problems: &mut Vec<Problem>) {
    let counts = world.rbac_config();
    for other in world.other_access.configs.iter() {
        let first = counts.filter(|first| first.resource.key() != other.resource.key());
        if let Some(first) = first {
            let message = format!("{} is the switch of the mesh, and this has no effect", first.resource.key());
            let hint = "keep the one that is meant";
            problems.push(note(&other.resource, Code::PolicyNeverMet, "metadata.name", Span::default(), message, hint));
        }
    }
    let is_off = counts.is_none_or(|config| config.spec().mode == RbacMode::Off);
    for binding in world.other_access.bindings.iter().filter(|_| is_off) {
        let message = "roles are not asked for: no ClusterRbacConfig says where".to_owned();
        let hint =
            "everything may pass that nothing else refuses; apply a ClusterRbacConfig with a mode other than OFF";
        problems.push(note(&binding.resource, Code::PolicyNeverMet, "kind", Span::default(), message, hint));
    }
    let Some(config) = counts else { return };
    let targets = [("inclusion", &config.spec().inclusion), ("exclusion", &config.spec().exclusion)];
    for (name, target) in targets.into_iter().filter_map(|(name, target)| Some((name, target.as_ref()?))) {
        for (i, host) in target.services.iter().enumerate().filter(|(_, host)| world.service(host).is_none()) {
            let message = format!("no service has the host `{}`", host.value);
            let path = format!("spec.{name}.services[{i}]");
            problems.push(missing(
                &config.resource,
                &path,
                host.span,
                message,
                "services are named by their whole hosts",
            ));
        }
    }
}

fn check_roles(world: &World, problems: &mut Vec<Problem>) {
    let root = &world.settings.root_namespace;
    for role in world.other_access.roles.iter() {
        let has_it = |binding: &&Document<api::istio::ServiceRoleBinding>| match binding.spec().bound() {
            BoundRole::Own(name) => binding.namespace() == role.namespace() && name == role.name(),
            BoundRole::OfRoot(name) => role.namespace() == root && name == role.name(),
            BoundRole::Inline => false,
        };
        if !world.other_access.bindings.iter().any(|binding| has_it(&binding)) {
            let message = "nobody has this role: it allows nothing".to_owned();
            let hint = "bind it by a ServiceRoleBinding of its namespace";
            problems.push(note(&role.resource, Code::PolicyNeverMet, "metadata.name", Span::default(), message, hint));
        }
        for (i, rule) in role.spec().rules.iter().enumerate() {
            for (k, host) in rule.services.iter().enumerate() {
                let near = |namespace: &str| namespace == role.namespace() || role.namespace() == root;
                let mut services = world.services().filter(|service| near(&service.namespace));
                if services.any(|service| legacy::is_one(&service.host, std::slice::from_ref(host))) {
                    continue;
                }
                let message = format!("no service of the namespace `{}` is called `{}`", role.namespace(), host.value);
                let path = format!("spec.rules[{i}].services[{k}]");
                let hint = "a role is for services of its own namespace, by their whole hosts";
                problems.push(missing(&role.resource, &path, host.span, message, hint));
            }
        }
    }
}

fn check_bindings(world: &World, problems: &mut Vec<Problem>) {
    for binding in world.other_access.bindings.iter() {
        let spec = binding.spec();
        let (namespace, name) = match spec.bound() {
            BoundRole::Own(name) => (binding.namespace(), name),
            BoundRole::OfRoot(name) => (world.settings.root_namespace.as_str(), name),
            BoundRole::Inline => continue,
        };
        if world.other_access.roles.iter().any(|role| role.namespace() == namespace && role.name() == name) {
            continue;
        }
        let (path, span) = match &spec.role_ref {
            Some(role) => ("spec.roleRef.name", role.name.span),
            None => ("spec.role", spec.role.span),
        };
        let message =
            format!("there is no ServiceRole `{name}` in the namespace `{namespace}`: the binding allows nothing");
        problems.push(missing(&binding.resource, path, span, message, "a role and its binding are of one namespace"));
    }
}

/// Routes that are not there allow nothing.
fn check_routes(world: &World, problems: &mut Vec<Problem>) {
    for target in world.other_access.targets.iter() {
        let field = if target.spec().rules.is_empty() { "specs" } else { "rules" };
        for (i, rule) in target.spec().all_rules().enumerate() {
            let path = format!("spec.{field}[{i}]");
            check_route(world, target, rule, &path, problems);
        }
    }
}

fn check_route(
    world: &World,
    target: &Document<TrafficTarget>,
    rule: &TargetRule,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    let (namespace, name) = (target.namespace(), rule.name.as_str());
    const HINT: &str = "the rule allows nothing";
    let absent = || format!("there is no {} `{name}` in the namespace `{namespace}`", rule.kind.value);
    let lost = |at: &str, span, message| missing(&target.resource, &format!("{path}.{at}"), span, message, HINT);
    if rule.kind.value == TCP_ROUTE {
        let is_there = world.other_access.ports.iter().any(|d| d.namespace() == namespace && d.name() == name);
        problems.extend((!is_there).then(|| lost("name", rule.name.span, absent())));
    }
    if rule.kind.value != HTTP_ROUTE_GROUP {
        return;
    }
    let Some(group) = world.other_access.groups.iter().find(|d| d.namespace() == namespace && d.name() == name) else {
        problems.push(lost("name", rule.name.span, absent()));
        return;
    };
    for (k, one) in rule.matches.iter().enumerate() {
        if !group.spec().matches.iter().any(|known| known.name.value == one.value) {
            let message = format!("the group `{name}` has no match `{}`", one.value);
            problems.push(lost(&format!("matches[{k}]"), one.span, message));
        }
    }
}

/// Services that intentions name, and two that say something of the same.
fn check_intentions(world: &World, problems: &mut Vec<Problem>) {
    for document in world.other_access.intentions.iter() {
        let to = &document.spec().destination;
        let namespace = namespace_or(&to.namespace, document.namespace());
        let named = to.name.value != ANY && namespace != ANY;
        let host = complete_host(&to.name, namespace, &world.settings.dns_domain);
        if named && world.service(&host).is_none() {
            let message = format!("there is no service `{}` in the namespace `{namespace}`", to.name.value);
            let hint = "the intention is for nobody until there is one";
            problems.push(missing(&document.resource, "spec.destination.name", to.name.span, message, hint));
        }
        let same = |other: &&Document<api::consul::ServiceIntentions>| {
            let of = &other.spec().destination;
            of.name == to.name && namespace_or(&of.namespace, other.namespace()) == namespace
        };
        let first = world.other_access.intentions.iter().find(same);
        if let Some(first) = first.filter(|first| first.resource.key() != document.resource.key()) {
            let message = format!("{} is for the same destination", first.resource.key());
            let hint = "of two that say something of one source the one that refuses more counts, then the older one";
            let span = to.name.span;
            problems.push(note(&document.resource, Code::PolicyNeverMet, "spec.destination", span, message, hint));
        }
    }
}

/// Services for which the switch is on, and an AuthorizationPolicy takes the place of roles.
fn check_superseded(world: &World, problems: &mut Vec<Problem>) {
    let Some(config) = world.rbac_config() else { return };
    for service in world.services().filter(|service| legacy::is_on(config.spec(), service)) {
        let subjects = members_of(world, service).into_iter().map(|(labels, _)| Subject {
            namespace: &service.namespace,
            labels,
            is_gateway: false,
            account: None,
            services: &[],
        });
        let mut taken = subjects.filter(|subject| world.is_superseded(*subject));
        let Some(policy) = taken.find_map(|subject| world.access_policies(subject).into_iter().next()) else {
            continue;
        };
        let message =
            format!("no role is asked for at `{}`: {} takes their place", service.host, policy.resource.key());
        let hint = "one AuthorizationPolicy turns roles off for its workloads; `halcyon convert` writes them as such";
        problems.push(note(&config.resource, Code::PolicyNeverMet, "spec.mode", Span::default(), message, hint));
    }
}

/// Accounts that nothing runs as.
fn check_accounts(world: &World, problems: &mut Vec<Problem>) {
    let known = world.known_accounts();
    if known.is_empty() {
        return;
    }
    let unknown = |namespace: &str, name: &str| !known.contains(&(namespace, name));
    let message = |namespace: &str, name: &str| format!("nothing in the namespace `{namespace}` runs as `{name}`");
    for document in world.other_access.intentions.iter() {
        for (i, source) in document.spec().sources.iter().enumerate() {
            let namespace = namespace_or(&source.namespace, document.namespace());
            if namespace == ANY || source.name.value == ANY || !unknown(namespace, &source.name) {
                continue;
            }
            let path = format!("spec.sources[{i}].name");
            let hint = "callers are known by their accounts, which have to be called like the services";
            problems.push(missing(&document.resource, &path, source.name.span, message(namespace, &source.name), hint));
        }
    }
    for target in world.other_access.targets.iter() {
        let sources = target.spec().sources.iter().enumerate();
        let sources = sources.map(|(i, source)| (format!("spec.sources[{i}].name"), &source.value));
        for (path, account) in sources.chain([("spec.destination.name".to_owned(), &target.spec().destination)]) {
            let namespace = namespace_or(&account.namespace, target.namespace());
            if unknown(namespace, &account.name) {
                let message = message(namespace, &account.name);
                problems.push(missing(
                    &target.resource,
                    &path,
                    account.name.span,
                    message,
                    "it is for nobody until then",
                ));
            }
        }
    }
}
