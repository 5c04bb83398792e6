//! Services of HTTP that filters ask, each in a cluster of the proxy.

use std::sync::Arc;
use std::time::Duration;

use proto::envoy::config::core::v3 as core;
use proto::envoy::config::core::v3::http_uri::HttpUpstreamType;

use super::grpc_service::cluster;
use super::{At, Decoded, duration, required, take};

/// What is asked, and where.
pub(super) struct HttpUri {
    /// The URI.
    pub uri: String,
    /// The cluster that it is in.
    pub cluster: Arc<str>,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Which URIs are good is the filter's matter: `check` gives one back.
pub(super) fn http_uri(
    value: Option<core::HttpUri>,
    at: &At<'_>,
    check: impl FnOnce(String, &At<'_>) -> Decoded<String>,
) -> Decoded<HttpUri> {
    take!(required(value, at)?, at, core::HttpUri {
        used { uri, timeout, http_upstream_type }
        harmless {}
        refused {}
    });
    let at_cluster = at.field("cluster");
    let HttpUpstreamType::Cluster(name) = required(http_upstream_type, &at_cluster)?;
    let at_timeout = at.field("timeout");
    Ok(HttpUri {
        uri: check(uri, &at.field("uri"))?,
        cluster: cluster(name, &at_cluster)?,
        timeout: duration(required(timeout, &at_timeout)?, &at_timeout)?,
    })
}
