//! Runs the scenarios: every peer in turn, round after round, so that what changes on the machine meanwhile meets all of them
//! alike. A peer that is missing or breaks leaves the scenario with its reason; the others go on.

use std::path::Path as FilePath;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::figures::{self, Samples};
use crate::load::{Held, Load, Shape};
use crate::machine::{self, Machine};
use crate::options::Plan;
use crate::origin::Origin;
use crate::peer::{self, Identities, Program, Running, Setup};
use crate::report::{PeerFound, Report, ScenarioReport};
use crate::scenario::{Figure, Measure, Peer, Scenario};
use crate::stop::{Stop, Stopped};

/// Before each measurement under load.
const WARM_UP: Duration = Duration::from_secs(1);
/// Before memory is read.
const SETTLE: Duration = Duration::from_secs(2);
/// The share of the slowest peer's full load at which latencies are taken.
const PART_LOAD: f64 = 0.5;
/// Connections that every peer can hold at least, as nginx's and HAProxy's packages have it by default, and how many beyond
/// what a scenario needs.
const ROOM: usize = 1024;
const SPARE: usize = 64;
const MB: f64 = 1e6;

/// Measures everything that is planned.
///
/// # Errors
/// When somebody asks for the end, or the bench's own side fails.
pub fn all(plan: &Plan, stop: &Stop) -> anyhow::Result<Report> {
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
        let origin = Origin::start(self.scenario.path.origin(), self.scenario.measure.body())?;
        let mut field = Field::default();
        let mut report = ScenarioReport::new(self.scenario);
        match self.scenario.measure {
            Measure::Traffic { shape, .. } => self.traffic(&origin, shape, &mut field, &mut report)?,
            Measure::IdleConnections(count) => {
                self.fresh(&origin, &mut field, |running, samples| self.idle_connections(running, count, samples))?
            }
            Measure::Idle => self.fresh(&origin, &mut field, |running, samples| self.idle(running, samples))?,
            Measure::Mesh(mesh) => self.fresh(&origin, &mut field, |running, samples| {
                mesh.call(running.entry)?;
                self.idle(running, samples)
            })?,
            Measure::Start => self.fresh(&origin, &mut field, |running, samples| {
                samples.add(Figure::ToReady, running.to_ready.as_secs_f64() * 1e3);
                Ok(())
            })?,
        }
        report.verdicts = self.scenario.targets.iter().map(|target| figures::judge(target, &field.rows)).collect();
        report.rows = field.rows;
        report.left = field.left;
        Ok(report)
    }

    fn start(&self, peer: Peer, program: &Program, origin: &Origin) -> anyhow::Result<(Running, tempfile::TempDir)> {
        let dir = tempfile::Builder::new().prefix("halcyon-bench-").tempdir()?;
        self.identities.write(dir.path())?;
        let setup = Setup {
            program,
            path: self.scenario.path,
            origin: origin.address,
            connections: ROOM.max(2 * self.scenario.measure.connections() + SPARE),
            dir: dir.path(),
            identities: self.identities,
        };
        let deployment = match self.scenario.measure {
            Measure::Mesh(mesh) => peer::deploy_in(mesh, peer, &setup)?,
            _ => peer::deploy(peer, &setup)?,
        };
        let deployment = deployment.map_err(anyhow::Error::msg)?;
        let running = self.launch(peer, &deployment, dir.path())?;
        Ok((running, dir))
    }

    fn launch(&self, peer: Peer, deployment: &peer::Deployment, dir: &FilePath) -> anyhow::Result<Running> {
        let wire = self.scenario.path.downstream();
        Running::start(peer, deployment, wire, &self.plan.cores, dir, self.stop)
    }

    /// Every peer in every round from its start on.
    fn fresh(
        &self,
        origin: &Origin,
        field: &mut Field,
        measure: impl Fn(&mut Running, &mut Samples) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut peers: Vec<_> = self.programs.iter().collect();
        for round in 1..=self.plan.rounds {
            let mut kept = Vec::new();
            for entrant @ (peer, program) in peers {
                let result = self.start(*peer, program, origin).and_then(|(mut running, _dir)| {
                    measure(&mut running, field.samples(*peer))?;
                    running.check()
                });
                if field.take(*peer, result)?.is_some() {
                    kept.push(entrant);
                }
            }
            peers = kept;
            eprintln!("  round {round} of {}", self.plan.rounds);
        }
        Ok(())
    }

    fn idle_connections(&self, running: &mut Running, count: usize, samples: &mut Samples) -> anyhow::Result<()> {
        self.stop.pause(SETTLE)?;
        let before = running.memory();
        let open = |_| Held::open(running.entry, self.scenario.path.downstream());
        let held = (0..count).map(open).collect::<anyhow::Result<Vec<_>>>().context("opening the connections")?;
        self.stop.pause(SETTLE)?;
        let after = running.memory();
        samples.add(Figure::Rss, after.rss as f64 / MB);
        samples.add(Figure::Pss, after.pss as f64 / MB);
        samples.add(Figure::PerConnection, after.rss.saturating_sub(before.rss) as f64 / 1024.0 / held.len() as f64);
        Ok(())
    }

    fn idle(&self, running: &mut Running, samples: &mut Samples) -> anyhow::Result<()> {
        self.stop.pause(SETTLE)?;
        let (cpu, began) = (running.cpu_time().total, Instant::now());
        self.stop.pause(self.plan.window)?;
        let used = running.cpu_time().total.saturating_sub(cpu);
        samples.add(Figure::IdleCpu, 100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64());
        let memory = running.memory();
        samples.add(Figure::Rss, memory.rss as f64 / MB);
        samples.add(Figure::Pss, memory.pss as f64 / MB);
        Ok(())
    }

    fn traffic(
        &self,
        origin: &Origin,
        shape: Shape,
        field: &mut Field,
        report: &mut ScenarioReport,
    ) -> anyhow::Result<()> {
        let mut all = Vec::new();
        for (peer, program) in self.programs {
            let started = self.start(*peer, program, origin);
            all.extend(field.take(*peer, started)?);
        }
        for round in 1..=self.plan.rounds {
            let mut kept = Vec::new();
            for (mut running, dir) in all {
                let peer = running.peer;
                let result = self.full_load(origin, shape, &mut running, field.samples(peer));
                if field.take(peer, result)?.is_some() {
                    kept.push((running, dir));
                }
            }
            all = kept;
            self.say(round, "full load", field, Figure::CpuPerRequest);
        }
        let slowest = field.rows.iter().filter_map(|(_, s)| s.median(Figure::RequestsPerSecond)).reduce(f64::min);
        let Some(rate) = slowest.map(|slowest| (slowest * PART_LOAD).round().max(1.0)) else { return Ok(()) };
        report.rate = Some(rate);
        // The load and the origin speak the same only here; else there is nothing to compare with.
        let direct = self.scenario.path.origin() == self.scenario.path.downstream();
        for round in 1..=self.plan.rounds {
            if direct {
                self.part_load(origin.address, shape, rate, &mut report.direct)?;
            }
            let mut kept = Vec::new();
            for (mut running, dir) in all {
                let samples = field.samples(running.peer);
                let result = self.part_load(running.entry, shape, rate, samples).and_then(|()| running.check());
                if field.take(running.peer, result)?.is_some() {
                    kept.push((running, dir));
                }
            }
            all = kept;
            self.say(round, "fixed rate", field, Figure::P50);
        }
        for (_, samples) in &mut field.rows {
            samples.set_added(Figure::AddedP50, Figure::P50, &report.direct);
            samples.set_added(Figure::AddedP99, Figure::P99, &report.direct);
        }
        Ok(())
    }

    fn say(&self, round: usize, phase: &str, field: &Field, figure: Figure) {
        let so_far = field.rows.iter().filter_map(|(peer, samples)| {
            let median = samples.median(figure)?;
            Some(format!("{} {median:.*}", peer.name(), figure.digits()))
        });
        let so_far: Vec<String> = so_far.collect();
        eprintln!("  {phase}, round {round} of {}: {}: {}", self.plan.rounds, figure.head(), so_far.join(", "));
    }

    fn full_load(
        &self,
        origin: &Origin,
        shape: Shape,
        running: &mut Running,
        samples: &mut Samples,
    ) -> anyhow::Result<()> {
        let core = self.plan.cores.proxy;
        let load = Load::start(running.entry, shape, None)?;
        self.stop.pause(WARM_UP)?;
        let first = Reading::take(running, &load, origin, core);
        self.stop.pause(self.plan.window)?;
        let last = Reading::take(running, &load, origin, core);
        let failed = load.failed();
        load.finish().and_then(|_| running.check())?;
        last.since(&first, samples)?;
        if failed > 0 {
            bail!("{failed} requests failed under full load");
        }
        Ok(())
    }

    /// Latencies at a fixed rate.
    fn part_load(
        &self,
        to: std::net::SocketAddr,
        shape: Shape,
        rate: f64,
        samples: &mut Samples,
    ) -> anyhow::Result<()> {
        let load = Load::start(to, shape, Some(rate))?;
        self.stop.pause(WARM_UP)?;
        load.record(true);
        self.stop.pause(self.plan.window)?;
        load.record(false);
        let failed = load.failed();
        let latencies = load.finish()?;
        if failed > 0 {
            bail!("{failed} requests failed at a fixed rate");
        }
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e6;
        samples.add(Figure::P50, at(0.5));
        samples.add(Figure::P99, at(0.99));
        Ok(())
    }
}

/// What the clocks and counters say at one moment.
struct Reading {
    at: Instant,
    done: u64,
    cpu: crate::process::CpuTime,
    core_busy: Duration,
    load_busy: Duration,
}

impl Reading {
    fn take(running: &Running, load: &Load, origin: &Origin, core: usize) -> Self {
        Self {
            at: Instant::now(),
            done: load.done(),
            cpu: running.cpu_time(),
            core_busy: machine::busy_time(core).unwrap_or_default(),
            load_busy: load.thread.run_time() + origin.thread.run_time(),
        }
    }

    fn since(&self, first: &Self, samples: &mut Samples) -> anyhow::Result<()> {
        let seconds = self.at.duration_since(first.at).as_secs_f64();
        let done = (self.done - first.done) as f64;
        if done == 0.0 {
            bail!("no answer under full load");
        }
        let total = self.cpu.total.saturating_sub(first.cpu.total).as_secs_f64();
        let user = self.cpu.user.saturating_sub(first.cpu.user).as_secs_f64();
        let system = self.cpu.system.saturating_sub(first.cpu.system).as_secs_f64();
        let core = self.core_busy.saturating_sub(first.core_busy).as_secs_f64();
        let load = self.load_busy.saturating_sub(first.load_busy).as_secs_f64();
        // The coarse account gives the parts, the fine one the whole.
        let part = |part: f64| total * part / (user + system).max(f64::MIN_POSITIVE);
        samples.add(Figure::CpuPerRequest, total * 1e6 / done);
        samples.add(Figure::UserPerRequest, part(user) * 1e6 / done);
        samples.add(Figure::SystemPerRequest, part(system) * 1e6 / done);
        samples.add(Figure::RequestsPerSecond, done / seconds);
        samples.add(Figure::ProxyBusy, 100.0 * total / seconds);
        samples.add(Figure::LoadBusy, 100.0 * load / seconds);
        samples.add(Figure::OthersBusy, (100.0 * (core - total) / seconds).max(0.0));
        Ok(())
    }
}
