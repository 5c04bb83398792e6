//! Format and lints. Warnings are errors here and only here, so that a new compiler breaks nobody's build.

use crate::cargo;

/// Checks the format and runs clippy and rustdoc over everything.
pub fn run() -> Result<(), String> {
    cargo::run("format", &["fmt", "--all", "--check"])?;
    cargo::run("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
}
