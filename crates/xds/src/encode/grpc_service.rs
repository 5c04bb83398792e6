//! Services of gRPC that the proxy itself calls.

use http::{HeaderName, HeaderValue};
use model::GrpcService;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};

pub(super) fn grpc_service(service: &GrpcService) -> core::GrpcService {
    core::GrpcService {
        initial_metadata: service.metadata.iter().map(header).collect(),
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: service.cluster.to_string(),
            authority: service.authority.as_deref().unwrap_or_default().to_owned(),
            ..EnvoyGrpc::default()
        })),
        ..core::GrpcService::default()
    }
}

/// A header that questions have.
pub(super) fn header((name, value): &(HeaderName, HeaderValue)) -> core::HeaderValue {
    core::HeaderValue {
        key: name.to_string(),
        // Envoy reads `%` as the begin of an operator; doubled it stands for itself.
        value: String::from_utf8_lossy(value.as_bytes()).replace('%', "%%"),
        raw_value: Vec::new(),
    }
}
