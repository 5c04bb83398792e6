//! Ingresses: those that are not read and why, names that nobody knows, paths that two of them have.

use std::collections::BTreeMap;

use api::kubernetes::{Ingress, IngressService};
use api::{Code, Problem, Spanned};

use super::credentials;
use super::references::{ports, unknown, unknown_host};
use crate::ingress::{CLASS, NotRead, host, path_match};
use crate::world::{Document, World};

pub fn check(world: &World, problems: &mut Vec<Problem>) {
    for ingress in world.ingresses.iter() {
        match world.reads(ingress) {
            Ok(()) => check_read(world, ingress, problems),
            Err(why) => problems.push(not_read(world, ingress, why)),
        }
    }
    check_doubles(world, problems);
}

fn not_read(world: &World, ingress: &Document<Ingress>, why: NotRead<'_>) -> Problem {
    let class = &world.settings.ingress.class;
    let annotation = || format!("metadata.annotations[\"{CLASS}\"]");
    let field = || "spec.ingressClassName".to_owned();
    let (message, path, code) = match why {
        NotRead::Off => {
            ("Ingresses are not read (`ingressControllerMode: OFF`)".to_owned(), "kind".to_owned(), Code::NotEnforced)
        }
        NotRead::NoClass => {
            ("the Ingress names no class, and only those of a class are read".to_owned(), field(), Code::NotEnforced)
        }
        NotRead::OtherClass(other) => {
            (format!("the class `{other}` is not read here"), annotation(), Code::NotEnforced)
        }
        NotRead::UnknownClass(name) => {
            (format!("there is no IngressClass `{name}`"), field(), Code::ReferencedResourceNotFound)
        }
        NotRead::OtherController(name, controller) => {
            (format!("the class `{name}` is that of `{controller}`"), field(), Code::NotEnforced)
        }
    };
    let problem = Problem::warning(message).code(code).path(path).hint("nothing is opened");
    let problem = match why {
        NotRead::Off => problem,
        _ => problem.expected(format!("`ingressClassName: {class}`")),
    };
    ingress.resource.problem(problem, ingress.spec().written.ingress_class_name.span)
}

fn check_read(world: &World, ingress: &Document<Ingress>, problems: &mut Vec<Problem>) {
    for key in ingress.resource.meta.annotations.keys().filter(|key| key.contains(".ingress.kubernetes.io/")) {
        let problem = Problem::warning("this is not enforced: it is a setting of another controller")
            .code(Code::NotEnforced)
            .path(format!("metadata.annotations[\"{key}\"]"))
            .hint("a VirtualService can say the same of a host");
        problems.push(ingress.resource.problem(problem, Default::default()));
    }
    let written = &ingress.spec().written;
    for (i, tls) in written.tls.iter().enumerate().filter(|(_, tls)| !tls.secret_name.is_empty()) {
        let hosts: Vec<&str> = tls.hosts.iter().map(|host| host.value.as_str()).collect();
        let hosts = if hosts.is_empty() { vec!["*"] } else { hosts };
        if let Some(problem) = credentials::problem_of(world, &tls.secret_name.value, &hosts) {
            let problem = problem.path(format!("spec.tls[{i}].secretName"));
            problems.push(ingress.resource.problem(problem, tls.secret_name.span));
        }
    }
    if let Some(service) = written.default_backend.as_ref().and_then(|backend| backend.service.as_ref()) {
        check_service(world, ingress, service, "spec.defaultBackend.service", problems);
    }
    for (i, rule) in written.rules.iter().enumerate() {
        for (j, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
            if let Some(service) = &path.backend.service {
                let at = format!("spec.rules[{i}].http.paths[{j}].backend.service");
                check_service(world, ingress, service, &at, problems);
            }
        }
    }
}

const FATE: &str = "requests sent to it are answered 503 (flag NC)";

fn check_service(
    world: &World,
    ingress: &Document<Ingress>,
    written: &IngressService,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    let whole = world.backend_host(ingress, written);
    let Some(service) = world.service_named(&whole) else {
        let problem = unknown_host(world, &written.name.value, &whole).path(format!("{path}.name"));
        let problem = problem.hint(format!("until it is there, {FATE}"));
        problems.push(ingress.resource.problem(problem, written.name.span));
        return;
    };
    let (known, said, field, span) = match &written.port.number {
        Some(number) => (service.port(number.value as u16).is_some(), number.to_string(), "number", number.span),
        None => {
            let name: &Spanned<String> = &written.port.name;
            let known = service.ports.iter().any(|port| port.name.as_ref() == Some(&name.value));
            (known, format!("called `{name}`"), "name", name.span)
        }
    };
    if !known {
        let names: Vec<String> = service.ports.iter().filter_map(|p| Some(format!("`{}`", p.name.as_ref()?))).collect();
        let expected = if field == "number" || names.is_empty() { ports(service) } else { names.join(" or ") };
        let problem = unknown(format!("`{}` has no port {said}", service.host)).path(format!("{path}.port.{field}"));
        problems.push(ingress.resource.problem(problem.expected(expected).hint(FATE), span));
    }
}

/// Of two Ingresses with the same path of a host the older counts.
fn check_doubles(world: &World, problems: &mut Vec<Problem>) {
    let mut first: BTreeMap<(String, String), (&Document<Ingress>, String, Spanned<String>)> = BTreeMap::new();
    for ingress in world.read_ingresses() {
        for (i, rule) in ingress.spec().written.rules.iter().enumerate() {
            for (j, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
                let at = format!("spec.rules[{i}].http.paths[{j}].path");
                let key = (host(&rule.host).to_owned(), format!("{:?}", path_match(path)));
                let Some((older, there, span)) = first.get(&key) else {
                    first.insert(key, (ingress, at, path.path.clone()));
                    continue;
                };
                let place = older.resource.problem(Problem::warning("").path(there.clone()), span.span);
                let place = match place.line {
                    0 => format!("`{}`, {there}", older.resource.key()),
                    line => format!("`{}`, {there}, {}:{line}", older.resource.key(), place.file),
                };
                let message = format!("the path {} of `{}` is taken already ({place})", path_match(path), key.0);
                let problem = Problem::warning(message)
                    .code(Code::SchemaWarning)
                    .path(at)
                    .expected("each path of a host once")
                    .hint("the first counts, of two documents that of the older: this one is never met");
                problems.push(ingress.resource.problem(problem, path.path.span));
            }
        }
    }
}
