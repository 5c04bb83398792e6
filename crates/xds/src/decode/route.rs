//! Route configurations.

use std::collections::HashSet;

use bytes::Bytes;
use model::route::{Action, DirectResponse, PathMatch, Redirect, RedirectPath, RouteMatch};
use model::{ResourceKind, Route, RouteConfiguration, VirtualHost};
use proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::config::route::v3 as wire;
use proto::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use proto::envoy::config::route::v3::route_match::PathSpecifier;
use proto::google::protobuf::Any;

use super::filter_rules::per_filter;
use super::headers::{REQUEST, RESPONSE, changes};
use super::rate_limit::route_rules;
use super::{At, DecodeError, Decoded, ads, each, filled, matcher, open, port, required, take};

mod forward;
mod hash;

/// A route configuration.
pub fn route(any: &Any) -> Result<RouteConfiguration, DecodeError> {
    let value: wire::RouteConfiguration = open(ResourceKind::Route, any)?;
    let name = value.name.clone();
    route_configuration(value, &At::resource(&name))
}

/// A virtual host that travels by itself.
pub fn virtual_host(any: &Any) -> Result<VirtualHost, DecodeError> {
    let value: wire::VirtualHost = open(ResourceKind::VirtualHost, any)?;
    let name = value.name.clone();
    host(value, &At::resource(&name))
}

pub(super) fn route_configuration(value: wire::RouteConfiguration, at: &At<'_>) -> Decoded<RouteConfiguration> {
    // A route without its cluster answers 503, whether that was checked before or not; bodies are in memory anyway.
    take!(value, at, wire::RouteConfiguration {
        used { name, virtual_hosts, vhds, ignore_port_in_host_matching }
        harmless { validate_clusters, max_direct_response_body_size_bytes, metadata }
        refused {
            most_specific_header_mutations_wins, internal_only_headers, response_headers_to_add, response_headers_to_remove, request_headers_to_add,
            request_headers_to_remove, cluster_specifier_plugins, request_mirror_policies, vhost_header,
            ignore_path_parameters_in_path_matching, typed_per_filter_config, route_specifiers,
        }
    });
    let at_hosts = at.field("virtual_hosts");
    let hosts = each(virtual_hosts, &at_hosts, host)?;
    domains_once(&hosts, &at_hosts)?;
    let on_demand = vhds.is_some();
    if let Some(vhds) = vhds {
        ads(vhds.config_source, &at.field("vhds.config_source"))?;
    }
    Ok(RouteConfiguration { name: name.into(), hosts, ignore_port: ignore_port_in_host_matching, on_demand })
}

/// No domain may stand in two virtual hosts.
fn domains_once(hosts: &[VirtualHost], at: &At<'_>) -> Decoded<()> {
    let mut seen = HashSet::new();
    for (index, host) in hosts.iter().enumerate() {
        for domain in &host.domains {
            if !seen.insert(domain) {
                let at = at.index(index);
                return Err(at.field("domains").error(format!("has `{domain}` a second time"), "each domain once"));
            }
        }
    }
    Ok(())
}

#[allow(deprecated)]
fn host(value: wire::VirtualHost, at: &At<'_>) -> Decoded<VirtualHost> {
    // Statistics and buffers, and a header in which Envoy tells the upstream of a try that came too late.
    take!(value, at, wire::VirtualHost {
        used {
            name, domains, routes, request_headers_to_add, request_headers_to_remove, response_headers_to_add,
            response_headers_to_remove, typed_per_filter_config, rate_limits, include_request_attempt_count,
            include_attempt_count_in_response,
        }
        harmless {
            virtual_clusters,
            include_is_timeout_retry_header, per_request_buffer_limit_bytes, request_body_buffer_limit, metadata,
        }
        refused {
            matcher, require_tls, cors, retry_policy,
            retry_policy_typed_config, hedge_policy, request_mirror_policies, route_specifiers,
        }
    });
    let domains = filled(domains, &at.field("domains"))?;
    let at_filters = at.field("typed_per_filter_config");
    let (fault, mut filters) = per_filter(typed_per_filter_config, &at_filters)?;
    if fault.is_some() {
        return Err(at_filters.unsupported("settings of the fault filter on routes"));
    }
    filters.rate_limits = route_rules(rate_limits, &at.field("rate_limits"))?;
    Ok(VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|domain| domain.to_lowercase()).collect(),
        routes: each(routes, &at.field("routes"), one_route)?,
        request_headers: changes(request_headers_to_add, request_headers_to_remove, at, REQUEST)?,
        response_headers: changes(response_headers_to_add, response_headers_to_remove, at, RESPONSE)?,
        filters: filters.boxed(),
        tries_to_upstream: include_request_attempt_count,
        tries_to_client: include_attempt_count_in_response,
    })
}

#[allow(deprecated)]
fn one_route(value: wire::Route, at: &At<'_>) -> Decoded<Route> {
    // Names of spans, and buffers.
    take!(value, at, wire::Route {
        used {
            name, r#match, action, typed_per_filter_config, request_headers_to_add, request_headers_to_remove,
            response_headers_to_add, response_headers_to_remove, stat_prefix,
        }
        harmless { metadata, decorator, per_request_buffer_limit_bytes, request_body_buffer_limit }
        refused { tracing, route_specifiers }
    });
    let at_match = at.field("match");
    let (fault, mut filters) = per_filter(typed_per_filter_config, &at.field("typed_per_filter_config"))?;
    Ok(Route {
        name: name.into(),
        stat_prefix: (!stat_prefix.is_empty()).then(|| stat_prefix.into()),
        matches: route_match(required(r#match, &at_match)?, &at_match)?,
        action: match required(action, at)? {
            wire::route::Action::Route(action) => {
                Action::Forward(Box::new(forward::forward(action, &mut filters, &at.field("route"))?))
            }
            wire::route::Action::Redirect(action) => Action::Redirect(redirect(action, &at.field("redirect"))?),
            wire::route::Action::DirectResponse(action) => {
                Action::Respond(direct_response(action, &at.field("direct_response"))?)
            }
            wire::route::Action::FilterAction(_) => return Err(at.field("filter_action").unsupported(ACTIONS)),
            wire::route::Action::NonForwardingAction(_) => {
                return Err(at.field("non_forwarding_action").unsupported(ACTIONS));
            }
        },
        request_headers: changes(request_headers_to_add, request_headers_to_remove, at, REQUEST)?,
        response_headers: changes(response_headers_to_add, response_headers_to_remove, at, RESPONSE)?,
        fault,
        filters: filters.boxed(),
    })
}

const ACTIONS: &str = "`route`, `redirect` or `direct_response`";

pub(super) fn route_match(value: wire::RouteMatch, at: &At<'_>) -> Decoded<RouteMatch> {
    take!(value, at, wire::RouteMatch {
        used { case_sensitive, runtime_fraction, headers, query_parameters, path_specifier, dynamic_metadata }
        harmless {}
        refused { cookies, grpc, tls_context, filter_state }
    });
    let path = match required(path_specifier, at)? {
        PathSpecifier::Prefix(path) => PathMatch::Prefix(path),
        PathSpecifier::PathSeparatedPrefix(path) => PathMatch::SegmentPrefix(path),
        PathSpecifier::Path(path) => PathMatch::Exact(path),
        PathSpecifier::SafeRegex(regex) => PathMatch::Regex(matcher::regex(regex, &at.field("safe_regex"))?),
        PathSpecifier::ConnectMatcher(_) => PathMatch::Connect,
        PathSpecifier::PathMatchPolicy(_) => {
            return Err(at.field("path_match_policy").unsupported("one of Envoy's own ways to match a path"));
        }
    };
    let at_share = at.field("runtime_fraction");
    Ok(RouteMatch {
        path,
        ignore_case: case_sensitive.is_some_and(|sensitive| !sensitive.value),
        headers: each(headers, &at.field("headers"), matcher::header)?.into(),
        query: each(query_parameters, &at.field("query_parameters"), matcher::query)?.into(),
        metadata: each(dynamic_metadata, &at.field("dynamic_metadata"), matcher::metadata)?.into(),
        share: runtime_fraction.map(|share| matcher::runtime_percent(share, &at_share)).transpose()?,
    })
}

fn direct_response(value: wire::DirectResponseAction, at: &At<'_>) -> Decoded<DirectResponse> {
    take!(value, at, wire::DirectResponseAction {
        used { status, body }
        harmless {}
        refused { body_format }
    });
    if !(200..600).contains(&status) {
        return Err(at.field("status").error(format!("is {status}"), "a status of 200 to 599"));
    }
    let body = body.map_or(Ok(Bytes::new()), |source| bytes_of(source, &at.field("body")))?;
    Ok(DirectResponse { status: status as u16, body })
}

fn bytes_of(source: DataSource, at: &At<'_>) -> Decoded<Bytes> {
    match source.specifier {
        Some(Specifier::InlineString(text)) => Ok(text.into()),
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes.into()),
        None => Ok(Bytes::new()),
        _ => Err(at.unsupported("`inline_string` or `inline_bytes`")),
    }
}

fn redirect(value: wire::RedirectAction, at: &At<'_>) -> Decoded<Redirect> {
    take!(value, at, wire::RedirectAction {
        used {
            host_redirect, port_redirect, response_code, strip_query, scheme_rewrite_specifier, path_rewrite_specifier,
        }
        harmless {}
        refused {}
    });
    let status = match RedirectResponseCode::try_from(response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => 301,
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        Err(_) => return Err(at.field("response_code").error(format!("is {response_code}"), "a kind of redirect")),
    };
    let said = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(Redirect {
        status,
        scheme: match scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => said(scheme),
            _ => None,
        },
        host: said(host_redirect),
        port: Some(port(port_redirect, &at.field("port_redirect"))?).filter(|port| *port > 0),
        path: match path_rewrite_specifier {
            None => None,
            Some(PathRewriteSpecifier::PathRedirect(path)) => said(path).map(RedirectPath::Full),
            Some(PathRewriteSpecifier::PrefixRewrite(path)) => said(path).map(RedirectPath::Prefix),
            Some(PathRewriteSpecifier::RegexRewrite(_)) => {
                return Err(at.field("regex_rewrite").unsupported("`path_redirect` or `prefix_rewrite`"));
            }
            Some(PathRewriteSpecifier::PathRewrite(_)) => {
                return Err(at.field("path_rewrite").unsupported("`path_redirect` or `prefix_rewrite`"));
            }
        },
        strip_query,
    })
}
