//! A directory of YAML files as a source, watched for changes.
//!
//! The directory says what there is: a file that goes takes its resources along. While a file has an error, its good
//! documents are taken and what it held before stays, so that a typo deletes nothing. Files are read again as a whole,
//! shortly after the last change, so that what is written together is seen together.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use api::source::{Batch, Change, Deliver, SourceError, Subscription};
use api::{Problem, Resource, ResourceKey, Source, check_set, yaml};
use notify::{RecursiveMode, Watcher};

/// Quiet time after a change before the files are read: editors and `git` write in several steps.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Larger files are refused: no hand writes them.
const MOST_BYTES: u64 = 16 << 20;

/// A directory of YAML and JSON files, sub-directories included. Names that begin with a dot are left out.
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn error(&self, reason: impl std::fmt::Display) -> SourceError {
        let reason =
            format!("{}: {reason}; expected a directory of YAML files that this user can read", self.path.display());
        SourceError { name: self.name().to_owned(), reason }
    }
}

impl Source for Directory {
    fn name(&self) -> &str {
        "files"
    }

    /// The first batch is told before this returns. Each batch's problems are all that stand.
    fn subscribe(&mut self, mut deliver: Deliver) -> Result<Subscription, SourceError> {
        let (told, changed) = mpsc::channel();
        let teller = told.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is no change of it.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = teller.send(Word::Changed);
            }
        })
        .map_err(|e| self.error(e))?;
        // Watched before it is read, so that nothing falls between.
        watcher.watch(&self.path, RecursiveMode::Recursive).map_err(|e| self.error(plain(&e)))?;
        let mut reader = Reader { root: self.path.clone(), held: BTreeMap::new() };
        let first = reader.read().map_err(|e| self.error(e))?;
        deliver(Batch { is_complete: true, ..first });
        let thread = std::thread::Builder::new().name("files".to_owned());
        let spawned = thread.spawn(move || {
            let _watcher = watcher;
            follow(&mut reader, &changed, &mut deliver);
        });
        spawned.map_err(|e| self.error(e))?;
        Ok(Subscription::new(move || drop(told.send(Word::Over))))
    }
}

enum Word {
    Changed,
    Over,
}

fn follow(reader: &mut Reader, changed: &mpsc::Receiver<Word>, deliver: &mut Deliver) {
    while let Ok(Word::Changed) = changed.recv() {
        loop {
            match changed.recv_timeout(DEBOUNCE) {
                Ok(Word::Changed) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Ok(Word::Over) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        deliver(reader.read().unwrap_or_else(|error| {
            let problem = Problem::error(format!("{}: {error}", reader.root.display()));
            let hint = "what it held before stays in force; make it readable again";
            Batch { problems: vec![problem.hint(hint)], ..Batch::default() }
        }));
    }
}

/// Reads the directory and says what changed since the last time.
struct Reader {
    root: PathBuf,
    held: BTreeMap<ResourceKey, Arc<Resource>>,
}

impl Reader {
    fn read(&mut self) -> io::Result<Batch> {
        let mut files = Vec::new();
        collect(&self.root, &mut files)?;
        files.sort();
        let (mut all, mut problems) = (Vec::new(), Vec::new());
        for file in files {
            let name = file.display().to_string();
            match read_text(&file) {
                Ok(text) => {
                    let parsed = api::parse(&name, &text);
                    let broken = parsed.has_errors();
                    all.extend(parsed.resources);
                    problems.extend(parsed.problems);
                    if broken {
                        self.keep(&name, &mut all);
                    }
                }
                // Gone between listing and reading.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let problem = Problem::error(format!("the file cannot be read: {error}"));
                    let problem = problem.at(&name, yaml::Span::default());
                    problems.push(problem.hint("what it held before stays in force; make it readable"));
                    self.keep(&name, &mut all);
                }
            }
        }
        problems.extend(check_set(&all));
        let mut found = BTreeMap::new();
        for resource in all {
            found.entry(resource.key()).or_insert(resource);
        }
        Ok(Batch { changes: self.replace(found), problems, is_complete: false })
    }

    /// What the file held before and does not give now.
    fn keep(&self, file: &str, all: &mut Vec<Arc<Resource>>) {
        let given: Vec<ResourceKey> = all.iter().map(|resource| resource.key()).collect();
        let held = self.held.values().filter(|resource| resource.origin.file == file);
        all.extend(held.filter(|resource| !given.contains(&resource.key())).cloned());
    }

    fn replace(&mut self, found: BTreeMap<ResourceKey, Arc<Resource>>) -> Vec<Change> {
        let same = |old: &Resource, new: &Resource| old == new && old.origin == new.origin;
        let gone = self.held.iter().filter(|(key, _)| !found.contains_key(*key));
        let deleted = gone.map(|(key, old)| Change::Deleted { key: key.clone(), origin: old.origin.clone() });
        let fresh = found.iter().filter(|(key, new)| !self.held.get(*key).is_some_and(|old| same(old, new)));
        let changes = deleted.chain(fresh.map(|(_, new)| Change::Applied(new.clone()))).collect();
        self.held = found;
        changes
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            // One that goes while we look is no fault of the whole.
            match collect(&path, files) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
            files.push(path);
        }
    }
    Ok(())
}

fn read_text(file: &Path) -> io::Result<String> {
    let size = std::fs::metadata(file)?.len();
    if size > MOST_BYTES {
        return Err(io::Error::other(format!("it has {size} bytes; at most {MOST_BYTES} are read")));
    }
    std::fs::read_to_string(file)
}

/// What the watcher says, without its own words around it.
fn plain(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::Io(error) => error.to_string(),
        notify::ErrorKind::PathNotFound => "there is no such directory".to_owned(),
        notify::ErrorKind::MaxFilesWatch => {
            "the system watches too many files (fs.inotify.max_user_watches)".to_owned()
        }
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, port: &str) -> String {
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n")
    }

    fn told(batch: &Batch) -> (Vec<String>, usize) {
        let tell = |change: &Change| match change {
            Change::Applied(resource) => format!("+{}", resource.meta.name),
            Change::Deleted { key, .. } => format!("-{}", key.name),
        };
        (batch.changes.iter().map(tell).collect(), batch.problems.len())
    }

    #[test]
    fn a_typo_deletes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: String| std::fs::write(dir.path().join(file), text).unwrap();
        let mut reader = Reader { root: dir.path().to_owned(), held: BTreeMap::new() };
        let mut check = |expected: &[&str], problems: usize| {
            let batch = reader.read().unwrap();
            let (changes, found) = told(&batch);
            assert_eq!((changes, found), (expected.iter().map(ToString::to_string).collect(), problems), "{batch:?}");
        };
        write("a.yaml", document("a", "80") + "---\n" + &document("b", "80"));
        write(".hidden.yaml", document("x", "80"));
        write("notes.txt", "nothing".to_owned());
        check(&["+a", "+b"], 0);
        check(&[], 0);
        // `b` is broken and stays, `a` changes.
        write("a.yaml", document("a", "81") + "---\n" + &document("b", "many"));
        check(&["+a"], 1);
        // The same name in another file: the first file counts.
        write("b.yaml", document("a", "9"));
        write("a.yaml", document("a", "81"));
        check(&["-b"], 1);
        std::fs::remove_file(dir.path().join("a.yaml")).unwrap();
        check(&["+a"], 0);
    }

    #[test]
    fn changes_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), document("a", "80")).unwrap();
        let (batches, told_batches) = mpsc::channel();
        let mut source = Directory::new(dir.path());
        let subscription = source.subscribe(Box::new(move |batch| drop(batches.send(batch)))).unwrap();
        assert!(told_batches.recv().unwrap().is_complete);
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("b.yaml"), document("b", "80")).unwrap();
        let seen = told_batches.iter().find(|batch| !batch.changes.is_empty()).unwrap();
        assert_eq!(told(&seen).0, ["+b"]);
        drop(subscription);
        assert!(told_batches.iter().all(|batch| batch.changes.is_empty()), "the thread ends");
        assert!(Directory::new("/nowhere/at/all").subscribe(Box::new(|_| {})).is_err());
    }
}
