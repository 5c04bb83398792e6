//! Builds the dashboard's files into the program, if they were made (`ui/dist`). Without them everything works but the page.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    // Asked when it runs, and watched by a path from here: clones share their compiled files, and each has its own page.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let dist = here.join("../../ui/dist");
    // The folder above it stands for it while it is not there.
    let watched = if dist.exists() { "../../ui/dist" } else { "../../ui/package.json" };
    println!("cargo::rerun-if-changed={watched}");
    let mut files = Vec::new();
    if dist.join("index.html").exists() {
        collect(&dist, &mut files)?;
        files.sort();
    }
    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&dist).unwrap_or(file);
        let path = format!("/{}", name.display());
        let from = format!("/../../ui/dist{path}");
        // From where the crate is compiled: clones that share a target directory share what is written here. Writing to
        // a string cannot fail.
        let _ = writeln!(table, "    ({path:?}, include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {from:?}))),");
    }
    table.push(']');
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    std::fs::write(out.join("pages.rs"), table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_none_or(|extension| extension != "map") {
            files.push(path);
        }
    }
    Ok(())
}
