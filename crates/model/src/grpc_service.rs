//! Services of gRPC that the proxy itself calls: to decide, to count, to be told.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

/// A service: one of the proxy's clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcService {
    /// The cluster; it speaks HTTP/2.
    pub cluster: Arc<str>,
    /// The authority of calls; none: the cluster's name.
    pub authority: Option<Arc<str>>,
    /// What every call has in its head beside.
    pub metadata: Vec<(HeaderName, HeaderValue)>,
}

impl GrpcService {
    /// The service in this cluster, with nothing beside.
    pub fn new(cluster: impl Into<Arc<str>>) -> Self {
        Self { cluster: cluster.into(), authority: None, metadata: Vec::new() }
    }

    /// The authority of calls.
    pub fn authority(&self) -> &str {
        self.authority.as_deref().unwrap_or(&self.cluster)
    }
}
