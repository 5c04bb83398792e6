//! The house rules as code: floors, manifests, file heads, file sizes, banned crates.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo::{self, root};

/// The crates of the house and the floor each stands on. Dependencies run downwards only.
const FLOORS: [(&str, u8); 26] = [
    ("base", 1),
    ("proto", 1),
    ("schema", 1),
    ("expression", 1),
    ("script", 1),
    ("model", 2),
    ("api", 2),
    ("svid", 2),
    ("transport", 2),
    ("mesh-http", 2),
    ("telemetry", 2),
    ("xds", 3),
    ("filter", 3),
    ("translate", 3),
    ("ca", 3),
    ("upstream", 3),
    ("wasm", 4),
    ("proxy", 4),
    ("lua", 4),
    ("control", 4),
    ("observe", 4),
    ("envoyfile", 4),
    ("launch", 4),
    ("halcyon", 5),
    ("halcyon-proxy-bin", 5),
    ("e2e", 6),
];

/// Edges that the design forbids although they run downwards: who must never know whom.
const FORBIDDEN: [(&str, &[&str]); 12] = [
    ("model", &["tokio", "serde", "prost", "proto", "tracing", "telemetry"]),
    ("api", &["model", "proto", "prost", "tonic", "tokio"]),
    ("translate", &["tokio", "proto", "xds", "rand", "serde", "serde_json"]),
    ("svid", &["xds", "model", "api", "transport"]),
    ("xds", &["api", "translate", "proxy"]),
    ("ca", &["tokio", "api", "model", "transport"]),
    ("wasm", &["proxy", "xds", "translate", "api", "control"]),
    ("proxy", &["api", "translate", "control"]),
    ("lua", &["proxy", "xds", "translate", "api", "control"]),
    ("control", &["proxy", "upstream", "filter"]),
    ("observe", &["xds", "model", "api", "translate"]),
    ("launch", &["xds", "model", "proto"]),
];

/// A file of ours longer than this holds more than one thought: usual is 100 to 300 lines.
const MAX_LINES: usize = 700;

/// Crates that must not come in, and why.
const BANNED: [(&str, &str); 4] = [
    ("ring", "aws-lc-rs is the one crypto provider"),
    ("openssl", "rustls is the one TLS library"),
    ("openssl-sys", "rustls is the one TLS library"),
    ("serde_yaml", "archived; `api` reads YAML with positions"),
];

/// Runs every rule and reports all that is wrong, not only the first.
pub fn run() -> Result<(), String> {
    println!("==> tidy");
    let mut wrong = Vec::new();
    manifests(&mut wrong);
    sources(&mut wrong);
    built_crates(&mut wrong);
    if wrong.is_empty() {
        println!("==> tidy: every rule of the house holds");
        return Ok(());
    }
    wrong.iter().for_each(|line| eprintln!("tidy: {line}"));
    Err(format!("{} rules of the house are broken", wrong.len()))
}

fn manifests(wrong: &mut Vec<String>) {
    for path in files(root(), "Cargo.toml") {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let shown = shown(&path);
        let Some(name) = value(&text, "name") else { continue };
        let floor = FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor);
        if shown.starts_with("crates/") && floor.is_none() {
            wrong.push(format!("{shown}: `{name}` has no floor; add it to FLOORS in xtask/src/tidy.rs"));
        }
        for (section, dependency, line) in dependencies(&text) {
            if !line.contains(".workspace = true") && !line.contains("workspace = true") {
                wrong.push(format!(
                    "{shown}: `{dependency}` must come from the workspace: write `{dependency}.workspace = true`"
                ));
            }
            if section != "dependencies" {
                continue;
            }
            let below = FLOORS.iter().find(|(known, _)| *known == dependency).map(|(_, floor)| *floor);
            if let (Some(floor), Some(below)) = (floor, below)
                && below >= floor
            {
                wrong.push(format!(
                    "{shown}: `{name}` (floor {floor}) must not depend on `{dependency}` (floor {below})"
                ));
            }
            let forbidden = FORBIDDEN.iter().find(|(known, _)| *known == name);
            if forbidden.is_some_and(|(_, list)| list.contains(&dependency.as_str())) {
                wrong.push(format!("{shown}: `{name}` must never know `{dependency}` (design, section 3)"));
            }
        }
    }
}

/// Section, name and line of every dependency of a manifest (not of the workspace's table).
fn dependencies(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
        } else if section.ends_with("dependencies")
            && !section.starts_with("workspace")
            && !line.starts_with('#')
            && let Some((name, _)) = line.split_once('=')
        {
            let name = name.trim().split('.').next().unwrap_or_default().to_owned();
            found.push((section.clone(), name, line.to_owned()));
        }
    }
    found
}

fn value(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|l| l.split('=').next().is_some_and(|k| k.trim() == key))?;
    Some(line.split('"').nth(1)?.to_owned())
}

fn sources(wrong: &mut Vec<String>) {
    for path in files(root(), ".rs") {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let shown = shown(&path);
        if !text.starts_with("//!") {
            wrong.push(format!("{shown}: opens without a `//!` line that says what it owns"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{shown}: {lines} lines, more than {MAX_LINES}: ask what the second thought is"));
        }
    }
}

/// Looks at what is really built: a lock file also lists crates that no chosen feature needs.
fn built_crates(wrong: &mut Vec<String>) {
    let tree = match cargo::output(&["tree", "--workspace", "--locked", "--prefix", "none", "--format", "{p}"]) {
        Ok(tree) => tree,
        Err(message) => return wrong.push(message),
    };
    for (name, reason) in BANNED {
        if tree.lines().any(|line| line.split(' ').next() == Some(name)) {
            wrong.push(format!("`{name}` is built; {reason}; `cargo tree -i {name}` says whence it comes"));
        }
    }
}

/// All files below a folder whose names end so, without build output and hidden folders.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            // `fuzz` is a workspace of its own, which cargo-fuzz asks for.
            if !name.starts_with('.') && !["target", "node_modules", "fuzz"].contains(&name.as_str()) {
                found.extend(files(&path, ending));
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
