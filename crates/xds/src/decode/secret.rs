//! Secrets. Everything must be given inline: a file or a variable would be the control plane's, not ours.

use model::secret::SecretValue;
use model::{ResourceKind, Secret};
use proto::envoy::config::core::v3::{DataSource, TypedExtensionConfig, data_source::Specifier};
use proto::envoy::extensions::transport_sockets::tls::v3::spiffe_cert_validator_config::TrustDomain;
use proto::envoy::extensions::transport_sockets::tls::v3::{
    self as wire, CertificateValidationContext, GenericSecret, SpiffeCertValidatorConfig, TlsCertificate, secret::Type,
};
use proto::google::protobuf::Any;

use super::{At, DecodeError, Decoded, each, open, required, take, unpack};

/// A secret.
pub fn secret(any: &Any) -> Result<Secret, DecodeError> {
    let value: wire::Secret = open(ResourceKind::Secret, any)?;
    let at = At::resource(&value.name);
    let held = match required(value.r#type, &at)? {
        Type::TlsCertificate(certificate) => certificate_value(certificate, &at.field("tls_certificate"))?,
        Type::ValidationContext(context) => trust(context, &at.field("validation_context"))?,
        Type::SessionTicketKeys(_) => return Err(at.field("session_ticket_keys").unsupported(EXPECTED)),
        Type::GenericSecret(secret) => generic(secret, &at.field("generic_secret"))?,
    };
    Ok(Secret { name: value.name.as_str().into(), value: held })
}

const EXPECTED: &str = "a certificate, a validation context or a generic secret";

fn generic(value: GenericSecret, at: &At<'_>) -> Decoded<SecretValue> {
    take!(value, at, GenericSecret {
        used { secret }
        harmless {}
        refused { secrets }
    });
    Ok(SecretValue::Generic(inline(secret, &at.field("secret"))?))
}

fn certificate_value(value: TlsCertificate, at: &At<'_>) -> Decoded<SecretValue> {
    take!(value, at, TlsCertificate {
        used { certificate_chain, private_key }
        harmless {}
        refused {
            pkcs12, watched_directory, private_key_provider, password, ocsp_staple, signed_certificate_timestamp,
            tls_params,
        }
    });
    Ok(SecretValue::Certificate {
        chain: inline(certificate_chain, &at.field("certificate_chain"))?,
        private_key: inline(private_key, &at.field("private_key"))?,
    })
}

fn trust(value: CertificateValidationContext, at: &At<'_>) -> Decoded<SecretValue> {
    take!(value, at, CertificateValidationContext {
        used { trusted_ca, custom_validator_config, crl, only_verify_leaf_cert_crl }
        harmless { suppress_client_ca_list }
        refused {
            ca_certificate_provider_instance, system_root_certs, watched_directory, verify_certificate_spki,
            verify_certificate_hash, match_typed_subject_alt_names, match_subject_alt_names,
            require_signed_certificate_timestamp, allow_expired_certificate, trust_chain_verification,
            max_verify_depth,
        }
    });
    let roots = match trusted_ca {
        None => Vec::new(),
        some => inline(some, &at.field("trusted_ca"))?,
    };
    let by_domain = match custom_validator_config {
        None => Vec::new(),
        Some(validator) => spiffe(validator, &at.field("custom_validator_config"))?,
    };
    let crl = crl.map_or(Ok(Vec::new()), |crl| inline(Some(crl), &at.field("crl")))?;
    Ok(SecretValue::Trust { roots, by_domain, crl, leaf_only: only_verify_leaf_cert_crl })
}

fn spiffe(value: TypedExtensionConfig, at: &At<'_>) -> Decoded<Vec<(String, Vec<u8>)>> {
    let at = at.field("typed_config");
    let any = required(value.typed_config, &at)?;
    take!(unpack::<SpiffeCertValidatorConfig>(&any, &at)?, at, SpiffeCertValidatorConfig {
        used { trust_domains }
        harmless {}
        refused { trust_bundles }
    });
    each(trust_domains, &at.field("trust_domains"), |domain, at| {
        take!(domain, at, TrustDomain {
            used { name, trust_bundle }
            harmless {}
            refused { workload_trust_domain }
        });
        Ok((name, inline(trust_bundle, &at.field("trust_bundle"))?))
    })
}

fn inline(source: Option<DataSource>, at: &At<'_>) -> Decoded<Vec<u8>> {
    match required(source, at)?.specifier {
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes),
        Some(Specifier::InlineString(text)) => Ok(text.into_bytes()),
        _ => Err(at.error("is not given inline", "`inline_bytes` or `inline_string`")),
    }
}
