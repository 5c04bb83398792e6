//! TLS settings. Certificates and roots are named; they come by secret discovery on the same stream.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use model::StringMatch;
use model::tls::{
    AGENT, DownstreamTls, OWN_CERTIFICATE, SecretFiles, TlsVersion, TlsVersions, UpstreamTls, Validation,
};
use proto::envoy::config::core::v3::api_config_source::ApiType;
use proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use proto::envoy::config::core::v3::{
    ApiConfigSource, ApiVersion, ConfigSource, DataSource, GrpcService, TransportSocket, data_source::Specifier,
    grpc_service, transport_socket::ConfigType,
};
use proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use proto::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::SystemRootCerts;
use proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use proto::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use proto::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    TlsCertificate, TlsParameters, UpstreamTlsContext,
};
use proto::google::protobuf::{Any, BoolValue};

use super::{ads, matcher, pack};
use crate::san::SanKind;

/// TLS towards an upstream.
pub(super) fn upstream(tls: &UpstreamTls) -> TransportSocket {
    let certificates = tls.certificate.as_slice();
    socket(pack(&UpstreamTlsContext {
        common_tls_context: Some(common(certificates, tls.validation.as_ref(), &tls.alpn, tls.versions, &[])),
        sni: tls.sni.clone().unwrap_or_default(),
        ..UpstreamTlsContext::default()
    }))
}

/// TLS towards downstream.
pub(super) fn downstream(tls: &DownstreamTls) -> TransportSocket {
    socket(pack(&DownstreamTlsContext {
        common_tls_context: Some(common(
            &tls.certificates,
            tls.validation.as_ref(),
            &tls.alpn,
            tls.versions,
            &tls.cipher_suites,
        )),
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
    cipher_suites: &[String],
) -> CommonTlsContext {
    let discovered = certificates.iter().filter(|name| SecretFiles::of(name).is_none());
    CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: version(versions.min) as i32,
            // Envoy's default for upstreams is 1.2, so both are always said.
            tls_maximum_protocol_version: version(versions.max) as i32,
            cipher_suites: cipher_suites.to_vec(),
            ..TlsParameters::default()
        }),
        tls_certificate_sds_secret_configs: discovered.map(|name| by_discovery(name)).collect(),
        tls_certificates: certificates.iter().filter_map(|name| by_files(name)).collect(),
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

/// The workload's own certificate comes from the agent beside the proxy, as in Istio: Envoy takes another one only from a
/// source that it follows.
pub(super) fn by_discovery(name: &str) -> SdsSecretConfig {
    let source = if name == OWN_CERTIFICATE { agent() } else { ads() };
    SdsSecretConfig { name: name.to_owned(), sds_config: source }
}

fn agent() -> Option<ConfigSource> {
    let envoy = grpc_service::EnvoyGrpc { cluster_name: AGENT.to_owned(), ..Default::default() };
    let target = Some(grpc_service::TargetSpecifier::EnvoyGrpc(envoy));
    let api = ApiConfigSource {
        api_type: ApiType::Grpc as i32,
        transport_api_version: ApiVersion::V3 as i32,
        grpc_services: vec![GrpcService { target_specifier: target, ..GrpcService::default() }],
        set_node_on_first_message_only: true,
        ..ApiConfigSource::default()
    };
    Some(ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(api)),
        ..ConfigSource::default()
    })
}

/// Files of the proxy's side are named, not sent.
fn by_files(name: &str) -> Option<TlsCertificate> {
    let SecretFiles::Certificate { chain, key } = SecretFiles::of(name)? else { return None };
    let (certificate_chain, private_key) = (file(chain), file(key));
    Some(TlsCertificate { certificate_chain, private_key, ..TlsCertificate::default() })
}

fn file(path: &str) -> Option<DataSource> {
    Some(DataSource { specifier: Some(Specifier::Filename(path.to_owned())), watched_directory: None })
}

fn validation(checks: &Validation) -> ValidationContextType {
    let pins = checks.pins.as_deref();
    let mut context = CertificateValidationContext {
        match_typed_subject_alt_names: checks.names.iter().flat_map(subject_alt_names).collect(),
        verify_certificate_hash: pins
            .into_iter()
            .flat_map(|pins| pins.certificates.iter().map(|hash| HEXLOWER.encode(hash)))
            .collect(),
        verify_certificate_spki: pins
            .into_iter()
            .flat_map(|pins| pins.keys.iter().map(|hash| STANDARD.encode(hash)))
            .collect(),
        ..CertificateValidationContext::default()
    };
    match SecretFiles::of(&checks.trust) {
        Some(SecretFiles::Roots { roots, crl }) => {
            (context.trusted_ca, context.crl) = (file(roots), crl.and_then(file));
            return ValidationContextType::ValidationContext(context);
        }
        Some(SecretFiles::SystemRoots) => {
            context.system_root_certs = Some(SystemRootCerts {});
            return ValidationContextType::ValidationContext(context);
        }
        Some(SecretFiles::Certificate { .. }) | None => {}
    }
    let trust = by_discovery(&checks.trust);
    if context == CertificateValidationContext::default() {
        return ValidationContextType::ValidationContextSdsSecretConfig(trust);
    }
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
