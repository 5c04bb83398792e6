//! TLS settings of both sides.

use std::sync::Arc;

use model::StringMatch;
use model::tls::{DownstreamTls, OWN_CERTIFICATE, TlsVersion, TlsVersions, UpstreamTls, Validation};
use proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use proto::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use proto::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    TlsParameters, UpstreamTlsContext,
};

use super::{At, Decoded, ads, each, flag, matcher, off, required, take};
use crate::san::SanKind;

pub(super) const UPSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
pub(super) const DOWNSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
pub(super) const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

pub(super) fn upstream(value: UpstreamTlsContext, at: &At<'_>) -> Decoded<UpstreamTls> {
    // How sessions are kept for resumption, and how RSA keys are looked at, is ours to say.
    take!(value, at, UpstreamTlsContext {
        used { common_tls_context, sni }
        harmless { max_session_keys, enforce_rsa_key_usage }
        refused { auto_host_sni, auto_sni_san_validation, allow_renegotiation }
    });
    let at = at.field("common_tls_context");
    // Envoy's highest version towards upstreams is 1.2, unless said otherwise.
    let common = common(common_tls_context.unwrap_or_default(), TlsVersion::V1_2, &at)?;
    let mut certificates = common.certificates.into_iter();
    let certificate = certificates.next();
    if certificates.next().is_some() {
        let at = at.field("tls_certificate_sds_secret_configs");
        return Err(at.error("has more than one certificate", "one or none"));
    }
    Ok(UpstreamTls {
        certificate,
        validation: common.validation,
        sni: Some(sni).filter(|name| !name.is_empty()),
        alpn: common.alpn,
        versions: common.versions,
    })
}

pub(super) fn downstream(value: DownstreamTlsContext, at: &At<'_>) -> Decoded<DownstreamTls> {
    // How sessions are resumed, and whose wish for a cipher counts, is ours to say.
    take!(value, at, DownstreamTlsContext {
        used { common_tls_context, require_client_certificate, require_sni }
        harmless {
            disable_stateful_session_resumption, session_timeout, full_scan_certs_on_sni_mismatch,
            prefer_client_ciphers, session_ticket_keys_type,
        }
        refused { ocsp_staple_policy }
    });
    off(require_sni, &at.field("require_sni"))?;
    let common = common(common_tls_context.unwrap_or_default(), TlsVersion::V1_3, &at.field("common_tls_context"))?;
    Ok(DownstreamTls {
        certificates: common.certificates,
        validation: common.validation,
        require_client_certificate: flag(require_client_certificate),
        alpn: common.alpn,
        versions: common.versions,
    })
}

/// What both sides have.
struct Common {
    certificates: Vec<Arc<str>>,
    validation: Option<Validation>,
    alpn: Vec<String>,
    versions: TlsVersions,
}

#[allow(deprecated)]
fn common(value: CommonTlsContext, newest: TlsVersion, at: &At<'_>) -> Decoded<Common> {
    take!(value, at, CommonTlsContext {
        used { tls_params, tls_certificate_sds_secret_configs, alpn_protocols, validation_context_type }
        harmless {}
        refused {
            tls_certificates, tls_certificate_provider_instance, custom_tls_certificate_selector,
            tls_certificate_certificate_provider, tls_certificate_certificate_provider_instance, custom_handshaker,
            key_log,
        }
    });
    let at_certificates = at.field("tls_certificate_sds_secret_configs");
    Ok(Common {
        certificates: each(tls_certificate_sds_secret_configs, &at_certificates, by_discovery)?,
        validation: validation_context_type.map(|kind| validation(kind, at)).transpose()?,
        alpn: alpn_protocols,
        versions: versions(tls_params.unwrap_or_default(), newest, &at.field("tls_params"))?,
    })
}

fn by_discovery(value: SdsSecretConfig, at: &At<'_>) -> Decoded<Arc<str>> {
    if value.sds_config.is_some() || value.name != OWN_CERTIFICATE {
        ads(value.sds_config, &at.field("sds_config"))?;
    }
    Ok(value.name.into())
}

fn versions(value: TlsParameters, newest: TlsVersion, at: &At<'_>) -> Decoded<TlsVersions> {
    take!(value, at, TlsParameters {
        used { tls_minimum_protocol_version, tls_maximum_protocol_version }
        harmless {}
        refused { cipher_suites, ecdh_curves, signature_algorithms, compliance_policies }
    });
    let read = |value: i32, default: TlsVersion, at: At<'_>| match TlsProtocol::try_from(value) {
        Ok(TlsProtocol::TlsAuto) => Ok(default),
        Ok(TlsProtocol::TlSv12) => Ok(TlsVersion::V1_2),
        Ok(TlsProtocol::TlSv13) => Ok(TlsVersion::V1_3),
        _ => Err(at.error("is older than 1.2, or unknown", "TLSv1_2, TLSv1_3 or TLS_AUTO")),
    };
    let min = read(tls_minimum_protocol_version, TlsVersion::V1_2, at.field("tls_minimum_protocol_version"))?;
    let max = read(tls_maximum_protocol_version, newest.max(min), at.field("tls_maximum_protocol_version"))?;
    if min > max {
        return Err(at.error("has a lowest version above the highest", "the lowest to be at most the highest"));
    }
    Ok(TlsVersions { min, max })
}

#[allow(deprecated)]
fn validation(kind: ValidationContextType, at: &At<'_>) -> Decoded<Validation> {
    match kind {
        ValidationContextType::ValidationContextSdsSecretConfig(trust) => {
            let trust = by_discovery(trust, &at.field("validation_context_sds_secret_config"))?;
            Ok(Validation { trust, names: Vec::new() })
        }
        ValidationContextType::CombinedValidationContext(combined) => {
            combined_validation(combined, &at.field("combined_validation_context"))
        }
        ValidationContextType::ValidationContext(_) => {
            Err(at.field("validation_context").unsupported("roots by secret discovery"))
        }
        ValidationContextType::ValidationContextCertificateProvider(_)
        | ValidationContextType::ValidationContextCertificateProviderInstance(_) => {
            Err(at.field("validation_context_certificate_provider").unsupported("roots by secret discovery"))
        }
    }
}

#[allow(deprecated)]
fn combined_validation(value: CombinedCertificateValidationContext, at: &At<'_>) -> Decoded<Validation> {
    take!(value, at, CombinedCertificateValidationContext {
        used { default_validation_context, validation_context_sds_secret_config }
        harmless {}
        refused { validation_context_certificate_provider, validation_context_certificate_provider_instance }
    });
    let at_trust = at.field("validation_context_sds_secret_config");
    let trust = by_discovery(required(validation_context_sds_secret_config, &at_trust)?, &at_trust)?;
    let at = at.field("default_validation_context");
    let names = default_validation_context.map_or(Ok(Vec::new()), |context| names(context, &at))?;
    Ok(Validation { trust, names })
}

#[allow(deprecated)]
fn names(value: CertificateValidationContext, at: &At<'_>) -> Decoded<Vec<StringMatch>> {
    take!(value, at, CertificateValidationContext {
        used { match_typed_subject_alt_names, match_subject_alt_names }
        harmless { suppress_client_ca_list }
        refused {
            trusted_ca, ca_certificate_provider_instance, system_root_certs, watched_directory,
            verify_certificate_spki, verify_certificate_hash, require_signed_certificate_timestamp, crl,
            allow_expired_certificate, trust_chain_verification, custom_validator_config, only_verify_leaf_cert_crl,
            max_verify_depth,
        }
    });
    let mut names = typed_names(match_typed_subject_alt_names, &at.field("match_typed_subject_alt_names"))?;
    // The older form looks at names of every kind, as the model does.
    names.extend(each(match_subject_alt_names, &at.field("match_subject_alt_names"), matcher::string)?);
    Ok(names)
}

/// The inverse of what `encode::tls` does: a match that fits names of both kinds must stand there for both.
fn typed_names(list: Vec<SubjectAltNameMatcher>, at: &At<'_>) -> Decoded<Vec<StringMatch>> {
    let mut names = Vec::new();
    let mut twin: Option<(SanType, StringMatch)> = None;
    let lonely = |index: usize| {
        at.index(index).error(
            "looks at names of one kind, but fits names of the other too",
            "its twin for the other of URI and DNS right after it",
        )
    };
    let count = list.len();
    for (index, value) in list.into_iter().enumerate() {
        let (kind, name) = typed_name(value, &at.index(index))?;
        match (twin.take(), SanKind::of(&name)) {
            (Some((first, same)), _) if first != kind && same == name => names.push(name),
            (Some(_), _) => return Err(lonely(index - 1)),
            (None, SanKind::Uri) if kind == SanType::Uri => names.push(name),
            (None, SanKind::Dns) if kind == SanType::Dns => names.push(name),
            (None, SanKind::Either) => twin = Some((kind, name)),
            (None, _) => {
                return Err(at
                    .index(index)
                    .field("san_type")
                    .error("is of a kind that the text cannot be", "the other"));
            }
        }
    }
    if twin.is_some() { Err(lonely(count - 1)) } else { Ok(names) }
}

fn typed_name(value: SubjectAltNameMatcher, at: &At<'_>) -> Decoded<(SanType, StringMatch)> {
    take!(value, at, SubjectAltNameMatcher {
        used { san_type, matcher }
        harmless {}
        refused { oid }
    });
    let kind = match SanType::try_from(san_type) {
        Ok(kind @ (SanType::Uri | SanType::Dns)) => kind,
        _ => return Err(at.field("san_type").error(format!("is {san_type}"), "URI or DNS")),
    };
    let at = at.field("matcher");
    Ok((kind, matcher::string(required(matcher, &at)?, &at)?))
}
