//! Services of HTTP that filters ask.

use std::time::Duration;

use proto::envoy::config::core::v3::HttpUri;
use proto::envoy::config::core::v3::http_uri::HttpUpstreamType;

use super::duration;

pub(super) fn http_uri(uri: &str, cluster: &str, timeout: Duration) -> HttpUri {
    HttpUri {
        uri: uri.to_owned(),
        timeout: Some(duration(timeout)),
        http_upstream_type: Some(HttpUpstreamType::Cluster(cluster.to_owned())),
    }
}
