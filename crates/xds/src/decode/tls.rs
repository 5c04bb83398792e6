//! TLS settings of both sides.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER_PERMISSIVE;
use model::StringMatch;
use model::tls::{
    AGENT, CIPHER_SUITES, CertificatePins, DownstreamTls, OWN_CERTIFICATE, SecretFiles, TlsVersion, TlsVersions,
    UpstreamTls, Validation,
};
use proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use proto::envoy::config::core::v3::grpc_service::TargetSpecifier;
use proto::envoy::config::core::v3::{ConfigSource, DataSource, data_source::Specifier};
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
    if !common.cipher_suites.is_empty() {
        return Err(at.field("tls_params.cipher_suites").unsupported("the field to be absent towards upstreams"));
    }
    let mut certificates = common.certificates.into_iter();
    let certificate = certificates.next();
    if certificates.next().is_some() {
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
        cipher_suites: common.cipher_suites,
    })
}

/// What both sides have.
struct Common {
    certificates: Vec<Arc<str>>,
    validation: Option<Validation>,
    alpn: Vec<String>,
    versions: TlsVersions,
    cipher_suites: Vec<String>,
}

#[allow(deprecated)]
fn common(value: CommonTlsContext, newest: TlsVersion, at: &At<'_>) -> Decoded<Common> {
    take!(value, at, CommonTlsContext {
        used {
            tls_params, tls_certificates, tls_certificate_sds_secret_configs, alpn_protocols, validation_context_type,
        }
        harmless {}
        refused {
            tls_certificate_provider_instance, custom_tls_certificate_selector,
            tls_certificate_certificate_provider, tls_certificate_certificate_provider_instance, custom_handshaker,
            key_log,
        }
    });
    let at_certificates = at.field("tls_certificate_sds_secret_configs");
    let mut certificates = each(tls_certificate_sds_secret_configs, &at_certificates, by_discovery)?;
    certificates.extend(each(tls_certificates, &at.field("tls_certificates"), by_files)?);
    let (versions, cipher_suites) = parameters(tls_params.unwrap_or_default(), newest, &at.field("tls_params"))?;
    Ok(Common {
        certificates,
        validation: validation_context_type.map(|kind| validation(kind, at)).transpose()?,
        alpn: alpn_protocols,
        versions,
        cipher_suites,
    })
}

/// A certificate in files of the proxy, under the name that stands for them.
fn by_files(value: TlsCertificate, at: &At<'_>) -> Decoded<Arc<str>> {
    // They are looked at again and again, with a folder to watch or without.
    take!(value, at, TlsCertificate {
        used { certificate_chain, private_key }
        harmless { watched_directory }
        refused {
            pkcs12, private_key_provider, password, ocsp_staple, signed_certificate_timestamp, tls_params,
        }
    });
    let chain = file(certificate_chain, &at.field("certificate_chain"))?;
    let key = file(private_key, &at.field("private_key"))?;
    Ok(SecretFiles::Certificate { chain: &chain, key: &key }.name())
}

fn file(value: Option<DataSource>, at: &At<'_>) -> Decoded<String> {
    match required(value, at)?.specifier {
        Some(Specifier::Filename(path)) if !path.is_empty() && !path.contains('~') => Ok(path),
        Some(Specifier::Filename(path)) => Err(at.error(format!("is the file `{path}`"), "a path without `~`")),
        _ => Err(at.error("is not a file", "`filename`, or a certificate by secret discovery")),
    }
}

/// The workload's own certificate is the proxy's: it comes from the agent, as Istio has it, or stands there already.
pub(super) fn by_discovery(value: SdsSecretConfig, at: &At<'_>) -> Decoded<Arc<str>> {
    let is_own = value.name == OWN_CERTIFICATE && value.sds_config.as_ref().is_none_or(by_agent);
    if !is_own {
        ads(value.sds_config, &at.field("sds_config"))?;
    }
    Ok(value.name.into())
}

fn by_agent(source: &ConfigSource) -> bool {
    let Some(ConfigSourceSpecifier::ApiConfigSource(api)) = &source.config_source_specifier else { return false };
    api.grpc_services.iter().any(|service| {
        matches!(&service.target_specifier, Some(TargetSpecifier::EnvoyGrpc(envoy)) if envoy.cluster_name == AGENT)
    })
}

fn parameters(value: TlsParameters, newest: TlsVersion, at: &At<'_>) -> Decoded<(TlsVersions, Vec<String>)> {
    take!(value, at, TlsParameters {
        used { tls_minimum_protocol_version, tls_maximum_protocol_version, cipher_suites }
        harmless {}
        refused { ecdh_curves, signature_algorithms, compliance_policies }
    });
    if let Some(index) = cipher_suites.iter().position(|suite| !CIPHER_SUITES.contains(&suite.as_str())) {
        let problem = format!("is `{}`", cipher_suites[index]);
        return Err(at.field("cipher_suites").index(index).error(problem, CIPHER_SUITES.join(", ")));
    }
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
    Ok((TlsVersions { min, max }, cipher_suites))
}

#[allow(deprecated)]
fn validation(kind: ValidationContextType, at: &At<'_>) -> Decoded<Validation> {
    match kind {
        ValidationContextType::ValidationContextSdsSecretConfig(trust) => {
            let trust = by_discovery(trust, &at.field("validation_context_sds_secret_config"))?;
            Ok(Validation::by(trust))
        }
        ValidationContextType::CombinedValidationContext(combined) => {
            combined_validation(combined, &at.field("combined_validation_context"))
        }
        ValidationContextType::ValidationContext(value) => {
            let at = at.field("validation_context");
            let Context { trust, names, pins } = context(value, &at)?;
            match trust {
                Some(trust) => Ok(Validation { trust, names, pins }),
                None => Err(at.field("trusted_ca").error("is missing", "a file, or roots by secret discovery")),
            }
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
    let Context { trust: own, names, pins } = context(default_validation_context.unwrap_or_default(), &at)?;
    match own {
        None => Ok(Validation { trust, names, pins }),
        Some(_) => Err(at.field("trusted_ca").unsupported("roots by secret discovery alone")),
    }
}

/// What is asked of a peer's certificate.
struct Context {
    trust: Option<Arc<str>>,
    names: Vec<StringMatch>,
    pins: Option<Box<CertificatePins>>,
}

#[allow(deprecated)]
fn context(value: CertificateValidationContext, at: &At<'_>) -> Decoded<Context> {
    take!(value, at, CertificateValidationContext {
        used {
            trusted_ca, system_root_certs, crl, match_typed_subject_alt_names, match_subject_alt_names,
            verify_certificate_spki, verify_certificate_hash,
        }
        harmless { suppress_client_ca_list, watched_directory }
        refused {
            ca_certificate_provider_instance, require_signed_certificate_timestamp, allow_expired_certificate,
            trust_chain_verification, custom_validator_config, only_verify_leaf_cert_crl, max_verify_depth,
        }
    });
    let roots = trusted_ca.map(|roots| file(Some(roots), &at.field("trusted_ca"))).transpose()?;
    let crl = crl.map(|crl| file(Some(crl), &at.field("crl"))).transpose()?;
    let trust = match (&roots, &crl, system_root_certs) {
        (None, None, None) => None,
        (None, None, Some(SystemRootCerts {})) => Some(SecretFiles::SystemRoots.name()),
        (Some(roots), crl, None) => Some(SecretFiles::Roots { roots, crl: crl.as_deref() }.name()),
        _ => return Err(at.error("has roots from two places, or lists without roots", "one of them")),
    };
    let mut names = typed_names(match_typed_subject_alt_names, &at.field("match_typed_subject_alt_names"))?;
    // The older form looks at names of every kind, as the model does.
    names.extend(each(match_subject_alt_names, &at.field("match_subject_alt_names"), matcher::string)?);
    let pins = CertificatePins {
        certificates: each(verify_certificate_hash, &at.field("verify_certificate_hash"), hex_hash)?,
        keys: each(verify_certificate_spki, &at.field("verify_certificate_spki"), base64_hash)?,
    };
    Ok(Context { trust, names, pins: (pins != CertificatePins::default()).then(|| Box::new(pins)) })
}

fn hex_hash(text: String, at: &At<'_>) -> Decoded<[u8; 32]> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.replace(':', "").as_bytes()).ok();
    let hash = bytes.and_then(|bytes| bytes.try_into().ok());
    hash.ok_or_else(|| at.error(format!("is `{text}`"), "a SHA-256 hash, 64 hexadecimal digits with or without colons"))
}

fn base64_hash(text: String, at: &At<'_>) -> Decoded<[u8; 32]> {
    let bytes = STANDARD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| at.error(format!("is `{text}`"), "a SHA-256 hash in base64, 44 characters"))
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
