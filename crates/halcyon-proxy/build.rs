//! Packs the addresses that the loader has to adjust at start (`DT_RELR`): in the usual form there are 24 bytes for each, which
//! stay in the memory of every sidecar because the loader reads them all.
//!
//! A glibc before 2.36 refuses such a program, so this is for a glibc that knows it: the one here, for which is being built.

use std::process::Command;

/// The first glibc that reads packed addresses, with its minor number.
const FIRST: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let native = std::env::var("HOST").is_ok_and(|host| std::env::var("TARGET").is_ok_and(|target| target == host));
    if native && glibc().is_some_and(|version| version >= FIRST) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc; `None` where the C library is another.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
