//! The TCP filter.

use std::time::Duration;

use http::uri::Authority;
use model::TcpProxy;
use model::tcp_proxy::{Tunnel, WeightedTarget};
use proto::envoy::extensions::filters::network::tcp_proxy::v3 as wire;
use proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::TunnelingConfig;
use proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::weighted_cluster::ClusterWeight;
use proto::envoy::r#type::v3::{HashPolicy, hash_policy::PolicySpecifier};

use super::access_log::access_logs;
use super::headers::changes;
use super::{At, Decoded, each, limit, required, take};

/// Envoy's default for connections with nothing to carry.
const IDLE: Duration = Duration::from_secs(3600);

pub(super) fn tcp_proxy(value: wire::TcpProxy, at: &At<'_>) -> Decoded<TcpProxy> {
    // One attempt to connect is the default, and how long to wait between more of them has no meaning then.
    take!(value, at, wire::TcpProxy {
        used {
            stat_prefix, cluster_specifier, idle_timeout, hash_policy, access_log, max_connect_attempts,
            max_downstream_connection_duration, tunneling_config,
        }
        harmless { backoff_options, max_early_data_bytes, check_drain_close, proxy_protocol_tlv_merge_policy }
        refused {
            on_demand, metadata_match, downstream_idle_timeout, upstream_idle_timeout,
            max_downstream_connection_duration_jitter_percentage,
            access_log_flush_interval, flush_access_log_on_connected, access_log_options, proxy_protocol_tlvs,
            upstream_connect_mode,
        }
    });
    if max_connect_attempts.is_some_and(|attempts| attempts.value > 1) {
        return Err(at.field("max_connect_attempts").unsupported("1 or none"));
    }
    let clusters = match required(cluster_specifier, &at.field("cluster"))? {
        ClusterSpecifier::Cluster(name) => vec![WeightedTarget { cluster: name.into(), weight: 1 }],
        ClusterSpecifier::WeightedClusters(list) => {
            each(list.clusters, &at.field("weighted_clusters").field("clusters"), target)?
        }
    };
    Ok(TcpProxy {
        stat_prefix: stat_prefix.into(),
        clusters,
        idle_timeout: limit(idle_timeout, Some(IDLE), &at.field("idle_timeout"))?,
        max_duration: limit(max_downstream_connection_duration, None, &at.field("max_downstream_connection_duration"))?,
        tunnel: tunneling_config.map(|value| tunnel(value, &at.field("tunneling_config"))).transpose()?.map(Box::new),
        server_name_forward: None,
        hash_source: {
            let at = at.field("hash_policy");
            !each(hash_policy, &at, source_ip)?.is_empty()
        },
        access_logs: access_logs(access_log, &at.field("access_log"))?,
    })
}

fn tunnel(value: TunnelingConfig, at: &At<'_>) -> Decoded<Tunnel> {
    // What the proxy answers beyond its status is kept for other filters, of which there are none.
    take!(value, at, TunnelingConfig {
        used { hostname, use_post, headers_to_add, post_path }
        harmless { propagate_response_headers, propagate_response_trailers }
        refused { request_id_extension, request_id_header, request_id_metadata_key, formatters }
    });
    let at_host = at.field("hostname");
    if hostname.contains('%') {
        return Err(at_host.unsupported("a host and a port as they are"));
    }
    if Authority::try_from(&*hostname).is_err() {
        return Err(at_host.error(format!("is {hostname:?}"), "a host and a port"));
    }
    let post = match (use_post, &*post_path) {
        (true, "") => Some("/".into()),
        (true, path) if path.starts_with('/') => Some(path.into()),
        (false, "") => None,
        (true, path) => return Err(at.field("post_path").error(format!("is {path:?}"), "a path, from its slash on")),
        (false, _) => return Err(at.field("post_path").error("is set", "no path, or `use_post`")),
    };
    let headers = changes(headers_to_add, Vec::new(), at, ["headers_to_add", ""])?;
    Ok(Tunnel { target: hostname.into(), post, headers })
}

fn source_ip(value: HashPolicy, at: &At<'_>) -> Decoded<()> {
    match value.policy_specifier {
        Some(PolicySpecifier::SourceIp(_)) => Ok(()),
        Some(PolicySpecifier::FilterState(_)) => Err(at.field("filter_state").unsupported("`source_ip`")),
        None => Err(at.error("says nothing", "`source_ip`")),
    }
}

fn target(value: ClusterWeight, at: &At<'_>) -> Decoded<WeightedTarget> {
    take!(value, at, ClusterWeight {
        used { name, weight }
        harmless {}
        refused { metadata_match }
    });
    Ok(WeightedTarget { cluster: name.into(), weight })
}
