//! What a proxy needs to meet its control plane for the first time: from the control plane of this machine, or carried
//! over from another.

use anyhow::{Context, Result, bail};
use base::SpiffeId;
use control::v1::BootstrapRequest;

use crate::cli::{Join, Place};
use crate::commands::client;

/// What a proxy needs to meet its control plane for the first time.
#[derive(Clone)]
pub struct Ticket {
    /// Where xDS is served over TLS.
    pub control: String,
    /// The identity that the control plane must show.
    pub server: SpiffeId,
    /// PEM of the roots.
    pub trust_bundle: String,
    /// The one-time token. A secret.
    pub token: String,
    /// The identity that the token is for.
    pub identity: SpiffeId,
}

impl Ticket {
    /// From the control plane of this machine, which knows its caller; or from files that were carried here.
    pub async fn get(place: &Place, join: &Join, namespace: &str, account: &str, instance: &str) -> Result<Self> {
        if let Some(control) = &join.control {
            if place.remote.server.is_some() {
                bail!("--control and --server are two ways to join; say one of them");
            }
            return Self::carried(control, place, join, namespace, account);
        }
        let request = BootstrapRequest {
            namespace: namespace.to_owned(),
            service_account: account.to_owned(),
            instance: instance.to_owned(),
        };
        let made = client(place)?.bootstrap(&request).await?;
        Ok(Self {
            control: made.xds_address,
            server: made.server_spiffe_id.parse().context("the control plane's identity")?,
            trust_bundle: made.trust_bundle_pem,
            token: made.token,
            identity: made.identity.parse().context("the workload's identity")?,
        })
    }

    fn carried(control: &str, place: &Place, join: &Join, namespace: &str, account: &str) -> Result<Self> {
        let read = |path: &Option<std::path::PathBuf>| {
            let path = path.as_deref().context("--control needs --token-file and --trust-bundle")?;
            std::fs::read_to_string(path).with_context(|| path.display().to_string())
        };
        let trust_bundle = read(&join.trust_bundle)?;
        let domain = join.trust_domain.parse().context("--trust-domain")?;
        Ok(Self {
            control: control.to_owned(),
            server: SpiffeId::workload(&domain, "halcyon-system", "control")?,
            trust_bundle,
            token: read(&place.remote.token_file)?.trim().to_owned(),
            identity: SpiffeId::workload(&domain, namespace, account)
                .with_context(|| format!("namespace `{namespace}` or service account `{account}`"))?,
        })
    }
}
