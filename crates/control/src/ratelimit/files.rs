//! Files in the form of Envoy's own rate limit service, with which the control plane was started. They are read again every
//! few seconds; while one cannot be read, those before count.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::Problem;
use api::halcyon::LimitFile;
use tokio::sync::watch;

use crate::error::ControlError;

/// How often they are read again.
const INTERVAL: Duration = Duration::from_secs(5);

/// What the files say now. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Files {
    now: watch::Receiver<Arc<Vec<LimitFile>>>,
    sender: Arc<watch::Sender<Arc<Vec<LimitFile>>>>,
    path: Option<Arc<Path>>,
}

impl Files {
    /// Those at a path: a file, or a directory whose `.yaml` and `.yml` files are all meant.
    ///
    /// # Errors
    /// One of them cannot be read, or is wrong.
    pub fn open(path: Option<&Path>) -> Result<Self, ControlError> {
        let read = path.map_or(Ok(Vec::new()), read);
        let read = read.map_err(|reason| ControlError::Option { option: "rate limits", reason })?;
        let (sender, now) = watch::channel(Arc::new(read));
        Ok(Self { now, sender: Arc::new(sender), path: path.map(Arc::from) })
    }

    /// What they say.
    pub fn now(&self) -> Arc<Vec<LimitFile>> {
        self.now.borrow().clone()
    }
}

/// Reads the files again and again, if there are any, for as long as it runs.
pub(crate) async fn follow(files: Files) {
    let Some(path) = files.path.clone() else { return };
    let mut told = String::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        match read(&path) {
            Ok(read) if read != **files.now.borrow() => {
                tracing::info!("rate limits of {} are read again", path.display());
                files.sender.send_replace(Arc::new(read));
                told.clear();
            }
            Ok(_) => told.clear(),
            Err(problem) if problem != told => {
                tracing::error!("rate limits stay as they were: {problem}");
                told = problem;
            }
            Err(_) => {}
        }
    }
}

fn read(path: &Path) -> Result<Vec<LimitFile>, String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let mut paths = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|e| failed(path, e))?;
        let is_yaml = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        paths = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_yaml).collect();
        paths.sort();
    }
    let mut all: Vec<LimitFile> = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
        let file = LimitFile::read(&path.to_string_lossy(), &text).map_err(|problems| {
            let errors = problems.iter().filter(|problem| problem.is_error()).map(Problem::to_string);
            errors.collect::<Vec<_>>().join("; ")
        })?;
        if all.iter().any(|other| other.domain == file.domain) {
            return Err(format!("{}: another file has the domain `{}` too", path.display(), file.domain));
        }
        all.push(file);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("b.yaml", "domain: b\ndescriptors: []\n");
        write("a.yml", "domain: a\ndescriptors: []\n");
        write("notes.txt", "x");
        let found = read(dir.path()).unwrap();
        assert_eq!(found.iter().map(|file| file.domain.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        write("c.yaml", "domain: a\ndescriptors: []\n");
        assert!(read(dir.path()).unwrap_err().contains("the domain `a` too"));
        write("c.yaml", "domain: c\ndescriptors:\n- key: k\n  rate_limit: {unit: fortnight, requests_per_unit: 1}\n");
        let error = read(dir.path()).unwrap_err();
        assert!(error.contains("c.yaml:4:") && error.contains("fortnight") && error.contains("`minute`"), "{error}");
        assert!(matches!(Files::open(Some(dir.path())), Err(ControlError::Option { .. })));
    }
}
