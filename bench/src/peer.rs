//! Sets a proxy up for a scenario: finds its program, writes its configuration, and says how it is started and where it is
//! then called. Ours is made from the model, as the control plane makes it; the neighbours' are the templates in
//! `bench/peers/`.

mod discovery;
mod halcyon;
mod identity;
mod mesh;
mod neighbour;
mod program;
mod services;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::load::{self, Probe};
use crate::machine::Cores;
use crate::process::{self, CpuTime, Launch, Memory, Process};
use crate::scenario::{Path, Peer};
use crate::stop::Stop;

pub use discovery::Discovery;
pub use identity::Identities;
pub use mesh::Mesh;
pub use program::{Program, find};

/// What a peer is set up with.
pub struct Setup<'a> {
    /// Its program.
    pub program: &'a Program,
    /// What it stands for.
    pub path: Path,
    /// Where it proxies to.
    pub origin: SocketAddr,
    /// How many connections of clients it must be able to hold.
    pub clients: usize,
    /// The same with those to the origin.
    pub connections: usize,
    /// Ours tells nothing of what it carries.
    pub untold: bool,
    /// A folder for its files; holds the identities already.
    pub dir: &'a FilePath,
    /// Who the two halves of a pair are.
    pub identities: &'a Identities,
}

/// How a peer is started. The first process is the one that is called.
pub struct Deployment {
    /// Where it is called.
    pub entry: SocketAddr,
    /// The processes.
    pub launches: Vec<Launch>,
    /// Its control plane, if it has one, as long as it runs.
    pub control: Option<Discovery>,
}

/// Writes the configuration of a peer. None with a reason: it cannot do this.
///
/// # Errors
/// When a file cannot be written.
pub fn deploy(peer: Peer, setup: &Setup<'_>) -> anyhow::Result<Result<Deployment, String>> {
    match peer {
        Peer::Halcyon => halcyon::deploy(setup).map(Ok),
        Peer::Envoy => neighbour::envoy(setup).map(Ok),
        Peer::Haproxy => neighbour::haproxy(setup).map(Ok),
        Peer::Nginx => neighbour::nginx(setup),
    }
}

/// Starts a control plane for a mesh of many services, and writes the configuration of a sidecar in it. None with a reason:
/// only ours is measured there.
///
/// # Errors
/// As [`deploy`].
pub fn deploy_in(mesh: Mesh, peer: Peer, setup: &Setup<'_>) -> anyhow::Result<Result<Deployment, String>> {
    match peer {
        Peer::Halcyon => mesh::deploy(setup, mesh).map(Ok),
        other => Ok(Err(format!("{} is not measured in a mesh; ours is compared with itself", other.name()))),
    }
}

/// How long a peer may take to be ready.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long between two looks whether it is.
const LOOK: Duration = Duration::from_micros(300);

/// A peer that runs; ends when it is dropped.
pub struct Running {
    /// Who it is.
    pub peer: Peer,
    /// Where it is called.
    pub entry: SocketAddr,
    processes: Vec<Process>,
    family: Vec<u32>,
    _control: Option<Discovery>,
    /// From exec of its last process to its first answer.
    pub to_ready: Duration,
}

impl Running {
    /// Starts a peer on its core and waits for its first answer.
    ///
    /// # Errors
    /// When it does not start, with its last words; when it does not answer in time; when somebody asked for the end.
    pub fn start(
        peer: Peer,
        deployment: Deployment,
        probe: &Probe,
        cores: &Cores,
        dir: &FilePath,
        stop: &Stop,
    ) -> anyhow::Result<Self> {
        let mut processes = Vec::new();
        // The called half of a pair first.
        for (number, launch) in deployment.launches.iter().enumerate().rev() {
            processes.push(Process::start(launch, cores.proxy, &dir.join(format!("output-{number}")))?);
        }
        let started = processes.last().context("a deployment without processes")?.started;
        let entry = deployment.entry;
        while let Err(error) = load::probe(entry, probe) {
            for process in &mut processes {
                process.check().with_context(|| peer.name().to_owned())?;
            }
            if started.elapsed() > PATIENCE {
                let words: Vec<String> = processes.iter().map(Process::last_words).collect();
                bail!("{}: no answer within {PATIENCE:?} ({error:#}): {}", peer.name(), words.join("\n"));
            }
            stop.pause(LOOK)?;
        }
        let to_ready = started.elapsed();
        let family = processes.iter().flat_map(Process::family).collect();
        Ok(Self { peer, entry, processes, family, _control: deployment.control, to_ready })
    }

    /// Whether all of it still runs.
    ///
    /// # Errors
    /// That it does not, with its last words.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let name = self.peer.name();
        self.processes.iter_mut().try_for_each(|process| process.check().with_context(|| name.to_owned()))
    }

    /// Its processes.
    pub fn family(&self) -> Vec<u32> {
        self.family.clone()
    }

    /// Processor time so far.
    pub fn cpu_time(&self) -> CpuTime {
        process::cpu_time(&self.family)
    }

    /// Resident memory now.
    pub fn memory(&self) -> Memory {
        process::memory(&self.family)
    }
}

/// Ports of loopback that nobody uses now.
fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    let mut ports = [0; N];
    // All at once, so that none is given twice.
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn write(dir: &FilePath, name: &str, bytes: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
    let path = dir.join(name);
    std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    Ok(path)
}
