//! Builds the dashboard's page with Node.js, before the programs that it is built into. Where Node.js is missing, everything
//! else goes on without the page.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{fs, io};

use crate::cargo::{finished, root};

/// What Vite needs.
const NODE: (u32, u32) = (20, 19);
/// What the page is made of.
const SOURCES: [&str; 7] =
    ["src", "public", "index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"];

/// Builds the page if something of it has changed. Says so if it cannot be built here.
pub fn build() -> Result<(), String> {
    let folder = root().join("ui");
    if !folder.join("package.json").exists() {
        return Ok(());
    }
    if let Err(why) = node() {
        let (major, minor) = NODE;
        eprintln!(
            "==> dashboard: {why}; the programs are built without its page (expected Node.js {major}.{minor} or later, with npm)"
        );
        return Ok(());
    }
    let unreadable = |e: io::Error| format!("ui: cannot be read: {e}");
    let (made, stamp) = (folder.join("dist/index.html"), folder.join("node_modules/.halcyon-stamp"));
    let now = state(&folder).map_err(unreadable)?;
    if made.exists() && fs::read_to_string(&stamp).is_ok_and(|before| before == now) {
        return Ok(());
    }
    if let Err(why) = install() {
        eprintln!(
            "==> dashboard: {why}; the programs are built without its page (expected a registry of npm that answers)"
        );
        return Ok(());
    }
    npm("dashboard", &["run", "--silent", "build"], &[])?;
    fs::write(&stamp, now).map_err(|e| format!("{}: cannot be written: {e}", stamp.display()))
}

/// Types and unit tests of the page, where Node.js is there.
pub fn test() -> Result<(), String> {
    build()?;
    if at_hand().is_err() {
        return Ok(());
    }
    npm("unit tests of the dashboard", &["run", "--silent", "test"], &[])
}

/// Are there Node.js and the packages of the page?
pub fn at_hand() -> Result<(), String> {
    node()?;
    let installed = root().join("ui/node_modules/.package-lock.json").exists();
    if installed { Ok(()) } else { Err("npm could not get the packages of the dashboard".to_owned()) }
}

/// What `package-lock.json` says, and nothing else.
fn install() -> Result<(), String> {
    // `npm ci` refuses a lock file that was made on a machine that leaves out packages of other systems.
    let arguments = ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    npm("packages of the dashboard", &arguments, &[])
}

/// Runs npm on the page, with these variables besides.
pub fn npm(what: &str, arguments: &[&str], variables: &[(&str, &Path)]) -> Result<(), String> {
    eprintln!("==> {what}: npm {}", arguments.join(" "));
    let begun = Instant::now();
    let status = Command::new("npm")
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(root().join("ui"))
        // Standard output stays free for results.
        .stdout(io::stderr())
        .status()
        .map_err(|e| format!("cannot start npm: {e}"))?;
    eprintln!("==> {what}: {} after {:.1?}", if status.success() { "done" } else { "FAILED" }, begun.elapsed());
    finished(what, status)
}

/// Is there a Node.js that will do?
fn node() -> Result<(), String> {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").stderr(Stdio::null()).output();
        output.ok().filter(|it| it.status.success()).map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned())
    };
    let found = version("node").ok_or("there is no Node.js")?;
    let mut parts = found.trim_start_matches('v').split('.').map_while(|part| part.parse::<u32>().ok());
    if (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) < NODE {
        return Err(format!("Node.js is {found}"));
    }
    version("npm").map(drop).ok_or_else(|| "there is no npm".to_owned())
}

/// Differs whenever a source does.
fn state(folder: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&folder.join(source), &mut files)?;
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        fs::read(&file)?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.exists() {
        files.push(path.to_owned());
    }
    Ok(())
}
