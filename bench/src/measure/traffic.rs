//! What is measured under load: CPU per request, per MB and per connection, and latency at a fixed rate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::{Bench, Entrant, Field, WARM_UP};
use crate::figures::Samples;
use crate::load::{Connecting, Load, Pace, Shape};
use crate::machine;
use crate::origin::Origin;
use crate::peer::Running;
use crate::process::CpuTime;
use crate::report::ScenarioReport;
use crate::scenario::Figure;

/// The share of the slowest peer's full load at which latencies are taken.
const PART_LOAD: f64 = 0.5;
const MB: f64 = 1e6;

impl Bench<'_> {
    /// Requests: under full load, then at a fixed rate, then with system calls counted.
    pub(super) fn traffic(
        &self,
        origin: &Origin,
        shape: Shape,
        field: &mut Field,
        report: &mut ScenarioReport,
    ) -> anyhow::Result<()> {
        let load = |to| Load::start(to, shape, Pace::Full);
        let mut all = self.under_full_load(origin, field, load, Spent::add_requests, Figure::CpuPerRequest)?;
        let slowest = field.rows.iter().filter_map(|(_, s)| s.median(Figure::RequestsPerSecond)).reduce(f64::min);
        let Some(rate) = slowest.map(|slowest| (slowest * PART_LOAD).round().max(1.0)) else { return Ok(()) };
        report.rate = Some(rate);
        // The load and the origin speak the same only here; else there is nothing to compare with.
        let direct = self.scenario.path.origin() == self.scenario.path.downstream();
        for round in 1..=self.plan.rounds {
            if direct {
                self.part_load(origin.address, shape, rate, &mut report.direct)?;
            }
            all = self.round(all, field, |running, samples| self.part_load(running.entry, shape, rate, samples))?;
            self.say(round, "fixed rate", field, Figure::P50);
        }
        for (_, samples) in &mut field.rows {
            samples.set_added(Figure::AddedP50, Figure::P50, &report.direct);
            samples.set_added(Figure::AddedP99, Figure::P99, &report.direct);
        }
        self.count_system_calls(all, shape, field, report)
    }

    /// Large bodies.
    pub(super) fn bytes(&self, origin: &Origin, shape: Shape, field: &mut Field) -> anyhow::Result<()> {
        let load = |to| Load::start(to, shape, Pace::Full);
        self.under_full_load(origin, field, load, Spent::add_bytes, Figure::CpuPerMegabyte).map(drop)
    }

    /// New connections.
    pub(super) fn connections(&self, origin: &Origin, connecting: Connecting, field: &mut Field) -> anyhow::Result<()> {
        let load = |to| Load::connecting(to, connecting);
        self.under_full_load(origin, field, load, Spent::add_connections, Figure::CpuPerConnection).map(drop)
    }

    /// All rounds under full load, with `figure` told after each; gives back who still runs.
    fn under_full_load(
        &self,
        origin: &Origin,
        field: &mut Field,
        load: impl Fn(SocketAddr) -> anyhow::Result<Load>,
        add: impl Fn(&Spent, &mut Samples) -> anyhow::Result<()>,
        figure: Figure,
    ) -> anyhow::Result<Vec<Entrant>> {
        let mut all = self.start_all(origin, field)?;
        for round in 1..=self.plan.rounds {
            all = self.round(all, field, |running, samples| add(&self.full_load(origin, running, &load)?, samples))?;
            self.say(round, "full load", field, figure);
        }
        Ok(all)
    }

    /// What a peer spends under full load, once it is warm.
    pub(super) fn full_load(
        &self,
        origin: &Origin,
        running: &mut Running,
        load: impl FnOnce(SocketAddr) -> anyhow::Result<Load>,
    ) -> anyhow::Result<Spent> {
        let core = self.plan.cores.proxy;
        let load = load(running.entry)?;
        self.stop.pause(WARM_UP)?;
        let first = Reading::take(running, &load, origin, core);
        self.stop.pause(self.plan.window)?;
        let last = Reading::take(running, &load, origin, core);
        let failed = load.failed();
        load.finish().and_then(|_| running.check())?;
        if failed > 0 {
            bail!("{failed} requests failed under full load");
        }
        Ok(last.since(&first))
    }

    /// Latencies at a fixed rate.
    fn part_load(&self, to: SocketAddr, shape: Shape, rate: f64, samples: &mut Samples) -> anyhow::Result<()> {
        let load = Load::start(to, shape, Pace::Rate(rate))?;
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
    bytes: u64,
    cpu: CpuTime,
    core_busy: Duration,
    load_busy: Duration,
}

impl Reading {
    fn take(running: &Running, load: &Load, origin: &Origin, core: usize) -> Self {
        Self {
            at: Instant::now(),
            done: load.done(),
            bytes: load.bytes(),
            cpu: running.cpu_time(),
            core_busy: machine::busy_time(core).unwrap_or_default(),
            load_busy: load.thread.run_time() + origin.thread.run_time(),
        }
    }

    fn since(&self, first: &Self) -> Spent {
        let seconds = |last: Duration, first: Duration| last.saturating_sub(first).as_secs_f64();
        Spent {
            seconds: self.at.duration_since(first.at).as_secs_f64(),
            done: (self.done - first.done) as f64,
            bytes: (self.bytes - first.bytes) as f64,
            total: seconds(self.cpu.total, first.cpu.total),
            user: seconds(self.cpu.user, first.cpu.user),
            system: seconds(self.cpu.system, first.cpu.system),
            core: seconds(self.core_busy, first.core_busy),
            load: seconds(self.load_busy, first.load_busy),
        }
    }
}

/// What was done in a while, and the time that it took, in seconds.
pub(super) struct Spent {
    seconds: f64,
    pub done: f64,
    bytes: f64,
    /// Of the proxy.
    pub total: f64,
    user: f64,
    system: f64,
    /// Of its core, whoever used it.
    core: f64,
    /// Of load and origin.
    load: f64,
}

impl Spent {
    fn add_requests(&self, samples: &mut Samples) -> anyhow::Result<()> {
        if self.done == 0.0 {
            bail!("no answer under full load");
        }
        // The coarse account gives the parts, the fine one the whole.
        let part = |part: f64| self.total * part / (self.user + self.system).max(f64::MIN_POSITIVE);
        samples.add(Figure::CpuPerRequest, self.total * 1e6 / self.done);
        samples.add(Figure::UserPerRequest, part(self.user) * 1e6 / self.done);
        samples.add(Figure::SystemPerRequest, part(self.system) * 1e6 / self.done);
        samples.add(Figure::RequestsPerSecond, self.done / self.seconds);
        self.add_cores(samples);
        Ok(())
    }

    fn add_bytes(&self, samples: &mut Samples) -> anyhow::Result<()> {
        if self.bytes == 0.0 || self.total == 0.0 {
            bail!("no byte under full load");
        }
        let megabytes = self.bytes / MB;
        samples.add(Figure::CpuPerMegabyte, self.total * 1e6 / megabytes);
        samples.add(Figure::Throughput, megabytes / self.seconds);
        samples.add(Figure::ThroughputPerCore, megabytes / self.total);
        self.add_cores(samples);
        Ok(())
    }

    fn add_connections(&self, samples: &mut Samples) -> anyhow::Result<()> {
        if self.done == 0.0 || self.total == 0.0 {
            bail!("no answer under full load");
        }
        samples.add(Figure::CpuPerConnection, self.total * 1e6 / self.done);
        samples.add(Figure::ConnectionsPerSecond, self.done / self.seconds);
        samples.add(Figure::ConnectionsPerCore, self.done / self.total);
        self.add_cores(samples);
        Ok(())
    }

    fn add_cores(&self, samples: &mut Samples) {
        samples.add(Figure::ProxyBusy, 100.0 * self.total / self.seconds);
        samples.add(Figure::LoadBusy, 100.0 * self.load / self.seconds);
        samples.add(Figure::OthersBusy, (100.0 * (self.core - self.total) / self.seconds).max(0.0));
    }
}
