//! A certificate authority of the public web: what a gateway shows to visitors, and whom they trust.

use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// The authority.
pub struct WebAuthority {
    root: rcgen::Certificate,
    key: KeyPair,
}

/// A certificate with its key.
pub struct Pair {
    /// What is shown first.
    pub der: CertificateDer<'static>,
    chain: String,
    key: String,
}

impl WebAuthority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        Ok(Self { root: root()?.self_signed(&key)?, key })
    }

    /// A certificate for these names.
    pub fn issue(&self, names: &[&str]) -> Result<Pair> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        // Who shows the name of its issuer is taken for the issuer itself.
        params.distinguished_name.push(DnType::CommonName, "a server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &Issuer::from_params(&root()?, &self.key))?;
        Ok(Pair { der: certificate.der().clone(), chain: certificate.pem(), key: key.serialize_pem() })
    }

    /// A client that trusts it and nobody else.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }

    /// Its root in PEM.
    pub fn pem(&self) -> String {
        self.root.pem()
    }
}

fn root() -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(params)
}

impl Pair {
    /// The Secret of that name that holds it.
    pub fn secret(&self, name: &str) -> String {
        let block = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let (chain, key) = (block(&self.chain), block(&self.key));
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{chain}  tls.key: |\n{key}"
        )
    }
}
