//! Services of gRPC that filters ask, each in a cluster of the proxy.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use model::GrpcService;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use proto::google::protobuf::Duration;

use super::{At, Decoded, each, headers, take};

/// Beside it how long it may take to answer, if that is said.
pub(super) fn grpc_service(value: core::GrpcService, at: &At<'_>) -> Decoded<(GrpcService, Option<Duration>)> {
    take!(value, at, core::GrpcService {
        used { initial_metadata, target_specifier, timeout }
        harmless {}
        refused { retry_policy }
    });
    let metadata = each(initial_metadata, &at.field("initial_metadata"), header)?;
    let envoy_grpc = match target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(grpc)) => grpc,
        Some(TargetSpecifier::GoogleGrpc(_)) => return Err(at.field("google_grpc").unsupported("`envoy_grpc`")),
        None => return Err(at.field("envoy_grpc").error("is missing", "a cluster")),
    };
    let at = at.field("envoy_grpc");
    // Headers of Envoy's own are not sent anyway.
    take!(envoy_grpc, at, EnvoyGrpc {
        used { cluster_name, authority }
        harmless { skip_envoy_headers }
        refused { retry_policy, max_receive_message_length }
    });
    let authority = (!authority.is_empty()).then(|| authority.into());
    let cluster = cluster(cluster_name, &at.field("cluster_name"))?;
    Ok((GrpcService { cluster, authority, metadata }, timeout))
}

/// The name of a cluster that is asked.
pub(super) fn cluster(name: String, at: &At<'_>) -> Decoded<Arc<str>> {
    if name.is_empty() { Err(at.error("is empty", "a cluster")) } else { Ok(name.into()) }
}

/// A header that questions have: a literal, since nothing is known of an exchange of their own.
pub(super) fn header(value: core::HeaderValue, at: &At<'_>) -> Decoded<(HeaderName, HeaderValue)> {
    take!(value, at, core::HeaderValue {
        used { key, value }
        harmless {}
        refused { raw_value }
    });
    let at_value = at.field("value");
    let literal = headers::literal(value.as_bytes(), &at_value)?;
    let value =
        HeaderValue::from_bytes(&literal).map_err(|_| at_value.error("has a control character", "a header's value"))?;
    Ok((headers::name(&key, &at.field("key"))?, value))
}
