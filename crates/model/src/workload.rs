//! Names by which telemetry speaks of the two ends of an exchange.

use std::sync::Arc;

/// A workload instance as metrics label it. Empty texts are unknown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct WorkloadRef {
    /// The workload (in Kubernetes the Deployment), such as `reviews-v1`.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its canonical service: label `service.istio.io/canonical-name`, else `app`.
    pub service: Arc<str>,
    /// Its canonical revision: label `service.istio.io/canonical-revision`, else `version`.
    pub version: Arc<str>,
    /// The cluster it runs in.
    pub cluster: Arc<str>,
}

/// The service that a request was meant for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct DestinationService {
    /// The host, such as `reviews.default.svc.cluster.local`.
    pub host: Arc<str>,
    /// Its short name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
}
