//! TLS settings. Certificates and roots are named; they come by secret discovery on the same stream.

use std::sync::Arc;

use model::StringMatch;
use model::tls::{DownstreamTls, OWN_CERTIFICATE, TlsVersion, TlsVersions, UpstreamTls, Validation};
use proto::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use proto::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use proto::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    TlsParameters, UpstreamTlsContext,
};
use proto::google::protobuf::{Any, BoolValue};

use super::{ads, matcher, pack};
use crate::san::SanKind;

/// TLS towards an upstream.
pub(super) fn upstream(tls: &UpstreamTls) -> TransportSocket {
    let certificates = tls.certificate.as_slice();
    socket(pack(&UpstreamTlsContext {
        common_tls_context: Some(common(certificates, tls.validation.as_ref(), &tls.alpn, tls.versions)),
        sni: tls.sni.clone().unwrap_or_default(),
        ..UpstreamTlsContext::default()
    }))
}

/// TLS towards downstream.
pub(super) fn downstream(tls: &DownstreamTls) -> TransportSocket {
    socket(pack(&DownstreamTlsContext {
        common_tls_context: Some(common(&tls.certificates, tls.validation.as_ref(), &tls.alpn, tls.versions)),
        // Envoy's default is about to change for those that check, so it is always said.
        require_client_certificate: Some(BoolValue { value: tls.require_client_certificate }),
        ..DownstreamTlsContext::default()
    }))
}

/// No TLS, said aloud.
pub(super) fn plain() -> TransportSocket {
    let config = ConfigType::TypedConfig(pack(&RawBuffer {}));
    TransportSocket { name: "envoy.transport_sockets.raw_buffer".into(), config_type: Some(config) }
}

fn socket(config: Any) -> TransportSocket {
    let config = ConfigType::TypedConfig(config);
    TransportSocket { name: "envoy.transport_sockets.tls".into(), config_type: Some(config) }
}

fn common(
    certificates: &[Arc<str>],
    checks: Option<&Validation>,
    alpn: &[String],
    versions: TlsVersions,
) -> CommonTlsContext {
    CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: version(versions.min) as i32,
            // Envoy's default for upstreams is 1.2, so both are always said.
            tls_maximum_protocol_version: version(versions.max) as i32,
            ..TlsParameters::default()
        }),
        tls_certificate_sds_secret_configs: certificates.iter().map(|name| by_discovery(name)).collect(),
        alpn_protocols: alpn.to_vec(),
        validation_context_type: checks.map(validation),
        ..CommonTlsContext::default()
    }
}

fn version(version: TlsVersion) -> TlsProtocol {
    match version {
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    }
}

/// A secret without a source is one that the proxy was started with (Envoy: a static secret of the bootstrap).
fn by_discovery(name: &str) -> SdsSecretConfig {
    let source = if name == OWN_CERTIFICATE { None } else { ads() };
    SdsSecretConfig { name: name.to_owned(), sds_config: source }
}

fn validation(checks: &Validation) -> ValidationContextType {
    let trust = by_discovery(&checks.trust);
    if checks.names.is_empty() {
        return ValidationContextType::ValidationContextSdsSecretConfig(trust);
    }
    let context = CertificateValidationContext {
        match_typed_subject_alt_names: checks.names.iter().flat_map(subject_alt_names).collect(),
        ..CertificateValidationContext::default()
    };
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(context),
        validation_context_sds_secret_config: Some(trust),
        ..CombinedCertificateValidationContext::default()
    })
}

/// The model compares URI and DNS names alike, Envoy's matchers look at one kind each: a text that can only be of one
/// kind becomes one matcher, any other becomes two neighbours.
fn subject_alt_names(name: &StringMatch) -> Vec<SubjectAltNameMatcher> {
    let of = |kind: SanType| SubjectAltNameMatcher {
        san_type: kind as i32,
        matcher: Some(matcher::string(name)),
        oid: String::new(),
    };
    match SanKind::of(name) {
        SanKind::Uri => vec![of(SanType::Uri)],
        SanKind::Dns => vec![of(SanType::Dns)],
        SanKind::Either => vec![of(SanType::Uri), of(SanType::Dns)],
    }
}
