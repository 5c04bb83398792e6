//! Route configurations.

use model::matcher::{HeaderMatch, QueryMatch};
use model::route::{
    Action, DirectResponse, FilterRules, Forward, HostRewrite, Mirror, PathMatch, PathRewrite, Redirect, RedirectPath,
    RouteMatch, WeightedCluster,
};
use model::{Fraction, Route, RouteConfiguration, VirtualHost};
use proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::config::route::v3 as wire;
use proto::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use proto::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HostRewriteSpecifier, MaxStreamDuration, RequestMirrorPolicy,
};
use proto::envoy::config::route::v3::route_match::{ConnectMatcher, PathSpecifier};
use proto::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use proto::google::protobuf::{Any, BoolValue};

use super::filter_rules::per_filter;
use super::headers::{removals, writes};
use super::ordered::{RouteConfigurationTail, RouteTail, VirtualHostTail, joined};
use super::{ads, duration, flag, hash, matcher, number, packed, rate_limit, retry};

/// A route configuration.
pub fn route(table: &RouteConfiguration) -> Any {
    packed::<wire::RouteConfiguration>(route_configuration(table))
}

/// A virtual host that travels by itself.
pub fn virtual_host(host: &VirtualHost) -> Any {
    packed::<wire::VirtualHost>(host_of(host))
}

/// The longest body of a direct response that Envoy takes without being told, in bytes.
const DEFAULT_BODY: usize = 4096;

/// A route configuration as bytes.
pub(super) fn route_configuration(table: &RouteConfiguration) -> Vec<u8> {
    let bodies = table.hosts.iter().flat_map(|host| &host.routes).filter_map(|route| match &route.action {
        Action::Respond(response) => Some(response.body.len()),
        _ => None,
    });
    let longest = bodies.max().unwrap_or_default();
    let head = wire::RouteConfiguration {
        name: table.name.to_string(),
        vhds: table.on_demand.then(|| wire::Vhds { config_source: ads() }),
        ignore_port_in_host_matching: table.ignore_port,
        // A route may come before its cluster; Envoy answers 503 until then.
        validate_clusters: Some(BoolValue { value: false }),
        max_direct_response_body_size_bytes: if longest > DEFAULT_BODY { number(longest as u32) } else { None },
        ..wire::RouteConfiguration::default()
    };
    joined(&head, &RouteConfigurationTail { virtual_hosts: table.hosts.iter().map(host_of).collect() })
}

fn host_of(host: &VirtualHost) -> Vec<u8> {
    let head = wire::VirtualHost {
        name: host.name.to_string(),
        domains: host.domains.clone(),
        request_headers_to_add: writes(&host.request_headers),
        request_headers_to_remove: removals(&host.request_headers),
        response_headers_to_add: writes(&host.response_headers),
        response_headers_to_remove: removals(&host.response_headers),
        rate_limits: host.filters.as_ref().map(|rules| rate_limit::rules(&rules.rate_limits)).unwrap_or_default(),
        include_request_attempt_count: host.tries_to_upstream,
        include_attempt_count_in_response: host.tries_to_client,
        ..wire::VirtualHost::default()
    };
    let routes = host.routes.iter().map(one_route).collect();
    joined(&head, &VirtualHostTail { routes, typed_per_filter_config: per_filter(None, host.filters.as_deref()) })
}

fn one_route(route: &Route) -> Vec<u8> {
    let head = wire::Route {
        name: route.name.to_string(),
        stat_prefix: route.stat_prefix.as_deref().unwrap_or_default().to_owned(),
        r#match: Some(route_match(&route.matches)),
        action: Some(match &route.action {
            Action::Forward(forward) => wire::route::Action::Route(route_action(forward, route.filters.as_deref())),
            Action::Redirect(redirect) => wire::route::Action::Redirect(redirect_action(redirect)),
            Action::Respond(response) => wire::route::Action::DirectResponse(direct_response(response)),
        }),
        request_headers_to_add: writes(&route.request_headers),
        request_headers_to_remove: removals(&route.request_headers),
        response_headers_to_add: writes(&route.response_headers),
        response_headers_to_remove: removals(&route.response_headers),
        ..wire::Route::default()
    };
    let typed_per_filter_config = per_filter(route.fault.as_ref(), route.filters.as_deref());
    joined(&head, &RouteTail { typed_per_filter_config })
}

pub(super) fn route_match(matches: &RouteMatch) -> wire::RouteMatch {
    let path = match &matches.path {
        PathMatch::Prefix(path) => PathSpecifier::Prefix(path.clone()),
        PathMatch::SegmentPrefix(path) => PathSpecifier::PathSeparatedPrefix(path.clone()),
        PathMatch::Exact(path) => PathSpecifier::Path(path.clone()),
        PathMatch::Regex(pattern) => PathSpecifier::SafeRegex(matcher::regex(pattern)),
        PathMatch::Connect => PathSpecifier::ConnectMatcher(ConnectMatcher {}),
    };
    wire::RouteMatch {
        path_specifier: Some(path),
        case_sensitive: matches.ignore_case.then_some(BoolValue { value: false }),
        runtime_fraction: matches.share.map(matcher::runtime_percent),
        headers: matches.headers.iter().map(|header: &HeaderMatch| matcher::header(header)).collect(),
        query_parameters: matches.query.iter().map(|query: &QueryMatch| matcher::query(query)).collect(),
        dynamic_metadata: matches.metadata.iter().map(matcher::metadata).collect(),
        ..wire::RouteMatch::default()
    }
}

fn direct_response(response: &DirectResponse) -> wire::DirectResponseAction {
    let body = (!response.body.is_empty()).then(|| DataSource {
        specifier: Some(match std::str::from_utf8(&response.body) {
            Ok(text) => Specifier::InlineString(text.to_owned()),
            Err(_) => Specifier::InlineBytes(response.body.to_vec()),
        }),
        watched_directory: None,
    });
    wire::DirectResponseAction { status: response.status.into(), body, body_format: None }
}

fn redirect_action(redirect: &Redirect) -> wire::RedirectAction {
    let code = match redirect.status {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    wire::RedirectAction {
        host_redirect: redirect.host.clone().unwrap_or_default(),
        port_redirect: redirect.port.unwrap_or_default().into(),
        response_code: code as i32,
        strip_query: redirect.strip_query,
        scheme_rewrite_specifier: redirect.scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        path_rewrite_specifier: redirect.path.as_ref().map(|path| match path {
            RedirectPath::Full(path) => PathRewriteSpecifier::PathRedirect(path.clone()),
            RedirectPath::Prefix(path) => PathRewriteSpecifier::PrefixRewrite(path.clone()),
        }),
    }
}

#[allow(deprecated)] // what it says can be said in no other way of routes
fn route_action(forward: &Forward, rules: Option<&FilterRules>) -> wire::RouteAction {
    let (prefix_rewrite, regex_rewrite) = match &forward.path_rewrite {
        None => (String::new(), None),
        Some(PathRewrite::Prefix(path)) => (path.clone(), None),
        Some(PathRewrite::Regex { pattern, substitution }) => {
            let pattern = Some(matcher::regex(pattern));
            (String::new(), Some(RegexMatchAndSubstitute { pattern, substitution: substitution.clone() }))
        }
    };
    wire::RouteAction {
        cluster_specifier: Some(clusters(&forward.clusters)),
        // Absent would mean 15 s.
        timeout: Some(duration(forward.timeout.unwrap_or_default())),
        max_stream_duration: max_stream_duration(forward),
        idle_timeout: forward.idle_timeout.map(duration),
        retry_policy: forward.retry.as_ref().map(retry::retry_policy),
        hedge_policy: forward
            .hedge_on_per_try_timeout
            .then(|| wire::HedgePolicy { hedge_on_per_try_timeout: true, ..wire::HedgePolicy::default() }),
        prefix_rewrite,
        regex_rewrite,
        host_rewrite_specifier: forward.host_rewrite.as_ref().map(|rewrite| match rewrite {
            HostRewrite::Literal(host) => HostRewriteSpecifier::HostRewriteLiteral(host.clone()),
            HostRewrite::Upstream => HostRewriteSpecifier::AutoHostRewrite(BoolValue { value: true }),
        }),
        request_mirror_policies: forward.mirrors.iter().map(mirror).collect(),
        hash_policy: forward.hash.iter().map(hash::hash_policy).collect(),
        rate_limits: rules.map(|rules| rate_limit::rules(&rules.rate_limits)).unwrap_or_default(),
        include_vh_rate_limits: flag(rules.is_some_and(|rules| rules.include_host_rate_limits)),
        ..wire::RouteAction::default()
    }
}

fn max_stream_duration(forward: &Forward) -> Option<MaxStreamDuration> {
    let said = MaxStreamDuration {
        max_stream_duration: forward.max_stream_duration.map(duration),
        grpc_timeout_header_max: forward.max_grpc_timeout.map(duration),
        grpc_timeout_header_offset: forward.grpc_timeout_offset.map(duration),
    };
    (said != MaxStreamDuration::default()).then_some(said)
}

fn clusters(clusters: &[WeightedCluster]) -> ClusterSpecifier {
    match clusters {
        [only] if only.weight == 1 && only.request_headers.is_empty() && only.response_headers.is_empty() => {
            ClusterSpecifier::Cluster(only.name.to_string())
        }
        many => ClusterSpecifier::WeightedClusters(wire::WeightedCluster {
            clusters: many.iter().map(cluster_weight).collect(),
            ..wire::WeightedCluster::default()
        }),
    }
}

fn cluster_weight(cluster: &WeightedCluster) -> ClusterWeight {
    ClusterWeight {
        name: cluster.name.to_string(),
        weight: number(cluster.weight),
        request_headers_to_add: writes(&cluster.request_headers),
        request_headers_to_remove: removals(&cluster.request_headers),
        response_headers_to_add: writes(&cluster.response_headers),
        response_headers_to_remove: removals(&cluster.response_headers),
        ..ClusterWeight::default()
    }
}

fn mirror(mirror: &Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: mirror.cluster.to_string(),
        runtime_fraction: (mirror.share != Fraction::ALL).then(|| matcher::runtime_percent(mirror.share)),
        ..RequestMirrorPolicy::default()
    }
}
