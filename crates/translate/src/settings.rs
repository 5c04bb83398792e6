//! Settings of the mesh as a whole (a part of Istio's `MeshConfig`).

use base::TrustDomain;

/// Settings of the mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct MeshSettings {
    /// The trust domain of its workloads.
    pub trust_domain: TrustDomain,
    /// The suffix of service names: `svc.<domain>`.
    pub dns_domain: String,
    /// The namespace whose rules concern all others.
    pub root_namespace: String,
    /// What happens to destinations that nobody knows.
    pub outbound_policy: OutboundPolicy,
    /// Where access logs go, such as `/dev/stdout`; none: they are off.
    pub access_log: Option<model::AccessLog>,
}

/// What happens to destinations that nobody knows (Istio `outboundTrafficPolicy.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundPolicy {
    /// They are dialled as they are.
    AllowAny,
    /// They are refused: 502 for HTTP, a close for TCP.
    RegistryOnly,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            trust_domain: TrustDomain::default(),
            dns_domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            outbound_policy: OutboundPolicy::AllowAny,
            access_log: None,
        }
    }
}
