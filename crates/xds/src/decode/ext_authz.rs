//! Authorization that a service decides: the HTTP filter, what routes say to it, and the filter of connections.

use std::sync::Arc;

use model::ext_authz::{
    AskedBody, AskedPath, Authorizer, BodyRule, ConnectionExtAuthz, ExtAuthz, ExtAuthzRule, GrpcAuthorizer,
    HttpAuthorizer,
};
use model::{Fraction, MetadataMatch, StringMatch};
use proto::envoy::config::core::v3 as core;
use proto::envoy::extensions::filters::http::ext_authz::v3 as wire;
use proto::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use proto::envoy::extensions::filters::http::ext_authz::v3::ext_authz_per_route::Override;
use proto::envoy::extensions::filters::network::ext_authz::v3 as network;
use proto::envoy::r#type::matcher::v3::{ListStringMatcher, MetadataMatcher};
use proto::envoy::r#type::v3::HttpStatus;

use super::grpc_service::{grpc_service, header};
use super::http_uri::{HttpUri, http_uri};
use super::{At, Decoded, each, enabled, filled, limit, matcher, required, take};

/// The filter.
pub(super) const EXT_AUTHZ: &str = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
/// What routes say to it.
pub(super) const PER_ROUTE: &str = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";
/// The filter of connections.
pub(super) const NETWORK_EXT_AUTHZ: &str = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz";

/// Of the filter that stands under this name in its chain.
pub(super) fn ext_authz(value: wire::ExtAuthz, name: &str, at: &At<'_>) -> Decoded<ExtAuthz> {
    // Statistics, spans, and metadata of a kind that no filter here says.
    take!(value, at, wire::ExtAuthz {
        used {
            transport_api_version, failure_mode_allow, failure_mode_allow_header_add, with_request_body,
            clear_route_cache, status_on_error, validate_mutations, metadata_context_namespaces, filter_enabled,
            filter_enabled_metadata, deny_at_disable, include_peer_certificate, stat_prefix,
            bootstrap_metadata_labels_key, allowed_headers, disallowed_headers, include_tls_session,
            encode_raw_headers, enable_dynamic_metadata_ingestion, max_denied_response_body_bytes, services,
        }
        harmless {
            charge_cluster_response_stats, emit_filter_state_stats, emit_client_span,
            typed_metadata_context_namespaces,
        }
        refused {
            route_metadata_context_namespaces, route_typed_metadata_context_namespaces, decoder_header_mutation_rules,
            filter_metadata, enforce_response_header_limits, shadow_mode,
        }
    });
    version(transport_api_version, at)?;
    let share = |it| matcher::runtime_percent(it, &at.field("filter_enabled"));
    let at_services = at.field("http_service");
    let (service, older) = match required(services, &at.field("grpc_service"))? {
        Services::GrpcService(grpc) => (Authorizer::Grpc(authorizer(grpc, &at.field("grpc_service"))?), None),
        Services::HttpService(http) => {
            let (http, older) = http_service(http, &at_services)?;
            (Authorizer::Http(Box::new(http)), older)
        }
    };
    Ok(ExtAuthz {
        name: name.into(),
        stat_prefix: stat_prefix.into(),
        service,
        fail_open: failure_mode_allow,
        tells_failure: failure_mode_allow_header_add,
        error_status: status(status_on_error, &at.field("status_on_error"))?,
        body: with_request_body.map(|it| body(it, &at.field("with_request_body"))).transpose()?,
        reroute: clear_route_cache,
        validate: validate_mutations,
        metadata: shared(metadata_context_namespaces),
        enabled: filter_enabled.map_or(Ok(Fraction::ALL), share)?,
        enabled_by: condition(filter_enabled_metadata, at)?,
        deny_when_off: deny_at_disable.is_some_and(|flag| enabled(Some(flag))),
        peer_certificate: include_peer_certificate,
        server_name: include_tls_session,
        labels_key: bootstrap_metadata_labels_key.into(),
        allowed: list(allowed_headers, &at.field("allowed_headers"))?.or(older),
        disallowed: list(disallowed_headers, &at.field("disallowed_headers"))?.unwrap_or_default(),
        raw_headers: encode_raw_headers,
        takes_metadata: enable_dynamic_metadata_ingestion.is_none_or(|it| it.value),
        max_denied_body: max_denied_response_body_bytes,
    })
}

/// What a route or virtual host says.
pub(super) fn per_route(value: wire::ExtAuthzPerRoute, at: &At<'_>) -> Decoded<ExtAuthzRule> {
    match required(value.r#override, &at.field("disabled"))? {
        Override::Disabled(true) => Ok(ExtAuthzRule::Off),
        Override::Disabled(false) => Err(at.field("disabled").error("is false", "true, or `check_settings`")),
        Override::CheckSettings(settings) => {
            let at = at.field("check_settings");
            // Spans.
            take!(settings, at, wire::CheckSettings {
                used { context_extensions, disable_request_body_buffering, with_request_body }
                harmless { emit_client_span }
                refused { service_override }
            });
            let at_body = at.field("with_request_body");
            let body = match (disable_request_body_buffering, with_request_body) {
                (true, Some(_)) => {
                    return Err(at_body.error("is set", "it or `disable_request_body_buffering`, not both"));
                }
                (true, None) => BodyRule::Off,
                (false, Some(own)) => BodyRule::Own(body(own, &at_body)?),
                (false, None) => BodyRule::Same,
            };
            Ok(ExtAuthzRule::Told { extensions: context_extensions.into_iter().collect(), body })
        }
    }
}

/// Of a filter of connections.
pub(super) fn of_connections(value: network::ExtAuthz, at: &At<'_>) -> Decoded<ConnectionExtAuthz> {
    // Metadata of a kind that no filter here says; and an alert of TLS where others read the end of the connection.
    take!(value, at, network::ExtAuthz {
        used {
            stat_prefix, grpc_service, failure_mode_allow, include_peer_certificate, transport_api_version,
            filter_enabled_metadata, bootstrap_metadata_labels_key, include_tls_session, metadata_context_namespaces,
        }
        harmless { typed_metadata_context_namespaces, send_tls_alert_on_denial }
        refused { shadow_mode }
    });
    version(transport_api_version, at)?;
    if stat_prefix.is_empty() {
        return Err(at.field("stat_prefix").error("is missing", "a prefix of its statistics"));
    }
    let at_service = at.field("grpc_service");
    Ok(ConnectionExtAuthz {
        stat_prefix: stat_prefix.into(),
        service: authorizer(required(grpc_service, &at_service)?, &at_service)?,
        fail_open: failure_mode_allow,
        enabled_by: condition(filter_enabled_metadata, at)?,
        peer_certificate: include_peer_certificate,
        server_name: include_tls_session,
        labels_key: bootstrap_metadata_labels_key.into(),
        metadata: shared(metadata_context_namespaces),
    })
}

/// Unsaid is version 3 too, as for the rate limit service.
fn version(value: i32, at: &At<'_>) -> Decoded<()> {
    if [core::ApiVersion::V3 as i32, core::ApiVersion::Auto as i32].contains(&value) {
        return Ok(());
    }
    Err(at.field("transport_api_version").error("is not V3", "V3, or nothing"))
}

fn shared(names: Vec<String>) -> Vec<Arc<str>> {
    names.into_iter().map(Arc::from).collect()
}

fn condition(value: Option<MetadataMatcher>, at: &At<'_>) -> Decoded<Option<MetadataMatch>> {
    value.map(|it| matcher::metadata(it, &at.field("filter_enabled_metadata"))).transpose()
}

fn status(value: Option<HttpStatus>, at: &At<'_>) -> Decoded<u16> {
    match value.map_or(0, |status| status.code) {
        0 => Ok(403),
        code @ 200..600 => Ok(code as u16),
        code => Err(at.error(format!("is {code}"), "a status of 200 to 599")),
    }
}

fn body(value: wire::BufferSettings, at: &At<'_>) -> Decoded<AskedBody> {
    let wire::BufferSettings { max_request_bytes, allow_partial_message, pack_as_bytes } = value;
    if max_request_bytes == 0 {
        return Err(at.field("max_request_bytes").error("is 0", "one byte or more"));
    }
    Ok(AskedBody { max_bytes: max_request_bytes, partial: allow_partial_message, raw: pack_as_bytes })
}

fn list(value: Option<ListStringMatcher>, at: &At<'_>) -> Decoded<Option<Vec<StringMatch>>> {
    let at = at.field("patterns");
    value.map(|list| each(filled(list.patterns, &at)?, &at, matcher::string)).transpose()
}

/// With Envoy's own limit of time where none is said.
fn authorizer(value: core::GrpcService, at: &At<'_>) -> Decoded<GrpcAuthorizer> {
    let (service, timeout) = grpc_service(value, at)?;
    let timeout = limit(timeout, Some(GrpcAuthorizer::TIMEOUT), &at.field("timeout"))?;
    Ok(GrpcAuthorizer { service, timeout })
}

/// Beside it the headers that it is told, which Envoy takes at an older place too.
#[allow(deprecated)]
fn http_service(value: wire::HttpService, at: &At<'_>) -> Decoded<(HttpAuthorizer, Option<Vec<StringMatch>>)> {
    take!(value, at, wire::HttpService {
        used { server_uri, path_prefix, path_override, authorization_request, authorization_response }
        harmless {}
        refused { retry_policy }
    });
    let at_uri = at.field("server_uri");
    // Nothing of its URI counts but that it is said.
    let HttpUri { uri, cluster, timeout } = http_uri(server_uri, &at_uri, |uri, _| Ok(uri))?;
    let wire::AuthorizationRequest { allowed_headers, headers_to_add } = authorization_request.unwrap_or_default();
    let at_request = at.field("authorization_request");
    let response = authorization_response.unwrap_or_default();
    let at_response = at.field("authorization_response");
    let names = |value, field: &str| Ok(list(value, &at_response.field(field))?.unwrap_or_default());
    let http = HttpAuthorizer {
        cluster,
        uri,
        timeout,
        path: path(path_prefix, path_override, at)?,
        headers: each(headers_to_add, &at_request.field("headers_to_add"), header)?,
        upstream: names(response.allowed_upstream_headers, "allowed_upstream_headers")?,
        upstream_append: names(response.allowed_upstream_headers_to_append, "allowed_upstream_headers_to_append")?,
        client: names(response.allowed_client_headers, "allowed_client_headers")?,
        client_on_success: names(response.allowed_client_headers_on_success, "allowed_client_headers_on_success")?,
        metadata: names(response.dynamic_metadata_from_headers, "dynamic_metadata_from_headers")?,
    };
    Ok((http, list(allowed_headers, &at_request.field("allowed_headers"))?))
}

fn path(prefix: String, fixed: String, at: &At<'_>) -> Decoded<AskedPath> {
    let absolute = |text: &str, field: &str| match text.is_empty() || text.starts_with('/') {
        true => Ok(()),
        false => Err(at.field(field).error(format!("is {text:?}"), "a path that begins with `/`")),
    };
    absolute(&prefix, "path_prefix")?;
    absolute(&fixed, "path_override")?;
    match (prefix.is_empty(), fixed.is_empty()) {
        (_, true) => Ok(AskedPath::Prefixed(prefix)),
        (true, false) => Ok(AskedPath::Fixed(fixed)),
        (false, false) => Err(at.field("path_override").error("is set", "it or `path_prefix`, not both")),
    }
}
