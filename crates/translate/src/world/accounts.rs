//! The namespaces and service accounts that there are: what policies on access name.

use std::collections::BTreeSet;

use api::Spec;

use super::{Document, World};
use crate::names::complete_host;
use crate::service::{Backing, selected};

impl World {
    /// Every namespace that something says is there.
    pub(crate) fn known_namespaces(&self) -> BTreeSet<&str> {
        let written = self.namespaces.iter().map(Document::name);
        let accounts = self.accounts.iter().map(Document::namespace);
        let of_services = self.services().map(|service| service.namespace.as_str());
        let policies = self.authorization_policies.iter().map(Document::namespace);
        let all = written.chain(accounts).chain(of_services).chain(policies).chain(self.namespaces());
        all.chain([self.settings.root_namespace.as_str()]).collect()
    }

    /// Every service account, with its namespace, that is written down or that something runs as.
    pub(crate) fn known_accounts(&self) -> BTreeSet<(&str, &str)> {
        let written = self.accounts.iter().map(|account| (account.namespace(), account.name()));
        let running = self.workloads.iter().map(|w| (w.namespace.as_str(), w.service_account.as_str()));
        let described = self.deployments.iter().map(|d| (d.namespace(), d.spec().template.spec.service_account()));
        let pods = self.pods.iter().map(|pod| (pod.namespace(), pod.spec().service_account()));
        let entries = self.workload_entries.iter().filter_map(|entry| match &entry.spec {
            Spec::WorkloadEntry(spec) => Some((entry.namespace(), spec.service_account.as_str())),
            _ => None,
        });
        written.chain(running).chain(described).chain(pods).chain(entries).collect()
    }

    /// The SPIFFE ID of a caller by its name.
    pub fn identity_of_caller(&self, namespace: &str, name: &str) -> Option<String> {
        self.identity(namespace, self.account_of_caller(namespace, name)?)
    }

    /// The service account of a caller by its name: of a workload, a Deployment, a Pod, or of what a service selects.
    fn account_of_caller(&self, namespace: &str, name: &str) -> Option<&str> {
        let near = || self.workloads.iter().filter(|workload| workload.namespace == namespace);
        let running = near().find(|w| *w.name == *name || *w.reference.name == *name);
        let of_app = || near().find(|w| w.labels.get("app").is_some_and(|app| app == name));
        if let Some(workload) = running.or_else(of_app) {
            return Some(&workload.service_account);
        }
        let deployments = || self.deployments.iter().filter(|d| d.namespace() == namespace);
        if let Some(deployment) = deployments().find(|d| d.name() == name) {
            return Some(deployment.spec().template.spec.service_account());
        }
        let mut pods = self.pods.iter().filter(|pod| pod.namespace() == namespace);
        if let Some(pod) = pods.find(|pod| pod.name() == name) {
            return Some(pod.spec().service_account());
        }
        let host = complete_host(name, namespace, &self.settings.dns_domain);
        let Backing::Workloads(selector) = &self.service_named(&host)?.backing else { return None };
        let of_service = deployments().find(|d| selected(selector, &d.spec().template.metadata.labels));
        of_service.map(|d| d.spec().template.spec.service_account())
    }
}
