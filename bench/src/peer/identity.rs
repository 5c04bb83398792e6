//! The identities of the two halves of a pair, issued by an authority that lives as long as the run.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base::{SpiffeId, TrustDomain};
use ca::{Authority, Key};

use super::write;

/// Longer than any run.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// Both halves, and the roots that both trust.
pub struct Identities {
    /// The calling half.
    pub client: Identity,
    /// The called half.
    pub server: Identity,
    /// PEM.
    pub roots: String,
}

/// A certificate and its key.
pub struct Identity {
    /// Whose.
    pub id: SpiffeId,
    /// PEM, the leaf first.
    pub chain: String,
    /// PEM.
    pub key: String,
}

impl Identities {
    /// Issues both.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn issue() -> anyhow::Result<Self> {
        let now = SystemTime::now();
        let domain: TrustDomain = "cluster.local".parse()?;
        let authority = Authority::create(domain.clone(), now)?;
        let one = |account| -> anyhow::Result<Identity> {
            let id = SpiffeId::workload(&domain, "default", account)?;
            let key = Key::generate()?;
            let issued = authority.issue(key.csr(&id)?.as_bytes(), &id, LIFE, now)?;
            Ok(Identity { id, chain: issued.chain.concat(), key: key.secret_pem() })
        };
        Ok(Self { client: one("client")?, server: one("server")?, roots: authority.bundle().concat() })
    }

    /// Writes them as the neighbours want them: chain and key apart, and in one file.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        for (name, identity) in [("client", &self.client), ("server", &self.server)] {
            write(dir, &format!("{name}.crt"), &identity.chain)?;
            write(dir, &format!("{name}.key"), &identity.key)?;
            write(dir, &format!("{name}.pem"), format!("{}{}", identity.chain, identity.key))?;
        }
        write(dir, "roots.pem", &self.roots)?;
        Ok(())
    }
}
