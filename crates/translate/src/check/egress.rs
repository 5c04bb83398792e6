//! EgressPolicies that select nobody, allow nothing, or refuse what other documents lead workloads to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::halcyon::EgressPolicy;
use api::yaml::Span;
use api::{Code, Problem};
use base::HostPattern;

use super::selection::Inhabitants;
use crate::egress::{Egress, account_of};
use crate::names::{complete_host, without_dot};
use crate::protocol::Protocol;
use crate::service::Service;
use crate::world::{Document, World};

type Policy = Document<EgressPolicy>;

/// At most so many hosts are named in one warning.
const MOST: usize = 5;

/// What policies say by themselves.
pub fn check(world: &World, problems: &mut Vec<Problem>) {
    for policy in world.egress_policies.iter() {
        check_hosts(world, policy, problems);
        check_protocols(policy, problems);
        check_locked_out(world, policy, problems);
    }
}

/// What they say of workloads that run or are described. `whole`: also where there are none at all.
pub fn check_selection(world: &World, whole: bool, problems: &mut Vec<Problem>) {
    let inhabitants = Inhabitants::of(world);
    for policy in world.egress_policies.iter() {
        let labels = policy.spec().selector.as_ref().map(|selector| &selector.match_labels);
        if let Some(problem) = inhabitants.selects_nobody(policy.namespace(), labels, whole) {
            problems.push(policy.resource.problem(problem, Span::default()));
        }
        check_accounts(world, policy, whole, problems);
    }
}

fn note(policy: &Policy, code: Code, path: String, span: Span, message: String) -> Problem {
    policy.resource.problem(Problem::warning(message).code(code).path(path), span)
}

/// Hosts of the mesh need no permission, and a rule for one gives none.
fn check_hosts(world: &World, policy: &Policy, problems: &mut Vec<Problem>) {
    let domain = format!(".{}", world.settings.dns_domain);
    for (i, rule) in policy.spec().rules.iter().enumerate() {
        for (j, host) in rule.hosts.iter().enumerate() {
            let bare = without_dot(host).to_ascii_lowercase();
            let inside = world.service_named(&bare).is_some_and(|service| !service.external);
            if inside || bare.ends_with(&domain) {
                let path = format!("spec.rules[{i}].hosts[{j}]");
                let message =
                    format!("`{bare}` lies in the mesh: this allows nothing, and calls there are not asked about");
                let problem = note(policy, Code::EgressRuleNotMet, path, host.span, message);
                problems.push(problem.hint("an AuthorizationPolicy at the server says who may call it"));
            }
        }
    }
}

/// Of rules for the same port of a host one says what is spoken there.
fn check_protocols(policy: &Policy, problems: &mut Vec<Problem>) {
    let mut known: BTreeMap<(String, u16), Protocol> = BTreeMap::new();
    for (host, allowed) in Egress::of(policy).hosts() {
        let key = (host.to_string(), allowed.number);
        let first = *known.entry(key).or_insert(allowed.protocol);
        if first != allowed.protocol {
            let index = policy.spec().rules.iter().position(|rule| std::ptr::eq(&rule.value, allowed.rule));
            let path = format!("spec.rules[{}].ports", index.unwrap_or_default());
            let message = format!(
                "an earlier rule says that {host} speaks {first} on port {}, which counts, and not {}",
                allowed.number, allowed.protocol
            );
            problems.push(
                note(policy, Code::EgressRuleNotMet, path, Span::default(), message).hint("remove one of the two"),
            );
        }
    }
}

/// Hosts outside that documents of a namespace define or lead to, and that its workloads may not call. Policies for some
/// workloads only are meant to differ.
fn check_locked_out(world: &World, policy: &Policy, problems: &mut Vec<Problem>) {
    if !is_for_all(policy) {
        return;
    }
    let root = world.settings.root_namespace.as_str();
    let near = |namespace: &str| policy.namespace() == root || policy.namespace() == namespace;
    let mut locked: BTreeSet<(Arc<str>, &str)> = BTreeSet::new();
    for (service, namespace) in led_to(world).into_iter().filter(|(_, namespace)| near(namespace)) {
        let others = world
            .egress_policies
            .iter()
            .filter(|other| is_for_all(other) && (other.namespace() == root || other.namespace() == namespace));
        if !others.into_iter().any(|other| Egress::of(other).narrowed(service).is_some()) {
            locked.insert((service.host.clone(), namespace));
        }
    }
    if locked.is_empty() {
        return;
    }
    let mut names: Vec<String> = locked.iter().take(MOST).map(|(host, of)| format!("`{host}` (`{of}`)")).collect();
    if locked.len() > MOST {
        names.push(format!("{} more", locked.len() - MOST));
    }
    let message = format!(
        "no rule allows {}, to which ServiceEntries or VirtualServices of these namespaces lead: their workloads may not call it",
        names.join(", ")
    );
    let problem = note(policy, Code::EgressLocksOut, "spec.rules".to_owned(), Span::default(), message);
    problems.push(problem.hint("add a rule for it, or remove what leads there"));
}

fn is_for_all(policy: &Policy) -> bool {
    let spec = policy.spec();
    spec.accounts.is_empty() && spec.selector.as_ref().is_none_or(|selector| selector.match_labels.is_empty())
}

/// Services outside of the mesh, each with a namespace in which a document defines it or leads to it.
fn led_to(world: &World) -> Vec<(&Arc<Service>, &str)> {
    let defined =
        world.services().filter(|service| service.external).map(|service| (service, service.namespace.as_str()));
    let routed = world.virtual_services.iter().filter(|rule| rule.spec().is_for_mesh()).flat_map(|rule| {
        let spec = rule.spec();
        let http = spec.http.iter().flat_map(|http| &http.route).map(|to| &to.destination.host.value);
        let tcp = spec.tcp.iter().flat_map(|tcp| &tcp.route).map(|to| &to.destination.host.value);
        let tls = spec.tls.iter().flat_map(|tls| &tls.route).map(|to| &to.destination.host.value);
        http.chain(tcp).chain(tls).filter_map(|host| {
            let host = complete_host(host, rule.namespace(), &world.settings.dns_domain);
            let service = world.service(&host).filter(|service| service.external)?;
            host.parse::<HostPattern>().is_ok().then_some((service, rule.namespace()))
        })
    });
    defined.chain(routed).collect()
}

/// Accounts that nobody has, or that only others have than those whom the policy is for.
fn check_accounts(world: &World, policy: &Policy, whole: bool, problems: &mut Vec<Problem>) {
    let known = world.known_accounts();
    let of_root = policy.namespace() == world.settings.root_namespace;
    for (i, account) in policy.spec().accounts.iter().enumerate() {
        let (namespace, name) = account_of(account, policy.namespace());
        let message = if !of_root && namespace != policy.namespace() {
            format!("a policy of `{}` is not for workloads of `{namespace}`", policy.namespace())
        } else if !known.contains(&(namespace, name)) && (whole || !known.is_empty()) {
            format!("there is no service account `{name}` in the namespace `{namespace}`")
        } else {
            continue;
        };
        let path = format!("spec.accounts[{i}]");
        let problem = note(policy, Code::EgressPolicySelectsNobody, path, account.span, message);
        problems.push(problem.hint("it selects nobody by this account"));
    }
}
