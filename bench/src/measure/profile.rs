//! Where the processor's time goes under full load: `perf record` on ours, then a flame graph.

use std::path::Path as FilePath;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::{Bench, Field, WARM_UP};
use crate::flame::Stacks;
use crate::load::{Load, Pace, Shape};
use crate::origin::Origin;
use crate::report;
use crate::scenario::Peer;

/// Samples per second: no divisor of the kernel's ticks.
const FREQUENCY: &str = "1999";
/// How many functions are listed.
const LISTED: usize = 25;

impl Bench<'_> {
    /// One profile, written to `path`.
    pub(super) fn profile(
        &self,
        origin: &Origin,
        shape: Shape,
        path: &FilePath,
        field: &mut Field,
    ) -> anyhow::Result<()> {
        let Some((peer, program)) = self.programs.iter().find(|(peer, _)| *peer == Peer::Halcyon) else {
            bail!("there is no halcyon-proxy to profile");
        };
        let (mut running, dir) = self.start(*peer, program, origin)?;
        let load = Load::start(running.entry, shape, Pace::Full)?;
        self.stop.pause(WARM_UP)?;
        let data = dir.path().join("perf.data").to_string_lossy().into_owned();
        let ids: Vec<String> = running.family().iter().map(u32::to_string).collect();
        let seconds = self.plan.window.as_secs_f64().to_string();
        perf(&["record", "-F", FREQUENCY, "-g", "-o", &data, "-p", &ids.join(","), "--", "sleep", &seconds])?;
        load.finish().and_then(|_| running.check())?;
        let text = perf(&["script", "-i", &data, "--no-inline", "-F", "comm,ip,sym"])?;
        let stacks = Stacks::read(&text);
        if stacks.is_empty() {
            bail!("perf took no samples");
        }
        report::write(path, &stacks.svg(&format!("{}: {}", self.scenario.name, self.scenario.title)))?;
        println!("{:>6}  {:>6}  function ({} samples)", "self", "total", stacks.samples());
        for (name, own, total) in stacks.hottest(LISTED) {
            println!("{own:>5.1}%  {total:>5.1}%  {name}");
        }
        // Profiled, not measured: its row stays empty.
        field.samples(*peer);
        Ok(())
    }
}

fn perf(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("perf").args(arguments).stdin(Stdio::null()).output();
    let output = output.context("perf cannot be started: install it with `apt-get install linux-perf`")?;
    if !output.status.success() {
        bail!("perf {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
