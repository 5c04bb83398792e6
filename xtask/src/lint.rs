//! Format and lints. Warnings are errors here and only here, so that a new compiler breaks nobody's build.

use crate::cargo;

/// Checks the format and runs clippy over everything, also over the fuzz targets, which are a workspace of their own.
pub fn run() -> Result<(), String> {
    cargo::run("format", &["fmt", "--all", "--check"])?;
    cargo::run("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    let fuzz = ["--manifest-path", "fuzz/Cargo.toml"];
    cargo::run(
        "lints of the fuzz targets",
        &[&["clippy"], &fuzz[..], &["--all-targets", "--quiet", "--", "-D", "warnings"]].concat(),
    )
}
