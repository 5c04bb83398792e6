//! The control plane as a process, and the calls of its API that a person's `halcyon apply` makes.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::machine::Cores;
use crate::process::{self, CpuTime, Launch, Memory, Process};
use crate::stop::Stop;

/// How long it may take to open its doors.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long between two looks whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// A control plane that runs; ends when it is dropped.
pub struct Plane {
    process: Process,
    /// Where proxies connect, in plain text.
    pub xds: SocketAddr,
    api: Api,
}

/// Its API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api(PathBuf);

impl Plane {
    /// Starts `halcyon control` on the core that a proxy has otherwise, with its state in `dir`.
    ///
    /// # Errors
    /// When it does not start, with its last words.
    pub fn start(programs: &Path, cores: &Cores, dir: &Path, stop: &Stop) -> anyhow::Result<Self> {
        let program = programs.join("halcyon");
        if !program.exists() {
            bail!("{} is missing: build it with `cargo build --release -p halcyon`", program.display());
        }
        let data = dir.join("state");
        let mut arguments = vec!["--data-dir".to_owned(), data.display().to_string(), "control".to_owned()];
        for port in ["--xds-port", "--plain-xds-port", "--metrics-port"] {
            arguments.extend([port.to_owned(), "0".to_owned()]);
        }
        let mut process = Process::start(&Launch { program, arguments }, cores.proxy, &dir.join("output"))?;
        let endpoints = data.join("endpoints.json");
        while !endpoints.exists() {
            process.check().context("halcyon control")?;
            if process.started.elapsed() > PATIENCE {
                bail!("halcyon control: not ready within {PATIENCE:?}: {}", process.last_words());
            }
            stop.pause(LOOK)?;
        }
        let told: Value = serde_json::from_slice(&std::fs::read(&endpoints)?)?;
        let xds = told["plain"].as_str().context("endpoints.json names no plain door")?.parse()?;
        let api = Api(told["socket"].as_str().context("endpoints.json names no socket")?.into());
        Ok(Self { process, xds, api })
    }

    /// Its API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// That it does not, with its last words.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.process.check().context("halcyon control")
    }

    /// Processor time so far.
    pub fn cpu_time(&self) -> CpuTime {
        process::cpu_time(&self.process.family())
    }

    /// Resident memory now.
    pub fn memory(&self) -> Memory {
        process::memory(&self.process.family())
    }
}

impl Api {
    /// Applies documents as one set, and gives how long that took.
    ///
    /// # Errors
    /// When the call fails or the set is refused.
    pub fn apply(&self, documents: &str) -> anyhow::Result<Duration> {
        let body = json!({"documents": [{"file": "bench.yaml", "text": documents}]}).to_string();
        let began = Instant::now();
        let mut stream = UnixStream::connect(&self.0).with_context(|| self.0.display().to_string())?;
        write!(
            stream,
            "POST /v1/apply HTTP/1.1\r\nhost: control\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        if !answer.starts_with("HTTP/1.1 200") {
            let words: String = answer.chars().take(600).collect();
            bail!("the control plane refused a change: {words}");
        }
        Ok(began.elapsed())
    }
}
