//! A certificate for a proxy that cannot ask for one itself: asked for with its token, renewed with itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use base::Backoff;
use ca::Key;
use transport::Address;
use transport::tls::LiveCert;
use xds::shell::{self, ControlServer, Links};

use super::{Ticket, write_private};

/// The life that is asked for; the control plane may give less.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// The first and longest bound of the wait after a certificate could not be renewed.
const BETWEEN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// The certificate of one proxy, in a folder of two files that are exchanged together.
pub struct Certificates {
    ticket: Ticket,
    folder: PathBuf,
    current: LiveCert,
}

impl Certificates {
    /// No certificate yet.
    pub fn new(ticket: Ticket, folder: PathBuf) -> Self {
        Self { ticket, folder, current: LiveCert::empty() }
    }

    /// The folder; the files are `current/chain.pem` and `current/key.pem` in it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gets a certificate for a new key, and puts both in place. Until when it is good.
    pub async fn obtain(&self) -> Result<(SystemTime, SystemTime)> {
        let key = Key::generate()?;
        let link = self.links()?.open(|| Some(self.ticket.token.clone())).await.map_err(|e| anyhow!(e))?;
        let answer = shell::certify(link, key.csr(&self.ticket.identity)?, LIFE).await;
        let chain = answer.map_err(|status| anyhow!("{}", status.message()))?.concat();
        self.current.set_pem(&chain, &key.secret_pem())?;
        self.put(&chain, &key.secret_pem())?;
        let certificate = self.current.certificate().context("the certificate was just set")?;
        Ok((certificate.not_before, certificate.not_after))
    }

    /// Renews at half of each certificate's life, for ever.
    pub async fn keep_fresh(self, (not_before, not_after): (SystemTime, SystemTime)) {
        let (mut at, mut backoff) = (renewal(not_before, not_after), Backoff::new(BETWEEN.0, BETWEEN.1));
        loop {
            tokio::time::sleep(at.duration_since(SystemTime::now()).unwrap_or_default()).await;
            match self.obtain().await {
                Ok((not_before, not_after)) => {
                    at = renewal(not_before, not_after);
                    backoff.reset();
                }
                Err(error) => {
                    crate::print::note(&format!("halcyon: the sidecar's certificate was not renewed: {error:#}"));
                    at = SystemTime::now() + backoff.next_delay();
                }
            }
        }
    }

    /// Writes both files beside the old ones and exchanges the folders' link at once, which is what Envoy watches.
    fn put(&self, chain: &str, key: &str) -> Result<()> {
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let folder = self.folder.join(format!("issued-{stamp}"));
        write_private(&folder, "chain.pem", chain.as_bytes())?;
        write_private(&folder, "key.pem", key.as_bytes())?;
        let (link, next) = (self.folder.join("current"), self.folder.join("next"));
        let before = std::fs::read_link(&link).ok();
        std::os::unix::fs::symlink(&folder, &next).with_context(|| next.display().to_string())?;
        std::fs::rename(&next, &link).with_context(|| link.display().to_string())?;
        if let Some(before) = before {
            std::fs::remove_dir_all(&before).with_context(|| before.display().to_string())?;
        }
        Ok(())
    }

    fn links(&self) -> Result<Links> {
        let address: Address = self.ticket.control.parse().map_err(|e| anyhow!("the control plane's address: {e}"))?;
        let server = ControlServer::Identity(self.ticket.server.clone());
        Ok(Links::tls(address, &server, &self.ticket.trust_bundle, self.current.clone())?)
    }
}

/// Half of the life, with a little chance in it.
fn renewal(not_before: SystemTime, not_after: SystemTime) -> SystemTime {
    ca::renewal_time(not_before, not_after, rand::random_range(-0.01..=0.01))
}
