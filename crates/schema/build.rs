//! Takes the schema of Envoy's messages from the package that has them: what a bootstrap file may name, without comments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_varint, skip_field};
use prost_types::FileDescriptorProto;

/// The package with Envoy's messages, and where in it their descriptors lie.
const PACKAGE: &str = "envoy-types";
const DESCRIPTORS: &str = "src/generated/types.bin";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let bytes = std::fs::read(folder_of(PACKAGE)?.join(DESCRIPTORS))?;
    let by_name = files(&bytes)?;
    let mut kept = BTreeSet::new();
    let wanted = |name: &str| name.starts_with("envoy/config/bootstrap/") || name.starts_with("envoy/extensions/");
    by_name.keys().filter(|name| wanted(name)).for_each(|name| keep(name, &by_name, &mut kept));
    let mut set = Vec::new();
    for file in by_name.iter().filter(|(name, _)| kept.contains(*name)).map(|(_, file)| file) {
        append(FILES, &without(COMMENTS, file.bytes)?, &mut set);
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("envoy.bin");
    std::fs::write(out, set)?;
    Ok(())
}

/// The field of `FileDescriptorSet` that holds its files.
const FILES: u32 = 1;
/// The field of `FileDescriptorProto` that holds comments and places in the source.
const COMMENTS: u32 = 9;

/// A file of the schema. Its bytes stay as they are: read and written anew, it would lose the options that are extensions,
/// which are the bounds of the fields' values.
struct File<'a> {
    imports: Vec<String>,
    bytes: &'a [u8],
}

/// The files of a `FileDescriptorSet`, by their names.
fn files(mut set: &[u8]) -> Result<BTreeMap<String, File<'_>>, Box<dyn std::error::Error>> {
    let mut files = BTreeMap::new();
    while !set.is_empty() {
        let (field, wire) = decode_key(&mut set)?;
        if (field, wire) != (FILES, WireType::LengthDelimited) {
            skip_field(wire, field, &mut set, DecodeContext::default())?;
            continue;
        }
        let length = decode_varint(&mut set)? as usize;
        let (bytes, rest) = set.split_at_checked(length).ok_or("the schema is cut off")?;
        set = rest;
        let file = FileDescriptorProto::decode(bytes)?;
        files.insert(file.name().to_owned(), File { imports: file.dependency, bytes });
    }
    Ok(files)
}

/// The message without a field.
fn without(dropped: u32, mut message: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    let mut kept = Vec::new();
    while !message.is_empty() {
        let whole = message;
        let (field, wire) = decode_key(&mut message)?;
        skip_field(wire, field, &mut message, DecodeContext::default())?;
        if field != dropped {
            kept.extend_from_slice(&whole[..whole.len() - message.len()]);
        }
    }
    Ok(kept)
}

/// Adds a field that holds bytes.
fn append(field: u32, bytes: &[u8], message: &mut Vec<u8>) {
    prost::encoding::encode_key(field, WireType::LengthDelimited, message);
    encode_varint(bytes.len() as u64, message);
    message.extend_from_slice(bytes);
}

/// A file with all that it imports.
fn keep(name: &str, all: &BTreeMap<String, File<'_>>, kept: &mut BTreeSet<String>) {
    if let Some(file) = all.get(name).filter(|_| kept.insert(name.to_owned())) {
        file.imports.iter().for_each(|name| keep(name, all, kept));
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
