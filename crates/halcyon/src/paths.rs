//! Where things are: the data directory, the control plane's socket, the programs that belong to us.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The data directory: as given, else below the user's data folder (XDG).
pub fn data_dir(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return std::path::absolute(given).with_context(|| format!("{}: no such place", given.display()));
    }
    if let Some(base) = env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute()) {
        return Ok(base.join("halcyon"));
    }
    match env::var_os("HOME") {
        Some(home) => Ok(PathBuf::from(home).join(".local/share/halcyon")),
        None => bail!("there is no HOME to put the data directory below; say --data-dir"),
    }
}

/// The socket of the control plane that keeps its data there.
pub fn control_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// A program of ours: named by a variable, else beside this one, else found on PATH.
pub fn program(name: &str, variable: &str) -> PathBuf {
    if let Some(given) = env::var_os(variable) {
        return given.into();
    }
    let beside = env::current_exe().ok().and_then(|me| Some(me.parent()?.join(name)));
    beside.filter(|path| path.exists()).unwrap_or_else(|| name.into())
}

/// This program.
pub fn myself() -> Result<PathBuf> {
    env::current_exe().context("cannot find the path of this program")
}
