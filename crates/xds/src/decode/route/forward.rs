//! The action that sends a request to a cluster.

use std::time::Duration;

use model::Fraction;
use model::route::{FilterRules, Forward, HostRewrite, Mirror, PathRewrite, WeightedCluster};
use proto::envoy::config::route::v3 as wire;
use proto::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier, MaxStreamDuration, RequestMirrorPolicy,
};
use proto::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use crate::decode::headers::{REQUEST, RESPONSE, changes};
use crate::decode::rate_limit::route_rules;
use crate::decode::retry::retry_policy as read_retry;
use crate::decode::{At, Decoded, each, limit, matcher, optional_duration, required, take};

/// Envoy's default for the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(15);

#[allow(deprecated)]
pub(super) fn forward(value: wire::RouteAction, rules: &mut FilterRules, at: &At<'_>) -> Decoded<Forward> {
    // What is flushed after the end, and early data, which is never taken; the rest belongs to refused fields.
    take!(value, at, wire::RouteAction {
        used {
            cluster_not_found_response_code, prefix_rewrite, regex_rewrite, timeout, idle_timeout, retry_policy,
            request_mirror_policies, max_stream_duration, cluster_specifier, host_rewrite_specifier, hash_policy,
            rate_limits, include_vh_rate_limits, hedge_policy,
        }
        harmless { flush_timeout, early_data_policy }
        refused {
            metadata_match, path_rewrite_policy, path_rewrite, append_x_forwarded_host, retry_policy_typed_config,
            priority, cors, max_grpc_timeout, grpc_timeout_offset, upgrade_configs,
            internal_redirect_policy, internal_redirect_action, max_internal_redirects,
        }
    });
    if cluster_not_found_response_code != ClusterNotFoundResponseCode::ServiceUnavailable as i32 {
        return Err(at.field("cluster_not_found_response_code").unsupported("SERVICE_UNAVAILABLE"));
    }
    rules.rate_limits = route_rules(rate_limits, &at.field("rate_limits"))?;
    rules.include_host_rate_limits = include_vh_rate_limits.is_some_and(|include| include.value);
    let at_retry = at.field("retry_policy");
    let at_stream = at.field("max_stream_duration");
    // What a `grpc-timeout` header may do stands here too.
    take!(max_stream_duration.unwrap_or_default(), at_stream, MaxStreamDuration {
        used { max_stream_duration, grpc_timeout_header_max, grpc_timeout_header_offset }
        harmless {}
        refused {}
    });
    let within = |value, name| optional_duration(value, &at_stream.field(name));
    Ok(Forward {
        clusters: clusters(cluster_specifier, at)?,
        timeout: limit(timeout, Some(TIMEOUT), &at.field("timeout"))?,
        max_grpc_timeout: within(grpc_timeout_header_max, "grpc_timeout_header_max")?,
        grpc_timeout_offset: within(grpc_timeout_header_offset, "grpc_timeout_header_offset")?,
        max_stream_duration: within(max_stream_duration, "max_stream_duration")?,
        idle_timeout: optional_duration(idle_timeout, &at.field("idle_timeout"))?,
        retry: retry_policy.map(|value| read_retry(value, &at_retry)).transpose()?,
        hedge_on_per_try_timeout: hedges(hedge_policy, &at.field("hedge_policy"))?,
        path_rewrite: rewrite(prefix_rewrite, regex_rewrite, at)?,
        host_rewrite: host_rewrite(host_rewrite_specifier, at)?,
        mirrors: each(request_mirror_policies, &at.field("request_mirror_policies"), mirror)?,
        hash: each(hash_policy, &at.field("hash_policy"), super::hash::hash_policy)?.into_iter().flatten().collect(),
    })
}

/// Envoy itself does nothing with the other fields.
fn hedges(value: Option<wire::HedgePolicy>, at: &At<'_>) -> Decoded<bool> {
    take!(value.unwrap_or_default(), at, wire::HedgePolicy {
        used { initial_requests, hedge_on_per_try_timeout }
        harmless {}
        refused { additional_request_chance }
    });
    if initial_requests.is_some_and(|first| first.value != 1) {
        return Err(at.field("initial_requests").unsupported("1"));
    }
    Ok(hedge_on_per_try_timeout)
}

fn clusters(value: Option<ClusterSpecifier>, at: &At<'_>) -> Decoded<Vec<WeightedCluster>> {
    const EXPECTED: &str = "`cluster` or `weighted_clusters`";
    match value {
        Some(ClusterSpecifier::Cluster(name)) => Ok(vec![WeightedCluster::new(name, 1)]),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let at = at.field("weighted_clusters");
            // Shares are relative to their sum, and there is no runtime here.
            #[allow(deprecated)]
            let list = {
                take!(weighted, at, wire::WeightedCluster {
                    used { clusters }
                    harmless { total_weight, runtime_key_prefix }
                    refused { random_value_specifier }
                });
                clusters
            };
            let list = each(list, &at.field("clusters"), share)?;
            if list.iter().all(|cluster| cluster.weight == 0) {
                return Err(at.field("clusters").error("has no weight above zero", "at least one"));
            }
            Ok(list)
        }
        Some(ClusterSpecifier::ClusterHeader(_)) => Err(at.field("cluster_header").unsupported(EXPECTED)),
        Some(_) => Err(at.field("cluster_specifier_plugin").unsupported(EXPECTED)),
        None => Err(at.error("names no cluster", EXPECTED)),
    }
}

fn share(value: ClusterWeight, at: &At<'_>) -> Decoded<WeightedCluster> {
    take!(value, at, ClusterWeight {
        used {
            name, weight, request_headers_to_add, request_headers_to_remove, response_headers_to_add,
            response_headers_to_remove,
        }
        harmless {}
        refused { cluster_header, metadata_match, typed_per_filter_config, host_rewrite_specifier }
    });
    Ok(WeightedCluster {
        name: name.into(),
        weight: required(weight, &at.field("weight"))?.value,
        request_headers: changes(request_headers_to_add, request_headers_to_remove, at, REQUEST)?,
        response_headers: changes(response_headers_to_add, response_headers_to_remove, at, RESPONSE)?,
    })
}

fn rewrite(prefix: String, regex: Option<RegexMatchAndSubstitute>, at: &At<'_>) -> Decoded<Option<PathRewrite>> {
    let Some(RegexMatchAndSubstitute { pattern, substitution }) = regex else {
        return Ok(Some(prefix).filter(|prefix| !prefix.is_empty()).map(PathRewrite::Prefix));
    };
    let at_regex = at.field("regex_rewrite");
    if !prefix.is_empty() {
        return Err(at_regex.error("stands beside `prefix_rewrite`", "one of them"));
    }
    let at_pattern = at_regex.field("pattern");
    let pattern = matcher::search(required(pattern, &at_pattern)?, &at_pattern)?;
    Ok(Some(PathRewrite::Regex { pattern, substitution }))
}

fn host_rewrite(value: Option<HostRewriteSpecifier>, at: &At<'_>) -> Decoded<Option<HostRewrite>> {
    match value {
        None => Ok(None),
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => {
            Ok(Some(host).filter(|host| !host.is_empty()).map(HostRewrite::Literal))
        }
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) => Ok(auto.value.then_some(HostRewrite::Upstream)),
        Some(_) => Err(at.error("rewrites the host by a rule", "`host_rewrite_literal` or `auto_host_rewrite`")),
    }
}

fn mirror(value: RequestMirrorPolicy, at: &At<'_>) -> Decoded<Mirror> {
    // Whether copies are traced follows the request.
    take!(value, at, RequestMirrorPolicy {
        used { cluster, runtime_fraction }
        harmless { trace_sampled }
        refused {
            cluster_header, disable_shadow_host_suffix_append, request_headers_mutations, host_rewrite_literal,
        }
    });
    let at_share = at.field("runtime_fraction");
    Ok(Mirror {
        cluster: cluster.into(),
        share: runtime_fraction.map_or(Ok(Fraction::ALL), |share| matcher::runtime_percent(share, &at_share))?,
    })
}
