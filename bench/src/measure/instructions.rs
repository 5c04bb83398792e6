//! Instructions for each request, counted by callgrind: ours only, and only of the requests themselves. Counts hardly
//! depend on the machine or on who else runs there, so a change of one percent is seen.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{Bench, Field};
use crate::load::{Load, Pace, Shape};
use crate::origin::Origin;
use crate::process::Launch;
use crate::scenario::{Figure, Peer};

/// Requests before anything is counted, and those that are. Under callgrind a request takes about fifty times as long.
const WARM_UP: u64 = 1000;
const COUNTED: u64 = 3000;
/// How long either may take.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(20);
const FILE: &str = "callgrind.out";

/// Puts callgrind before a program.
pub(super) fn under_callgrind(launch: &mut Launch, dir: &std::path::Path) {
    let file = dir.join(FILE).to_string_lossy().into_owned();
    let program = std::mem::replace(&mut launch.program, "valgrind".into());
    let own = ["--tool=callgrind".to_owned(), format!("--callgrind-out-file={file}.%p")];
    launch.arguments.splice(0..0, own.into_iter().chain([program.to_string_lossy().into_owned()]));
}

impl Bench<'_> {
    /// Each round counts the same number of requests, with nothing under way at its ends.
    pub(super) fn instructions(&self, origin: &Origin, shape: Shape, field: &mut Field) -> anyhow::Result<()> {
        self.rounds(field, |peer, program, samples| {
            if peer != Peer::Halcyon {
                return Ok(());
            }
            let (mut running, dir) = self.start(peer, program, origin)?;
            let load = Load::start(running.entry, shape, Pace::Allowed)?;
            let load = self.requests(load, WARM_UP)?;
            for id in running.family() {
                control(&["--zero", &id.to_string()])?;
            }
            let load = self.requests(load, COUNTED)?;
            let mut counted = 0;
            for id in running.family() {
                control(&["--dump", &id.to_string()])?;
                let path = dir.path().join(format!("{FILE}.{id}.1"));
                let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                counted += total(&text).with_context(|| format!("no total in {}", path.display()))?;
            }
            let failed = load.failed();
            load.finish().and_then(|_| running.check())?;
            if failed > 0 {
                bail!("{failed} requests failed");
            }
            samples.add(Figure::Instructions, counted as f64 / COUNTED as f64);
            Ok(())
        })
    }

    /// Lets the load make so many requests, and waits for their answers.
    fn requests(&self, load: Load, count: u64) -> anyhow::Result<Load> {
        let (until, began) = (load.done() + count, Instant::now());
        load.allow(count);
        while load.done() < until {
            self.stop.pause(LOOK)?;
            if load.is_over() {
                load.finish()?;
                bail!("the load ended by itself");
            }
            if began.elapsed() > PATIENCE {
                bail!("{count} requests were not answered within {PATIENCE:?}");
            }
        }
        Ok(load)
    }
}

fn control(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("callgrind_control").args(arguments).stdin(Stdio::null()).output();
    let output = output.context("callgrind_control cannot be started: it comes with valgrind")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !text.contains("OK") {
        bail!("callgrind_control {}: {text} {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// `totals: 12345` at the end of a dump; older ones have it as `summary`.
fn total(dump: &str) -> Option<u64> {
    let line = dump.lines().rev().find_map(|line| line.strip_prefix("totals:").or(line.strip_prefix("summary:")))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals() {
        assert_eq!(total("version: 1\nevents: Ir\nfn=(1) a\n1 5\n\ntotals: 12345\n"), Some(12345));
        assert_eq!(total("version: 1\nsummary: 77\n"), Some(77));
        assert_eq!(total("version: 1\n"), None);
    }

    #[test]
    fn wraps() {
        let mut launch = Launch { program: "/p".into(), arguments: vec!["-c".into()] };
        under_callgrind(&mut launch, "/d".as_ref());
        assert_eq!(launch.program.to_str(), Some("valgrind"));
        assert_eq!(launch.arguments, ["--tool=callgrind", "--callgrind-out-file=/d/callgrind.out.%p", "/p", "-c"]);
    }
}
