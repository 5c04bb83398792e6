//! Takes the schema of Envoy's messages from the package that has them: what a bootstrap file may name, without comments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// The package with Envoy's messages, and where in it their descriptors lie.
const PACKAGE: &str = "envoy-types";
const DESCRIPTORS: &str = "src/generated/types.bin";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let bytes = std::fs::read(folder_of(PACKAGE)?.join(DESCRIPTORS))?;
    let all = FileDescriptorSet::decode(&*bytes)?;
    let by_name: BTreeMap<String, FileDescriptorProto> =
        all.file.into_iter().map(|file| (file.name().to_owned(), file)).collect();
    let mut kept = BTreeSet::new();
    let wanted = |name: &str| name.starts_with("envoy/config/bootstrap/") || name.starts_with("envoy/extensions/");
    by_name.keys().filter(|name| wanted(name)).for_each(|name| keep(name, &by_name, &mut kept));
    let file = by_name.into_iter().filter(|(name, _)| kept.contains(name)).map(|(_, mut file)| {
        file.source_code_info = None;
        file
    });
    let set = FileDescriptorSet { file: file.collect() };
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("envoy.bin");
    std::fs::write(out, set.encode_to_vec())?;
    Ok(())
}

/// A file with all that it imports.
fn keep(name: &str, all: &BTreeMap<String, FileDescriptorProto>, kept: &mut BTreeSet<String>) {
    if let Some(file) = all.get(name).filter(|_| kept.insert(name.to_owned())) {
        file.dependency.iter().for_each(|name| keep(name, all, kept));
    }
}

/// Where cargo has a package of the workspace's graph. Asked for this target alone, since cargo has not fetched what only
/// others need; not offline, since it may not have fetched what this build does not need either.
fn folder_of(package: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let output = Command::new(std::env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform"])
        .arg(std::env::var("TARGET")?)
        .current_dir(std::env::var("CARGO_MANIFEST_DIR")?)
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let found = packages.iter().find(|it| it["name"] == package).ok_or_else(|| format!("no package `{package}`"))?;
    let manifest = found["manifest_path"].as_str().ok_or("a package without a manifest")?;
    Ok(Path::new(manifest).parent().ok_or("a manifest without a folder")?.to_owned())
}
