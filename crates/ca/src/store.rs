//! Where an authority's state is kept: a trait, and a directory in the layout of Istio's `cacerts`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::state::CaState;

/// Why a state cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of the layout lacks.
    #[error(
        "{path}: it lacks; expected root-cert.pem, ca-cert.pem and ca-key.pem together: add it, or empty the directory to begin anew"
    )]
    Missing {
        /// Its path.
        path: String,
    },
    /// The system refuses.
    #[error("{path}: {source}; expected to read and write there: look at owner, permissions and free space")]
    Io {
        /// The path.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Keeps one authority's state. What is saved must be whole or not there at all, also after a crash.
pub trait KeyStore {
    /// The state; `None` if none was ever saved.
    ///
    /// # Errors
    /// [`StoreError`].
    fn load(&self) -> Result<Option<CaState>, StoreError>;

    /// Replaces the state.
    ///
    /// # Errors
    /// [`StoreError`]; the old state is still there.
    fn save(&self, state: &CaState) -> Result<(), StoreError>;
}

/// A directory. The files are reached as `root-cert.pem`, `ca-cert.pem`, `ca-key.pem`, `cert-chain.pem`.
///
/// A directory that an operator filled is read as it is. What is saved here goes into a new folder beside them, and one
/// symbolic link (`..data`) is turned to it, so that the set changes as one (the way in which the kubelet writes Secrets).
#[derive(Debug, Clone)]
pub struct DirStore {
    dir: PathBuf,
}

const ROOT_CERT: &str = "root-cert.pem";
const CA_CERT: &str = "ca-cert.pem";
const CA_KEY: &str = "ca-key.pem";
const CERT_CHAIN: &str = "cert-chain.pem";
const NEXT_CERT: &str = "next-ca-cert.pem";
const NEXT_KEY: &str = "next-ca-key.pem";
const DATA: &str = "..data";

impl DirStore {
    /// Keeps the state in `dir`, which is made (mode 0700) when something is saved.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn write_all(&self, state: &CaState) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let old = fs::read_link(self.dir.join(DATA)).ok();
        let name = format!("..{:016x}", rand::random::<u64>());
        let folder = self.dir.join(&name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        let result = self.fill_and_turn(state, &name, &folder);
        match (&result, old) {
            // The old keys are of no use any more; if they cannot be removed, they do no harm.
            (Ok(()), Some(old)) => drop(fs::remove_dir_all(self.dir.join(old))),
            (Ok(()), None) => {}
            (Err(_), _) => drop(fs::remove_dir_all(&folder)),
        }
        result
    }

    fn fill_and_turn(&self, state: &CaState, name: &str, folder: &Path) -> io::Result<()> {
        let files = files(state);
        for (file, text) in &files {
            let path = folder.join(file);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
        }
        File::open(folder)?.sync_all()?;
        // The moment of change.
        turn(name.as_ref(), &self.dir.join(DATA))?;
        for (file, _) in &files {
            turn(&Path::new(DATA).join(file), &self.dir.join(file))?;
        }
        for gone in [NEXT_CERT, NEXT_KEY].into_iter().filter(|gone| files.iter().all(|(file, _)| file != gone)) {
            match fs::remove_file(self.dir.join(gone)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        File::open(&self.dir)?.sync_all()
    }
}

impl KeyStore for DirStore {
    fn load(&self) -> Result<Option<CaState>, StoreError> {
        let data = self.dir.join(DATA);
        let from = if data.exists() { &data } else { &self.dir };
        let required = [ROOT_CERT, CA_CERT, CA_KEY];
        let read = |file: &str| read(&from.join(file));
        let [root_cert, ca_cert, ca_key] = [read(ROOT_CERT)?, read(CA_CERT)?, read(CA_KEY)?];
        match (root_cert, ca_cert, ca_key) {
            (None, None, None) => Ok(None),
            (Some(root_cert), Some(ca_cert), Some(ca_key)) => Ok(Some(CaState {
                root_cert,
                ca_cert,
                ca_key,
                cert_chain: read(CERT_CHAIN)?.unwrap_or_default(),
                next: read(NEXT_CERT)?.zip(read(NEXT_KEY)?),
            })),
            (root, cert, key) => {
                let there = [root.is_some(), cert.is_some(), key.is_some()];
                let missing = required.iter().zip(there).find(|(_, there)| !there).map_or(ROOT_CERT, |(file, _)| file);
                Err(StoreError::Missing { path: self.dir.join(missing).display().to_string() })
            }
        }
    }

    fn save(&self, state: &CaState) -> Result<(), StoreError> {
        self.write_all(state).map_err(|source| StoreError::Io { path: self.dir.display().to_string(), source })
    }
}

fn files(state: &CaState) -> Vec<(&'static str, &str)> {
    let mut files = vec![
        (CA_KEY, state.ca_key.as_str()),
        (CA_CERT, &state.ca_cert),
        (CERT_CHAIN, &state.cert_chain),
        (ROOT_CERT, &state.root_cert),
    ];
    if let Some((cert, key)) = &state.next {
        files.extend([(NEXT_KEY, key.as_str()), (NEXT_CERT, cert)]);
    }
    files
}

fn read(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io { path: path.display().to_string(), source }),
    }
}

/// Makes `link` point to `target`, in one step, whatever was there.
fn turn(target: &Path, link: &Path) -> io::Result<()> {
    if fs::read_link(link).is_ok_and(|current| current == target) {
        return Ok(());
    }
    let mut fresh = link.as_os_str().to_owned();
    fresh.push(".turning");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, &fresh)?;
    fs::rename(&fresh, link)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn state(mark: &str, next: bool) -> CaState {
        let text = |name: &str| format!("{name} {mark}");
        CaState {
            root_cert: text("root"),
            ca_cert: text("cert"),
            ca_key: text("key"),
            cert_chain: String::new(),
            next: next.then(|| (text("next cert"), text("next key"))),
        }
    }

    #[test]
    fn kept_as_one_and_closed_to_others() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("ca");
        let store = DirStore::new(&dir);
        assert_eq!(store.load().unwrap(), None);
        for saved in [state("1", false), state("2", true), state("3", false)] {
            store.save(&saved).unwrap();
            assert_eq!(store.load().unwrap().unwrap(), saved);
            assert_eq!(fs::read_to_string(dir.join(CA_KEY)).unwrap(), saved.ca_key);
            assert_eq!(dir.join(NEXT_KEY).exists(), saved.next.is_some());
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(CA_KEY)), mode(&dir.join(CA_CERT))), (0o700, 0o600, 0o600));
        let folders = fs::read_dir(&dir).unwrap().filter(|e| e.as_ref().unwrap().file_type().unwrap().is_dir());
        assert_eq!(folders.count(), 1, "the old keys are gone");
    }

    #[test]
    fn an_operators_files_are_read_and_replaced() {
        let tmp = tempfile::tempdir().unwrap();
        let store = DirStore::new(tmp.path());
        fs::write(tmp.path().join(ROOT_CERT), "root own").unwrap();
        fs::write(tmp.path().join(CA_CERT), "cert own").unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains(CA_KEY) && error.contains("it lacks"), "{error}");
        fs::write(tmp.path().join(CA_KEY), "key own").unwrap();
        assert_eq!(store.load().unwrap().unwrap(), state("own", false));
        store.save(&state("ours", true)).unwrap();
        assert_eq!(store.load().unwrap().unwrap(), state("ours", true));
    }
}
