//! Secrets.

use model::Secret;
use model::secret::SecretValue;
use proto::envoy::config::core::v3::{DataSource, TypedExtensionConfig, data_source::Specifier};
use proto::envoy::extensions::transport_sockets::tls::v3::spiffe_cert_validator_config::TrustDomain;
use proto::envoy::extensions::transport_sockets::tls::v3::{
    self as wire, CertificateValidationContext, GenericSecret, SpiffeCertValidatorConfig, TlsCertificate, secret::Type,
};
use proto::google::protobuf::Any;

use super::pack;

/// A secret.
pub fn secret(secret: &Secret) -> Any {
    let value = match &secret.value {
        SecretValue::Certificate { chain, private_key } => Type::TlsCertificate(TlsCertificate {
            certificate_chain: inline(chain),
            private_key: inline(private_key),
            ..TlsCertificate::default()
        }),
        SecretValue::Generic(bytes) => {
            Type::GenericSecret(GenericSecret { secret: inline(bytes), ..GenericSecret::default() })
        }
        SecretValue::Trust { roots, by_domain, crl, leaf_only } => {
            Type::ValidationContext(CertificateValidationContext {
                trusted_ca: if roots.is_empty() { None } else { inline(roots) },
                custom_validator_config: spiffe(by_domain),
                crl: if crl.is_empty() { None } else { inline(crl) },
                only_verify_leaf_cert_crl: *leaf_only,
                ..CertificateValidationContext::default()
            })
        }
    };
    pack(&wire::Secret { name: secret.name.to_string(), r#type: Some(value) })
}

/// Roots that stand only for the members of their trust domain: Envoy's SPIFFE validator.
fn spiffe(by_domain: &[(String, Vec<u8>)]) -> Option<TypedExtensionConfig> {
    let domain = |(name, roots): &(String, Vec<u8>)| TrustDomain {
        name: name.clone(),
        trust_bundle: inline(roots),
        ..TrustDomain::default()
    };
    (!by_domain.is_empty()).then(|| TypedExtensionConfig {
        name: "envoy.tls.cert_validator.spiffe".into(),
        typed_config: Some(pack(&SpiffeCertValidatorConfig {
            trust_domains: by_domain.iter().map(domain).collect(),
            trust_bundles: None,
        })),
    })
}

fn inline(bytes: &[u8]) -> Option<DataSource> {
    Some(DataSource { specifier: Some(Specifier::InlineBytes(bytes.to_vec())), watched_directory: None })
}
