//! Documents on access that are not AuthorizationPolicies: Istio's old kinds, Consul's and SMI's.

use std::sync::Arc;

use api::consul::{ANY, ServiceIntentions, namespace_or};
use api::istio::{RbacConfig, ServiceRole, ServiceRoleBinding};
use api::smi::{HttpRouteGroup, PortRoute, TrafficTarget};
use api::{Resource, Spec};

use super::change::Change;
use super::document::Document;

/// The documents of each kind, the oldest first.
#[derive(Debug, Clone, Default)]
pub struct OtherAccess {
    pub configs: Arc<Vec<Document<RbacConfig>>>,
    pub roles: Arc<Vec<Document<ServiceRole>>>,
    pub bindings: Arc<Vec<Document<ServiceRoleBinding>>>,
    pub intentions: Arc<Vec<Document<ServiceIntentions>>>,
    pub targets: Arc<Vec<Document<TrafficTarget>>>,
    pub groups: Arc<Vec<Document<HttpRouteGroup>>>,
    pub ports: Arc<Vec<Document<PortRoute>>>,
}

impl OtherAccess {
    /// Those among resources of all kinds.
    pub fn all(resources: &[Arc<Resource>]) -> Self {
        Self {
            configs: Document::all(resources),
            roles: Document::all(resources),
            bindings: Document::all(resources),
            intentions: Document::all(resources),
            targets: Document::all(resources),
            groups: Document::all(resources),
            ports: Document::all(resources),
        }
    }

    /// Every document.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        let istio = self.configs.iter().map(|d| &d.resource).chain(self.roles.iter().map(|d| &d.resource));
        let consul = self.bindings.iter().map(|d| &d.resource).chain(self.intentions.iter().map(|d| &d.resource));
        let smi = self.targets.iter().map(|d| &d.resource).chain(self.groups.iter().map(|d| &d.resource));
        istio.chain(consul).chain(smi).chain(self.ports.iter().map(|d| &d.resource))
    }

    /// Puts one in the place of another.
    pub fn replace(&mut self, old: Option<&Arc<Resource>>, new: Option<&Arc<Resource>>) {
        Document::replace(&mut self.configs, old, new);
        Document::replace(&mut self.roles, old, new);
        Document::replace(&mut self.bindings, old, new);
        Document::replace(&mut self.intentions, old, new);
        Document::replace(&mut self.targets, old, new);
        Document::replace(&mut self.groups, old, new);
        Document::replace(&mut self.ports, old, new);
    }
}

/// Whom such a document concerns: the workloads of a namespace, or everybody.
pub fn note(document: &Resource, root: &str, change: &mut Change) {
    change.problems = true;
    match &document.spec {
        Spec::ServiceRole(_) | Spec::ServiceRoleBinding(_) => change.note_policy(document.namespace(), root),
        Spec::ServiceIntentions(spec) => match namespace_or(&spec.destination.namespace, document.namespace()) {
            ANY => change.everything = true,
            namespace => _ = change.namespaces.insert(namespace.to_owned()),
        },
        Spec::TrafficTarget(spec) => {
            let namespace = namespace_or(&spec.destination.namespace, document.namespace());
            change.namespaces.insert(namespace.to_owned());
        }
        _ => change.everything = true,
    }
}
