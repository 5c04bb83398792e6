//! The control plane under changes: a real `halcyon control`, a mesh applied through its API, and simulated proxies that
//! speak delta xDS. Measured is how long a change takes from the call that makes it until the last proxy that it concerns
//! has acknowledged it, who was told anything, and what it cost.

mod fleet;
mod mesh;
mod message;
mod plane;
mod table;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::options::Plan;
use crate::stop::Stop;

use fleet::Fleet;
use mesh::{ENDPOINTS, Mesh};
use plane::{Api, Plane};

pub use table::ControlReport;

/// The name and title of the scenario.
pub const NAME: &str = "control";
/// What it is.
pub const TITLE: &str = "Control plane: changes, from the call to the last acknowledgement";
/// The sizes of the curve: as many proxies as services.
const CURVE: [usize; 5] = [100, 300, 1_000, 3_000, 10_000];
/// Endpoints that go and come with one node.
const NODEFUL: usize = 30;
/// Changes per second in a storm.
const STORM_RATE: f64 = 100.0;
/// Callers that share the storm's changes, so that a slow call does not slow the storm.
const CALLERS: usize = 8;
/// Nobody is told anything for so long: the change is over.
const QUIET: Duration = Duration::from_millis(300);
/// The longest that is waited for the last acknowledgement of a storm.
const AFTER_STORM: Duration = Duration::from_secs(60);
/// With nothing to do, processor time is taken over this.
const IDLE: Duration = Duration::from_secs(10);
/// The longest that is waited for all proxies to have everything.
const START: Duration = Duration::from_secs(1800);

/// What is measured.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Services and proxies of the main row.
    pub services: usize,
    /// See above.
    pub proxies: usize,
    /// Services in a namespace: with scopes, a proxy sees so many.
    pub group: usize,
    /// Also without scopes: every proxy sees every service.
    pub unscoped: bool,
    /// Also the curve.
    pub curve: bool,
    /// The length of the storm.
    pub storm: Duration,
    /// How often each single change is made.
    pub repeats: usize,
}

/// What came of one size.
#[derive(Debug, Serialize)]
pub struct Row {
    services: usize,
    proxies: usize,
    /// How many services a proxy sees.
    seen: usize,
    /// Seconds until the mesh was applied, and from the first connection until all proxies had everything.
    applied_s: f64,
    connected_s: f64,
    connect_cpu_s: f64,
    changes: Vec<Change>,
    /// Share of a core without changes, in percent.
    idle_cpu: f64,
    rss_mb: f64,
}

/// What came of one kind of change.
#[derive(Debug, Serialize)]
struct Change {
    what: &'static str,
    p50_ms: f64,
    p99_ms: f64,
    /// Proxies that were sent anything for one change, the most that ever were.
    told: usize,
    /// Proxies that see what is changed.
    concerned: usize,
    /// Sent for one change.
    kb: f64,
    /// Of the control plane for one change.
    cpu_ms: f64,
    /// Share of its core that it used meanwhile, in percent; of a storm only.
    busy: Option<f64>,
    /// Changes that not everybody had acknowledged at the end.
    unfinished: usize,
}

/// Measures every size that is asked for.
///
/// # Errors
/// When the control plane fails, or somebody asks for the end.
pub fn measure(plan: &Plan, sizes: &Sizes, stop: &Stop) -> anyhow::Result<ControlReport> {
    eprintln!("\n{NAME}: {TITLE}");
    let scoped = |services| Mesh { services, group: sizes.group, scoped: true };
    let main = scoped(sizes.services);
    let mut all = vec![(main, sizes.proxies)];
    if sizes.unscoped {
        all.push((Mesh { scoped: false, ..main }, sizes.proxies));
    }
    if sizes.curve {
        all.extend(CURVE.map(|size| (scoped(size), size)));
    }
    let mut report = ControlReport::new(sizes);
    for (mesh, proxies) in all {
        let row = Round { plan, sizes, stop, mesh, proxies }.run();
        match row {
            Ok(row) => report.rows.push(row),
            Err(error) if error.is::<crate::stop::Stopped>() => return Err(error),
            Err(error) => {
                let reason = format!("{} services x {proxies} proxies: {error:#}", mesh.services);
                eprintln!("  {reason}");
                report.left.push(reason);
            }
        }
    }
    Ok(report)
}

/// One size.
struct Round<'a> {
    plan: &'a Plan,
    sizes: &'a Sizes,
    stop: &'a Stop,
    mesh: Mesh,
    proxies: usize,
}

impl Round<'_> {
    fn run(&self) -> anyhow::Result<Row> {
        let dir = tempfile::Builder::new().prefix("halcyon-bench-").tempdir()?;
        let mut plane = Plane::start(&self.plan.programs, &self.plan.cores, dir.path(), self.stop)?;
        let applied = plane.api().apply(&self.mesh.documents())?;
        let before = plane.cpu_time().total;
        let fleet = Fleet::start(self.mesh, self.proxies, plane.xds)?;
        let connected = fleet.wait_complete(START, self.stop)?;
        let connect_cpu = plane.cpu_time().total.saturating_sub(before);
        let seen = if self.mesh.scoped { self.mesh.group.min(self.mesh.services) } else { self.mesh.services };
        eprintln!(
            "  {} services x {} proxies that see {seen}: applied in {:.1} s, all up to date after {:.1} s",
            self.mesh.services,
            self.proxies,
            applied.as_secs_f64(),
            connected.as_secs_f64()
        );
        let idle_cpu = self.idle(&plane)?;
        let mut changes = vec![
            self.single("one endpoint", &plane, &fleet, |mesh, turn| {
                let service = turn % mesh.services;
                (vec![service], mesh.endpoint(service, 0, turn + 1))
            })?,
            self.single("30 endpoints of a node", &plane, &fleet, |mesh, turn| {
                let stride = (mesh.services / NODEFUL).max(1);
                let services: Vec<usize> = (0..NODEFUL).map(|n| (n * stride + turn) % mesh.services).collect();
                let documents = services.iter().map(|service| mesh.endpoint(*service, 1, turn + 1)).collect();
                (services, documents)
            })?,
            self.single("a rule of one service", &plane, &fleet, |mesh, turn| {
                let service = turn * 10 % mesh.services;
                (vec![service], mesh.rule(service, turn + 2))
            })?,
        ];
        if !self.sizes.storm.is_zero() {
            changes.push(self.storm(&plane, &fleet)?);
        }
        let rss_mb = plane.memory().rss as f64 / 1e6;
        plane.check()?;
        Ok(Row {
            services: self.mesh.services,
            proxies: self.proxies,
            seen,
            applied_s: applied.as_secs_f64(),
            connected_s: connected.as_secs_f64(),
            connect_cpu_s: connect_cpu.as_secs_f64(),
            changes,
            idle_cpu,
            rss_mb,
        })
    }

    fn idle(&self, plane: &Plane) -> anyhow::Result<f64> {
        let (cpu, began) = (plane.cpu_time().total, Instant::now());
        self.stop.pause(IDLE)?;
        let used = plane.cpu_time().total.saturating_sub(cpu);
        Ok(100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64())
    }

    /// Changes one after the other, each when the one before is over.
    fn single(
        &self,
        what: &'static str,
        plane: &Plane,
        fleet: &Fleet,
        change: impl Fn(&Mesh, usize) -> (Vec<usize>, String),
    ) -> anyhow::Result<Change> {
        let (mut times, mut told, mut concerned, mut bytes) = (Vec::new(), 0, 0, 0);
        let cpu = plane.cpu_time().total;
        for turn in 0..self.sizes.repeats {
            let (services, documents) = change(&self.mesh, turn);
            fleet.notes.take();
            let began = Instant::now();
            plane.api().apply(&documents).context(what)?;
            let expected = self.concerned(&services);
            let last = fleet.wait_told(expected, QUIET, self.stop)?;
            let seen = fleet.notes.take();
            times.push(last.saturating_duration_since(began));
            told = told.max(seen.proxies);
            bytes += seen.bytes;
            concerned = concerned.max(expected);
        }
        let cpu = plane.cpu_time().total.saturating_sub(cpu);
        let repeats = self.sizes.repeats as f64;
        let change = Change {
            what,
            p50_ms: quantile(&mut times, 0.5),
            p99_ms: quantile(&mut times, 0.99),
            told,
            concerned,
            kb: bytes as f64 / 1e3 / repeats,
            cpu_ms: cpu.as_secs_f64() * 1e3 / repeats,
            busy: None,
            unfinished: 0,
        };
        eprintln!("  {change}");
        Ok(change)
    }

    fn concerned(&self, services: &[usize]) -> usize {
        let mut namespaces: Vec<usize> = services.iter().map(|service| self.mesh.namespace(*service)).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        match self.mesh.scoped {
            true => namespaces.iter().map(|n| self.mesh.concerned(n * self.mesh.group, self.proxies)).sum(),
            false => self.proxies,
        }
    }

    /// So many changes of one endpoint each second, whatever becomes of those before. A latency counts from the moment
    /// at which the change was due.
    fn storm(&self, plane: &Plane, fleet: &Fleet) -> anyhow::Result<Change> {
        let count = (self.sizes.storm.as_secs_f64() * STORM_RATE) as usize;
        fleet.notes.take();
        fleet.notes.take_awaited();
        let (cpu, began) = (plane.cpu_time().total, Instant::now());
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let callers: Vec<_> =
                (0..CALLERS).map(|_| scope.spawn(|| self.call(plane.api(), fleet, &next, count, began))).collect();
            callers
                .into_iter()
                .try_for_each(|caller| caller.join().unwrap_or_else(|_| anyhow::bail!("a caller panicked")))
        })?;
        let ended = Instant::now();
        while fleet.notes.open() > 0 && ended.elapsed() < AFTER_STORM {
            self.stop.pause(Duration::from_millis(20))?;
        }
        let lasted = began.elapsed();
        let cpu = plane.cpu_time().total.saturating_sub(cpu);
        let told = fleet.notes.take();
        let (mut times, unfinished) = fleet.notes.take_awaited();
        let change = Change {
            what: "100 changes/s",
            p50_ms: quantile(&mut times, 0.5),
            p99_ms: quantile(&mut times, 0.99),
            told: told.proxies,
            concerned: self.proxies,
            kb: told.bytes as f64 / 1e3 / count as f64,
            cpu_ms: cpu.as_secs_f64() * 1e3 / count as f64,
            busy: Some(100.0 * cpu.as_secs_f64() / lasted.as_secs_f64()),
            unfinished,
        };
        eprintln!("  {change}");
        Ok(change)
    }

    fn call(&self, api: &Api, fleet: &Fleet, next: &AtomicUsize, count: usize, began: Instant) -> anyhow::Result<()> {
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= count {
                return Ok(());
            }
            let due = began + Duration::from_secs_f64(turn as f64 / STORM_RATE);
            self.stop.pause(due.saturating_duration_since(Instant::now()))?;
            // A stride that meets every service before it meets one again, and one namespace seldom twice in a row.
            let service = turn * 37 % self.mesh.services;
            let slot = turn / self.mesh.services % ENDPOINTS;
            fleet.notes.await_endpoints(service, due, self.mesh.concerned(service, self.proxies));
            api.apply(&self.mesh.endpoint(service, slot, 100 + turn / self.mesh.services))?;
        }
    }
}

/// In milliseconds; the nearest that was measured.
fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!((quantile(&mut times, 0.5), quantile(&mut times, 0.99)), (50.0, 99.0));
        assert!(quantile(&mut [], 0.5).is_nan());
    }
}
