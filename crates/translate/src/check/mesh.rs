//! Settings of the mesh that do not count, or that the control plane was started otherwise for.

use api::{Code, Problem, Spec};

use crate::federation;
use crate::settings::log_format;
use crate::world::{World, mesh};

pub fn check(world: &World, problems: &mut Vec<Problem>) {
    let documents = world.mesh_configs.as_slice();
    let Some(counting) = mesh::counting(documents, &world.settings.root_namespace) else {
        for resource in documents {
            let root = &world.settings.root_namespace;
            let problem = Problem::warning("the settings of the mesh are read in the root namespace only")
                .path("metadata.namespace")
                .expected(format!("the namespace `{root}`"))
                .hint("they change nothing here");
            problems.push(resource.problem(problem, Default::default()));
        }
        return;
    };
    for resource in documents.iter().filter(|resource| resource.key() != counting.key()) {
        let message = format!("these settings of the mesh do not count: those of `{}` do", counting.key());
        let problem = Problem::warning(message).hint("keep one of the two");
        problems.push(resource.problem(problem, Default::default()));
    }
    let Some(config) = mesh::read(counting) else { return };
    let prefix = if matches!(counting.spec, Spec::ConfigMap(_)) { "data.mesh" } else { "spec.meshConfig" };
    let mut note = |field: &str, message: String, hint: &str| {
        let problem = Problem::warning(message).code(Code::NotEnforced).path(format!("{prefix}.{field}")).hint(hint);
        problems.push(counting.problem(problem, Default::default()));
    };
    for (field, said, used) in [
        ("trustDomain", config.trust_domain.as_str(), world.settings.trust_domain.as_str()),
        ("rootNamespace", config.root_namespace.as_str(), world.settings.root_namespace.as_str()),
    ] {
        if !said.is_empty() && said != used {
            let message = format!("`{said}` is not the one in use, which is `{used}`");
            note(field, message, "it is said when the control plane is started");
        }
    }
    if let Err(reason) = log_format(&config) {
        let message = format!("the form of access logs cannot be read: {reason}");
        note("accessLogFormat", message, "lines have the form that they would have without it");
    }
    federation::check(world, &config.ca_certificates, (counting, prefix), problems);
}
