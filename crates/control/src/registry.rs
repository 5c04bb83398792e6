//! The registry: which workloads are there, by the proxies that stand beside them.
//!
//! Owns the rules of coming and going as a state machine without I/O ([`Registry`]) and the task that keeps the store in
//! step ([`Desk`]). Who a proxy is was proven before; a plain connection registers nothing.

mod desk;
mod rules;

use base::SpiffeId;
use model::Locality;
use serde::{Deserialize, Serialize};
use translate::Workload;

use crate::registration::NodeMetadata;

pub(crate) use desk::{Desk, Metrics};
pub(crate) use rules::Departure;

/// A workload's registration, as it is kept over restarts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Registered {
    /// The xDS node id of its proxy.
    pub node: String,
    /// Where it runs: region, zone and sub-zone.
    #[serde(default)]
    pub locality: [String; 3],
    /// What its proxy said of itself.
    pub metadata: NodeMetadata,
    /// Its program is ready: it gets requests.
    #[serde(default = "yes")]
    pub ready: bool,
}

fn yes() -> bool {
    true
}

impl Registered {
    /// The registration of a node; none for gateways and for foreign proxies.
    pub fn new(node: &str, locality: &Locality, metadata: &NodeMetadata) -> Option<Self> {
        metadata.workload(locality.clone())?;
        let Locality { region, zone, sub_zone } = locality.clone();
        let locality = [region, zone, sub_zone];
        let ready = !metadata.tells_readiness();
        Some(Self { node: node.to_owned(), locality, metadata: metadata.clone(), ready })
    }

    /// The workload that it stands for.
    pub fn workload(&self) -> Option<Workload> {
        let [region, zone, sub_zone] = self.locality.clone();
        self.metadata.workload(Locality { region, zone, sub_zone })
    }

    /// The instance's name.
    pub fn instance(&self) -> &str {
        self.metadata.halcyon.as_ref().map_or("", |registration| &registration.instance)
    }

    /// `<namespace>/<instance>`: one workload in the mesh.
    pub fn key(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.instance())
    }
}

/// May a proxy with this proven identity say this of itself?
///
/// # Errors
/// Why not, for the proxy's log.
pub(crate) fn admit(identity: &SpiffeId, trust_domain: &str, metadata: &NodeMetadata) -> Result<(), String> {
    let (namespace, account) = (&metadata.namespace, &metadata.service_account);
    let proven = (identity.trust_domain(), identity.namespace(), identity.service_account());
    if proven == (trust_domain, Some(namespace), Some(account)) {
        return Ok(());
    }
    Err(format!(
        "node metadata: it says namespace `{namespace}` and service account `{account}`, but the certificate proves \
         `{identity}`; expected the two to agree: start the proxy with the namespace and service account that its \
         token was made for"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_one_is() {
        let metadata = |namespace: &str, account: &str| NodeMetadata {
            namespace: namespace.to_owned(),
            service_account: account.to_owned(),
            ..NodeMetadata::default()
        };
        for (id, namespace, account, expected) in [
            ("spiffe://cluster.local/ns/default/sa/reviews", "default", "reviews", true),
            ("spiffe://cluster.local/ns/default/sa/reviews", "default", "ratings", false),
            ("spiffe://cluster.local/ns/other/sa/reviews", "default", "reviews", false),
            ("spiffe://elsewhere/ns/default/sa/reviews", "default", "reviews", false),
            ("spiffe://cluster.local/reviews", "default", "reviews", false),
        ] {
            let admitted = admit(&id.parse().unwrap(), "cluster.local", &metadata(namespace, account));
            assert_eq!(admitted.is_ok(), expected, "{id} as {namespace}/{account}");
        }
    }
}
