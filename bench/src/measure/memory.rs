//! What is measured at rest: memory with nothing to do, with idle connections, after a burst of them, and with idle
//! clusters.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{Bench, Field};
use crate::figures::Samples;
use crate::load::{Held, Load, Pace, Shape};
use crate::origin::Origin;
use crate::peer::Running;
use crate::scenario::{Figure, Path};

/// Before memory is read.
const SETTLE: Duration = Duration::from_secs(2);
/// After a burst has gone.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// How many requests are under way at once in a burst: few, so that no peer refuses any.
const UNDER_WAY: usize = 64;
/// How many requests each of its connections carries.
const TURNS: u64 = 3;
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);
/// The few clusters with which many are compared.
const FEW: usize = 10;
const MB: f64 = 1e6;

impl Bench<'_> {
    /// Connections that have carried one request each.
    pub(super) fn idle_connections(
        &self,
        running: &mut Running,
        count: usize,
        samples: &mut Samples,
    ) -> anyhow::Result<()> {
        self.stop.pause(SETTLE)?;
        let before = running.memory();
        let (wire, exchange) = (self.scenario.path.downstream(), self.scenario.measure.exchange());
        let open = |number| Held::open(running.entry, wire, exchange, number);
        let held = (0..count).map(open).collect::<anyhow::Result<Vec<_>>>().context("opening the connections")?;
        self.stop.pause(SETTLE)?;
        let after = running.memory();
        samples.add(Figure::Rss, after.rss as f64 / MB);
        samples.add(Figure::Pss, after.pss as f64 / MB);
        samples.add(Figure::PerConnection, after.rss.saturating_sub(before.rss) as f64 / 1024.0 / held.len() as f64);
        Ok(())
    }

    /// Connections that come, carry requests in turn, and go. A few have done so before: what the first requests of a
    /// proxy's life make is not the burst's.
    pub(super) fn burst(&self, running: &mut Running, count: usize, samples: &mut Samples) -> anyhow::Result<()> {
        self.come_and_go(running, UNDER_WAY)?;
        self.stop.pause(SETTLE)?;
        let before = running.memory().rss as f64;
        let during = self.come_and_go(running, count)?;
        self.stop.pause(AFTERWARDS)?;
        let after = running.memory().rss as f64;
        samples.add(Figure::RssBefore, before / MB);
        samples.add(Figure::RssDuring, during / MB);
        samples.add(Figure::RssAfter, after / MB);
        samples.add(Figure::AfterBurst, after / before);
        samples.add(Figure::PerConnection, (during - before).max(0.0) / 1024.0 / count as f64);
        Ok(())
    }

    /// The RSS when all have carried their requests and none has gone.
    fn come_and_go(&self, running: &mut Running, count: usize) -> anyhow::Result<f64> {
        let exchange = self.scenario.measure.exchange();
        let shape = Shape { wire: self.scenario.path.downstream(), connections: count, streams: 1, exchange };
        let load = Load::start(running.entry, shape, Pace::AtMost(UNDER_WAY))?;
        let began = Instant::now();
        while load.done() < TURNS * count as u64 && !load.is_over() {
            self.stop.pause(LOOK)?;
            if began.elapsed() > PATIENCE {
                bail!("only {} requests were answered within {PATIENCE:?}", load.done());
            }
        }
        let during = running.memory().rss as f64;
        let failed = load.failed();
        load.finish()?;
        if failed > 0 {
            bail!("{failed} of the requests failed");
        }
        Ok(during)
    }

    /// Nothing to do.
    pub(super) fn idle(&self, running: &mut Running, samples: &mut Samples) -> anyhow::Result<()> {
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

    /// Many idle clusters, each with its endpoints and its virtual host, beside few.
    pub(super) fn clusters(&self, origin: &Origin, count: usize, field: &mut Field) -> anyhow::Result<()> {
        self.rounds(field, |peer, program, samples| {
            let resident = |count| -> anyhow::Result<(f64, Duration)> {
                let path = Path::Services { hosts: count, clusters: count };
                let (running, _dir) = self.start_on(path, peer, program, origin)?;
                self.stop.pause(SETTLE)?;
                Ok((running.memory().rss as f64, running.to_ready))
            };
            let ((few, _), (many, to_ready)) = (resident(FEW)?, resident(count)?);
            samples.add(Figure::Rss, many / MB);
            samples.add(Figure::PerCluster, (many - few).max(0.0) / (count - FEW) as f64);
            samples.add(Figure::ToReady, to_ready.as_secs_f64() * 1e3);
            Ok(())
        })
    }
}
