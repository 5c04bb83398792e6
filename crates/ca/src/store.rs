//! Where an authority's state is kept: a trait, and a directory in the layout of Istio's `cacerts`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::sealed::{self, Passphrase, SealError, is_sealed};
use crate::state::{CaState, FormerState, NextState, RetiringState};
use crate::token_keys::TokenKeyState;

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
    /// The key cannot be opened.
    #[error("{path}: {source}: look at --ca-passphrase-file")]
    Sealed {
        /// Its path.
        path: String,
        /// Why.
        source: SealError,
    },
    /// A file cannot be what was written.
    #[error(
        "{path}: it cannot be read; expected keys as they were written there: restore it, or remove it, so that new ones are made"
    )]
    Damaged {
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
    passphrase: Option<Passphrase>,
}

const ROOT_CERT: &str = "root-cert.pem";
const CA_CERT: &str = "ca-cert.pem";
const CA_KEY: &str = "ca-key.pem";
const CERT_CHAIN: &str = "cert-chain.pem";
const NEXT: [&str; 4] = ["next-ca-cert.pem", "next-ca-key.pem", "next-cert-chain.pem", "next-root-cert.pem"];
const RETIRING: [&str; 2] = ["retiring-root-cert.pem", "retiring-cert-chain.pem"];
const FORMER: [&str; 2] = ["former-ca-cert.pem", "former-ca-key.pem"];
const DATA: &str = "..data";
/// Keys of tokens, each below a line with the time at which it was made. They change apart from the authority.
const TOKEN_KEYS: &str = "token-keys.pem";
const MADE: &str = "Made: ";

impl DirStore {
    /// Keeps the state in `dir`, which is made (mode 0700) when something is saved.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), passphrase: None }
    }

    /// Keeps keys under this passphrase from now on, and opens those that are. Keys that were kept without are read, and
    /// encrypted when the state is saved next.
    pub fn sealed_by(mut self, passphrase: Option<Passphrase>) -> Self {
        self.passphrase = passphrase;
        self
    }

    /// Is the state there kept as it would be kept now, under a passphrase or without?
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn is_kept_so(&self) -> Result<bool, StoreError> {
        let key = read(&self.dir.join(CA_KEY))?;
        Ok(key.is_none_or(|key| is_sealed(&key) == self.passphrase.is_some()))
    }

    /// The keys of tokens that were kept; none: none were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn token_keys(&self) -> Result<Vec<TokenKeyState>, StoreError> {
        let text = read(&self.dir.join(TOKEN_KEYS))?.unwrap_or_default();
        let entries = text.split(MADE).skip(1).map(|entry| {
            let (made, key) = entry.split_once('\n')?;
            Some((UNIX_EPOCH.checked_add(Duration::from_secs(made.trim().parse().ok()?))?, key))
        });
        entries
            .map(|entry| {
                let (made, key) = entry.ok_or_else(|| StoreError::Damaged { path: self.shown(TOKEN_KEYS) })?;
                Ok(TokenKeyState { made, key: self.open(TOKEN_KEYS, key)? })
            })
            .collect()
    }

    /// Replaces the keys of tokens.
    ///
    /// # Errors
    /// [`StoreError`]; the old ones are still there.
    pub fn save_token_keys(&self, keys: &[TokenKeyState]) -> Result<(), StoreError> {
        let mut text = String::new();
        for TokenKeyState { made, key } in keys {
            let kept = match &self.passphrase {
                Some(passphrase) => sealed::seal(key, passphrase)
                    .map_err(|source| StoreError::Sealed { path: self.shown(TOKEN_KEYS), source })?,
                None => key.clone(),
            };
            let seconds = made.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            text.push_str(&format!("{MADE}{seconds}\n{}\n", kept.trim_end()));
        }
        self.replace(TOKEN_KEYS, &text).map_err(|source| StoreError::Io { path: self.shown(TOKEN_KEYS), source })
    }

    /// Are the keys of tokens kept as they would be kept now, under a passphrase or without?
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn token_keys_are_kept_so(&self) -> Result<bool, StoreError> {
        let text = read(&self.dir.join(TOKEN_KEYS))?;
        Ok(text.is_none_or(|text| is_sealed(&text) == self.passphrase.is_some()))
    }

    fn shown(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }

    /// Writes a file beside the authority's, in one step.
    fn replace(&self, name: &str, text: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let fresh = self.dir.join(format!("..{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        let turned = written.and_then(|()| fs::rename(&fresh, self.dir.join(name)));
        // Half a file is of no use.
        turned.inspect_err(|_| drop(fs::remove_file(&fresh)))?;
        File::open(&self.dir)?.sync_all()
    }

    fn open(&self, file: &str, key: &str) -> Result<String, StoreError> {
        let sealed = |source| StoreError::Sealed { path: self.dir.join(file).display().to_string(), source };
        sealed::open(key, self.passphrase.as_ref()).map_err(sealed)
    }

    fn former(
        &self,
        read: impl Fn(&str) -> Result<Option<String>, StoreError>,
    ) -> Result<Vec<FormerState>, StoreError> {
        let [certs, keys] = FORMER;
        let (certs, keys) = (read(certs)?.unwrap_or_default(), read(keys)?.unwrap_or_default());
        let pairs = blocks(&certs).into_iter().zip(blocks(&keys));
        pairs.map(|(cert, key)| Ok(FormerState { ca_cert: cert, ca_key: self.open(FORMER[1], &key)? })).collect()
    }

    /// The same state with its keys as they are kept.
    fn close(&self, state: &CaState) -> Result<CaState, StoreError> {
        let Some(passphrase) = &self.passphrase else { return Ok(state.clone()) };
        let close = |file: &str, key: &mut String| {
            let failed = |source| StoreError::Sealed { path: self.dir.join(file).display().to_string(), source };
            *key = sealed::seal(key, passphrase).map_err(failed)?;
            Ok(())
        };
        let mut state = state.clone();
        close(CA_KEY, &mut state.ca_key)?;
        if let Some(next) = &mut state.next {
            close(NEXT[1], &mut next.ca_key)?;
        }
        for former in &mut state.former {
            close(FORMER[1], &mut former.ca_key)?;
        }
        Ok(state)
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
        let [certs, keys] = former_texts(state);
        let mut files = files(state);
        if !certs.is_empty() {
            files.extend(FORMER.into_iter().zip([&*certs, &*keys]));
        }
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
        for gone in
            NEXT.into_iter().chain(RETIRING).chain(FORMER).filter(|gone| files.iter().all(|(file, _)| file != gone))
        {
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
                ca_key: self.open(CA_KEY, &ca_key)?,
                cert_chain: read(CERT_CHAIN)?.unwrap_or_default(),
                next: match next(read)? {
                    Some(next) => Some(NextState { ca_key: self.open(NEXT[1], &next.ca_key)?, ..next }),
                    None => None,
                },
                retiring: retiring(read)?,
                former: self.former(read)?,
            })),
            (root, cert, key) => {
                let there = [root.is_some(), cert.is_some(), key.is_some()];
                let missing = required.iter().zip(there).find(|(_, there)| !there).map_or(ROOT_CERT, |(file, _)| file);
                Err(StoreError::Missing { path: self.dir.join(missing).display().to_string() })
            }
        }
    }

    fn save(&self, state: &CaState) -> Result<(), StoreError> {
        self.write_all(&self.close(state)?)
            .map_err(|source| StoreError::Io { path: self.dir.display().to_string(), source })
    }
}

fn files(state: &CaState) -> Vec<(&'static str, &str)> {
    let mut files = vec![
        (CA_KEY, state.ca_key.as_str()),
        (CA_CERT, &state.ca_cert),
        (CERT_CHAIN, &state.cert_chain),
        (ROOT_CERT, &state.root_cert),
    ];
    if let Some(next) = &state.next {
        files.extend(NEXT.into_iter().zip([&*next.ca_cert, &next.ca_key, &next.cert_chain, &next.root_cert]));
    }
    if let Some(retiring) = &state.retiring {
        files.extend(RETIRING.into_iter().zip([&*retiring.root_cert, &retiring.cert_chain]));
    }
    files
}

/// Former certificates, and their keys in the same order.
fn former_texts(state: &CaState) -> [String; 2] {
    let joined = |of: fn(&FormerState) -> &str| {
        state.former.iter().map(|former| of(former).trim_end().to_owned() + "\n").collect::<String>()
    };
    [joined(|former| &former.ca_cert), joined(|former| &former.ca_key)]
}

/// The blocks of a PEM text, each by itself.
fn blocks(text: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN ";
    text.split(BEGIN).skip(1).map(|block| format!("{BEGIN}{block}")).collect()
}

fn next(read: impl Fn(&str) -> Result<Option<String>, StoreError>) -> Result<Option<NextState>, StoreError> {
    let [cert, key, chain, roots] = NEXT;
    let (Some(ca_cert), Some(ca_key)) = (read(cert)?, read(key)?) else { return Ok(None) };
    let (cert_chain, root_cert) = (read(chain)?.unwrap_or_default(), read(roots)?.unwrap_or_default());
    Ok(Some(NextState { ca_cert, ca_key, cert_chain, root_cert }))
}

fn retiring(read: impl Fn(&str) -> Result<Option<String>, StoreError>) -> Result<Option<RetiringState>, StoreError> {
    let [roots, chain] = RETIRING;
    let Some(root_cert) = read(roots)? else { return Ok(None) };
    Ok(Some(RetiringState { root_cert, cert_chain: read(chain)?.unwrap_or_default() }))
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
            next: next.then(|| NextState {
                ca_cert: text("next cert"),
                ca_key: text("next key"),
                cert_chain: String::new(),
                root_cert: text("next root"),
            }),
            retiring: next.then(|| RetiringState { root_cert: text("old root"), cert_chain: text("bridge") }),
            former: Vec::new(),
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
            for file in NEXT.into_iter().chain(RETIRING) {
                assert_eq!(dir.join(file).exists(), saved.next.is_some(), "{file}");
            }
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join(CA_KEY)), mode(&dir.join(CA_CERT))), (0o700, 0o600, 0o600));
        let folders = fs::read_dir(&dir).unwrap().filter(|e| e.as_ref().unwrap().file_type().unwrap().is_dir());
        assert_eq!(folders.count(), 1, "the old keys are gone");
    }

    #[test]
    fn keys_under_a_passphrase() {
        let tmp = tempfile::tempdir().unwrap();
        let plain = DirStore::new(tmp.path());
        let key = || crate::Key::generate().unwrap().secret_pem();
        let mut saved = state("1", true);
        (saved.ca_key, saved.next.as_mut().unwrap().ca_key) = (key(), key());
        let block = |mark: &str| format!("-----BEGIN CERTIFICATE-----\n{mark}\n-----END CERTIFICATE-----\n");
        saved.former = ["a", "b"].map(|mark| FormerState { ca_cert: block(mark), ca_key: key() }).to_vec();
        plain.save(&saved).unwrap();
        // A store that was kept without is read, and encrypted when it is saved.
        let word = |text: &str| Some(Passphrase::new(text.as_bytes()).unwrap());
        let sealed = plain.clone().sealed_by(word("right"));
        assert_eq!((plain.is_kept_so().unwrap(), sealed.is_kept_so().unwrap()), (true, false));
        assert_eq!(sealed.load().unwrap().unwrap(), saved);
        sealed.save(&saved).unwrap();
        assert_eq!((plain.is_kept_so().unwrap(), sealed.is_kept_so().unwrap()), (false, true));
        for file in [CA_KEY, NEXT[1], FORMER[1]] {
            let text = fs::read_to_string(tmp.path().join(file)).unwrap();
            assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{file}: {text}");
        }
        assert_eq!(sealed.load().unwrap().unwrap(), saved);
        for (store, expected) in [
            (plain.clone(), "no passphrase was given"),
            (plain.sealed_by(word("wrong")), "the passphrase does not open the key"),
        ] {
            let error = store.load().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("ca-key.pem"), "{error}");
        }
    }

    #[test]
    fn keys_of_tokens() {
        let tmp = tempfile::tempdir().unwrap();
        let plain = DirStore::new(tmp.path().join("ca"));
        assert_eq!(plain.token_keys().unwrap(), []);
        let keys = |n: u64| {
            let key = || crate::Key::generate().unwrap().secret_pem();
            let made = |i| UNIX_EPOCH + Duration::from_secs(1_700_000_000 + i);
            (0..n).map(|i| TokenKeyState { made: made(i), key: key() }).collect::<Vec<_>>()
        };
        for saved in [keys(1), keys(2)] {
            plain.save_token_keys(&saved).unwrap();
            assert_eq!(plain.token_keys().unwrap(), saved);
        }
        let path = plain.dir.join(TOKEN_KEYS);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // A change of the authority leaves them alone.
        plain.save(&state("1", false)).unwrap();
        assert_eq!(plain.token_keys().unwrap().len(), 2);
        let sealed = plain.clone().sealed_by(Some(Passphrase::new(b"word").unwrap()));
        assert!(!sealed.token_keys_are_kept_so().unwrap());
        let had = sealed.token_keys().unwrap();
        sealed.save_token_keys(&had).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("-----BEGIN PRIVATE KEY-----"), "{text}");
        assert_eq!((sealed.token_keys().unwrap(), sealed.token_keys_are_kept_so().unwrap()), (had, true));
        assert!(plain.token_keys().unwrap_err().to_string().contains("no passphrase was given"));
        fs::write(&path, "Made: x\nnothing").unwrap();
        assert!(plain.token_keys().unwrap_err().to_string().contains("remove it"));
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
