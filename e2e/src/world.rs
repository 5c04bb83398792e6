//! What the checks share: the meshes, started when they are first needed and ended when another group begins, and
//! what the machine looked like before.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Result, anyhow, bail};

use crate::leftovers::{Footprint, Traces};
use crate::mesh::Mesh;
use crate::place::Place;
use crate::process::tail;
use crate::runner::Skipped;

/// What a check works with.
pub struct World {
    /// Where everything is.
    pub place: Rc<Place>,
    before: Footprint,
    traces: Traces,
    running: Option<(String, Mesh)>,
    /// The mesh that could not be started, so that not every check waits for it again.
    broken: Option<String>,
    log_sizes: BTreeMap<PathBuf, usize>,
    endings: Vec<String>,
}

/// Which mesh a check wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `halcyon demo`.
    Demo,
    /// The parts, each started by us.
    Parts,
    /// The parts, and a Prometheus that scrapes them.
    Watched,
    /// `halcyon demo` with this workload behind a stock Envoy.
    Envoy(&'static str),
}

impl World {
    /// Nothing runs yet.
    pub fn new(place: Place) -> Result<Self> {
        Ok(Self {
            before: Footprint::take()?,
            traces: Traces::default(),
            place: Rc::new(place),
            running: None,
            broken: None,
            log_sizes: BTreeMap::new(),
            endings: Vec::new(),
        })
    }

    /// The mesh that is wanted, started if it does not run; another one is ended.
    pub async fn mesh(&mut self, wanted: Wanted) -> Result<&mut Mesh> {
        let name = match &wanted {
            Wanted::Demo => "demo".to_owned(),
            Wanted::Parts => "parts".to_owned(),
            Wanted::Watched => "watched".to_owned(),
            Wanted::Envoy(workload) => format!("envoy-{workload}"),
        };
        let alive = self.running.as_mut().is_some_and(|(running, mesh)| *running == name && mesh.ended().is_none());
        if !alive {
            if self.broken.as_ref() == Some(&name) {
                bail!("the mesh did not start, see above");
            }
            self.end_mesh().await;
            let started = self.start(&wanted, &name).await;
            // What is skipped was never tried; it is skipped again for the next check.
            let broken = |error: &anyhow::Error| !error.is::<Skipped>();
            let mesh = started.inspect_err(|error| self.broken = broken(error).then(|| name.clone()))?;
            self.running = Some((name, mesh));
        }
        self.running.as_mut().map(|(_, mesh)| mesh).ok_or_else(|| anyhow!("no mesh runs"))
    }

    async fn start(&self, wanted: &Wanted, name: &str) -> Result<Mesh> {
        match wanted {
            Wanted::Demo => Mesh::demo(&self.place, name, &[]).await,
            Wanted::Parts => Mesh::parts(&self.place, name).await,
            Wanted::Watched => Mesh::watched(&self.place, name).await,
            Wanted::Envoy(workload) => {
                let Some(envoy) = &self.place.envoy else {
                    return Err(Skipped("no stock Envoy at HALCYON_ENVOY".to_owned()).into());
                };
                let behind = format!("{workload}={}", envoy.display());
                Mesh::demo(&self.place, name, &["--stock-envoy", &behind]).await
            }
        }
    }

    /// `halcyon demo`, with no rules but its first.
    pub async fn demo(&mut self) -> Result<&mut Mesh> {
        self.mesh(Wanted::Demo).await
    }

    /// Ends the mesh that runs.
    pub async fn end_mesh(&mut self) {
        if let Some((name, mesh)) = self.running.take()
            && let Err(error) = mesh.end().await
        {
            self.endings.push(format!("{name}: {error:#}"));
        }
    }

    /// Remembers how long the logs are, so that a failure can show what came since.
    pub fn mark_logs(&mut self) {
        self.log_sizes = self.logs().into_iter().map(|(path, text)| (path, text.len())).collect();
    }

    /// The last lines that came into the logs since [`World::mark_logs`].
    pub fn what_logs_say(&self) -> String {
        let mut said = String::new();
        for (path, text) in self.logs() {
            let since = self.log_sizes.get(&path).copied().unwrap_or(0);
            // What went well is of no help here.
            let telling = |line: &&str| !line.trim().is_empty() && !line.contains(" INFO ");
            let new: Vec<&str> = text.get(since..).unwrap_or_default().lines().filter(telling).collect();
            if !new.is_empty() {
                let lines = tail(&new.join("\n"), 6).replace('\n', "\n        ");
                said.push_str(&format!("        {} said:{lines}\n", path.display()));
            }
        }
        said
    }

    fn logs(&self) -> Vec<(PathBuf, String)> {
        let meshes = std::fs::read_dir(&self.place.run).into_iter().flatten().flatten();
        let files = meshes.flat_map(|mesh| std::fs::read_dir(mesh.path().join("logs")).into_iter().flatten().flatten());
        let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
        paths.sort();
        paths.into_iter().map(|p| (std::fs::read(&p).unwrap_or_default(), p)).map(|(b, p)| (p, lossy(&b))).collect()
    }

    /// Notes which namespaces this run's processes are in, for the comparison at the end.
    pub fn look_around(&mut self) {
        self.traces.look(&self.place.mark);
    }

    /// Ends everything that runs.
    pub async fn close(&mut self) {
        self.end_mesh().await;
    }

    /// Compares the machine with what it was before, and removes this run's folder.
    pub async fn leftovers(&mut self) -> Result<String> {
        let outcome = self.traces.compare(&self.before, &self.place).await;
        self.place.remove();
        let seen = outcome?;
        match self.endings.first() {
            Some(wrong) => bail!("{wrong}"),
            None => Ok(seen),
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
