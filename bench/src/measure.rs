//! Runs the scenarios: every peer in turn, round after round, so that what changes on the machine meanwhile meets all of them
//! alike. A peer that is missing or breaks leaves the scenario with its reason; the others go on.
//!
//! Here stand the rounds; what is measured in each is in the files below.

mod counting;
mod hosts;
mod instructions;
mod memory;
mod profile;
mod traffic;

use std::time::Duration;

use anyhow::bail;

use crate::figures::{self, Samples};
use crate::machine::Machine;
use crate::options::{Mode, Plan};
use crate::origin::Origin;
use crate::peer::{self, Identities, Program, Running, Setup};
use crate::report::{PeerFound, Report, ScenarioReport};
use crate::scenario::{Figure, Measure, Path, Peer, Scenario};
use crate::stop::{Stop, Stopped};

/// Before each measurement under load.
const WARM_UP: Duration = Duration::from_secs(1);
/// Connections that every peer can hold at least, as nginx's and HAProxy's packages have it by default, and how many beyond
/// what a scenario needs.
const ROOM: usize = 1024;
const SPARE: usize = 64;

/// Measures everything that is planned.
///
/// # Errors
/// When somebody asks for the end, or the bench's own side fails.
pub fn all(plan: &Plan, stop: &Stop) -> anyhow::Result<Report> {
    if plan.scenarios.is_empty() {
        return Ok(Report::new(Machine::read(&plan.cores), plan.rounds, plan.window));
    }
    let found: Vec<_> = plan.peers.iter().map(|peer| (*peer, peer::find(*peer, &plan.programs))).collect();
    let mut report = Report::new(Machine::read(&plan.cores), plan.rounds, plan.window);
    for (peer, program) in &found {
        match program {
            Ok(program) => eprintln!("{:<14} {} ({})", peer.name(), program.version, program.path.display()),
            Err(reason) => eprintln!("{reason}; its columns stay empty"),
        }
        report.peers.push(PeerFound::new(*peer, program));
    }
    let programs: Vec<(Peer, Program)> = found.into_iter().filter_map(|(peer, p)| Some((peer, p.ok()?))).collect();
    if programs.is_empty() {
        bail!("there is no proxy to measure");
    }
    let identities = Identities::issue()?;
    for scenario in &plan.scenarios {
        eprintln!("\n{}: {}", scenario.name, scenario.title);
        let bench = Bench { plan, scenario, stop, identities: &identities, programs: &programs };
        report.scenarios.push(bench.run()?);
    }
    Ok(report)
}

/// One scenario.
struct Bench<'a> {
    plan: &'a Plan,
    scenario: &'a Scenario,
    stop: &'a Stop,
    identities: &'a Identities,
    programs: &'a [(Peer, Program)],
}

/// Those who take part, with what they have shown; and who had to leave, and why.
#[derive(Default)]
struct Field {
    rows: Vec<(Peer, Samples)>,
    left: Vec<String>,
}

impl Field {
    fn samples(&mut self, peer: Peer) -> &mut Samples {
        let at = self.rows.iter().position(|(of, _)| *of == peer).unwrap_or_else(|| {
            self.rows.push((peer, Samples::default()));
            self.rows.len() - 1
        });
        &mut self.rows[at].1
    }

    /// A result, or the reason why a peer leaves. Only the end that people ask for goes further up.
    fn take<T>(&mut self, peer: Peer, result: anyhow::Result<T>) -> Result<Option<T>, Stopped> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is::<Stopped>() => Err(Stopped),
            Err(error) => {
                let reason = format!("{}: {error:#}", peer.name());
                eprintln!("  {reason}");
                self.left.push(reason);
                Ok(None)
            }
        }
    }
}

impl Bench<'_> {
    fn run(&self) -> anyhow::Result<ScenarioReport> {
        let origin = Origin::start(self.scenario.path.origin(), self.scenario.measure.exchange())?;
        let mut field = Field::default();
        let mut report = ScenarioReport::new(self.scenario);
        match (&self.plan.mode, self.scenario.measure.shape()) {
            (Mode::Compare, _) => self.compare(&origin, &mut field, &mut report)?,
            (Mode::Instructions, Some(shape)) => {
                report.main = Figure::Instructions;
                self.instructions(&origin, shape, &mut field)?;
            }
            (Mode::Profile(path), Some(shape)) => self.profile(&origin, shape, path, &mut field)?,
            (_, None) => bail!("{}: it has no steady load", self.scenario.name),
        }
        if self.plan.mode == Mode::Compare {
            report.verdicts = self.scenario.targets.iter().map(|target| figures::judge(target, &field.rows)).collect();
        }
        report.rows = field.rows;
        report.left.extend(field.left);
        Ok(report)
    }

    fn compare(&self, origin: &Origin, field: &mut Field, report: &mut ScenarioReport) -> anyhow::Result<()> {
        match self.scenario.measure {
            Measure::Traffic(shape) => self.traffic(origin, shape, field, report)?,
            Measure::Bytes(shape) => self.bytes(origin, shape, field)?,
            Measure::Connections(connecting) => self.connections(origin, connecting, field)?,
            Measure::IdleConnections(count) => {
                self.fresh(origin, field, |running, samples| self.idle_connections(running, count, samples))?
            }
            Measure::Burst(count) => {
                self.fresh(origin, field, |running, samples| self.burst(running, count, samples))?
            }
            Measure::Clusters(count) => self.clusters(origin, count, field)?,
            Measure::Hosts(shape) => self.hosts(origin, shape, field)?,
            Measure::Idle => self.fresh(origin, field, |running, samples| self.idle(running, samples))?,
            Measure::Mesh(mesh) => self.fresh(origin, field, |running, samples| {
                mesh.call(running.entry)?;
                self.idle(running, samples)
            })?,
            Measure::Start => self.fresh(origin, field, |running, samples| {
                samples.add(Figure::ToReady, running.to_ready.as_secs_f64() * 1e3);
                Ok(())
            })?,
        }
        Ok(())
    }

    fn start(&self, peer: Peer, program: &Program, origin: &Origin) -> anyhow::Result<(Running, tempfile::TempDir)> {
        self.start_on(self.scenario.path, peer, program, origin)
    }

    /// As `start`, on another path than the scenario's.
    fn start_on(
        &self,
        path: Path,
        peer: Peer,
        program: &Program,
        origin: &Origin,
    ) -> anyhow::Result<(Running, tempfile::TempDir)> {
        let dir = tempfile::Builder::new().prefix("halcyon-bench-").tempdir()?;
        self.identities.write(dir.path())?;
        let setup = Setup {
            program,
            path,
            origin: origin.address,
            clients: ROOM.max(self.scenario.measure.connections() + SPARE),
            connections: ROOM.max(2 * self.scenario.measure.connections() + SPARE),
            untold: self.plan.untold,
            dir: dir.path(),
            identities: self.identities,
        };
        let deployment = match self.scenario.measure {
            Measure::Mesh(mesh) => peer::deploy_in(mesh, peer, &setup)?,
            _ => peer::deploy(peer, &setup)?,
        };
        let mut deployment = deployment.map_err(anyhow::Error::msg)?;
        if self.plan.mode == Mode::Instructions {
            deployment.launches.iter_mut().for_each(|launch| instructions::under_callgrind(launch, dir.path()));
        }
        let probe = self.scenario.probe(path);
        let running = Running::start(peer, deployment, &probe, &self.plan.cores, dir.path(), self.stop)?;
        Ok((running, dir))
    }

    /// Every peer in every round, from its start on.
    fn fresh(
        &self,
        origin: &Origin,
        field: &mut Field,
        measure: impl Fn(&mut Running, &mut Samples) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.rounds(field, |peer, program, samples| {
            let (mut running, _dir) = self.start(peer, program, origin)?;
            measure(&mut running, samples)?;
            running.check()
        })
    }

    /// Every peer in every round.
    fn rounds(
        &self,
        field: &mut Field,
        measure: impl Fn(Peer, &Program, &mut Samples) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut peers: Vec<_> = self.programs.iter().collect();
        for round in 1..=self.plan.rounds {
            let mut kept = Vec::new();
            for entrant @ (peer, program) in peers {
                let result = measure(*peer, program, field.samples(*peer));
                if field.take(*peer, result)?.is_some() {
                    kept.push(entrant);
                }
            }
            peers = kept;
            self.say(round, "measured", field, self.scenario.measure.main_figure());
        }
        Ok(())
    }

    /// Starts every peer, and keeps those that do.
    fn start_all(&self, origin: &Origin, field: &mut Field) -> Result<Vec<Entrant>, Stopped> {
        let mut all = Vec::new();
        for (peer, program) in self.programs {
            let started = self.start(*peer, program, origin);
            all.extend(field.take(*peer, started)?);
        }
        Ok(all)
    }

    /// One round with those who run.
    fn round(
        &self,
        all: Vec<Entrant>,
        field: &mut Field,
        mut measure: impl FnMut(&mut Running, &mut Samples) -> anyhow::Result<()>,
    ) -> Result<Vec<Entrant>, Stopped> {
        let mut kept = Vec::new();
        for (mut running, dir) in all {
            let samples = field.samples(running.peer);
            let result = measure(&mut running, samples).and_then(|()| running.check());
            if field.take(running.peer, result)?.is_some() {
                kept.push((running, dir));
            }
        }
        Ok(kept)
    }

    fn say(&self, round: usize, phase: &str, field: &Field, figure: Figure) {
        let so_far = field.rows.iter().filter_map(|(peer, samples)| {
            let median = samples.median(figure)?;
            Some(format!("{} {median:.*}", peer.name(), figure.digits()))
        });
        let so_far: Vec<String> = so_far.collect();
        eprintln!("  {phase}, round {round} of {}: {}: {}", self.plan.rounds, figure.head(), so_far.join(", "));
    }
}

/// Someone who takes part, and the folder with its files.
type Entrant = (Running, tempfile::TempDir);
