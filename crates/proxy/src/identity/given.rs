//! A certificate that somebody else keeps: in files, or with an agent on this machine (SPIRE, Istio's agent).

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Backoff;
use model::secret::{Secret, SecretValue};
use tokio::time::sleep;
use transport::Address;
use transport::tls::LiveCert;
use xds::shell::{self, StreamEnd};

use super::Holder;
use crate::files::{LOOK, Look};

/// Takes the certificate of files whenever they change.
pub(super) async fn follow_files(holder: Holder, chain: PathBuf, key: PathBuf) {
    let mut seen = None;
    loop {
        let now = [Look::at(&chain), Look::at(&key)];
        if seen != Some(now) {
            seen = Some(now);
            if let Err(problem) = read(&chain, &key).and_then(|(chain, key)| holder.take(&chain, &key)) {
                tracing::warn!("certificate of {}: {problem}; the one in use stays", holder.id);
            }
        }
        sleep(LOOK).await;
    }
}

fn read(chain: &Path, key: &Path) -> Result<(String, String), String> {
    let file = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}; expected a PEM file", path.display()))
    };
    Ok((file(chain)?, file(key)?))
}

/// Takes the certificate that an agent gives under this name, as often as it gives another.
pub(super) async fn follow_agent(holder: Holder, socket: PathBuf, name: String) {
    let links = shell::Links::plain(Address::unix(&socket), LiveCert::empty());
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    loop {
        let ended = async {
            let link = links.open(|| None).await?;
            let take = |secret: &Secret| {
                let taken = holder.take_secret(secret);
                match &taken {
                    Ok(()) => backoff.reset(),
                    Err(problem) => tracing::warn!("certificate of {}: {problem}; the one in use stays", holder.id),
                }
                taken
            };
            Ok(match shell::follow_secret(link, &holder.node, &name, take).await {
                StreamEnd::Broken(status) => format!("{:?}: {}", status.code(), status.message()),
                StreamEnd::Closed | StreamEnd::OwnerGone => "it has ended the stream".to_owned(),
            })
        };
        let why = ended.await.unwrap_or_else(|problem: String| problem);
        tracing::warn!("the agent at {}: {why}; it is asked again", socket.display());
        sleep(backoff.next_delay()).await;
    }
}

impl Holder {
    fn take_secret(&self, secret: &Secret) -> Result<(), String> {
        let SecretValue::Certificate { chain, private_key } = &secret.value else {
            return Err(format!("the secret `{}` is no certificate with its key", secret.name));
        };
        let text = |bytes: &[u8]| {
            std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| format!("the secret `{}` is no PEM", secret.name))
        };
        self.take(&text(chain)?, &text(private_key)?)
    }
}
