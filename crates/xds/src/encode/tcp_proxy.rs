//! The TCP filter.

use std::time::Duration;

use model::TcpProxy;
use model::tcp_proxy::{Tunnel, WeightedTarget};
use proto::envoy::extensions::filters::network::tcp_proxy::v3 as wire;
use proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::weighted_cluster::ClusterWeight;
use proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, TunnelingConfig, WeightedCluster,
};
use proto::envoy::r#type::v3::{HashPolicy, hash_policy};
use proto::google::protobuf::Any;

use super::headers::writes;
use super::{access_log::access_logs, duration, limit, pack};

/// Envoy's default for connections with nothing to carry.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) fn tcp_proxy(tcp: &TcpProxy) -> Any {
    let weighted = |target: &WeightedTarget| ClusterWeight {
        name: target.cluster.to_string(),
        weight: target.weight,
        ..ClusterWeight::default()
    };
    let specifier = match &tcp.clusters[..] {
        [only] if only.weight == 1 => ClusterSpecifier::Cluster(only.cluster.to_string()),
        // Envoy refuses a weight of zero; such a cluster gets nothing anyway.
        many => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: many.iter().filter(|target| target.weight > 0).map(weighted).collect(),
        }),
    };
    pack(&wire::TcpProxy {
        stat_prefix: tcp.stat_prefix.to_string(),
        cluster_specifier: Some(specifier),
        idle_timeout: limit(tcp.idle_timeout, Some(IDLE)),
        max_downstream_connection_duration: tcp.max_duration.map(duration),
        tunneling_config: tcp.tunnel.as_deref().map(tunnel),
        hash_policy: tcp.hash_source.then(source_ip).into_iter().collect(),
        access_log: access_logs(&tcp.access_logs),
        ..wire::TcpProxy::default()
    })
}

fn tunnel(tunnel: &Tunnel) -> TunnelingConfig {
    TunnelingConfig {
        hostname: tunnel.target.to_string(),
        use_post: tunnel.post.is_some(),
        // Envoy's default goes without saying.
        post_path: tunnel.post.as_deref().filter(|path| *path != "/").unwrap_or_default().to_owned(),
        headers_to_add: writes(&tunnel.headers),
        ..TunnelingConfig::default()
    }
}

fn source_ip() -> HashPolicy {
    HashPolicy { policy_specifier: Some(hash_policy::PolicySpecifier::SourceIp(hash_policy::SourceIp {})) }
}
