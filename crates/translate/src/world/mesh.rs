//! Settings of the mesh from documents, and those of single gateways.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::istio::{MESH_CONFIG_KEY, MESH_CONFIG_MAP, MeshConfig, MeshProxyConfig, PROXY_CONFIG};
use api::kubernetes::{Deployment, Pod};
use api::{Resource, Spec};

use super::{Document, World};
use crate::edge::ProxySettings;
use crate::node::{Node, Role};
use crate::settings::MeshSettings;

/// Does a document hold settings of the mesh? Whether they count is another question.
pub fn holds(resource: &Resource) -> bool {
    match &resource.spec {
        Spec::ConfigMap(map) => resource.meta.name == MESH_CONFIG_MAP && map.data.contains_key(MESH_CONFIG_KEY),
        Spec::IstioOperator(operator) => operator.mesh_config.is_some(),
        _ => false,
    }
}

/// The document whose settings count, of those that hold some: the ConfigMap of the root namespace, which Istio's
/// installation makes, else the first IstioOperator by namespace and name.
pub fn counting<'a>(documents: &'a [Arc<Resource>], root_namespace: &str) -> Option<&'a Arc<Resource>> {
    let of_root = |resource: &&Arc<Resource>| {
        matches!(resource.spec, Spec::ConfigMap(_)) && resource.namespace() == root_namespace
    };
    let operator = |resource: &&Arc<Resource>| matches!(resource.spec, Spec::IstioOperator(_));
    documents.iter().find(of_root).or_else(|| documents.iter().find(operator))
}

/// The settings that a document holds. What cannot be read was refused when it came in.
pub fn read(resource: &Resource) -> Option<MeshConfig> {
    match &resource.spec {
        Spec::ConfigMap(map) => MeshConfig::read(map.data.get(MESH_CONFIG_KEY)?),
        Spec::IstioOperator(operator) => operator.mesh_config.clone(),
        _ => None,
    }
}

/// The settings that hold: those given, and over them what the documents say.
pub fn settings(given: &MeshSettings, documents: &[Arc<Resource>]) -> MeshSettings {
    let config = counting(documents, &given.root_namespace).and_then(|resource| read(resource));
    config.map_or_else(|| given.clone(), |config| given.with(&config))
}

/// The annotation with a proxy's settings, of a Deployment's pods or a Pod.
pub fn annotation(resource: &Resource) -> Option<&str> {
    let annotations = match &resource.spec {
        Spec::Deployment(deployment) => &deployment.template.metadata.annotations,
        Spec::Pod(_) => &resource.meta.annotations,
        _ => return None,
    };
    annotations.get(PROXY_CONFIG).map(String::as_str)
}

impl World {
    /// The settings of a proxy: those of all, and over them, for a gateway, what the annotation of its pod says. Its pod is one
    /// of the Deployment, or the Pod, of its name, else of one whose pods have the gateway's labels.
    pub(crate) fn proxy_settings(&self, node: &Node) -> ProxySettings {
        let settings = &self.settings.proxy;
        if !matches!(node.role, Role::Gateway { .. }) {
            return settings.clone();
        }
        let own =
            self.annotation_of(&node.namespace, &node.workload.name, &node.labels).and_then(MeshProxyConfig::read);
        own.map_or_else(|| settings.clone(), |config| settings.with(&config))
    }

    /// The annotation of the pods of a workload, by its name or its labels.
    pub(crate) fn annotation_of(&self, namespace: &str, name: &str, labels: &BTreeMap<String, String>) -> Option<&str> {
        let deployments = || self.deployments.iter().filter(move |d| d.namespace() == namespace);
        let pods = || self.pods.iter().filter(move |pod| pod.namespace() == namespace);
        let takes = |d: &&Document<Deployment>| d.spec().selector.matches(labels);
        let is_like = |pod: &&Document<Pod>| {
            let of_pod = &pod.resource.meta.labels;
            !of_pod.is_empty() && crate::service::selected(of_pod, labels)
        };
        let by_name = deployments().find(|d| d.name() == name).map(|d| &d.resource);
        let by_name = by_name.or_else(|| pods().find(|pod| pod.name() == name).map(|pod| &pod.resource));
        let by_labels = || deployments().find(takes).map(|d| &d.resource);
        let of_pod = || pods().find(is_like).map(|pod| &pod.resource);
        annotation(by_name.or_else(by_labels).or_else(of_pod)?)
    }
}
