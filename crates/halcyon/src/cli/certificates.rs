//! Where the certificate of a workload comes from, if not from the control plane.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

/// Another authority than that of the control plane. Its roots stand in `caCertificates` of MeshConfig.
#[derive(Debug, Clone, Default, Args)]
pub struct CertificateArgs {
    /// The workload's certificate is in DIR: cert-chain.pem and key.pem, which somebody renews there.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["certificate_agent", "ca"])]
    pub certificate_dir: Option<PathBuf>,
    /// An agent (SPIRE's, Istio's) gives the workload's certificate at this Unix socket, by Envoy's secret discovery.
    #[arg(long, value_name = "SOCKET", conflicts_with = "ca")]
    pub certificate_agent: Option<PathBuf>,
    /// Another server of Istio's certificate service certifies the workload; needs --ca-root.
    #[arg(long, value_name = "HOST:PORT", requires = "ca_root")]
    pub ca: Option<String>,
    /// A file with the roots that the certificate of --ca is checked against.
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub ca_root: Option<PathBuf>,
    /// The name, or the SPIFFE ID, in the certificate of --ca, if it is not the host.
    #[arg(long, value_name = "NAME", requires = "ca")]
    pub ca_name: Option<String>,
    /// A file with the token that proves to --ca who we are; it is read anew each time.
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub ca_token_file: Option<PathBuf>,
}

impl CertificateArgs {
    /// What the proxy's bootstrap file says of it; none: the control plane certifies.
    pub fn bootstrap(&self) -> Option<Value> {
        if let Some(folder) = &self.certificate_dir {
            let file = |name| folder.join(name);
            return Some(json!({"files": {"chain": file("cert-chain.pem"), "private_key": file("key.pem")}}));
        }
        if let Some(socket) = &self.certificate_agent {
            return Some(json!({"secrets": {"socket": socket}}));
        }
        let (identity, name) = match &self.ca_name {
            Some(name) if name.starts_with("spiffe://") => (Some(name), None),
            name => (None, name.as_ref()),
        };
        let authority = json!({
            "address": self.ca.as_ref()?,
            "trust_bundle": self.ca_root,
            "server_name": name,
            "server_identity": identity,
            "token_file": self.ca_token_file,
        });
        Some(json!({"authority": authority}))
    }
}
