//! Logins that nobody can make, or that guard nothing.

use api::halcyon::LoginPolicy;
use api::yaml::Span;
use api::{Code, Problem};
use base::HostPattern;

use crate::logins::{NotFound, endpoints};
use crate::service::selected;
use crate::world::{Document, World};

type Policy = Document<LoginPolicy>;

/// What policies say by themselves.
pub fn check(world: &World, problems: &mut Vec<Problem>) {
    for policy in world.login_policies.iter() {
        check_gateways(world, policy, problems);
        check_secret(world, policy, problems);
        check_provider(world, policy, problems);
        check_paths(world, policy, problems);
    }
}

fn note(policy: &Policy, path: String, span: Span, message: String) -> Problem {
    policy.resource.problem(Problem::warning(message).code(Code::LoginNotPossible).path(path), span)
}

/// Is the policy for gateways of this selector?
fn is_for(policy: &Policy, selector: &std::collections::BTreeMap<String, String>) -> bool {
    policy.spec().selector.as_ref().is_none_or(|it| selected(&it.match_labels, selector))
}

fn check_gateways(world: &World, policy: &Policy, problems: &mut Vec<Problem>) {
    let meant: Vec<_> = world.gateways.iter().filter(|gateway| is_for(policy, &gateway.spec().selector)).collect();
    if meant.is_empty() {
        let problem =
            note(policy, "spec.selector".into(), Span::default(), "it is for no Gateway: nobody has to log in".into());
        problems.push(
            problem.hint("give `selector` the labels of the gateway's proxies, as the Gateway's `selector` has them"),
        );
        return;
    }
    for (i, host) in policy.spec().hosts.iter().enumerate() {
        let Ok(wanted) = host.value.parse::<HostPattern>() else { continue };
        let opened = meant.iter().flat_map(|gateway| &gateway.spec().servers).flat_map(|server| &server.hosts);
        let mut offered = opened.filter_map(|host| {
            let bare = host.value.split_once('/').map_or(&*host.value, |(_, bare)| bare);
            bare.parse::<HostPattern>().ok()
        });
        if !offered.any(|offered| offered.covers(&wanted) || wanted.covers(&offered)) {
            let message = format!("no gateway that it is for opens the host `{}`", host.value);
            let problem = note(policy, format!("spec.hosts[{i}]"), host.span, message);
            problems.push(problem.hint("add it to the hosts of a server of the Gateway, or remove it here"));
        }
    }
}

fn check_secret(world: &World, policy: &Policy, problems: &mut Vec<Problem>) {
    let asked = &policy.spec().client_secret;
    let root = policy.namespace() == world.settings.root_namespace;
    let near = |namespace: &str| root || namespace == policy.namespace();
    let mut found = world.secrets.iter().filter(|it| it.name() == asked.name.value && near(it.namespace()));
    let message = match found.next() {
        None => format!("there is no Secret `{}` in the namespace of the gateway", asked.name.value),
        Some(secret) if secret.spec().get(asked.key()).is_none_or(<[u8]>::is_empty) => {
            format!("the Secret `{}` has no key `{}`", asked.name.value, asked.key())
        }
        Some(_) => return,
    };
    let problem = note(policy, "spec.clientSecret".into(), asked.name.span, message);
    problems.push(problem.hint("until it is there, requests are answered with 503"));
}

fn check_provider(world: &World, policy: &Policy, problems: &mut Vec<Problem>) {
    // Who only checks documents asks nobody; then there is no failure either.
    let (Err(NotFound(Some(failure))), Some(issuer)) = (endpoints(world, policy.spec()), &policy.spec().issuer) else {
        return;
    };
    let message = format!("where people log in cannot be found: {failure}");
    let problem = note(policy, "spec.issuer".into(), issuer.span, message);
    problems.push(problem.hint(
        "see that the control plane reaches the issuer, or write the endpoints themselves; until then requests are answered with 503",
    ));
}

/// A rule that has a path for itself: the login takes it.
fn check_paths(world: &World, policy: &Policy, problems: &mut Vec<Problem>) {
    let spec = policy.spec();
    let own = [("spec.redirectPath", spec.redirect_path()), ("spec.logoutPath", spec.logout_path())];
    for rule in
        world.virtual_services.iter().filter(|rule| rule.spec().gateways.iter().any(|name| name.value != "mesh"))
    {
        let uris = rule.spec().http.iter().flat_map(|route| &route.match_).filter_map(|it| it.uri.as_ref());
        for uri in uris {
            let api::StringMatch::Exact(taken) = uri else { continue };
            for (field, path) in own.iter().filter(|(_, path)| taken == *path) {
                let message = format!("`{path}` is a path of the VirtualService `{}`, too", rule.name());
                let problem = note(policy, (*field).into(), Span::default(), message);
                problems
                    .push(problem.hint("the login takes these requests, and the rule gets none; choose another path"));
            }
        }
    }
}
