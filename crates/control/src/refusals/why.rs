//! Refusals as they are asked for: with the rules and documents that decided, as they are now.

use std::sync::Arc;

use api::Resource;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use translate::{Node, Role, World, deciding};

use super::entry::Told;
use super::ring::{Called, Ring, Wanted};
use super::words::{About, Event};
use crate::access;
use crate::push::Proxies;
use crate::v1::{AccessQuestion, AccessSource, DecidingDocument, Refusal, RefusalPage, RefusalQuery};

/// Nobody gets more at once.
const MOST: usize = 1000;
/// How many are given where nothing is said.
const USUAL: usize = 20;

/// What fits a query.
pub(crate) fn page(ring: &Ring, proxies: &Proxies, world: &World, query: RefusalQuery) -> RefusalPage {
    let limit = query.limit.unwrap_or(USUAL).min(MOST);
    let service = Some(&*query.service).filter(|name| !name.is_empty()).map(|name| called(name, world));
    let wanted = Wanted {
        request_id: query.request_id,
        namespace: query.namespace,
        workload: query.workload,
        from: query.from,
        service,
        after: query.after,
    };
    let (found, more) = ring.find(&wanted, limit);
    let (kept, oldest, last) = ring.state();
    let refusals = found.iter().map(|told| refusal(told, proxies, world)).collect();
    RefusalPage { refusals, more, kept, most: ring.most(), oldest: oldest.map(time), last }
}

/// A service by `NAMESPACE/NAME`.
fn called(words: &str, world: &World) -> Called {
    let (namespace, name) = words.split_once('/').unwrap_or(("", words));
    let found = world.services().find(|service| service.namespace == namespace && service.name == name);
    let behind = found.into_iter().flat_map(|service| world.workloads_of(service));
    Called {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        host: found.map(|service| service.host.to_string()).unwrap_or_default(),
        workloads: behind.map(|it| (it.namespace.clone(), it.reference.name.to_string())).collect(),
    }
}

fn refusal(told: &Told, proxies: &Proxies, world: &World) -> Refusal {
    let event = Event::of(told);
    let request = told.request.clone();
    let text = |part: fn(&super::entry::Request) -> &String| request.as_ref().map(part).cloned().unwrap_or_default();
    let node = proxies.node(&told.sender.namespace, &told.sender.node);
    let node = node.filter(|node| *node.id == *told.sender.node);
    let mut found = Refusal {
        seq: told.seq,
        time: time(told.at),
        request_id: text(|request| &request.id),
        workload: format!("{}/{}", told.sender.namespace, told.sender.workload),
        node: told.sender.node.clone(),
        from: caller(told),
        protocol: if request.is_some() { "http" } else { "tcp" }.to_owned(),
        method: text(|request| &request.method),
        host: text(|request| &request.host),
        path: text(|request| &request.path),
        destination: told.destination.map(|at| at.to_string()).unwrap_or_default(),
        status: request.as_ref().map_or(0, |request| request.status),
        flags: told.flags.iter().map(|flag| (*flag).to_owned()).collect(),
        details: told.details.clone(),
        why: event.words(told),
        reason: told.reason.clone(),
        cluster: told.cluster.clone(),
        route: told.route.clone(),
        endpoint: told.endpoint.map(|at| at.to_string()).unwrap_or_default(),
        attempts: told.attempts,
        hints: event.hint(told).into_iter().collect(),
        ..Refusal::default()
    };
    match (event, &node) {
        (Event::Access, Some(node)) => by_rules(&mut found, told, node, world),
        (_, node) => found.documents = documents(event, told, node.as_ref(), world),
    }
    found
}

fn caller(told: &Told) -> String {
    let address = told.remote.or(told.source.map(|at| at.ip())).map(|ip| ip.to_string());
    told.principal.clone().or(address).unwrap_or_else(|| "unknown".to_owned())
}

/// Asks the rules again, with what is known of the request, and names who decided.
fn by_rules(found: &mut Refusal, told: &Told, node: &Node, world: &World) {
    let said = told.details.split_once("matched_policy[").and_then(|(_, rest)| rest.strip_suffix(']'));
    let request = told.request.as_ref();
    let question = AccessQuestion {
        source: AccessSource { ip: told.source.map(|at| at.ip()), remote_ip: told.remote, ..AccessSource::default() },
        method: request.map(|it| it.method.clone()).filter(|method| !method.is_empty()),
        path: request.map(|it| it.path.clone()).filter(|path| path.starts_with('/')),
        host: request.map(|it| it.host.clone()),
        sni: Some(told.server_name.clone()).filter(|name| !name.is_empty()),
        ..AccessQuestion::default()
    };
    let port = inbound_port(&told.cluster).or(told.destination.map(|at| at.port())).unwrap_or_default();
    let answer = access::of_node(world, node, port, request.is_none(), told.principal.as_deref(), &question);
    if let Some(policy) = said.filter(|policy| *policy != "none") {
        found.by = translate::access::question::place(world, node, policy).map(|place| access::rule(&place));
        if found.by.is_none() {
            found.hints.push("that policy is not there any more, or has another form now".to_owned());
        }
        return;
    }
    let Ok(answer) = answer else { return };
    if answer.decision == "allow" {
        found.hints.push("what is applied now would let it pass, as far as the control plane was told".to_owned());
        return;
    }
    found.nearest = answer.nearest;
    let untold = |field: &str| field.contains(".when[") || field.ends_with("requestPrincipals");
    for failed in found.nearest.iter_mut().flat_map(|nearest| &mut nearest.failed) {
        if untold(&failed.field) {
            // Nobody told the header or claim, so nothing can be said of what was there.
            let asks = failed.reason.split_once("where it asks").map(|(_, asks)| format!("it asks{asks}"));
            failed.reason = format!(
                "headers and claims are not told to the control plane{}",
                asks.map_or_else(String::new, |asks| format!("; {asks}"))
            );
        }
    }
}

/// The port of the program behind a cluster of the incoming side.
fn inbound_port(cluster: &str) -> Option<u16> {
    cluster.strip_prefix("inbound|")?.split('|').next()?.parse().ok()
}

/// The documents that decide on such a thing.
fn documents(event: Event, told: &Told, node: Option<&Node>, world: &World) -> Vec<DecidingDocument> {
    let host = told.host();
    let (resources, field): (Vec<Arc<Resource>>, &str) = match (event.about(), node) {
        (About::Tokens, Some(node)) => (deciding::on_tokens(world, node), "spec.jwtRules"),
        (About::Rates, Some(node)) => {
            let all = deciding::on_rates(world, node);
            // The words of our proxies name the policy.
            let named = |it: &Arc<Resource>| {
                let name = format!("{}/{}", it.meta.namespace.as_deref().unwrap_or_default(), it.meta.name);
                told.reason.as_ref().is_some_and(|reason| reason.contains(&name))
            };
            let those: Vec<_> = all.iter().filter(|it| named(it)).cloned().collect();
            (if those.is_empty() { all } else { those }, "spec.limits")
        }
        (About::Routes(field), node) => {
            let at_gateway = node.is_some_and(|node| matches!(node.role, Role::Gateway { .. }));
            let rules = |host| deciding::on_routes(world, &told.sender.namespace, host, at_gateway);
            (host.map(rules).unwrap_or_default(), field)
        }
        (About::Connections(field), _) => {
            (host.map(|host| deciding::on_connections(world, host)).unwrap_or_default(), field)
        }
        _ => return Vec::new(),
    };
    let one = |it: &Arc<Resource>| DecidingDocument {
        document: it.key().to_string(),
        field: field.to_owned(),
        at: it.origin.to_string(),
    };
    resources.iter().map(one).collect()
}

fn time(at: std::time::SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let at = at.replace_nanosecond(at.millisecond() as u32 * 1_000_000).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}
