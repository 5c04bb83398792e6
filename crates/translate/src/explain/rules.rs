//! The rules that could have decided: where each was written, which route it became, or why it is not for this caller.

use model::Route;
use model::fault::AbortAnswer;
use model::route::{Action, Mismatch, RequestView};
use std::sync::Arc;

use api::Problem;
use api::istio::{HttpMatchRequest, HttpRoute, VirtualService};

use super::{Question, Step};
use crate::check::pairs;
use crate::gateway::{bound, selecting};
use crate::names::complete_host;
use crate::node::{Node, Role};
use crate::routes::{NotMeant, Reading, concern, condition_route};
use crate::service::Service;
use crate::world::{Document, World};

/// A condition of a rule.
pub struct Rule {
    /// `VirtualService/default/reviews http[0].match[1] (rules.yaml:12)`
    pub place: String,
    /// The route that it became.
    pub route: Option<Route>,
    /// Why it became none for this caller.
    pub not_meant: Option<String>,
}

/// The conditions of all rules for the host, in their order.
pub fn of(world: &World, node: &Node, question: &Question, service: Option<&Arc<Service>>) -> Vec<Rule> {
    let mut all = Vec::new();
    if matches!(node.role, Role::Gateway { .. }) {
        for gateway in selecting(world, node).filter(|gateway| !gateway.is_ingress()) {
            let name = gateway.full_name();
            for rule in bound(world, node, &name).filter(|rule| is_for(world, rule, question)) {
                let reading =
                    Reading { world, node, namespace: rule.namespace(), gateway: Some(&name), port: question.port };
                conditions(world, rule, reading, &mut all);
            }
        }
        return all;
    }
    if let Some(rule) = service.and_then(|service| world.mesh_rule(node, &service.host)) {
        let reading = Reading { world, node, namespace: rule.namespace(), gateway: None, port: question.port };
        conditions(world, rule, reading, &mut all);
    }
    all
}

/// Is the rule for the host that is asked for, as far as its name goes?
fn is_for(world: &World, rule: &Document<VirtualService>, question: &Question) -> bool {
    let authority = question.authority.as_deref().unwrap_or(&question.host);
    let host = base::host::split_authority(authority).0;
    let patterns = rule.spec().hosts.iter().filter_map(|own| world.host_pattern(&own.value, rule.namespace()));
    let whole = complete_host(host, rule.namespace(), &world.settings.dns_domain);
    patterns.into_iter().any(|pattern| pattern.matches(host) || pattern.matches(&whole))
}

fn conditions(world: &World, document: &Document<VirtualService>, reading: Reading<'_>, all: &mut Vec<Rule>) {
    let everything = [HttpMatchRequest::default()];
    let mut places: Vec<(String, usize)> = Vec::new();
    for (of, rule) in world.http_rules_of(document) {
        // The number of the rule among those of its own document.
        let key = of.resource.key().to_string();
        let index = places.iter().filter(|(known, _)| *known == key).count();
        places.push((key.clone(), index));
        let list = if rule.match_.is_empty() { &everything[..] } else { &rule.match_[..] };
        for (i, condition) in list.iter().enumerate() {
            let part = if rule.match_.is_empty() { String::new() } else { format!(".match[{i}]") };
            let not_meant = concern(condition, reading).err().map(|why| unmeant(&why, reading));
            let route = if not_meant.is_none() { condition_route(&rule, i, reading) } else { None };
            all.push(Rule { place: place(of, &rule, &format!("http[{index}]{part}")), route, not_meant });
        }
    }
}

fn place(document: &Document<VirtualService>, rule: &HttpRoute, path: &str) -> String {
    let span = rule.route.first().map(|to| to.destination.host.span).unwrap_or_default();
    let there = document.resource.problem(Problem::warning(""), span);
    let name = if rule.name.is_empty() { String::new() } else { format!(" `{}`", rule.name) };
    match there.line {
        0 => format!("{} {path}{name}", document.resource.key()),
        line => format!("{} {path}{name} ({}:{line})", document.resource.key(), there.file),
    }
}

/// Why a condition is not for this caller.
fn unmeant(why: &NotMeant<'_>, reading: Reading<'_>) -> String {
    match why {
        NotMeant::Port(port) => format!("it is for port {port}, and {} is dialled", reading.port),
        NotMeant::Unread(name) => format!("it asks for `{name}`, which nothing reads yet"),
        NotMeant::Gateways(names) => {
            let names: Vec<&str> = names.iter().map(|name| name.value.as_str()).collect();
            format!(
                "it is for {}, and the request comes through {}",
                names.join(", "),
                reading.gateway.unwrap_or("mesh")
            )
        }
        NotMeant::Labels(labels) => format!("it is for callers with {}", pairs(labels)),
        NotMeant::Namespace(namespace) => {
            format!("it is for callers of the namespace `{namespace}`, and this one is of `{}`", reading.node.namespace)
        }
    }
}

/// Why a request does not meet a route.
pub fn why(mismatch: &Mismatch<'_>, request: &RequestView<'_>) -> String {
    match mismatch {
        Mismatch::Path(path) => format!("the path `{}` is not {path}", request.path),
        Mismatch::Header(header) => {
            let value = match &header.key {
                model::matcher::HeaderKey::Name(name) => match model::matcher::header_text(request.headers, name) {
                    Some(value) => format!("it is `{value}`"),
                    None => "it is not there".to_owned(),
                },
                model::matcher::HeaderKey::Method => format!("it is `{}`", request.method),
                model::matcher::HeaderKey::Authority => format!("it is `{}`", request.authority),
                model::matcher::HeaderKey::Scheme => format!("it is `{}`", request.scheme),
                model::matcher::HeaderKey::Path => format!("it is `{}`", request.path),
            };
            format!("it asks for: {header}; {value}")
        }
        Mismatch::Query(query) => format!("it asks for a query in which {query}"),
        Mismatch::Metadata(said) => format!("it asks that {said}"),
        Mismatch::Share(share) => format!("it takes a share of the requests only: {share}"),
    }
}

fn answer(answer: AbortAnswer) -> String {
    match answer {
        AbortAnswer::Http(status) => format!("status {status}"),
        AbortAnswer::Grpc(status) => format!("gRPC status {status}"),
    }
}

/// What a route does beside sending the request on.
pub fn facts(mut step: Step, route: &Route) -> Step {
    if let Some(fault) = &route.fault {
        if let Some(delay) = &fault.delay {
            step = step.fact(format!("delays {} by {}", delay.share, base::format_duration(delay.duration)));
        }
        if let Some(abort) = &fault.abort {
            step = step.fact(format!("aborts {} with {}", abort.share, answer(abort.answer)));
        }
    }
    let Action::Forward(forward) = &route.action else { return step };
    if let Some(timeout) = forward.timeout {
        step = step.fact(format!("ends after {}", base::format_duration(timeout)));
    }
    if let Some(retry) = &forward.retry {
        step = step.fact(format!("tried again up to {} times on {}", retry.attempts, retry.on.to_list()));
    }
    for mirror in &forward.mirrors {
        step = step.fact(format!("copies of {} go to {}", mirror.share, mirror.cluster));
    }
    step
}
