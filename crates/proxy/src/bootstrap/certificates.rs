//! Where the certificate of the workload comes from, if not from the control plane.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use transport::Address;
use xds::shell::ControlServer;

use super::{BootstrapError, Token, control_address, control_server, read};

/// As typed: one of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificatesFile {
    authority: Option<AuthorityFile>,
    files: Option<PemFiles>,
    secrets: Option<SecretsFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityFile {
    address: String,
    server_name: Option<String>,
    server_identity: Option<String>,
    trust_bundle: PathBuf,
    token_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PemFiles {
    chain: PathBuf,
    private_key: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretsFile {
    socket: PathBuf,
    name: Option<String>,
}

/// Where the certificate of the workload comes from.
#[derive(Debug, Clone, Default)]
pub enum Certificates {
    /// The control plane certifies it.
    #[default]
    ControlPlane,
    /// Another authority does, asked by the same call (`istio.v1.auth.IstioCertificateService`).
    Authority(Authority),
    /// Somebody writes it into files (PEM), which are looked at again and again.
    Files {
        /// The chain, the leaf first.
        chain: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// An agent on this machine gives it by secret discovery over a Unix socket.
    Secrets {
        /// The socket.
        socket: PathBuf,
        /// The secret.
        name: String,
    },
}

/// Another authority.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Its address.
    pub address: Address,
    /// Who it must prove to be.
    pub server: ControlServer,
    /// PEM of the roots by which it must.
    pub trust_bundle: Vec<u8>,
    /// What proves who we are.
    pub token: Option<Token>,
}

/// The name that agents give a workload's own certificate (SPIRE, Istio).
const DEFAULT: &str = "default";

impl CertificatesFile {
    pub(super) fn resolve(self, path: &Path) -> Result<Certificates, BootstrapError> {
        let bad = |field, problem: String| BootstrapError::Value { path: path.to_owned(), field, problem };
        match self {
            Self { authority: Some(authority), files: None, secrets: None } => {
                let (host, address) = control_address(&authority.address)
                    .map_err(|problem| bad("certificates.authority.address", problem))?;
                let bundle = read(&authority.trust_bundle, "the roots of the authority's certificate, in PEM")?;
                let at = (path, "certificates.authority.server_identity");
                let server = control_server(at, authority.server_name, authority.server_identity, host)?;
                Ok(Certificates::Authority(Authority {
                    address,
                    server,
                    trust_bundle: bundle,
                    token: authority.token_file.map(Token::File),
                }))
            }
            Self { authority: None, files: Some(files), secrets: None } => {
                Ok(Certificates::Files { chain: files.chain, key: files.private_key })
            }
            Self { authority: None, files: None, secrets: Some(secrets) } => Ok(Certificates::Secrets {
                socket: secrets.socket,
                name: secrets.name.unwrap_or_else(|| DEFAULT.to_owned()),
            }),
            _ => Err(bad("certificates", "expected one of `authority`, `files` and `secrets`".to_owned())),
        }
    }
}
