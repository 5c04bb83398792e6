//! Reads what `-f` names: files, directories, standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use control::v1::Document;

/// Everything that is named, in order; of a directory every `.yaml`, `.yml` and `.json`, by name, without hidden ones.
pub fn read(named: &[PathBuf]) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for path in named {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input")?;
            documents.push(Document { file: "-".to_owned(), text });
        } else if path.is_dir() {
            let before = documents.len();
            read_directory(path, &mut documents)?;
            if documents.len() == before {
                bail!("{}: there is no .yaml, .yml or .json file in this directory", path.display());
            }
        } else {
            documents.push(read_file(path)?);
        }
    }
    Ok(documents)
}

fn read_directory(path: &Path, documents: &mut Vec<Document>) -> Result<()> {
    let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
    let mut paths = entries.map(|e| Ok(e?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let ours = path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|ours| e == *ours));
        if path.is_dir() && !hidden {
            read_directory(&path, documents)?;
        } else if ours && !hidden {
            documents.push(read_file(&path)?);
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<Document> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(Document { file: path.display().to_string(), text })
}
