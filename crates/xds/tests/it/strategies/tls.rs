//! What connections prove to one another, and ask of one another.

use model::tls::{
    CIPHER_SUITES, CertificatePins, DownstreamTls, SecretFiles, TlsVersion, TlsVersions, UpstreamTls, Validation,
};

use super::*;

fn versions() -> impl Strategy<Value = TlsVersions> {
    use TlsVersion::{V1_2, V1_3};
    select(vec![(V1_2, V1_2), (V1_2, V1_3), (V1_3, V1_3)]).prop_map(|(min, max)| TlsVersions { min, max })
}

fn validation() -> impl Strategy<Value = Validation> {
    let id = prop_oneof![
        Just(StringMatch::exact("spiffe://cluster.local/ns/default/sa/reviews")),
        Just(StringMatch::prefix("spiffe://cluster.local/")),
        Just(StringMatch::exact("reviews.default.svc.cluster.local")),
        string_match(),
    ];
    let files = prop_oneof![
        Just(SecretFiles::SystemRoots.name()),
        Just(SecretFiles::Roots { roots: "/ca.pem", crl: None }.name()),
        Just(SecretFiles::Roots { roots: "/ca.pem", crl: Some("/crl.pem") }.name()),
    ];
    let pins = (vec(any::<[u8; 32]>(), 0..2), vec(any::<[u8; 32]>(), 0..2))
        .prop_map(|(certificates, keys)| CertificatePins { certificates, keys })
        .prop_filter("no pins are none", |pins| *pins != CertificatePins::default());
    (prop_oneof![4 => name(), 1 => files], vec(id, 0..4), of(pins.prop_map(Box::new)))
        .prop_map(|(trust, names, pins)| Validation { trust, names, pins })
}

pub fn alpn() -> impl Strategy<Value = Vec<String>> {
    subsequence(vec!["istio".to_owned(), "h2".to_owned(), "http/1.1".to_owned()], 0..3)
}

/// By discovery, or in files.
fn certificate() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![4 => name(), 1 => Just(SecretFiles::Certificate { chain: "/tls.crt", key: "/tls.key" }.name())]
}

pub fn downstream_tls() -> BoxedStrategy<DownstreamTls> {
    let suites = subsequence(CIPHER_SUITES.map(str::to_owned).to_vec(), 0..3);
    (vec(certificate(), 1..2), of(validation()), any::<bool>(), alpn(), versions(), suites)
        .prop_map(|(certificates, validation, require_client_certificate, alpn, versions, cipher_suites)| {
            DownstreamTls { certificates, validation, require_client_certificate, alpn, versions, cipher_suites }
        })
        .boxed()
}

pub fn upstream_tls() -> BoxedStrategy<UpstreamTls> {
    let sni = of("[a-z.]{1,20}".boxed());
    (of(certificate()), of(validation()), sni, alpn(), versions())
        .prop_map(|(certificate, validation, sni, alpn, versions)| UpstreamTls {
            certificate,
            validation,
            sni,
            alpn,
            versions,
        })
        .boxed()
}
