//! Certificates and roots that are files on this machine: read when a configuration first names them, and again when they
//! change, under connections and TLS ends that live on.
//!
//! Files are looked at, not watched: Kubernetes and certificate tools exchange them in many ways (links, renames, writes
//! in place), and all of them change what a look sees.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::secret::{Secret, SecretValue};
use model::tls::SecretFiles;
use tokio::time::Instant;

use crate::secrets::Secrets;

/// How often files are looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

/// The files that the configuration names.
#[derive(Debug, Default)]
pub(crate) struct Files {
    seen: BTreeMap<Arc<str>, Option<Stamp>>,
    looked: Option<Instant>,
}

/// What a look sees of a secret's files; none for one that is not there.
type Stamp = Vec<Option<Look>>;

/// By this a file is told from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    size: u64,
}

impl Look {
    /// Of the file at a path; none if there is none.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        let changed = (found.mtime(), found.mtime_nsec());
        Some(Self { device: found.dev(), inode: found.ino(), changed, size: found.size() })
    }
}

impl Files {
    /// The secrets that are named from now on; those that are none of files are passed over.
    pub(crate) fn are<'a>(&mut self, names: impl Iterator<Item = &'a Arc<str>>) {
        let mut before = std::mem::take(&mut self.seen);
        for name in names.filter(|name| SecretFiles::of(name).is_some()) {
            let stamp = before.remove(name).flatten();
            self.seen.insert(name.clone(), stamp);
        }
    }

    /// When they are to be looked at again.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        if self.seen.is_empty() { None } else { self.looked.map(|at| at + LOOK) }
    }

    /// Reads what is new or has changed. Says what [`Secrets::set`] says, and whether any came that was not there.
    pub(crate) fn look(&mut self, secrets: &Secrets, now: Instant) -> Looked {
        self.looked = Some(now);
        let mut looked = Looked::default();
        for (name, seen) in &mut self.seen {
            let Some(files) = SecretFiles::of(name) else { continue };
            let stamp = stamp(files);
            if seen.as_ref() == Some(&stamp) {
                continue;
            }
            let (again, known) = (seen.replace(stamp).is_some(), secrets.has(name));
            match read(files, name, secrets) {
                Ok(stale) => {
                    looked.stale |= stale;
                    looked.fresh |= !known;
                    if again {
                        tracing::info!("secret `{name}`: read anew");
                    }
                }
                Err(reason) if known => tracing::warn!("{reason}; what was read before stays in use"),
                Err(reason) => tracing::warn!("{reason}; no connection can use it until it can be read"),
            }
        }
        looked
    }
}

/// What came of a look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Looked {
    /// TLS ends have to be built anew.
    pub stale: bool,
    /// Something is there that was waited for.
    pub fresh: bool,
}

fn stamp(files: SecretFiles<'_>) -> Stamp {
    let look = |path: &str| Look::at(Path::new(path));
    match files {
        SecretFiles::Certificate { chain, key } => vec![look(chain), look(key)],
        SecretFiles::Roots { roots, crl } => std::iter::once(roots).chain(crl).map(look).collect(),
        // Read once: they change with the system.
        SecretFiles::SystemRoots => Vec::new(),
    }
}

fn read(files: SecretFiles<'_>, name: &Arc<str>, secrets: &Secrets) -> Result<bool, String> {
    let file = |path: &str| {
        std::fs::read(path).map_err(|e| format!("secret `{name}`: {path}: {e}; expected a readable PEM file"))
    };
    let value = match files {
        SecretFiles::Certificate { chain, key } => {
            SecretValue::Certificate { chain: file(chain)?, private_key: file(key)? }
        }
        SecretFiles::Roots { roots, crl } => {
            let crl = crl.map(file).transpose()?.unwrap_or_default();
            SecretValue::Trust { roots: file(roots)?, by_domain: Vec::new(), crl, leaf_only: false }
        }
        SecretFiles::SystemRoots => {
            secrets.set_system_roots(name).map_err(|e| format!("secret `{name}`: {e}"))?;
            return Ok(false);
        }
    };
    secrets.set(&Secret { name: name.clone(), value }).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::TestCa;

    #[tokio::test(start_paused = true)]
    async fn read_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (chain, key) = (path("tls.crt"), path("tls.key"));
        let name = SecretFiles::Certificate { chain: &chain, key: &key }.name();
        let (secrets, mut files, ca) = (Secrets::default(), Files::default(), TestCa::default());
        let look = |files: &mut Files| files.look(&secrets, Instant::now());
        assert_eq!(files.next_look(), None);
        files.are([&name, &"discovered".into()].into_iter());
        assert_eq!(look(&mut files), Looked::default(), "they are not there yet");
        assert_eq!(files.next_look(), Some(Instant::now() + LOOK));

        let write = |id: &str| {
            let (pem, own) = ca.pem(&ca.id(id));
            std::fs::write(&chain, &pem).unwrap();
            std::fs::write(&key, own).unwrap();
        };
        let serial = || secrets.cert(&name).certificate().map(|c| c.serial);
        write("a");
        assert!(look(&mut files).fresh && secrets.has(&name));
        let first = serial();
        assert_eq!((look(&mut files), serial()), (Looked::default(), first.clone()));
        std::fs::write(&key, "junk").unwrap();
        assert_eq!((look(&mut files).fresh, serial()), (false, first.clone()), "what was read before stays");
        write("b");
        look(&mut files);
        assert_ne!(serial(), first);
        files.are(std::iter::empty());
        assert_eq!(files.next_look(), None);
    }
}
