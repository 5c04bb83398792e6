//! Authorization that a service decides.

use model::ext_authz::{
    AskedBody, AskedPath, Authorizer, BodyRule, ConnectionExtAuthz, ExtAuthz, ExtAuthzRule, GrpcAuthorizer,
    HttpAuthorizer,
};
use model::{Fraction, StringMatch};
use prost::Message;
use proto::envoy::config::core::v3 as core;
use proto::envoy::extensions::filters::http::ext_authz::v3 as wire;
use proto::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use proto::envoy::extensions::filters::network::ext_authz::v3 as network;
use proto::envoy::r#type::matcher::v3::ListStringMatcher;
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::protobuf::{Any, BoolValue};

use super::grpc_service::{grpc_service, header};
use super::http_uri::http_uri;
use super::ordered::{CheckSettings, ExtAuthzPerRoute, Override};
use super::{limit, matcher, pack, packed};

pub(super) fn ext_authz(asks: &ExtAuthz) -> Any {
    pack(&wire::ExtAuthz {
        transport_api_version: core::ApiVersion::V3 as i32,
        failure_mode_allow: asks.fail_open,
        failure_mode_allow_header_add: asks.tells_failure,
        with_request_body: asks.body.map(body),
        clear_route_cache: asks.reroute,
        status_on_error: (asks.error_status != 403).then(|| HttpStatus { code: asks.error_status.into() }),
        validate_mutations: asks.validate,
        metadata_context_namespaces: asks.metadata.iter().map(ToString::to_string).collect(),
        filter_enabled: (asks.enabled != Fraction::ALL).then(|| matcher::runtime_percent(asks.enabled)),
        filter_enabled_metadata: asks.enabled_by.as_ref().map(matcher::metadata),
        deny_at_disable: asks.deny_when_off.then(|| core::RuntimeFeatureFlag {
            default_value: Some(BoolValue { value: true }),
            // Envoy wants a key, by which a runtime could overrule the default.
            runtime_key: "ext_authz.deny_at_disable".to_owned(),
        }),
        include_peer_certificate: asks.peer_certificate,
        stat_prefix: asks.stat_prefix.to_string(),
        bootstrap_metadata_labels_key: asks.labels_key.to_string(),
        allowed_headers: asks.allowed.as_deref().and_then(list),
        disallowed_headers: list(&asks.disallowed),
        include_tls_session: asks.server_name,
        encode_raw_headers: asks.raw_headers,
        enable_dynamic_metadata_ingestion: (!asks.takes_metadata).then_some(BoolValue { value: false }),
        max_denied_response_body_bytes: asks.max_denied_body,
        services: Some(match &asks.service {
            Authorizer::Grpc(grpc) => Services::GrpcService(authorizer(grpc)),
            Authorizer::Http(http) => Services::HttpService(http_service(http)),
        }),
        ..wire::ExtAuthz::default()
    })
}

pub(super) fn per_route(rule: &ExtAuthzRule) -> Any {
    let said = match rule {
        ExtAuthzRule::Off => Override::Disabled(true),
        ExtAuthzRule::Told { extensions, body } => Override::CheckSettings(CheckSettings {
            context_extensions: extensions.clone(),
            disable_request_body_buffering: *body == BodyRule::Off,
            with_request_body: match body {
                BodyRule::Own(own) => Some(self::body(*own)),
                BodyRule::Same | BodyRule::Off => None,
            },
        }),
    };
    packed::<wire::ExtAuthzPerRoute>(ExtAuthzPerRoute { said: Some(said) }.encode_to_vec())
}

pub(super) fn of_connections(asks: &ConnectionExtAuthz) -> Any {
    pack(&network::ExtAuthz {
        stat_prefix: asks.stat_prefix.to_string(),
        grpc_service: Some(authorizer(&asks.service)),
        failure_mode_allow: asks.fail_open,
        include_peer_certificate: asks.peer_certificate,
        transport_api_version: core::ApiVersion::V3 as i32,
        filter_enabled_metadata: asks.enabled_by.as_ref().map(matcher::metadata),
        bootstrap_metadata_labels_key: asks.labels_key.to_string(),
        include_tls_session: asks.server_name,
        metadata_context_namespaces: asks.metadata.iter().map(ToString::to_string).collect(),
        ..network::ExtAuthz::default()
    })
}

fn body(body: AskedBody) -> wire::BufferSettings {
    wire::BufferSettings {
        max_request_bytes: body.max_bytes,
        allow_partial_message: body.partial,
        pack_as_bytes: body.raw,
    }
}

fn list(patterns: &[StringMatch]) -> Option<ListStringMatcher> {
    let list = || ListStringMatcher { patterns: patterns.iter().map(matcher::string).collect() };
    (!patterns.is_empty()).then(list)
}

fn authorizer(asks: &GrpcAuthorizer) -> core::GrpcService {
    core::GrpcService { timeout: limit(asks.timeout, Some(GrpcAuthorizer::TIMEOUT)), ..grpc_service(&asks.service) }
}

fn http_service(service: &HttpAuthorizer) -> wire::HttpService {
    let (path_prefix, path_override) = match &service.path {
        AskedPath::Prefixed(prefix) => (prefix.clone(), String::new()),
        AskedPath::Fixed(path) => (String::new(), path.clone()),
    };
    let response = wire::AuthorizationResponse {
        allowed_upstream_headers: list(&service.upstream),
        allowed_upstream_headers_to_append: list(&service.upstream_append),
        allowed_client_headers: list(&service.client),
        allowed_client_headers_on_success: list(&service.client_on_success),
        dynamic_metadata_from_headers: list(&service.metadata),
    };
    wire::HttpService {
        server_uri: Some(http_uri(&service.uri, &service.cluster, service.timeout)),
        path_prefix,
        path_override,
        authorization_request: (!service.headers.is_empty()).then(|| wire::AuthorizationRequest {
            headers_to_add: service.headers.iter().map(header).collect(),
            ..wire::AuthorizationRequest::default()
        }),
        authorization_response: (response != wire::AuthorizationResponse::default()).then_some(response),
        ..wire::HttpService::default()
    }
}
