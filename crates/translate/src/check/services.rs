//! Services as they are declared: ports whose protocol is not told, and services that do not agree about a workload.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::kubernetes::{Service, ServicePortSpec, TransportProtocol};
use api::{Code, IntOrString, Problem, Resource, Spec};

use crate::protocol::Protocol;
use crate::service::selected;
use crate::world::World;

pub fn check(world: &World, resources: &[Arc<Resource>], problems: &mut Vec<Problem>) {
    let services: Vec<(&Arc<Resource>, &Service)> = resources
        .iter()
        .filter_map(|resource| match &resource.spec {
            Spec::Service(spec) => Some((resource, &**spec)),
            _ => None,
        })
        .collect();
    for (resource, service) in &services {
        check_port_names(world, resource, service, problems);
    }
    for resource in resources {
        let Spec::Deployment(deployment) = &resource.spec else { continue };
        let selects = |(of, service): &&(&Arc<Resource>, &Service)| {
            of.namespace() == resource.namespace()
                && !service.selector.is_empty()
                && selected(&service.selector, &deployment.template.metadata.labels)
        };
        check_agreement(resource, &services.iter().filter(selects).copied().collect::<Vec<_>>(), problems);
    }
}

/// Namespaces of the platform, whose services are not of the mesh (as in Istio's analysis).
const OF_PLATFORM: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

fn check_port_names(world: &World, resource: &Resource, service: &Service, problems: &mut Vec<Problem>) {
    if OF_PLATFORM.contains(&resource.namespace()) || resource.namespace() == world.settings.root_namespace {
        return;
    }
    for (i, port) in service.ports.iter().enumerate().filter(|(_, port)| port.protocol == TransportProtocol::Tcp) {
        let told = !port.app_protocol.is_empty()
            || Protocol::declared(Some(&port.name), None, None, port.port.value as u16) != Protocol::Auto;
        if !told {
            let message = match port.name.is_empty() {
                true => format!("the port {} has no name that tells its protocol", port.port),
                false => format!("the name `{}` of port {} does not tell its protocol", port.name, port.port),
            };
            let problem = Problem::warning(message)
                .code(Code::PortNameIsNotUnderNamingConvention)
                .path(format!("spec.ports[{i}].name"))
                .expected("a name that begins with a protocol, such as `http-web`, or `appProtocol`")
                .hint("without it each connection is looked into: a server that speaks first is reached after 1 s");
            problems.push(resource.problem(problem, port.port.span));
        }
    }
}

/// Services that lead to the same Deployment have to agree on what its ports are.
fn check_agreement(deployment: &Resource, services: &[(&Arc<Resource>, &Service)], problems: &mut Vec<Problem>) {
    let mut transports: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    let mut ports: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for port in services.iter().flat_map(|(_, service)| &service.ports) {
        transports.entry(port.port.value).or_default().insert(port.protocol.as_str());
        ports.entry(target(port)).or_default().insert(port.port.value);
    }
    let named = |uses: &dyn Fn(&ServicePortSpec) -> bool| {
        let using = services.iter().filter(|(_, service)| service.ports.iter().any(uses));
        using
            .map(|(resource, _)| format!("`{}` ({})", resource.key(), resource.origin))
            .collect::<Vec<_>>()
            .join(" and ")
    };
    for (number, transports) in transports.iter().filter(|(_, transports)| transports.len() > 1) {
        let message = format!(
            "its services declare port {number} for {}: {}",
            transports.iter().copied().collect::<Vec<_>>().join(" and "),
            named(&|port| port.port.value == *number)
        );
        let problem = Problem::warning(message).code(Code::DeploymentAssociatedToMultipleServices);
        let hint = "only one of them can be what the workload speaks there; give each its own port";
        problems.push(deployment.problem(problem.hint(hint), Default::default()));
    }
    for (target, numbers) in ports.iter().filter(|(_, numbers)| numbers.len() > 1) {
        let list = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" and ");
        let message = format!(
            "its services lead from the ports {list} to port {target}: {}",
            named(&|port| self::target(port) == *target)
        );
        let problem = Problem::warning(message).code(Code::DeploymentConflictingPorts);
        let hint = "the workload's side of the mesh knows one service for each of its ports; use one port for all";
        problems.push(deployment.problem(problem.hint(hint), Default::default()));
    }
}

fn target(port: &ServicePortSpec) -> String {
    match &port.target_port {
        Some(IntOrString::Int(number)) if *number > 0 => number.to_string(),
        Some(IntOrString::String(name)) => name.clone(),
        _ => port.port.to_string(),
    }
}
